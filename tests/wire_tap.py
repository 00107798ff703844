"""Everything that a host of our own sends, on whatever interface, as the kernel saw it.

Packets are taken from the kernel (packet(7)), put together to streams (RFC 9293), and what a client
sent to a WebSocket server is read frame by frame (RFC 6455). Nothing of it is the product's code.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_IPV4, _IPV6 = 0x0800, 0x86DD
_TCP, _UDP, _ICMPV6, _HOP_BY_HOP = 6, 17, 58, 0
_BUFFER_BYTES = 32 * 1024 * 1024
_SO_RCVBUFFORCE = 33

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@dataclass(frozen=True)
class Frame:
    """A WebSocket frame; `at` is the `time.monotonic()` at which its first byte was sent."""

    at: float
    opcode: int
    payload: bytes

    @property
    def json(self) -> dict[str, Any]:
        """What stands in a text frame."""
        found: dict[str, Any] = json.loads(self.payload)
        return found


@dataclass
class Stream:
    """What one side of a TCP connection sent, with the time of each piece."""

    to: tuple[str, int]
    first: int
    pieces: dict[int, tuple[float, bytes]] = field(default_factory=dict)

    def sent(self) -> list[tuple[float, int]]:
        """Each byte in order, with its time.

        Raises:
            ValueError: some are missing.
        """
        found: list[tuple[float, int]] = []
        for offset, (at, data) in sorted(self.pieces.items()):
            if offset > len(found):
                raise ValueError(f"bytes {len(found)} to {offset} were not seen")
            found.extend((at, byte) for byte in data[len(found) - offset :])
        return found

    def upgrade_and_frames(self) -> tuple[str, list[Frame]]:
        """The request for a WebSocket, and the frames after it."""
        timed = self.sent()
        data = bytes(byte for _, byte in timed)
        end = data.index(b"\r\n\r\n") + 4
        frames, at = [], end
        while at < len(data):
            opcode, size, start = data[at] & 0x0F, data[at + 1] & 0x7F, at + 2
            if not data[at + 1] & 0x80:
                raise ValueError("a frame of the client is not masked")
            if size == 126:
                size, start = struct.unpack_from("!H", data, start)[0], start + 2
            elif size == 127:
                size, start = struct.unpack_from("!Q", data, start)[0], start + 8
            mask, body = data[start : start + 4], data[start + 4 : start + 4 + size]
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))
            if len(payload) == size:  # else it is being sent
                frames.append(Frame(timed[at][0], opcode, payload))
            at = start + 4 + size
        return data[:end].decode("latin-1"), frames


class WireTap:
    """Reads on as long as it is open; a context manager.

    It is made in a thread of the namespace that it listens in.

    Attributes:
        streams: TCP, by source and destination.
        others: What is neither TCP nor the kernel's own (ARP, neighbour discovery).
    """

    def __init__(self) -> None:
        self.streams: dict[tuple[Any, ...], Stream] = {}
        self.others: list[tuple[float, int, bytes]] = []
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wire-tap")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(5)
        self._sock.close()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while poll.poll(50) or not self._over.is_set():
            try:
                packet, (_, protocol, kind, *_) = self._sock.recvfrom(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            if kind == _PACKET_OUTGOING:
                self._take(time.monotonic(), protocol, packet)

    def _take(self, now: float, protocol: int, packet: bytes) -> None:
        if protocol == _IPV6 and packet[6] in (_ICMPV6, _HOP_BY_HOP):
            return
        if protocol != _IPV4 or packet[9] != _TCP:
            if protocol in (_IPV4, _IPV6):
                self.others.append((now, protocol, packet))
            return
        head = (packet[0] & 15) * 4
        segment = packet[head : struct.unpack_from("!H", packet, 2)[0]]
        source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
        from_port, to_port, number = struct.unpack_from("!HHI", segment)
        data = segment[(segment[12] >> 4) * 4 :]
        flow = (source, from_port, target, to_port)
        if segment[13] & 2:  # SYN
            self.streams[flow] = Stream((target, to_port), number + 1)
        elif data:
            stream = self.streams[flow]
            stream.pieces.setdefault((number - stream.first) % 2**32, (now, data))
