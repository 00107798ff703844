"""Keeps one exchange connected: the threads, sockets and deadlines around the pure logic.

Two threads a session. The *send* thread dials, sends what the exchange says is due, keeps the
exchange's deadlines and waits out the back-off; the *receive* thread of each connection hands
its messages to the exchange. The exchange is touched under one lock only, which is also the
condition that wakes the send thread; nothing is sent, received or reported under that lock.

A session is not a connection: the link goes on until it is stopped. A refusal that is final
(key, request) is tried again every `FINAL_RETRY_S`, or at once on `retry_now`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from slng_edge.errors import (
    ConfigError,
    ConnectFailed,
    GatewayError,
    RateLimited,
    SessionClosed,
    SlngEdgeError,
    StuckThread,
)
from slng_edge.events import ConnectionChanged
from slng_edge.gateway.back_off import RATE_LIMITED_S, BackOff
from slng_edge.gateway.connection import CLOSE_NORMAL, Connection, DialSettings
from slng_edge.gateway.connection_budget import ConnectionBudget
from slng_edge.protocol.routes import Endpoint
from slng_edge.protocol.session_events import Broken, Odd, SessionReady
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

FINAL_RETRY_S = 600.0
"""A refusal that is final is tried again after 10 minutes (protocol.md, 7)."""

CLOSE_TIMEOUT_S = 1.0
"""How long the gateway may take to answer our close frame."""

GOODBYE_SHARE = 2 / 3
"""Of the time for a stop, what is left to a goodbye before the connection is cut."""


class Exchange(Protocol):
    """What the link needs of `SttExchange` and `TtsExchange`."""

    @property
    def ready(self) -> bool: ...
    @property
    def served(self) -> bool: ...
    def connected(self, now: float) -> None: ...
    def disconnected(self, error: GatewayError) -> Sequence[Any]: ...
    def receive(self, message: str | bytes, now: float) -> Sequence[Any]: ...
    def next_message(self, now: float) -> str | bytes | None: ...
    def deadline(self) -> float | None: ...
    def expire(self, now: float) -> Sequence[Any]: ...
    def farewell(self) -> str | None: ...


class SessionLink:
    """The edge of one session.

    Args:
        name: "stt" or "tts"; threads and events carry it.
        model: As events show it.
        endpoint: Where to connect; asked anew at each attempt.
        exchange: The pure logic; only touched under `changed`.
        settings: How connections are made.
        budget: Where a place for the connection is taken.
        on_event: Gets every event of the exchange, `ConnectionChanged`, and a
            `SlngEdgeError` for a refusal that is final. Called in this session's
            threads, without a lock held.
        on_death: Told when a thread dies of an exception.
    """

    def __init__(
        self,
        name: str,
        *,
        model: str,
        endpoint: Endpoint,
        exchange: Exchange,
        settings: DialSettings,
        budget: ConnectionBudget,
        on_event: Callable[[Any], None],
        on_death: OnDeath | None = None,
    ) -> None:
        self.changed = threading.Condition()
        self.model = model
        self._name = name
        self._endpoint = endpoint
        self._exchange = exchange
        self._settings = settings
        self._budget = budget
        self._on_event = on_event
        self._on_death = on_death
        self._connection: Connection | None = None
        self._dialling = False
        self._receiving: threading.Thread | None = None
        self._end: GatewayError | None = None
        self._retry_now = False
        self._back_off = BackOff()
        self._ready_since: float | None = None
        self.last_error: SlngEdgeError | None = None
        self._sender = Worker(f"{name}-send", self._run, wake=self._wake, on_death=on_death)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._sender.start()

    def stop(self, timeout_s: float) -> None:
        """Close the connection and end the threads, within `timeout_s`; idempotent, any thread.

        From a callback it does not wait: the thread that runs it has to end, too.

        Raises:
            StuckThread: a thread did not end in time.
        """
        self._sender.ask_to_stop()
        if threading.current_thread() is self._receiving:
            return
        try:
            self._sender.join(timeout_s * GOODBYE_SHARE)
        except StuckThread:
            # A peer that takes no data keeps a send, and so the goodbye, waiting.
            with self.changed:
                if self._connection is not None:
                    self._connection.abort()
            self._sender.join(timeout_s * (1 - GOODBYE_SHARE))

    def retry_now(self) -> None:
        """Do not wait out the back-off (the config or the key has changed)."""
        with self.changed:
            self._retry_now = True
            self.changed.notify_all()

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the gateway is ready, at most `timeout_s`.

        Raises:
            SlngEdgeError: the first attempt that failed.
            ConnectFailed: no answer came in time.
        """
        with self.changed:
            self.changed.wait_for(lambda: self._exchange.ready or self.last_error, timeout_s)
            if self._exchange.ready:
                return
            if self.last_error is not None:
                raise self.last_error
        raise ConnectFailed(f"the gateway was not ready within {timeout_s:g} s")

    def notify(self) -> None:
        """Wake the send thread: something is due. With `changed` held."""
        self.changed.notify_all()

    # The send thread

    def _run(self) -> None:
        while not self._sender.stopping.is_set():
            if not self._budget.take(timeout_s=0.5):
                continue
            try:
                delay_s = self._live_once()
            finally:
                self._budget.give_back()
            self._rest(delay_s)

    def _rest(self, delay_s: float) -> None:
        """Wait out the back-off; what becomes too old meanwhile is given up on."""
        until = time.monotonic() + delay_s
        while True:
            with self.changed:
                now = time.monotonic()
                if now >= until or self._retry_now or self._sender.stopping.is_set():
                    self._retry_now = False
                    return
                events = self._exchange.expire(now)
                if not events:
                    deadline = self._exchange.deadline()
                    wake_at = until if deadline is None else min(until, deadline)
                    self.changed.wait(max(0.0, wake_at - now))
                    continue
            self._deliver(events)

    def _live_once(self) -> float:
        """One connection from dial to end; returns the seconds to wait before the next."""
        self._report("connecting")
        connection = Connection()
        with self.changed:
            self._connection, self._dialling = connection, True
        try:
            if not self._sender.stopping.is_set():
                return self._live_on(connection)
            return 0.0
        finally:
            with self.changed:
                self._connection, self._dialling = None, False
            connection.close()

    def _live_on(self, connection: Connection) -> float:
        try:
            connection.dial(self._endpoint, self._settings)
        except (GatewayError, ConfigError) as error:
            return 0.0 if self._sender.stopping.is_set() else self._failed(error)
        with self.changed:
            self._dialling = False
            self._end = None
            self._ready_since = None
            self._exchange.connected(time.monotonic())
        receiver = Worker(
            f"{self._name}-receive",
            lambda: self._receive(connection),
            wake=connection.abort,
            on_death=self._on_death,
        )
        receiver.start()
        try:
            end = self._pump(connection)
        finally:
            if self._sender.stopping.is_set():
                self._say_goodbye(connection, receiver)
            self._await_end(receiver)
        return self._ended(end)

    def _await_end(self, receiver: Worker) -> None:
        """Until the receiver ends: its callback may wait for room in a full reply buffer."""
        receiver.ask_to_stop()
        while True:
            try:
                receiver.join(CLOSE_TIMEOUT_S)
            except StuckThread:
                if self._sender.stopping.is_set():
                    raise
            else:
                return

    def _say_goodbye(self, connection: Connection, receiver: Worker) -> None:
        """Take leave: the dialect's last message, a close frame, and the peer's answer to it."""
        with self.changed:
            farewell = self._exchange.farewell()
        with contextlib.suppress(SlngEdgeError):  # it may be gone already, which is as good
            if farewell is not None:
                connection.send(farewell)
            connection.say_goodbye()
            receiver.join(CLOSE_TIMEOUT_S)

    def _pump(self, connection: Connection) -> GatewayError:
        """Send what is due until the connection ends; returns why it did."""
        while True:
            with self.changed:
                now = time.monotonic()
                if self._end is not None:
                    return self._end
                if self._sender.stopping.is_set():
                    return SessionClosed("closed by us", code=CLOSE_NORMAL)
                events = self._exchange.expire(now)
                message = None if events else self._exchange.next_message(now)
                if not events and message is None:
                    deadline = self._exchange.deadline()
                    self.changed.wait(None if deadline is None else max(0.0, deadline - now))
                    continue
            end = self._deliver(events)
            if end is not None:
                return end
            if message is not None:
                try:
                    connection.send(message)
                except SessionClosed as error:
                    # The receiver knows better where the gateway has said why it closed.
                    with self.changed:
                        self.changed.wait_for(lambda: self._end is not None, timeout=0.2)
                        return self._end or error

    def _ended(self, end: GatewayError) -> float:
        with self.changed:
            by_us = isinstance(end, SessionClosed) and end.by_us
            quiet = by_us or (self._exchange.served and _is_normal_close(end))
            events = self._exchange.disconnected(end)
            ready_since = self._ready_since
        if ready_since is not None:
            self._back_off.succeeded(time.monotonic() - ready_since)
        if self._sender.stopping.is_set():
            self._report("closed", code=CLOSE_NORMAL)
            return 0.0  # what is unfinished is so because we stop: nothing to be told
        self._deliver(events)
        if quiet:
            self._report("closed", code=CLOSE_NORMAL, reason=str(end) if by_us else None)
            return 0.0
        return self._failed(end)

    def _failed(self, error: SlngEdgeError) -> float:
        with self.changed:
            before, self.last_error = self.last_error, error
            self.changed.notify_all()
        if str(before) != str(error):  # one line a change, not one an attempt
            log.warning("%s: %s", self._name, error)
        delay_s = FINAL_RETRY_S
        if error.retryable:
            at_least_s = getattr(error, "retry_after_s", None)
            if at_least_s is None:
                at_least_s = RATE_LIMITED_S if isinstance(error, RateLimited) else 0.0
            delay_s = self._back_off.next_delay_s(at_least_s)
        self._report(
            "closed" if _is_normal_close(error) else "failed",
            code=getattr(error, "code", None),
            reason=str(error),
            retry_in_s=round(delay_s, 2),
        )
        if not error.retryable:
            self._on_event(error)
        return delay_s

    def _report(self, state: str, **details: Any) -> None:
        self._on_event(ConnectionChanged(self._name, state, self.model, **details))

    def _deliver(self, events: Sequence[Any]) -> GatewayError | None:
        """Hand events on; an error where one of them says that the connection is of no use."""
        end: GatewayError | None = None
        for event in events:
            match event:
                case Broken(error):
                    end = error
                case Odd(why):
                    log.warning("%s: skipped a message: %s", self._name, why)
                case SessionReady(session_id):
                    self._ready_since = time.monotonic()
                    if self.last_error is not None:
                        log.info("%s: connected again", self._name)
                    self.last_error = None
                    self._report("ready", session_id=session_id)
                case _:
                    self._on_event(event)
        return end

    # The receive thread of one connection

    def _receive(self, connection: Connection) -> None:
        self._receiving = threading.current_thread()
        try:
            while True:
                message = connection.receive()
                with self.changed:
                    events = self._exchange.receive(message, time.monotonic())
                    self.changed.notify_all()
                end = self._deliver(events)
                if end is not None:
                    self._finish(end)
                    return
        except GatewayError as error:
            self._finish(error)
        except BaseException:
            # Whoever watches learns of it from the worker; a connection that nobody reads must
            # not be kept alive meanwhile.
            self._finish(SessionClosed("its receive thread died"))
            raise

    def _finish(self, end: GatewayError) -> None:
        with self.changed:
            if self._end is None:
                self._end = end
            self.changed.notify_all()

    # Any thread

    def _wake(self) -> None:
        with self.changed:
            if self._connection is not None and self._dialling:
                self._connection.abort()
            self.changed.notify_all()


def _is_normal_close(error: SlngEdgeError) -> bool:
    return isinstance(error, SessionClosed) and error.code == CLOSE_NORMAL
