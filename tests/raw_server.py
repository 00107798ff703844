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
        try:
            yield listening.getsockname()[1]
        finally:
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


def read_frame(peer: socket.socket) -> tuple[int, bytes]:
    """The next frame of a client: its opcode and its unmasked data, of less than 64 KB."""
    opcode, length = _exactly(peer, 2)
    length &= 0x7F
    if length == 126:
        length = int.from_bytes(_exactly(peer, 2), "big")
    mask = _exactly(peer, 4)
    data = _exactly(peer, length)
    return opcode & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def _exactly(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = peer.recv(size - len(data))
        if not more:
            raise ConnectionError("the client has gone")
        data += more
    return data


@contextmanager
def http_proxy(to_port: int = 0, answer: bytes = b"") -> Iterator[tuple[int, list[bytes]]]:
    """An HTTP proxy for one client; gives its port and the requests that it got.

    Without `answer` it connects to `to_port` of this machine, whatever host it is asked for;
    with one it says that, and waits until the client has gone.
    """
    requests: list[bytes] = []

    def serve(client: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            more = client.recv(4096)
            if not more:
                return
            request += more
        requests.append(request)
        if answer:
            try:
                client.sendall(answer)
            except OSError:
                return  # the client has heard enough
            until_gone(client)
            return
        with socket.create_connection(("127.0.0.1", to_port)) as target:
            client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
            back = threading.Thread(target=_relay, args=(target, client), name="test-proxy")
            back.start()
            _relay(client, target)
            back.join(10)

    with server(serve) as port:
        yield port, requests


def _relay(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass  # one side has gone: the other one is told
    for each in (source, sink):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # gone already
