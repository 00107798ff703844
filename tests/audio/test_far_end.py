"""What sounded when: blocks in, powers and levels out."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from slng_edge.audio.far_end import AHEAD_MS, FarEnd, Timeline
from slng_edge.listening.echo_coupling import Powers, bands_below
from slng_edge.pcm import SILENCE_DBFS, Samples

RATE_HZ = 24000
FRAME_S = 0.02
BLOCK_S = 0.01
AHEAD_S = AHEAD_MS / 1000


def tone(ms: float, amplitude: float = 8000.0) -> Samples:
    """800 Hz, in the band from 700 to 950 Hz."""
    t = np.arange(int(RATE_HZ * ms / 1000)) / RATE_HZ
    return (amplitude * np.sin(2 * np.pi * 800 * t)).astype(np.int16)


def played(sound: Samples, at: float, jitter_s: float = 0.0) -> FarEnd:
    """A far end that got `sound` in blocks of 10 ms, in one array that is used again."""
    far_end = FarEnd(RATE_HZ, 20)
    block = np.zeros(int(RATE_HZ * BLOCK_S), dtype=np.int16)
    for number, start in enumerate(range(0, len(sound), len(block))):
        block[:] = sound[start : start + len(block)]
        late_s = jitter_s * (-1) ** number
        far_end.receive_block(block, at + number * BLOCK_S + late_s)
    block.fill(0)
    return far_end


def powers_of(far_end: FarEnd, now: float) -> Powers:
    """What sounded, zeros where nothing did."""
    powers = far_end.powers(now)
    return np.zeros(bands_below(RATE_HZ)) if powers is None else powers


def test_nothing_sounds_at_first_nor_in_silence() -> None:
    """Silence is not kept."""
    far_end = played(np.zeros(2400, dtype=np.int16), 10.0)
    assert far_end.powers(10.05) is None
    assert far_end.level_dbfs(10.05) == SILENCE_DBFS


def test_power_is_in_the_band_where_it_belongs_and_while_it_sounds() -> None:
    """A tone from 10.0 to 10.4 is in the frames that were recorded then, and in no others."""
    far_end = played(tone(400), 10.0)
    powers = np.array([powers_of(far_end, 9.9 + n * FRAME_S) for n in range(35)])
    whole = 8000**2 / 2
    sounding = powers.sum(axis=1)
    assert np.all(powers.argmax(axis=1)[sounding > 0] == 3)
    middle = sounding[10:20]
    assert middle == pytest.approx(whole, rel=0.02)
    heard = np.flatnonzero(sounding)
    assert 9.9 + heard[0] * FRAME_S == pytest.approx(10.0 - AHEAD_S + FRAME_S, abs=FRAME_S)
    assert 9.9 + heard[-1] * FRAME_S == pytest.approx(10.4 + FRAME_S, abs=FRAME_S)


def test_jitter_of_blocks_and_frames_leaves_no_holes() -> None:
    """Some milliseconds to and fro: the power stays what it is."""
    far_end = played(tone(400), 10.0, jitter_s=0.002)
    chance = np.random.default_rng(1)
    powers = [
        powers_of(far_end, 10.0 + n * FRAME_S + chance.uniform(-0.008, 0.008)).sum()
        for n in range(18)
    ]
    assert powers[5:] == pytest.approx([8000**2 / 2] * 13, rel=0.05)


def test_frames_that_come_in_a_burst_are_where_they_would_have_been() -> None:
    """A machine that is busy for 200 ms loses nothing, and shifts nothing."""
    sound = np.concatenate([tone(300), np.zeros(2400, dtype=np.int16), tone(300)])
    smooth, busy = played(sound, 10.0), played(sound, 10.0)
    times = [10.0 + n * FRAME_S for n in range(40)]
    expected = [powers_of(smooth, at).sum() for at in times]
    assert [powers_of(busy, max(at, 10.3 if at > 10.1 else at)).sum() for at in times] == expected


def test_a_speaker_that_ran_dry_goes_on_later() -> None:
    """What is written after the hole sounds later; many late ones in a row tell it from a delay."""
    timeline = Timeline(5, 1.0)
    late_s = [0.0] * 10 + [0.04] + [0.0] * 10 + [0.04] * 10
    begins = [timeline.receive(BLOCK_S, n * BLOCK_S + late) for n, late in enumerate(late_s)]
    shifts = [round(begin - n * BLOCK_S, 6) for n, begin in enumerate(begins)]
    assert shifts[:25] == [0.0] * 25
    assert shifts[25:] == [0.04] * 6


def test_what_is_told_earlier_was_earlier() -> None:
    """Nothing is told before it is: all before was told late."""
    timeline = Timeline(5, 1.0)
    assert [timeline.receive(0.1, at) for at in (5.0, 5.08, 5.2)] == [
        5.0,
        5.08,
        pytest.approx(5.18),
    ]


def test_after_a_gap_of_the_microphone_the_time_is_right_at_once() -> None:
    """Frames that were lost do not leave the comparison behind."""
    far_end = played(tone(300), 10.0)
    far_end.powers(5.0)
    assert powers_of(far_end, 10.1).sum() == pytest.approx(8000**2 / 2, rel=0.02)


def test_the_level_is_that_of_the_loudest_within_reach() -> None:
    """A quiet block after a loud one; what has not sounded yet does not count."""
    far_end = FarEnd(RATE_HZ, 20, reach_ms=300)
    far_end.receive_block(tone(10), 10.0)
    far_end.receive_block(tone(10, 80.0), 10.2)
    assert far_end.level_dbfs(9.99) == SILENCE_DBFS
    assert far_end.level_dbfs(10.0) == pytest.approx(-15.3, abs=0.1)
    assert far_end.level_dbfs(10.3) == pytest.approx(-15.3, abs=0.1)
    assert far_end.level_dbfs(10.32) == pytest.approx(-55.3, abs=0.3)
    assert far_end.level_dbfs(10.52) == SILENCE_DBFS


def test_it_keeps_no_more_than_a_second() -> None:
    """An hour of sound, with nobody to ask, does not fill the memory."""
    far_end = FarEnd(RATE_HZ, 20)
    block = tone(10)
    for number in range(2000):
        far_end.receive_block(block, number * BLOCK_S)
    assert len(far_end._blocks) * BLOCK_S < 1.0


def test_two_threads_do_not_disturb_each_other() -> None:
    """Blocks come while frames are compared."""
    far_end = FarEnd(RATE_HZ, 20)
    block = tone(10)

    def play() -> None:
        for number in range(3000):
            far_end.receive_block(block, number * BLOCK_S)

    playing = threading.Thread(target=play)
    playing.start()
    try:
        for number in range(500):
            far_end.powers(number * 0.06)
            far_end.level_dbfs(number * 0.06)
    finally:
        playing.join(10)
    far_end.powers(30.0)
    assert far_end.powers(30.0 - AHEAD_S) is not None
