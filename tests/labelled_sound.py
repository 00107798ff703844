"""Sound that says itself what it is: which utterance or reply, and which sample of it.

A voice carries its number and its position in the low bits of its samples. The recognizer here
reads them, and so understands exactly what was said: an utterance of which a sample is missing,
comes twice or stands elsewhere is understood as broken. A reply is a row of pairs (what it is,
how far it is), so that a recording tells what was heard, when, and whether any of it was heard
twice.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from slng_edge.pcm import PcmFormat, Samples, samples_of
from slng_edge.simulator.recognition import Recognition, RecognizerStream

VOICE_RATE_HZ = 16000

_MARK = 15
"""The low four bits of every eighth sample of a voice; the others are digits to base 15."""
_BLOCK = 8
_LOW = 15

_SYLLABLE_MS, _PAUSE_MS = 320, 80
"""A buzz without pauses would be taken for the noise of the room after a while."""

_LABEL_AT, _INDEX_AT = 2000, 12000
"""Where the two values of a pair begin: labels up to 10000, then positions."""

_WORD_MS = 100
_WORDS = re.compile(r"words of (\d+)")
_SENTENCE = re.compile(r"Answer (\d+) part (\d+)\.")
PARTS = 4
"""Parts (sentences) that a reply has at most."""


# What is said


def labelled_voice(number: int, ms: float, *, level: float = 0.3) -> Samples:
    """A buzz that the detector takes for a voice, with `number` (below 3375) in its low bits."""
    count = PcmFormat(VOICE_RATE_HZ).samples(ms) // _BLOCK * _BLOCK
    t = np.arange(count) / VOICE_RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 16))
    syllables = (t * 1000) % (_SYLLABLE_MS + _PAUSE_MS) < _SYLLABLE_MS
    samples = (np.asarray(buzz) / np.abs(buzz).max() * syllables * level * 32767).astype(np.int16)
    blocks = np.arange(count // _BLOCK)
    digits = np.empty((len(blocks), _BLOCK), dtype=np.int16)
    digits[:, 0] = _MARK
    for place, scale in enumerate((225, 15, 1)):
        digits[:, 1 + place] = number // scale % 15
    for place, scale in enumerate((3375, 225, 15, 1)):
        digits[:, 4 + place] = blocks // scale % 15
    return np.asarray((samples & ~_LOW) | digits.reshape(-1), dtype=np.int16)


def numbers_in(samples: Samples) -> list[int]:
    """The voices of which anything is in `samples`, in order of their first block."""
    low = samples & _LOW
    starts = np.flatnonzero(low == _MARK)
    starts = starts[starts + _BLOCK <= len(samples)]
    if not len(starts):
        return []
    digits = low[starts[:, None] + np.arange(1, 4)]
    found = digits @ np.array([225, 15, 1])
    _, first = np.unique(found, return_index=True)
    return [int(found[at]) for at in sorted(first)]


def words_of(number: int) -> str:
    """What is understood of a voice that came whole."""
    return f"words of {number}"


def numbers_of(text: str) -> list[int]:
    """The utterances whose words are in `text`."""
    return [int(number) for number in _WORDS.findall(text)]


class LabelReader:
    """A `Recognizer` that reads the labels, and knows what each voice has to be.

    Args:
        voices: The samples of each voice by its number.

    Attributes:
        broken: Numbers of voices that did not come whole, once, sample by sample.
    """

    def __init__(self, voices: Mapping[int, Samples]) -> None:
        self._voices = {number: voice.tobytes() for number, voice in voices.items()}
        self._lock = threading.Lock()
        self.broken: list[int] = []

    def open(self, rate_hz: int, language: str) -> RecognizerStream:
        """See `Recognizer`."""
        assert rate_hz == VOICE_RATE_HZ
        return _LabelStream(self)

    def understand(self, pcm: bytes) -> str:
        """The words of a whole utterance."""
        words = []
        for number in numbers_in(samples_of(pcm)):
            if pcm.count(self._voices.get(number, b"?")) == 1:
                words.append(words_of(number))
            else:
                words.append(f"broken {number}")
                with self._lock:
                    self.broken.append(number)
        return " ".join(words)


class _LabelStream:
    """Grows by a word for each 100 ms, as recognizers do; the answer is exact."""

    def __init__(self, reader: LabelReader) -> None:
        self._reader = reader
        self._pcm = bytearray()

    def receive(self, pcm: bytes) -> str | None:
        self._pcm += pcm
        numbers = numbers_in(samples_of(bytes(self._pcm)))
        known = " ".join(map(words_of, numbers)).split()
        voiced = int(np.count_nonzero(samples_of(bytes(self._pcm))))
        count = int(PcmFormat(VOICE_RATE_HZ).ms(voiced) // _WORD_MS)
        return " ".join(known[:count]) or None

    def finish(self) -> Recognition:
        pcm, self._pcm = bytes(self._pcm), bytearray()
        return Recognition(self._reader.understand(pcm), 1.0)

    def take_back(self, result: Recognition) -> None:
        pass  # it is in the sound

    def close(self) -> None:
        pass


# What is answered


def answer_to(number: int, parts: int) -> str:
    """A reply of so many sentences, to be spoken by `LabelledReplies`."""
    return " ".join(f"Answer {number} part {part}." for part in range(parts))


class LabelledReplies:
    """A `Synthesizer` of replies that number themselves: `answer_to`'s, and echoed words.

    Args:
        part_ms: How long each sentence of the reply to an utterance is, by its number; at
            most 1.7 s at 24 kHz.
    """

    def __init__(self, part_ms: Mapping[int, float]) -> None:
        self._part_ms = part_ms

    def synthesize(
        self, text: str, rate_hz: int, *, speed: float = 1.0, language: str = ""
    ) -> Samples:
        """See `Synthesizer`."""
        if not text.strip():
            return np.empty(0, dtype=np.int16)
        number, part = _named_in(text)
        count = PcmFormat(rate_hz).samples(self._part_ms[number]) // 2
        sound = np.empty((count, 2), dtype=np.int16)
        sound[:, 0] = _LABEL_AT + PARTS * number + part
        sound[:, 1] = _INDEX_AT + np.arange(count)
        return sound.reshape(-1)


def _named_in(text: str) -> tuple[int, int]:
    """The utterance that a sentence answers, and which of the reply's sentences it is."""
    sentence = _SENTENCE.fullmatch(text.strip())
    if sentence is not None:
        return int(sentence[1]), int(sentence[2])
    echoed = numbers_of(text)
    if not echoed:
        raise AssertionError(f"asked to speak {text!r}")
    return echoed[-1], 0


@dataclass(frozen=True)
class Heard:
    """A piece of a reply in a recording, in one go.

    Attributes:
        at: Sample of the recording at which it begins.
        number: The utterance that it answers.
        part: The sentence.
        first: Its first pair, from 0.
        last: Its last pair.
    """

    at: int
    number: int
    part: int
    first: int
    last: int

    @property
    def end(self) -> int:
        """Sample of the recording after it."""
        return self.at + 2 * (self.last - self.first + 1)


def heard_in(recording: Samples) -> list[Heard]:
    """The pieces of labelled replies in `recording`, in order; what fades in or out is left out."""
    values = recording.astype(np.int32)
    labels, index = values[:-3], values[1:-2]
    pairs = np.flatnonzero(
        (labels >= _LABEL_AT)
        & (labels < _INDEX_AT)
        & (index >= _INDEX_AT)
        & (values[2:-1] == labels)
        & (values[3:] == index + 1)
    )
    if not len(pairs):
        return []
    breaks = np.flatnonzero((np.diff(pairs) != 2) | (np.diff(labels[pairs]) != 0)) + 1
    found = []
    for run in np.split(pairs, breaks):
        number, part = divmod(int(labels[run[0]]) - _LABEL_AT, PARTS)
        first = int(index[run[0]]) - _INDEX_AT
        found.append(Heard(int(run[0]), number, part, first, first + len(run)))
    return found
