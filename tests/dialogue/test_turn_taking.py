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

DEADLINES = Deadlines(listening_s=10.0, thinking_s=20.0, speaking_s=30.0, paused_s=40.0)

GRID = {
    State.IDLE: {
        Happened.SPEECH_BEGAN: (State.LISTENING, ()),
        Happened.ASKED: (State.THINKING, (Act.START_REPLY,)),
        Happened.TO_SAY: (State.THINKING, (Act.SAY_TEXT,)),
        Happened.WOKEN: (State.IDLE, ()),
        Happened.STOPPED: (State.IDLE, ()),
    },
    State.LISTENING: {
        Happened.SPEECH_BEGAN: (State.LISTENING, ()),
        Happened.HEARD_PART: (State.LISTENING, ()),
        Happened.HEARD: (State.THINKING, (Act.START_REPLY,)),
        Happened.HEARD_NOTHING: (State.IDLE, ()),
        Happened.WOKEN: (State.IDLE, (Act.FORGET_SPEECH,)),
        Happened.STOPPED: (State.IDLE, (Act.FORGET_SPEECH,)),
        Happened.TIMED_OUT: (State.IDLE, (Act.FORGET_SPEECH, Act.REPORT_TIMEOUT)),
    },
    State.THINKING: {
        Happened.SPEECH_BEGAN: (State.LISTENING, (Act.CANCEL_REPLY,)),
        Happened.SOUND_BEGAN: (State.SPEAKING, ()),
        Happened.REPLY_ENDED: (State.IDLE, ()),
        Happened.WOKEN: (State.IDLE, (Act.CANCEL_REPLY,)),
        Happened.STOPPED: (State.IDLE, (Act.CANCEL_REPLY,)),
        Happened.TIMED_OUT: (State.IDLE, (Act.CANCEL_REPLY, Act.REPORT_TIMEOUT)),
    },
    State.SPEAKING: {
        Happened.SPEECH_BEGAN: (State.PAUSED, (Act.PAUSE_REPLY,)),
        Happened.SPEECH_CAME_BACK: (State.PAUSED, (Act.PAUSE_REPLY,)),
        Happened.WORDS_BEGAN: (State.LISTENING, (Act.CUT_REPLY,)),
        Happened.HEARD_PART: (State.LISTENING, (Act.CUT_REPLY,)),
        Happened.HEARD: (State.THINKING, (Act.CUT_REPLY, Act.START_REPLY)),
        Happened.HEARD_NOTHING: (State.SPEAKING, ()),
        Happened.PROGRESSED: (State.SPEAKING, ()),
        Happened.REPLY_ENDED: (State.IDLE, ()),
        Happened.REPLY_OUTLASTED: (State.LISTENING, ()),
        Happened.WOKEN: (State.IDLE, (Act.CUT_REPLY, Act.FORGET_SPEECH)),
        Happened.STOPPED: (State.IDLE, (Act.CUT_REPLY, Act.FORGET_SPEECH)),
        Happened.TIMED_OUT: (
            State.IDLE,
            (Act.CANCEL_REPLY, Act.FORGET_SPEECH, Act.REPORT_TIMEOUT),
        ),
    },
    State.PAUSED: {
        Happened.SPEECH_BEGAN: (State.PAUSED, ()),
        Happened.SPEECH_WENT_ON: (State.PAUSED, (Act.STOP_WRITING,)),
        Happened.SPEECH_WAS_BRIEF: (State.SPEAKING, (Act.RESUME_REPLY,)),
        Happened.WORDS_BEGAN: (State.LISTENING, (Act.CUT_REPLY,)),
        Happened.HEARD_PART: (State.LISTENING, (Act.CUT_REPLY,)),
        Happened.HEARD: (State.THINKING, (Act.CUT_REPLY, Act.START_REPLY)),
        Happened.HEARD_NOTHING: (State.SPEAKING, (Act.RESUME_REPLY,)),
        Happened.REPLY_OUTLASTED: (State.LISTENING, ()),
        Happened.WOKEN: (State.IDLE, (Act.CUT_REPLY, Act.FORGET_SPEECH)),
        Happened.STOPPED: (State.IDLE, (Act.CUT_REPLY, Act.FORGET_SPEECH)),
        Happened.TIMED_OUT: (State.LISTENING, (Act.CUT_REPLY,)),
    },
}
"""Written out a second time on purpose: a change of the table has to be meant."""


OVER_REPLY = {
    Happened.WORDS_BEGAN,
    Happened.HEARD,
    Happened.HEARD_PART,
    Happened.HEARD_NOTHING,
    Happened.REPLY_OUTLASTED,
    Happened.SPEECH_CAME_BACK,
}
"""What happens while a reply sounds only where somebody spoke over it."""


def turns_in(state: State, *, spoken_over: bool = False, resume: bool = True) -> TurnTaking:
    """Turn taking that came into `state` by what can happen, at 0."""
    turns = TurnTaking(DEADLINES, resume=resume)
    if state is State.IDLE:
        return turns
    turns.speech_began(0.0)
    if state is not State.LISTENING:
        turns.final_came("question", 0.0)
    if state in (State.SPEAKING, State.PAUSED):
        turns.sound_began(0.0)
    if state is State.PAUSED or (state is State.SPEAKING and spoken_over):
        turns.speech_began(0.0)
    if state is State.SPEAKING and spoken_over:
        turns.speech_was_brief(0.0)
    return turns


def tell(turns: TurnTaking, event: Happened) -> tuple[Act, ...]:
    """Make `event` happen at 1, or at its deadline, whatever the state."""
    match event:
        case Happened.SPEECH_BEGAN:
            return turns.speech_began(1.0)
        case Happened.SPEECH_WENT_ON:
            return turns.speech_went_on(1.0)
        case Happened.SPEECH_WAS_BRIEF:
            return turns.speech_was_brief(1.0)
        case Happened.SPEECH_CAME_BACK:
            return turns.speech_came_back(1.0)
        case Happened.ASKED:
            return turns.asked("asked", 1.0)
        case Happened.TO_SAY:
            return turns.to_say("said", 1.0)
        case Happened.WORDS_BEGAN:
            return turns.words_began(1.0)
        case Happened.HEARD:
            return turns.final_came("words", 1.0)
        case Happened.HEARD_PART:
            if turns.state is State.SPEAKING:
                turns.speech_began(0.0)
                turns.speech_was_brief(0.0)
            else:
                turns.speech_began(0.0)
            return turns.final_came("words", 1.0)
        case Happened.HEARD_NOTHING:
            return turns.final_came("", 1.0)
        case Happened.SOUND_BEGAN:
            return turns.sound_began(1.0)
        case Happened.PROGRESSED:
            return turns.progressed(1.0)
        case Happened.REPLY_ENDED | Happened.REPLY_OUTLASTED:
            return turns.reply_ended(1.0)
        case Happened.WOKEN:
            return turns.woken(1.0)
        case Happened.STOPPED:
            return turns.stopped(1.0)
        case Happened.TIMED_OUT:
            return turns.expire(1000.0)


def shape(turns: TurnTaking) -> tuple[object, ...]:
    """All that turn taking knows."""
    return tuple(map(repr, vars(turns).values()))


NEVER_RAISE = {
    Happened.HEARD,
    Happened.HEARD_PART,
    Happened.HEARD_NOTHING,
    Happened.TIMED_OUT,
    Happened.WORDS_BEGAN,
    Happened.SPEECH_WENT_ON,
    Happened.SPEECH_WAS_BRIEF,
    Happened.SPEECH_CAME_BACK,
}
"""Words of speech that was given up may still come, a deadline is looked at in any state, and what
becomes of speech over a reply may be told when the reply is over."""

CANNOT_BE_TOLD = {
    (State.IDLE, Happened.REPLY_OUTLASTED),
    (State.THINKING, Happened.REPLY_OUTLASTED),
    (State.LISTENING, Happened.REPLY_ENDED),
    (State.PAUSED, Happened.REPLY_ENDED),
    (State.IDLE, Happened.HEARD_PART),
    (State.THINKING, Happened.HEARD_PART),
}
"""Which of two events it is follows from whether somebody speaks, which follows from the state."""


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in itertools.product(State, Happened) if pair not in CANNOT_BE_TOLD],
)
def test_the_table_says_what_follows_and_all_else_changes_nothing(
    state: State, event: Happened
) -> None:
    """Each pair of the grid is a row with its next state, acts and deadline, or a refusal."""
    assert TRANSITIONS.get((state, event)) == GRID[state].get(event)
    turns = turns_in(state, spoken_over=event in OVER_REPLY)
    before = shape(turns)
    expected = GRID[state].get(event)
    if expected is not None:
        assert tell(turns, event) == expected[1]
        assert turns.state is expected[0]
        limit_s = DEADLINES.of(expected[0])
        at = 1000.0 if event is Happened.TIMED_OUT else 1.0
        assert turns.deadline == (None if limit_s is None else at + limit_s)
    elif event in NEVER_RAISE:
        assert tell(turns, event) == ()
        assert shape(turns) == before
    else:
        with pytest.raises(LocalProtocolError, match=f"{event.name} .* {state.value}|REPLY_"):
            tell(turns, event)
        assert shape(turns) == before


def test_the_table_has_no_row_that_the_grid_has_not() -> None:
    """Nor one that cannot be told."""
    rows = {(state, event) for state, events in GRID.items() for event in events}
    assert set(TRANSITIONS) == rows
    assert not rows & CANNOT_BE_TOLD


def test_every_state_but_idle_has_a_deadline() -> None:
    """Whatever happens, the loop comes back."""
    assert {state: DEADLINES.of(state) for state in State} == {
        State.IDLE: None,
        State.LISTENING: 10.0,
        State.THINKING: 20.0,
        State.SPEAKING: 30.0,
        State.PAUSED: 40.0,
    }


@pytest.mark.parametrize("state", [State.LISTENING, State.THINKING, State.SPEAKING])
def test_a_deadline_passes_at_its_time_and_not_before(state: State) -> None:
    """Then the loop is idle again, and says which deadline it was by the act."""
    turns = turns_in(state)
    deadline = turns.deadline
    assert deadline is not None
    assert turns.expire(deadline - 0.001) == ()
    assert turns.state is state
    assert Act.REPORT_TIMEOUT in turns.expire(deadline)
    assert (turns.state, turns.deadline) == (State.IDLE, None)


def test_a_conversation_begins_with_nothing_said() -> None:
    """And a reply goes on after what was said over it without words."""
    turns = TurnTaking(DEADLINES)
    assert (turns.turn, turns.words, turns.answers) == (0, "", True)
    turns.asked("what", 0.0)
    turns.sound_began(1.0)
    turns.speech_began(2.0)
    assert turns.final_came("", 3.0) == (Act.RESUME_REPLY,)


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
    assert turns.speech_began(1.0) == (Act.PAUSE_REPLY,)
    assert turns.speech_went_on(1.2) == (Act.STOP_WRITING,)
    assert turns.words_began(1.5) == (Act.CUT_REPLY,)
    assert turns.final_came("no, the other", 2.0) == (Act.START_REPLY,)
    assert turns.words == "no, the other"


def test_a_cough_over_a_reply_only_holds_it() -> None:
    """It goes on when the cough is over, and its empty final changes nothing."""
    turns = turns_in(State.SPEAKING)
    assert turns.speech_began(1.0) == (Act.PAUSE_REPLY,)
    assert turns.speech_was_brief(1.3) == (Act.RESUME_REPLY,)
    assert turns.final_came("", 2.0) == ()
    assert (turns.state, turns.words) == (State.SPEAKING, "question")


def test_a_short_word_over_a_reply_is_a_word() -> None:
    """The reply went on before it was understood, and is cut then."""
    turns = turns_in(State.SPEAKING)
    turns.speech_began(1.0)
    turns.speech_was_brief(1.3)
    assert turns.final_came("no", 2.0) == (Act.CUT_REPLY, Act.START_REPLY)
    assert (turns.state, turns.words) == (State.THINKING, "no")


def test_who_stops_and_speaks_again_holds_the_reply_again() -> None:
    """In one utterance, whose words are then waited for."""
    turns = turns_in(State.SPEAKING)
    turns.speech_began(1.0)
    turns.speech_was_brief(1.3)
    assert turns.speech_came_back(1.6) == (Act.PAUSE_REPLY,)
    assert turns.final_came("wait", 2.0) == (Act.CUT_REPLY, Act.START_REPLY)


@pytest.mark.parametrize("why", ["forgotten", "lost"])
def test_who_speaks_again_after_they_were_given_up_holds_nothing(why: str) -> None:
    """No words of theirs will come, and without any the reply would be held for long."""
    turns = turns_in(State.SPEAKING, spoken_over=True)
    if why == "forgotten":
        turns.stopped(1.0)
        turns.to_say("the tea is ready", 1.0)
        turns.sound_began(1.1)
    else:
        turns.speech_lost(1.0)
    assert turns.speech_came_back(1.2) == ()
    assert turns.state is State.SPEAKING


def test_the_question_so_far_is_that_of_all_utterances() -> None:
    """What was understood of this one comes last."""
    turns = turns_in(State.LISTENING)
    assert turns.question_with("what is") == "what is"
    turns.speech_began(1.0)
    turns.final_came("what is", 2.0)
    assert turns.question_with("the time") == "what is the time"


def test_it_listens_while_words_are_to_come() -> None:
    """Also while a reply goes on under them."""
    assert not turns_in(State.SPEAKING).listens
    turns = turns_in(State.SPEAKING, spoken_over=True)
    assert turns.listens
    turns.final_came("", 1.0)
    assert not turns.listens


def test_a_part_without_words_does_not_cut_the_reply() -> None:
    """The other utterance may have some."""
    turns = turns_in(State.PAUSED)
    turns.speech_began(1.0)
    assert turns.final_came("", 2.0) == ()
    assert turns.state is State.PAUSED
    assert turns.final_came("", 3.0) == (Act.RESUME_REPLY,)


def test_a_reply_that_shall_not_go_on_is_dropped() -> None:
    """Where false interruptions are not to be resumed."""
    turns = turns_in(State.PAUSED, resume=False)
    assert Act.CUT_REPLY in turns.final_came("", 2.0)
    assert turns.state is State.IDLE


def test_a_reply_that_was_held_for_too_long_is_dropped_and_the_words_waited_for() -> None:
    """There is no connection, say; what was said is answered when they come."""
    turns = turns_in(State.PAUSED)
    assert turns.expire(40.0) == (Act.CUT_REPLY,)
    assert turns.final_came("at last", 41.0) == (Act.START_REPLY,)
    assert turns.words == "at last"


def test_words_over_a_reply_that_ended_meanwhile_are_a_question() -> None:
    """Nothing is left to be cut."""
    turns = turns_in(State.SPEAKING, spoken_over=True)
    assert turns.reply_ended(1.0) == ()
    assert turns.listens
    assert turns.words_began(1.5) == ()
    assert turns.final_came("and then", 2.0) == (Act.START_REPLY,)


def test_a_text_to_say_is_a_turn_of_its_own() -> None:
    """It is spoken as a reply is."""
    turns = turns_in(State.IDLE)
    assert turns.to_say("the shop closes", 1.0) == (Act.SAY_TEXT,)
    assert (turns.words, turns.turn, turns.state) == ("the shop closes", 1, State.THINKING)


def test_a_text_to_say_is_no_part_of_the_question_that_interrupts_it() -> None:
    """Whoever began to speak before it sounded is answered for their own words alone."""
    turns = turns_in(State.IDLE)
    turns.to_say("the shop closes", 1.0)
    assert turns.speech_began(1.1) == (Act.CANCEL_REPLY,)
    turns.final_came("what time is it", 2.0)
    assert turns.words == "what time is it"


def test_what_was_said_before_the_wake_word_does_not_count() -> None:
    """The wake word itself is in it."""
    turns = turns_in(State.LISTENING)
    assert turns.woken(1.0) == (Act.FORGET_SPEECH,)
    assert turns.final_came("okay nabu", 1.5) == ()
    turns.speech_began(2.0)
    turns.final_came("what time is it", 3.0)
    assert turns.words == "what time is it"


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
        if Act.FORGET_SPEECH in acts:
            self.waiting = 0
            self.pending.clear()
        if Act.START_REPLY in acts:
            assert self.turns.words == " ".join(self.pending)

    @rule(seconds=st.sampled_from([0.0, 1.0, 9.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        acts = self.turns.expire(self.now)
        self.follow(acts)
        if acts and acts != (Act.CUT_REPLY,):
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
        self.pending.clear()  # they are being answered

    @rule(what=st.sampled_from(["went_on", "was_brief", "came_back"]))
    def speech_over_a_reply_becomes_something(self, what: str) -> None:
        self.follow(getattr(self.turns, f"speech_{what}")(self.now))

    @rule()
    def words_begin(self) -> None:
        self.follow(self.turns.words_began(self.now))

    @precondition(lambda self: self.turns.state is State.SPEAKING)
    @rule()
    def reply_goes_on(self) -> None:
        self.follow(self.turns.progressed(self.now))

    @precondition(lambda self: self.turns.state in (State.THINKING, State.SPEAKING, State.PAUSED))
    @rule()
    def reply_ends(self) -> None:
        thinking = self.turns.state is State.THINKING
        self.follow(self.turns.reply_ended(self.now))
        if thinking:
            self.pending.clear()

    @rule()
    def somebody_wakes_it(self) -> None:
        self.follow(self.turns.woken(self.now))
        self.pending.clear()

    @precondition(lambda self: self.turns.state is State.IDLE)
    @rule()
    def something_is_to_be_said(self) -> None:
        self.follow(self.turns.to_say("announcement", self.now))

    @rule()
    def somebody_stops_it(self) -> None:
        self.follow(self.turns.stopped(self.now))
        self.pending.clear()

    @invariant()
    def only_idle_has_no_deadline(self) -> None:
        assert (self.turns.deadline is None) == (self.turns.state is State.IDLE)

    @invariant()
    def speech_that_is_waited_for_is_listened_to(self) -> None:
        assert (self.waiting > 0) == self.turns.listens
        if self.turns.state in (State.LISTENING, State.PAUSED):
            assert self.waiting
        elif self.turns.state in (State.IDLE, State.THINKING):
            assert not self.waiting


TestConversations = Conversations.TestCase
TestConversations.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
