"""A gateway's ear and nothing else: takes speech from many sessions, and notes when it came.

The local gateway would be the first to have too much to do, and what is measured is the client. So
this one speaks just enough of RFC 6455 and of the protocol for sessions to be ready.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Self

from slng_edge.benchmarks.figures import MeasurementFailed

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_READ_BYTES = 65536


class Heard:
    """One connection's bytes: what they are, and when audio came.

    Attributes:
        arrivals: (`time.monotonic()`, bytes of audio so far).
    """

    def __init__(self, client: socket.socket) -> None:
        self.arrivals: list[tuple[float, int]] = []
        self._client = client
        self._rest = b""
        self._upgraded = False
        self._audio_bytes = 0

    def receive(self, data: bytes, now: float) -> None:
        """Take in what came at `now`, and answer it.

        Raises:
            OSError: the client has gone.
        """
        self._rest += data
        if not self._upgraded:
            head, end, self._rest = self._rest.partition(b"\r\n\r\n")
            if not end:
                self._rest = head
                return
            self._upgrade(head)
        while (message := self._next_message()) is not None:
            kind, payload = message
            if kind == _BINARY:
                self._audio_bytes += len(payload)
                self.arrivals.append((now, self._audio_bytes))
            elif kind == _PING:
                self._send(_PONG, payload)
            elif kind == _CLOSE:
                self._send(_CLOSE, payload)
            elif kind == _TEXT and b'"init"' in payload:
                self._send(_TEXT, json.dumps({"type": "ready", "session_id": "bench"}).encode())

    def _upgrade(self, head: bytes) -> None:
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        key = {name.lower(): value for name, value in lines.items()}[b"sec-websocket-key"]
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        self._client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self._upgraded = True

    def _next_message(self) -> tuple[int, bytes] | None:
        """Kind and content of the next frame, if it has come whole; audio stays masked."""
        rest = self._rest
        if len(rest) < 2:
            return None
        length, at = rest[1] & 0x7F, 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(rest[2 : 2 + size], "big"), 2 + size
        mask, begin = rest[at : at + 4], at + 4
        if len(rest) < begin + length:
            return None
        payload, self._rest = rest[begin : begin + length], rest[begin + length :]
        kind = rest[0] & 0x0F
        if kind != _BINARY:  # of audio only the length counts
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        return kind, payload

    def _send(self, kind: int, payload: bytes) -> None:
        self._client.sendall(bytes((0x80 | kind, len(payload))) + payload)


class AudioSink:
    """Listens on this machine; a context manager with a thread of its own.

    Attributes:
        heard: Of each connection so far.
    """

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self._selector = selectors.DefaultSelector()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._stopping, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="bench-sink", daemon=True)

    @property
    def url(self) -> str:
        """Where sessions connect."""
        return f"ws://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._stopping, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.close()
        self._thread.join(5)
        if self._thread.is_alive():
            raise MeasurementFailed("the sink of the sessions' audio does not stop")
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._stopping:
                    return
                if key.fileobj is self._listening:
                    client, _ = self._listening.accept()
                    self.heard.append(Heard(client))
                    self._selector.register(client, selectors.EVENT_READ, self.heard[-1])
                    continue
                client = key.fileobj  # type: ignore[assignment]
                data = b""
                with contextlib.suppress(OSError):  # cut off is as good as ended
                    data = client.recv(_READ_BYTES)
                    if data:
                        key.data.receive(data, time.monotonic())
                if not data:
                    self._selector.unregister(client)
                    client.close()
