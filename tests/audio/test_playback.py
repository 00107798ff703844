"""Playback into files and silence: what was heard, when it is said, and what sounds over it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slng_edge.audio.chimes import built_in
from slng_edge.audio.ducking import DUCKED_GAIN, RAMP_MS
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


class Recording:
    """Playback into a WAV file, and what was written to it."""

    def __init__(self, path: Path, **options: object) -> None:
        self.ring = RingBuffer(rate_hz=RATE_HZ)
        self.blocks: list[Samples] = []
        self._path = str(path / "out.wav")
        self._clock = MediaClock()
        self.playback, self.listener = player(
            self.ring,
            self._sink,
            on_block=lambda block, _: self.blocks.append(block.copy()),
            **options,
        )

    def _sink(self) -> WavSink:
        return WavSink(self._path, rate_hz=RATE_HZ, block_ms=20, buffer_ms=60, clock=self._clock)

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < deadline, "it did not come to that"
            time.sleep(0.002)

    def stop(self) -> Samples:
        """Every block as it was written: without the gaps that a busy machine makes in the file."""
        self.playback.stop(2)
        return np.concatenate(self.blocks)

    def file(self) -> Samples:
        """What sounded."""
        return read_wav(self._path)[2][:, 0]


def tone(seconds: float, level: int = 1000) -> Samples:
    """A sound that begins and ends softly."""
    count = int(seconds * RATE_HZ)
    edges = np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / 240)
    return (level * edges).astype(np.int16)


def largest_step(samples: Samples) -> int:
    """Between two samples that follow each other, the ends of the reply left out."""
    loud = np.flatnonzero(samples)
    return int(np.abs(np.diff(samples[loud[0] : loud[-1] + 1].astype(int))).max())


SOFT = 8000 / (RATE_HZ * RAMP_MS / 1000) + 1000 / 240 + 3
"""Largest step of a reply of 8000 that is ducked, and of a `tone` over it."""


def test_a_sound_is_mixed_over_the_reply_which_is_ducked(tmp_path: Path) -> None:
    """Neither waits for the other, nothing steps, and the reply's accounts know no sound."""
    recording = Recording(tmp_path)
    utterance = speak(recording.ring, 0.5)
    recording.wait_until(lambda: recording.playback.played_samples(utterance) > 0.05 * RATE_HZ)
    recording.playback.play_sound(tone(0.2))
    recording.listener.wait_for("drained")
    samples = recording.stop()
    assert len(np.flatnonzero(samples)) == int(0.5 * RATE_HZ)
    over = np.flatnonzero(samples == 8000 * DUCKED_GAIN + 1000)
    assert len(over) > 0.12 * RATE_HZ
    assert set(samples[over[0] : over[-1] + 1]) == {3000}
    assert samples[over[0] - int(0.06 * RATE_HZ)] == samples[over[-1] + int(0.06 * RATE_HZ)] == 8000
    assert largest_step(samples) <= SOFT
    said = [words for _, words in recording.listener.said if words[0] != "device"]
    assert [words[:2] for words in said] == [("started", utterance), ("drained", utterance)]
    assert said[1][2] == int(0.5 * RATE_HZ) == recording.playback.played_samples(utterance)
    assert recording.playback.ducking.gain == 1.0


def test_the_far_end_is_what_was_written(tmp_path: Path) -> None:
    """An echo canceller is told of sounds, of ducking and of the volume."""
    recording = Recording(tmp_path, volume=0.5)
    speak(recording.ring, 0.2)
    recording.playback.play_sound(tone(0.1))
    recording.listener.wait_for("drained")
    told, sounded = recording.stop(), recording.file()
    assert np.array_equal(told[told != 0], sounded[sounded != 0])
    assert len(np.unique(told)) > 100  # the ramps, too


def test_a_sound_in_silence_comes_at_once_and_is_no_reply() -> None:
    """`sounding` says it until it was heard; nothing is started or drained."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    firsts: list[float] = []
    lengths: list[int] = []

    def note(block: Samples, at: float) -> None:
        lengths.append(len(block))
        if block.any():
            firsts.append(at)

    playback, listener = player(ring, on_block=note)
    time.sleep(0.1)
    asked = time.monotonic()
    playback.play_sound(built_in("wake", RATE_HZ))
    assert (playback.sounding, playback.reply_sounding) == (True, False)
    heard_s = []
    while playback.sounding:
        heard_s.append(time.monotonic() - asked)
        time.sleep(0.005)
    time.sleep(0.15)
    playback.stop(2)
    assert 0.25 <= heard_s[-1] <= 0.25 + BUFFER_S + 2 * BLOCK_S + LATE_S
    assert firsts[0] - asked <= BUFFER_S + 2 * BLOCK_S + LATE_S
    assert not listener.find("started")
    assert not listener.find("drained")
    assert lengths[-1] == 960  # idle again
    assert playback.last_sound_at == 0.0


def test_a_sound_is_heard_while_a_reply_is_paused() -> None:
    """And does not hold up the silence that an interruption waits for."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    blocks: list[Samples] = []
    playback, listener = player(ring, on_block=lambda block, _: blocks.append(block.copy()))
    speak(ring, 1.0)
    listener.wait_for("started")
    ring.pause()
    playback.play_sound(tone(2.0))
    asked = time.monotonic()
    last_reply_sound = playback.silenced(1.0)
    assert last_reply_sound <= time.monotonic()
    while set(blocks[-1]) != {1000} and time.monotonic() < asked + 1.5:
        time.sleep(0.002)
    assert set(blocks[-1]) == {1000}
    while playback.reply_sounding and time.monotonic() < asked + 1.5:
        time.sleep(0.002)
    assert (playback.reply_sounding, playback.sounding) == (False, True)
    assert playback.silenced(1.0) == last_reply_sound
    assert time.monotonic() < asked + 2.0
    playback.stop(2)


def test_the_volume_changes_while_it_plays_without_a_step(tmp_path: Path) -> None:
    """From any thread; the next block goes there."""
    recording = Recording(tmp_path)
    speak(recording.ring, 0.5)
    recording.listener.wait_for("started")
    for volume in (0.5, 1.0, 0.25):
        recording.playback.volume = volume
        time.sleep(0.05)
    recording.listener.wait_for("drained")
    samples = recording.stop()
    assert largest_step(samples) <= SOFT
    assert samples[np.flatnonzero(samples)[-1]] == 2000


def test_a_volume_set_in_silence_is_that_of_the_first_sample(tmp_path: Path) -> None:
    """Of a sound too: nobody hears the old volume."""
    recording = Recording(tmp_path)
    speak(recording.ring, 0.05)
    recording.listener.wait_for("drained")
    recording.playback.volume = 0.125
    speak(recording.ring, 0.05)
    recording.wait_until(lambda: len(recording.listener.find("drained")) == 2)
    recording.playback.volume = 0.5
    recording.playback.play_sound(np.full(2400, 2000, dtype=np.int16))
    recording.wait_until(lambda: not recording.playback.sounding)
    samples = recording.stop()
    assert set(samples[np.flatnonzero(samples)]) == {8000, 1000}
    assert sum(samples == 1000) == int(0.05 * RATE_HZ) + 2400


def test_no_sound_is_nothing_to_play() -> None:
    """What is "off" can be handed in."""
    playback, _ = player(RingBuffer(rate_hz=RATE_HZ))
    playback.play_sound(None)
    assert not playback.sounding
    playback.stop(2)


def test_a_device_that_goes_takes_its_sounds_with_it() -> None:
    """The gate is open again, and nothing stays ducked."""
    playback, listener = player(RingBuffer(rate_hz=RATE_HZ))
    playback.play_sound(tone(1.0))
    deadline = time.monotonic() + 5
    while playback.ducking.gain == 1.0 and time.monotonic() < deadline:
        time.sleep(0.002)
    UnreliableSink.unplugged.set()
    while len(listener.find("device")) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(0.01 + BUFFER_S + LATE_S)
    assert not playback.sounding
    assert playback.ducking.gain == 1.0
    playback.stop(2)


def test_a_pause_is_silent_within_a_block_and_the_fade() -> None:
    """As after a clear: from the pause to the last reply sample handed over, ten times."""
    ring = RingBuffer(rate_hz=RATE_HZ)
    playback, listener = player(ring)
    speak(ring, 5)
    listener.wait_for("started")
    waits = []
    for turn in range(10):
        time.sleep(0.04 + turn * 0.003)
        decided = time.monotonic()
        ring.pause()
        waits.append(playback.silenced(1.0) - decided)
        assert not ring.fading
        ring.resume(100)
    playback.stop(2)
    assert sorted(waits)[5] <= BLOCK_S + 0.005
    assert max(waits) <= BLOCK_S + LATE_S


def test_a_reply_goes_on_a_little_before_the_pause(tmp_path: Path) -> None:
    """The file has what was said twice; the accounts have it once."""
    recording = Recording(tmp_path)
    ring, playback, listener = recording.ring, recording.playback, recording.listener
    utterance = speak(ring, 0.4)
    listener.wait_for("started")
    recording.wait_until(lambda: ring.samples_read(utterance) > 0.2 * RATE_HZ)
    ring.pause()
    playback.silenced(1.0)
    recording.wait_until(lambda: not playback.sounding)
    before = playback.played_samples(utterance)
    assert before == ring.samples_read(utterance)
    back = ring.resume(150)
    assert back == int(0.16 * RATE_HZ)
    recording.wait_until(lambda: playback.played_samples(utterance) != before)
    assert playback.played_samples(utterance) < before
    _, words = listener.wait_for("drained")
    assert words == ("drained", utterance, int(0.4 * RATE_HZ))
    assert playback.played_samples(utterance) == int(0.4 * RATE_HZ)
    assert len(listener.find("started")) == 1
    samples = recording.stop()
    # The last of a fade-out and the first of a fade-in are zero.
    assert len(np.flatnonzero(samples)) == int(0.4 * RATE_HZ) + back - 2
