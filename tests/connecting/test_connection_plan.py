"""Which connections a session should have: opened, taken over, retired, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slng_edge.connecting.connection_plan import (
    FINAL_RETRY_S,
    GOODBYE_S,
    LIFE_CYCLE_S,
    SHORT_LIFE_S,
    TURN_S,
    Act,
    ConnectionPlan,
    Decision,
    Ended,
    Situation,
)
from slng_edge.connecting.model_choice import ModelChoice
from slng_edge.errors import (
    AuthenticationRejected,
    ConfigError,
    ConnectFailed,
    GatewayError,
    RateLimited,
    RequestRejected,
    ServerReportedError,
    SessionClosed,
    SlngEdgeError,
)

DURATION_S = 100.0
OLD_S, OVERDUE_S = 80.0, 95.0

OPEN, TAKE_OVER, RETIRE, DROP = Act.OPEN, Act.TAKE_OVER, Act.RETIRE, Act.DROP_COMING

REST = Situation()
BUSY = Situation(pressing=True, at_rest=False)
WORK = Situation(pressing=True)
NO_PLACE = Situation(place_free=False)
BUSY_NO_PLACE = Situation(pressing=True, at_rest=False, place_free=False)
SPENT = Situation(spent=True)
SPENT_NO_PLACE = Situation(spent=True, place_free=False)
WANTED = Situation(place_free=False, place_wanted=True)
WANTED_AT_WORK = Situation(pressing=True, place_free=False, place_wanted=True)
WANTED_BUSY = Situation(pressing=True, at_rest=False, place_free=False, place_wanted=True)

BUSY_MODEL = ServerReportedError("provider_error", "", retryable=True)
NETWORK = ConnectFailed("no route")
NORMAL = SessionClosed("", code=1000)
SILENT = SessionClosed("no audio", code=1000, by_us=True)
LARGE = SessionClosed("too large", code=1009, by_us=True)
TIME_UP = ServerReportedError("max_connection_duration_exceeded", "", retryable=True)
ENDED = SessionClosed("", code=1000, reason="max_connection_duration_exceeded")


class Case:
    """A plan whose delays are as long as they may be (1 s, 2 s, …), and its time."""

    def __init__(
        self, *models: str, cooldown_s: float = 1000.0, duration_s: float = DURATION_S, **more: Any
    ) -> None:
        self.now = 1000.0
        choice = ModelChoice(models or ("a",), cooldown_s=cooldown_s)
        self.plan = ConnectionPlan(
            choice, duration_s=duration_s, uniform=lambda low, high: high, **more
        )

    def decide(self, situation: Situation = REST, *, after_s: float = 0.0) -> Act | None:
        """What is to be done, so much later."""
        decision = self.decision(situation, after_s=after_s)
        return None if decision is None else decision.act

    def decision(self, situation: Situation = REST, *, after_s: float = 0.0) -> Decision | None:
        self.now += after_s
        decision = self.plan.decide(self.now, situation)
        deadline = self.plan.deadline(self.now)
        assert deadline is None or deadline > self.now
        return decision

    def ready(self) -> None:
        self.plan.coming_ready(self.now)

    def connect(self, model: str = "a", situation: Situation = REST) -> None:
        """Open a connection and use it."""
        assert self.decision(situation) == Decision(OPEN, model=model)
        self.ready()
        assert self.decide(situation) is TAKE_OVER
        assert self.plan.model == model

    def fail(self, error: SlngEdgeError = BUSY_MODEL) -> float:
        """Open a connection, which fails; the seconds until the next attempt."""
        assert self.decide() is OPEN
        ended = self.plan.coming_failed(error, self.now)
        assert ended is not None
        return ended.retry_in_s

    def end(
        self,
        error: GatewayError = BUSY_MODEL,
        *,
        served: bool = False,
        answered: bool = False,
        at_work: bool = True,
        served_s_ago: float = 0.1,
    ) -> Ended:
        """The active connection ends."""
        return self.plan.active_ended(
            error,
            self.now,
            served=served,
            answered=answered,
            at_work=at_work,
            served_at=self.now - served_s_ago if served else None,
        )

    def comes_after(self, wait_s: float, model: str = "a") -> bool:
        """Whether the next connection is opened so much later, and not before."""
        early = self.decide(after_s=wait_s - 0.01)
        return early is None and self.decision(after_s=0.01) == Decision(OPEN, model=model)


# The table of states


def standing(age_s: float | None, coming: str, **more: Any) -> Case:
    """A session with an active connection of that age, and another one coming."""
    case = Case(warm_standby=coming != "none", **more)
    if age_s is None:
        if coming != "none":
            assert case.decide() is OPEN
        if coming in ("ready", "stale"):
            case.ready()
            case.now += {"ready": 1.0, "stale": OLD_S}[coming]
        return case
    case.connect()
    if coming == "none":
        case.now += age_s
        return case
    came_s = {"connecting": age_s, "ready": max(0.0, age_s - 1.0), "stale": age_s - OLD_S}[coming]
    case.now += came_s
    assert case.decide(BUSY) is OPEN
    if coming != "connecting":
        case.ready()
    case.now += age_s - came_s
    return case


YOUNG, OLD, OVERDUE = 10.0, OLD_S, OVERDUE_S

TABLE = [
    # active, coming: at rest | busy | at rest, no place | busy, no place | the same, sent again
    (None, "none", OPEN, OPEN, None, None, None),
    (None, "connecting", None, None, None, None, None),
    (None, "ready", TAKE_OVER, TAKE_OVER, TAKE_OVER, TAKE_OVER, TAKE_OVER),
    (None, "stale", TAKE_OVER, TAKE_OVER, TAKE_OVER, TAKE_OVER, TAKE_OVER),
    (YOUNG, "none", None, None, None, None, None),
    (YOUNG, "connecting", None, None, None, None, None),
    (YOUNG, "ready", None, None, None, None, None),
    (OLD, "none", OPEN, OPEN, RETIRE, None, None),
    (OLD, "connecting", None, None, None, None, None),
    (OLD, "ready", TAKE_OVER, None, TAKE_OVER, None, None),
    (OLD, "stale", DROP, DROP, DROP, DROP, DROP),
    (OVERDUE, "none", OPEN, OPEN, RETIRE, None, RETIRE),
    (OVERDUE, "connecting", None, None, None, None, None),
    (OVERDUE, "ready", TAKE_OVER, None, TAKE_OVER, None, TAKE_OVER),
    (OVERDUE, "stale", DROP, DROP, DROP, DROP, DROP),
]


@pytest.mark.parametrize(
    ("active", "coming", "at_rest", "busy", "rest_no_place", "busy_no_place", "resends"), TABLE
)
def test_each_state_has_its_decision(
    active: float | None,
    coming: str,
    at_rest: Act | None,
    busy: Act | None,
    rest_no_place: Act | None,
    busy_no_place: Act | None,
    resends: Act | None,
) -> None:
    """By the age of the active connection, what is coming, and whether there is a pause."""
    assert standing(active, coming).decide(REST) is at_rest
    assert standing(active, coming).decide(BUSY) is busy
    assert standing(active, coming).decide(NO_PLACE) is rest_no_place
    assert standing(active, coming).decide(BUSY_NO_PLACE) is busy_no_place
    assert standing(active, coming, resends=True).decide(BUSY_NO_PLACE) is resends


# The first connection


def test_a_connection_is_opened_once() -> None:
    """While it is coming nothing else is to be done; when it is ready it is used."""
    case = Case()
    assert case.plan.model == "a"
    assert case.decision() == Decision(OPEN, model="a")
    assert [case.decide(after_s=1.0) for _ in range(3)] == [None] * 3
    case.ready()
    assert case.decision() == Decision(TAKE_OVER)
    assert [case.decide(after_s=1.0) for _ in range(3)] == [None] * 3


def test_a_session_presses_for_a_place_before_anything_was_decided() -> None:
    """Nothing has failed so far."""
    assert Case().plan.wants_place(REST)


def test_nothing_is_waited_for_on_a_clock_that_begins_at_zero() -> None:
    """A monotonic clock may have any origin: neither an attempt, nor a standby, nor a place."""
    case = Case(warm_standby=True)
    case.now = 0.0
    case.connect()
    assert case.decide() is OPEN
    case = Case()
    case.now = 0.0
    case.connect()
    assert case.decide(WANTED) is RETIRE
    case = Case()
    case.now = 0.0
    case.fail()
    case.plan.retry_now()
    assert case.decide() is OPEN


def test_where_there_was_no_place_after_all_it_is_opened_later() -> None:
    """Another session was quicker."""
    case = Case()
    assert case.decide() is OPEN
    case.plan.not_opened()
    assert case.decide(NO_PLACE) is None
    assert case.decide() is OPEN


def test_what_is_said_of_a_connection_that_is_not_coming_means_nothing() -> None:
    """It was dropped before it could be heard."""
    case = Case()
    case.ready()
    assert case.plan.coming_failed(NETWORK, case.now) is None
    assert case.decide() is OPEN


def test_what_is_said_of_a_connection_that_is_not_active_leaves_a_back_off() -> None:
    """Whatever it was, to try again at once could be to hammer."""
    case = Case()
    assert case.end(SessionClosed("")) == Ended(quiet=False, retry_in_s=1.0)
    assert case.comes_after(1.0)


def test_a_session_that_stands_presses_only_with_work() -> None:
    """But for its first connection: whether it can connect at all is work as well."""
    case = Case()
    assert case.decide(NO_PLACE) is None
    assert case.plan.wants_place(REST)
    assert case.decide() is OPEN
    assert not case.plan.wants_place(REST)
    case.ready()
    assert case.decide() is TAKE_OVER
    assert not case.plan.wants_place(WORK)
    assert case.end(NORMAL, served=True).quiet
    assert case.decide(NO_PLACE) is None
    assert not case.plan.wants_place(REST)
    assert case.plan.wants_place(WORK)


def test_who_waits_for_the_next_attempt_presses_for_no_place() -> None:
    """Others would wait with it: for 10 minutes where the key is refused."""
    case = Case()
    case.fail(AuthenticationRejected(""))
    assert case.decide(WORK) is None
    assert not case.plan.wants_place(WORK)
    assert case.decide(NO_PLACE, after_s=FINAL_RETRY_S) is None
    assert case.plan.wants_place(WORK)


def test_without_work_only_a_standing_session_connects_again() -> None:
    """The other one does once, to know that it can, and then when there is work."""
    case = Case(standing=False)
    case.connect()
    assert case.decide(REST) is RETIRE
    assert case.decide(REST, after_s=5.0) is None
    assert case.decide(WORK) is OPEN
    case.ready()
    assert case.decide(WORK) is TAKE_OVER
    assert case.decide(BUSY) is None
    assert case.decide(REST) is RETIRE


def test_after_a_recording_no_connection_is_opened() -> None:
    """Neither beside the one that was told to close, nor after it; for another recording it is."""
    case = Case()
    case.connect(situation=WORK)
    assert case.decide(replace(SPENT, finished=True)) is None
    assert case.end(NORMAL, served=True, answered=True).quiet
    assert case.decide(replace(REST, finished=True), after_s=60.0) is None
    assert case.decide(WORK) is OPEN


def test_a_connection_that_nobody_needs_any_more_is_not_waited_for() -> None:
    """The work it was opened for was called off."""
    case = Case(standing=False)
    case.connect()
    assert case.decide() is RETIRE
    assert case.decide(WORK) is OPEN
    assert case.decide(REST) is DROP
    case = Case(standing=False, warm_standby=True)
    case.connect(situation=WORK)
    assert case.decide(WORK) is OPEN
    assert [case.decide(REST) for _ in range(3)] == [DROP, RETIRE, None]


# A successor


def test_a_connection_is_replaced_in_a_pause_before_its_time_is_up() -> None:
    """The next one is ready before the old one goes, and is replaced in its turn."""
    case = Case()
    case.connect()
    for _ in range(3):
        assert case.decide(BUSY, after_s=OLD_S - 0.51) is None
        assert case.decision(BUSY, after_s=0.51) == Decision(OPEN, "its time is nearly up", "a")
        assert case.decide(BUSY, after_s=0.5) is None
        case.ready()
        assert case.decide(BUSY, after_s=0.5) is None
        assert case.decision(REST) == Decision(TAKE_OVER, "its time is nearly up")
        assert case.decide(REST) is None


def test_its_time_runs_from_ready_and_not_from_its_use() -> None:
    """The gateway counts a standby's age as well."""
    case = Case(warm_standby=True)
    case.connect()
    assert case.decide(after_s=50.0) is OPEN
    case.ready()
    assert case.decide(BUSY, after_s=20.0) is None
    case.end(NORMAL, served=True)
    assert case.decide(BUSY) is TAKE_OVER
    assert case.decide(BUSY) is OPEN  # the standby of the new one
    case.plan.not_opened()
    case.now += OLD_S - 20.0
    assert case.decision(BUSY) == Decision(OPEN, "its time is nearly up", "a")


def test_a_successor_that_fails_is_tried_again_beside_the_active_one() -> None:
    """By a back-off of its own, and nobody is told."""
    case = Case()
    case.connect()
    case.now += OLD_S
    for wait_s in (1.0, 2.0, 4.0):
        assert case.decide(BUSY) is OPEN
        assert case.plan.coming_failed(NETWORK, case.now) is None
        assert case.decide(BUSY, after_s=wait_s - 0.01) is None
        case.now += 0.01
    assert case.decide(BUSY) is OPEN
    case.ready()
    assert case.decide() is TAKE_OVER


def test_an_overdue_connection_does_not_wait_for_a_successor_that_fails() -> None:
    """Soon there will be none at all: to try in its place is no loss, in a pause."""
    case = Case()
    case.connect()
    case.now += OVERDUE_S
    assert case.decide() is OPEN
    case.plan.coming_failed(RequestRejected(""), case.now)
    assert case.decide(BUSY) is None
    assert case.decide(REST) is RETIRE
    assert case.decide() is OPEN


def test_a_final_refusal_of_a_successor_is_not_tried_again_soon() -> None:
    """Nor does it take the active connection."""
    case = Case(warm_standby=True, duration_s=10_000.0)
    case.connect()
    assert case.decide() is OPEN
    assert case.plan.coming_failed(RequestRejected(""), case.now) is None
    assert case.decide(after_s=FINAL_RETRY_S - 0.01) is None
    assert case.decide(after_s=0.01) is OPEN


def test_a_standby_waits_for_what_the_gateway_asks() -> None:
    """A limit on connections is the same for all of them."""
    case = Case(warm_standby=True)
    case.connect()
    assert case.decide() is OPEN
    assert case.plan.coming_failed(RateLimited(""), case.now) is None
    assert case.decide(after_s=5.99) is None
    assert case.decide(after_s=0.01) is OPEN


def test_a_standby_that_fails_leaves_the_first_model_where_it_is() -> None:
    """It is the one in use, and need not be tried again."""
    case = Case("a", "b", warm_standby=True, cooldown_s=10.0)
    case.connect()
    assert case.decide() is OPEN
    assert case.plan.coming_failed(NETWORK, case.now) is None
    assert case.decision(after_s=10.0) == Decision(OPEN, model="a")


def test_a_standby_that_is_dropped_again_and_again_is_not_hammered() -> None:
    """`ready` is no life: the row of delays goes on until one has lived for 30 s."""
    case = Case(warm_standby=True, duration_s=10_000.0)
    case.connect()
    for wait_s in (1.0, 2.0, 4.0, 8.0):
        assert case.decide() is OPEN
        case.ready()
        assert case.decide(after_s=0.5) is None
        assert case.plan.coming_failed(NORMAL, case.now) is None
        assert case.decide(after_s=wait_s - 0.01) is None
        case.now += 0.01
    assert case.decide() is OPEN
    case.ready()
    case.now += 30.0
    assert case.plan.coming_failed(NORMAL, case.now) is None
    assert case.decide(after_s=0.99) is None
    assert case.decide(after_s=0.01) is OPEN


def test_a_standby_that_was_used_begins_the_row_anew() -> None:
    """It did what it was for."""
    case = Case(warm_standby=True, duration_s=10_000.0)
    case.connect()
    for wait_s in (1.0, 2.0):
        assert case.decide() is OPEN
        case.plan.coming_failed(NETWORK, case.now)
        case.now += wait_s
    assert case.decide() is OPEN
    case.ready()
    assert case.decide(SPENT) is TAKE_OVER
    assert case.decide() is OPEN
    case.plan.coming_failed(NETWORK, case.now)
    assert case.decide(after_s=0.99) is None
    assert case.decide(after_s=0.01) is OPEN


def test_a_standby_that_takes_over_from_a_failure_does_not_cut_the_back_off_short() -> None:
    """Of a gateway that drops every connection, each would be replaced at once by the next."""
    case = Case(warm_standby=True)
    case.connect()
    for wait_s in (1.0, 2.0, 4.0):
        assert case.decide() is OPEN
        case.ready()
        assert case.end(SessionClosed("")).retry_in_s == wait_s
        assert case.decide() is TAKE_OVER
        assert case.decide(after_s=wait_s - 0.01) is None
        case.now += 0.01


def test_a_warm_standby_takes_over_when_the_active_one_ends() -> None:
    """At once, and the next standby is opened."""
    case = Case(warm_standby=True)
    case.connect()
    assert case.decide() is OPEN
    case.ready()
    assert case.decide() is None
    case.end(NORMAL, served=True, answered=True)
    assert [case.decide(BUSY) for _ in range(3)] == [TAKE_OVER, OPEN, None]


# The life cycle of a route


def test_a_close_after_an_utterance_is_quiet() -> None:
    """No back-off; and what it says of the route is told."""
    case = Case()
    case.connect()
    ended = case.end(NORMAL, served=True, answered=True)
    assert ended == Ended(quiet=True, retry_in_s=0.0, one_utterance=True)


@pytest.mark.parametrize(
    ("error", "served"),
    [(NORMAL, False), (SessionClosed("", code=1001), True), (BUSY_MODEL, True)],
)
def test_other_ends_are_no_life_cycle(error: GatewayError, served: bool) -> None:
    """Not in the middle of an utterance, and not with another code."""
    case = Case()
    case.connect()
    ended = case.end(error, served=served)
    assert (ended.quiet, ended.one_utterance) == (False, False)


def test_a_close_long_after_an_utterance_says_nothing_of_the_next_ones() -> None:
    """It is quiet, too, but may be a gateway that goes away."""
    case = Case()
    case.connect()
    ended = case.end(NORMAL, served=True, answered=True, served_s_ago=LIFE_CYCLE_S)
    assert ended == Ended(quiet=True, retry_in_s=0.0)


def test_from_the_second_time_on_the_next_socket_is_opened_before_it_is_needed() -> None:
    """While there is work; it takes over as soon as the gateway has closed the first."""
    case = Case()
    case.connect()
    case.end(NORMAL, served=True, answered=True)
    case.connect()
    known_at_rest, known = replace(REST, one_utterance=True), replace(BUSY, one_utterance=True)
    assert case.decide(known_at_rest) is None
    assert case.decide(BUSY) is None
    assert case.decide(known) is OPEN
    case.ready()
    assert [case.decide(each) for each in (known, known_at_rest)] == [None, None]
    case.end(NORMAL, served=True, answered=True)
    assert case.decide(known) is TAKE_OVER
    assert case.decide(known) is OPEN


# Gateways that let connections live shorter than the plan says


@pytest.mark.parametrize("error", [TIME_UP, ENDED])
def test_a_connection_that_is_ended_for_its_age_shows_how_long_the_next_ones_live(
    error: GatewayError,
) -> None:
    """It is replaced at once and quietly; the next ones before that age, in a pause."""
    case = Case()
    case.connect()
    case.now += 50.0
    assert case.end(error, served=True, answered=True) == Ended(quiet=True, retry_in_s=0.0)
    case.connect()
    assert case.decide(REST, after_s=39.9) is None
    assert case.decision(REST, after_s=0.2) == Decision(OPEN, "its time is nearly up", "a")
    case.now += 7.4
    case.ready()
    assert case.decide(REST) is TAKE_OVER
    assert case.decide(NO_PLACE, after_s=40.1) is RETIRE


def test_its_age_counts_from_when_it_was_ready() -> None:
    """Not from its use: the gateway counts a standby's as well."""
    case = Case(warm_standby=True)
    case.connect()
    assert case.decide() is OPEN
    case.ready()
    case.now += 20.0
    case.end(NORMAL, served=True)
    assert case.decide() is TAKE_OVER
    case.now += 30.0
    assert case.end(TIME_UP).quiet
    case.connect()
    case.now += 40.0
    assert case.decision(REST) == Decision(OPEN, "its time is nearly up", "a")


def test_what_it_shows_makes_no_connection_live_longer() -> None:
    """The tier's duration is the most, and the shortest that was seen counts."""
    case = Case()
    for age_s in (200.0, 50.0, 70.0):
        case.connect()
        case.now += age_s
        assert case.end(TIME_UP).quiet
    case.connect()
    assert case.decide(NO_PLACE, after_s=39.9) is None
    assert case.decide(NO_PLACE, after_s=0.2) is RETIRE


def test_a_connection_that_is_ended_for_its_age_when_young_is_a_failure() -> None:
    """With the back-off, and no lesson: else a gateway in trouble is hammered."""
    case = Case("a", "b")
    for wait_s in (1.0, 2.0, 4.0):
        case.connect()
        case.now += SHORT_LIFE_S - 0.1
        assert case.end(TIME_UP) == Ended(quiet=False, retry_in_s=wait_s, in_vain=True)
        assert case.comes_after(wait_s)
        case.plan.not_opened()
    case.connect()
    assert case.decide(NO_PLACE, after_s=OLD_S - 0.1) is None


def test_a_connection_that_is_ended_for_its_age_is_well_from_five_seconds_on() -> None:
    """From that age on, and not after it."""
    case = Case()
    case.connect()
    case.now += SHORT_LIFE_S
    assert case.end(TIME_UP) == Ended(quiet=True, retry_in_s=0.0)


def test_a_standby_that_is_ended_for_its_age_is_replaced_at_once() -> None:
    """It shows the same."""
    case = Case(warm_standby=True)
    case.connect()
    case.now += 20.0
    assert case.decide() is OPEN
    case.ready()
    case.now += 30.0
    assert case.plan.coming_failed(TIME_UP, case.now) is None
    assert case.decision(BUSY) == Decision(OPEN, "its time is nearly up", "a")
    case.ready()
    assert case.decide(REST) is TAKE_OVER
    assert case.decide(NO_PLACE, after_s=24.0) is RETIRE


def test_a_standby_that_was_the_only_one_left_fails_like_any() -> None:
    """Its age is no reason to hurry where the active one has just failed."""
    case = Case(warm_standby=True)
    case.connect()
    assert case.decide() is OPEN
    case.ready()
    case.now += 30.0
    case.end(NETWORK)
    assert case.plan.coming_failed(TIME_UP, case.now) == Ended(quiet=False, retry_in_s=2.0)


def test_a_spent_connection_is_replaced_with_or_without_a_place() -> None:
    """Beside it where the plan has a place; else it goes first."""
    case = Case()
    case.connect()
    assert case.decision(SPENT) == Decision(OPEN, "it has done its work", "a")
    assert case.decide(SPENT) is None
    case.ready()
    assert case.decide(SPENT) is TAKE_OVER
    assert case.decision(SPENT_NO_PLACE) == Decision(RETIRE, "it has done its work")
    assert case.decide(NO_PLACE) is None
    assert case.decide(REST) is OPEN


def test_a_spent_connection_goes_where_its_successor_fails() -> None:
    """It is of no use, so nothing is lost; the next attempt is the session's own."""
    case = Case()
    case.connect()
    assert case.decide(SPENT) is OPEN
    case.plan.coming_failed(NETWORK, case.now)
    assert case.decide(SPENT) is RETIRE
    assert case.fail(NETWORK) == 1.0


# Failures


def test_failures_wait_longer_and_longer() -> None:
    """And the row begins anew after a connection that has lived for 30 s."""
    case = Case()
    for wait_s in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        assert case.fail(NETWORK) == wait_s
        assert case.decide(after_s=wait_s - 0.01) is None
        case.now += 0.01
    case.connect()
    case.now += 29.0
    assert case.end(SessionClosed("")).retry_in_s == 30.0
    case.now += 30.0
    case.connect()
    case.now += 30.0
    assert case.end(SessionClosed("")).retry_in_s == 1.0


def test_a_connection_that_was_replaced_after_a_long_life_counts() -> None:
    """What was retired did not fail."""
    case = Case()
    case.fail(NETWORK)
    case.now += 1.0
    case.connect()
    assert case.decide(NO_PLACE, after_s=OLD_S) is RETIRE
    assert case.fail(NETWORK) == 1.0


def test_a_connection_that_was_replaced_after_a_short_life_does_not_count() -> None:
    """It proves as little as one that failed then."""
    case = Case()
    case.fail(NETWORK)
    case.now += 1.0
    case.connect()
    assert case.decide(SPENT_NO_PLACE, after_s=29.0) is RETIRE
    assert case.fail(NETWORK) == 2.0


def test_to_retire_a_connection_does_not_cut_a_back_off_short() -> None:
    """Of a standby that took over from one that failed."""
    case = Case(warm_standby=True)
    case.connect()
    assert case.decide() is OPEN
    case.ready()
    assert case.end(RateLimited("")).retry_in_s == 6.0
    assert case.decide() is TAKE_OVER
    assert case.decide(SPENT_NO_PLACE, after_s=1.0) is RETIRE
    assert case.comes_after(5.0)


@pytest.mark.parametrize("error", [NORMAL, SILENT])
def test_a_quiet_end_ends_a_back_off(error: GatewayError) -> None:
    """What is said of the next attempt is so."""
    case = Case(warm_standby=True)
    case.connect()
    assert case.decide() is OPEN
    case.ready()
    assert case.end(RateLimited("")).retry_in_s == 6.0
    assert case.decide() is TAKE_OVER
    ended = case.end(error, served=True, answered=True)
    assert (ended.quiet, ended.retry_in_s) == (True, 0.0)
    assert case.decide() is OPEN


def test_time_as_a_standby_does_not_begin_the_row_anew() -> None:
    """Nothing was asked of it then; a life in use does."""
    case = Case(warm_standby=True)
    case.fail(NETWORK)
    case.now += 1.0
    case.connect()
    assert case.decide() is OPEN
    case.ready()
    case.now += 60.0
    case.end(NORMAL, served=True)
    case.decide()
    case.decide()
    case.plan.coming_failed(NETWORK, case.now)
    assert case.decide(SPENT_NO_PLACE) is RETIRE  # it is young in use as well
    assert case.fail(NETWORK) == 1.0
    case.now += 1.0
    case.connect()
    assert case.decide() is OPEN
    case.ready()
    case.now += 29.0
    assert case.end(SessionClosed("")).retry_in_s == 2.0
    assert case.decide() is TAKE_OVER
    case.now += 29.0
    assert case.end(SessionClosed("")).retry_in_s == 4.0


@pytest.mark.parametrize(
    ("answered", "lived_s", "in_vain"),
    [(False, 29.0, True), (True, 1.0, False), (False, 30.0, False)],
)
def test_a_connection_that_neither_answered_nor_lived_was_in_vain(
    answered: bool, lived_s: float, in_vain: bool
) -> None:
    """So may the next one be: its `ready` is no news."""
    case = Case()
    case.connect()
    case.now += lived_s
    assert case.end(SessionClosed(""), answered=answered).in_vain is in_vain


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (RateLimited(""), 6.0),
        (RateLimited("", retry_after_s=20.0), 21.0),
        (RateLimited("", retry_after_s=0.0), 1.0),
        (ConnectFailed("", retry_after_s=7.0, status=503), 8.0),
        (NETWORK, 1.0),
        (AuthenticationRejected(""), FINAL_RETRY_S),
        (RequestRejected(""), FINAL_RETRY_S),
        (ConfigError("no key"), FINAL_RETRY_S),
    ],
)
def test_what_the_gateway_asks_for_is_waited(error: SlngEdgeError, wait_s: float) -> None:
    """`Retry-After`, 5 s after a rate limit, 10 minutes after what is final; jitter on top."""
    case = Case()
    assert case.fail(error) == wait_s
    assert case.comes_after(wait_s)


def test_a_new_key_ends_the_wait() -> None:
    """So does the network's return."""
    case = Case()
    case.fail(AuthenticationRejected(""))
    assert case.decide(after_s=1.0) is None
    case.plan.retry_now()
    assert case.decide() is OPEN


def test_a_connection_that_we_gave_up_is_replaced_at_once() -> None:
    """Quietly: the gateway is there."""
    case = Case()
    case.connect()
    assert case.end(SILENT) == Ended(quiet=True, retry_in_s=0.0)
    assert case.decide() is OPEN


# Fallbacks


def test_a_network_that_breaks_idle_connections_blames_no_model() -> None:
    """Nothing was asked of the model; where something was, it may be what broke the connection."""
    case = Case("a", "b")
    for _ in range(5):
        case.connect("a")
        case.now += case.end(SessionClosed(""), at_work=False).retry_in_s
    for _ in range(2):
        case.connect("a")
        case.now += case.end(SessionClosed(""), at_work=True).retry_in_s
    case.connect("b")


@pytest.mark.parametrize(
    "error",
    [
        ServerReportedError("idle_timeout_exceeded", "", retryable=True),
        TIME_UP,
        SessionClosed("", code=1000),
        SessionClosed("", code=1001),
        SessionClosed("", code=1011),
        BUSY_MODEL,
    ],
)
def test_a_gateway_that_ends_idle_connections_blames_no_model(error: GatewayError) -> None:
    """However it says so, and however often: the model is well."""
    case = Case("a", "b")
    for _ in range(5):
        case.connect("a")
        case.now += SHORT_LIFE_S
        case.now += case.end(error, at_work=False).retry_in_s
    assert case.plan.model == "a"


@pytest.mark.parametrize(("answered", "model"), [(False, "b"), (True, "a")])
def test_a_bad_start_is_the_models_fault_also_without_work(answered: bool, model: str) -> None:
    """It said `ready`, and was not; but an answer is one."""
    case = Case("a", "b")
    for _ in range(2):
        case.connect("a")
        case.now += SHORT_LIFE_S - 0.1
        case.now += case.end(BUSY_MODEL, at_work=False, answered=answered).retry_in_s
    assert case.plan.model == model


def test_two_failures_lead_to_the_next_model_at_once() -> None:
    """Which model is tried is said with each decision."""
    case = Case("a", "b")
    assert case.fail() == 1.0
    assert case.comes_after(1.0)
    ended = case.plan.coming_failed(BUSY_MODEL, case.now)
    assert ended == Ended(quiet=False, retry_in_s=0.0)
    case.connect("b")


def test_the_next_model_is_not_kept_waiting_for_what_the_last_one_asked() -> None:
    """Another model may be well, where one asks for time."""
    case = Case("a", "b")
    asking = ConnectFailed("503", status=503, retry_after_s=7.0)
    assert case.fail(asking) == 8.0
    case.now += 8.0
    assert case.fail(asking) == 0.0
    assert case.decision() == Decision(OPEN, model="b")


def test_a_model_that_says_ready_and_then_fails_does_not_loop() -> None:
    """`ready` is no success: it is left like one that refuses."""
    case = Case("a", "b")
    case.connect("a")
    assert case.end().retry_in_s == 1.0
    case.now += 1.0
    case.connect("a")
    assert case.end().retry_in_s == 0.0
    case.connect("b")


@pytest.mark.parametrize("ready", [False, True])
def test_a_connection_without_a_close_is_the_models_fault_only_once_it_was_ready(
    ready: bool,
) -> None:
    """Before that it may be the network's."""
    case = Case("a", "b")
    for _ in range(2):
        assert case.decide() is OPEN
        if ready:
            case.ready()
        ended = case.plan.coming_failed(SessionClosed("", code=1006), case.now)
        assert ended is not None
        case.now += ended.retry_in_s
    assert case.plan.model == ("b" if ready else "a")


def test_an_answer_counts_although_the_connection_was_replaced() -> None:
    """By a successor that stood beside it."""
    case = Case("a", "b")
    case.fail()
    case.now += 1.0
    case.connect("a")
    assert case.decide(SPENT) is OPEN
    case.ready()
    assert case.decide(Situation(spent=True, answered=True)) is TAKE_OVER
    assert case.end().retry_in_s == 2.0
    assert case.plan.model == "a"


@pytest.mark.parametrize("replaced_by", [SPENT_NO_PLACE, None])
def test_failures_with_an_answer_between_them_are_not_in_a_row(
    replaced_by: Situation | None,
) -> None:
    """Whether the connection that answered failed in the end, or was replaced."""
    case = Case("a", "b")
    case.fail()
    case.now += 1.0
    case.connect("a")
    if replaced_by is None:
        assert case.end(answered=True).retry_in_s == 2.0
        case.now += 2.0
    else:
        answered = Situation(spent=True, place_free=False, answered=True)
        assert case.decide(answered) is RETIRE
        case.fail()
        case.now += 2.0
    assert case.plan.model == "a"


def test_a_silent_model_is_left_at_once() -> None:
    """The next one gets its turn without a back-off."""
    case = Case("a", "b")
    case.connect("a")
    assert case.end(SILENT).retry_in_s == 0.0
    case.connect("b")


def test_what_we_gave_up_for_another_reason_is_not_the_models_fault() -> None:
    """It is used again, with smaller messages."""
    case = Case("a", "b")
    case.connect("a")
    case.end(LARGE)
    case.connect("a")


def test_a_rate_limit_is_waited_for_by_the_fallback_too() -> None:
    """It is the key's."""
    case = Case("a", "b")
    limited = RateLimited("", retry_after_s=20.0)
    assert case.fail(limited) == 21.0
    case.now += 21.0
    assert case.fail(limited) == 20.0
    assert case.plan.model == "b"
    assert case.comes_after(20.0, "b")


def test_after_the_last_model_the_first_waits_like_any_retry() -> None:
    """All of them failed: there is no hurry."""
    case = Case("a", "b")
    waits = []
    for _ in range(5):
        waits.append(case.fail())
        case.now += waits[-1]
    assert waits == [1.0, 0.0, 2.0, 4.0, 8.0]
    assert case.plan.model == "a"


def on_fallback(**more: Any) -> Case:
    """A session that uses its fallback "b" because "a" fails; "a" rests for 50 s."""
    case = Case("a", "b", cooldown_s=50.0, **more)
    case.fail()
    case.now += 1.0
    case.fail()
    case.connect("b")
    return case


def test_the_first_model_is_tried_beside_the_fallback_and_used_in_a_pause() -> None:
    """After its cool-down; it is on probation then."""
    case = on_fallback()
    assert case.decide(BUSY, after_s=49.99) is None
    assert case.decision(BUSY, after_s=0.01) == Decision(
        OPEN, "the first model is tried again", "a"
    )
    case.ready()
    assert case.decide(BUSY) is None
    assert case.decide(REST) is TAKE_OVER
    assert case.plan.model == "a"
    assert case.end().retry_in_s == 0.0
    case.connect("b")


def test_a_first_model_that_still_fails_rests_again() -> None:
    """The fallback goes on, and nobody is told."""
    case = on_fallback(duration_s=1000.0)
    assert case.decide(BUSY, after_s=50.0) is OPEN
    assert case.plan.coming_failed(BUSY_MODEL, case.now) is None
    assert case.plan.model == "b"
    assert case.decide(REST, after_s=25.0) is None
    assert case.decision(BUSY, after_s=25.0) == Decision(
        OPEN, "the first model is tried again", "a"
    )


def test_a_standby_of_the_fallback_that_fails_says_nothing_of_the_first_model() -> None:
    """It is tried again when its own time has come."""
    case = on_fallback(warm_standby=True)
    assert case.decision(BUSY) == Decision(OPEN, model="b")
    case.plan.coming_failed(BUSY_MODEL, case.now + 40.0)
    assert case.decision(BUSY, after_s=50.0) == Decision(
        OPEN, "the first model is tried again", "a"
    )


def test_with_one_place_the_fallback_goes_for_the_first_model() -> None:
    """In a pause with no work waiting; the first one's failure leads back to it."""
    case = on_fallback()
    case.now += 50.0
    assert case.decide(Situation(pressing=True, place_free=False)) is None
    assert case.decision(NO_PLACE) == Decision(RETIRE, "the first model is tried again")
    assert case.fail(RequestRejected("")) == 0.0
    case.connect("b")
    case = on_fallback()
    assert case.decide(NO_PLACE, after_s=50.0) is RETIRE
    case.connect("a")


def test_a_standby_of_the_fallback_makes_way_for_the_first_model() -> None:
    """To take it over would change nothing."""
    case = on_fallback(warm_standby=True)
    assert case.decision(BUSY) == Decision(OPEN, model="b")
    case.ready()
    assert case.decide(REST, after_s=50.0) is DROP
    assert case.decide(NO_PLACE) is None  # the place of the standby comes free in a moment
    assert case.decision(BUSY) == Decision(OPEN, "the first model is tried again", "a")
    case.ready()
    assert case.decide(REST) is TAKE_OVER
    assert case.plan.model == "a"


def test_a_place_that_does_not_come_free_is_not_waited_for_forever() -> None:
    """Then the active connection goes first."""
    case = on_fallback(warm_standby=True)
    assert case.decide(BUSY) is OPEN
    assert case.decide(REST, after_s=50.0) is DROP
    assert case.decide(NO_PLACE, after_s=GOODBYE_S - 0.01) is None
    assert case.decide(NO_PLACE, after_s=0.01) is RETIRE


def test_a_first_model_that_is_on_its_way_when_the_fallback_ends_is_used() -> None:
    """It is due, and nothing else is there."""
    case = on_fallback()
    assert case.decide(BUSY, after_s=50.0) is OPEN
    case.end(NORMAL, served=True, answered=True)
    assert case.decide(BUSY) is None
    case.ready()
    assert case.decide(BUSY) is TAKE_OVER
    assert case.plan.model == "a"


def test_a_first_model_that_fails_when_the_fallback_has_ended_is_not_the_fallbacks_fault() -> None:
    """The fallback's turn comes as if the first had not been tried."""
    case = on_fallback()
    assert case.decide(BUSY, after_s=50.0) is OPEN
    assert case.end().retry_in_s == 1.0
    assert case.plan.coming_failed(BUSY_MODEL, case.now) == Ended(quiet=False, retry_in_s=1.0)
    assert case.comes_after(1.0, "b")
    case.ready()
    assert case.decide() is TAKE_OVER
    assert case.decide(BUSY, after_s=40.0) is None  # "a" rests again


@pytest.mark.parametrize("error", [BUSY_MODEL, SILENT, NETWORK])
def test_a_first_model_that_is_on_its_way_when_the_fallback_fails_is_dropped(
    error: GatewayError,
) -> None:
    """There would be nothing to come back to; its turn comes beside one that works."""
    case = Case("a", "b", "c", cooldown_s=50.0)
    assert case.fail() == 1.0
    case.now += 1.0
    case.fail()
    case.connect("b")
    assert case.decide(BUSY, after_s=50.0) is OPEN
    case.now += case.end(error).retry_in_s
    used = "c" if error is SILENT else "b"
    assert case.decide(BUSY) is DROP
    case.connect(used, BUSY)
    assert case.decision(BUSY) == Decision(OPEN, "the first model is tried again", "a")


def test_after_a_probation_in_vain_the_fallback_that_worked_is_used_again() -> None:
    """Not the one in between, which is known to fail."""
    case = Case("a", "b", "c", cooldown_s=50.0)
    for _ in range(4):
        case.now += case.fail()
    case.connect("c")
    assert case.decide(BUSY, after_s=50.0) is OPEN
    case.ready()
    assert case.decide(Situation(answered=True)) is TAKE_OVER
    assert case.plan.model == "a"
    assert case.end().retry_in_s == 0.0
    case.connect("c")
    assert case.decide(NO_PLACE, after_s=50.0) is RETIRE
    assert case.fail() == 0.0
    case.connect("c")


def test_a_standby_of_a_model_that_was_given_up_is_dropped() -> None:
    """It would fail in the same way."""
    case = Case("a", "b", warm_standby=True)
    case.connect("a")
    assert case.decide() is OPEN
    case.end(SILENT)
    assert case.decide() is DROP
    case.connect("b")


def test_the_failure_of_a_standby_of_a_given_up_model_concerns_nobody_else() -> None:
    """Neither the next model nor the first one's rest."""
    case = Case("a", "b", "c", cooldown_s=1000.0, warm_standby=True)
    case.connect("a")
    case.end(SILENT)
    case.connect("b")
    assert case.decision() == Decision(OPEN, model="b")
    case.end(SILENT)
    assert case.plan.model == "c"
    ended = case.plan.coming_failed(BUSY_MODEL, case.now)
    assert ended == Ended(quiet=False, retry_in_s=0.0)
    case.connect("c")


def test_a_standby_that_fails_with_nothing_left_counts_as_an_attempt() -> None:
    """It had become the only hope."""
    case = Case(warm_standby=True)
    case.connect()
    assert case.decide() is OPEN
    case.end(NORMAL, served=True)
    assert case.plan.coming_failed(NETWORK, case.now) == Ended(quiet=False, retry_in_s=1.0)
    assert case.comes_after(1.0)


# Places that others want


def test_a_session_without_work_gives_its_place_at_once() -> None:
    """And takes it again when it is free."""
    case = Case()
    case.connect()
    assert case.decision(WANTED) == Decision(RETIRE, "its place is needed")
    assert case.decide(WANTED) is None
    assert case.decide(NO_PLACE) is None
    assert case.decide(REST) is OPEN


def test_a_session_at_work_gives_its_place_in_a_pause_after_its_turn() -> None:
    """Not at once: it would have had its turn for nothing, and so would the other one."""
    case = Case(standing=False)
    case.connect(situation=WORK)
    assert case.decide(WANTED_AT_WORK) is None
    assert case.decide(WANTED_BUSY, after_s=TURN_S) is None
    assert case.decide(WANTED_AT_WORK) is RETIRE
    assert case.plan.wants_place(WANTED_AT_WORK)


def test_the_turn_ends_by_itself() -> None:
    """A pause in which nothing happens is left at its deadline."""
    case = Case(standing=False)
    case.connect(situation=WORK)
    assert case.decide(WANTED_AT_WORK) is None
    assert case.plan.deadline(case.now) == case.now + TURN_S
    assert case.decide(WANTED_AT_WORK, after_s=TURN_S) is RETIRE


def test_a_standby_goes_first_and_is_enough() -> None:
    """The active connection is kept while the standby's place comes free."""
    case = Case(warm_standby=True)
    case.connect()
    assert case.decide() is OPEN
    assert case.decide(WANTED) is DROP
    assert case.decide(WANTED) is None
    assert case.decide(WANTED, after_s=GOODBYE_S) is RETIRE


def test_a_session_that_stands_drops_what_is_coming_for_one_with_work() -> None:
    """It has time; but not where it has work itself, or has never been ready."""
    case = Case()
    assert case.decide() is OPEN
    assert case.decide(WANTED) is None
    case.ready()
    assert case.decide(WANTED) is TAKE_OVER
    assert case.decide(WANTED) is RETIRE
    assert case.decide() is OPEN
    assert case.decide(WANTED_AT_WORK) is None
    assert case.decide(WANTED) is DROP
