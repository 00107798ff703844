"""The gateway's TCP sockets: all are known, and each can be cut the way networks cut them."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

_LINGER_RESET = struct.pack("ii", 1, 0)
_HUNG_UP = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_LOOK_MS = 50
"""How soon a frozen connection sees that it is to end, by the gateway or by its peer."""

_READ_BYTES = 65536
_SLOW_READS_A_SECOND = 10
_SLOW_BUFFER_BYTES = 32768
"""With less the kernel closes its window at each message, and tries again 200 ms later."""


class ConnectionSocket:
    """One accepted connection, plain or TLS.

    It stands where a `socket.socket` would (`recv`, `sendall`, `fileno`, …) and adds `reset` and
    the other ways to fail. The TLS handshake runs by itself on the first `recv`, so that
    accepting never waits for it.

    Attributes:
        withheld: Whether something was not sent, for a freeze's or a reset's sake.
        closed: Set when the descriptor is.
    """

    def __init__(self, raw: socket.socket, ssl_context: ssl.SSLContext | None) -> None:
        self._raw = raw
        if ssl_context is not None:
            self._raw = ssl_context.wrap_socket(
                raw, server_side=True, do_handshake_on_connect=False
            )
        self._resetting = self._shut = self._frozen = self._swallowing = self._cutting = False
        self._sending = self.withheld = False
        self._bytes_per_s = 0
        self._released = threading.Event()
        self.closed = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def recv(self, size: int) -> bytes:
        """As a socket's; frozen, it waits for the peer to hang up."""
        if self._bytes_per_s and not isinstance(self._raw, ssl.SSLSocket):
            # a TLS record is read whole: `select` does not see what OpenSSL still holds
            size = min(size, max(64, self._bytes_per_s // _SLOW_READS_A_SECOND))
        data = b"" if self._frozen else self._raw.recv(size)
        if self._bytes_per_s:
            self._released.wait(len(data) / self._bytes_per_s)
        if self._frozen:
            self._wait_for_hang_up()
            return b""
        return data

    def sendall(self, data: bytes) -> None:
        """As a socket's; frozen or muted, it forgets `data`; a frame to be cut ends halfway."""
        self._sending = True
        try:
            if self._frozen or self._resetting:
                self.withheld = True
                return
            if self._cutting:
                self._raw.sendall(data[: max(1, len(data) // 2)])
                raise OSError("cut in the middle of a frame, on demand")
            self._raw.sendall(data)
        finally:
            self._sending = False

    def shutdown(self, how: int) -> None:
        """As a socket's, but without a FIN once a reset was asked for."""
        self._shut = True
        if not self._resetting:
            socket.socket.shutdown(self._raw, how)

    def close(self) -> None:
        """Close the descriptor; the last user does that, never another thread."""
        self._released.set()
        self._raw.close()
        self.closed.set()

    def wake(self) -> None:
        """End every pending `recv` and `sendall`. Any thread, any number of times."""
        self._released.set()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._raw, socket.SHUT_RDWR)

    def mute(self) -> None:
        """Send nothing more, no farewell either: whoever closes it now resets it. Any thread."""
        with contextlib.suppress(OSError):  # it is closed already
            self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._resetting = True

    def reset(self, timeout_s: float = 0.2) -> None:
        """Drop the connection with a TCP RST, without a FIN or a TLS farewell before it.

        The reader is woken and closes the descriptor, which sends the RST; where a `sendall` is
        stuck behind a peer that does not read, it is ended by force after `timeout_s`, the
        longest wait. Any thread.
        """
        self.mute()
        try:
            socket.socket.shutdown(self._raw, socket.SHUT_RD)
        except OSError:
            return  # it is closed already
        self._released.set()
        # By force is with a FIN: harmless behind bytes that nobody reads, else no reset.
        if not self.closed.wait(timeout_s) and self._sending:
            self.wake()

    # ---- faults ---------------------------------------------------------------------------

    def freeze(self, *, swallow: bool) -> None:
        """Be the socket of a process that froze: nothing is read, and nothing is sent any more.

        It lasts until the peer hangs up or the gateway ends it.

        Args:
            swallow: Read and forget what comes, as a kernel with room would acknowledge it;
                without it the peer's TCP fills.
        """
        self._swallowing = swallow
        self._frozen = True
        if not swallow:
            self._shrink_buffer(0)

    def slow_down(self, bytes_per_s: int) -> None:
        """Read no faster than that from now on."""
        self._bytes_per_s = bytes_per_s
        self._shrink_buffer(_SLOW_BUFFER_BYTES)

    def cut_next_frame(self) -> None:
        """Send only half of what is sent next; sending it raises an OSError."""
        self._cutting = True

    def occupies(self) -> bool:
        """Whether it stands: neither side has ended it, and it is not frozen. Any thread.

        A frozen one never learns that its peer is gone while bytes stand before the farewell.
        """
        descriptor = self._raw.fileno()
        if self._shut or self._resetting or self._frozen or descriptor < 0:
            return False
        poller = select.poll()
        poller.register(descriptor, _HUNG_UP)
        return not poller.poll(0)

    def _shrink_buffer(self, size: int) -> None:
        # Otherwise the kernel takes megabytes before the peer feels anything.
        with contextlib.suppress(OSError):
            self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def _wait_for_hang_up(self) -> None:
        descriptor = self._raw.fileno()
        if descriptor < 0:
            return
        poller = select.poll()
        poller.register(descriptor, _HUNG_UP | (select.POLLIN if self._swallowing else 0))
        while not self._released.is_set():
            found = poller.poll(_LOOK_MS)
            if not found:
                continue
            if not found[0][1] & select.POLLIN:
                return
            # past TLS: what it says is of no interest
            if not socket.socket.recv(self._raw, _READ_BYTES):
                return


class ListeningSocket(socket.socket):
    """A listening TCP socket that knows the connections it accepted.

    Args:
        host: The address to listen on.
        port: The port, 0 for any free one.
        tls: Asked at each connection; gives the context, or None for none.

    Raises:
        OSError: the address cannot be had.
    """

    def __init__(self, host: str, port: int, tls: Callable[[], ssl.SSLContext | None]) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        super().__init__(family, kind, protocol)
        self._tls = tls
        self._lock = threading.Lock()
        self._accepted: set[ConnectionSocket] = set()
        self._closing = False
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(address)
            self.listen(64)
        except OSError:
            self.close()
            raise

    def accept(self) -> tuple[Any, Any]:
        """The next connection; an OSError ends the accept loop, and comes only from `stop`."""
        while True:
            raw, address = super().accept()
            try:
                connection = ConnectionSocket(raw, self._tls())
            except OSError:
                # the peer was gone before TLS began
                raw.close()
                continue
            with self._lock:
                if self._closing:
                    connection.close()
                    raise OSError("the gateway is closing")
                self._accepted = {known for known in self._accepted if not known.closed.is_set()}
                self._accepted.add(connection)
            return connection, address

    def open_connections(self) -> list[ConnectionSocket]:
        """Those that are not closed yet, the ones still in their handshake included."""
        with self._lock:
            return [known for known in self._accepted if not known.closed.is_set()]

    def stop(self) -> None:
        """Accept nothing more."""
        with self._lock:
            self._closing = True
