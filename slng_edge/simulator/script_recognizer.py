"""A recognizer that answers from a script: no model, and always the same."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from slng_edge.errors import ConfigError, InputFileError
from slng_edge.pcm import SAMPLE_BYTES, PcmFormat
from slng_edge.simulator.recognition import Recognition, RecognizerStream

SCRIPT_MS_PER_WORD = 100
"""A scripted partial grows by one word for so much audio."""


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
