"""A microphone that is spoken into while it is read, and a recognizer that knows its track.

The track is a WAV file that the loop reads in real time. So a word is said when the loop is where
it should be, whatever the load of the machine. The recognizer knows an utterance by its sound
alone: its words come only of a sound that is whole, without a gap or a repeat, and no final can be
credited to another utterance unseen.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from conversation_scripts import RATE_HZ, voice, write_wav

from slng_edge.pcm import SAMPLE_BYTES
from slng_edge.simulator.recognition import Recognition

TRACK_S = 60
LEAD_S = 0.5
READ_AHEAD_S = 0.35
"""How far ahead of the present is spoken, and read at most."""
PARTIAL_MS = 200
GARBLED = "garbled"

_NOISE = np.random.default_rng(20).integers(-2, 3, TRACK_S * RATE_HZ).astype(np.int16)


_voice = functools.cache(voice)


@dataclass(frozen=True)
class Said:
    """What was said: samples `start` to `end` of the microphone's track."""

    text: str
    start: int
    end: int


@dataclass
class Take:
    """What one connection got of one utterance: `samples` of the track from `start`.

    `answered` where a final of it went out; `exact` while it is the track, sample by sample.
    """

    stream: int
    start: int
    samples: int = 0
    exact: bool = True
    answered: bool = False
    text: str = ""


class Microphone:
    """A WAV file of a quiet room, spoken into while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = write_wav(path, _NOISE)
        self.said: list[Said] = []
        self._file = os.open(path, os.O_WRONLY)
        self._data = path.stat().st_size - _NOISE.nbytes
        self._track = bytearray(_NOISE.tobytes())
        self._lock = threading.Lock()

    def say(self, text: str, ms: int, present_s: Callable[[], float]) -> Said:
        """Speak from `LEAD_S` after the reader's present, which is asked for.

        Raises:
            AssertionError: the machine is so slow that the reader may have been faster.
        """
        sound = _voice(ms)
        start = round((present_s() + LEAD_S) * RATE_HZ)
        said = Said(text, start, start + len(sound))
        pcm = (sound + _NOISE[start : said.end]).astype("<i2").tobytes()
        with self._lock:
            at = start * SAMPLE_BYTES
            self._track[at : at + len(pcm)] = pcm
            self.said.append(said)
        os.pwrite(self._file, pcm, self._data + at)
        assert present_s() + READ_AHEAD_S < start / RATE_HZ, "spoken too late: a slow machine"
        return said

    def close(self) -> None:
        """Nothing more is said."""
        os.close(self._file)

    def find(self, pcm: bytes) -> int:
        """The sample of the track where `pcm` stands, -1 where it does not."""
        with self._lock:
            at = self._track.find(pcm)
            while at % SAMPLE_BYTES and at >= 0:
                at = self._track.find(pcm, at + 1)
            return at // SAMPLE_BYTES if at >= 0 else -1

    def has(self, pcm: bytes, sample: int) -> bool:
        """Whether the track goes on with `pcm` at `sample`."""
        at = sample * SAMPLE_BYTES
        with self._lock:
            return self._track[at : at + len(pcm)] == pcm

    def text_at(self, sample: int) -> str:
        """What is said first from `sample` on, "" where nothing is."""
        with self._lock:
            return next((said.text for said in self.said if said.end > sample), "")


class SoundRecognizer:
    """Knows what was said by where the sound stands in the microphone's track."""

    def __init__(self, microphone: Microphone) -> None:
        self.microphone = microphone
        self.takes: list[Take] = []
        self._streams = 0

    def open(self, rate_hz: int, language: str) -> SoundStream:
        """See `Recognizer`."""
        assert rate_hz == RATE_HZ
        self._streams += 1
        return SoundStream(self, self._streams)


class SoundStream:
    """See `RecognizerStream`."""

    def __init__(self, recognizer: SoundRecognizer, number: int) -> None:
        self._recognizer, self._number = recognizer, number
        self._take: Take | None = None
        self._answers: dict[int, Take] = {}

    def receive(self, pcm: bytes) -> str | None:
        microphone, take = self._recognizer.microphone, self._take
        if take is None:
            take = self._take = Take(self._number, microphone.find(pcm))
            self._recognizer.takes.append(take)
            take.exact = take.start >= 0
            take.text = microphone.text_at(take.start)
        else:
            take.exact = take.exact and microphone.has(pcm, take.start + take.samples)
        take.samples += len(pcm) // SAMPLE_BYTES
        heard = take.samples * 1000 >= PARTIAL_MS * RATE_HZ
        return " ".join(take.text.split()[:2]) if heard else None

    def finish(self) -> Recognition:
        take, self._take = self._take, None
        assert take is not None
        take.answered = True
        result = Recognition(take.text if take.exact else GARBLED, 1.0)
        self._answers[id(result)] = take
        return result

    def take_back(self, result: Recognition) -> None:
        self._answers[id(result)].answered = False

    def close(self) -> None:
        """Nothing to release."""
