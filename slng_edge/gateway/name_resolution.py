"""Looking a host name up, with a deadline and without getting stuck.

The C library's resolver keeps to limits of its own (up to a minute where no server answers) and
cannot be interrupted, so it runs in a thread that is left behind when nobody waits any more.
"""

from __future__ import annotations

import errno
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from slng_edge.threads import start_thread

POLL_S = 0.1
"""How late an abort may be noticed."""

Address: TypeAlias = tuple[int, int, int, str, Any]
"""Family, kind, protocol, canonical name, address: as `socket.getaddrinfo` gives them."""


class NameNotAnswered(TimeoutError):
    """No name server has answered in time: nothing is known of the host itself."""


def resolve(host: str, port: int, *, deadline: float, aborted: Callable[[], bool]) -> list[Address]:
    """The addresses of `host`, asked for anew each time: DHCP may have moved it.

    Args:
        host: Name or address.
        port: TCP port.
        deadline: `time.monotonic()` until which an answer is waited for.
        aborted: Whether nobody waits any more; asked every `POLL_S`.

    Raises:
        NameNotAnswered: no answer in time.
        OSError: there is no such name, or it was aborted.
    """
    answers: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except OSError as error:
            answers.put(error)

    if not aborted():
        start_thread(threading.Thread(target=ask, name="resolve", daemon=True))
    while time.monotonic() < deadline:
        if aborted():
            raise OSError(errno.ECONNABORTED, "stopped while connecting")
        try:
            answer = answers.get(timeout=POLL_S)
        except queue.Empty:
            continue
        if isinstance(answer, OSError):
            raise answer
        return answer
    raise NameNotAnswered(errno.ETIMEDOUT, "no answer in time")
