"""The other end of the control socket: what `ctl` asks the running service with."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import select
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from slng_edge.errors import ControlError, UsageError
from slng_edge.service.control_peers import Peer, peer_of, user_name
from slng_edge.service.path_steps import steps_to

ANSWER_TIMEOUT_S = 10.0

RELOAD_TIMEOUT_S = 30.0
"""The old loop stops within 4.5 s, and the new one opens its devices."""

_READ_BYTES = 65536
_ID = 1


class ServiceUnreachable(ControlError):
    """No service answers at the socket."""


class ControlConnection:
    """A connection to the service's control socket.

    Args:
        path: Where the socket is; `~` is the user's home.

    Raises:
        ServiceUnreachable: nothing listens there, or somebody who may not be the service.
        ControlError: this user may not connect.
        UsageError: the path cannot be one of a socket.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.expanduser(path)
        self._rest = b""
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(ANSWER_TIMEOUT_S)
        try:
            self._sock.connect(self._path)
            _require_service(peer_of(self._sock), self._path)
        except (OSError, ValueError) as error:
            self._sock.close()
            raise _not_connected(self._path, error) from error
        except ControlError:
            self._sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._sock.close()

    def ask(
        self, command: str, *, timeout_s: float = ANSWER_TIMEOUT_S, **arguments: Any
    ) -> dict[str, Any]:
        """The result of `command`; waits at most `timeout_s` for it.

        Raises:
            ServiceUnreachable: there was no answer.
            ControlError: the service refused, and says why.
        """
        request = json.dumps({"id": _ID, "command": command, **arguments}).encode() + b"\n"
        deadline = time.monotonic() + timeout_s
        # Refused before anything was asked, the reason can still be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._sock.sendall(request)
        while True:
            line = self._line(deadline)
            if line is None:
                raise ServiceUnreachable(f"the service at {self._path} ended before it answered")
            answer = self._decoded(line)
            if "ok" in answer and answer.get("id") in (_ID, None):
                break
        if answer["ok"]:
            result = answer.get("result")
            return result if isinstance(result, dict) else {}
        raise ControlError(str(answer.get("error")))

    def events(self) -> Iterator[str]:
        """Every event from now on, a JSON object each, until the service ends.

        Ends as well when nobody reads standard output any more.
        """
        self.ask("events")
        while (line := self._line(None)) is not None:
            yield line.decode("utf-8", "replace")

    def _line(self, deadline: float | None) -> bytes | None:
        """The next line; None at the end. Without a `deadline` it waits for as long as it takes.

        Raises:
            ServiceUnreachable: it did not come by `deadline`.
        """
        while b"\n" not in self._rest:
            try:
                data = self._read(deadline)
            except TimeoutError:
                raise ServiceUnreachable(
                    f"the service at {self._path} does not answer; see its log"
                ) from None
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _read(self, deadline: float | None) -> bytes:
        if deadline is None:
            _wait_for_either(self._sock)
        else:
            self._sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            return self._sock.recv(_READ_BYTES)
        except ConnectionResetError:
            return b""

    def _decoded(self, line: bytes) -> dict[str, Any]:
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(line)
            if isinstance(answer, dict):
                return answer
        raise ControlError(f"what answers at {self._path} is not slng-edge")


def _wait_for_either(sock: socket.socket) -> None:
    """Until `sock` can be read.

    Raises:
        BrokenPipeError: who reads standard output has gone.
    """
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    output = -1
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or no file
        output = sys.stdout.fileno()
        poll.register(output, 0)
    found = dict(poll.poll())
    if output in found and sock.fileno() not in found:
        raise BrokenPipeError("standard output is closed")


def _require_service(peer: Peer, path: str) -> None:
    """See that it is not a stranger who listens, where everybody may make files.

    Raises:
        ServiceUnreachable: it is neither root, nor this user, nor whose folder it is.
        ControlError: links lead in a circle.
        OSError: it has gone meanwhile.
    """
    if peer.uid in (0, os.geteuid()) or _is_at_home(peer, path):
        return
    raise ServiceUnreachable(
        f"{user_name(peer.uid)} listens at {path}, where others may make files too; nothing was "
        "sent\nif that is the service's user: ask as that one (sudo -u USER slng-edge ctl ...), or "
        "set control.socket to a path in a folder of its own (/run/slng-edge)"
    )


def _is_at_home(peer: Peer, path: str) -> bool:
    """Whether `peer` owns the socket's folder, or its group does, and it was not made, nor led
    to, from where everybody may make files."""
    *above, socket_file = steps_to(Path(path))
    for each in set(above) - {socket_file.parent}:
        mode = each.lstat().st_mode
        if mode & stat.S_IWOTH and not stat.S_ISLNK(mode):
            return False
    folder = socket_file.parent.lstat()
    if peer.uid == folder.st_uid:
        return True
    for_group = folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) == stat.S_IWGRP
    return for_group and folder.st_gid in peer.groups


def _not_connected(path: str, error: Exception) -> ControlError | UsageError:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            why = "there is no such socket"
        case ConnectionRefusedError() if _is_socket(path):
            why = "the service that made this socket has ended"
        case ConnectionRefusedError():
            return UsageError(f"{path} is not a socket")
        case PermissionError():
            return ControlError(_not_permitted(path))
        case BlockingIOError() | TimeoutError():
            return ServiceUnreachable(f"the service at {path} is busy and does not answer")
        case _:
            return UsageError(f"{path}: {getattr(error, 'strerror', None) or error}")
    return ServiceUnreachable(
        f"the service is not running: {why}: {path}\n"
        "start it (systemctl start slng-edge), or name its socket with --socket PATH"
    )


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _closed(path: str) -> tuple[os.stat_result | None, str]:
    """What keeps this user out, the socket or a folder above it, and its name; None for a folder
    that no group may enter."""
    for closed in (path, *map(str, Path(path).parents)):
        with contextlib.suppress(OSError):
            status = os.stat(closed)
            helps = closed == path or status.st_mode & stat.S_IXGRP
            return (status if helps else None), closed
    return None, path


def _not_permitted(path: str) -> str:
    status, what = _closed(path)
    if status is None:
        return f"permission denied: the folder of {path} is closed to this user"
    try:
        owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        owner, group = str(status.st_uid), str(status.st_gid)
    user = "$USER"
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(os.geteuid()).pw_name
    return (
        f"permission denied: {what} is for root, {owner} and the group {group}\n"
        f"sudo usermod -aG {group} {user}, and log in again"
    )
