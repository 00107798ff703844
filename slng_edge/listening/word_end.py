"""Where a wake word ended, pure: sound in, a position out.

A detector says that a word was said, some 300 ms before to 600 ms after its end, and not where it
ended. How late it usually is has been measured for each model, and how much that varies; around
that place the sound decides. For a word whose end is known (`EndShape`) that is where the
spectrum looks like it: the 160 ms before and the 80 ms after, weighed. For any other word it is
where it is quietest. The weights are the maximum of the likelihood over synthesized voices, with
`scripts/evaluate-wake --fit`; what that gives is in its table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from slng_edge.pcm import Samples

RATE_HZ = 16000
"""Every wake word library works at this rate."""

BEFORE_MS, AFTER_MS = 160, 80
"""What is looked at around a place: two syllables' vowels, and the beginning of what follows."""
STEP_MS = 20
"""Grain of what is looked at."""
HOP_MS = 10
"""Grain of the places that are compared."""
BAND_EDGES_HZ = (100, 300, 550, 850, 1250, 1800, 2600, 4000, 7000)
"""Eight bands, as wide as the ear's above 1 kHz; 14 did no better on unknown voices."""
FLOOR_POWER = 1e4
"""Mean square of a 16-bit sample below which there is nothing to hear: -50 dBFS."""
WIDEST = 3.0
"""The end is looked for within so many times the spread. At 2 the ends of words that are heard
early are out of reach (18 % of "okay nabu" cut more than 50 ms too soon, against 10 %); more
sound has to be waited for at 3.5, and more of the command is taken for the word."""
TRUST = 2.0
"""How far the usual lateness is trusted: so many times its spread. 1.5 and 3 do no better."""
QUIET_WEIGHT_PER_DB = 0.05
"""For words without a shape: best of 0 to 0.5. Of "okay nabu" without its shape 24 % of the cuts
are then more than 50 ms too soon or 20 ms too late, 42 % at 0; of "alexa" 27 %, whatever it is."""

Wave: TypeAlias = NDArray[np.float64]

_HOP = RATE_HZ * HOP_MS // 1000
_WINDOW = RATE_HZ * STEP_MS // 1000
_BEFORE, _AFTER = BEFORE_MS // HOP_MS, AFTER_MS // HOP_MS
_STRIDE = STEP_MS // HOP_MS
SHAPE_SIZE = (BEFORE_MS + AFTER_MS) // STEP_MS * (len(BAND_EDGES_HZ) - 1)


def _band_matrix() -> Wave:
    frequency_hz = np.fft.rfftfreq(_WINDOW, 1 / RATE_HZ)
    bands = [
        np.logical_and(frequency_hz >= low, frequency_hz < high)
        for low, high in pairwise(BAND_EDGES_HZ)
    ]
    return np.stack(bands, axis=1).astype(np.float64)


_BANDS = _band_matrix()

FALL_MS = 150.0
"""The longest that the last vowel of a word is followed while it fades; rooms take so long."""
FALL_DB = 6.0
"""A fall by less than this is none: sound that goes on is the command."""
FALL_NOISE_DB = 1.0
"""A rise by less than this is none."""


@dataclass(frozen=True)
class EndShape:
    """What the end of a word looks like.

    Attributes:
        weights: `SHAPE_SIZE` of them, times in the outer order, bands in the inner one; their
            sum with the band levels (natural logarithm, mean removed) is a log-likelihood.

    Raises:
        ValueError: there are not `SHAPE_SIZE` weights.
    """

    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.weights) != SHAPE_SIZE:
            raise ValueError(f"{len(self.weights)} weights of a word's end, not {SHAPE_SIZE}")


@dataclass(frozen=True)
class Lateness:
    """When a model says that its word was said, relative to the word's end.

    Attributes:
        late_ms: The median; negative where it says so before the word has ended.
        spread_ms: Half of what the middle two thirds of the detections span.
        slope_ms: How much later it is at a threshold that is higher by 1; `late_ms` is at 0.5.
    """

    late_ms: float
    spread_ms: float
    slope_ms: float = 0.0

    def at(self, threshold: float) -> Lateness:
        """The lateness at another threshold than 0.5, on the scale of `wake.threshold`."""
        return replace(self, late_ms=self.late_ms + (threshold - 0.5) * self.slope_ms)

    @property
    def lookahead_ms(self) -> float:
        """Sound after the detection that is needed to look for the end; 0 at least."""
        return max(0.0, WIDEST * self.spread_ms + AFTER_MS - self.late_ms)


def band_levels(sound: Samples | Wave) -> Wave:
    """Natural logarithm of the power in each band, one row for each 10 ms; 16 kHz."""
    count = max(0, (len(sound) - _WINDOW) // _HOP + 1)
    if not count:
        return np.empty((0, _BANDS.shape[1]))
    starts = np.arange(count)[:, None] * _HOP
    windows = sound[starts + np.arange(_WINDOW)]
    spectrum = np.fft.rfft(windows * np.hanning(_WINDOW))
    return np.asarray(np.log(np.abs(spectrum) ** 2 @ _BANDS + FLOOR_POWER * _WINDOW))


def end_features(levels: Wave, places: NDArray[np.int64]) -> Wave:
    """What is looked at around each of `places` (rows of `levels`), one row a place."""
    rows = places[:, None] + np.arange(-_BEFORE, _AFTER, _STRIDE)
    around = levels[rows].reshape(len(places), SHAPE_SIZE)
    return np.asarray(around - around.mean(axis=1, keepdims=True))


def find_word_end(sound: Samples, detected: int, lateness: Lateness, shape: EndShape | None) -> int:
    """The sample of `sound` at which the word ended.

    Args:
        sound: 16 kHz; has to hold `lateness.lookahead_ms` after the detection for a search over
            the whole span. Where there is less, the usual lateness alone decides.
        detected: The sample at which the model said it.
        lateness: How late that model usually is.
        shape: What the end of the word looks like, None where that is not known.

    Returns:
        Zero at least; it may lie beyond the end of `sound`.
    """
    expected = detected / RATE_HZ * 1000 - lateness.late_ms
    reach = WIDEST * lateness.spread_ms
    levels = band_levels(sound)
    first = max(_BEFORE, int((expected - reach) / HOP_MS))
    last = min(len(levels) - _AFTER, int((expected + reach) / HOP_MS))
    if last < first or last * HOP_MS < expected:
        return max(0, round(expected * RATE_HZ / 1000))
    places = np.arange(first, last + 1)
    score = -(((places * HOP_MS - expected) / (TRUST * max(1.0, lateness.spread_ms))) ** 2) / 2
    if shape is not None:
        score += end_features(levels, places) @ np.array(shape.weights)
    else:
        score -= QUIET_WEIGHT_PER_DB * _loudness_db(sound, places)
    return int(places[np.argmax(score)]) * _HOP


def end_of_fall(sound: Samples, at: int) -> int:
    """Where the sound that fades at `at` has faded: a vowel rings on in the room.

    Args:
        sound: 16 kHz.
        at: A sample of it, or beyond its end.

    Returns:
        The first place from `at` on after which it does not get fainter, within `FALL_MS`.
    """
    hops = int(FALL_MS / HOP_MS) + 1
    places = at // _HOP + np.arange(1, hops + 1)
    places = places[places * _HOP + _HOP <= len(sound)]
    if len(places) < 2:
        return at
    loudness_db = _loudness_db(sound, places)
    rises = np.flatnonzero(np.diff(loudness_db) > FALL_NOISE_DB)
    falling = loudness_db[: int(rises[0]) + 1] if len(rises) else loudness_db
    if falling.min() > falling[0] - FALL_DB:
        return at
    return int(places[np.argmax(falling <= falling.min() + FALL_NOISE_DB)]) * _HOP


def _loudness_db(sound: Samples, places: NDArray[np.int64]) -> Wave:
    """Level of the 20 ms around each place, dB."""
    windows = sound[places[:, None] * _HOP + np.arange(-_HOP, _HOP)]
    power = np.square(windows, dtype=np.float64).mean(axis=1)
    return np.asarray(10 * np.log10(power + 1.0))
