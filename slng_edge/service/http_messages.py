"""What a browser asks the status page for, and what it is answered: bytes in, bytes out.

As much of HTTP/1.1 (RFC 9112) as GET takes: one request a connection, no bodies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs

HEAD_LIMIT_BYTES = 16384
"""Of a request line and its headers; browsers send a tenth of it."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Of them only the tab may stand in a header (RFC 9110, 5.5)."""

_ONCE = ("host", "origin", "authorization", "content-length", "sec-fetch-site", "sec-fetch-mode")
"""What is decided by: two of them would be read one way here and another way elsewhere."""


class BadHttpRequest(Exception):
    """What came is no request that can be answered as asked; `status` says why."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class HttpRequest:
    """A request without a body; names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def cookies(self) -> dict[str, str]:
        """What the browser keeps for us, and for others on this host."""
        pairs = (part.partition("=") for part in self.headers.get("cookie", "").split(";"))
        return {name.strip(): value.strip() for name, _, value in pairs}


@dataclass(frozen=True)
class HttpResponse:
    """An answer; `streams` where events follow it for as long as the client is there."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    streams: bool = False

    def encoded(self, *, head_only: bool = False) -> bytes:
        """The whole answer, or all but its body."""
        headers = {
            "Content-Type": self.content_type,
            "Cache-Control": "no-store",
            "Connection": "close",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        }
        if not self.streams:
            headers["Content-Length"] = str(len(self.body))
        headers.update(self.headers)
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return head if head_only else head + self.body


def refusal(status: HTTPStatus, message: str, **headers: str) -> HttpResponse:
    """An answer that says why not; `_` in the name of a header stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, message.encode() + b"\n", headers=named)


def parse_http_request(data: bytes) -> HttpRequest | None:
    """The request whose head is in `data`; None where more of it has to come.

    Raises:
        BadHttpRequest: it is too long, no HTTP, or has a body.
    """
    head, end, _ = data.partition(b"\r\n\r\n")
    if len(head) > HEAD_LIMIT_BYTES:
        raise BadHttpRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long")
    if not end:
        return None
    line, *lines = head.decode("latin-1").split("\r\n")
    method, target = _request_line(line)
    headers = _headers(lines)
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise BadHttpRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "nothing can be sent here")
    # By hand: `urlsplit` takes what follows two slashes for another host, and leaves tabs out.
    path, _, asked = target.partition("?")
    try:
        query = parse_qs(asked, max_num_fields=20)
    except ValueError as error:
        raise BadHttpRequest(HTTPStatus.BAD_REQUEST, "this is no address") from error
    return HttpRequest(method, path, {name: values[-1] for name, values in query.items()}, headers)


def _request_line(line: str) -> tuple[str, str]:
    words = line.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1") or words[1][:1] != "/":
        raise BadHttpRequest(HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1")
    if re.search(r"[\x00-\x20\x7f]", words[1]):
        raise BadHttpRequest(HTTPStatus.BAD_REQUEST, "this is no address")
    return words[0], words[1]


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        # RFC 9112, 5.1: white space before the colon, and folded lines, are refused.
        if not colon or not name or name != name.strip() or _CONTROL.search(value):
            raise BadHttpRequest(HTTPStatus.BAD_REQUEST, "a header is broken")
        if name in headers and name in _ONCE:
            raise BadHttpRequest(HTTPStatus.BAD_REQUEST, f"{name} is there twice")
        headers[name] = value.strip()
    return headers
