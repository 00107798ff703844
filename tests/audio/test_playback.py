"""Playback into files and silence: what was heard, and when it is said."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from slng_edge.audio.media_clock import MediaClock
from slng_edge.audio.null_backend import NullSink
from slng_edge.audio.playback import Playback
from slng_edge.audio.ring_buffer import RingBuffer
from slng_edge.audio.wav_backend import WavSink
from slng_edge.audio.wav_files import read_wav
from slng_edge.errors import AudioError, DeviceLost, DeviceNotFound
from slng_edge.pcm import Samples

RATE_HZ = 24000
BLOCK_S = 0.02
BUFFER_S = 0.06
LATE_S = 0.06
"""What a busy machine may be late."""


class Listener:
    """Collects what playback says, each with the moment at which it was said."""

    def __init__(self) -> None:
        self.said: list[tuple[float, tuple[object, ...]]] = []
        self._changed = threading.Condition()

    def hear(self, *words: object) -> None:
        with self._changed:
            self.said.append((time.monotonic(), words))
            self._changed.notify_all()

    def wait_for(self, kind: str, timeout_s: float = 5.0) -> tuple[float, tuple[object, ...]]:
        with self._changed:
            self._changed.wait_for(lambda: self.find(kind), timeout_s)
        found = self.find(kind)
        assert found, f"{kind} was not said, only {self.said}"
        return found[0]

    def find(self, kind: str) -> list[tuple[float, tuple[object, ...]]]:
        return [item for item in self.said if item[1][0] == kind]


class UnreliableSink(NullSink):
    """A null speaker that can be missing or unplugged."""

    missing = threading.Event()
    unplugged = threading.Event()
    broken = threading.Event()

    def open(self) -> None:
        if self.missing.is_set():
            raise DeviceNotFound("there is no such speaker")
        super().open()

    def write(self, block: Samples) -> None:
        if self.unplugged.is_set():
            raise DeviceLost("somebody pulled it out")
        if self.broken.is_set():
            raise AudioError("the disk is full")
        super().write(block)


@pytest.fixture(autouse=True)
def working_sink() -> None:
    for fault in (UnreliableSink.missing, UnreliableSink.unplugged, UnreliableSink.broken):
        fault.clear()


def null_sink() -> UnreliableSink:
    return UnreliableSink(rate_hz=RATE_HZ, block_ms=20, buffer_ms=60, clock=MediaClock())


def player(ring: RingBuffer, build_sink: object = null_sink, **options: object):
    listener = Listener()
    playback = Playback(
        ring,
        build_sink,
        on_started=lambda *words: listener.hear("started", *words),
        on_drained=lambda *words: listener.hear("drained", *words),
        on_device=lambda *words: listener.hear("device", *words),
        on_death=lambda *words: listener.hear("death", *words),
        **options,
    )
    playback.start()
    listener.wait_for("device") if not UnreliableSink.missing.is_set() else None
    return playback, listener


def speak(ring: RingBuffer, seconds: float, level: int = 8000) -> int:
    utterance = ring.open_utterance()
    assert ring.write(np.full(int(seconds * RATE_HZ), level, dtype=np.int16), utterance)
    ring.end(utterance)
    return utterance


def test_a_reply_is_played_and_drained_once_it_was_heard() -> None:
    """`on_drained` comes when the last sample has sounded, not when it was handed over."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, listener = player(ring)
    utterance = speak(ring, 0.3)
    _, (_, started, started_at) = listener.wait_for("started")
    drained_at, (_, drained, samples) = listener.wait_for("drained")
    playback.stop(2)
    assert started == drained == utterance
    assert samples == int(0.3 * RATE_HZ)
    # The first block is handed over, at most a buffer before it sounds.
    assert 0.3 - BLOCK_S <= drained_at - started_at <= 0.3 + BUFFER_S + BLOCK_S + LATE_S


def test_the_played_position_is_behind_what_was_handed_over() -> None:
    """What stands in the device has not been heard."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, listener = player(ring)
    utterance = speak(ring, 1.0)
    _, (_, _, started_at) = listener.wait_for("started")
    seen = []
    while not listener.find("drained") and len(seen) < 500:
        heard_s = playback.played_samples(utterance) / RATE_HZ
        seen.append(heard_s)
        elapsed_s = time.monotonic() - started_at
        assert heard_s <= elapsed_s + BLOCK_S
        assert heard_s <= ring.samples_read(utterance) / RATE_HZ
        time.sleep(0.005)
    assert playback.played_samples(utterance) == RATE_HZ
    assert playback.played_samples(utterance + 1) == 0
    assert seen == sorted(seen)
    playback.stop(2)


def test_an_utterance_without_sound_is_drained_and_not_started() -> None:
    """A synthesizer that says nothing must not leave the loop waiting."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, listener = player(ring)
    utterance = ring.open_utterance()
    ring.end(utterance)
    assert listener.wait_for("drained")[1] == ("drained", utterance, 0)
    playback.stop(2)
    assert not listener.find("started")


def test_an_interrupted_reply_is_never_drained() -> None:
    """Who clears knows; the next utterance is reported by its own number."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, listener = player(ring)
    speak(ring, 5)
    listener.wait_for("started")
    ring.clear()
    utterance = speak(ring, 0.1)
    assert listener.wait_for("drained")[1][1] == utterance
    playback.stop(2)
    assert len(listener.find("drained")) == 1


def test_silence_comes_within_a_block_and_the_fade() -> None:
    """From the clear to the last reply sample handed over: one block at most, twenty times."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, listener = player(ring)
    waits = []
    for turn in range(20):
        speak(ring, 2)
        time.sleep(0.05 + turn * 0.003)
        decided = time.monotonic()
        ring.clear()
        waits.append(playback.silenced(1.0) - decided)
        assert not ring.fading
    playback.stop(2)
    assert sorted(waits)[10] <= BLOCK_S + 0.005
    assert max(waits) <= BLOCK_S + LATE_S
    assert listener.find("started")


def test_silence_where_nothing_sounds_is_at_once() -> None:
    """`silenced` does not wait for a sound that is not there."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, _ = player(ring)
    before = time.monotonic()
    ring.clear()
    assert playback.silenced(1.0) < before
    assert time.monotonic() - before < BLOCK_S + LATE_S
    assert not playback.sounding
    playback.stop(2)


def test_a_pause_is_silent_and_the_rest_follows() -> None:
    """Every sample is played once, however long the pause."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, listener = player(ring)
    utterance = speak(ring, 0.4)
    listener.wait_for("started")
    ring.pause()
    playback.silenced(1.0)
    time.sleep(0.2)
    read = ring.samples_read(utterance)
    assert 0 < read < 0.3 * RATE_HZ
    assert not listener.find("drained")
    ring.resume()
    assert listener.wait_for("drained")[1] == ("drained", utterance, int(0.4 * RATE_HZ))
    playback.stop(2)


def test_what_the_speaker_sounds_is_in_the_file(tmp_path: Path) -> None:
    """Silence before, the whole reply without a gap, silence after, at the volume asked for."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    path = tmp_path / "out.wav"
    clock = MediaClock()
    playback, listener = player(
        ring,
        lambda: WavSink(str(path), rate_hz=RATE_HZ, block_ms=20, buffer_ms=60, clock=clock),
        volume=0.5,
    )
    time.sleep(0.1)
    speak(ring, 0.5, level=8000)
    heard_from = clock.elapsed_s()
    listener.wait_for("drained")
    time.sleep(0.1)
    playback.stop(2)
    samples = read_wav(str(path))[2][:, 0]
    loud = np.flatnonzero(samples)
    assert len(loud) == int(0.5 * RATE_HZ)
    assert loud[-1] - loud[0] + 1 == len(loud)
    assert set(samples[loud]) == {4000}
    assert 0 <= loud[0] / RATE_HZ - heard_from <= BUFFER_S + 2 * BLOCK_S + LATE_S
    assert len(samples) - loud[-1] > 0.08 * RATE_HZ


def test_a_gain_above_one_clips_and_does_not_wrap(tmp_path: Path) -> None:
    """Loud stays loud, with its sign."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    path = tmp_path / "out.wav"
    clock = MediaClock()
    playback, listener = player(
        ring,
        lambda: WavSink(str(path), rate_hz=RATE_HZ, block_ms=20, buffer_ms=60, clock=clock),
        volume=4.0,
    )
    speak(ring, 0.1, level=-20000)
    listener.wait_for("drained")
    playback.stop(2)
    samples = read_wav(str(path))[2][:, 0]
    assert set(samples[np.flatnonzero(samples)]) == {-32768}


def test_a_missing_device_is_waited_for() -> None:
    """Said once, however often it is looked for; the reply waits meanwhile."""
    UnreliableSink.missing.set()
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, listener = player(ring)
    utterance = speak(ring, 0.1)
    time.sleep(1.3)
    assert [words for _, words in listener.said] == [
        ("device", "lost", "null", "there is no such speaker")
    ]
    assert playback.sounding
    UnreliableSink.missing.clear()
    assert listener.wait_for("drained")[1] == ("drained", utterance, int(0.1 * RATE_HZ))
    playback.stop(2)
    assert listener.find("device")[1][1] == ("device", "open", "null", "")


def test_a_lost_device_is_reopened_and_the_reply_goes_on() -> None:
    """What was not yet handed over is not lost with the device."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, listener = player(ring)
    utterance = speak(ring, 1.0)
    listener.wait_for("started")
    UnreliableSink.unplugged.set()
    time.sleep(0.1)
    waiting = ring.buffered_samples
    assert waiting > 0.5 * RATE_HZ
    UnreliableSink.unplugged.clear()
    assert listener.wait_for("drained")[1][1] == utterance
    playback.stop(2)
    assert [words[1:] for _, words in listener.find("device")] == [
        ("open", "null", ""),
        ("lost", "null", "somebody pulled it out"),
        ("reopened", "null", ""),
    ]


def test_what_cannot_be_cured_by_waiting_is_told_to_the_owner() -> None:
    """A full disk ends the thread, and not in silence."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, listener = player(ring)
    UnreliableSink.broken.set()
    _, (_, name, error) = listener.wait_for("death")
    assert (name, str(error)) == ("playback", "the disk is full")
    playback.stop(2)


def test_every_block_is_offered_with_the_moment_at_which_it_sounds() -> None:
    """The far end of an echo canceller: contiguous, silence included."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    blocks: list[tuple[bool, float]] = []
    playback, listener = player(
        ring, on_block=lambda block, at: blocks.append((bool(block.any()), at))
    )
    speak(ring, 0.2)
    listener.wait_for("drained")
    playback.stop(2)
    assert sum(loud for loud, _ in blocks) == 10
    steps = np.diff([at for loud, at in blocks if loud])
    assert abs(float(np.median(steps)) - BLOCK_S) < 0.003
    # `on_drained` comes with the first block after the last sample was heard.
    last = max(at for loud, at in blocks if loud)
    assert listener.find("drained")[0][0] >= last + BLOCK_S - 0.001


def test_silence_is_written_in_longer_blocks_until_a_reply_is_opened() -> None:
    """Fewer wake-ups while nobody speaks; an open utterance has every block again."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    lengths: list[int] = []
    playback, _ = player(ring, on_block=lambda block, _: lengths.append(len(block)))
    time.sleep(0.3)
    utterance = ring.open_utterance()
    time.sleep(0.1)
    idle = len(lengths)
    time.sleep(0.3)
    ring.end(utterance)
    playback.stop(2)
    assert set(lengths[: idle // 2]) == {960}
    assert set(lengths[idle : idle + 5]) == {480}
    assert playback.underflows == 0


def test_stop_cuts_off_and_is_quick() -> None:
    """Half a minute of reply does not delay the end; stopping twice is no error."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, listener = player(ring)
    speak(ring, 30)
    listener.wait_for("started")
    before = time.monotonic()
    playback.stop(2)
    playback.stop(2)
    assert time.monotonic() - before < 0.2
    assert not listener.find("death")
