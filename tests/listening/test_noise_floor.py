"""The noise floor: levels in, floor out."""

from __future__ import annotations

import pytest

from slng_edge.listening.noise_floor import INITIAL_DBFS, LOWEST_DBFS, NoiseFloor
from slng_edge.pcm import SILENCE_DBFS

FRAME_MS = 20


def after(floor: NoiseFloor, level_dbfs: float, ms: int) -> float:
    """The floor after `ms` of one level."""
    for _ in range(ms // FRAME_MS):
        floor.receive_level(level_dbfs)
    return floor.dbfs


def test_it_begins_as_a_quiet_room() -> None:
    """Before anything is known the floor is low, so that the first word is heard."""
    assert NoiseFloor(FRAME_MS).dbfs == INITIAL_DBFS


def test_a_quieter_room_is_known_at_once() -> None:
    """The floor falls with the first quiet frame."""
    assert NoiseFloor(FRAME_MS).receive_level(-68.0) == -68.0


@pytest.mark.parametrize("frame_ms", [10, 20, 30])
def test_a_fan_becomes_the_floor_within_three_seconds(frame_ms: int) -> None:
    """A noise 30 dB over the floor is the floor after the window, and not before."""
    floor = NoiseFloor(frame_ms)
    levels = [floor.receive_level(-30.0) for _ in range(3000 // frame_ms)]
    assert levels[1500 // frame_ms] == INITIAL_DBFS
    assert levels[-1] == pytest.approx(-30.0)


def test_speech_with_gaps_does_not_raise_it() -> None:
    """Half a minute of syllables with a gap of 100 ms each second leaves the floor low."""
    floor = NoiseFloor(FRAME_MS)
    after(floor, -55.0, 3000)
    for _ in range(30):
        after(floor, -20.0, 900)
        after(floor, -55.0, 100)
        assert floor.dbfs < -50.0


def test_it_falls_when_the_fan_stops() -> None:
    """When a loud noise ends the floor follows within 200 ms."""
    floor = NoiseFloor(FRAME_MS)
    after(floor, -30.0, 4000)
    assert after(floor, -60.0, 200) == pytest.approx(-60.0, abs=1.0)


def test_one_quieter_frame_counts_little() -> None:
    """A dip of one frame in a steady noise lowers the floor by less than half of it."""
    floor = NoiseFloor(FRAME_MS)
    after(floor, -30.0, 4000)
    assert floor.receive_level(-36.0) > -33.0


def test_a_dropped_block_says_nothing() -> None:
    """Digital silence for less than 200 ms leaves the floor where it was."""
    floor = NoiseFloor(FRAME_MS)
    after(floor, -40.0, 4000)
    assert after(floor, SILENCE_DBFS, 180) == pytest.approx(-40.0)


@pytest.mark.parametrize(("frame_ms", "frames"), [(20, 10), (30, 6), (200, 1), (400, 1)])
def test_digital_silence_counts_from_200_ms_on(frame_ms: int, frames: int) -> None:
    """The frame that makes so much of it counts, and none before; so again after any sound."""
    for _ in range(2):
        floor = NoiseFloor(frame_ms)
        for level_dbfs in [-40.0] * (4000 // frame_ms):
            floor.receive_level(level_dbfs)
        before = floor.dbfs
        levels = [floor.receive_level(SILENCE_DBFS) for _ in range(frames)]
        assert levels[:-1] == [before] * (frames - 1)
        assert levels[-1] < before
        floor.receive_level(-40.0)


def test_silence_at_the_very_start_counts_from_200_ms_on() -> None:
    """Until then nothing is known; then it is a quiet room, and noise takes a while to rise."""
    floor = NoiseFloor(FRAME_MS, window_ms=250)
    assert after(floor, SILENCE_DBFS, 180) == INITIAL_DBFS
    assert after(floor, -30.0, 260) == pytest.approx(-30.0)


@pytest.mark.parametrize(("frame_ms", "window_ms"), [(250, 250), (500, 500), (500, 100)])
def test_a_window_of_one_frame_is_the_frame(frame_ms: int, window_ms: int) -> None:
    """However long frames are, and however short the window."""
    floor = NoiseFloor(frame_ms, window_ms=window_ms)
    assert floor.receive_level(-30.0) == -30.0


def test_digital_silence_that_lasts_is_a_quiet_room() -> None:
    """A microphone that suppresses noise gives zeros between sentences, and still has a floor."""
    floor = NoiseFloor(FRAME_MS)
    for _ in range(10):
        after(floor, -20.0, 900)
        assert after(floor, SILENCE_DBFS, 600) < -50.0
    assert after(floor, SILENCE_DBFS, 10_000) == pytest.approx(INITIAL_DBFS)


def test_it_never_goes_below_the_lowest() -> None:
    """The faint hiss of a good microphone does not make whispers of the sound card loud."""
    assert after(NoiseFloor(FRAME_MS), -90.0, 5000) == LOWEST_DBFS


def test_the_window_can_be_shorter() -> None:
    """With a window of 500 ms a noise is the floor after three quarters of a second."""
    assert after(NoiseFloor(FRAME_MS, window_ms=500), -30.0, 750) == pytest.approx(-30.0)
