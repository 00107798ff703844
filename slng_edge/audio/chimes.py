"""The short sounds of the device: made here, or read from WAV files.

Each is told by its contour alone, between 300 and 2000 Hz, which old ears and small loudspeakers
keep: up for what begins, down for what ends, a glide for the microphone, low and rough where
something is wrong. They are computed for the rate that is played, and kept.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slng_edge.audio.resampling import STORED, Resampler
from slng_edge.audio.wav_files import WavReader
from slng_edge.config import SoundsConfig
from slng_edge.errors import ConfigError, InputFileError
from slng_edge.pcm import PcmFormat, Samples

LONGEST_S = 3.0
"""Longest file. The reply is ducked, and the microphone hears the sound, for as long."""

_PEAK = 10 ** (-12 / 20) * 32767
"""-12 dBFS: as loud as speech that is normalised to -3."""
_ATTACK_MS = 8.0
_RELEASE_MS = 30.0
_HIGHEST_HZ = 2000.0
_RATES_HZ = (4000, 192_000)
_PIECE = 1 << 18
"""Samples read at a time, over all channels."""


@dataclass(frozen=True)
class _Note:
    """A tone that glides from one frequency to another, and how it is coloured.

    `decay_ms` is the time in which it falls to a third; `overtones` are the strengths of the
    second, third, … partial.
    """

    ms: float
    from_hz: float
    to_hz: float = 0.0
    decay_ms: float = 90.0
    overtones: tuple[float, ...] = (0.25,)


_REST = _Note(25, 0)
_TICK = _Note(60, 440, decay_ms=30)
_ROUGH = (0.6, 0.45, 0.3)

_SCORES: dict[str, tuple[_Note, ...]] = {
    "wake": (_Note(90, 659), _Note(160, 988)),
    "follow_up": (_Note(130, 880, decay_ms=50),),
    "thinking": (_TICK, _REST, _TICK, _REST, _TICK),
    "done": (_Note(90, 988), _Note(160, 659)),
    "error": (
        _Note(150, 330, decay_ms=200, overtones=_ROUGH),
        _REST,
        _Note(220, 311, decay_ms=150, overtones=_ROUGH),
    ),
    "offline": (_Note(110, 659), _Note(110, 494), _Note(170, 370)),
    "mute": (_Note(320, 1100, 370, decay_ms=300),),
    "unmute": (_Note(320, 370, 1100, decay_ms=300),),
}


@functools.cache
def built_in(name: str, rate_hz: int) -> Samples:
    """The sound of that key of `[sounds]`, at `rate_hz`; always the same, read-only array.

    Raises:
        KeyError: there is none of that name.
    """
    notes = [_tone(note, rate_hz) for note in _SCORES[name]]
    wave = np.concatenate(notes)
    sound: Samples = np.round(wave * (_PEAK / np.abs(wave).max())).astype(np.int16)
    sound.setflags(write=False)
    return sound


def load_sounds(config: SoundsConfig, rate_hz: int) -> dict[str, Samples | None]:
    """The sound of each key of `[sounds]` at `rate_hz`, read-only; None where it is "off".

    Files may have any rate from 4 to 192 kHz and any channels, which are mixed; `~` is the home
    directory. Reads them at once: no device or network is waited for.

    Raises:
        ConfigError: a file is missing, is not audio that can be read, or lasts longer than
            `LONGEST_S`. One line for each key that is wrong.
        MissingLibrary: a file has another rate and soxr is not installed.
    """
    sounds: dict[str, Samples | None] = {}
    problems = []
    for field in dataclasses.fields(config):
        key, value = field.name, str(getattr(config, field.name))
        if value == "off":
            sounds[key] = None
        elif value == "built-in":
            sounds[key] = built_in(key, rate_hz)
        else:
            try:
                sounds[key] = _read(os.path.expanduser(value), rate_hz)
            except InputFileError as error:
                problems.append(f'sounds.{key}: {error}. Or set it to "built-in" or "off"')
    if problems:
        raise ConfigError(*problems)
    return sounds


def _tone(note: _Note, rate_hz: int) -> NDArray[np.float64]:
    count = PcmFormat(rate_hz).samples(note.ms)
    if not note.from_hz:
        return np.zeros(count)
    ms = np.arange(count) * 1000 / rate_hz
    hz = np.geomspace(note.from_hz, note.to_hz or note.from_hz, count)
    phase = 2 * np.pi * np.cumsum(hz) / rate_hz
    highest = min(_HIGHEST_HZ, rate_hz / 2) / hz.max()
    wave = np.sin(phase)
    for partial, strength in enumerate(note.overtones, start=2):
        if partial <= highest:
            wave += strength * np.sin(partial * phase)
    rise = np.minimum(1.0, ms / _ATTACK_MS)
    fall = np.minimum(1.0, (note.ms - ms) / _RELEASE_MS)
    # A raised cosine: it has no corners, which would be heard as clicks.
    edges = (1 - np.cos(np.pi * rise)) * (1 - np.cos(np.pi * fall)) / 4
    shaped: NDArray[np.float64] = wave * edges * np.exp(-ms / note.decay_ms)
    return shaped


def _read(path: str, rate_hz: int) -> Samples:
    with WavReader(path) as reader:
        lowest_hz, highest_hz = _RATES_HZ
        if not lowest_hz <= reader.rate_hz <= highest_hz:
            raise InputFileError(
                f"{path} has {reader.rate_hz} Hz; a sound has {lowest_hz} to {highest_hz}"
            )
        longest = int(LONGEST_S * reader.rate_hz)
        # In pieces: a header may promise more channels and samples than there is memory.
        pieces: list[Samples] = []
        count = 0
        while count <= longest:
            piece = reader.read(max(1, min(_PIECE // reader.channels, longest + 1 - count)))
            if not len(piece):
                break
            count += len(piece)
            pieces.append(np.round(piece.mean(axis=1)).astype(np.int16))
        if count > longest:
            stem = os.path.splitext(path)[0]
            raise InputFileError(
                f"{path} lasts longer than {LONGEST_S:g} s. "
                f"Cut it: ffmpeg -i '{path}' -t {LONGEST_S:g} '{stem}-short.wav'"
            )
        if not count:
            raise InputFileError(f"{path} holds no audio")
        resampler = Resampler(reader.rate_hz, rate_hz, STORED)
    parts = [*map(resampler.receive, pieces), resampler.end()]
    sound: Samples = np.concatenate(parts)
    sound.setflags(write=False)
    return sound
