"""Where a browser is sent that has shown the token in the address: never to another host."""

from __future__ import annotations

import pytest

from slng_edge.service.http_messages import parse_http_request
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
