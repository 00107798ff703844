"""Where a paused reply goes on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.dialogue.rewind import MAX_REWIND_MS, SEARCHED_MS, quiet_point_ms
from slng_edge.pcm import Samples

RATE_HZ = 16000


def sound(*pieces: tuple[int, int]) -> Samples:
    """Noise of so many milliseconds and such a level each, one after the other."""
    noise = np.random.default_rng(7)
    return np.concatenate(
        [
            noise.normal(0, level, ms * RATE_HZ // 1000).clip(-30000, 30000).astype(np.int16)
            for ms, level in pieces
        ]
    )


@pytest.mark.parametrize(
    ("pieces", "back_ms"),
    [
        # One gap of 40 ms between two words: it is found, wherever it is.
        ([(200, 4000), (40, 20), (360, 4000)], (360, 400)),
        ([(100, 4000), (40, 20), (460, 4000)], (460, 500)),
        ([(330, 4000), (40, 20), (230, 4000)], (230, 270)),
        # The quietest of two, though the other is nearer.
        ([(100, 4000), (40, 20), (200, 4000), (40, 500), (220, 4000)], (460, 500)),
        # Too near: it is within the word that was cut off.
        ([(200, 4000), (40, 500), (280, 4000), (40, 20), (40, 4000)], (360, 400)),
        # A long silence is not said again: its end counts.
        ([(100, 4000), (200, 0), (300, 4000)], (300, 325)),
        ([(100, 4000), (200, 5), (300, 4000)], (300, 325)),
        # Nothing but silence.
        ([(600, 0)], (220, 240)),
        # Longer than what is searched: a gap before does not count.
        ([(40, 0), (160, 4000), (40, 20), (560, 4000)], (560, 600)),
        ([(100, 4000), (40, 0), (700, 4000)], (220, 600)),
        # A reply that has just begun: from its start.
        ([(239, 4000)], (239, 239)),
        ([(5, 4000)], (5, 5)),
        ([], (0, 0)),
    ],
)
def test_it_goes_on_in_the_quietest_place(
    pieces: list[tuple[int, int]], back_ms: tuple[float, float]
) -> None:
    """Between words, as far as the sound tells; two words back at most."""
    samples = sound(*pieces) if pieces else np.empty(0, dtype=np.int16)
    lowest, highest = back_ms
    assert lowest <= quiet_point_ms(samples, RATE_HZ) <= highest


@pytest.mark.parametrize(
    ("rate_hz", "count", "back_ms"),
    [
        (16000, 16000, 230.0),
        (16000, 16000 * 240 // 1000, 230.0),
        (16000, 3520 + 639, (3520 + 639 - 160 - 160) / 16),
        (22050, 22050, (13230 - 36 * 220 - 220) / 22.05),
    ],
)
def test_of_places_as_quiet_as_each_other_the_nearest_counts(
    rate_hz: int, count: int, back_ms: float
) -> None:
    """Counted to the middle of the 20 ms, in whole samples."""
    even = np.full(count, 1000, dtype=np.int16)
    assert quiet_point_ms(even, rate_hz) == pytest.approx(back_ms, abs=1e-9)


def test_a_place_is_looked_for_every_ten_milliseconds() -> None:
    """More often would cost more, on a device, than it tells."""
    assert quiet_point_ms(sound((305, 4000), (20, 20), (275, 4000)), RATE_HZ) in (280.0, 290.0)


@settings(max_examples=60, deadline=None)
@given(
    samples=st.lists(st.integers(-32768, 32767), max_size=60),
    stretch=st.integers(1, 400),
    rate_hz=st.sampled_from([8000, 24000, 44100]),
)
def test_it_never_goes_back_further_than_was_played(
    samples: list[int], stretch: int, rate_hz: int
) -> None:
    """Whatever is in the samples, the loudest included."""
    played = np.repeat(np.array(samples, dtype=np.int16), stretch)
    back_ms = quiet_point_ms(played, rate_hz)
    assert 0 <= back_ms <= min(SEARCHED_MS, len(played) * 1000 / rate_hz) <= MAX_REWIND_MS
