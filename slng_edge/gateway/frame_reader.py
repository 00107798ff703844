"""What a gateway sends, as messages: RFC 6455, section 5, read by somebody who trusts nothing.

Why not websocket-client's own reader: it takes a frame of any announced length before it looks
whether such a frame may be, unmasks what no server masks, and adds fragments up by copying all of
them for each one. Here what breaks a rule is refused by its head, before its data is read, and
fragments are put together once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slng_edge.errors import RemoteProtocolError

CONTINUATION, TEXT, BINARY = 0x0, 0x1, 0x2
CLOSE, PING, PONG = 0x8, 0x9, 0xA

_FINAL, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_LENGTH_OF_2, _LENGTH_OF_8 = 126, 127
_CONTROL_BYTES = 125
"""RFC 6455, 5.5: no control frame has more."""

CLOSE_BROKE_A_RULE = 1002
CLOSE_TOO_LARGE = 1009

FRAGMENTS = 4096
"""Of one message: what is cut finer is cut to keep the reader busy."""

_RECEIVE_BYTES = 65536


class RuleBroken(RemoteProtocolError):
    """What came is no WebSocket; `code` is for the close frame that answers it."""

    def __init__(self, why: str, code: int = CLOSE_BROKE_A_RULE) -> None:
        super().__init__(f"{why}; the connection was closed, and will be made anew")
        self.code = code


class StreamEnded(Exception):
    """The stream is over, between two messages or in one."""


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message, or a control frame; `opcode` is never `CONTINUATION`.

    `frames` is how many it came in.
    """

    opcode: int
    data: bytes
    frames: int = 1


class FrameReader:
    """Reads one connection, in one thread.

    Args:
        receive: Up to so many bytes of the connection, b"" at its end; waits for the first one.
        message_bytes: The longest message, in however many fragments.
    """

    def __init__(self, receive: Callable[[int], bytes], *, message_bytes: int) -> None:
        self._receive = receive
        self._message_bytes = message_bytes
        self._begun = 0
        self._parts = bytearray()
        self._fragments = 0

    def read(self) -> Message:
        """The next message, or the control frame that comes before its end.

        Raises:
            RuleBroken: what came is not allowed, or too long; nothing more can be read.
            StreamEnded: the connection is over.
            OSError: as `receive` raises.
        """
        while True:
            first, second = self._exactly(2)
            opcode = first & _OPCODE
            length = self._checked_length(first, second)
            if opcode & CLOSE:
                return Message(opcode, _checked(opcode, bytes(self._exactly(length))))
            if first & _FINAL and not self._begun:
                return Message(opcode, bytes(self._exactly(length)))
            self._begun = self._begun or opcode
            self._fragments += 1
            self._parts += self._exactly(length)
            if first & _FINAL:
                message = Message(self._begun, bytes(self._parts), self._fragments)
                self._begun = self._fragments = 0
                self._parts = bytearray()
                return message

    def _checked_length(self, first: int, second: int) -> int:
        """How long the data of a frame is, where there may be such a frame now."""
        opcode = first & _OPCODE
        if first & _RESERVED:
            raise RuleBroken("the gateway sent a compressed frame, which it was not asked for")
        if second & _MASKED:
            raise RuleBroken("the gateway sent a masked frame, as no server may")
        length = second & _LENGTH
        if opcode in (CLOSE, PING, PONG):
            if not first & _FINAL or length > _CONTROL_BYTES:
                raise RuleBroken("the gateway sent a control frame that is too long, or in pieces")
            return length
        if opcode not in (CONTINUATION, TEXT, BINARY):
            raise RuleBroken(f"the gateway sent a frame of a kind that does not exist ({opcode})")
        if (opcode == CONTINUATION) != bool(self._begun):
            raise RuleBroken("the gateway mixed up the pieces of its messages")
        if length >= _LENGTH_OF_2:
            length = int.from_bytes(self._exactly(2 if length == _LENGTH_OF_2 else 8), "big")
        if len(self._parts) + length > self._message_bytes:
            size_mb = self._message_bytes / 1024**2
            raise RuleBroken(
                f"the gateway sent a message of more than {size_mb:g} MB", CLOSE_TOO_LARGE
            )
        if self._fragments >= FRAGMENTS:
            raise RuleBroken(
                f"the gateway sent a message in more than {FRAGMENTS} pieces", CLOSE_TOO_LARGE
            )
        return length

    def _exactly(self, size: int) -> bytes | bytearray:
        """So many bytes; no more room is taken than what has come needs."""
        data = self._receive(size) if size else b""
        if len(data) == size:
            return data
        if not data:
            raise StreamEnded
        parts = bytearray(data)
        while len(parts) < size:
            more = self._receive(min(size - len(parts), _RECEIVE_BYTES))
            if not more:
                raise StreamEnded
            parts += more
        return parts


def _checked(opcode: int, data: bytes) -> bytes:
    """The data of a control frame; of a close it has to be a code, and words in UTF-8, or nothing.

    The words are for people, and are shown as far as they can be.
    """
    if opcode != CLOSE or not data:
        return data
    code = int.from_bytes(data[:2], "big")
    known = 1000 <= code <= 1014 and code not in (1004, 1005, 1006)
    if len(data) == 1 or not (known or 3000 <= code <= 4999):
        raise RuleBroken("the gateway closed the connection with a code that does not exist")
    return data
