"""What the exchanges tell those who own them: of the connection, of speech, of replies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from slng_edge.errors import GatewayError, SessionClosed


@dataclass(frozen=True)
class SessionReady:
    """The gateway is ready on a new connection."""

    session_id: str


@dataclass(frozen=True)
class Broken:
    """The connection cannot be used any more; the owner drops it and connects again."""

    error: GatewayError


@dataclass(frozen=True)
class Odd:
    """A message was skipped because it could not be understood."""

    why: str


@dataclass(frozen=True)
class Partial:
    """What is understood of `utterance` so far, finals of its earlier parts included."""

    utterance: int
    text: str


@dataclass(frozen=True)
class Final:
    """The words of `utterance`; empty where nothing was said. `latency_s` from `finalize`.

    `answers` is False only where finals are not joined, for all but the last one.
    """

    utterance: int
    text: str
    latency_s: float
    confidence: float | None = None
    language: str | None = None
    duration_s: float | None = None
    words: tuple[dict[str, Any], ...] = ()
    answers: bool = True


@dataclass(frozen=True)
class WordsEnded:
    """The gateway hears the end of `utterance`, whose words are `text` so far; no final yet."""

    utterance: int
    text: str


@dataclass(frozen=True)
class UtteranceLost:
    """`ms` of `utterance` are lost; `over` says that no final will come for it."""

    utterance: int
    ms: int
    why: str
    over: bool


@dataclass(frozen=True)
class StrayFinal:
    """Words came that belong to no open utterance."""

    text: str


@dataclass(frozen=True)
class SegmentBegan:
    """The first audio of a segment came: `texts` of `reply`, `latency_s` after its first text."""

    reply: int
    texts: tuple[str, ...]
    latency_s: float
    sent_at: float


@dataclass(frozen=True)
class ReplyAudio:
    """Whole s16le mono samples of `reply`, at `rate_hz`."""

    reply: int
    pcm: bytes
    rate_hz: int


@dataclass(frozen=True)
class SegmentDone:
    """All audio of the segment in flight has come."""

    reply: int


@dataclass(frozen=True)
class ReplyDone:
    """All audio of the reply has come."""

    reply: int


@dataclass(frozen=True)
class ReplyCut:
    """The rest of the reply will not come; what came of it may be played."""

    reply: int
    error: GatewayError


SttEvent: TypeAlias = (
    SessionReady | Partial | Final | WordsEnded | UtteranceLost | StrayFinal | Broken | Odd
)

TtsEvent: TypeAlias = (
    SessionReady | SegmentBegan | ReplyAudio | SegmentDone | ReplyDone | ReplyCut | Broken | Odd
)


def given_up(why: str) -> Broken:
    """The connection is there and does not answer: it is to be replaced at once."""
    return Broken(SessionClosed(why, code=1000, by_us=True))
