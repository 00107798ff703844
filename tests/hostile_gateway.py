"""A gateway in a process of its own that does what `hostile_acts` says, and is a good one else.

It writes its frames itself: no library that keeps to the rules is between. In a process of its own,
so that what the client's process holds and burns is the client's.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from hostile_acts import (
    ACTS,
    BINARY,
    CLEAR,
    CLOSE,
    CONNECTED,
    FINALIZE,
    GOODBYE,
    PING,
    PONG,
    READY,
    REPLY,
    SPEECH,
    TEXT,
    UPGRADE,
    Told,
    frame,
    says,
)
from raw_server import MAGIC, read_frame

WORDS = "hello there"
REPLY_RATE_HZ = 24000
WORD_S = 0.08
DRIP_S = 0.05
GONE_S = 20.0
"""A client that takes nothing for so long is none any more."""


class HostileGateway:
    """The process, and how it is told what to do; a context manager.

    Attributes:
        url: Where it listens.
    """

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lock = threading.Lock()
        self.url = f"ws://127.0.0.1:{self._ask(do='port')}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def plan(self, act: str, moment: str, *, kind: str = "", times: int = 1) -> None:
        """Do `act` at `moment`, on so many connections; `kind` "" is both sessions.

        What was planned before is forgotten, and so is what was counted.
        """
        self._ask(do="plan", act=act, moment=moment, kind=kind, times=times)

    def behave(self) -> None:
        """Be good from now on; what is being done is broken off."""
        self._ask(do="behave")

    def cut_all(self) -> None:
        """End all connections, so that there are new ones."""
        self._ask(do="cut_all")

    def counts(self) -> dict[str, int]:
        """Since the plan: `connections`, `struck`, visits `elsewhere`, requests with `cookies`."""
        counts: dict[str, int] = self._ask(do="counts")
        return counts

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


# The other process


class Served:
    """All connections of the process, and what is to be done to them."""

    def __init__(self) -> None:
        self.port = self._listen(self._serve)
        self.elsewhere = self._listen(self._visited)
        self._lock = threading.Lock()
        self._plan = ("", "", "")
        self._left = 0
        self._number = 0
        self._peers: set[socket.socket] = set()
        self._counts = {"connections": 0, "struck": 0, "elsewhere": 0, "cookies": 0}

    def plan(self, act: str, moment: str, kind: str, times: int) -> None:
        """See `HostileGateway`."""
        with self._lock:
            self._plan, self._left = (act, moment, kind), times
            self._number += 1
            self._counts = dict.fromkeys(self._counts, 0)

    def behave(self) -> None:
        """See `HostileGateway`."""
        with self._lock:
            self._left = 0
            self._number += 1

    def cut_all(self) -> None:
        """See `HostileGateway`."""
        with self._lock:
            peers = list(self._peers)
        for peer in peers:
            with contextlib.suppress(OSError):  # it has ended by itself
                peer.shutdown(socket.SHUT_RDWR)

    def counts(self) -> dict[str, int]:
        """See `HostileGateway`."""
        with self._lock:
            return dict(self._counts)

    def take(self, moment: str, kind: str) -> tuple[str, int] | None:
        """What is to be done at `moment`, and the number of the plan it is of."""
        with self._lock:
            act, when, whom = self._plan
            if not self._left or when != moment or whom not in ("", kind):
                return None
            self._left -= 1
            self._counts["struck"] += 1
            return act, self._number

    def count(self, what: str) -> None:
        """One more of these."""
        with self._lock:
            self._counts[what] += 1

    def is_on(self, number: int) -> bool:
        """Whether a plan still holds."""
        return number == self._number

    def _listen(self, serve: Callable[[socket.socket], None]) -> int:
        listening = socket.create_server(("127.0.0.1", 0), backlog=64)

        def accept() -> None:
            while True:
                peer, _ = listening.accept()
                threading.Thread(target=self._in_thread, args=(serve, peer), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        port: int = listening.getsockname()[1]
        return port

    def _in_thread(self, serve: Callable[[socket.socket], None], peer: socket.socket) -> None:
        peer.settimeout(GONE_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The client has gone, or is no WebSocket client: there is nobody to tell.
        with contextlib.suppress(OSError, ValueError, KeyError), peer:
            serve(peer)

    def _visited(self, peer: socket.socket) -> None:
        self.count("elsewhere")

    def _serve(self, peer: socket.socket) -> None:
        self.count("connections")
        with self._lock:
            self._peers.add(peer)
        try:
            Connected(self, peer).serve()
        finally:
            with self._lock:
                self._peers.discard(peer)


class Connected:
    """One connection."""

    def __init__(self, served: Served, peer: socket.socket) -> None:
        self._served = served
        self._peer = peer
        self._kind = ""
        self._told = Told()
        self._heard = False
        self._text = ""

    def serve(self) -> None:
        """Until one of the two has gone."""
        self._upgrade()
        while True:
            opcode, data = read_frame(self._peer)
            if opcode == CLOSE:
                self._strike(GOODBYE)
                self._send(frame(CLOSE, data[:2]))
                return
            if opcode == PING:
                self._send(frame(PONG, data))
            elif opcode == BINARY and not self._heard:
                self._heard = True
                self._strike(SPEECH)
            elif opcode == TEXT:
                self._answer(json.loads(data))

    def _upgrade(self) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            more = self._peer.recv(65536)
            if not more:
                raise ConnectionError
            request += more
        if b"\r\ncookie:" in request.lower() or b"\r\nx-evil:" in request.lower():
            self._served.count("cookies")
        self._kind = "stt" if b"/stt" in request.split(b"\r\n")[0] else "tts"
        sent_key = re.search(rb"(?i)authorization: bearer (\S+)", request)
        self._told = Told(sent_key[1].decode() if sent_key else "", self._served.elsewhere)
        [nonce] = re.findall(rb"(?i)sec-websocket-key: (\S+)", request)
        accept = b"Sec-WebSocket-Accept: " + base64.b64encode(hashlib.sha1(nonce + MAGIC).digest())
        if self._strike(UPGRADE, accept):
            return
        self._send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\n" + accept + b"\r\n\r\n"
        )

    def _answer(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "init":
                self._strike(CONNECTED)
                self._send(says(type="ready", session_id="good"))
                self._strike(READY)
            case "finalize":
                self._strike(FINALIZE)
                self._heard = False
                self._send(says(type="final_transcript", transcript=WORDS, duration=1.0))
            case "text":
                self._text += message["text"]
            case "flush":
                words = max(1, len(self._text.split()))
                self._text = ""
                tone = struct.pack("<h", 4000) * round(WORD_S * REPLY_RATE_HZ * words)
                self._send(frame(BINARY, tone))
                self._strike(REPLY)
                self._send(says(type="flushed"))
            case "clear":
                self._strike(CLEAR)
                self._send(says(type="cleared"))
            case "close":
                self._send(frame(CLOSE, b"\x03\xe8"))

    def _strike(self, moment: str, accept: bytes = b"") -> bool:
        """Do what is planned for the moment; whether anything was."""
        taken = self._served.take(moment, self._kind)
        if taken is None:
            return False
        name, number = taken
        act = ACTS[name]
        for piece in act.pieces(self._told):
            self._send(piece.replace(b"ACCEPT", accept) if accept else piece)
            if not self._served.is_on(number):
                raise ConnectionError
            if act.then == "drip":
                time.sleep(DRIP_S)
        if act.then == "cut":
            raise ConnectionError
        if act.then == "hold":
            while self._peer.recv(65536):
                pass
            raise ConnectionError
        return True

    def _send(self, data: bytes) -> None:
        self._peer.sendall(data)


def main() -> None:
    """Do what standard input asks for, a JSON object a line, until it ends."""
    served = Served()
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = True
        match request.pop("do"):
            case "port":
                answer = served.port
            case "plan":
                served.plan(**request)
            case "behave":
                served.behave()
            case "cut_all":
                served.cut_all()
            case "counts":
                answer = served.counts()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
