"""What the status page has: the page, its events, the status, health and metrics."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from slng_edge.service.http_messages import HttpRequest, HttpResponse, refusal
from slng_edge.service.metrics import CONTENT_TYPE, TurnTimes, metrics_text
from slng_edge.service.page_access import PageAccess

PAGE_FILE = "status_page.html"

RETRY_MS = 2000
"""When a browser that lost the stream of events comes again."""


class PageRoutes:
    """Answers requests; never waits.

    Args:
        access: Who may.
        status: What `ctl status` shows.
        turns: How long turns took.
    """

    def __init__(
        self, access: PageAccess, *, status: Callable[[], Mapping[str, Any]], turns: TurnTimes
    ) -> None:
        self._access = access
        self._status = status
        self._turns = turns
        self._page = _page()
        self._routes: Mapping[str, Callable[[], HttpResponse]] = {
            "/": lambda: self._page,
            "/events": self._events,
            "/status.json": self._status_json,
            "/healthz": self._health,
            "/metrics": self._metrics,
        }

    def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer to `request`."""
        refused = self._access.answer(request)
        if refused is not None:
            return refused
        route = self._routes.get(request.path)
        if route is None:
            return refusal(HTTPStatus.NOT_FOUND, f"there is {', '.join(self._routes)}")
        return route()

    def pulse(self) -> bytes:
        """The status as an event of the stream, which a browser takes for the page's state."""
        return b"event: status\n" + _data(self._status())

    def _events(self) -> HttpResponse:
        return HttpResponse(
            HTTPStatus.OK,
            f"retry: {RETRY_MS}\n".encode() + self.pulse(),
            "text/event-stream; charset=utf-8",
            {"X-Accel-Buffering": "no"},
            streams=True,
        )

    def _status_json(self) -> HttpResponse:
        return _json(HTTPStatus.OK, self._status())

    def _metrics(self) -> HttpResponse:
        text = metrics_text(self._status(), self._turns)
        return HttpResponse(HTTPStatus.OK, text.encode(), CONTENT_TYPE)

    def _health(self) -> HttpResponse:
        problem, state = health_problem(self._status()), self._status().get("state")
        if problem:
            answer = {"ok": False, "state": state, "why": problem}
            return _json(HTTPStatus.SERVICE_UNAVAILABLE, answer)
        return _json(HTTPStatus.OK, {"ok": True, "state": state})


def health_problem(status: Mapping[str, Any]) -> str:
    """Why it cannot do its work, "" where it can.

    Being offline is the network's fault and passes, being muted is wanted: whoever restarts what is
    not healthy would not help. Both are in the metrics.
    """
    for which, name in (("input", "microphone"), ("output", "speaker")):
        state = status.get("devices", {}).get(which, {}).get("state")
        if state == "lost":
            return f"the {name} is lost"
    if status.get("state") == "error":
        return "a session was refused, or the microphone cannot be heard"
    return ""


def event_line(event: Mapping[str, Any]) -> bytes:
    """An event as server-sent events carry it (HTML standard, 9.2)."""
    return _data(event)


def _data(data: Mapping[str, Any]) -> bytes:
    # JSON has no line breaks of its own.
    return b"data: " + json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"


def _json(status: HTTPStatus, data: Mapping[str, Any]) -> HttpResponse:
    body = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    return HttpResponse(status, body, "application/json")


def _page() -> HttpResponse:
    """The page, which may run what is written in it and nothing else."""
    text = files("slng_edge.service").joinpath(PAGE_FILE).read_text(encoding="utf-8")
    policy = "; ".join(
        (
            "default-src 'none'",
            *(f"{kind}-src {_hashes(text, kind)}" for kind in ("script", "style")),
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return HttpResponse(
        HTTPStatus.OK,
        text.encode(),
        "text/html; charset=utf-8",
        {"Content-Security-Policy": policy},
    )


def _hashes(text: str, kind: str) -> str:
    found = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()) for each in found)
    return " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
