"""The status page: who may see it, what it answers, and that no browser can hold it up."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from conversation_scripts import wait_until
from served_page import TOKEN, Served, cookie_of, next_data, request

from slng_edge.errors import ConfigError
from slng_edge.events import FinalHeard, PartialHeard, StateChanged
from slng_edge.service import page_client, status_page
from slng_edge.service.http_messages import (
    HEAD_LIMIT_BYTES,
    BadHttpRequest,
    HttpRequest,
    parse_http_request,
)
from slng_edge.service.metrics import TurnTimes
from slng_edge.service.page_access import COOKIE, PageAccess
from slng_edge.service.page_routes import PageRoutes, health_problem
from slng_edge.service.status_page import WATCHERS_LIMIT, StatusPage

# Requests


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET http://other/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET / HTTP/1.10\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\t\\evil.example/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /\x0b HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\nOrigin: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: local\x00host\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\tfolded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nsec-fetch-site: none\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /?" + b"a=1&" * 50 + b" HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nContent-Length: 00\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 413),
        (b"x" * (HEAD_LIMIT_BYTES + 1), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, status: int) -> None:
    """With the status that says why."""
    with pytest.raises(BadHttpRequest) as caught:
        parse_http_request(data)
    assert caught.value.status == status


def test_a_request_is_read() -> None:
    """Path, query, headers, cookies; and not before its end."""
    data = b"GET /a?token=x HTTP/1.1\r\nHost: H\r\nCookie: a=1; b = 2\r\n\r\n"
    assert parse_http_request(data[:-1]) is None
    read = parse_http_request(data)
    assert read is not None
    assert (read.method, read.path, read.query["token"]) == ("GET", "/a", "x")
    assert (read.headers["host"], read.cookies) == ("H", {"a": "1", "b": "2"})


# Who may


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request(), None),
        (request(host="localhost"), None),
        (request(host="[::1]:80"), None),
        (request(method="HEAD"), None),
        (request(method="POST"), HTTPStatus.METHOD_NOT_ALLOWED),
        (request(host="evil.example"), HTTPStatus.MISDIRECTED_REQUEST),
        (request(host="127.0.0.1.evil.example"), HTTPStatus.MISDIRECTED_REQUEST),
        (request(host=""), HTTPStatus.MISDIRECTED_REQUEST),
        (request(host="[::1"), HTTPStatus.MISDIRECTED_REQUEST),
        (request(origin="http://127.0.0.1:8990"), None),
        (request(origin="http://127.0.0.1:9999"), HTTPStatus.FORBIDDEN),
        (request(origin="https://evil.example"), HTTPStatus.FORBIDDEN),
        (request(origin="null"), HTTPStatus.FORBIDDEN),
        (request(origin="null", host=""), HTTPStatus.FORBIDDEN),
        (request(origin="http://evil.example", upgrade="websocket"), HTTPStatus.FORBIDDEN),
        (request(sec_fetch_site="same-origin", sec_fetch_mode="cors"), None),
        (request(sec_fetch_site="cross-site", sec_fetch_mode="navigate"), None),
        (request(sec_fetch_site="cross-site", sec_fetch_mode="no-cors"), HTTPStatus.FORBIDDEN),
        (request(sec_fetch_site="same-site", sec_fetch_mode="cors"), HTTPStatus.FORBIDDEN),
    ],
)
def test_without_a_token_it_is_for_this_machine(
    asked: HttpRequest, status: HTTPStatus | None
) -> None:
    """And for no page of another site, by whatever name."""
    answer = PageAccess().answer(asked)
    assert (None if answer is None else answer.status) == status


@pytest.mark.parametrize(
    ("asked", "may"),
    [
        (request(), False),
        (request(host="kiosk.local"), False),
        (request(host="kiosk.local", authorization=f"Bearer {TOKEN}"), True),
        (request(authorization=f"bearer  {TOKEN}"), True),
        (request(authorization=f"Basic {TOKEN}"), False),
        (request(authorization="Bearer "), False),
        (request(authorization="Bearer wrong"), False),
        (request(authorization="Bearer \xff"), False),
        (request(cookie=cookie_of(TOKEN)), True),
        (request(cookie=cookie_of("another-token-of-a-device")), False),
        (request(cookie=f"{COOKIE}={TOKEN}"), False),
        (request("/?token=wrong"), False),
    ],
)
def test_with_a_token_it_has_to_be_shown(asked: HttpRequest, may: bool) -> None:
    """In a header or a cookie, on loopback as well."""
    answer = PageAccess(TOKEN).answer(asked)
    assert (answer is None) == may
    if answer is not None:
        assert answer.status == HTTPStatus.UNAUTHORIZED


def test_a_token_in_the_address_becomes_a_cookie() -> None:
    """The page is then asked for without it; the cookie is not the token, and of this site only."""
    answer = PageAccess(TOKEN).answer(request(f"//evil.example/x?token={TOKEN}"))
    assert answer is not None
    assert (answer.status, answer.headers["Location"]) == (303, "/evil.example/x")
    cookie = answer.headers["Set-Cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_short_token_is_refused() -> None:
    """With the line that makes one."""
    with pytest.raises(ConfigError, match="openssl rand"):
        PageAccess("short")


# Health


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ({"state": "idle"}, ""),
        ({"state": "offline"}, ""),
        ({"state": "muted"}, ""),
        ({"state": "error"}, "a session was refused, or the microphone cannot be heard"),
        ({"state": "muted", "devices": {"input": {"state": "lost"}}}, "the microphone is lost"),
        ({"state": "idle", "devices": {"output": {"state": "lost"}}}, "the speaker is lost"),
        ({"state": "idle", "devices": {"input": {"state": "reopened"}}}, ""),
    ],
)
def test_what_is_not_healthy(status: dict[str, Any], problem: str) -> None:
    """What a restart may mend; the network is not."""
    assert health_problem(status) == problem


# The server


@pytest.fixture
def served() -> Iterator[Served]:
    """Without a token."""
    served = Served()
    yield served
    served.page.stop(2)
    served.page.stop(2)


def test_the_page_comes_with_what_it_may_run(served: Served) -> None:
    """One file, nothing from elsewhere, and a policy that names its own script and style."""
    answer = served.get("/")
    text = answer.read().decode()
    policy = answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert 'aria-live="polite"' in text
    assert "://" not in text
    for name in ("X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Resource-Policy"):
        assert answer.headers[name]
    assert answer.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize(
    ("path", "kind", "inside"),
    [
        ("/status.json", "application/json", '"volume": 80'),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", 'slng_edge_state{state="idle"} 1'),
        ("/healthz", "application/json", '"ok": true'),
    ],
)
def test_what_programs_read(served: Served, path: str, kind: str, inside: str) -> None:
    """As the status is."""
    answer = served.get(path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    assert inside in answer.read().decode()


def test_health_is_503_where_it_is_deaf(served: Served) -> None:
    """With the reason."""
    served.status["devices"] = {"input": {"state": "lost"}}
    answer = served.get("/healthz")
    assert (answer.status, json.load(answer)["why"]) == (503, "the microphone is lost")


def test_head_has_no_body(served: Served) -> None:
    """And says how long it would be."""
    answer = served.get("/status.json", "HEAD")
    assert answer.read() == b""
    assert int(answer.headers["Content-Length"]) > 10


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/nothing", "GET", {}, 404),
        ("/../../etc/passwd", "GET", {}, 404),
        ("/%2e%2e/%2e%2e/etc/passwd", "GET", {}, 404),
        ("//other.example/status.json", "GET", {}, 404),
        ("/status.json#x", "GET", {}, 404),
        ("/", "CONNECT", {}, 405),
        ("/", "DELETE", {}, 405),
        ("/events", "GET", {"Host": "evil.example"}, 421),
        ("/events", "GET", {"Origin": "http://evil.example"}, 403),
    ],
)
def test_what_is_refused(
    served: Served, path: str, method: str, headers: dict[str, str], status: int
) -> None:
    """And the next one is served."""
    assert served.get(path, method, **headers).status == status
    assert served.get("/healthz").status == 200


def test_who_watches_gets_the_status_and_then_events(served: Served) -> None:
    """Words that are still being said too; what was before is not told."""
    served.publish(FinalHeard("said before", 10))
    file = served.watch()
    assert next_data(file)["state"] == "idle"
    assert wait_until(lambda: served.page._streams)
    served.publish(StateChanged("listening"))
    served.publish(PartialHeard("guten\nTag"))
    assert next_data(file)["state"] == "listening"
    assert next_data(file)["text"] == "guten\nTag"


def test_the_status_comes_every_second(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the level in it."""
    monkeypatch.setattr(status_page, "PULSE_S", 0.05)
    file = served.watch()
    next_data(file)
    served.status["counters"] = {"microphone_dbfs": -30.0}
    assert next_data(file)["counters"] == {"microphone_dbfs": -30.0}
    assert b"event: status\n" in [file.readline() for _ in range(3)]


def test_a_token_is_needed_where_one_is_set() -> None:
    """Also for health and metrics."""
    served = Served(TOKEN)
    try:
        for path in ("/", "/events", "/healthz", "/metrics", "/status.json"):
            assert served.get(path).status == 401
        assert served.get("/metrics", Authorization=f"Bearer {TOKEN}").status == 200
        assert served.get("/", Cookie=cookie_of(TOKEN)).status == 200
    finally:
        served.page.stop(2)


def test_an_address_for_others_is_not_listened_at_without_a_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever made the configuration."""
    routes = PageRoutes(PageAccess(), status=dict, turns=TurnTimes())
    page = StatusPage("0.0.0.0:0", routes)
    page.start()
    assert wait_until(lambda: page.problem)
    page.stop(2)
    assert "set status_page.token_file" in page.problem
    assert page.port == 0


def test_an_address_that_is_taken_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, and on without until then."""
    monkeypatch.setattr(status_page, "LISTEN_AGAIN_S", 0.05)
    routes = PageRoutes(PageAccess(), status=dict, turns=TurnTimes())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        page = StatusPage(f"127.0.0.1:{taken.getsockname()[1]}", routes)
        page.start()
        assert wait_until(lambda: page.problem)
        time.sleep(0.15)
    assert wait_until(lambda: page.port)
    page.stop(2)
    assert caplog.text.count("cannot listen on") == 1


def test_too_many_who_watch_are_told_so(served: Served) -> None:
    """Everything else is answered meanwhile, and there is a place when one has gone."""
    files = [served.watch() for _ in range(WATCHERS_LIMIT)]
    late = served.get("/events")
    assert (late.status, late.headers["Retry-After"]) == (503, "5")
    assert served.get("/healthz").status == 200
    files.pop().close()
    assert wait_until(lambda: served.get("/events", "HEAD").status == 200)
    for file in files:
        file.close()


def test_who_does_not_finish_a_request_is_let_go(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told, where it had begun one."""
    monkeypatch.setattr(page_client, "TIMEOUT_S", 0.1)
    with served.connect() as silent, served.connect(b"GET / HT") as slow:
        assert silent.recv(100) == b""
        assert b" 408 " in slow.recv(1000)


def test_who_watches_and_does_not_read_is_let_go(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others get everything."""
    monkeypatch.setattr(page_client, "BACKLOG_BYTES", 100_000)
    stuck = served.connect()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    reader = served.watch()
    next_data(reader)
    assert wait_until(lambda: served.page._streams and len(served.page._clients) == 2)
    for number in range(200):
        served.publish(FinalHeard(f"{number} " + "x" * 50_000, 1))
        while "text" not in (data := next_data(reader)):
            pass
        assert data["text"].startswith(f"{number} ")
        if len(served.page._clients) == 1:
            break
    assert len(served.page._clients) == 1
    stuck.close()
    reader.close()


def test_all_who_watched_come_back_at_once(served: Served) -> None:
    """After a restart: each has its place and gets what happens, one that reads nothing or not."""
    watching = WATCHERS_LIMIT - 1
    for file in [served.watch() for _ in range(watching)]:
        next_data(file)
        file.close()
    port = served.page.port
    served.page.stop(2)
    again = Served(port=port)
    try:
        stuck = again.connect(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        files = [again.watch() for _ in range(watching)]
        assert [next_data(file)["state"] for file in files] == ["idle"] * watching
        assert wait_until(lambda: all(each.streaming for each in again.page._clients.values()))
        again.publish(StateChanged("listening"))
        assert [next_data(file)["state"] for file in files] == ["listening"] * watching
        for file in files:
            file.close()
        stuck.close()
    finally:
        again.page.stop(2)


def test_what_a_browser_is_owed_is_bounded(served: Served) -> None:
    """Whatever happens while it reads nothing; and a burst does not hold up the others."""
    stuck = served.connect(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert wait_until(lambda: served.page._streams)
    most = 0
    for number in range(2 * status_page.INBOX_LIMIT):
        served.publish(FinalHeard(f"{number} " + "x" * 10_000, 1))
        most = max(0, most, *(each._out.size for each in list(served.page._clients.values())))
    began = time.monotonic()
    assert served.get("/healthz").status == 200
    assert time.monotonic() - began < 2
    assert wait_until(lambda: not served.page._clients)
    assert most <= page_client.BACKLOG_BYTES
    stuck.close()


def test_other_machines_need_a_token() -> None:
    """At an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing: it only looks up the way
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = sock.getsockname()[0]
    served = Served(TOKEN, address=f"{address}:0")
    try:
        answers = {}
        for shown in ("", f"Bearer {TOKEN}"):
            connection = http.client.HTTPConnection(address, served.page.port, timeout=5)
            connection.request("GET", "/status.json", headers={"Authorization": shown})
            answers[shown] = connection.getresponse().status
            connection.close()
        assert list(answers.values()) == [401, 200]
    finally:
        served.page.stop(2)


@pytest.mark.parametrize("data", [b"\x00\xff" * 5000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000])
def test_noise_is_answered_and_harmless(served: Served, data: bytes) -> None:
    """Whatever comes in, the next browser is served."""
    with served.connect(data) as sock:
        sock.shutdown(socket.SHUT_WR)
    assert served.get("/healthz").status == 200


def test_no_descriptor_is_left_behind(served: Served) -> None:
    """By requests, by watching, by stopping."""

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    served.get("/").read()
    before = count()
    for _ in range(5):
        served.get("/healthz").read()
        file = served.watch()
        next_data(file)
        file.close()
    served.publish(StateChanged("idle"))
    assert wait_until(lambda: count() <= before)


def test_where_it_is_is_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """To be clicked on."""
    caplog.set_level(logging.INFO)
    other = Served()
    other.page.stop(2)
    assert f"the status page is at http://127.0.0.1:{other.page.port}/" in caplog.text
