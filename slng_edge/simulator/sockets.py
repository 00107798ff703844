"""The gateway's TCP sockets: all are known, and each can be cut the way networks cut them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from typing import Any

_LINGER_RESET = struct.pack("ii", 1, 0)


class ConnectionSocket:
    """One accepted connection, plain or TLS.

    It stands where a `socket.socket` would (`recv`, `sendall`, `fileno`, …) and adds `reset`.
    The TLS handshake runs by itself on the first `recv`, so that accepting never waits for it.
    """

    def __init__(self, raw: socket.socket, ssl_context: ssl.SSLContext | None) -> None:
        self._raw = raw
        if ssl_context is not None:
            self._raw = ssl_context.wrap_socket(
                raw, server_side=True, do_handshake_on_connect=False
            )
        self._resetting = False
        self.closed = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def shutdown(self, how: int) -> None:
        """As a socket's, but without a FIN once a reset was asked for."""
        if not self._resetting:
            socket.socket.shutdown(self._raw, how)

    def close(self) -> None:
        """Close the descriptor; the last user does that, never another thread."""
        self._raw.close()
        self.closed.set()

    def wake(self) -> None:
        """End every pending `recv` and `sendall`. Any thread, any number of times."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._raw, socket.SHUT_RDWR)

    def reset(self, timeout_s: float = 0.2) -> None:
        """Drop the connection with a TCP RST, without a FIN or a TLS farewell before it.

        The reader is woken and closes the descriptor, which sends the RST; where it is stuck
        behind a peer that does not read, it is woken by force after `timeout_s`. Any thread.
        """
        self._resetting = True
        try:
            self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            socket.socket.shutdown(self._raw, socket.SHUT_RD)
        except OSError:
            return  # it is closed already
        if not self.closed.wait(timeout_s):
            self.wake()


class ListeningSocket(socket.socket):
    """A listening TCP socket that knows the connections it accepted.

    Args:
        host: The address to listen on.
        port: The port, 0 for any free one.
        ssl_context: For TLS.

    Raises:
        OSError: the address cannot be had.
    """

    def __init__(self, host: str, port: int, ssl_context: ssl.SSLContext | None) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        super().__init__(family, kind, protocol)
        self._ssl_context = ssl_context
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
                connection = ConnectionSocket(raw, self._ssl_context)
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
