"""One connection with its two threads: it carries out what a greeting or an exchange says is due.

The *send* thread dials, sends what is due, and keeps the deadlines; the *receive* thread hands in
what comes. Both touch what drives them under the session's lock only; nothing is sent, received or
reported under that lock. What drives a lane is its greeting first, then the session's exchange.
A lane that is retired takes leave of the gateway in its own time: nobody waits for that.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from slng_edge.errors import (
    ConnectFailed,
    GatewayError,
    SessionClosed,
    SlngEdgeError,
    StuckThread,
    forget_frames,
)
from slng_edge.gateway.connection import CLOSE_NORMAL, Connection, DialSettings
from slng_edge.gateway.liveness import Dead, Liveness, Ping
from slng_edge.protocol.routes import Endpoint
from slng_edge.protocol.session_events import Broken, Partial, ReplyAudio
from slng_edge.threads import Doorbell, OnDeath, Worker

CLOSE_TIMEOUT_S = 1.0
"""How long the gateway may take to answer our close frame."""

GOODBYE_SHARE = 2 / 3
"""Of the time for a stop, what is left to a goodbye before the connection is cut."""

KNOWS_BETTER_S = 0.2
"""After a failed send, how long the receiver may take to say why the gateway closed."""


class Driver(Protocol):
    """What a lane needs of `Greeting`, `SttExchange` and `TtsExchange`."""

    def receive(self, message: str | bytes, now: float) -> Sequence[Any]: ...
    def next_message(self, now: float) -> str | bytes | None: ...
    def deadline(self) -> float | None: ...
    def expire(self, now: float) -> Sequence[Any]: ...
    def farewell(self) -> str | None: ...


class LaneOwner(Protocol):
    """Who a lane belongs to; called in the lane's threads."""

    def lane_delivers(self, lane: Lane, events: Sequence[Any]) -> None:
        """Something is to be told; without the lock."""

    def lane_changed(self) -> None:
        """What drives the lane was told something, or asked; with the lock held."""

    def lane_ended(self, lane: Lane, error: SlngEdgeError) -> None:
        """It is over, threads and all; without the lock."""


class Lane:
    """A connection to be opened once. `lock` is the session's.

    Args:
        name: "stt" or "tts"; the threads carry it.
        model: What it is opened for.
        lock: Guards what drives the lane, and the lane's own state.
        owner: Gets the events, and the end.
        endpoint: Where to connect; asked in the lane's own thread.
        settings: How to connect.
        greet: Makes what drives the lane first, once the connection stands.
        on_death: As in `Worker`.

    Attributes:
        model: As given.
        session_id: What the gateway called it.
        greeted: Whether the gateway has said `ready`; the owner sets both.
        driver: What drives it; None once it is retired. With `lock` held.
        delivering: Whether events are on their way to the owner. With `lock` held.
        idle: Whether nothing was due when it looked last. With `lock` held.
        held: Whether it sends nothing for now, see `hold`. With `lock` held.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        lock: threading.Lock,
        owner: LaneOwner,
        endpoint: Callable[[], Endpoint],
        settings: DialSettings,
        greet: Callable[[float], Driver],
        on_death: OnDeath | None,
    ) -> None:
        self.model = model
        self.session_id = ""
        self.greeted = False
        self.driver: Driver | None = None
        self.delivering = 0
        self.idle = False
        self.held = False
        self._name = name
        self._lock = lock
        self._owner = owner
        self._endpoint = endpoint
        self._settings = settings
        self._greet = greet
        self._on_death = on_death
        self._due = Doorbell(lock)
        self._connection = Connection()
        self._dialling = True
        self._heard = False
        self._retired = False
        self._farewell: str | None = None
        self._end: GatewayError | None = None
        self._receiving: threading.Thread | None = None
        self._sender = Worker(f"{name}-send", self._run, on_death=on_death)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._sender.start()

    def notify(self) -> None:
        """Wake the send thread: something is due. With the lock held."""
        self._due.ring()

    def retire(self, *, at_once: bool = False) -> None:
        """Take leave of the gateway and end; returns at once. With the lock held.

        What comes on it from now on is dropped.

        Args:
            at_once: Break off dialling. Else it is waited for: a gateway may count a connection
                that was broken off in its upgrade after the next one has come.
        """
        if self._dialling and at_once:
            self._connection.abort()
        if self._retired:
            return
        self._retired = True
        if self.driver is not None:
            self._farewell = self.driver.farewell()
            self.driver = None
        self._due.ring()

    def hold(self, held: bool) -> None:
        """Send nothing of what drives it, or go on; returns at once. With the lock held."""
        if self.held != held:
            self.held = held
            self._due.ring()

    @property
    def runs_here(self) -> bool:
        """Whether this is called in one of its threads."""
        return self._sender.is_current or threading.current_thread() is self._receiving

    def stop(self, timeout_s: float) -> None:
        """Retire, and wait for the end; from a thread of its own it does not wait.

        Raises:
            StuckThread: it still runs after `timeout_s`.
        """
        with self._lock:
            self.retire(at_once=True)
        self._sender.ask_to_stop()
        if threading.current_thread() is self._receiving:
            return
        try:
            self._sender.join(timeout_s * GOODBYE_SHARE)
        except StuckThread:
            # A peer that takes no data keeps a send, and so the goodbye, waiting.
            self._connection.abort()
            self._sender.join(timeout_s * (1 - GOODBYE_SHARE))

    # The send thread

    def _run(self) -> None:
        # For the owner it is over, too, where a callback raises: that the worker tells of.
        end: SlngEdgeError = SessionClosed("its send thread died")
        try:
            end = self._live()
        finally:
            self._connection.close()
            # Nothing may lead back here: a circle is found late, and a connection is large.
            del self._greet
            self._end = None
            forget_frames(end)
            self._owner.lane_ended(self, end)

    def _live(self) -> SlngEdgeError:
        try:
            self._connection.dial(self._endpoint(), self._settings)
        except SlngEdgeError as error:
            return error
        receiver = Worker(
            f"{self._name}-receive",
            self._receive,
            wake=self._connection.abort,
            on_death=self._on_death,
        )
        with self._lock:
            self._dialling = False
            if not self._retired:
                self.driver = self._greet(time.monotonic())
        try:
            receiver.start()
        except OSError as error:  # there may be no more threads now
            return ConnectFailed(f"no connection: {error.strerror}")
        try:
            end = self._pump()
        finally:
            if self._retired:
                self._take_leave(receiver)
            self._await_end(receiver)
        return end

    def _pump(self) -> GatewayError:
        """Send what is due until the connection ends; returns why it did."""
        liveness = Liveness(time.monotonic())
        asked = False
        while True:
            with self._lock:
                driver = self.driver
                if self._end is not None:
                    return self._end
                if self._retired or driver is None:
                    return SessionClosed("closed by us", code=CLOSE_NORMAL, by_us=True)
                now = time.monotonic()
                sign: Ping | Dead | None = None
                if self._heard and not asked:
                    # Early: silence counts only against a peer that has ever answered a ping.
                    asked, sign = True, Ping()
                elif now >= liveness.deadline():
                    sign = liveness.expire(now, self._connection.vitals())
                if isinstance(sign, Dead):
                    return SessionClosed(sign.why)
                events = driver.expire(now)
                message = None if events or sign or self.held else driver.next_message(now)
                self.idle = not (events or message or self.held)
                self._owner.lane_changed()
                if not events and message is None and sign is None:
                    deadline = None if self.held else driver.deadline()
                    wake_at = min(liveness.deadline(), math.inf if deadline is None else deadline)
                    self._due.wait(wake_at - now)
                    continue
                self.delivering += bool(events)
            if events:
                end = self._deliver(events)
                if end is not None:
                    return end
            try:
                if sign is not None:
                    self._connection.ping()
                elif message is not None:
                    self._connection.send(message)
            except SessionClosed as error:
                return self._why_it_ended() or error

    def _why_it_ended(self) -> GatewayError | None:
        """What the receiver says, which may take it `KNOWS_BETTER_S`."""
        deadline = time.monotonic() + KNOWS_BETTER_S
        with self._lock:
            while self._end is None and (left_s := deadline - time.monotonic()) > 0:
                self._due.wait(left_s)
            return self._end

    def _take_leave(self, receiver: Worker) -> None:
        """The dialect's last message, a close frame, and the peer's answer to it."""
        with self._lock:
            farewell = self._farewell
        with contextlib.suppress(SlngEdgeError):  # it may be gone already, which is as good
            if farewell is not None:
                self._connection.send(farewell)
            self._connection.say_goodbye()
            receiver.join(CLOSE_TIMEOUT_S)

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

    # The receive thread

    def _receive(self) -> None:
        self._receiving = threading.current_thread()
        try:
            while True:
                message = self._connection.receive()
                with self._lock:
                    if self.driver is None:
                        continue  # retired: nothing of it is for anybody any more
                    self._heard = True
                    events = self.driver.receive(message, time.monotonic())
                    self.delivering += bool(events)
                    self._owner.lane_changed()
                    if not _only_goes_on(events):
                        self._due.ring()
                end = self._deliver(events) if events else None
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
        with self._lock:
            if self._end is None:
                self._end = end
            self._due.ring()

    # Both

    def _deliver(self, events: Sequence[Any]) -> GatewayError | None:
        """Hand events on; an error where one of them says that the connection is of no use."""
        try:
            self._owner.lane_delivers(self, events)
        finally:
            with self._lock:
                self.delivering -= 1
                self._owner.lane_changed()
        return next((event.error for event in events if isinstance(event, Broken)), None)


def _only_goes_on(events: Sequence[Any]) -> bool:
    """Whether nothing can be due because of `events`: most of a reply and of speech are such."""
    return bool(events) and all(isinstance(event, Partial | ReplyAudio) for event in events)
