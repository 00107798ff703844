"""Which connections a session should have now, as a pure decision.

Theory of operation. A session has one *active* connection, which its exchange uses, and at times
a second one that is *coming*: it is dialled and greeted beside the active one, and takes over when
its moment has come. The first connection of all comes the same way, with no active one before it.

    nothing ──OPEN──▶ coming ──ready──▶ coming, ready ──TAKE_OVER──▶ active ──ended──▶ nothing
                         │                    │                         │
                       failed            DROP_COMING                  RETIRE
                         ▼                    ▼                         ▼
                      back-off             nothing                   nothing

A second connection is wanted for four reasons:
- the active one comes near the end of what its tier allows it to live (*age*),
- it is of no use for anything further, like one that speaks in another voice (*spent*),
- it is of a fallback model, and the first model has rested long enough (*first model*),
- a standby is configured, or the route is known to close after each utterance.
For the first three it takes over in the next pause; where an exchange can send again what is not
answered, and no pause comes, it takes over without one. For the last it waits for the end of the
active one. Where the plan has no place for a second connection, the active one is retired in the
pause, and the next is opened at once.

A gateway may let connections live shorter than its tier says. It shows by the first one that it
ends for its age: from then on that is the time, and the next ones are replaced before.

Where another session has work and there is no place for it, this one gives way in its next pause.
Times are seconds of a monotonic clock; the owner serializes all calls.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from slng_edge.connecting.back_off import LIVED_S, RATE_LIMITED_S, BackOff
from slng_edge.connecting.model_choice import ModelChoice, is_duration_exceeded
from slng_edge.errors import GatewayError, RateLimited, SessionClosed, SlngEdgeError

FINAL_RETRY_S = 600.0
"""A refusal that is final is tried again after 10 minutes (protocol.md, 7)."""

PAUSE_FROM_SHARE = 0.8
"""Of the time a connection may live: from here on it is replaced in a pause."""

OVERDUE_SHARE = 0.95
"""From here on it is replaced without one, where nothing is lost by it."""

TURN_S = 10.0
"""Who has work on its only connection need not give it up to another session for so long: a reply
is fetched whole where it can be, and a session that has just got its turn may begin."""

GOODBYE_S = 2.0
"""A place that was given up comes free within this time: the gateway has a second for its close."""

LIFE_CYCLE_S = 2.0
"""A close with 1000 this soon after the work is the route's way, and tells of the next ones."""

SHORT_LIFE_S = 5.0
"""A connection that ends sooner had a bad start: it may be the model's fault, and no gateway's
limit is as short."""

CLOSE_NORMAL = 1000

_FIRST_AGAIN = "the first model is tried again"


class Act(enum.Enum):
    """What is to be done with the connections."""

    OPEN = enum.auto()
    TAKE_OVER = enum.auto()
    RETIRE = enum.auto()
    DROP_COMING = enum.auto()


@dataclass(frozen=True)
class Decision:
    """What to do, and why; `model` is the one to open a connection for."""

    act: Act
    why: str = ""
    model: str = ""


@dataclass(frozen=True)
class Situation:
    """What the decision depends on besides the plan itself.

    Attributes:
        pressing: Work waits for a connection, or is under way on it.
        at_rest: Nothing is lost or sent twice if the connection changes now.
        spent: The active connection is of no use for anything further.
        place_free: A place for one more connection could be taken now.
        place_wanted: Another session has work, and no place for it is left.
        answered: The active connection has done what it is for.
        one_utterance: The route is known to close after each utterance.
        finished: A recording was all that the session was for, and nothing of it is left to do.
    """

    pressing: bool = False
    at_rest: bool = True
    spent: bool = False
    place_free: bool = True
    place_wanted: bool = False
    answered: bool = False
    one_utterance: bool = False
    finished: bool = False


@dataclass(frozen=True)
class Ended:
    """How the end of a connection is to be told, and when the next is tried.

    Attributes:
        quiet: It is no failure: a route's life cycle, or a connection that we gave up.
        retry_in_s: Until the next attempt.
        in_vain: It was ready, and neither answered nor lived: so may the next one be.
        one_utterance: So does the route close after each utterance, with this model.
    """

    quiet: bool
    retry_in_s: float
    in_vain: bool = False
    one_utterance: bool = False


@dataclass
class _Coming:
    model: str
    ready_at: float | None = None
    outdated: bool = False


@dataclass
class _Active:
    model: str
    since: float
    used_since: float


class ConnectionPlan:
    """The plan of one session.

    Args:
        choice: Which model is used.
        duration_s: How long the tier lets a connection live, at the most.
        standing: Whether a connection is wanted without work for it, to have it when it comes.
        warm_standby: Whether a second one is wanted for the same reason.
        resends: Whether the exchange sends again what is not answered.
        uniform: The jitter of the delays between attempts, as of `random.uniform`.
    """

    def __init__(
        self,
        choice: ModelChoice,
        *,
        duration_s: float,
        standing: bool = True,
        warm_standby: bool = False,
        resends: bool = False,
        uniform: Callable[[float, float], float],
    ) -> None:
        self._choice = choice
        self._duration_s = duration_s
        self._standing = standing
        self._warm_standby = warm_standby
        self._resends = resends
        self._uniform = uniform
        self._back_off = BackOff(uniform)
        self._standby_back_off = BackOff(uniform)
        self._active: _Active | None = None
        self._coming: _Coming | None = None
        self._ever_ready = False
        self._retry_at = 0.0
        self._standby_retry_at = 0.0
        self._place_free_by = 0.0
        self._may_try = True

    @property
    def _pause_from_s(self) -> float:
        return self._duration_s * PAUSE_FROM_SHARE

    @property
    def _overdue_s(self) -> float:
        return self._duration_s * OVERDUE_SHARE

    @property
    def model(self) -> str:
        """The model of the active connection, or of the next."""
        return self._active.model if self._active is not None else self._choice.current

    def wants_place(self, situation: Situation) -> bool:
        """Whether work waits and nothing is there, or coming, to do it.

        A session that has never been ready has work to do in itself: to find out that it can.
        One that waits for its next attempt, as of the last `decide`, does not keep others from
        theirs.
        """
        return (
            self._active is None
            and self._coming is None
            and self._may_try
            and self._has_work(situation)
        )

    def decide(self, now: float, situation: Situation) -> Decision | None:
        """What is to be done now; the plan counts it as done."""
        decision = self._decide(now, situation)
        self._may_try = now >= self._retry_at
        if decision is None:
            return None
        match decision.act:
            case Act.OPEN:
                self._coming = _Coming(decision.model)
            case Act.TAKE_OVER:
                self._leave_active(now, situation)
                self._take_over(now)
            case Act.RETIRE:
                self._leave_active(now, situation)
                if self._first_is_due(now):
                    self._choice.go_back()
            case _:
                self._coming = None
                self._place_free_by = now + GOODBYE_S
        return decision

    def deadline(self, now: float) -> float | None:
        """When `decide` may say something else, if nothing happens before."""
        times: list[float | None] = [self._retry_at, self._standby_retry_at, self._place_free_by]
        times.append(self._choice.first_rests_until)
        if self._active is not None:
            times += [self._active.since + self._pause_from_s, self._active.since + self._overdue_s]
            times.append(self._active.used_since + TURN_S)
        if self._coming is not None and self._coming.ready_at is not None:
            times.append(self._coming.ready_at + self._pause_from_s)
        return min((at for at in times if at is not None and at > now), default=None)

    # What happened

    def not_opened(self) -> None:
        """There was no place after all for the connection that was to be opened."""
        self._coming = None

    def coming_ready(self, now: float) -> None:
        """The coming connection has been greeted."""
        if self._coming is not None:
            self._coming.ready_at = now

    def coming_failed(self, error: SlngEdgeError, now: float) -> Ended | None:
        """The coming connection failed; None where that concerns nobody, an active one being there.

        Not even then is it tried again at once.
        """
        coming, self._coming = self._coming, None
        if coming is None:
            return None
        if coming.ready_at is not None:
            if self._lived_out(error, coming.ready_at, now) and self._active is not None:
                self._standby_retry_at = now
                return None
            self._standby_back_off.succeeded(now - coming.ready_at)
        of_current = coming.model == self._choice.current
        if self._active is None and of_current:
            return self._failed(error, now, at_work=coming.ready_at is not None)
        if not of_current and coming.model == self._choice.first:
            self._choice.first_failed(now)
        delay_s = self._standby_back_off.next_delay_s(_asked_for_s(error))
        self._standby_retry_at = now + (delay_s if error.retryable else FINAL_RETRY_S)
        if self._active is None:  # the current model's turn comes as if this had not been
            return Ended(quiet=False, retry_in_s=max(0.0, self._retry_at - now))
        return None

    def active_ended(
        self,
        error: GatewayError,
        now: float,
        *,
        served: bool,
        answered: bool,
        at_work: bool,
        served_at: float | None = None,
    ) -> Ended:
        """The active connection is over.

        Args:
            error: Why.
            now: When.
            served: Whether it had done all that it was asked: then a 1000 is its life cycle.
            answered: Whether it had ever done what it is for.
            at_work: Whether work was under way on it.
            served_at: When it had done the last of it. A route that closes after each
                utterance does so at once; a gateway that goes away, whenever it does.
        """
        active, self._active = self._active, None
        if answered:
            self._choice.answered()
        if active is not None:
            self._back_off.succeeded(now - active.used_since)
            if self._lived_out(error, active.since, now):
                self._retry_at = now
                return Ended(quiet=True, retry_in_s=0.0)
        if served and _is_normal_close(error):
            self._retry_at = now
            at_once = served_at is not None and now - served_at < LIFE_CYCLE_S
            return Ended(quiet=True, retry_in_s=0.0, one_utterance=at_once)
        if self._coming is not None and self._coming.model != self._choice.current:
            self._coming.outdated = True  # else the failure would be followed by a probation
        if isinstance(error, SessionClosed) and error.by_us:
            self._choice.failed(error, now, at_work=True)
            self._retry_at = now
            return Ended(quiet=True, retry_in_s=0.0)
        age_s = math.inf if active is None else now - active.since
        at_start = not answered and age_s < SHORT_LIFE_S
        ended = self._failed(error, now, at_work=at_work, at_start=at_start)
        return replace(ended, in_vain=not answered and age_s < LIVED_S)

    def retry_now(self) -> None:
        """Do not wait out a back-off: the config, the key or the network has changed."""
        self._retry_at = self._standby_retry_at = 0.0

    # Inside

    def _decide(self, now: float, situation: Situation) -> Decision | None:
        coming = self._coming
        if self._active is None:
            if coming is None:
                return self._open_first(now, situation)
            needed = self._has_work(situation) or (self._standing and not situation.place_wanted)
            if not needed or not self._is_of_use(coming, now):
                return Decision(Act.DROP_COMING)
            return Decision(Act.TAKE_OVER) if coming.ready_at is not None else None
        if coming is not None and (situation.place_wanted or not self._wanted(situation)):
            return Decision(Act.DROP_COMING)
        if situation.at_rest and self._gives_way(now, situation):
            return Decision(Act.RETIRE, "its place is needed")
        why = self._reason_to_replace(now, situation)
        pause = situation.at_rest or (self._resends and self._is_overdue(now))
        if coming is None:
            return self._begin_successor(now, situation, why, pause=pause)
        if why == _FIRST_AGAIN and coming.model != self._choice.first:
            return Decision(Act.DROP_COMING)  # a standby for the model that is to be left
        if coming.ready_at is None:
            return None
        if now >= coming.ready_at + self._pause_from_s:
            return Decision(Act.DROP_COMING)
        return Decision(Act.TAKE_OVER, why) if why and pause else None

    def _has_work(self, situation: Situation) -> bool:
        return situation.pressing or not self._ever_ready

    def _wanted(self, situation: Situation) -> bool:
        return situation.pressing or self._standing

    def _is_of_use(self, coming: _Coming, now: float) -> bool:
        """Whether it is of a model that may be used now, and not of one that was given up."""
        if coming.model == self._choice.current:
            return True
        is_first = coming.model == self._choice.first and self._first_is_due(now)
        return is_first and not coming.outdated

    def _gives_way(self, now: float, situation: Situation) -> bool:
        if not self._wanted(situation):
            return True
        if not situation.place_wanted or now < self._place_free_by or self._active is None:
            return False
        return not situation.pressing or now >= self._active.used_since + TURN_S

    def _open_first(self, now: float, situation: Situation) -> Decision | None:
        needed = self._has_work(situation) or (self._standing and not situation.finished)
        if not needed or not situation.place_free or now < self._retry_at:
            return None
        return Decision(Act.OPEN, model=self._choice.current)

    def _begin_successor(
        self, now: float, situation: Situation, why: str, *, pause: bool
    ) -> Decision | None:
        needed = self._warm_standby or (situation.one_utterance and situation.pressing)
        if not (why or needed):
            return None
        # Both: an active one that was a standby a moment ago does not cut the back-off short.
        if situation.place_free and now >= max(self._retry_at, self._standby_retry_at):
            model = self._choice.first if self._first_is_due(now) else self._choice.current
            return Decision(Act.OPEN, why, model)
        # Beside the active one there is no way: it goes first, where there is a reason to.
        if why and pause and self._goes_first(now, situation, why):
            return Decision(Act.RETIRE, why)
        return None

    def _goes_first(self, now: float, situation: Situation, why: str) -> bool:
        if situation.spent or self._is_overdue(now):
            return True
        if situation.place_free or now < self._place_free_by:
            return False
        return why != _FIRST_AGAIN or not situation.pressing

    def _reason_to_replace(self, now: float, situation: Situation) -> str:
        active = self._active
        if active is not None and now >= active.since + self._pause_from_s:
            return "its time is nearly up"
        if situation.spent and not situation.finished:
            return "it has done its work"
        return _FIRST_AGAIN if self._first_is_due(now) else ""

    def _is_overdue(self, now: float) -> bool:
        return self._active is not None and now >= self._active.since + self._overdue_s

    def _first_is_due(self, now: float) -> bool:
        rests_until = self._choice.first_rests_until
        return rests_until is not None and now >= rests_until

    def _take_over(self, now: float) -> None:
        coming, self._coming = self._coming, None
        if coming is None or coming.ready_at is None:  # pragma: no cover - see `_decide`
            return
        if coming.model != self._choice.current:
            self._choice.go_back()
        self._active = _Active(coming.model, coming.ready_at, used_since=now)
        self._ever_ready = True
        self._standby_back_off = BackOff(self._uniform)

    def _leave_active(self, now: float, situation: Situation) -> None:
        """The active connection, if there is one, is replaced without having failed."""
        active, self._active = self._active, None
        if active is None:
            return
        self._back_off.succeeded(now - active.used_since)
        if situation.answered:
            self._choice.answered()

    def _lived_out(self, error: SlngEdgeError, since: float, now: float) -> bool:
        """Whether the gateway has ended a connection for its age; learns that age."""
        age_s = now - since
        if not (isinstance(error, GatewayError) and is_duration_exceeded(error)):
            return False
        if age_s < SHORT_LIFE_S:
            return False
        self._duration_s = min(self._duration_s, age_s)
        return True

    def _failed(
        self, error: SlngEdgeError, now: float, *, at_work: bool, at_start: bool = True
    ) -> Ended:
        switched = isinstance(error, GatewayError) and self._choice.failed(
            error, now, at_work=at_work, at_start=at_start
        )
        if switched:
            # A limit on connections is the key's, not the model's.
            delay_s = _asked_for_s(error) if isinstance(error, RateLimited) else 0.0
        elif error.retryable:
            delay_s = self._back_off.next_delay_s(_asked_for_s(error))
        else:
            delay_s = FINAL_RETRY_S
        self._retry_at = now + delay_s
        return Ended(quiet=False, retry_in_s=delay_s)


def _asked_for_s(error: SlngEdgeError) -> float:
    """The least delay that the gateway, or the table of protocol.md, asks for."""
    asked_for_s: float | None = getattr(error, "retry_after_s", None)
    if asked_for_s is None:
        asked_for_s = RATE_LIMITED_S if isinstance(error, RateLimited) else 0.0
    return asked_for_s


def _is_normal_close(error: SlngEdgeError) -> bool:
    return isinstance(error, SessionClosed) and error.code == CLOSE_NORMAL and not error.by_us
