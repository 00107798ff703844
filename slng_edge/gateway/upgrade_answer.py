"""The gateway's answer to the upgrade request, looked through before websocket-client reads it.

That library reads it without a bound, raises what it likes over what is no HTTP, and keeps cookies
for the whole process: they would be sent with later requests, whatever is in them, and some of them
make it raise (`http.cookies.CookieError`). So it gets the head once all of it has come, without
cookies, and no more of a body than is shown.
"""

from __future__ import annotations

import errno
import re
from typing import Protocol

from slng_edge.gateway.byte_stream import TooMuchReceived

HEAD_BYTES = 32768
"""Of the status line and all headers; browsers and proxies take 8 to 16 KB."""
BODY_BYTES = 65536
"""Of what is said of a refusal."""

_END = b"\r\n\r\n"
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: .*)?")
_DROPPED = (b"set-cookie",)


class Stream(Protocol):
    """What is needed of `ByteStream`."""

    def recv(self, size: int) -> bytes: ...
    def send(self, data: bytes) -> int: ...
    def gettimeout(self) -> float | None: ...
    def settimeout(self, timeout_s: float | None) -> None: ...
    def close(self) -> None: ...


class NoAnswer(OSError):
    """What came is no answer of an HTTP server."""


class UpgradeAnswer:
    """What websocket-client takes for its socket until the upgrade is answered; one thread.

    Args:
        stream: The connection; what follows the head, and is no refusal's body, stays in it.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._head: memoryview | None = None

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes of the head, then of the body.

        Raises:
            NoAnswer: what came is no HTTP.
            TooMuchReceived: the head does not end.
            OSError: as the stream raises.
        """
        if self._head is None:
            self._head = memoryview(_cleaned(self._read_head()))
        if not self._head:
            return self._stream.recv(size)
        data = bytes(self._head[:size])
        self._head = self._head[size:]
        return data

    def send(self, data: bytes) -> int:
        """As the stream."""
        return self._stream.send(data)

    def gettimeout(self) -> float | None:
        """As the stream."""
        return self._stream.gettimeout()

    def settimeout(self, timeout_s: float | None) -> None:
        """As the stream."""
        self._stream.settimeout(timeout_s)

    def close(self) -> None:
        """As the stream; websocket-client calls it where the upgrade fails."""
        self._stream.close()

    def _read_head(self) -> bytes:
        head = bytearray()
        while not head.endswith(_END):
            byte = self._stream.recv(1)  # what follows the head is frames
            if not byte:
                raise NoAnswer(errno.ECONNRESET, "it hung up before it had answered")
            head += byte
            if len(head) > HEAD_BYTES:
                raise TooMuchReceived(errno.EMSGSIZE, "the answer to the upgrade does not end")
        return bytes(head)


def _cleaned(head: bytes) -> bytes:
    """`head` as it may be read: no cookies, no body longer than `BODY_BYTES`."""
    status_line, *headers = head.removesuffix(_END).split(b"\r\n")
    if not _STATUS_LINE.fullmatch(status_line):
        raise NoAnswer(errno.EPROTO, "it does not answer as an HTTP server does")
    kept = [status_line.decode("utf-8", "replace").encode()]  # its reason may be anything
    for header in headers:
        name, colon, value = header.partition(b":")
        if not colon or not name.isascii() or b"\n" in header or b"\r" in header:
            raise NoAnswer(errno.EPROTO, "it does not answer as an HTTP server does")
        name = name.strip().lower()
        if name in _DROPPED:
            continue
        if name == b"content-length":
            value = b"%d" % _body_bytes(value.strip())
        kept.append(name + b": " + value.strip().decode("utf-8", "replace").encode())
    return b"\r\n".join(kept) + _END


def _body_bytes(length: bytes) -> int:
    """How much of a body of that length is read; none where it is no length."""
    if not length.isdigit():
        return 0
    return min(BODY_BYTES, int(length)) if len(length) < 10 else BODY_BYTES
