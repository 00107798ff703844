"""Who speaks now, and what follows from what was heard: a table.

Theory of operation. Five states; what happens is one of the events below; each pair of state
and event that can be is a row of `TRANSITIONS`, with the next state and the actions to carry
out. A pair without a row is a mistake of the caller: it raises and changes nothing. The pictures
of `docs/architecture.md` and `docs/conversation.md` are this table.

Interrupting takes two steps, because a cough is no question. Who begins to speak over a reply
pauses it at once. Speech that ends before it can have been meant lets the reply go on; speech that
goes on stops the work on the reply, which stays paused until words come. Words drop it, in
whichever state they find it; speech without words lets it go on.

Utterances are counted, because a second one can begin before the final of the first has come:
the words of all of them make one question. Words that were answered by nothing yet are kept when
their turn is interrupted while thinking, and go with the next question: nothing that was said is
lost. Interrupting a reply that sounds drops its question, which has been answered, if in part.

Every state but idle has a deadline; when it passes the loop is idle again and says why. A reply
that has been paused for too long is dropped, and the words are still waited for.
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
    PAUSED = "paused"


class Happened(enum.Enum):
    """What can happen, in the past tense; the rows of the table."""

    SPEECH_BEGAN = "somebody began to speak"
    SPEECH_WENT_ON = "who spoke over the reply goes on"
    SPEECH_WAS_BRIEF = "who spoke over the reply stopped at once"
    SPEECH_CAME_BACK = "who had stopped at once speaks again"
    ASKED = "a question came in writing"
    TO_SAY = "a text to be said came in writing"
    WORDS_BEGAN = "the first words of what was said are understood"
    HEARD = "all that was said is understood: there are words"
    HEARD_PART = "a part of what was said is understood; more is coming"
    HEARD_NOTHING = "all that was said is understood: no words"
    SOUND_BEGAN = "the first sample of the reply was handed to the speaker"
    PROGRESSED = "the reply that sounds goes on"
    REPLY_ENDED = "the reply has sounded to its end, or came to nothing"
    REPLY_OUTLASTED = "the reply has ended before what was said over it is understood"
    WOKEN = "the wake word, a button or a command asks to be listened to"
    STOPPED = "a button or a command stopped it"
    TIMED_OUT = "the state's deadline passed"


class Act(enum.Enum):
    """What to do; imperative."""

    START_REPLY = "hand the words to the responder"
    SAY_TEXT = "speak the text"
    CANCEL_REPLY = "drop the reply, which nobody has interrupted"
    PAUSE_REPLY = "hold the reply that sounds"
    STOP_WRITING = "stop the work on the reply, but keep what there is of it"
    RESUME_REPLY = "let the reply go on"
    CUT_REPLY = "silence the reply that sounds"
    FORGET_SPEECH = "wait no longer for the words of what was said"
    REPORT_TIMEOUT = "say which deadline passed"


IDLE, LISTENING, THINKING, SPEAKING, PAUSED = (
    State.IDLE,
    State.LISTENING,
    State.THINKING,
    State.SPEAKING,
    State.PAUSED,
)
H, A = Happened, Act

Row: TypeAlias = tuple[State, tuple[Act, ...]]

TRANSITIONS: Mapping[tuple[State, Happened], Row] = {
    (IDLE, H.SPEECH_BEGAN): (LISTENING, ()),
    (IDLE, H.ASKED): (THINKING, (A.START_REPLY,)),
    (IDLE, H.TO_SAY): (THINKING, (A.SAY_TEXT,)),
    (IDLE, H.WOKEN): (IDLE, ()),
    (IDLE, H.STOPPED): (IDLE, ()),
    (LISTENING, H.SPEECH_BEGAN): (LISTENING, ()),
    (LISTENING, H.HEARD_PART): (LISTENING, ()),
    (LISTENING, H.HEARD): (THINKING, (A.START_REPLY,)),
    (LISTENING, H.HEARD_NOTHING): (IDLE, ()),
    (LISTENING, H.WOKEN): (IDLE, (A.FORGET_SPEECH,)),
    (LISTENING, H.STOPPED): (IDLE, (A.FORGET_SPEECH,)),
    (LISTENING, H.TIMED_OUT): (IDLE, (A.FORGET_SPEECH, A.REPORT_TIMEOUT)),
    (THINKING, H.SPEECH_BEGAN): (LISTENING, (A.CANCEL_REPLY,)),
    (THINKING, H.SOUND_BEGAN): (SPEAKING, ()),
    (THINKING, H.REPLY_ENDED): (IDLE, ()),
    (THINKING, H.WOKEN): (IDLE, (A.CANCEL_REPLY,)),
    (THINKING, H.STOPPED): (IDLE, (A.CANCEL_REPLY,)),
    (THINKING, H.TIMED_OUT): (IDLE, (A.CANCEL_REPLY, A.REPORT_TIMEOUT)),
    (SPEAKING, H.SPEECH_BEGAN): (PAUSED, (A.PAUSE_REPLY,)),
    (SPEAKING, H.SPEECH_CAME_BACK): (PAUSED, (A.PAUSE_REPLY,)),
    (SPEAKING, H.WORDS_BEGAN): (LISTENING, (A.CUT_REPLY,)),
    (SPEAKING, H.HEARD_PART): (LISTENING, (A.CUT_REPLY,)),
    (SPEAKING, H.HEARD): (THINKING, (A.CUT_REPLY, A.START_REPLY)),
    (SPEAKING, H.HEARD_NOTHING): (SPEAKING, ()),
    (SPEAKING, H.PROGRESSED): (SPEAKING, ()),
    (SPEAKING, H.REPLY_ENDED): (IDLE, ()),
    (SPEAKING, H.REPLY_OUTLASTED): (LISTENING, ()),
    (SPEAKING, H.WOKEN): (IDLE, (A.CUT_REPLY, A.FORGET_SPEECH)),
    (SPEAKING, H.STOPPED): (IDLE, (A.CUT_REPLY, A.FORGET_SPEECH)),
    (SPEAKING, H.TIMED_OUT): (IDLE, (A.CANCEL_REPLY, A.FORGET_SPEECH, A.REPORT_TIMEOUT)),
    (PAUSED, H.SPEECH_BEGAN): (PAUSED, ()),
    (PAUSED, H.SPEECH_WENT_ON): (PAUSED, (A.STOP_WRITING,)),
    (PAUSED, H.SPEECH_WAS_BRIEF): (SPEAKING, (A.RESUME_REPLY,)),
    (PAUSED, H.WORDS_BEGAN): (LISTENING, (A.CUT_REPLY,)),
    (PAUSED, H.HEARD_PART): (LISTENING, (A.CUT_REPLY,)),
    (PAUSED, H.HEARD): (THINKING, (A.CUT_REPLY, A.START_REPLY)),
    (PAUSED, H.HEARD_NOTHING): (SPEAKING, (A.RESUME_REPLY,)),
    (PAUSED, H.REPLY_OUTLASTED): (LISTENING, ()),
    (PAUSED, H.WOKEN): (IDLE, (A.CUT_REPLY, A.FORGET_SPEECH)),
    (PAUSED, H.STOPPED): (IDLE, (A.CUT_REPLY, A.FORGET_SPEECH)),
    (PAUSED, H.TIMED_OUT): (LISTENING, (A.CUT_REPLY,)),
}


@dataclass(frozen=True)
class Deadlines:
    """How long each state may last, in seconds; `PROGRESSED` and a new utterance start it anew."""

    listening_s: float
    thinking_s: float
    speaking_s: float
    paused_s: float

    def of(self, state: State) -> float | None:
        """Seconds for `state`, None for idle."""
        return {
            LISTENING: self.listening_s,
            THINKING: self.thinking_s,
            SPEAKING: self.speaking_s,
            PAUSED: self.paused_s,
        }.get(state)


class TurnTaking:
    """The table at work. One thread.

    Args:
        deadlines: How long each state may last.
        resume: Whether a reply goes on when what was said over it has no words; it is dropped
            otherwise.

    Attributes:
        state: Where the conversation stands.
        turn: Number of the turn; `START_REPLY` and `SAY_TEXT` raise it.
        deadline: When `TIMED_OUT` is due; None in idle.
        words: What the current turn answers, or says.
        answers: Whether it answers something: a text that is said is no question.
    """

    def __init__(self, deadlines: Deadlines, *, resume: bool = True) -> None:
        self.state = State.IDLE
        self.turn = 0
        self.deadline: float | None = None
        self.words = ""
        self.answers = True
        self.deadlines = deadlines
        self._resume = resume
        self._open_utterances = 0
        self._heard: list[str] = []

    @property
    def listens(self) -> bool:
        """Whether the words of an utterance are still to come."""
        return self._open_utterances > 0

    def question_with(self, words: str) -> str:
        """What the question will be if `words` are the rest of it."""
        return " ".join([*self._heard, words])

    def speech_began(self, now: float) -> tuple[Act, ...]:
        """An utterance began; a `final_came` or `speech_lost` will follow for it."""
        unanswered = self.state is THINKING and self.answers
        acts = self._move(H.SPEECH_BEGAN, now)
        if unanswered:
            self._heard.append(self.words)
        self._open_utterances += 1
        return acts

    def speech_went_on(self, now: float) -> tuple[Act, ...]:
        """The speech over a reply has lasted for long enough to be meant."""
        return self._move_from(H.SPEECH_WENT_ON, now, PAUSED)

    def speech_was_brief(self, now: float) -> tuple[Act, ...]:
        """The speech over a reply ended before that; its final may still come."""
        return self._move_from(H.SPEECH_WAS_BRIEF, now, PAUSED)

    def speech_came_back(self, now: float) -> tuple[Act, ...]:
        """The brief speech over a reply goes on after all, in the same utterance."""
        if not self._open_utterances:
            return ()  # given up on before: no words would let the reply go on
        return self._move_from(H.SPEECH_CAME_BACK, now, SPEAKING)

    def words_began(self, now: float) -> tuple[Act, ...]:
        """The first words of an utterance are understood; its final is still to come."""
        if not self._open_utterances:
            return ()  # given up on before
        return self._move_from(H.WORDS_BEGAN, now, SPEAKING, PAUSED)

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
        return self._begin_turn(H.ASKED, [text], now)

    def to_say(self, text: str, now: float) -> tuple[Act, ...]:
        """A text to be said came in writing, while idle."""
        return self._begin_turn(H.TO_SAY, [text], now)

    def sound_began(self, now: float) -> tuple[Act, ...]:
        """The first sample of the current turn's reply was handed to the speaker."""
        return self._move(H.SOUND_BEGAN, now)

    def progressed(self, now: float) -> tuple[Act, ...]:
        """The reply that sounds goes on: audio came, or was played."""
        return self._move(H.PROGRESSED, now)

    def reply_ended(self, now: float) -> tuple[Act, ...]:
        """The current turn's reply has sounded to its end, or came to nothing."""
        return self._move(H.REPLY_OUTLASTED if self._open_utterances else H.REPLY_ENDED, now)

    def woken(self, now: float) -> tuple[Act, ...]:
        """Somebody wants to be listened to; what was said before does not count."""
        return self._move(H.WOKEN, now)

    def stopped(self, now: float) -> tuple[Act, ...]:
        """A button or a command stopped whatever goes on."""
        return self._move(H.STOPPED, now)

    def expire(self, now: float) -> tuple[Act, ...]:
        """What the passing of time asks for."""
        if self.deadline is None or now < self.deadline:
            return ()
        return self._move(H.TIMED_OUT, now)

    def _utterance_over(self, now: float) -> tuple[Act, ...]:
        if self._open_utterances == 0:
            return ()  # given up on, and reported, before
        self._open_utterances -= 1
        if self._open_utterances:
            return self._move(H.HEARD_PART, now) if self._heard else ()
        if self._heard:
            return self._begin_turn(H.HEARD, self._heard, now)
        if self.state is PAUSED and not self._resume:
            return self._move(H.STOPPED, now)
        return self._move(H.HEARD_NOTHING, now)

    def _begin_turn(self, event: Happened, words: list[str], now: float) -> tuple[Act, ...]:
        acts = self._move(event, now)
        self.words = " ".join(words)
        self._heard.clear()
        self.answers = event is not H.TO_SAY
        self.turn += 1
        return acts

    def _move_from(self, event: Happened, now: float, *states: State) -> tuple[Act, ...]:
        return self._move(event, now) if self.state in states else ()

    def _move(self, event: Happened, now: float) -> tuple[Act, ...]:
        row = TRANSITIONS.get((self.state, event))
        if row is None:
            raise LocalProtocolError(f"{event.name} cannot happen in state {self.state.value}")
        self.state, acts = row
        if A.FORGET_SPEECH in acts:
            self._open_utterances = 0
            self._heard.clear()
        limit_s = self.deadlines.of(self.state)
        self.deadline = None if limit_s is None else now + limit_s
        return acts
