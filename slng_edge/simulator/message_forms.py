"""How messages look on the wire, right and wrong."""

from __future__ import annotations

import json
from typing import Any

BROKEN = (
    '{"type":"final_tran',
    "[1, 2, 3]",
    '{"transcript":"a message without a type"}',
    '{"type":"surprise","data":null}',
    '{"type":42}',
)
"""What `malformed_json` sends, in turn."""

_STATUS_OF_CODE = {
    "auth_error": 401,
    "config_error": 400,
    "invalid_request": 400,
    "payload_too_large": 413,
    "rate_limit": 429,
    "rate_limit_exceeded": 429,
    "idle_timeout_exceeded": 408,
    "max_connection_duration_exceeded": 408,
    "not_ready": 503,
    "backpressure": 503,
    "provider_error": 502,
    "backend_error": 502,
    "backend_connection_failed": 502,
    "translation_error": 500,
}
"""protocol.md, section 7."""


def numeric_code(code: str) -> int:
    """The number that an error's code is said to be with `numeric_error`."""
    return int(code) if code.isdigit() else _STATUS_OF_CODE.get(code, 500)


def huge_message(kilobytes: int) -> dict[str, Any]:
    """A valid message of that size, of a type that says nothing."""
    return {"type": "metadata", "padding": "x" * (kilobytes * 1024)}


def decode_message(message: str | bytes) -> dict[str, Any] | str | bytes:
    """A JSON object with a type; what is neither that nor binary stays the text it is."""
    if isinstance(message, bytes):
        return message
    try:
        decoded = json.loads(message)
    except ValueError:
        return message
    if isinstance(decoded, dict) and isinstance(decoded.get("type"), str):
        return decoded
    return message
