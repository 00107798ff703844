"""What holds of a plan whatever happens, and whatever it is asked."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.connecting.connection_plan import (
    FINAL_RETRY_S,
    OVERDUE_SHARE,
    SHORT_LIFE_S,
    Act,
    ConnectionPlan,
    Situation,
)
from slng_edge.connecting.model_choice import ModelChoice
from slng_edge.errors import (
    AuthenticationRejected,
    ConnectFailed,
    GatewayError,
    RateLimited,
    ServerReportedError,
    SessionClosed,
)

DURATION_S = 100.0

ERRORS: list[GatewayError] = [
    ConnectFailed("no route"),
    ServerReportedError("provider_error", "", retryable=True),
    SessionClosed("", code=1006),
    SessionClosed("", code=1000),
    SessionClosed("no audio", code=1000, by_us=True),
    SessionClosed("too large", code=1009, by_us=True),
    RateLimited("", retry_after_s=20.0),
    AuthenticationRejected(""),
    ServerReportedError("max_connection_duration_exceeded", "", retryable=True),
]
TIME_UP = ERRORS[-1]

SECONDS = [0.0, 0.0, 0.0, 0.1, 1.0, 2.0, 10.0, 30.0, 80.0, 95.0, 600.0]

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "ready",
                "ready",
                "ready",
                "fail",
                "end",
                "end",
                "work",
                "begin",
                "done",
                "spent",
                "other",
                "gone",
                "gone",
                "retry",
                "lost race",
            ]
        ),
        st.integers(0, 31),
        st.sampled_from(SECONDS),
    ),
    min_size=5,
    max_size=60,
)


@dataclass
class Link:
    """Carries out what a plan decides, as a session does, and looks whether it can be done."""

    plan: ConnectionPlan
    places: int
    resends: bool
    now: float = 1000.0
    active_since: float | None = None
    coming: bool = False
    coming_ready_at: float | None = None
    leaving: int = 0
    pressing: bool = False
    busy: bool = False
    spent: bool = False
    answered: bool = False
    one_utterance: bool = False
    duration_s: float = DURATION_S
    other_waits: bool = False
    acts: list[Act] = field(default_factory=list)

    @property
    def used(self) -> int:
        return self.leaving + self.coming + (self.active_since is not None)

    def situation(self) -> Situation:
        up = self.active_since is not None
        free = self.places - self.used
        return Situation(
            pressing=self.pressing,
            at_rest=not (up and self.busy),
            spent=up and not self.busy and self.spent,
            place_free=free > self.other_waits,
            place_wanted=self.other_waits and free == 0,
            answered=up and self.answered,
            one_utterance=self.one_utterance,
        )

    def settle(self) -> None:
        """Do all that is to be done now, and look whether the next deadline can be waited for."""
        for _ in range(10):
            situation = self.situation()
            decision = self.plan.decide(self.now, situation)
            if decision is None:
                break
            self.carry_out(decision.act, decision.model, situation)
        else:
            raise AssertionError(f"there is always something to do: {self.acts[-10:]}")
        deadline = self.plan.deadline(self.now)
        assert deadline is None or deadline > self.now
        later = self.now + 10_000.0 if deadline is None else deadline
        for now in (self.now, (self.now + later) / 2, math.nextafter(later, 0.0)):
            # Asked in vain it forgets nothing, and before the deadline there is nothing to do.
            assert copy.deepcopy(self.plan).decide(now, self.situation()) is None
        wants = self.plan.wants_place(self.situation())
        assert not (wants and (self.coming or self.active_since is not None))

    def carry_out(self, act: Act, model: str, situation: Situation) -> None:
        self.acts.append(act)
        up = self.active_since is not None
        may_leave = situation.at_rest or (
            self.resends
            and self.active_since is not None
            and self.now >= self.active_since + self.duration_s * OVERDUE_SHARE
        )
        match act:
            case Act.OPEN:
                assert situation.place_free
                assert not self.coming
                assert model in ("a", "b", "c")
                self.coming = True
                assert self.used <= self.places
            case Act.TAKE_OVER:
                assert self.coming_ready_at is not None
                assert may_leave or not up
                self.leaving += up
                self.use(self.coming_ready_at)
            case Act.RETIRE:
                assert up
                assert may_leave
                self.leaving += 1
                self.active_since = None
            case Act.DROP_COMING:
                assert self.coming
                self.leaving += 1
                self.coming, self.coming_ready_at = False, None

    def use(self, ready_at: float) -> None:
        self.active_since = ready_at
        self.coming, self.coming_ready_at = False, None
        self.busy = self.spent = self.answered = False

    def learn(self, error: GatewayError, since: float | None) -> None:
        if error is TIME_UP and since is not None and self.now >= since + SHORT_LIFE_S:
            self.duration_s = min(self.duration_s, self.now - since)

    def do(self, operation: str, which: int) -> None:
        error = ERRORS[which % len(ERRORS)]
        match operation:
            case "ready" if self.coming and self.coming_ready_at is None:
                self.coming_ready_at = self.now
                self.plan.coming_ready(self.now)
            case "fail" if self.coming:
                if self.active_since is not None:
                    self.learn(error, self.coming_ready_at)
                self.coming, self.coming_ready_at = False, None
                self.plan.coming_failed(error, self.now)
            case "end" if self.active_since is not None:
                self.learn(error, self.active_since)
                self.active_since = None
                ended = self.plan.active_ended(
                    error,
                    self.now,
                    served=bool(which & 16),
                    answered=self.answered,
                    at_work=self.busy,
                    served_at=self.now,
                )
                self.one_utterance |= ended.one_utterance
            case "work":
                self.pressing = True
            case "begin" if self.active_since is not None and not self.spent:
                self.pressing = self.busy = True
            case "done":
                self.busy, self.answered = False, True
                self.pressing = bool(which & 1)
            case "spent":
                self.spent = True
                self.one_utterance = False
            case "other":
                self.other_waits = bool(which & 1)
            case "gone":
                self.leaving = max(0, self.leaving - 1)
            case "retry":
                self.plan.retry_now()
            case "lost race" if self.coming and self.coming_ready_at is None:
                self.coming = False
                self.plan.not_opened()


@settings(max_examples=1000, deadline=None)
@given(
    OPERATIONS,
    st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
    st.integers(1, 3),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_a_plan_is_carried_out_and_comes_to_a_connection(
    operations: list[tuple[str, int, float]],
    models: tuple[str, ...],
    places: int,
    kind: tuple[bool, bool, bool],
) -> None:
    """No decision is impossible, none is made twice, none before its deadline, and from whatever
    has happened it comes to an active connection once the network and a place are there.
    """
    standing, warm_standby, resends = kind
    link = Link(
        ConnectionPlan(
            ModelChoice(models, cooldown_s=50.0),
            duration_s=DURATION_S,
            standing=standing,
            warm_standby=warm_standby,
            resends=resends,
            uniform=lambda low, high: high,
        ),
        places=places,
        resends=resends,
    )
    for operation, which, seconds in operations:
        link.do(operation, which)
        link.settle()
        link.now += seconds
        link.settle()
    # From here on every connection comes about, and nobody else wants its place.
    link.other_waits, link.pressing = False, True
    limit = link.now + FINAL_RETRY_S + 60.0
    for _ in range(100):
        link.leaving = 0
        link.do("ready", 0)
        link.settle()
        if link.active_since is not None and not link.spent:
            break
        if not link.coming:
            link.now = link.plan.deadline(link.now) or link.now
            link.busy = False
    assert link.active_since is not None
    assert link.now <= limit


@pytest.mark.parametrize("models", [("a",), ("a", "b")])
@pytest.mark.parametrize("warm_standby", [False, True])
@pytest.mark.parametrize("pressing", [False, True])
@pytest.mark.parametrize(
    "error", [error for error in ERRORS if not (isinstance(error, SessionClosed) and error.by_us)]
)
@pytest.mark.parametrize("lives_s", [None, 0.0, 5.0])
def test_a_gateway_that_drops_every_connection_is_not_hammered(
    models: tuple[str, ...],
    warm_standby: bool,
    pressing: bool,
    error: GatewayError,
    lives_s: float | None,
) -> None:
    """Before `ready`, right after it or soon: a hundred attempts in ten minutes at the most; one
    each few seconds where the gateway says that this is how long its connections live.
    """
    choice = ModelChoice(models, cooldown_s=50.0)
    plan = ConnectionPlan(
        choice,
        duration_s=DURATION_S,
        warm_standby=warm_standby,
        uniform=lambda low, high: high,
    )
    link = Link(plan, places=5, resends=True, pressing=pressing)
    end = link.now + 600.0
    while link.now < end:
        link.leaving = 0
        link.settle()
        if lives_s is None and link.coming:
            link.do("fail", ERRORS.index(error))
        elif link.coming:
            link.do("ready", 0)
            link.settle()
        if link.active_since is not None:
            if lives_s:
                link.now += lives_s
            link.do("end", ERRORS.index(error))
        elif not link.coming:
            link.now = max(link.plan.deadline(link.now) or end, link.now + 0.01)
    told = error is TIME_UP and lives_s == SHORT_LIFE_S
    assert link.acts.count(Act.OPEN) <= (600.0 / SHORT_LIFE_S * 2 + 1 if told else 100)
