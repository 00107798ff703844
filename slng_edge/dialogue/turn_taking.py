"""Who speaks now, and what follows from what was heard: a table.

Theory of operation. Four states; what happens is one of the events below; each pair of state
and event that can be is a row of `TRANSITIONS`, with the next state and the actions to carry
out. A pair without a row is a mistake of the caller: it raises and changes nothing. The picture
of `docs/architecture.md` is this table.

Utterances are counted, because a second one can begin before the final of the first has come:
the words of all of them make one question. Words that were answered by nothing yet are kept when
their turn is interrupted while thinking, and go with the next question: nothing that was said is
lost. Interrupting a reply that sounds drops its question, which has been answered, if in part.

Every state but idle has a deadline; when it passes the loop is idle again and says why.
Times are seconds of a monotonic clock, handed in.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from slng_edge.errors import LocalProtocolError


class State(enum.Enum):
    """Where the conversation stands."""

    IDLE = "idle"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"


class Happened(enum.Enum):
    """What can happen, in the past tense; the rows of the table."""

    SPEECH_BEGAN = "somebody began to speak"
    ASKED = "a question came in writing"
    HEARD = "all that was said is understood: there are words"
    HEARD_PART = "a part of what was said is understood; more is coming"
    HEARD_NOTHING = "all that was said is understood: no words"
    SOUND_BEGAN = "the first sample of the reply was handed to the speaker"
    PROGRESSED = "the reply that sounds goes on"
    REPLY_ENDED = "the reply has sounded to its end, or came to nothing"
    STOPPED = "a button or a command stopped it"
    TIMED_OUT = "the state's deadline passed"


class Act(enum.Enum):
    """What to do; imperative."""

    START_REPLY = "hand the words to the responder"
    CANCEL_REPLY = "drop the reply, which nobody has interrupted"
    CUT_REPLY = "silence the reply that sounds"
    FORGET_SPEECH = "wait no longer for the words of what was said"
    REPORT_TIMEOUT = "say which deadline passed"


IDLE, LISTENING, THINKING, SPEAKING = (
    State.IDLE,
    State.LISTENING,
    State.THINKING,
    State.SPEAKING,
)
H, A = Happened, Act

Row: TypeAlias = tuple[State, tuple[Act, ...]]

TRANSITIONS: Mapping[tuple[State, Happened], Row] = {
    (IDLE, H.SPEECH_BEGAN): (LISTENING, ()),
    (IDLE, H.ASKED): (THINKING, (A.START_REPLY,)),
    (IDLE, H.STOPPED): (IDLE, ()),
    (LISTENING, H.SPEECH_BEGAN): (LISTENING, ()),
    (LISTENING, H.HEARD_PART): (LISTENING, ()),
    (LISTENING, H.HEARD): (THINKING, (A.START_REPLY,)),
    (LISTENING, H.HEARD_NOTHING): (IDLE, ()),
    (LISTENING, H.STOPPED): (IDLE, (A.FORGET_SPEECH,)),
    (LISTENING, H.TIMED_OUT): (IDLE, (A.FORGET_SPEECH, A.REPORT_TIMEOUT)),
    (THINKING, H.SPEECH_BEGAN): (LISTENING, (A.CANCEL_REPLY,)),
    (THINKING, H.SOUND_BEGAN): (SPEAKING, ()),
    (THINKING, H.REPLY_ENDED): (IDLE, ()),
    (THINKING, H.STOPPED): (IDLE, (A.CANCEL_REPLY,)),
    (THINKING, H.TIMED_OUT): (IDLE, (A.CANCEL_REPLY, A.REPORT_TIMEOUT)),
    (SPEAKING, H.SPEECH_BEGAN): (LISTENING, (A.CUT_REPLY,)),
    (SPEAKING, H.PROGRESSED): (SPEAKING, ()),
    (SPEAKING, H.REPLY_ENDED): (IDLE, ()),
    (SPEAKING, H.STOPPED): (IDLE, (A.CUT_REPLY,)),
    (SPEAKING, H.TIMED_OUT): (IDLE, (A.CANCEL_REPLY, A.REPORT_TIMEOUT)),
}


@dataclass(frozen=True)
class Deadlines:
    """How long each state may last, in seconds; `PROGRESSED` and a new utterance start it anew."""

    listening_s: float
    thinking_s: float
    speaking_s: float

    def of(self, state: State) -> float | None:
        """Seconds for `state`, None for idle."""
        return {
            LISTENING: self.listening_s,
            THINKING: self.thinking_s,
            SPEAKING: self.speaking_s,
        }.get(state)


class TurnTaking:
    """The table at work. One thread.

    Attributes:
        state: Where the conversation stands.
        turn: Number of the turn; `START_REPLY` raises it.
        deadline: When `TIMED_OUT` is due; None in idle.
        words: What the current turn answers.
    """

    def __init__(self, deadlines: Deadlines) -> None:
        self.state = State.IDLE
        self.turn = 0
        self.deadline: float | None = None
        self.words = ""
        self._deadlines = deadlines
        self._open_utterances = 0
        self._heard: list[str] = []

    def speech_began(self, now: float) -> tuple[Act, ...]:
        """An utterance began; a `final_came` or `speech_lost` will follow for it."""
        unanswered = self.state is THINKING
        acts = self._move(H.SPEECH_BEGAN, now)
        if unanswered:
            self._heard.append(self.words)
        self._open_utterances += 1
        return acts

    def final_came(self, text: str, now: float) -> tuple[Act, ...]:
        """The words of an utterance came; empty where nothing was said."""
        if text and self._open_utterances:
            self._heard.append(text)
        return self._utterance_over(now)

    def speech_lost(self, now: float) -> tuple[Act, ...]:
        """The words of an utterance will not come."""
        return self._utterance_over(now)

    def asked(self, text: str, now: float) -> tuple[Act, ...]:
        """A question came in writing, while idle."""
        return self._start_reply(H.ASKED, [text], now)

    def sound_began(self, now: float) -> tuple[Act, ...]:
        """The first sample of the current turn's reply was handed to the speaker."""
        return self._move(H.SOUND_BEGAN, now)

    def progressed(self, now: float) -> tuple[Act, ...]:
        """The reply that sounds goes on: audio came, or was played."""
        return self._move(H.PROGRESSED, now)

    def reply_ended(self, now: float) -> tuple[Act, ...]:
        """The current turn's reply has sounded to its end, or came to nothing."""
        return self._move(H.REPLY_ENDED, now)

    def stopped(self, now: float) -> tuple[Act, ...]:
        """A button or a command stopped whatever goes on."""
        acts = self._move(H.STOPPED, now)
        self._forget_speech()
        return acts

    def expire(self, now: float) -> tuple[Act, ...]:
        """What the passing of time asks for."""
        if self.deadline is None or now < self.deadline:
            return ()
        acts = self._move(H.TIMED_OUT, now)
        self._forget_speech()
        return acts

    def _utterance_over(self, now: float) -> tuple[Act, ...]:
        if self._open_utterances == 0:
            return ()  # given up on, and reported, before
        self._open_utterances -= 1
        if self._open_utterances:
            return self._move(H.HEARD_PART, now)
        if self._heard:
            return self._start_reply(H.HEARD, self._heard, now)
        return self._move(H.HEARD_NOTHING, now)

    def _start_reply(self, event: Happened, words: list[str], now: float) -> tuple[Act, ...]:
        acts = self._move(event, now)
        self.words = " ".join(words)
        self._heard.clear()
        self.turn += 1
        return acts

    def _forget_speech(self) -> None:
        self._open_utterances = 0
        self._heard.clear()

    def _move(self, event: Happened, now: float) -> tuple[Act, ...]:
        row = TRANSITIONS.get((self.state, event))
        if row is None:
            raise LocalProtocolError(f"{event.name} cannot happen in state {self.state.value}")
        self.state, acts = row
        limit_s = self._deadlines.of(self.state)
        self.deadline = None if limit_s is None else now + limit_s
        return acts
