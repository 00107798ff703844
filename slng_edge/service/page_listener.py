"""The status page's address: looked up, bound, and listened at."""

from __future__ import annotations

import contextlib
import socket

from slng_edge.errors import ControlError
from slng_edge.service.page_access import is_loopback

BACKLOG = 128
"""Who connects while so many wait tries again by itself, after a second."""

SEND_BUFFER_BYTES = 65536
"""Of the kernel, for each browser. Without a bound it holds 4 MB for one that does not read, which
count as memory of the service."""


def listen_at(address: str, *, has_token: bool) -> socket.socket:
    """A socket that listens at `address`, HOST:PORT; waits for the name server where it must.

    Raises:
        ControlError: it cannot be had, or can be reached from other machines without a token.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # A name for both, as "localhost" is, is asked for by either: IPv4 is everywhere.
        family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        if not has_token and not is_loopback(str(where[0])):
            raise ControlError(
                f"status_page.listen = {address} can be reached from other machines; "
                "set status_page.token_file"
            )
        return _bound(family, where)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ControlError(f"cannot listen on {address} for the status page: {reason}") from error


def accept(listener: socket.socket) -> socket.socket | None:
    """Whoever connected next; None where nobody did, or is gone again. Never waits.

    Raises:
        OSError: there is no descriptor or memory left for it.
    """
    with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
        sock = listener.accept()[0]
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        return sock
    return None


def _bound(family: int, where: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Else an upgrade cannot listen again for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)  # type: ignore[arg-type]
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
