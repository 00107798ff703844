"""State and metrics to an MQTT broker, commands back: the thread `mqtt`.

What a broker keeps (state, status) is sent as it is now, whenever there is a connection again. Of
events `EVENTS_LIMIT` are kept while there is none; the oldest make room. Nobody waits for a broker.
"""

from __future__ import annotations

import collections
import logging
import math
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from slng_edge.connecting.back_off import BackOff
from slng_edge.events import ConnectionChanged, DeviceChanged, Stamped, StateChanged
from slng_edge.service.control_commands import ControlCommands
from slng_edge.service.mqtt_address import BrokerAddress
from slng_edge.service.mqtt_client import BrokerClient, BrokerLost
from slng_edge.service.mqtt_requests import BrokerRequests
from slng_edge.service.mqtt_topics import (
    OFFLINE,
    ONLINE,
    Message,
    Topics,
    discovery,
    encoded,
    event_payload,
)
from slng_edge.service.reading_rate import ReadingRate
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

EVENTS_LIMIT = 200
STATUS_S = 60.0
"""The status is published so often where nothing changes."""

CHANGES_S = 5.0
"""And at most so often where much does; volume and mute are looked at so often."""

SHOW_S = 0.1
"""What a command has changed is published after this: the loop does it in its own time."""

ACCEPT_TIMEOUT_S = 10.0
MOVE_S = 1.0
"""How often the connection is looked after when nothing happens."""

PACKETS_AT_ONCE = 200
PACKETS_PER_S = 50.0
"""As fast as is read. A slider that is dragged sends fewer; who floods waits in the socket."""


class MqttLink:
    """Owns the thread `mqtt` and the connection.

    Args:
        address: Which broker, and which topics.
        commands: Carries out what comes in, in the thread.
        status: What `ctl status` shows.
        password: "" for none.
        ca_file: As in `BrokerClient`.
        with_words: Whether events are published with what was said.
        on_death: As in `Worker`.

    Attributes:
        problem: Why there is no connection; "" where there is one, or none was tried.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        commands: ControlCommands,
        status: Callable[[], Mapping[str, Any]],
        password: str = "",
        ca_file: str = "",
        with_words: bool = False,
        on_death: OnDeath | None = None,
    ) -> None:
        self.problem = ""
        self._address = address
        self._topics = Topics(address.prefix)
        self._requests = BrokerRequests(commands, self._topics)
        self._status = status
        self._password = password
        self._ca_file = ca_file
        self._with_words = with_words
        self._back_off = BackOff(random.uniform)
        self._lock = threading.Lock()  # what other threads hand in, and the wakener's life
        self._state: bytes | None = None
        self._state_is_new = False
        self._changed = False
        self._events: collections.deque[bytes] = collections.deque(maxlen=EVENTS_LIMIT)
        self._greetings: collections.deque[Message] = collections.deque()
        self._status_due = 0.0
        self._told: Any = None
        self._told_at = -math.inf
        self._rate = ReadingRate(at_once=PACKETS_AT_ONCE, per_s=PACKETS_PER_S)
        self._wakener = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._worker = Worker("mqtt", self._run, wake=self._wake, on_death=on_death)

    def start(self) -> None:
        """Start the thread, which begins to connect."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Tell the broker that we go, and end the thread; any thread.

        Raises:
            StuckThread: the name server, or the broker's TLS, does not answer.
        """
        self._worker.stop(timeout_s)

    def receive(self, stamped: Stamped) -> None:
        """Take an event; any thread, never waits."""
        payload = event_payload(stamped, with_words=self._with_words)
        with self._lock:
            if isinstance(stamped.event, StateChanged):
                self._state, self._state_is_new = stamped.event.state.encode(), True
            if isinstance(stamped.event, StateChanged | ConnectionChanged | DeviceChanged):
                self._changed = True
            if payload is not None:
                self._events.append(payload)
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._wakener >= 0:
                os.eventfd_write(self._wakener, 1)

    # The thread

    def _run(self) -> None:
        try:
            while not self._worker.stopping.is_set():
                try:
                    self._live()
                except BrokerLost as error:
                    self._tell(str(error))
                    self._wait(self._back_off.next_delay_s())
        finally:
            with self._lock:
                os.close(self._wakener)
                self._wakener = -1

    def _live(self) -> None:
        """One connection, from its start until we stop.

        Raises:
            BrokerLost: it could not be made, or ended.
        """
        client = BrokerClient(
            self._address,
            password=self._password,
            ca_file=self._ca_file,
            will=Message(self._topics.availability, OFFLINE, retained=True),
            on_message=self._receive_message,
        )
        try:
            self._await_acceptance(client)
            accepted_at = time.monotonic()
            try:
                self._greet(client)
                while not self._worker.stopping.is_set():
                    self._publish(client)
                    self._move(client, self._due_in_s())
                client.take_leave(Message(self._topics.availability, OFFLINE, retained=True))
            finally:
                self._back_off.succeeded(time.monotonic() - accepted_at)
        finally:
            client.close()

    def _await_acceptance(self, client: BrokerClient) -> None:
        deadline = time.monotonic() + ACCEPT_TIMEOUT_S
        while not client.accepted:
            if self._worker.stopping.is_set():
                raise BrokerLost("the service is ending")
            if time.monotonic() >= deadline:
                raise BrokerLost(f"it did not answer within {ACCEPT_TIMEOUT_S:g} s")
            self._move(client, MOVE_S)

    def _greet(self, client: BrokerClient) -> None:
        self._tell("")
        client.subscribe(self._topics.command, f"{self._topics.command}/+")
        self._greetings.clear()
        self._greetings.append(Message(self._topics.availability, ONLINE, retained=True))
        self._greetings.extend(discovery(self._address, socket.gethostname()))
        with self._lock:
            self._state_is_new = self._state is not None
        self._told_at = -math.inf
        self._status_due = 0.0

    def _move(self, client: BrokerClient, timeout_s: float) -> None:
        rest_s = self._rate.due_in_s(time.monotonic())
        # Who does not take our answers is not asked for more to answer.
        reads = not rest_s and not client.writes
        if rest_s:
            timeout_s = min(timeout_s, rest_s)
        elif reads and client.holds_decrypted:
            timeout_s = 0.0
        poll = select.poll()
        poll.register(self._wakener, select.POLLIN)
        wanted = (select.POLLIN if reads else 0) | (select.POLLOUT if client.writes else 0)
        poll.register(client, wanted)
        found = dict(poll.poll(math.ceil(1000 * max(0.0, min(timeout_s, MOVE_S)))))
        if self._wakener in found:
            os.eventfd_read(self._wakener)
        happened = found.get(client.fileno(), 0)
        took = client.move(
            read=bool(happened & ~select.POLLOUT) or (reads and client.holds_decrypted),
            write=bool(happened & select.POLLOUT),
        )
        self._rate.took(took, time.monotonic())

    def _due_in_s(self) -> float:
        return self._status_due - time.monotonic()

    def _publish(self, client: BrokerClient) -> None:
        """What waits, as far as the socket takes it: what it does not take waits here."""
        while not client.writes:
            message = self._next_message()
            if message is None:
                return
            client.publish(message)

    def _next_message(self) -> Message | None:
        if self._greetings:
            return self._greetings.popleft()
        with self._lock:
            if self._changed:
                self._changed = False
                self._status_due = min(self._status_due, self._told_at + CHANGES_S)
            if self._state_is_new and self._state is not None:
                self._state_is_new = False
                return Message(self._topics.state, self._state, retained=True)
        status = self._status_message()
        if status is not None:
            return status
        if self._requests.answers:
            return Message(self._topics.answer, self._requests.answers.popleft())
        with self._lock:
            if self._events:
                return Message(self._topics.event, self._events.popleft())
        return None

    def _status_message(self) -> Message | None:
        now = time.monotonic()
        if now < self._status_due:
            return None
        self._status_due = now + CHANGES_S
        status = self._status()
        telling = {name: status.get(name) for name in ("state", "muted", "volume", "devices")}
        sessions = status.get("sessions", {})
        telling["sessions"] = {name: each.get("state") for name, each in sessions.items()}
        if telling == self._told and now < self._told_at + STATUS_S:
            return None
        self._told, self._told_at = telling, now
        return Message(self._topics.status, encoded(status), retained=True)

    def _wait(self, timeout_s: float) -> None:
        """Until the next attempt, or the end."""
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._wakener, select.POLLIN)
        while not self._worker.stopping.is_set():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            # Events wake it too, and each does so once.
            if poll.poll(math.ceil(1000 * left_s)):
                os.eventfd_read(self._wakener)

    def _tell(self, problem: str) -> None:
        """Once for each change: an outage is not worth a line an attempt."""
        if self._worker.stopping.is_set() and problem:
            return
        where = f"{self._address.host}:{self._address.port}"
        if problem and problem != self.problem:
            log.warning("MQTT broker %s: %s; trying again", where, problem)
        elif not problem:
            log.info("MQTT broker %s: connected, topics %s/…", where, self._address.prefix)
        self.problem = problem

    def _receive_message(self, topic: str, payload: bytes, retained: bool) -> None:
        if self._requests.receive(topic, payload, retained=retained):
            # Not later with each one, or who sends many would keep it from being published.
            self._status_due = min(self._status_due, time.monotonic() + SHOW_S)
            self._told_at = -math.inf
