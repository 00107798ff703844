"""What a line on the control socket asks for: bytes in, a typed command out.

A request is one JSON object a line: ``{"id": 1, "command": "say", "text": "Hello."}``. `id` is
a string, a number or null, and comes back in the answer. Nothing here touches a socket.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeAlias

from slng_edge.errors import ControlError

REQUEST_LIMIT_BYTES = 65536
"""The longest request, its line break left out: contract, "Control socket"."""

VOLUME_LIMIT_PERCENT = 200.0
"""Twice as loud as it comes: what the playback takes, a gain of 2."""

RequestId: TypeAlias = str | int | float | None


class BadRequest(ControlError):
    """A request is not what can be asked for; `id` is its own, where that could be read."""

    def __init__(self, message: str, id: RequestId = None) -> None:
        super().__init__(message)
        self.id = id


@dataclass(frozen=True)
class Status:
    """How it is."""


@dataclass(frozen=True)
class Wake:
    """Listen now, as after a wake word."""


@dataclass(frozen=True)
class Stop:
    """Silence the reply, or give up what is under way."""


@dataclass(frozen=True)
class Mute:
    """Hear nothing."""


@dataclass(frozen=True)
class Unmute:
    """Hear again."""


@dataclass(frozen=True)
class Volume:
    """Set the volume, 100 being as it comes; None asks for it."""

    percent: float | None = None


@dataclass(frozen=True)
class Say:
    """Speak `text`, after the turn under way or `now`."""

    text: str
    now: bool = False


@dataclass(frozen=True)
class Ask:
    """Answer `text` as if it had been spoken."""

    text: str


@dataclass(frozen=True)
class Events:
    """Send every event from now on."""


@dataclass(frozen=True)
class Reload:
    """Read the configuration again."""


Command: TypeAlias = Status | Wake | Stop | Mute | Unmute | Volume | Say | Ask | Events | Reload

COMMANDS: Mapping[str, Callable[..., Command]] = {
    "status": Status,
    "wake": Wake,
    "stop": Stop,
    "mute": Mute,
    "unmute": Unmute,
    "volume": Volume,
    "say": Say,
    "ask": Ask,
    "events": Events,
    "reload": Reload,
}
"""Each command by its name on the wire; its fields are the arguments it takes."""


@dataclass(frozen=True)
class Request:
    """One request: what is asked, and the `id` that its answer carries."""

    id: RequestId
    command: Command


class RequestLines:
    """Cuts what comes in into lines, and holds no more of one than a request may be long."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    @property
    def incomplete(self) -> bool:
        """Whether a line has begun and not ended; one that is skipped counts."""
        return bool(self._rest) or self._skipping

    def receive(self, data: bytes) -> list[bytes | None]:
        """The lines that `data` completes, without their ends.

        Returns:
            None stands for a line that is too long, once, as soon as that is known; what is
            left of it is skipped.
        """
        lines: list[bytes | None] = []
        *ended, rest = data.split(b"\n")
        for piece in ended:
            lines += self._add(piece)
            if not self._skipping:
                lines.append(self._rest)
            self._rest, self._skipping = b"", False
        lines += self._add(rest)
        return lines

    def receive_end(self) -> list[bytes | None]:
        """The last line, where the peer did not end it."""
        rest, self._rest, self._skipping = self._rest, b"", False
        return [rest] if rest else []

    def _add(self, piece: bytes) -> list[bytes | None]:
        if self._skipping:
            return []
        self._rest += piece
        if len(self._rest) <= REQUEST_LIMIT_BYTES:
            return []
        self._rest, self._skipping = b"", True
        return [None]


def parse_request(line: bytes | None, *, version: str = "") -> Request:
    """The request in `line`, a line of `RequestLines`.

    Args:
        line: Without its end; None is one that was too long.
        version: Who we are, for whoever asks what this version does not know.

    Raises:
        BadRequest: It is too long, not JSON, not an object, has no command or an unknown one,
            or its arguments are missing, unknown or of a wrong type.
    """
    if line is None:
        raise BadRequest(f"a request may have at most {REQUEST_LIMIT_BYTES} bytes")
    data = _decoded(line)
    id = _id_of(data)
    try:
        return Request(id, _command_of(data, version))
    except BadRequest as error:
        error.id = id
        raise


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise BadRequest("the request is nested too deeply") from error
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError, int() of many digits
        raise BadRequest("the request is not JSON: send one object a line, in UTF-8") from error
    if not isinstance(data, dict):
        raise BadRequest('the request is not a JSON object such as {"id": 1, "command": "status"}')
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _id_of(data: Mapping[str, Any]) -> RequestId:
    id = data.get("id")
    if isinstance(id, float) and not math.isfinite(id):  # 1e999 is JSON, and too large
        raise BadRequest("id is too large a number")
    if id is None or (isinstance(id, str | int | float) and not isinstance(id, bool)):
        return id
    raise BadRequest("id must be a string or a number")


def _command_of(data: Mapping[str, Any], version: str) -> Command:
    name = data.get("command")
    if not isinstance(name, str):
        raise BadRequest(f"command must be one of {', '.join(COMMANDS)}")
    if name not in COMMANDS:
        who = f"slng-edge {version}" if version else "this version"
        raise BadRequest(f"unknown command {_short(name)}: {who} knows {', '.join(COMMANDS)}")
    build = COMMANDS[name]
    known = {field.name: field for field in fields(build)}  # type: ignore[arg-type]
    arguments = {key: value for key, value in data.items() if key not in ("id", "command")}
    for key, value in arguments.items():
        if key not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise BadRequest(f"{name} has no argument {_short(key)}: {takes}")
        problem = _CHECKS[key](value)
        if problem:
            raise BadRequest(f"{name}: {key} {problem}")
    for key, field in known.items():
        if field.default is MISSING and key not in arguments:
            raise BadRequest(f"{name} needs {key}")
    return build(**arguments)


def _short(name: str) -> str:
    return ascii(name if len(name) <= 40 else f"{name[:40]}…")


def _text_problem(value: Any) -> str:
    if not isinstance(value, str):
        return "must be a string"
    if not value.strip():
        return "must not be empty"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write
        return "is not Unicode text"
    return ""


def _flag_problem(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _percent_problem(value: Any) -> str:
    if value is None:
        return ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and 0 <= value <= VOLUME_LIMIT_PERCENT:
        return ""
    return f"must be a number from 0 to {VOLUME_LIMIT_PERCENT:g}"


_CHECKS: Mapping[str, Callable[[Any], str]] = {
    "text": _text_problem,
    "now": _flag_problem,
    "percent": _percent_problem,
}
