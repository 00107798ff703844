"""What a gateway can tell us, whatever the dialect: the shared event vocabulary.

A dialect decodes each message of its socket into these; everything above the
dialects knows only these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from slng_edge.errors import GatewayError


@dataclass(frozen=True)
class Ready:
    """The session may be used now."""

    session_id: str = ""


@dataclass(frozen=True)
class PartialTranscript:
    """Words so far; they may still change."""

    text: str
    confidence: float | None = None


@dataclass(frozen=True)
class FinalTranscript:
    """Words that will not change; an empty text says that nothing more was said.

    `answers_finalize` is True where the route marks the final that answers our
    `finalize` (`from_finalize: true`).
    """

    text: str
    confidence: float | None = None
    language: str | None = None
    duration_s: float | None = None
    words: tuple[dict[str, Any], ...] = ()
    answers_finalize: bool = False


@dataclass(frozen=True)
class UtteranceEnd:
    """The server's own voice detection heard an end; `last_word_end_s` from the stream's start."""

    last_word_end_s: float | None = None


@dataclass(frozen=True)
class Audio:
    """Audio as the message carried it: bytes that may split a sample or begin with a WAV header."""

    data: bytes
    sequence: int | None = None


@dataclass(frozen=True)
class SegmentStarted:
    """A synthesized segment begins."""

    segment_id: str = ""


@dataclass(frozen=True)
class SegmentEnded:
    """A synthesized segment is over; not the end of an utterance."""

    segment_id: str = ""


@dataclass(frozen=True)
class SynthesisEnded:
    """A terminal: `kind` is "flushed" or "audio_end", which are alternatives (protocol.md, 4)."""

    kind: str
    duration_s: float | None = None


@dataclass(frozen=True)
class Cleared:
    """What was queued at the gateway is dropped; no audio of before follows."""


@dataclass(frozen=True)
class Failed:
    """The gateway said `error`; `error.retryable` says whether trying again can help."""

    error: GatewayError


@dataclass(frozen=True)
class Ignored:
    """A message of a known type that asks nothing of us (`Metadata`, pong, …)."""

    type: str


@dataclass(frozen=True)
class NotUnderstood:
    """A message that is not JSON, not an object, of an unknown type, or without what it needs.

    `type` is "" where there is none; `why` is one line, without the message's content
    beyond its first characters.
    """

    type: str
    why: str = field(default="")


SttServerEvent: TypeAlias = (
    Ready | PartialTranscript | FinalTranscript | UtteranceEnd | Failed | Ignored | NotUnderstood
)
TtsServerEvent: TypeAlias = (
    Ready
    | Audio
    | SegmentStarted
    | SegmentEnded
    | SynthesisEnded
    | Cleared
    | Failed
    | Ignored
    | NotUnderstood
)
