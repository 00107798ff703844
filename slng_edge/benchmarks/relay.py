"""A TCP relay that counts, so that bytes on the socket are what the kernel saw of them."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_READ_BYTES = 65536


class CountingRelay:
    """Stands before a gateway on this machine; a context manager.

    Args:
        url: The gateway's `ws://HOST:PORT`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._sent: dict[str, int] = {}
        self._listening = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self._listening.getsockname()[1]}"

    def bytes_sent(self, path_part: str) -> int:
        """Bytes that clients sent on connections whose path contains `path_part`.

        WebSocket frames and the upgrade are included.
        """
        with self._lock:
            return sum(count for path, count in self._sent.items() if path_part in path)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="relay-accept", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            sockets = [self._listening, *self._sockets]
        for each in sockets:
            with contextlib.suppress(OSError):  # the other side may have gone first
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def answered(self, path: str, data: bytes) -> None:
        """What the gateway sent on a connection to `path`; for who observes. Its own thread."""

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the end: the listening socket was closed
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._target)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets += [client, server]
                threading.Thread(
                    target=self._ask, args=(client, server), name="relay-ask", daemon=True
                ).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either side has gone
            data = client.recv(_READ_BYTES)
            path = data.split(b" ", 2)[1].decode(errors="replace") if data else ""
            threading.Thread(
                target=self._answer, args=(client, server, path), name="relay-answer", daemon=True
            ).start()
            while data:
                with self._lock:
                    self._sent[path] = self._sent.get(path, 0) + len(data)
                server.sendall(data)
                data = client.recv(_READ_BYTES)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket, path: str) -> None:
        with contextlib.suppress(OSError):  # either side has gone
            while data := server.recv(_READ_BYTES):
                client.sendall(data)
                self.answered(path, data)
            client.shutdown(socket.SHUT_WR)
