"""Speech recognizers of the local gateway, behind one small interface."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from slng_edge.errors import ConfigError, InputFileError, MissingLibrary
from slng_edge.pcm import SAMPLE_BYTES, PcmFormat

SCRIPT_MS_PER_WORD = 100
"""A scripted partial grows by one word for so much audio."""

SPHINX_PARTIAL_MS = 200
"""How often pocketsphinx is asked for its hypothesis."""

SPHINX_SLICE_MS = 40
"""Audio goes to pocketsphinx in such slices: it holds the interpreter lock while it works."""

SPHINX_FRAMES_PER_S = 100


class RateNotSupported(Exception):
    """The recognizer does not take audio of this rate."""


@dataclass
class Recognition:
    """What was understood of one utterance.

    `words` are `{"word", "start", "end", "confidence"}`, in seconds from the stream's start.
    """

    text: str
    confidence: float | None = None
    words: list[dict[str, Any]] = field(default_factory=list)
    duration_s: float | None = None


class RecognizerStream(Protocol):
    """One connection's recognition; utterance follows utterance. One thread."""

    def receive(self, pcm: bytes) -> str | None:
        """Take audio; the words of this utterance so far, or None where nothing is new."""

    def finish(self) -> Recognition:
        """End the utterance and say what it was."""

    def take_back(self, result: Recognition) -> None:
        """The result was not delivered, so the client will send the utterance again."""

    def close(self) -> None:
        """The connection is over."""


class Recognizer(Protocol):
    """Makes streams, for any number of connections. Any thread."""

    def open(self, rate_hz: int, language: str) -> RecognizerStream:
        """A new stream for s16le mono at `rate_hz`; `RateNotSupported` where it cannot."""


class ScriptRecognizer:
    """Answers lines of text in order, one for each utterance that has audio in it.

    The order is that in which utterances end, over all connections; an utterance whose final
    could not be delivered gives its line back. After the last line the first comes again, or,
    with `cycle=False`, nothing is understood any more.

    Args:
        lines: The answers; an empty one is an utterance in which nothing is understood.
        cycle: Whether to begin again at the end.
        ms_per_word: How much audio makes a partial grow by a word.

    Raises:
        ConfigError: there is no line.
    """

    def __init__(
        self, lines: Iterable[str], *, cycle: bool = True, ms_per_word: int = SCRIPT_MS_PER_WORD
    ) -> None:
        self._lines = tuple(lines)
        if not self._lines:
            raise ConfigError("a script for the recognizer needs at least one line")
        self._lock = threading.Lock()
        self._queue = deque(self._lines)
        self._cycle = cycle
        self.ms_per_word = ms_per_word

    @classmethod
    def from_file(cls, path: str) -> ScriptRecognizer:
        """The lines of a text file; blank ones and those that begin with # are left out.

        Raises:
            InputFileError: it cannot be read, or no line is left.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputFileError(f"cannot read the script {path}: {error}") from error
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        if not lines:
            raise InputFileError(f"the script {path} has no line to say")
        return cls(lines)

    def open(self, rate_hz: int, language: str) -> RecognizerStream:
        """A stream; every rate and language will do."""
        return _ScriptStream(self, PcmFormat(rate_hz))

    def peek(self) -> str:
        """The line that comes next."""
        with self._lock:
            self._refill()
            return self._queue[0] if self._queue else ""

    def take(self) -> str:
        """The line that comes next, used up."""
        with self._lock:
            self._refill()
            return self._queue.popleft() if self._queue else ""

    def give_back(self, line: str) -> None:
        """Let `line` come next."""
        with self._lock:
            self._queue.appendleft(line)

    def _refill(self) -> None:
        if not self._queue and self._cycle:
            self._queue.extend(self._lines)


class _ScriptStream:
    def __init__(self, script: ScriptRecognizer, pcm_format: PcmFormat) -> None:
        self._script, self._format = script, pcm_format
        self._before = self._samples = 0

    def receive(self, pcm: bytes) -> str | None:
        self._samples += len(pcm) // SAMPLE_BYTES
        count = int(self._format.ms(self._samples) // self._script.ms_per_word)
        return " ".join(self._script.peek().split()[:count]) if count else None

    def finish(self) -> Recognition:
        text = self._script.take()
        start_s = self._before / self._format.rate_hz
        pieces = text.split()
        step_s = self._samples / self._format.rate_hz / max(1, len(pieces))
        words = [
            {
                "word": word,
                "start": round(start_s + index * step_s, 3),
                "end": round(start_s + (index + 1) * step_s, 3),
                "confidence": 1.0,
            }
            for index, word in enumerate(pieces)
        ]
        self._before, self._samples = self._before + self._samples, 0
        return Recognition(text, 1.0, words)

    def take_back(self, result: Recognition) -> None:
        self._script.give_back(result.text)

    def close(self) -> None:
        pass


class PocketsphinxRecognizer:
    """Recognizes US English with pocketsphinx and the model it carries.

    A decoder (0.3 s to load, about 100 MB) is kept for the next connection of the same rate.

    Raises:
        MissingLibrary: pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise MissingLibrary(
                "pocketsphinx", "--stt pocketsphinx", "pip install 'slng-edge[gateway]'"
            ) from error
        self._new_decoder: Callable[..., Any] = Decoder
        self._lock = threading.Lock()
        self._idle: list[tuple[int, Any]] = []

    def open(self, rate_hz: int, language: str) -> RecognizerStream:
        """A stream; rates under 16 kHz are refused, the model needs 6.8 kHz of bandwidth."""
        if rate_hz < 16000:
            raise RateNotSupported(f"sample_rate {rate_hz}: pocketsphinx needs 16000 or more")
        return _SphinxStream(self, rate_hz, self._decoder(rate_hz))

    def give_back(self, rate_hz: int, decoder: Any) -> None:
        """Keep a decoder for the next stream."""
        with self._lock:
            self._idle.append((rate_hz, decoder))

    def _decoder(self, rate_hz: int) -> Any:
        with self._lock:
            for index, (rate, _) in enumerate(self._idle):
                if rate == rate_hz:
                    return self._idle.pop(index)[1]
        return self._new_decoder(samprate=rate_hz, loglevel="FATAL")


class _SphinxStream:
    def __init__(self, owner: PocketsphinxRecognizer, rate_hz: int, decoder: Any) -> None:
        self._owner, self._format, self._decoder = owner, PcmFormat(rate_hz), decoder
        self._decoder.start_stream()
        self._started = False
        self._before = self._samples = self._asked = 0

    def receive(self, pcm: bytes) -> str | None:
        if not self._started:
            self._decoder.start_utt()
            self._started = True
        step = self._format.bytes(SPHINX_SLICE_MS)
        for start in range(0, len(pcm), step):
            self._decoder.process_raw(pcm[start : start + step])
        self._samples += len(pcm) // SAMPLE_BYTES
        if self._samples - self._asked < self._format.samples(SPHINX_PARTIAL_MS):
            return None
        self._asked = self._samples
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else None

    def finish(self) -> Recognition:
        if not self._started:
            return Recognition("")
        self._decoder.end_utt()
        self._started = False
        hypothesis = self._decoder.hyp()
        text = hypothesis.hypstr if hypothesis else ""
        start_s = self._before / self._format.rate_hz
        words = [
            {
                "word": re.sub(r"\(\d+\)$", "", segment.word),
                "start": round(start_s + segment.start_frame / SPHINX_FRAMES_PER_S, 3),
                "end": round(start_s + (segment.end_frame + 1) / SPHINX_FRAMES_PER_S, 3),
                "confidence": round(min(1.0, segment.prob), 3),
            }
            for segment in (self._decoder.seg() or () if text else ())
            if not segment.word.startswith(("<", "["))
        ]
        self._before, self._samples, self._asked = self._before + self._samples, 0, 0
        # the decoder's own posterior is a product over the whole utterance, far from 0..1 as
        # clients read it
        confidence = sum(word["confidence"] for word in words) / len(words) if words else None
        return Recognition(text, round(confidence, 3) if confidence is not None else None, words)

    def take_back(self, result: Recognition) -> None:
        pass

    def close(self) -> None:
        if self._started:
            self._decoder.end_utt()
            self._started = False
        self._owner.give_back(self._format.rate_hz, self._decoder)


def recognizer_named(name: str) -> Recognizer:
    """The recognizer of a name as `--stt` takes it: `pocketsphinx` or `script:FILE`.

    Raises:
        ConfigError: there is no such recognizer.
        InputFileError: the script cannot be read.
        MissingLibrary: pocketsphinx is not installed.
    """
    if name == "pocketsphinx":
        return PocketsphinxRecognizer()
    kind, _, path = name.partition(":")
    if kind == "script" and path:
        return ScriptRecognizer.from_file(path)
    raise ConfigError(f"no speech recognizer {name!r}: pocketsphinx or script:FILE")
