"""Peers that repeat what they were told in confidence, in every way that software has: a gateway, a
server that answers, and a broker that writes down what it gets.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

TONE = bytes(range(256)) * 30
CLOSE_CHARS = 120


def ways_to_say(secret: str) -> list[str]:
    """As it is, in capitals, encoded and escaped."""
    raw = secret.encode()
    return [
        secret,
        secret.upper(),
        raw.hex(),
        base64.b64encode(raw).decode(),
        base64.b64encode(b"Authorization: Bearer " + raw + b"\r\n").decode(),
        base64.urlsafe_b64encode(b"u:" + raw).decode(),
        quote(secret, safe=""),
        "".join(f"%{each:02X}" for each in raw),
        "".join(f"&#{each};" for each in raw),
        "".join(f"\\x{each:02x}" for each in raw),
    ]


def escaped(message: dict[str, Any]) -> str:
    """`message` as JSON in which no character stands as it is."""
    text = json.dumps(message)
    for value in message.values():
        if isinstance(value, str) and value:
            whole = "".join(f"\\u{ord(each):04x}" for each in value)
            text = text.replace(json.dumps(value), f'"{whole}"')
    return text


class TellingGateway:
    """Refuses the first connection of each session, breaks the second, and serves the others.

    Attributes:
        told: The key of each request.
        heard: Every message of the client.
    """

    def __init__(self, *secrets: str, status: int = 503) -> None:
        self.told: list[str] = []
        self.heard: list[str | bytes] = []
        self._ways = [way for secret in secrets for way in ways_to_say(secret)]
        self._status = status
        self._lock = threading.Lock()
        self._count: dict[str, int] = {}
        self._served: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._server = serve(
            self._talk, "127.0.0.1", 0, process_request=self._refuse, process_response=self._echo
        )
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="telling-gateway")
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join(10)

    @property
    def words(self) -> str:
        """All that there is to say, on one line."""
        return " and ".join(self._ways)

    def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        kind = "stt" if "/stt/" in request.path else "tts"
        with self._lock:
            self.told += request.headers.get_all("Authorization")
            self._count[kind] = self._count.get(kind, 0) + 1
            first = self._count[kind] == 1 or self._status != 503
        if not first:
            return None
        body = escaped({"message": f"no access with {self.words}"}).encode()
        headers = Headers(self._headers())
        headers["Content-Length"] = str(len(body))
        headers["Content-Type"] = "application/json"
        return Response(self._status, f"No {self._ways[0]}", headers, body)

    def _echo(self, connection: ServerConnection, request: Request, response: Response) -> None:
        for name, value in self._headers():
            response.headers[name] = value

    def _headers(self) -> list[tuple[str, str]]:
        return [(f"X-Echo-{n}", way) for n, way in enumerate(self._ways)]

    def _talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        kind = "stt" if "/stt/" in connection.request.path else "tts"
        with self._lock:
            self._served[kind] = self._served.get(kind, 0) + 1
            second = self._served[kind] == 1
        with contextlib.suppress(ConnectionClosed):
            for message in connection:
                self.heard.append(message)
                if kind == "stt":
                    self._listen(connection, message, second)
                else:
                    self._speak(connection, message, second)

    def _say(self, connection: ServerConnection, *messages: dict[str, Any]) -> None:
        for message in messages:
            connection.send(json.dumps(message))
            connection.send(escaped(message))

    def _listen(self, connection: ServerConnection, message: str | bytes, second: bool) -> None:
        type_ = json.loads(message)["type"] if isinstance(message, str) else "audio"
        if type_ == "init":
            self._say(connection, {"type": f"greeting {self.words}", "text": self.words})
            connection.send(f"no JSON: {self.words}")
            connection.send(escaped({"type": "ready", "session_id": f"s-{self._ways[3]}"}))
        elif type_ == "audio":
            self._say(connection, {"type": "partial_transcript", "transcript": self.words})
        elif type_ == "finalize" and second:
            self._say(connection, {"type": "error", "code": 500, "message": self.words})
            connection.close(1011, self._ways[0][:CLOSE_CHARS])
        elif type_ == "finalize":
            final = {"transcript": f"the key is {self.words}", "from_finalize": True}
            connection.send(escaped({"type": "final_transcript", **final}))

    def _speak(self, connection: ServerConnection, message: str | bytes, second: bool) -> None:
        type_ = json.loads(message)["type"]
        if type_ == "init":
            self._say(connection, {"type": "ready", "session_id": self.words})
        elif type_ == "text" and second:
            self._say(connection, {"type": "error", "code": self.words, "message": self.words})
            connection.close(1011, self._ways[3][:CLOSE_CHARS])
        elif type_ == "flush" or (type_ == "text" and json.loads(message).get("flush")):
            audio = base64.b64encode(TONE).decode()
            connection.send(json.dumps({"type": "audio_chunk", "data": audio, "sequence": 1}))
            connection.send(json.dumps({"type": "audio_end", "duration": 0.2}))


@contextmanager
def telling_server(secret: str) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that fails and says with which key; its URL, and the keys it was sent."""
    told: list[str] = []
    ways = ways_to_say(secret)

    class Telling(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.headers.get("Authorization", ""))
            body = escaped({"error": " and ".join(ways)}).encode()
            self.send_response(500, f"No {ways[0]}")
            for n, way in enumerate(ways):
                self.send_header(f"X-Echo-{n}", way)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Telling)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="telling-server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", told
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@contextmanager
def writing_broker() -> Iterator[tuple[int, list[bytes]]]:
    """Accepts whoever comes by MQTT; its port, and what it got, CONNECT first."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve_all() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client, contextlib.suppress(OSError):
                    got.append(client.recv(65536))
                    client.sendall(b"\x20\x02\x00\x00")  # CONNACK: accepted
                    while data := client.recv(65536):
                        got.append(data)

        thread = threading.Thread(target=serve_all, name="writing-broker")
        thread.start()
        yield listening.getsockname()[1], got
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
