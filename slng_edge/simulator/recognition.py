"""What the gateway asks of a speech recognizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol


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
