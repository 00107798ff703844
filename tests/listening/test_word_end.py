"""Where a wake word ended: sound in, a sample out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slng_edge.listening.word_end import (
    AFTER_MS,
    BEFORE_MS,
    FALL_MS,
    FLOOR_POWER,
    HOP_MS,
    RATE_HZ,
    SHAPE_SIZE,
    EndShape,
    Lateness,
    band_levels,
    end_features,
    end_of_fall,
    find_word_end,
)
from slng_edge.pcm import Samples

MS = 16
LATENESS = Lateness(late_ms=100, spread_ms=50)


def sound_of(*pieces: tuple[int, int, int]) -> Samples:
    """Tones one after the other: length in ms, amplitude, frequency in Hz."""
    parts = [
        amplitude * np.sin(2 * np.pi * hz * np.arange(ms * MS) / 16000)
        for ms, amplitude, hz in pieces
    ]
    return np.concatenate(parts).astype(np.int16)


def shape_for(sound: Samples, end_ms: int) -> EndShape:
    """What the end at `end_ms` of `sound` looks like, by that one example."""
    features = end_features(band_levels(sound), np.array([end_ms // 10]))[0]
    return EndShape(tuple(features / np.abs(features).sum() * 20))


@pytest.mark.parametrize("pause_at_ms", [520, 560, 600])
def test_without_a_shape_the_quietest_place_near_the_usual_one_is_the_end(
    pause_at_ms: int,
) -> None:
    """A pause of 40 ms is found wherever within the spread it lies."""
    sound = sound_of((pause_at_ms, 8000, 400), (40, 20, 400), (500, 8000, 500))
    end = find_word_end(sound, 660 * MS, LATENESS, None)
    assert pause_at_ms * MS <= end <= (pause_at_ms + 40) * MS


def test_a_deeper_pause_that_is_too_far_off_is_of_another_word() -> None:
    """At most two spreads from where the end usually is."""
    sound = sound_of((300, 8000, 400), (60, 0, 1), (800, 8000, 500))
    assert abs(find_word_end(sound, 660 * MS, LATENESS, None) - 560 * MS) <= 100 * MS


def test_the_quietest_place_is_not_looked_for_beyond_three_spreads() -> None:
    """A pause whose middle is 10 ms further is not the end, however deep it is."""
    sound = sound_of((710, 8000, 400), (20, 0, 1), (500, 8000, 500))
    assert find_word_end(sound, 670 * MS, LATENESS, None) == 720 * MS
    assert find_word_end(sound, 660 * MS, LATENESS, None) == 560 * MS


@pytest.mark.parametrize(("depth_db", "end_ms"), [(10.4, 460), (9.6, 560)])
def test_a_pause_two_spreads_off_has_to_be_ten_decibels_deep(depth_db: float, end_ms: int) -> None:
    """Half a unit of likelihood is what two spreads cost, and a decibel is worth 0.05."""
    soft = round(8000 * 10 ** (-depth_db / 20))
    sound = sound_of((450, 8000, 400), (20, soft, 400), (800, 8000, 400))
    assert find_word_end(sound, 660 * MS, LATENESS, None) == end_ms * MS


def test_a_model_that_varies_by_a_millisecond_is_believed() -> None:
    """The place that is next to what it says is taken, though the other one is silent."""
    sound = sound_of((490, 8000, 400), (20, 0, 1), (500, 8000, 400))
    assert find_word_end(sound, 608 * MS, Lateness(100, 1), None) == 510 * MS


def test_the_end_is_looked_for_as_soon_as_the_sound_that_is_needed_is_there() -> None:
    """That is what is looked at after the place that is usual."""
    needed_ms = 560 + AFTER_MS + HOP_MS
    sound = sound_of((450, 8000, 400), (20, 0, 1), (needed_ms - 470, 8000, 400))
    assert find_word_end(sound, 660 * MS, LATENESS, None) == 460 * MS
    assert find_word_end(sound[: -HOP_MS * MS], 660 * MS, LATENESS, None) == 560 * MS


def test_the_first_place_with_sound_enough_before_it_may_be_the_only_one() -> None:
    """A word right after a gap: its end is where the spectrum can be looked at."""
    sound = sound_of((400, 8000, 400))
    assert find_word_end(sound, 255 * MS, Lateness(100, 4), None) == BEFORE_MS * MS


def test_a_shape_that_says_nothing_leaves_the_end_where_it_usually_is() -> None:
    """What is usual counts beside the spectrum; how quiet it is somewhere does not."""
    sound = sound_of((500, 8000, 400), (40, 0, 1), (500, 8000, 400))
    nothing = EndShape((0.0,) * SHAPE_SIZE)
    assert find_word_end(sound, 660 * MS, LATENESS, nothing) == 560 * MS


@pytest.mark.parametrize("late_ms", [60, 100, 140])
def test_a_known_shape_finds_the_end_within_running_sound(late_ms: int) -> None:
    """The word's last vowel and the next word's first differ in their spectrum alone."""
    sound = sound_of((600, 6000, 400), (600, 6000, 2200))
    shape = shape_for(sound, 600)
    end = find_word_end(sound, (600 + late_ms) * MS, LATENESS, shape)
    assert abs(end - 600 * MS) <= 10 * MS


@pytest.mark.parametrize(
    ("sound_ms", "detected_ms", "late_ms"),
    [(800, 790, -60), (600, 600, 20), (15, 10, 5), (100, 90, 20)],
)
def test_without_enough_sound_the_usual_lateness_decides(
    sound_ms: int, detected_ms: int, late_ms: int
) -> None:
    """The end may lie beyond the sound: the detection came early."""
    sound = sound_of((sound_ms, 5000, 300))
    end = find_word_end(sound, detected_ms * MS, Lateness(late_ms, 30), None)
    assert end == (detected_ms - late_ms) * MS


def test_the_end_is_never_before_the_sound() -> None:
    """A detection right after a gap."""
    assert find_word_end(sound_of((30, 5000, 300)), 160, Lateness(300, 50), None) == 0


def test_a_model_without_spread_is_believed() -> None:
    """No division by zero, and no search."""
    sound = sound_of((1000, 5000, 300))
    assert find_word_end(sound, 700 * MS, Lateness(200, 0), None) == 500 * MS


@pytest.mark.parametrize(
    ("late_ms", "spread_ms", "ahead_ms"),
    [(300, 50, 0), (0, 50, 150 + AFTER_MS), (100, 50, 50 + AFTER_MS)],
)
def test_how_much_sound_is_needed_after_the_detection(
    late_ms: float, spread_ms: float, ahead_ms: float
) -> None:
    """None where the model is late anyway."""
    assert Lateness(late_ms, spread_ms).lookahead_ms == ahead_ms


def test_a_lower_threshold_is_passed_sooner() -> None:
    """As the score rises over some 100 ms."""
    lateness = Lateness(late_ms=150, spread_ms=50, slope_ms=400)
    assert lateness.at(0.3).late_ms == pytest.approx(70)
    assert lateness.at(0.5) == lateness


def test_a_shape_has_exactly_its_weights() -> None:
    """A file of another version is not taken for this one's."""
    with pytest.raises(ValueError, match="3 weights"):
        EndShape((1.0, 2.0, 3.0))
    assert EndShape((0.0,) * SHAPE_SIZE).weights


def test_loudness_does_not_change_what_is_looked_at() -> None:
    """A word spoken twice as loud ends at the same place."""
    sound = np.random.default_rng(1).normal(0, 3000, 16000).astype(np.int16)
    place = np.array([50])
    loud, soft = (end_features(band_levels(part), place) for part in (sound, sound // 2))
    assert np.abs(loud - soft).max() < 0.1


@pytest.mark.parametrize(("samples", "rows"), [(0, 0), (319, 0), (320, 1), (479, 1), (480, 2)])
def test_each_row_of_levels_is_of_20_ms_one_every_10(samples: int, rows: int) -> None:
    """Silence is as loud as the floor, in all eight bands."""
    levels = band_levels(np.zeros(samples, dtype=np.int16))
    assert levels.shape == (rows, 8)
    assert levels == pytest.approx(np.full((rows, 8), np.log(FLOOR_POWER * 320)))


def test_a_level_is_the_power_in_its_band_while_it_lasts() -> None:
    """Parseval's theorem says how much: half the samples' number times the sum of their squares."""
    levels = band_levels(sound_of((100, 0, 1), (20, 8000, 1500), (100, 0, 1)))
    heard = sound_of((20, 8000, 1500)) * np.hanning(320)
    assert levels[10, 4] == pytest.approx(np.log(160 * np.sum(heard**2)), abs=0.01)
    floor = np.log(FLOOR_POWER * 320)
    assert levels[10, [0, 1, 2, 6, 7]] == pytest.approx(np.full(5, floor), abs=0.01)
    assert (levels[:, 4] > floor + 1).nonzero()[0].tolist() == [9, 10, 11]


def test_what_is_looked_at_is_160_ms_before_and_80_after_less_its_mean() -> None:
    """Every second row of levels, for each place of its own."""
    levels = np.random.default_rng(3).normal(10, 3, (60, 8))
    levels[35:] += 100
    features = end_features(levels, np.array([16, 40]))
    for place, row in zip((16, 40), features, strict=True):
        around = np.concatenate([levels[at] for at in range(place - 16, place + 8, 2)])
        assert row == pytest.approx(around - around.sum() / SHAPE_SIZE)


def tone(*levels_db: float) -> Samples:
    """10 ms of a tone at each of these levels, dB over one unit."""
    t = np.arange(RATE_HZ // 100)
    wave = np.sin(2 * np.pi * 400 * t / RATE_HZ) * np.sqrt(2)
    return np.concatenate([wave * 10 ** (level / 20) for level in levels_db]).astype(np.int16)


NOTHING = -math.inf
"""Level of a sound of zeros."""


@pytest.mark.parametrize(
    ("levels_db", "at_ms", "end_ms"),
    [
        ((70, 70, 60, 50, 40, 70, 70, 70), 20, 40),  # it fades, and the command sets in
        ((70, 70, 60, 50, 40, 40, 40, 40), 20, 50),  # it fades, and nothing follows
        ((70, 70, 60, 50, 40, 40, 60, 30, 30), 20, 50),  # the command sets in softly, with a gap
        ((70, 70, 60, 50, NOTHING, NOTHING, NOTHING), 20, 50),  # the microphone gives zeros
        ((70,) * 8, 20, 20),  # the command has no gap to the word
        ((70, 70, 68, 67, 66, 70, 70, 70), 20, 20),  # a voice goes up and down
        ((70, 70, 50, 50, 50, 50, 50), 20, 20),  # it has ended, and does not ring
        ((70, 70, 60, 50), 20, 20),  # it is not known yet
        ((70, 70, 70, 50, 50), 20, 40),  # two places are enough, up to the last sample
        ((70, 70, 66, 62, 58, 54, 50), 20, 60),  # it fades to the last sample
    ],
)
def test_a_vowel_that_fades_belongs_to_the_word(
    levels_db: tuple[float, ...], at_ms: int, end_ms: int
) -> None:
    """The room lets it ring; what goes on as loud as before is the command."""
    assert end_of_fall(tone(*levels_db), at_ms * MS) == end_ms * MS


def test_a_vowel_is_not_followed_for_ever() -> None:
    """The last place that is compared is the first one after the longest fall."""
    fading = tone(*(80 - 2 * step for step in range(40)))
    assert end_of_fall(fading, 100 * MS) == (100 + FALL_MS + HOP_MS) * MS


def test_a_place_beyond_the_sound_stays() -> None:
    """There is nothing to look at yet."""
    assert end_of_fall(tone(70, 60), 5000) == 5000
