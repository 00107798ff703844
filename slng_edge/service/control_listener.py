"""The control socket's file: made, taken over from a dead process, removed."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from pathlib import Path

from slng_edge.errors import ControlError
from slng_edge.service.control_peers import OVERFLOW_ID, sees_all_users
from slng_edge.service.path_steps import steps_to

SOCKET_MODE = 0o660
"""Contract, "Control socket"."""

FOLDER_MODE = 0o755
"""Of a folder that is made for it: the group may connect, and so has to come this far."""

BACKLOG = 128
"""Who connects when so many wait gets EAGAIN instead of an answer."""

_PROBE_TIMEOUT_S = 1.0


class _OthersMayWrite(ControlError):
    """Somebody else could put a socket in the place of ours, and be taken for us."""


class _OfAnotherUser(_OthersMayWrite):
    """It is for somebody else's service."""


class ControlListener:
    """A listening Unix socket at `path`, which is there for as long as this is.

    Args:
        path: Where; `~` is the home of the service's user. Its folder is made where it can be.

    Raises:
        ControlError: the socket cannot be made. The message says why, and what to do.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.expanduser(path)
        try:
            self._sock = _listening(self.path)
        except (OSError, ValueError, ControlError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ControlError(
                f"cannot make the control socket {self.path}: {reason}; {_advice(error)}"
            ) from error
        self._identity = _identity(self.path)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def accept(self) -> socket.socket | None:
        """Whoever connected next; None where nobody did, or is gone again. Never waits.

        Raises:
            OSError: there is no descriptor or memory left for it.
        """
        try:
            return self._sock.accept()[0]
        except (BlockingIOError, ConnectionAbortedError):
            return None

    def close(self) -> None:
        """Stop listening, and remove the file where it is still this socket's; idempotent."""
        if self._sock.fileno() < 0:
            return
        if _identity(self.path) == self._identity:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        self._sock.close()


def _listening(path: str) -> socket.socket:
    folder = Path(path).parent
    steps = list(steps_to(folder))  # a circle is said to be one, and not that it is there already
    missing = [each for each in steps if not os.path.lexists(each)]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _require_own(folder)
    except _OfAnotherUser:
        # The unit's folder, and root starts a second one: what is wrong is that the first runs.
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):  # a link of theirs leads anywhere
                _require_nobody(path)
        raise
    # Whatever the umask made of them. Only now: what a stranger put there is not to be opened.
    for each in missing:
        each.chmod(FOLDER_MODE)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind(sock, path)
        # Before `listen`: until then nobody can connect, whatever the umask made of it.
        os.chmod(path, SOCKET_MODE)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _require_own(folder: Path) -> None:
    """See that nobody but root, this user and its group may rename or replace what is in it.

    Raises:
        ControlError: `folder`, or one on the way to it, is writable by others. A sticky one is
            not: there only the owner replaces a file. Or a link on the way is another user's.
    """
    for each in dict.fromkeys(steps_to(folder)):
        status = each.lstat()
        mode = status.st_mode
        free = 0 if mode & stat.S_ISVTX or stat.S_ISLNK(mode) else mode
        stranger = status.st_uid not in (0, os.geteuid())
        if status.st_uid == OVERFLOW_ID and not sees_all_users():
            stranger = False  # as well root's: it cannot be told here
        if stranger:
            raise _OfAnotherUser(f"{each} belongs to another user")
        group = free & stat.S_IWGRP and status.st_gid not in (0, os.getegid())
        if free & stat.S_IWOTH or group:
            raise _OthersMayWrite(
                f"{each} can be written by others (mode {stat.S_IMODE(mode):04o})"
            )


def _bind(sock: socket.socket, path: str) -> None:
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        _remove_dead(path)
        sock.bind(path)


def _remove_dead(path: str) -> None:
    """Remove the socket of a process that has ended.

    Raises:
        ControlError: something answers there, or it is no socket.
    """
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise ControlError("there is another file, which is no socket")
    _require_nobody(path)
    os.unlink(path)


def _require_nobody(path: str) -> None:
    """See that no process listens there.

    Raises:
        ControlError: one does.
        OSError: nothing is there, or this user may not connect.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return
        except (BlockingIOError, TimeoutError):  # it listens, and is slow to accept
            raise ControlError("another process listens there") from None
        raw = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        raise ControlError(f"process {struct.unpack('3i', raw)[0]} listens there")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _advice(error: Exception) -> str:
    if isinstance(error, _OthersMayWrite):
        return (
            "they could put a socket of theirs in its place; change that (chmod go-w), or set "
            "control.socket to another path"
        )
    if isinstance(error, ControlError):
        return "end or remove that one, or set control.socket to another path"
    return (
        'set control.socket to a path that this user may write, or to "" for none '
        "(the unit makes /run/slng-edge with RuntimeDirectory=)"
    )
