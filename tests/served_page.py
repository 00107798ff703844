"""A status page on a port of its own, and who asks it."""

from __future__ import annotations

import http.client
import json
import socket
from datetime import UTC, datetime
from typing import Any

from conversation_scripts import wait_until

from slng_edge.events import Event, Stamped
from slng_edge.service.http_messages import HttpRequest
from slng_edge.service.metrics import TurnTimes
from slng_edge.service.page_access import PageAccess
from slng_edge.service.page_routes import PageRoutes
from slng_edge.service.status_page import StatusPage

TOKEN = "a-token-of-some-length"
HERE = {"host": "127.0.0.1:8990"}


def request(path: str = "/", method: str = "GET", **headers: str) -> HttpRequest:
    """One of a browser on this machine; `_` stands for `-` in the names of headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path, _, query = path.partition("?")
    pairs = dict([query.split("=")]) if query else {}
    return HttpRequest(method, path, pairs, {**HERE, **named})


def cookie_of(token: str) -> str:
    """What a browser is given for `token`."""
    answer = PageAccess(token).answer(request(f"/?token={token}"))
    assert answer is not None
    return answer.headers["Set-Cookie"].partition(";")[0]


class Served:
    """A page on a port of its own, and what it is asked."""

    def __init__(self, token: str = "", port: int = 0, address: str = "") -> None:
        self.status: dict[str, Any] = {"state": "idle", "volume": 80}
        routes = PageRoutes(PageAccess(token), status=lambda: dict(self.status), turns=TurnTimes())
        address = address or f"127.0.0.1:{port}"
        self.page = StatusPage(address, routes, has_token=bool(token))
        self.page.start()
        assert wait_until(lambda: self.page.port)

    def get(self, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        """The answer; `_` stands for `-` in the names of headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.page.port, timeout=5)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        return connection.getresponse()

    def connect(self, data: bytes = b"") -> socket.socket:
        """A plain connection that has sent `data`."""
        sock = socket.create_connection(("127.0.0.1", self.page.port), 5)
        sock.sendall(data)
        return sock

    def watch(self) -> Any:
        """The stream of events, after its head."""
        file = self.connect(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").makefile("rb")
        while file.readline().strip():
            pass
        return file

    def publish(self, event: Event) -> None:
        self.page.receive(Stamped(1.0, datetime.now(UTC), event))


def next_data(file: Any) -> Any:
    """The next event's data."""
    while not (line := file.readline()).startswith(b"data: "):
        assert line, "the stream has ended"
    return json.loads(line.removeprefix(b"data: "))
