"""Turn taking: the whole table, and that no word is lost in it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slng_edge.dialogue.turn_taking import (
    TRANSITIONS,
    Act,
    Deadlines,
    Happened,
    State,
    TurnTaking,
)
from slng_edge.errors import LocalProtocolError

DEADLINES = Deadlines(listening_s=10.0, thinking_s=20.0, speaking_s=30.0)

GRID = {
    State.IDLE: {
        Happened.SPEECH_BEGAN: (State.LISTENING, ()),
        Happened.ASKED: (State.THINKING, (Act.START_REPLY,)),
        Happened.STOPPED: (State.IDLE, ()),
    },
    State.LISTENING: {
        Happened.SPEECH_BEGAN: (State.LISTENING, ()),
        Happened.HEARD_PART: (State.LISTENING, ()),
        Happened.HEARD: (State.THINKING, (Act.START_REPLY,)),
        Happened.HEARD_NOTHING: (State.IDLE, ()),
        Happened.STOPPED: (State.IDLE, (Act.FORGET_SPEECH,)),
        Happened.TIMED_OUT: (State.IDLE, (Act.FORGET_SPEECH, Act.REPORT_TIMEOUT)),
    },
    State.THINKING: {
        Happened.SPEECH_BEGAN: (State.LISTENING, (Act.CANCEL_REPLY,)),
        Happened.SOUND_BEGAN: (State.SPEAKING, ()),
        Happened.REPLY_ENDED: (State.IDLE, ()),
        Happened.STOPPED: (State.IDLE, (Act.CANCEL_REPLY,)),
        Happened.TIMED_OUT: (State.IDLE, (Act.CANCEL_REPLY, Act.REPORT_TIMEOUT)),
    },
    State.SPEAKING: {
        Happened.SPEECH_BEGAN: (State.LISTENING, (Act.CUT_REPLY,)),
        Happened.PROGRESSED: (State.SPEAKING, ()),
        Happened.REPLY_ENDED: (State.IDLE, ()),
        Happened.STOPPED: (State.IDLE, (Act.CUT_REPLY,)),
        Happened.TIMED_OUT: (State.IDLE, (Act.CANCEL_REPLY, Act.REPORT_TIMEOUT)),
    },
}
"""Written out a second time on purpose: a change of the table has to be meant."""


def turns_in(state: State) -> TurnTaking:
    """Turn taking that came into `state` by what can happen, at 0."""
    turns = TurnTaking(DEADLINES)
    if state is State.IDLE:
        return turns
    turns.speech_began(0.0)
    if state is not State.LISTENING:
        turns.final_came("question", 0.0)
    if state is State.SPEAKING:
        turns.sound_began(0.0)
    return turns


def tell(turns: TurnTaking, event: Happened) -> tuple[Act, ...]:
    """Make `event` happen at 1, or at its deadline, whatever the state."""
    match event:
        case Happened.SPEECH_BEGAN:
            return turns.speech_began(1.0)
        case Happened.ASKED:
            return turns.asked("asked", 1.0)
        case Happened.HEARD:
            return turns.final_came("words", 1.0)
        case Happened.HEARD_PART:
            turns.speech_began(0.0)
            return turns.final_came("words", 1.0)
        case Happened.HEARD_NOTHING:
            return turns.final_came("", 1.0)
        case Happened.SOUND_BEGAN:
            return turns.sound_began(1.0)
        case Happened.PROGRESSED:
            return turns.progressed(1.0)
        case Happened.REPLY_ENDED:
            return turns.reply_ended(1.0)
        case Happened.STOPPED:
            return turns.stopped(1.0)
        case Happened.TIMED_OUT:
            return turns.expire(1000.0)


def shape(turns: TurnTaking) -> tuple[object, ...]:
    """All that turn taking knows."""
    return tuple(map(repr, vars(turns).values()))


NEVER_RAISE = {Happened.HEARD, Happened.HEARD_PART, Happened.HEARD_NOTHING, Happened.TIMED_OUT}
"""Finals of speech that was given up may still come, and a deadline is looked at in any state."""


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Happened)))
def test_the_table_says_what_follows_and_all_else_changes_nothing(
    state: State, event: Happened
) -> None:
    """Each pair of the grid is a row with its next state, acts and deadline, or a refusal."""
    assert TRANSITIONS.get((state, event)) == GRID[state].get(event)
    turns = turns_in(state)
    before = shape(turns)
    expected = GRID[state].get(event)
    if expected is not None:
        assert tell(turns, event) == expected[1]
        assert turns.state is expected[0]
        limit_s = DEADLINES.of(expected[0])
        at = 1000.0 if event is Happened.TIMED_OUT else 1.0
        assert turns.deadline == (None if limit_s is None else at + limit_s)
    elif event in NEVER_RAISE:
        if event is not Happened.HEARD_PART:
            assert tell(turns, event) == ()
            assert shape(turns) == before
    else:
        with pytest.raises(LocalProtocolError, match=f"{event.name} .* {state.value}"):
            tell(turns, event)
        assert shape(turns) == before


def test_every_state_but_idle_has_a_deadline() -> None:
    """Whatever happens, the loop comes back."""
    assert {state: DEADLINES.of(state) for state in State} == {
        State.IDLE: None,
        State.LISTENING: 10.0,
        State.THINKING: 20.0,
        State.SPEAKING: 30.0,
    }


@pytest.mark.parametrize("state", [state for state in State if state is not State.IDLE])
def test_a_deadline_passes_at_its_time_and_not_before(state: State) -> None:
    """Then the loop is idle again, and says which deadline it was by the act."""
    turns = turns_in(state)
    deadline = turns.deadline
    assert deadline is not None
    assert turns.expire(deadline - 0.001) == ()
    assert turns.state is state
    assert Act.REPORT_TIMEOUT in turns.expire(deadline)
    assert (turns.state, turns.deadline) == (State.IDLE, None)


def test_the_words_of_all_utterances_make_one_question() -> None:
    """A second one may begin before the final of the first has come."""
    turns = TurnTaking(DEADLINES)
    turns.speech_began(0.0)
    turns.speech_began(1.0)
    assert turns.final_came("what time", 2.0) == ()
    assert turns.state is State.LISTENING
    assert turns.final_came("is it", 3.0) == (Act.START_REPLY,)
    assert (turns.words, turns.turn) == ("what time is it", 1)


def test_a_question_that_was_not_answered_goes_with_the_next() -> None:
    """Who adds something while the answer is thought about, adds it to the question."""
    turns = turns_in(State.THINKING)
    turns.speech_began(1.0)
    turns.final_came("and more", 2.0)
    assert (turns.words, turns.turn) == ("question and more", 2)


def test_a_cough_while_thinking_does_not_lose_the_question() -> None:
    """The reply that it cancelled is asked for again."""
    turns = turns_in(State.THINKING)
    assert turns.speech_began(1.0) == (Act.CANCEL_REPLY,)
    assert turns.final_came("", 2.0) == (Act.START_REPLY,)
    assert turns.words == "question"


def test_a_question_whose_answer_sounds_is_answered() -> None:
    """To interrupt the answer asks something new."""
    turns = turns_in(State.SPEAKING)
    assert turns.speech_began(1.0) == (Act.CUT_REPLY,)
    turns.final_came("no, the other", 2.0)
    assert turns.words == "no, the other"


def test_lost_speech_ends_the_wait() -> None:
    """With other words there is a reply to them, and without any the loop is idle."""
    turns = turns_in(State.LISTENING)
    assert turns.speech_lost(1.0) == ()
    assert turns.state is State.IDLE
    turns.speech_began(2.0)
    turns.speech_began(2.0)
    turns.final_came("half", 3.0)
    assert turns.speech_lost(3.0) == (Act.START_REPLY,)
    assert turns.words == "half"


def test_words_that_were_given_up_start_nothing() -> None:
    """After a stop or a timeout their finals may still come, and belong to no question."""
    turns = turns_in(State.LISTENING)
    turns.stopped(1.0)
    assert turns.final_came("too late", 2.0) == ()
    assert turns.speech_lost(2.0) == ()
    turns.speech_began(3.0)
    turns.final_came("", 4.0)
    assert turns.state is State.IDLE


def test_a_question_in_writing_that_is_refused_is_not_kept() -> None:
    """While somebody speaks it is refused, and does not come back with the next question."""
    turns = turns_in(State.LISTENING)
    with pytest.raises(LocalProtocolError):
        turns.asked("typed", 1.0)
    turns.final_came("spoken", 2.0)
    assert turns.words == "spoken"


def test_a_new_utterance_and_progress_start_the_deadline_anew() -> None:
    """A long conversation is not cut off for its length."""
    turns = turns_in(State.LISTENING)
    turns.speech_began(9.0)
    assert turns.deadline == 19.0
    turns = turns_in(State.SPEAKING)
    turns.progressed(25.0)
    assert turns.deadline == 55.0


class Conversations(RuleBasedStateMachine):
    """Every word that comes is in the next question, or was given up by an act that says so."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = TurnTaking(DEADLINES)
        self.now = 0.0
        self.waiting = 0
        self.pending: list[str] = []
        self.count = 0

    def follow(self, acts: tuple[Act, ...]) -> None:
        if Act.START_REPLY in acts:
            assert self.turns.words == " ".join(self.pending)
        elif self.turns.state is State.SPEAKING:
            self.pending.clear()
        if Act.FORGET_SPEECH in acts:
            self.waiting = 0

    @rule(seconds=st.sampled_from([0.0, 1.0, 9.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        acts = self.turns.expire(self.now)
        self.follow(acts)
        if acts:
            assert Act.REPORT_TIMEOUT in acts
            self.pending.clear()

    @rule()
    def speech_begins(self) -> None:
        acts = self.turns.speech_began(self.now)
        self.waiting += 1
        self.follow(acts)

    @precondition(lambda self: self.waiting)
    @rule(silent=st.booleans())
    def final_comes(self, silent: bool) -> None:
        self.count += 1
        word = "" if silent else f"word{self.count}"
        self.pending += [word] if word else []
        self.waiting -= 1
        acts = self.turns.final_came(word, self.now)
        assert (Act.START_REPLY in acts) == (not self.waiting and bool(self.pending))
        self.follow(acts)

    @precondition(lambda self: self.waiting)
    @rule()
    def speech_is_lost(self) -> None:
        self.waiting -= 1
        acts = self.turns.speech_lost(self.now)
        assert (Act.START_REPLY in acts) == (not self.waiting and bool(self.pending))
        self.follow(acts)

    @precondition(lambda self: not self.waiting)
    @rule()
    def late_final_comes(self) -> None:
        assert self.turns.final_came("late", self.now) == ()

    @precondition(lambda self: self.turns.state is State.IDLE)
    @rule()
    def somebody_asks(self) -> None:
        self.pending.append("asked")
        self.follow(self.turns.asked("asked", self.now))

    @precondition(lambda self: self.turns.state is State.THINKING)
    @rule()
    def sound_begins(self) -> None:
        self.follow(self.turns.sound_began(self.now))

    @precondition(lambda self: self.turns.state is State.SPEAKING)
    @rule()
    def reply_goes_on(self) -> None:
        self.follow(self.turns.progressed(self.now))

    @precondition(lambda self: self.turns.state in (State.THINKING, State.SPEAKING))
    @rule()
    def reply_ends(self) -> None:
        self.follow(self.turns.reply_ended(self.now))
        self.pending.clear()

    @rule()
    def somebody_stops_it(self) -> None:
        self.follow(self.turns.stopped(self.now))
        self.pending.clear()

    @invariant()
    def only_idle_has_no_deadline(self) -> None:
        assert (self.turns.deadline is None) == (self.turns.state is State.IDLE)

    @invariant()
    def speech_that_is_waited_for_is_listened_to(self) -> None:
        assert (self.waiting > 0) == (self.turns.state is State.LISTENING)


TestConversations = Conversations.TestCase
TestConversations.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
