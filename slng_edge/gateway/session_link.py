"""Keeps one exchange connected, by the plan: a thread that opens, changes and retires connections.

A session is not a connection: the link goes on until it is stopped. Connections are `lane`s, each
with threads of its own; which there should be is the plan's decision (`connection_plan`), carried
out here. The plan, the exchange and the lanes' state are touched under one lock only, `lock`;
nothing is sent, received or reported under it. Lanes and callers *poke* the link's thread when
something has changed that the plan looks at, and only then: it sleeps while a conversation just
goes on.

An exchange changes lanes only when no event of it is on its way any more, and is attached to the
new one only when `ready` of it has been told; so events of the old connection never come after
those of the new one, nor any of those before its `ready`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from slng_edge.connecting.connection_plan import (
    CLOSE_NORMAL,
    Act,
    ConnectionPlan,
    Decision,
    Ended,
    Situation,
)
from slng_edge.errors import (
    AuthenticationRejected,
    ConfigError,
    ConnectFailed,
    GatewayError,
    SessionClosed,
    SlngEdgeError,
)
from slng_edge.events import ConnectionChanged
from slng_edge.gateway.connection import CLOSE_WITHOUT_FRAME, DialSettings
from slng_edge.gateway.connection_budget import ConnectionBudget
from slng_edge.gateway.lane import Driver, Lane
from slng_edge.gateway.outage_log import OutageLog
from slng_edge.gateway.skipped_log import SkippedLog
from slng_edge.protocol.greeting import Greeting
from slng_edge.protocol.routes import Endpoint
from slng_edge.protocol.session_events import (
    Broken,
    Final,
    Odd,
    SegmentBegan,
    SegmentDone,
    SessionReady,
)
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

KEY_POLL_S = 5.0
"""While the key is refused, how often is looked whether it has changed."""

MANAGER_SHARE = 1 / 4
"""Of the time for a stop, what the link's own thread may take of it."""


class Exchange(Driver, Protocol):
    """What the link needs of `SttExchange` and `TtsExchange`, besides what a lane does."""

    one_utterance: bool

    @property
    def ready(self) -> bool: ...
    @property
    def pressing(self) -> bool: ...
    @property
    def at_rest(self) -> bool: ...
    @property
    def spent(self) -> bool: ...
    @property
    def served(self) -> bool: ...
    @property
    def answered(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    def disconnected(self, error: GatewayError) -> Sequence[Any]: ...
    def mend(self, error: GatewayError) -> GatewayError: ...


class Routes(Protocol):
    """Where and in which dialect a session speaks, by model; asked anew for each connection."""

    def endpoint(self, model: str) -> Endpoint:
        """Where to connect; raises `ConfigError` where that cannot be. In a lane's thread."""

    def dialect(self, model: str) -> Any:
        """What writes and reads for one connection."""

    def attach(self, dialect: Any, model: str, now: float) -> None:
        """Hand the greeted connection to the exchange; with the link's lock held."""

    def credentials(self) -> object:
        """Something that is another when the key has changed."""


class SessionLink:
    """The edge of one session.

    Args:
        name: "stt" or "tts"; threads and events carry it.
        plan: Decides on connections.
        exchange: The pure logic; only touched under `lock`.
        routes: Where connections go.
        settings: How connections are made; their timeout also bounds the wait for `ready`.
        keepalive_s: Of a connection that waits to be used.
        budget: Where places for connections are taken.
        on_event: Gets every event of the exchange, `ConnectionChanged`, and a
            `SlngEdgeError` for a refusal that is final. Called in this session's
            threads, without a lock held.
        on_death: Told when a thread dies of an exception.

    Attributes:
        changed: Notified when messages came or went; its lock is `lock`.
        last_error: Why there is no connection; None once there is one.
    """

    def __init__(
        self,
        name: str,
        *,
        plan: ConnectionPlan,
        exchange: Exchange,
        routes: Routes,
        settings: DialSettings,
        keepalive_s: float,
        budget: ConnectionBudget,
        on_event: Callable[[Any], None],
        on_death: OnDeath | None = None,
    ) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.last_error: SlngEdgeError | None = None
        self._name = name
        self._plan = plan
        self._exchange = exchange
        self._routes = routes
        self._settings = settings
        self._keepalive_s = keepalive_s
        self._on_event = on_event
        self._on_death = on_death
        self._claim = budget.claim(self._poke_from_outside)
        self._manage = threading.Condition(self.lock)
        self._poked = False
        self._seen: tuple[bool, ...] = ()
        self._rested = True
        self._active: Lane | None = None
        self._coming: Lane | None = None
        self._coming_told = False
        self._dialects: dict[Lane, Any] = {}
        self._keys: dict[Lane, object] = {}
        self._lanes: list[Lane] = []
        self._ended: list[tuple[Lane, SlngEdgeError]] = []
        self._refused_with: object = None
        self._was_ready = False
        self._served_at: float | None = None
        self._learned_of = ""
        self._outages = OutageLog(name)
        self._skipped = SkippedLog()
        self._manager = Worker(
            f"{name}-link", self._run, wake=self._poke_from_outside, on_death=on_death
        )

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._manager.start()

    def stop(self, timeout_s: float) -> None:
        """Close the connections and end the threads, within `timeout_s`; idempotent, any thread.

        From a callback it does not wait: the thread that runs it has to end, too.

        Raises:
            StuckThread: a thread did not end in time.
        """
        deadline = time.monotonic() + timeout_s
        self._manager.ask_to_stop()
        with self.lock:
            within = any(lane.runs_here for lane in self._lanes)
        if within or self._manager.is_current:
            return
        try:
            self._manager.join(timeout_s * MANAGER_SHARE)
        finally:
            with self.lock:
                lanes = list(self._lanes)
            for lane in lanes:
                lane.stop(max(0.1, deadline - time.monotonic()))

    def retry_now(self) -> None:
        """Do not wait out the back-off (the config or the key has changed)."""
        with self.lock:
            self._plan.retry_now()
            self._poke()

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the gateway is ready, at most `timeout_s`.

        Raises:
            SlngEdgeError: the first attempt that failed.
            ConnectFailed: no answer came in time.
        """
        with self.changed:
            self.changed.wait_for(self._is_known, timeout_s)
            if self._exchange.ready:
                return
            if self.last_error is not None:
                raise self.last_error
            if self._was_ready:
                return  # and made room for another session, having nothing to do
        raise ConnectFailed(f"the gateway was not ready within {timeout_s:g} s")

    def look_again(self) -> None:
        """The gateway was reached just now: what kept this session from it may be over.

        Nothing changes where the gateway itself had refused, or named the time to wait.
        """
        with self.lock:
            error = self.last_error
            unreachable = isinstance(error, ConnectFailed) and error.status is None
            broke = isinstance(error, SessionClosed) and error.code == CLOSE_WITHOUT_FRAME
            if unreachable or broke:
                self._plan.retry_now()
                self._poke()

    def _is_known(self) -> bool:
        return self._exchange.ready or self._was_ready or self.last_error is not None

    def notify(self) -> None:
        """Something is due. With `lock` held."""
        if self._active is not None:
            self._active.notify()
        else:
            self._poke()  # the deadlines are this thread's then
        self.lane_changed()

    # The link's thread

    def _run(self) -> None:
        try:
            while not self._manager.stopping.is_set():
                self._step()
        finally:
            self._end()
            self._claim.leave()

    def _step(self) -> None:
        with self.lock:
            self._poked = False  # before the first look at what a poke tells of
        free, wanted = self._claim.free, self._claim.wanted_by_another
        with self.lock:
            now = time.monotonic()
            told = self._take_note_of_ends(now)
            if self._active is None:  # else its lane keeps the deadlines
                told += self._exchange.expire(now)
            situation = self._situation(place_free=free, place_wanted=wanted)
            decision = self._plan.decide(now, situation)
            if decision is not None:
                told += self._carry_out(decision)
            pressing = self._plan.wants_place(situation)
            if self._active is not None and not self._active.delivering:
                self._active.hold(False)
        opens = decision is not None and decision.act is Act.OPEN
        # Taken before it is not pressed for any more: else whoever is behind is first by then.
        if opens and not self._claim.take():
            opens = False
            with self.lock:
                self._plan.not_opened()
                pressing = self._plan.wants_place(situation)
        self._claim.press(pressing)
        self._outages.write()
        try:
            for event in told:
                self._tell(event)
            if decision is not None and opens:
                self._open(decision.model)
        except BaseException:
            if opens:
                self._claim.give_back()
            raise
        if decision is not None and decision.act is Act.TAKE_OVER:
            self._attach()
        if decision is None and not told:
            self._sleep(now)

    def _sleep(self, asked_at: float) -> None:
        """Until something has changed that the plan looks at, or its next deadline.

        Args:
            asked_at: When the plan was asked last: what has become due since is due at once.
        """
        with self.lock:
            if self._poked or self._manager.stopping.is_set():
                return
            times = [self._plan.deadline(asked_at)]
            if self._active is None:
                times.append(self._exchange.deadline())
            if self._refused_with is not None:
                times.append(asked_at + KEY_POLL_S)
            wake_at = min((at for at in times if at is not None), default=None)
            self._manage.wait(None if wake_at is None else max(0.0, wake_at - time.monotonic()))
        refused_with = self._refused_with
        if refused_with is not None and refused_with != self._routes.credentials():
            self._refused_with = None
            self.retry_now()

    def _situation(self, *, place_free: bool, place_wanted: bool) -> Situation:
        exchange = self._exchange
        quiet = self._active is None or not self._active.delivering
        return Situation(
            pressing=exchange.pressing and not (place_wanted and self._idles()),
            at_rest=exchange.at_rest and quiet,
            spent=exchange.spent,
            place_free=place_free,
            place_wanted=place_wanted,
            answered=exchange.answered,
            one_utterance=exchange.one_utterance,
            finished=exchange.finished,
        )

    def _idles(self) -> bool:
        """Whether the place is held for work of which nothing can be done yet: text to come."""
        active = self._active
        waits = self._exchange.pressing and self._exchange.at_rest
        return waits and active is not None and active.idle

    def _carry_out(self, decision: Decision) -> list[Any]:
        """Change what there is, with the lock held; returns what is to be told of it."""
        told: list[Any] = []
        if decision.act in (Act.TAKE_OVER, Act.RETIRE) and self._active is not None:
            left = self._active
            # Not at rest where it is overdue: what is on its way may not come after `ready`.
            self.changed.wait_for(lambda: not left.delivering or self._manager.stopping.is_set())
            self._active = None
            by_us = SessionClosed(decision.why, code=CLOSE_NORMAL, by_us=True)
            if self._exchange.at_rest:  # else `close` asks for the final of half a sentence
                left.retire()  # with the farewell, which the exchange knows until it is told
            told += self._exchange.disconnected(by_us)
            left.retire()
            told.append(self._change("closed", left.model, code=CLOSE_NORMAL, reason=decision.why))
        if decision.act is Act.TAKE_OVER and self._coming is not None:
            lane, self._coming = self._coming, None
            self._active = lane
            if not self._coming_told:
                told.append(self._change("connecting", lane.model))
            self._outages.connected()
            self.last_error = self._refused_with = None
            self._was_ready = True
            told.append(self._change("ready", lane.model, session_id=lane.session_id))
        if decision.act is Act.DROP_COMING and self._coming is not None:
            if self._coming_told:
                why = decision.why or "it is not needed any more"
                told.append(
                    self._change("closed", self._coming.model, code=CLOSE_NORMAL, reason=why)
                )
            self._coming.retire()
            self._coming = None
        return told

    def _attach(self) -> None:
        """Let the exchange use the connection that has become the active one."""
        with self.lock:
            lane = self._active
            if lane is None:  # pragma: no cover - only this thread changes it
                return
            self._exchange.one_utterance &= lane.model == self._learned_of
            self._routes.attach(self._dialects.pop(lane), lane.model, time.monotonic())
            lane.driver = self._exchange
            lane.idle = False
            lane.notify()
            self.changed.notify_all()

    def _open(self, model: str) -> None:
        """Dial for `model`; the place for it is taken."""
        key = self._routes.credentials()

        def greet(now: float) -> Driver:
            dialect = self._dialects[lane] = self._routes.dialect(model)
            return Greeting(
                dialect,
                ready_s=self._settings.timeout_s,
                keepalive_s=self._keepalive_s,
                now=now,
            )

        lane = Lane(
            self._name,
            model,
            lock=self.lock,
            owner=self,
            endpoint=lambda: self._routes.endpoint(model),
            settings=self._settings,
            greet=greet,
            on_death=self._on_death,
        )
        with self.lock:
            self._coming = lane
            self._coming_told = self._active is None
            self._lanes.append(lane)
            self._keys[lane] = key
        if self._coming_told:
            self._on_event(self._change("connecting", model))
        try:
            lane.start()
        except OSError as error:  # there may be no more threads now
            self.lane_ended(lane, ConnectFailed(f"no connection: {error.strerror}"))

    def _end(self) -> None:
        with self.lock:
            active, self._active, self._coming = self._active, None, None
            for lane in self._lanes:
                lane.retire(at_once=True)
            if active is not None:
                # What is unfinished is so because we stop: nothing to be told.
                self._exchange.disconnected(SessionClosed("stopped", by_us=True))
        if active is not None:
            self._on_event(self._change("closed", active.model, code=CLOSE_NORMAL))

    # The threads of lanes

    def lane_delivers(self, lane: Lane, events: Sequence[Any]) -> None:
        """See `LaneOwner`."""
        for event in events:
            match event:
                case SessionReady(session_id):
                    with self.lock:
                        if lane is self._coming:
                            lane.session_id = session_id
                            lane.greeted = True
                            self._plan.coming_ready(time.monotonic())
                            self._poke()
                case _:
                    self._tell(event)

    def lane_changed(self) -> None:
        """See `LaneOwner`."""
        exchange, active = self._exchange, self._active
        quiet = active is None or not active.delivering
        rests = exchange.at_rest and quiet
        seen = (exchange.pressing, rests, exchange.spent, self._idles())
        if exchange.at_rest and not self._rested and active is not None:
            active.hold(True)  # between two segments the plan is asked first
        self._rested = exchange.at_rest
        if seen != self._seen or (active is not None and active.held):
            self._seen = seen
            self._poke()
        self.changed.notify_all()

    def lane_ended(self, lane: Lane, error: SlngEdgeError) -> None:
        """See `LaneOwner`."""
        with self.lock:
            used = lane is self._active or lane is self._coming
            pressing = used and self._exchange.pressing
        if pressing:  # before the place is free: the work that was under way goes on with it
            self._claim.press(True)
        self._claim.give_back()
        with self.lock:
            self._ended.append((lane, error))
            self._poke()

    # The link's thread again

    def _take_note_of_ends(self, now: float) -> list[Any]:
        """What the lanes that have ended mean; with the lock held. Returns what is to be told."""
        told: list[Any] = []
        ended, self._ended = self._ended, []
        for lane, error in ended:
            self._lanes.remove(lane)
            self._dialects.pop(lane, None)
            key = self._keys.pop(lane, None)
            model = self._plan.model
            if lane is self._coming:
                self._coming = None
                end = self._plan.coming_failed(error, now)
                if end is None:
                    self._outages.standby_failed(error)
                else:
                    if not self._coming_told:  # it was beside one that has ended meanwhile
                        told.append(self._change("connecting", lane.model))
                    end = replace(end, in_vain=end.in_vain or lane.greeted)
                    told += self._note_end(lane, error, end, key)
            elif lane is self._active and isinstance(error, GatewayError):
                self._active = None
                served, answered = self._exchange.served, self._exchange.answered
                at_work = self._exchange.pressing
                told += self._exchange.disconnected(error)
                error = self._exchange.mend(error)
                end = self._plan.active_ended(
                    error,
                    now,
                    served=served,
                    answered=answered,
                    at_work=at_work,
                    served_at=self._served_at,
                )
                if end.one_utterance:
                    self._exchange.one_utterance, self._learned_of = True, lane.model
                told += self._note_end(lane, error, end, key)
            if self._plan.model != model:
                self._outages.switched(model, self._plan.model)
        return told

    def _note_end(self, lane: Lane, error: SlngEdgeError, end: Ended, key: object) -> list[Any]:
        code = getattr(error, "code", None)
        self._outages.ended(in_vain=end.in_vain)
        if end.quiet:
            by_us = isinstance(error, SessionClosed) and error.by_us
            reason = str(error) if by_us else None
            return [self._change("closed", lane.model, code=CLOSE_NORMAL, reason=reason)]
        self._note_failure(error, key)
        change = self._change(
            "closed" if code == CLOSE_NORMAL else "failed",
            lane.model,
            code=code,
            reason=str(error),
            retry_in_s=round(end.retry_in_s, 2),
        )
        return [change] if error.retryable else [change, error]

    def _note_failure(self, error: SlngEdgeError, key: object) -> None:
        self.last_error = error
        self._outages.failed(error)
        if isinstance(error, AuthenticationRejected | ConfigError):
            self._refused_with = key
        self.changed.notify_all()

    # Any of these threads

    def _tell(self, event: Any) -> None:
        match event:
            case Broken():
                return  # the lane ends with its error
            case Odd(why):
                with self.lock:
                    lines = self._skipped.lines(why, time.monotonic())
                for line in lines:
                    log.warning("%s: %s", self._name, line)
                return
            case Final() | SegmentDone():
                self._served_at = time.monotonic()
            case SegmentBegan():
                pass
            case _:
                self._on_event(event)
                return
        with self.lock:
            self._outages.answered(self._plan.model)
        self._outages.write()
        self._on_event(event)

    def _change(self, state: str, model: str, **details: Any) -> ConnectionChanged:
        return ConnectionChanged(self._name, state, model, **details)

    def _poke(self) -> None:
        """Wake the link's thread; with the lock held."""
        self._poked = True
        self._manage.notify()

    def _poke_from_outside(self) -> None:
        with self.lock:
            self._poke()
            self.changed.notify_all()
