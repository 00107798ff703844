"""A chat-completions server for tests, over plain sockets: it streams, stalls, errs, breaks off.

Each request is answered by the next of `answers`, the last one again and again. An answer is a
function of an `Exchange`, which sends bytes as they are, so that every wrong thing can be sent.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

PATIENCE_S = 10.0


@dataclass(frozen=True)
class Request:
    """What a client has sent; `connection` counts from 1."""

    connection: int
    line: str
    headers: dict[str, str]
    body: Any


class Exchange:
    """One request, to be answered."""

    def __init__(self, sock: socket.socket, request: Request, closing: threading.Event) -> None:
        self.request = request
        self.gone = threading.Event()
        self.broken_off = False
        self._sock = sock
        self._closing = closing

    def send(self, data: bytes) -> None:
        """Raw bytes; nothing where the client has gone."""
        try:
            self._sock.sendall(data)
        except OSError:
            self.gone.set()

    def head(self, *headers: str, status: str = "200 OK") -> None:
        """Status line and headers."""
        self.send("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode())

    def chunk(self, data: bytes) -> None:
        """A chunk of a chunked body; empty for its end."""
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def stall(self, seconds: float = PATIENCE_S) -> None:
        """Say nothing, until the client has gone or the server ends."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._closing.is_set() and not self.gone.is_set():
            if select.select([self._sock], [], [], 0.01)[0]:
                with suppress(OSError):
                    if self._sock.recv(1):
                        continue
                self.gone.set()

    def break_off(self) -> None:
        """End the connection; what stands in it is not read."""
        self.broken_off = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


Reply = Callable[[Exchange], None]


def delta(text: str | None, **more: Any) -> bytes:
    """One event of a stream."""
    choice = {"index": 0, "delta": {"content": text, **more}, "finish_reason": None}
    value = {"object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def streamed(*words: str, pause_s: float = 0.0) -> Reply:
    """As a real one does: word by word, the end, `[DONE]`."""
    return events(*map(delta, words), FINISH, DONE, pause_s=pause_s)


def events(*parts: bytes, pause_s: float = 0.0, kind: str = "text/event-stream") -> Reply:
    """Each of `parts` as a chunk."""

    def reply(exchange: Exchange) -> None:
        exchange.head(f"Content-Type: {kind}", "Transfer-Encoding: chunked")
        for part in parts:
            if exchange.gone.is_set():
                return
            exchange.chunk(part)
            if pause_s:
                time.sleep(pause_s)
        exchange.chunk(b"")

    return reply


def document(value: Any, *headers: str, status: str = "200 OK") -> Reply:
    """JSON, or text as it is, with its length."""

    def reply(exchange: Exchange) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        kind = "text/html" if body.startswith(b"<") else "application/json"
        length = f"Content-Length: {len(body)}"
        exchange.head(f"Content-Type: {kind}", length, *headers, status=status)
        exchange.send(body)

    return reply


def raw(*parts: bytes) -> Reply:
    """Bytes as they are, and then the end of the connection."""

    def reply(exchange: Exchange) -> None:
        for part in parts:
            exchange.send(part)
        exchange.break_off()

    return reply


def stalls(*parts: bytes, head: bool = True) -> Reply:
    """Begins, and says no more."""

    def reply(exchange: Exchange) -> None:
        if head:
            exchange.head("Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        for part in parts:
            exchange.chunk(part)
        exchange.stall()

    return reply


class ChatServer:
    """Listens on loopback; use it in a `with`."""

    def __init__(self, *answers: Reply, context: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers) or [streamed("Hello", " there.")]
        self.requests: list[Request] = []
        self.exchanges: list[Exchange] = []
        self._context = context
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> ChatServer:
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join(PATIENCE_S)
        self._listener.close()

    @property
    def bodies(self) -> list[Any]:
        """What was asked."""
        return [request.body for request in self.requests]

    def client_has_gone(self, timeout_s: float = 2.0) -> bool:
        """Whether the client has left the last exchange, waiting for it."""
        return bool(self.exchanges) and self.exchanges[-1].gone.wait(timeout_s)

    def is_asked(self, times: int = 1, timeout_s: float = 2.0) -> bool:
        """Whether so many requests have come, waiting for them."""
        until = time.monotonic() + timeout_s
        while len(self.exchanges) < times and time.monotonic() < until:
            time.sleep(0.005)
        return len(self.exchanges) >= times

    def _start(self, run: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=run, args=args, name="chat-server")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        connections = 0
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # the server ends
            connections += 1
            self._start(self._serve, sock, connections)

    def _serve(self, sock: socket.socket, connection: int) -> None:
        with suppress(OSError), sock:
            sock.settimeout(PATIENCE_S)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with sock:
                exchange: Exchange | None = None
                while exchange is None or not exchange.broken_off:
                    if (request := self._read(sock, connection)) is None:
                        return
                    exchange = Exchange(sock, request, self._closing)
                    answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
                    self.requests.append(request)
                    self.exchanges.append(exchange)
                    answer(exchange)

    def _read(self, sock: socket.socket, connection: int) -> Request | None:
        data = b""
        for received in self._receive(sock):
            data += received
            if not data.startswith(b"POST"[: len(data)]) and not data.startswith(b"CONNECT"):
                return None  # TLS where none is spoken
            head, end, body = data.partition(b"\r\n\r\n")
            if not end:
                continue
            line, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (h.partition(": ") for h in lines)}
            if len(body) >= int(headers.get("content-length", 0)):
                return Request(connection, line, headers, json.loads(body) if body else None)
        return None

    def _receive(self, sock: socket.socket) -> Iterator[bytes]:
        while not self._closing.is_set():
            pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
            if not pending and not select.select([sock], [], [], 0.02)[0]:
                continue
            data = sock.recv(65536)
            if not data:
                return
            yield data


@contextmanager
def silent_listener() -> Iterator[int]:
    """A port where connections are taken, and nobody speaks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@contextmanager
def full_listener() -> Iterator[int]:
    """A port that answers no connection: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = int(listener.getsockname()[1])
        held = [socket.socket() for _ in range(4)]
        for sock in held:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        time.sleep(0.02)
        yield port
        for sock in held:
            sock.close()


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def joined(pieces: Iterable[str]) -> str:
    """All of a reply."""
    return "".join(pieces)
