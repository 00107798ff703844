"""Sample-rate conversion of a whole utterance at once; the gateway has no streams to convert."""

from __future__ import annotations

import numpy as np

from slng_edge.pcm import Samples

_PAD_S = 0.05
"""Silence around the utterance, because the transform below is circular."""


def convert_rate(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """`samples` at another rate, band-limited: its spectrum is cut or padded with zeros.

    The result has ``round(len(samples) * to_hz / from_hz)`` samples.
    """
    if from_hz == to_hz or not len(samples):
        return samples
    pad = int(_PAD_S * from_hz)
    # a whole number of seconds, so that the padded lengths stand exactly in the rates' ratio
    seconds = -(-(len(samples) + 2 * pad) // from_hz)
    padded = np.zeros(seconds * from_hz, dtype=np.float64)
    padded[pad : pad + len(samples)] = samples
    spectrum = np.fft.rfft(padded)
    # irfft pads the spectrum with zeros, or cuts it, to the length asked for
    converted = np.fft.irfft(spectrum, seconds * to_hz)
    start = round(pad * to_hz / from_hz)
    length = round(len(samples) * to_hz / from_hz)
    scaled = converted[start : start + length] * (to_hz / from_hz)
    return np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)
