"""Noises of every sort, computed from a seed, at a loudness that is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from gate_accuracy.recordings import RATE_HZ, Recording, Wave

MIXED = ("white", "pink", "babble", "hum", "clicks", "music")
BEGINNING = ("white", "pink", "tone", "hum", "fan", "rain", "clicks", "music", "babble")
BABBLE_VOICES = 8
CHORDS_HZ = ((220.0, 277.2, 329.6), (196.0, 246.9, 293.7), (174.6, 220.0, 261.6))


def rms_of(samples: Wave) -> float:
    """Root mean square."""
    return math.sqrt(float(np.mean(samples**2)))


def noise_of(
    kind: str, length: int, rms: float, seed: int, talkers: Sequence[Recording] = ()
) -> Wave:
    """`length` samples of `kind` at 16 kHz, of that root mean square.

    Args:
        kind: One of `MIXED` or `BEGINNING`.
        length: In samples.
        rms: In steps of 16 bits.
        seed: The same noise for the same seed.
        talkers: What babble is made of.
    """
    rng = np.random.default_rng(seed)
    noise = _babble(length, rng, talkers) if kind == "babble" else _MAKERS[kind](length, rng)
    return noise * (rms / rms_of(noise))


def _white(length: int, rng: np.random.Generator) -> Wave:
    return rng.standard_normal(length)


def _pink(length: int, rng: np.random.Generator) -> Wave:
    return _shaped(length, rng, lambda hz: (hz >= 50) / np.sqrt(hz))


def _tone(length: int, rng: np.random.Generator) -> Wave:
    return np.sin(2 * np.pi * 440 * np.arange(length) / RATE_HZ)


def _hum(length: int, rng: np.random.Generator) -> Wave:
    """50 Hz and its harmonics, of which a rectifier makes the even ones the louder."""
    time_s = np.arange(length) / RATE_HZ
    noise = rng.standard_normal(length) * 0.02
    for harmonic in range(1, 13):
        share = (1.0 if harmonic % 2 == 0 else 0.5) / harmonic
        noise += share * np.sin(2 * np.pi * 50 * harmonic * time_s + rng.uniform(0, 6.3))
    return noise


def _fan(length: int, rng: np.random.Generator) -> Wave:
    """Air, mostly below 1 kHz, and the blades' tone, which wavers; up to speed in two seconds."""
    air = _shaped(length, rng, lambda hz: (hz >= 40) / (1 + (hz / 600) ** 1.5))
    time_s = np.arange(length) / RATE_HZ
    blades = np.sin(2 * np.pi * 118 * time_s) * (1 + 0.2 * np.sin(2 * np.pi * 1.3 * time_s))
    return (air / rms_of(air) + 0.5 * blades) * np.minimum(1, 0.03 + time_s / 2)


def _rain(length: int, rng: np.random.Generator) -> Wave:
    """A hiss that swells for three seconds, and single drops, 25 a second."""
    hiss = _shaped(length, rng, lambda hz: np.sqrt(hz) / (1 + (hz / 3000) ** 2))
    swell = np.minimum(1, 0.03 + np.arange(length) / (3 * RATE_HZ))
    drops = _struck(length, rng, a_second=25, decay_ms=(1, 4))
    return (hiss / rms_of(hiss) + 0.5 * drops / rms_of(drops)) * swell


def _clicks(length: int, rng: np.random.Generator) -> Wave:
    """Keys, cups and switches: four a second, of 2 to 15 ms, some twice as loud as others."""
    clicks = _struck(length, rng, a_second=4, decay_ms=(2, 15))
    return clicks + rng.standard_normal(length) * 0.01 * rms_of(clicks)


def _music(length: int, rng: np.random.Generator) -> Wave:
    """Chords, a melody, a bass and drums at 110 beats a minute."""
    beat = int(RATE_HZ * 60 / 110)
    music = np.zeros(length + 4 * beat)
    for number, start in enumerate(range(0, length, beat // 2)):
        chord = CHORDS_HZ[number // 8 % len(CHORDS_HZ)]
        if number % 8 == 0:
            for hz in chord:
                _add(music, start, _plucked(hz, 4 * beat, 0.8, 0.5))
        if number % 2 == 0:
            _add(music, start, _plucked(chord[0] / 2, beat, 0.25, 0.9))
            hit = rng.standard_normal(beat // 2) * np.exp(-np.arange(beat // 2) / 700)
            _add(music, start, hit * (0.8 if number % 4 == 2 else 0.3))
        if rng.random() < 0.7:
            note = chord[int(rng.integers(3))] * float(rng.choice((2.0, 2.0, 4.0)))
            _add(music, start, _plucked(note, beat, 0.3, 0.7))
    return music[:length]


def _babble(length: int, rng: np.random.Generator, talkers: Sequence[Recording]) -> Wave:
    """Eight of the voices at once, each by itself as loud as the others and without pauses."""
    babble = np.zeros(length)
    for _ in range(BABBLE_VOICES):
        talker = talkers[int(rng.integers(len(talkers)))]
        said = talker.samples[talker.speech]
        said = np.tile(said / rms_of(said), length // len(said) + 2)
        start = int(rng.integers(len(said) - length))
        babble += said[start : start + length]
    return babble


_MAKERS = {
    "white": _white,
    "pink": _pink,
    "tone": _tone,
    "hum": _hum,
    "fan": _fan,
    "rain": _rain,
    "clicks": _clicks,
    "music": _music,
}


def _shaped(length: int, rng: np.random.Generator, gain_at: object) -> Wave:
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hz = np.maximum(np.fft.rfftfreq(length, 1 / RATE_HZ), 1e-3)
    return np.fft.irfft(spectrum * gain_at(hz), length)  # type: ignore[operator]


def _struck(
    length: int, rng: np.random.Generator, a_second: float, decay_ms: tuple[float, float]
) -> Wave:
    sound = np.zeros(length + RATE_HZ)
    for _ in range(max(1, rng.poisson(a_second * length / RATE_HZ))):
        decay = rng.uniform(*decay_ms) * RATE_HZ / 1000
        shape = np.exp(-np.arange(int(6 * decay) + 1) / decay)
        hit = rng.standard_normal(len(shape)) * shape * 2 ** rng.uniform(-1, 1)
        _add(sound, int(rng.integers(length)), hit)
    return sound[:length]


def _plucked(hz: float, length: int, decay_s: float, loudness: float) -> Wave:
    time_s = np.arange(length) / RATE_HZ
    parts = [np.sin(2 * np.pi * hz * n * time_s) / n**1.5 for n in range(1, 6) if hz * n < 7000]
    shape = np.minimum(1, time_s / 0.01) * np.exp(-time_s / decay_s)
    return np.sum(parts, axis=0) * shape * loudness


def _add(sound: Wave, start: int, part: Wave) -> None:
    end = min(len(sound), start + len(part))
    sound[start:end] += part[: end - start]
