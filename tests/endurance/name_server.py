"""A name server that knows one name, and errs when it is told to."""

from __future__ import annotations

import socket
import struct
import threading

PORT = 53
POLL_S = 0.2

_HEAD = struct.Struct("!6H")
_ANSWER = 0x8180
_CODES = {"good": 0, "servfail": 2, "nxdomain": 3}
_A = 1


class NameServer:
    """Answers over UDP from a thread of its own.

    Args:
        sock: A bound UDP socket, which is closed by `close`.
        address: What every name stands for.

    Attributes:
        address: May be changed at any time.
        mood: "good", "servfail", "nxdomain", or "silent".
        asked: How often it was asked for an IPv4 address.
    """

    def __init__(self, sock: socket.socket, address: str) -> None:
        self.address = address
        self.mood = "good"
        self.asked = 0
        self._sock = sock
        self._sock.settimeout(POLL_S)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="name-server")
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._closed.set()
        self._thread.join()
        self._sock.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                query, peer = self._sock.recvfrom(512)
            except TimeoutError:
                continue
            if self.mood != "silent":
                self._sock.sendto(self._answer(query), peer)

    def _answer(self, query: bytes) -> bytes:
        number, *_ = _HEAD.unpack_from(query)
        end = query.index(0, _HEAD.size) + 5
        question = query[_HEAD.size : end]
        (kind,) = struct.unpack("!H", question[-4:-2])
        self.asked += kind == _A
        known = self.mood == "good" and kind == _A
        head = _HEAD.pack(number, _ANSWER | _CODES[self.mood], 1, known, 0, 0)
        if not known:
            return head + question
        record = struct.pack("!HHHIH", 0xC00C, _A, 1, 1, 4) + socket.inet_aton(self.address)
        return head + question + record
