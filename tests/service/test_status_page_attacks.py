"""The status page under attack: by who keeps places, does not read, guesses, or sends anything."""

from __future__ import annotations

import fcntl
import logging
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator

import pytest
from conversation_scripts import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from served_page import TOKEN, Served, cookie_of, next_data

from slng_edge.events import FinalHeard
from slng_edge.service import page_client, status_page
from slng_edge.service.http_messages import BadHttpRequest, HttpRequest, parse_http_request
from slng_edge.service.metrics import TurnTimes
from slng_edge.service.page_access import PageAccess
from slng_edge.service.page_listener import SEND_BUFFER_BYTES
from slng_edge.service.page_places import which_watcher_goes, who_goes
from slng_edge.service.page_routes import PageRoutes
from slng_edge.service.reading_rate import ReadingRate

GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def served() -> Iterator[Served]:
    """Without a token."""
    served = Served()
    yield served
    served.page.stop(2)


# Places


class Somebody:
    """Who has a place."""

    def __init__(self, host: str, *, streaming: bool = False) -> None:
        self.host, self.streaming = host, streaming


def test_who_has_most_places_loses_the_oldest_of_them() -> None:
    """Who watches keeps its place, and so does who came alone before."""
    alone, watches = Somebody("a"), Somebody("c", streaming=True)
    many = [Somebody("b"), Somebody("b")]
    assert who_goes([alone, watches, *many]) is many[0]
    assert who_goes([alone, watches]) is alone
    assert who_goes([watches]) is None


def test_who_watches_most_gives_way_to_another_address() -> None:
    """But not where the other would then have more: they would take it from each other for ever."""
    alone, many = Somebody("a"), [Somebody("b"), Somebody("b"), Somebody("b")]
    assert which_watcher_goes([alone, *many], "c") is many[0]
    assert which_watcher_goes([alone, *many], "a") is many[0]
    assert which_watcher_goes([alone, *many], "b") is None
    assert which_watcher_goes([alone, *many[:2]], "a") is None
    assert which_watcher_goes([alone], "c") is None
    assert which_watcher_goes([], "c") is None


def test_one_address_does_not_keep_others_from_watching(served: Served) -> None:
    """Its oldest watcher goes, within the second; asking for the head alone takes no place."""
    mine = [served.watch() for _ in range(status_page.WATCHERS_LIMIT)]
    asked = GET % b"/events"
    to = ("127.0.0.1", served.page.port)
    for method, gone in ((b"HEAD", False), (b"GET", True)):
        with socket.create_connection(to, 5, source_address=("127.0.0.2", 0)) as sock:
            sock.sendall(asked.replace(b"GET", method))
            assert sock.recv(12) == b"HTTP/1.1 200"
            watching = [each.host for each in served.page._clients.values() if each.streaming]
            assert watching.count("127.0.0.1") == status_page.WATCHERS_LIMIT - gone
    while mine[0].readline():
        pass
    assert next_data(mine[1])["state"] == "idle"
    for each in mine:
        each.close()


@pytest.mark.parametrize("unfinished", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: local"])
def test_who_keeps_all_places_does_not_keep_others_out(served: Served, unfinished: bytes) -> None:
    """Whoever comes with a whole request is answered at once, however fast others come again."""
    over = threading.Event()

    def keep_places() -> None:
        mine: list[socket.socket] = []
        while not over.is_set():
            mine.append(served.connect(unfinished))
            if len(mine) > 2 * status_page.CLIENTS_LIMIT:
                mine.pop(0).close()
            over.wait(0.002)
        for sock in mine:
            sock.close()

    attackers = [threading.Thread(target=keep_places) for _ in range(2)]
    for attacker in attackers:
        attacker.start()
    try:
        assert wait_until(lambda: len(served.page._clients) == status_page.CLIENTS_LIMIT)
        for _ in range(10):
            began = time.monotonic()
            assert served.get("/healthz").status == 200
            assert time.monotonic() - began < 2
    finally:
        over.set()
        for attacker in attackers:
            attacker.join(5)


def test_what_the_kernel_keeps_for_who_does_not_read_is_bounded(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 of them for an hour, in a second: 2 KB for each of 3600 s are far more than is kept."""
    monkeypatch.setattr(page_client, "BACKLOG_BYTES", 10**9)  # what the kernel takes alone
    socks = [served.connect(GET % b"/events") for _ in range(status_page.WATCHERS_LIMIT)]
    page = served.page
    assert wait_until(lambda: sum(each.streaming for each in page._clients.values()) == len(socks))
    kept = 0
    for _ in range(60):
        served.publish(FinalHeard("x" * 120_000, 1))
        assert wait_until(lambda: not page._inbox)
        kept = max(kept, sum(_unsent_bytes(each._sock) for each in list(page._clients.values())))
    for sock in socks:
        sock.close()
    assert 0 < kept <= len(socks) * 4 * SEND_BUFFER_BYTES  # the kernel doubles it, and rounds up


def _unsent_bytes(sock: socket.socket) -> int:
    """What the kernel holds of what was sent (tcp(7), SIOCOUTQ)."""
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0])


def test_who_goes_on_sending_is_closed(served: Served) -> None:
    """Also one that watches: what it sends is of no use to anybody."""
    with served.connect(GET % b"/events") as sock:
        assert wait_until(lambda: served.page._streams)
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            sock.sendall(b"x" * 50_000_000)
    assert wait_until(lambda: not served.page._clients)


def test_one_request_a_connection(served: Served) -> None:
    """What comes behind it is no second one, whatever the first says of its length."""
    for first in (GET % b"/healthz", b"GET /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n"):
        with served.connect(first + GET % b"/status.json") as sock:
            answer = b"".join(iter(lambda s=sock: s.recv(10_000), b""))
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"volume" not in answer
    with served.connect(GET % b"/events") as sock:
        assert wait_until(lambda: served.page._streams)
        sock.sendall(GET % b"/metrics")
        assert served.get("/healthz").status == 200  # by then it was read
        served.publish(FinalHeard("the last", 1))
        read = b""
        while b"the last" not in read:
            read += sock.recv(10_000)
    assert read.count(b"HTTP/1.1 ") == 1


# What is served to whom


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (GET % b"/", 200),
        (GET % b"/metrics", 200),
        (GET % b"/nothing", 404),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", 403),
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 413),
    ],
)
def test_no_answer_may_be_framed_sniffed_kept_or_read_by_others(
    served: Served, data: bytes, status: int
) -> None:
    """The page, data and refusals alike."""
    with served.connect(data) as sock:
        head = b"".join(iter(lambda: sock.recv(10_000), b"")).partition(b"\r\n\r\n")[0].decode()
    line, *headers = head.lower().split("\r\n")
    named = dict(each.split(": ", 1) for each in headers)
    assert line.startswith(f"http/1.1 {status} ")
    assert "frame-ancestors 'none'" in named["content-security-policy"]
    assert "default-src 'none'" in named["content-security-policy"]
    assert named["x-frame-options"] == "deny"
    assert named["x-content-type-options"] == "nosniff"
    assert named["referrer-policy"] == "no-referrer"
    assert named["cache-control"] == "no-store"
    assert named["cross-origin-resource-policy"] == "same-origin"
    assert named["cross-origin-opener-policy"] == "same-origin"
    assert "microphone=()" in named["permissions-policy"]
    assert "access-control-allow-origin" not in named
    assert "server" not in named


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "cors"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "websocket", "Upgrade": "websocket"},
        {"Origin": "http://evil.example", "Upgrade": "websocket", "Connection": "Upgrade"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:1"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/events", "/status.json"])
def test_a_page_of_another_site_gets_nothing(
    served: Served, headers: dict[str, str], path: str
) -> None:
    """By image, fetch, WebSocket or EventSource."""
    answer = served.get(path, **headers)
    assert answer.status == 403
    assert b"volume" not in answer.read()


def test_an_answer_that_breaks_does_not_end_the_page(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a line in the log, and the next one is served."""
    served.status["state"] = object()
    assert served.get("/status.json").status == 500
    served.status["state"] = "idle"
    assert served.get("/status.json").status == 200
    assert "the status page's /status.json failed" in caplog.text


# Tokens


def test_guesses_are_told_once_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Neither is what was guessed right."""
    caplog.set_level(logging.DEBUG)
    served = Served(TOKEN)
    try:
        for number in range(5):
            assert served.get(f"/?token=guess-of-somebody-{number}").status == 401
        assert served.get("/", Authorization="Bearer guess-of-somebody").status == 401
        assert served.get("/").status == 401
        assert served.get(f"/?token={TOKEN}").status == 303
        assert served.get("/", Cookie=cookie_of(TOKEN)).status == 200
    finally:
        served.page.stop(2)
    assert caplog.text.count("wrong token by 127.0.0.1") == 1
    for word in (TOKEN, "guess", cookie_of(TOKEN).partition("=")[2]):
        assert word not in caplog.text


def test_a_flood_of_connections_is_taken_slowly(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guesses or anything else: no faster than is good for the conversation."""
    served.page._accepts = ReadingRate(at_once=5, per_s=100.0)
    began = time.monotonic()
    for _ in range(35):
        assert served.get("/healthz").status == 200
    assert time.monotonic() - began > 0.25


@pytest.mark.parametrize(
    ("took", "at", "due_s"),
    [(0, 0.0, 0.0), (4, 0.0, 0.0), (5, 0.0, 0.1), (8, 0.0, 0.4), (8, 0.2, 0.2), (5, 9.0, 0.0)],
)
def test_what_is_read_too_fast_waits(took: int, at: float, due_s: float) -> None:
    """Five at once, ten a second in the long run."""
    rate = ReadingRate(at_once=5, per_s=10.0)
    rate.took(took, 0.0)
    assert rate.due_in_s(at) == pytest.approx(due_s)


def test_a_long_rest_is_not_saved_up() -> None:
    """After it there are five at once again, not more."""
    rate = ReadingRate(at_once=5, per_s=10.0)
    rate.took(5, 1000.0)
    assert rate.due_in_s(1000.0) == pytest.approx(0.1)


# Anything


_ROUTES = PageRoutes(PageAccess(TOKEN), status=lambda: {"state": "idle"}, turns=TurnTimes())
_LINES = st.sampled_from(
    (
        b"GET / HTTP/1.1",
        b"HEAD /events?token=%ff&token= HTTP/1.0",
        f"GET /\\\\x?token={TOKEN} HTTP/1.1".encode(),
        b"Host: [::1",
        b"Host: localhost",
        b"Origin: http://[",
        b"Cookie: slng_edge_page=\xff; =;;=",
        b"Authorization: Bearer \xe9",
        b"Sec-Fetch-Site: \xff",
        b"",
    )
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_LINES | st.binary(max_size=40), max_size=6))
def test_any_bytes_are_answered(lines: list[bytes]) -> None:
    """Refused, waited on, or answered: nothing else comes of them."""
    try:
        request = parse_http_request(b"\r\n".join(lines) + b"\r\n\r\n")
    except BadHttpRequest:
        return
    assert isinstance(request, HttpRequest)
    assert _ROUTES.answer(request).encoded().startswith(b"HTTP/1.1 ")


def test_who_watches_gets_everything_while_others_attack(served: Served) -> None:
    """It keeps its place."""
    file = served.watch()
    next_data(file)
    socks = [served.connect(b"GET") for _ in range(2 * status_page.CLIENTS_LIMIT)]
    assert wait_until(lambda: len(served.page._clients) == status_page.CLIENTS_LIMIT)
    served.publish(FinalHeard("still here", 1))
    while "text" not in (data := next_data(file)):
        pass
    assert data["text"] == "still here"
    for sock in socks:
        sock.close()
    file.close()
