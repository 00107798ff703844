"""What the gateway checks on the upgrade request, as a pure function."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

REGIONS = frozenset({"ap-southeast-2", "eu-north-1", "us-east-1"})
WORLD_PARTS = frozenset({"ap", "eu", "na"})

CLASSIC_NAMES = {
    "tts": (
        "orpheus",
        "orpheus-indic",
        "kokoro",
        "cosyvoice",
        "chatterbox",
        "xtts",
        "elevenlabs",
        "deepgram",
        "cartesia",
    ),
    "stt": ("kyutai", "whisper"),
}
EXTERNAL_CLASSIC_NAMES = frozenset({"elevenlabs", "deepgram", "cartesia"})
"""Those that SLNG passes on to a provider; it hosts the others itself."""

_UNIFIED = re.compile(r"/v1/(?:bridges/unmute/)?(?P<kind>stt|tts)/(?P<model>[^/].*[^/]|[^/])")
_CLASSIC = re.compile(r"/v1/(?P<kind>stt|tts)/(?P<name>[^/]*)-websocket-stream")
_TRACKING_ID = re.compile(r"[^\x00-\x1f\x7f,]{1,128}")


@dataclass(frozen=True)
class Route:
    """A request that may be upgraded.

    Attributes:
        kind: "stt" or "tts".
        path: The request's path, percent-decoded, without the query.
        model: The model part of the path; on the classic protocol the name before
            ``-websocket-stream``.
        classic: Whether the classic protocol is spoken (protocol.md, section 5).
        language: The query's `language`, which only classic speech-to-text has.
    """

    kind: str
    path: str
    model: str
    classic: bool = False
    language: str = ""

    @property
    def external(self) -> bool:
        """Whether a provider's own key can be used with it."""
        if self.classic:
            return self.model in EXTERNAL_CLASSIC_NAMES
        return not self.model.startswith("slng/")


@dataclass(frozen=True)
class Refusal:
    """A request that is answered with an HTTP status."""

    status: int
    code: str
    message: str
    retry_after: str = ""

    def body(self) -> str:
        """The response's JSON body."""
        return json.dumps({"error": {"code": self.code, "message": self.message}})


def route_of(target: str) -> Route | Refusal:
    """The session that a request's target asks for."""
    path = unquote(urlsplit(target).path)
    if classic := _CLASSIC.fullmatch(path):
        kind, name = classic["kind"], classic["name"]
        if name not in CLASSIC_NAMES[kind]:
            known = ", ".join(CLASSIC_NAMES[kind])
            return Refusal(404, "not_found", f"no classic {kind} model {name!r}: {known}")
        language = _query(target).get("language", "") if kind == "stt" else ""
        return Route(kind, path, name, classic=True, language=language)
    match = _UNIFIED.fullmatch(path)
    if match is None:
        return Refusal(404, "not_found", f"no such route: {path}")
    return Route(match["kind"], path, match["model"])


def check_request(
    route: Route, target: str, headers: Mapping[str, str], key: str
) -> Refusal | None:
    """Why the request is refused, or None: key, routing headers, bring-your-own key, ids.

    Args:
        route: What `route_of` made of it.
        target: The request's target, whose query may carry `region` and `world-part`; a header
            wins over a query.
        headers: The request's headers; `get` has to ignore case.
        key: The key to ask for, "" to let everyone in.
    """
    if key:
        sent = headers.get("Authorization", "")
        if not hmac.compare_digest(sent.encode(), f"Bearer {key}".encode()):
            return Refusal(401, "auth_error", "Invalid or missing API key")
    if "X-Slng-Provider-Key" in headers and not route.external:
        return Refusal(400, "invalid_request", "BYOK is only supported for external STT/TTS routes")
    query = _query(target)
    for header, parameter, known in (
        ("X-Region-Override", "region", REGIONS),
        ("X-World-Part-Override", "world-part", WORLD_PARTS),
    ):
        value = headers.get(header, query.get(parameter))
        if value is not None and any(part.strip() not in known for part in value.split(",")):
            return Refusal(
                400, "invalid_request", f"{parameter} must be one of {', '.join(sorted(known))}"
            )
    for header in ("X-SLNG-Agent-Id", "X-SLNG-Session-Id"):
        if header in headers and not _TRACKING_ID.fullmatch(headers[header]):
            return Refusal(400, "invalid_request", f"{header}: at most 128 characters, no comma")
    return None


def _query(target: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(target).query).items()}
