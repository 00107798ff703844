"""What came in on a command topic: a topic and bytes in, a typed command out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from slng_edge.service.control_requests import (
    REQUEST_LIMIT_BYTES,
    BadRequest,
    Command,
    parse_request,
)

ALLOWED = ("wake", "stop", "mute", "unmute", "volume", "say")
"""What a broker may ask for: nothing that reads, and nothing that changes the configuration."""

_SWITCH = {
    "on": "mute",
    "1": "mute",
    "true": "mute",
    "": "mute",
    "off": "unmute",
    "0": "unmute",
    "false": "unmute",
}


def command_in(name: str, payload: bytes) -> Command:
    """The command that a message asks for.

    Args:
        name: What follows "PREFIX/command/": the command, and `payload` is its argument; or ""
            for "PREFIX/command", where `payload` is a command's name or a JSON object as on the
            control socket.
        payload: As it came.

    Raises:
        BadRequest: it is none, or none that may be asked for this way.
    """
    if len(payload) > REQUEST_LIMIT_BYTES:
        raise BadRequest(f"a command may have at most {REQUEST_LIMIT_BYTES} bytes")
    try:
        text = payload.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise BadRequest("the command is not UTF-8") from error
    if name:
        return _command(_with_argument(name, text))
    if not text.startswith("{"):
        return _command({"command": text})
    return _parsed(text)


def _with_argument(name: str, text: str) -> Mapping[str, Any]:
    match name:
        case "mute":
            if text.lower() not in _SWITCH:
                raise BadRequest("mute takes ON or OFF")
            return {"command": _SWITCH[text.lower()]}
        case "volume":
            try:
                return {"command": name, "percent": float(text)}
            except ValueError as error:
                raise BadRequest("volume takes a number from 0 to 200") from error
        case "say":
            return {"command": name, "text": text}
        case _:
            return {"command": name}


def _command(request: Mapping[str, Any]) -> Command:
    return _parsed(json.dumps(request))


def _parsed(text: str) -> Command:
    command = parse_request(text.encode("utf-8", "replace")).command
    name = type(command).__name__.lower()
    if name not in ALLOWED:
        raise BadRequest(f"{name} cannot be asked for here: {', '.join(ALLOWED)} can")
    return command
