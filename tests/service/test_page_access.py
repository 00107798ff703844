"""Where a browser is sent that has shown the token in the address: never to another host."""

from __future__ import annotations

import pytest

from slng_edge.service.http_messages import HttpRequest, parse_http_request
from slng_edge.service.page_access import PageAccess

TOKEN = "token-of-this-device"


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/", "/"),
        ("/metrics", "/metrics"),
        ("//evil.example/", "/evil.example/"),
        ("////evil.example/", "/evil.example/"),
        ("/\\evil.example/", "/evil.example/"),
        ("/\\/\\/evil.example/", "/evil.example/"),
        ("/a\\b", "/a%5Cb"),
        ("/%5Cevil.example/", "/%5Cevil.example/"),
        ("/caf\xe9", "/caf%E9"),
    ],
)
def test_the_page_without_the_token_is_on_this_host(path: str, location: str) -> None:
    """Browsers take a backslash for a slash."""
    asked = f"GET {path}?token={TOKEN} HTTP/1.1\r\nHost: kiosk\r\n\r\n".encode("latin-1")
    request = parse_http_request(asked)
    assert request is not None
    answer = PageAccess(TOKEN).answer(request)
    assert answer is not None
    assert (answer.status, answer.headers["Location"]) == (303, location)


@pytest.mark.parametrize(
    ("accept", "may"),
    [
        ("", True),
        ("*/*", True),
        ("text/event-stream", True),
        ("application/json, text/plain, */*", True),
        ("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", True),
        ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", False),
        ("*/*, IMAGE/png", False),
        ("video/webm,video/ogg,video/*;q=0.9,*/*;q=0.5", False),
        ("text/css,*/*;q=0.1", False),
    ],
)
def test_a_browser_without_sec_fetch_is_known_by_what_it_accepts(accept: str, may: bool) -> None:
    """An image of another site would take a watcher's place; curl and EventSource are no image."""
    headers = {"host": "127.0.0.1:8990", **({"accept": accept} if accept else {})}
    answer = PageAccess().answer(HttpRequest("GET", "/events", {}, headers))
    assert (answer is None) is may
    if answer is not None:
        assert answer.status == 403
    own = {**headers, "sec-fetch-site": "same-origin", "sec-fetch-mode": "no-cors"}
    assert PageAccess().answer(HttpRequest("GET", "/favicon.ico", {}, own)) is None
