"""What hearing tells the conversation. Times are seconds of `time.monotonic()`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class WakeHeard:
    """The wake word was said; `in_one_breath` where the question goes on from there."""

    word: str
    score: float
    in_one_breath: bool
    cut_off: bool = False
    """It was said into speech of somebody else, which is given up."""


@dataclass(frozen=True)
class StopHeard:
    """The word that stops a reply was said over it."""

    word: str


@dataclass(frozen=True)
class UtteranceBegan:
    """Somebody speaks.

    `over_reply` where a reply could still be heard.
    """

    utterance: int
    preroll_ms: int
    over_reply: bool = False


@dataclass(frozen=True)
class SpeechOverReply:
    """What became of speech over a reply: it "went on", "was brief", or "came back"."""

    utterance: int
    what: str


@dataclass(frozen=True)
class UtteranceEnded:
    """The gate closed at `at`; all audio of the utterance is queued.

    `voiced_ms` of it were speech.
    """

    utterance: int
    duration_ms: int
    at: float
    voiced_ms: int = 0


@dataclass(frozen=True)
class WindowOpened:
    """For a while the gate may open without the wake word: a follow-up."""


@dataclass(frozen=True)
class WindowPassed:
    """Nobody said anything: the gate is shut until the next wake word or button."""


@dataclass(frozen=True)
class FramesFlow:
    """Frames have come through for another second: the loop is not deaf."""

    level_dbfs: float
    floor_dbfs: float


@dataclass(frozen=True)
class InputAwaited:
    """Another second without a device, in which it was looked for: not deaf by mistake."""


@dataclass(frozen=True)
class InputEnded:
    """The input was a file and has ended."""


HearingEvent: TypeAlias = (
    WakeHeard
    | StopHeard
    | UtteranceBegan
    | SpeechOverReply
    | UtteranceEnded
    | WindowOpened
    | WindowPassed
    | FramesFlow
    | InputAwaited
    | InputEnded
)
