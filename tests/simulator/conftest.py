"""What the tests of the local gateway share: a plain client, and a look for leftovers."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import websocket

from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

STT = "/v1/stt/slng/deepgram/nova:3-en"
TTS = "/v1/tts/slng/deepgram/aura:2-en"
TIMEOUT_S = 10.0


class Client:
    """A client that does what it is told, right or wrong."""

    def __init__(self, url: str, *headers: str, ssl_context: ssl.SSLContext | None = None) -> None:
        self.socket = websocket.create_connection(
            url,
            header=list(headers),
            timeout=TIMEOUT_S,
            sslopt={"context": ssl_context} if ssl_context else None,
        )
        self.close_code: int | None = None

    def send(self, message: dict[str, Any] | str | bytes) -> None:
        """Send JSON, text or binary."""
        if isinstance(message, bytes):
            self.socket.send_binary(message)
        else:
            self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def init(self, **config: Any) -> dict[str, Any]:
        """Send `init` and wait for `ready`."""
        self.send({"type": "init", "config": config})
        message = self.receive()
        assert isinstance(message, dict)
        assert message["type"].lower() == "ready", message
        return message

    def receive(self) -> dict[str, Any] | str | bytes | None:
        """The next message; None at the close, whose code is then in `close_code`."""
        opcode, data = self.socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.close_code = int.from_bytes(data[:2], "big") if len(data) >= 2 else 1005
            return None
        if opcode == websocket.ABNF.OPCODE_BINARY:
            return bytes(data)
        try:
            return dict(json.loads(data))
        except (ValueError, TypeError):
            return str(data.decode())

    def until(self, type_: str) -> list[Any]:
        """All messages up to the one of this type (any case), that one included."""
        messages = []
        while True:
            message = self.receive()
            assert message is not None, f"closed with {self.close_code} before {type_}"
            messages.append(message)
            if isinstance(message, dict) and str(message.get("type")).lower() == type_:
                return messages

    def until_closed(self) -> list[Any]:
        """All messages up to the close."""
        return list(iter(self.receive, None))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 3.0
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    assert not left, f"threads left: {left}"


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Connect a client; it is closed after the test."""
    clients: list[Client] = []

    def open_client(gateway: LocalGateway, path: str, *headers: str, **more: Any) -> Client:
        client = Client(gateway.url + path, *headers, **more)
        clients.append(client)
        return client

    yield open_client
    for client in clients:
        client.socket.shutdown()


@pytest.fixture
def start() -> Iterator[Callable[..., LocalGateway]]:
    """Start a gateway with a script and tones; it is closed after the test."""
    gateways: list[LocalGateway] = []

    def start_gateway(*faults: str, lines: Any = ("hello big world",), **more: Any) -> LocalGateway:
        more.setdefault("stt", ScriptRecognizer(lines))
        more.setdefault("tts", ToneSynthesizer())
        gateway = LocalGateway(faults=faults, **more)
        gateway.start()
        gateways.append(gateway)
        return gateway

    yield start_gateway
    for gateway in gateways:
        gateway.close()
