"""The status page: a small web server of one thread, with at most `CLIENTS_LIMIT` connections.

The thread `status-page` polls the listener, the clients and an eventfd. Other threads hand it
events through `_inbox`. A client that does not read or does not finish its request is let go in
time (`page_client`), or for somebody new (`page_places`). An address that cannot be had now is
tried again: a network may come late.
"""

from __future__ import annotations

import collections
import logging
import math
import os
import select
import socket
import threading
import time
from http import HTTPStatus

from slng_edge.errors import ControlError
from slng_edge.events import Stamped
from slng_edge.service.http_messages import HttpRequest, HttpResponse, refusal
from slng_edge.service.page_access import PageAccess
from slng_edge.service.page_client import PageClient
from slng_edge.service.page_listener import accept, listen_at
from slng_edge.service.page_places import which_watcher_goes, who_goes
from slng_edge.service.page_routes import PageRoutes, event_line
from slng_edge.service.reading_rate import ReadingRate
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

WATCHERS_LIMIT = 24
"""Connections with events."""

CLIENTS_LIMIT = 32
"""Connections: so many more as are left for requests, whoever watches."""

ACCEPTS_AT_ONCE = 200
ACCEPTS_PER_S = 100.0
"""As fast as is accepted: a flood is not to take the processor from the conversation."""

REFUSED_AGAIN_S = 3600.0
"""A wrong token is worth a line in the log so often."""

INBOX_LIMIT = 1000
PULSE_S = 1.0
"""How often who watches gets the whole status, and with it the level."""

LISTEN_AGAIN_S = 10.0
ACCEPT_PAUSE_S = 1.0


class StatusPage:
    """Owns the thread `status-page` and its sockets.

    Args:
        address: HOST:PORT, as the configuration takes it; port 0 is any.
        routes: Answers requests, in the thread.
        has_token: Whether addresses that other machines reach may be listened at.
        on_death: As in `Worker`.

    Attributes:
        problem: Why it does not listen; "" where it does, or has not tried yet.
    """

    def __init__(
        self,
        address: str,
        routes: PageRoutes,
        *,
        has_token: bool = False,
        on_death: OnDeath | None = None,
    ) -> None:
        self.problem = ""
        self.port = 0
        self._address = address
        self._routes = routes
        self._has_token = has_token
        self._listener: socket.socket | None = None
        self._listen_due = 0.0
        self._accept_due = 0.0
        self._accept_problem: str | None = None
        self._accepts = ReadingRate(at_once=ACCEPTS_AT_ONCE, per_s=ACCEPTS_PER_S)
        self._refused_at = -math.inf
        self._refused = 0
        self._pulse_due = math.inf
        self._clients: dict[int, PageClient] = {}
        self._inbox: collections.deque[Stamped] = collections.deque(maxlen=INBOX_LIMIT)
        self._streams = False
        self._lock = threading.Lock()  # the wakener's life
        self._wakener = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._worker = Worker("status-page", self._run, wake=self._wake, on_death=on_death)

    def start(self) -> None:
        """Start the thread, which begins to listen."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Close everything; any thread, any number of times.

        Raises:
            StuckThread: the name server does not answer.
        """
        self._worker.stop(timeout_s)

    def receive(self, stamped: Stamped) -> None:
        """Send an event to who watches; any thread, never waits."""
        if self._streams:
            self._inbox.append(stamped)
            self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._wakener >= 0:
                os.eventfd_write(self._wakener, 1)

    # The thread

    def _run(self) -> None:
        try:
            while not self._worker.stopping.is_set():
                self._pass()
        finally:
            self._close()

    def _pass(self) -> None:
        now = time.monotonic()
        if self._listener is None and now >= self._listen_due:
            self._listen(now)
        poll, wait_s = self._polled(now)
        found = dict(poll.poll(None if wait_s == math.inf else math.ceil(max(0, wait_s) * 1000)))
        now = time.monotonic()
        if self._wakener in found:
            os.eventfd_read(self._wakener)
        self._stream(now)
        for descriptor, client in list(self._clients.items()):
            if found.get(descriptor, 0) & ~select.POLLOUT:
                self._receive(client, now)
            client.flush(now)
            if now >= client.deadline:
                client.time_out(now)
            if client.over:
                self._clients.pop(descriptor).close()
        if self._listener is not None and self._listener.fileno() in found:
            self._accept(self._listener, now)
        self._streams = any(client.streaming for client in self._clients.values())
        if not self._streams:
            self._pulse_due = math.inf
        elif self._pulse_due == math.inf:
            self._pulse_due = now + PULSE_S

    def _polled(self, now: float) -> tuple[select.poll, float]:
        """What to wait for, and how long at most."""
        poll = select.poll()
        poll.register(self._wakener, select.POLLIN)
        deadline = self._pulse_due
        if self._listener is None:
            deadline = min(deadline, self._listen_due)
        elif now >= self._accept_due:
            poll.register(self._listener, select.POLLIN)
        else:
            deadline = min(deadline, self._accept_due)
        for client in self._clients.values():
            poll.register(client, client.wanted)
            deadline = min(deadline, client.deadline)
        return poll, deadline - now

    def _stream(self, now: float) -> None:
        # As many as there are now: more come meanwhile, and others wait too.
        lines = [event_line(self._inbox.popleft().as_json()) for _ in range(len(self._inbox))]
        if now >= self._pulse_due:
            self._pulse_due = now + PULSE_S
            lines.append(self._routes.pulse())
        data = b"".join(lines)
        for client in self._clients.values():
            if data and client.streaming:
                client.stream(data)

    def _receive(self, client: PageClient, now: float) -> None:
        request = client.receive()
        if isinstance(request, HttpRequest):
            head_only = request.method == "HEAD"
            response = self._answer(request, client.host)
            if response.status is HTTPStatus.UNAUTHORIZED and PageAccess.shows_something(request):
                self._tell_refused(client.host, now)
            client.answer(response, head_only=head_only, now=now)
        elif request is not None:
            client.answer(request, head_only=False, now=now)

    def _answer(self, request: HttpRequest, host: str) -> HttpResponse:
        try:
            response = self._routes.answer(request)
        except Exception:  # what is wrong with one answer is not to end the service
            log.exception("the status page's %s failed", request.path[:40])
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "this is a bug, the log says more")
        watching = [each for each in self._clients.values() if each.streaming]
        if response.streams and len(watching) >= WATCHERS_LIMIT:
            leaving = which_watcher_goes(watching, host)
            if leaving is not None:
                if request.method == "GET":
                    leaving.give_way()
                return response
            why = f"{WATCHERS_LIMIT} browsers watch already, try again later"
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, why, Retry_After="5")
        return response

    def _tell_refused(self, host: str, now: float) -> None:
        self._refused += 1
        if now >= self._refused_at + REFUSED_AGAIN_S:
            log.warning("the status page was shown a wrong token by %s: %d", host, self._refused)
            self._refused_at = now

    def _accept(self, listener: socket.socket, now: float) -> None:
        self._accepts.took(1, now)
        self._accept_due = now + self._accepts.due_in_s(now)
        try:
            sock = accept(listener)
        except OSError as error:
            self._accept_due = now + ACCEPT_PAUSE_S
            if error.strerror != self._accept_problem:  # each second, for as long as it lasts
                self._accept_problem = error.strerror
                log.warning("the status page cannot accept: %s", error.strerror)
            return
        self._accept_problem = None
        if sock is None:
            return
        if len(self._clients) >= CLIENTS_LIMIT:
            leaving = who_goes(self._clients.values())
            if leaving is not None:  # fewer may watch than there are places
                self._clients.pop(leaving.fileno()).close()
        client = PageClient(sock, now)
        self._clients[client.fileno()] = client

    def _listen(self, now: float) -> None:
        try:
            self._listener = listen_at(self._address, has_token=self._has_token)
        except ControlError as error:
            self._listen_due = now + LISTEN_AGAIN_S
            if str(error) != self.problem:
                self.problem = str(error)
                log.warning("%s; trying again every %g s", error, LISTEN_AGAIN_S)
            return
        self.problem = ""
        self.port = self._listener.getsockname()[1]
        host = self._address.rpartition(":")[0]
        log.info("the status page is at http://%s:%d/", host, self.port)

    def _close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        with self._lock:
            if self._wakener >= 0:
                os.close(self._wakener)
                self._wakener = -1
