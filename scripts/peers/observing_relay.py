"""A TCP relay before the gateway: what clients sent, and when their sessions were ready."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

READY = b'"ready"'
SESSIONS = frozenset({"stt", "tts"})


class ObservingRelay:
    """Bytes a client sent on each session; when `ready` came back. A context manager.

    Args:
        url: The gateway's `ws://HOST:PORT`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._changed = threading.Condition()
        self._sockets: list[socket.socket] = []
        self._sent: dict[str, int] = {}
        self._ready_at: dict[str, float] = {}
        self._listening = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        """Where the client connects."""
        return f"ws://127.0.0.1:{self._listening.getsockname()[1]}"

    def bytes_sent(self, session: str) -> int:
        """Bytes the client sent on "stt" or "tts", WebSocket frames and upgrade included."""
        with self._changed:
            return self._sent.get(session, 0)

    def wait_ready(self, timeout_s: float) -> float | None:
        """When (`time.monotonic()`) the second session was ready; None: not in time."""
        with self._changed:
            self._changed.wait_for(lambda: set(self._ready_at) >= SESSIONS, timeout_s)
            if not set(self._ready_at) >= SESSIONS:
                return None
            return max(self._ready_at.values())

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="relay-accept", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            sockets = [self._listening, *self._sockets]
        for each in sockets:
            with contextlib.suppress(OSError):  # the other side may have gone first
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the end: the listening socket was closed
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._target)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._changed:
                    self._sockets += [client, server]
                threading.Thread(
                    target=self._serve, args=(client, server), name="relay", daemon=True
                ).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either side has gone
            request = client.recv(65536)
            session = "tts" if b"/tts/" in request.split(b"\r\n", 1)[0] else "stt"
            back = threading.Thread(
                target=self._receive, args=(server, client, session), name="relay", daemon=True
            )
            back.start()
            data = request
            while data:
                with self._changed:
                    self._sent[session] = self._sent.get(session, 0) + len(data)
                server.sendall(data)
                data = client.recv(65536)
            server.shutdown(socket.SHUT_WR)

    def _receive(self, server: socket.socket, client: socket.socket, session: str) -> None:
        seen = b""
        with contextlib.suppress(OSError):  # either side has gone
            while data := server.recv(65536):
                client.sendall(data)
                if session not in self._ready_at:
                    seen += data
                    if READY in seen:
                        with self._changed:
                            self._ready_at[session] = time.monotonic()
                            self._changed.notify_all()
            client.shutdown(socket.SHUT_WR)
