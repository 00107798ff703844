"""A TCP server for what a gateway never does: hang up, stall, drip, and send what is no message."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Hands its first client to `serve`, in a thread; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return  # nobody came
            with accepted:
                serve(accepted)

        thread = threading.Thread(target=accept, name="test-server")
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def until_gone(peer: socket.socket) -> None:
    """Read until the other side is gone."""
    try:
        while peer.recv(65536):
            pass
    except OSError:
        pass


def upgrade(peer: socket.socket) -> None:
    """Answer the upgrade as a WebSocket server does."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += peer.recv(4096)
    [key] = re.findall(rb"(?i)sec-websocket-key: (\S+)", request)
    accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode()
    peer.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )


def send_text(peer: socket.socket, text: str) -> None:
    """One short text message."""
    data = text.encode()
    assert len(data) < 126
    peer.sendall(bytes([0x81, len(data)]) + data)
