"""The control socket: one thread, at most `CLIENTS_LIMIT` clients, no wait without an end.

The thread `control` polls the listener, the clients and an eventfd. Other threads hand it things
through `_inbox` and wake it by the eventfd: events to stream, and answers that came later.
A client that does not read, does not finish its request or does nothing is let go in time
(`control_client`); whoever may not ask is told so and let go.
"""

from __future__ import annotations

import collections
import logging
import math
import os
import select
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from slng_edge import __version__
from slng_edge.errors import SlngEdgeError
from slng_edge.events import Lost, Stamped
from slng_edge.service.control_client import ControlClient, encoded
from slng_edge.service.control_commands import ControlCommands, failure_of
from slng_edge.service.control_listener import ControlListener
from slng_edge.service.control_peers import (
    Peer,
    group_name,
    may_control,
    own_ids,
    peer_of,
    user_name,
)
from slng_edge.service.control_requests import BadRequest, Events, Reload, Request, parse_request
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

CLIENTS_LIMIT = 16
"""Who comes when so many are there is told that it is busy."""

LINGERING_LIMIT = 16
"""So many more may be reading why they were refused; who comes then is closed at once."""

INBOX_LIMIT = 1000
"""Events that the thread has not taken yet; more are dropped and counted."""

ACCEPT_PAUSE_S = 1.0
"""Without a free descriptor, accepting is tried again after this."""


class ControlSocket:
    """Owns the thread `control` and its sockets.

    Args:
        path: As `ControlListener` takes it.
        commands: Carries out what is asked for, in the thread `control`.
        on_death: As in `Worker`.

    Raises:
        ControlError: the socket cannot be made.
    """

    def __init__(
        self, path: str, commands: ControlCommands, *, on_death: OnDeath | None = None
    ) -> None:
        self._commands = commands
        self._uid, self._gid = own_ids()
        self._refusals: dict[int, str] = {}
        self._listener = ControlListener(path)
        self._accept_at = 0.0
        self._accept_problem: str | None = None
        self._clients: dict[int, ControlClient] = {}
        self._lingering: dict[int, ControlClient] = {}
        self._inbox: collections.deque[Callable[[], None]] = collections.deque()
        self._inbox_dropped = 0
        self._lock = threading.Lock()  # the inbox, and the wakener's life
        self._wakener = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._streams = False
        self._worker = Worker("control", self._run, wake=self._wake, on_death=on_death)

    @property
    def path(self) -> str:
        """Where it listens."""
        return self._listener.path

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Close everything and remove the socket; any thread, any number of times.

        Raises:
            StuckThread: a command did not return within `timeout_s`.
        """
        self._worker.stop(timeout_s)
        if not self._worker.alive:
            self._close()

    def stream(self, stamped: Stamped) -> None:
        """Send an event to everybody who asked for them; any thread, never waits."""
        if not self._streams:
            return
        line = encoded(stamped.as_json())
        lost = Stamped(stamped.t, stamped.at, Lost("events", 0, "")).as_json()

        def hand_over() -> None:
            for client in self._clients.values():
                if client.streaming:
                    client.drop_events(dropped)
                    client.stream(line, lost)

        with self._lock:
            if len(self._inbox) >= INBOX_LIMIT:
                self._inbox_dropped += 1
                return
            dropped, self._inbox_dropped = self._inbox_dropped, 0
        self._post(hand_over)

    # Any thread

    def _post(self, act: Callable[[], None]) -> None:
        with self._lock:
            self._inbox.append(act)
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._wakener >= 0:
                os.eventfd_write(self._wakener, 1)

    def _close(self) -> None:
        for client in (*self._clients.values(), *self._lingering.values()):
            client.close()
        self._clients.clear()
        self._lingering.clear()
        self._listener.close()
        with self._lock:
            if self._wakener >= 0:
                os.close(self._wakener)
                self._wakener = -1

    # The thread

    def _run(self) -> None:
        try:
            while not self._worker.stopping.is_set():
                self._pass()
            self._take_inbox()  # events that came before the stop
        finally:
            self._close()

    def _pass(self) -> None:
        """Wait until something is to be done, and do it."""
        polled, wait_s = self._polled(time.monotonic())
        found = dict(polled.poll(None if wait_s == math.inf else math.ceil(max(0, wait_s) * 1000)))
        now = time.monotonic()
        if self._wakener in found:
            os.eventfd_read(self._wakener)
        self._take_inbox()
        for clients in (self._clients, self._lingering):
            for descriptor, client in list(clients.items()):
                self._move(client, found.get(descriptor, 0), now)
                if client.over or now >= client.deadline:
                    self._let_go(clients, descriptor)
        if self._listener.fileno() in found:
            self._accept(now)
        self._streams = any(client.streaming for client in self._clients.values())

    def _polled(self, now: float) -> tuple[select.poll, float]:
        """What to wait for, and how long at most."""
        poll = select.poll()
        poll.register(self._wakener, select.POLLIN)
        deadline = math.inf
        if now >= self._accept_at:
            poll.register(self._listener, select.POLLIN)
        else:
            deadline = self._accept_at
        for client in (*self._clients.values(), *self._lingering.values()):
            poll.register(client, client.wanted)
            deadline = min(deadline, client.deadline)
        return poll, deadline - now

    def _take_inbox(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def _move(self, client: ControlClient, found: int, now: float) -> None:
        if found & (select.POLLHUP | select.POLLERR):
            client.hang_up()
        if found & select.POLLIN:
            client.receive(now)
        client.flush(now)
        while not self._worker.stopping.is_set():
            line = client.next_request()
            if line is None:
                return
            self._serve(client, line[0])
            client.flush(now)

    def _let_go(self, clients: dict[int, ControlClient], descriptor: int) -> None:
        client = clients.pop(descriptor)
        if client.hangs_in_request and not client.over:
            client.answer_error(None, "the request did not end in time")
        client.close()

    # Requests

    def _serve(self, client: ControlClient, line: bytes | None) -> None:
        try:
            request = parse_request(line, version=__version__)
        except BadRequest as error:
            client.answer_error(error.id, str(error))
            return
        try:
            self._carry_out(client, request)
        except SlngEdgeError as error:
            client.answer_error(request.id, str(error))
        except Exception as error:  # what is wrong with one command is not to end the service
            name = type(request.command).__name__  # not what it says: words are not logged
            log.exception("the control socket's command %s failed", name)
            client.answer_error(request.id, f"this is a bug, the log says more: {error!r}")

    def _carry_out(self, client: ControlClient, request: Request) -> None:
        match request.command:
            case Events():
                client.answer(request.id, {})
                client.streaming = self._streams = True
            case Reload() if client.awaits_reload:
                client.answer_error(request.id, "a reload is under way")
            case command:
                result = self._commands.carry_out(command)
                if not isinstance(result, Future):
                    client.answer(request.id, result)
                    return
                client.awaits_reload = True
                result.add_done_callback(
                    lambda done: self._post(lambda: self._answer_later(client, request, done))
                )

    def _answer_later(self, client: ControlClient, request: Request, done: Future[str]) -> None:
        client.awaits_reload = False
        if self._clients.get(client.fileno()) is not client:
            return
        failure = failure_of(done)
        if failure:
            client.answer_error(request.id, failure)
        else:
            client.answer(request.id, {"what": done.result()})

    # Clients

    def _accept(self, now: float) -> None:
        try:
            sock = self._listener.accept()
        except OSError as error:
            if error.strerror != self._accept_problem:  # each second, for as long as it lasts
                self._accept_problem = error.strerror
                log.warning("the control socket cannot accept: %s", error.strerror)
            self._accept_at = now + ACCEPT_PAUSE_S
            return
        self._accept_problem = None
        if sock is None:
            return
        try:
            peer = peer_of(sock)
        except OSError as error:
            log.warning("the control socket's peer has no credentials: %s", error.strerror)
            sock.close()
            return
        client = ControlClient(sock, now)
        if not may_control(peer, uid=self._uid, gid=self._gid):
            self._refuse(client, self._not_allowed(peer), now)
        elif len(self._clients) >= CLIENTS_LIMIT:
            self._refuse(client, f"busy: there are {CLIENTS_LIMIT} clients, try again later", now)
        else:
            self._clients[client.fileno()] = client

    def _not_allowed(self, peer: Peer) -> str:
        known = self._refusals.get(peer.uid)
        if known is not None:  # names may have to be asked for over the network
            return known
        who = user_name(peer.uid)
        allowed = f"root, {user_name(self._uid)} and the group {group_name(self._gid)}"
        refusal = f"{who} may not control this service: {allowed} may"
        if len(self._refusals) < INBOX_LIMIT:
            self._refusals[peer.uid] = refusal
            log.warning("the control socket refuses %s: process %d", who, peer.pid)
        return refusal

    def _refuse(self, client: ControlClient, error: str, now: float) -> None:
        client.refuse(error, now)
        if len(self._lingering) >= LINGERING_LIMIT:
            client.close()
        else:
            self._lingering[client.fileno()] = client
