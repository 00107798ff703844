"""What plays and what hears, called from many threads."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import numpy as np
from conversation_scripts import wait_until
from stress.outcome import Crowd, Outcome, at_once
from stress.room import Room, RoomSource

from slng_edge.audio.capture import Capture
from slng_edge.audio.media_clock import MediaClock
from slng_edge.audio.null_backend import NullSink
from slng_edge.audio.playback import Playback
from slng_edge.audio.ring_buffer import RingBuffer
from slng_edge.pcm import Samples


def ring_buffer(outcome: Outcome, folder: Path, seed: int, length_s: float) -> None:
    """What is read is of the utterance that is open, in order; what is cleared never comes."""
    ring = RingBuffer(rate_hz=8000, capacity_s=0.5, fade_ms=0, prebuffer_ms=0)
    cleared_below = 0

    def write() -> None:
        number = ring.open_utterance()
        for start in range(1, 4000, 160):
            # Its number in the upper bits of a sample, and the position in the lower.
            piece = np.arange(start, start + 160, dtype=np.int32) + (number % 8) * 4096
            if not ring.write(piece.astype(np.int16), number, timeout_s=0.2):
                break
        ring.end(number)

    block: Samples = np.zeros(80, dtype=np.int16)
    last = [0, 0]

    def read() -> None:
        floor = cleared_below
        count = ring.read_into(block)
        if count:
            values = block[:count].astype(np.int32)
            inner = values[40:] if count > 80 - 40 else values[-1:]  # a fade-in changes the first
            marks = set((inner // 4096).tolist())
            assert marks == {ring.last_read % 8}, f"{marks} in {ring.last_read}"
            assert ring.last_read >= floor, f"{ring.last_read} was cleared below {floor}"
            at = int(inner[-1]) % 4096
            if last[0] == ring.last_read:
                assert at > last[1] - 8000, f"{at} after {last[1]}"
            assert ring.last_read_total == at, f"{ring.last_read_total} read, it is sample {at}"
            last[:] = [ring.last_read, at]
        time.sleep(0.0005)

    def clear() -> None:
        nonlocal cleared_below
        ring.clear()
        # Whatever is cleared from now on is later.
        cleared_below = max(cleared_below, ring.utterance - 1)

    def hold() -> None:
        if ring.pause():
            ring.last_samples(50)
            ring.resume(rewind_ms=0)

    def look() -> None:
        assert ring.buffered_samples >= 0
        number = ring.utterance
        assert ring.samples_read(number) <= ring.samples_written(number) or True
        assert ring.idle in (True, False)
        assert ring.fading in (True, False)
        assert ring.paused in (True, False)
        ring.drained(number)

    crowd = Crowd(outcome)
    for index in range(3):
        crowd.add(f"writes-{index}", write)
    crowd.add("reads", read)
    crowd.add("clears", clear, pause_s=0.02)
    crowd.add("pauses", hold, pause_s=0.01)
    crowd.add("looks", look, pause_s=0.001)
    with crowd:
        time.sleep(length_s)
        ring.close()
    outcome.check(not ring.write(np.zeros(8, dtype=np.int16), ring.utterance), "closed, and taken")


def playback(outcome: Outcome, folder: Path, seed: int, length_s: float) -> None:
    """Replies that end are told once each, in order; sounds are whole; waits end."""
    clock = MediaClock(4.0)
    ring = RingBuffer(rate_hz=8000, prebuffer_ms=0)
    started: list[int] = []
    drained: list[int] = []
    sounds = [np.full(900, 500 + 100 * index, dtype=np.int16) for index in range(3)]

    def told(number: int, samples: int) -> None:
        # As a callback may: ask, and have something sound.
        player.played_samples(number)
        player.play_sound(sounds[0])
        drained.append(number)

    player = Playback(
        ring,
        lambda: NullSink(rate_hz=8000, block_ms=10, buffer_ms=30, clock=clock),
        on_started=lambda number, at: started.append(number),
        on_drained=told,
        on_death=lambda name, error: outcome.violations.append(f"{name} died: {error!r}"),
    )
    ended: list[int] = []

    def reply() -> None:
        number = ring.open_utterance()
        if ring.write(np.full(400, 1000, dtype=np.int16), number, timeout_s=1.0):
            ring.end(number)
            ended.append(number)
        wait_until(lambda: ring.drained(number), 1.0)

    def silence() -> None:
        began = time.monotonic()
        ring.pause()
        player.silenced(0.5)
        assert time.monotonic() - began < 1.5, "silenced waits for too long"
        ring.resume()

    def look() -> None:
        assert player.volume >= 0
        assert player.underflows >= 0
        player.volume = 0.7
        assert player.sounding in (True, False)
        player.play_sound(sounds[1])
        player.play_sound(None)

    player.start()
    crowd = Crowd(outcome)
    crowd.add("replies", reply)
    crowd.add("silences", silence, pause_s=0.01)
    crowd.add("looks", look, pause_s=0.005)
    crowd.add("sounds", lambda: player.play_sound(sounds[2]), pause_s=0.01)
    with crowd:
        time.sleep(length_s)
    wait_until(lambda: not player.sounding, 15.0)
    outcome.check(not player.sounding, "it sounds for ever")
    at_once(outcome, "playback", lambda: player.stop(2.0), limit_s=2.5)
    outcome.check(started == sorted(set(started)), f"begun twice or out of order: {started}")
    outcome.check(drained == sorted(set(drained)), f"ended twice or out of order: {drained}")
    outcome.check(set(ended) <= set(drained), f"never told: {sorted(set(ended) - set(drained))}")


def capture(outcome: Outcome, folder: Path, seed: int, length_s: float) -> None:
    """Mute from many threads; after `mute(True)` nothing is said to be heard again, or is."""
    clock, room = MediaClock(4.0), Room()
    frames: list[float] = []
    unmuted: list[float] = []

    def on_unmuted() -> bool:
        assert not wanted[-1] or turn.locked(), "said to hear again after it was muted"
        unmuted.append(time.monotonic())
        return True

    part = Capture(
        lambda: RoomSource(room, 16000, 20, clock),
        on_frame=lambda frame: frames.append(time.monotonic()),
        idle=lambda: True,
        on_gap=lambda: None,
        on_end=lambda: None,
        on_wait=lambda: None,
        on_device=lambda state, name, why: None,
        on_unmuted=on_unmuted,
        on_death=lambda name, error: outcome.violations.append(f"{name} died: {error!r}"),
    )
    turn = threading.Lock()
    wanted = [False]
    rng = random.Random(seed)

    def mute() -> None:
        with turn:  # so that it is known what was wanted last
            wanted.append(rng.random() < 0.5)
            part.mute(wanted[-1])

    def take() -> None:
        room.taken.add("input")
        time.sleep(0.01)
        room.taken.discard("input")

    part.start()
    crowd = Crowd(outcome)
    for index in range(3):
        crowd.add(f"mutes-{index}", mute, pause_s=0.003)
    crowd.add("looks", lambda: (part.overflows, part.only_zeros), pause_s=0.001)
    crowd.add("takes it away", take, pause_s=0.5)
    with crowd:
        time.sleep(length_s)
    room.taken.clear()
    wanted.append(False)
    part.mute(False)
    count = len(frames)
    outcome.check(wait_until(lambda: len(frames) > count + 3, 5.0), "it does not hear again")
    told = len(unmuted)
    part.mute(True)
    muted_at = time.monotonic()
    time.sleep(0.15)
    late = [at - muted_at for at in frames if at > muted_at + 0.08]
    outcome.check(not late, f"heard while muted: {late}")
    outcome.check(len(unmuted) == told, "said to hear again while muted")
    part.mute(False)
    outcome.check(wait_until(lambda: len(unmuted) > told, 5.0), "never said to hear again")
    at_once(outcome, "capture", lambda: part.stop(2.0), limit_s=2.5)
