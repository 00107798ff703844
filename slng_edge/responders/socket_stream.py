"""A TCP connection, with TLS or without, whose waits all end when nobody waits any more.

Neither `http.client` nor urllib3 or httpx can be stopped from another thread while they look a
name up, connect or shake hands. Here the socket never blocks: every wait is a `poll` in slices,
and between two of them is looked whether to stop. One thread uses a stream; `shutdown` may come
from any.
"""

from __future__ import annotations

import errno
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BufferedReader, RawIOBase
from typing import Any, TypeVar

from slng_edge.threads import start_thread

POLL_S = 0.05
"""How late it may be noticed that nobody waits any more."""
USER_TIMEOUT_MS = 5000
"""How long sent data may stay without acknowledgement before the kernel gives the connection up
(TCP_USER_TIMEOUT): a connection that a router has forgotten is found by this."""

HEAD_BYTES = 262_144
"""What a server or a proxy may send before the body of its answer."""

Stopped = Callable[[], bool]
T = TypeVar("T")


class Abandoned(Exception):
    """Nobody waits any more."""


class TookTooLong(OSError):
    """The deadline of a stream has passed."""


class NameNotAnswered(TookTooLong):
    """No name server has answered by then: nothing is known of the host itself."""


class TooMuchReceived(OSError):
    """The peer has sent more than it may."""


class SocketStream:
    """What `http.client.HTTPResponse` needs of a socket, and `sendall`.

    Attributes:
        deadline: `time.monotonic()` by which the next wait has to end.
        stopped: Whether nobody waits any more; asked every `POLL_S`.
        allowed_bytes: How much may still come.

    Raises, in every method that waits, also where it need not:
        Abandoned: `stopped` says so.
        TookTooLong: `deadline` has passed.
        OSError: the connection failed.
    """

    def __init__(self, deadline: float, stopped: Stopped) -> None:
        self.deadline = deadline
        self.stopped = stopped
        self.allowed_bytes = HEAD_BYTES
        self._sock = socket.socket()
        self._lock = threading.Lock()  # around what opens, closes or shuts down the descriptor

    def connect(self, host: str, port: int) -> None:
        """Connect to the first address of `host` that answers, each with a share of the time."""
        addresses = self._resolve(host, port)
        deadline = self.deadline
        failure: OSError = OSError(errno.EHOSTUNREACH, "the name has no address")
        for index, (family, kind, proto, _, address) in enumerate(addresses):
            now = time.monotonic()
            self.deadline = now + (deadline - now) / (len(addresses) - index)
            try:
                with self._lock:
                    self._sock.close()
                    self._sock = socket.socket(family, kind, proto)
                    self._sock.setblocking(False)
                self._connect_to(address)
            except OSError as error:
                failure = error
                continue
            self.deadline = deadline
            return
        raise failure

    def _connect_to(self, address: Any) -> None:
        sock = self._sock
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            self._wait(select.POLLOUT)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, errno.errorcode.get(code, "failed"))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Shake hands.

        Raises:
            ssl.SSLError: the certificate or the handshake is refused.
        """
        with self._lock:
            tls = context.wrap_socket(
                self._sock, server_hostname=host, do_handshake_on_connect=False
            )
            self._sock = tls
        self._repeat(tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        """Send all of `data`."""
        sent = 0
        while sent < len(data):
            sent += self._repeat(partial(self._sock.send, memoryview(data)[sent:]), select.POLLOUT)

    def recv_into(self, buffer: Any) -> int:
        """Bytes into `buffer`, at least one; 0 at the end.

        Raises:
            TooMuchReceived: more than `allowed_bytes` came.
        """
        try:
            size = self._repeat(partial(self._sock.recv_into, buffer))
        except ssl.SSLZeroReturnError:
            return 0
        self.allowed_bytes -= size
        if self.allowed_bytes < 0:
            raise TooMuchReceived(errno.EMSGSIZE, "it sends more than it may")
        return size

    def makefile(self, _mode: str) -> BufferedReader:
        """A reader of what comes; closing it leaves the connection open."""
        return BufferedReader(_Reader(self))

    def is_open(self) -> bool:
        """Whether a new request may go out on it: what has something to say has said goodbye."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return not poll.poll(0)

    def shutdown(self) -> None:
        """End the connection now; its owner closes it. Any thread, any number of times."""
        with self._lock, suppress(OSError):
            # Not SSLSocket's, which would drop the state that its reader uses.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the descriptor; only while nobody waits on it."""
        with self._lock:
            self._sock.close()

    def _repeat(self, call: Callable[[], T], direction: int = select.POLLIN) -> T:
        while True:
            self._left_s()  # who sends without a pause does not stretch a deadline
            try:
                return call()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                wants_read = isinstance(error, ssl.SSLWantReadError)
                direction = select.POLLIN if wants_read else select.POLLOUT
            except BlockingIOError:
                pass
            self._wait(direction)

    def _wait(self, direction: int) -> None:
        poll = select.poll()
        poll.register(self._sock, direction)
        while not poll.poll(min(POLL_S, self._left_s()) * 1000):
            pass

    def _left_s(self) -> float:
        if self.stopped():
            raise Abandoned
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise TookTooLong(errno.ETIMEDOUT, "the time is over")
        return left_s

    def _resolve(self, host: str, port: int) -> list[Any]:
        """The addresses of `host`, asked for anew each time.

        The C library's resolver cannot be interrupted, so it has a thread, which is left behind
        when nobody waits any more.

        Raises:
            NameNotAnswered: `deadline` has passed.
            OSError: there is no such name.
        """
        answers: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
            except OSError as error:
                answers.put(error)

        start_thread(threading.Thread(target=ask, name="resolve", daemon=True))
        while True:
            try:
                answer = answers.get(timeout=min(POLL_S, self._left_s()))
            except queue.Empty:
                continue
            except TookTooLong as error:
                raise NameNotAnswered(*error.args) from error
            if isinstance(answer, OSError):
                raise answer
            return answer


class _Reader(RawIOBase):
    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._stream.recv_into(buffer)
