"""What comes off a socket before anybody knows what it is: frames, heads of answers, headers."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator

import websocket
from fuzz.shapes import lines, marked, one_of, raw, utf8
from fuzz.target import Target, check_error, check_hides, check_text, cut_at
from hypothesis import strategies as st

from slng_edge.errors import ConnectFailed, GatewayError, RequestRejected, ResponderError
from slng_edge.gateway.byte_stream import ByteStream
from slng_edge.gateway.connection import Connection
from slng_edge.gateway.tunnel import open_tunnel
from slng_edge.gateway.upgrade_answer import UpgradeAnswer
from slng_edge.protocol.wav_header import WavHeaderStripper
from slng_edge.proxies import Proxy
from slng_edge.responders.http_exchange import DEFAULT_TIMEOUTS, exchange
from slng_edge.responders.socket_stream import SocketStream
from slng_edge.secrets import register_key

PASSWORD = "c2VjcmV0OnNlY3JldA=="
PROXY = Proxy("proxy.test", 3128, "https_proxy", f"Basic {PASSWORD}")


@contextlib.contextmanager
def peer_that_says(data: bytes) -> Iterator[socket.socket]:
    """A socket whose other side has sent `data`, and will send no more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        yield ours


def websocket_frames(data: bytes) -> None:
    """Frames of a gateway after the upgrade: messages, and then one error that ends it."""
    with peer_that_says(data) as ours:
        connection = Connection()
        connection._stream._sock.close()
        connection._stream._sock = ours
        received = 0
        try:
            for _ in range(len(data) + 1):
                message = connection.receive()
                received += len(message)
                if isinstance(message, str):
                    check_text(message, len(data))
            raise AssertionError("more messages than bytes")
        except GatewayError as error:
            check_error(error)
        assert received <= len(data)
        connection.close()


def tunnel(data: bytes) -> None:
    """What a proxy answers to CONNECT; it may repeat the password, and we do not."""
    register_key(PASSWORD)  # as who reads the environment does
    with peer_that_says(data) as ours:
        stream = ByteStream()
        stream._sock.close()
        stream._sock = ours
        try:
            open_tunnel(stream, PROXY, "gateway.test", 443)
        except (RequestRejected, ConnectFailed) as error:
            check_error(error)
            check_hides(error, PASSWORD)
        except OSError:
            pass
        else:
            assert data.decode("latin-1").lstrip().startswith("HTTP/")
            # What follows the answer is the gateway's: no byte of it may be gone.
            head = data[: len(data) - len(stream.recv(65536))]
            assert head.endswith(b"\n") or head == data


def upgrade_answer(data: bytes) -> None:
    """What a gateway answers to the upgrade, as it is looked through and then read."""
    with peer_that_says(data) as ours:
        stream = ByteStream()
        stream._sock.close()
        stream._sock = ours
        answer = UpgradeAnswer(stream)
        # What `Connection.dial` knows, and nothing else.
        with contextlib.suppress(websocket.WebSocketException, OSError, ValueError):
            websocket.WebSocket().connect("ws://gateway.test/", socket=answer)
            raise AssertionError("the answer to a key that it cannot know was right")
    with peer_that_says(data) as ours:
        stream = ByteStream()
        stream._sock.close()
        stream._sock = ours
        answer = UpgradeAnswer(stream)
        head = b""
        try:
            while not head.endswith(b"\r\n\r\n"):
                head += answer.recv(1000)
        except OSError:
            return
        assert re.match(rb"HTTP/1\.[01] [1-9][0-9][0-9]", head)
        assert b"\nset-cookie:" not in head.lower()
        head.partition(b"\r\n")[2].decode("utf-8")


def http_answer(data: bytes) -> None:
    """What the server of a responder answers to a POST."""
    deadline = time.monotonic() + 5.0
    kept: list[bool] = []
    with peer_that_says(data) as ours:
        stream = SocketStream(deadline, lambda: False)
        stream._sock.close()
        stream._sock = ours
        answer = None
        try:
            answer = exchange(
                "the server",
                stream,
                b"POST / HTTP/1.1\r\n\r\n",
                timeouts=DEFAULT_TIMEOUTS,
                deadline=deadline,
                release=kept.append,
            )
            check_text(answer.content_type, len(data))
            body = b"".join(answer.chunks())
            assert len(body) <= len(data)
        except ResponderError as error:
            check_text(str(error), 1000)
        finally:
            if answer is not None:
                answer.close()
    assert len(kept) == 1, "the connection was given back twice, or not at all"


def wav_header(data: bytes) -> None:
    """A stream that may begin with a WAV header; it is the same audio however it is split."""
    size, stream = (data[0] % 40) + 1 if data else 1, data[1:]
    whole, split = WavHeaderStripper(), WavHeaderStripper()
    at_once = whole.receive(stream)
    in_pieces = b"".join([split.receive(piece) for piece in cut_at(stream, size)])
    assert at_once == in_pieces
    assert stream.endswith(at_once)
    assert whole.sample_rate_hz == split.sample_rate_hz
    assert whole.sample_rate_hz is None or 4000 <= whole.sample_rate_hz <= 192_000
    assert whole.unsupported == split.unsupported
    if not stream.startswith(b"RIFF"[: len(stream)]):
        assert at_once == stream
    whole.reset()
    assert whole.receive(b"\x00\x01") == b"\x00\x01"


def _frame(opcode: int, payload: bytes, *, odd: int) -> bytes:
    head = bytes([(0x80 | opcode) ^ odd])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    return head + b"\x7e" + len(payload).to_bytes(2, "big") + payload


_frames = st.builds(
    _frame,
    st.sampled_from([0, 1, 1, 2, 8, 9, 10, 3, 15]),
    st.one_of(raw, utf8, st.integers(0, 65535).map(lambda code: code.to_bytes(2, "big")), raw),
    odd=st.sampled_from([0, 0, 0, 0, 0x80, 0x40, 0x20, 0x70]),
)
_lengths = one_of(
    b"\x81\x7f\x7f" + b"\xff" * 7, b"\x82\x7f" + b"\xff" * 8, b"\x89\xff", b"\x81\x7e"
)
_status = st.tuples(
    one_of(b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/9 ", b"ICY ", b""),
    one_of(b"200", b"204", b"100", b"302", b"401", b"407", b"404", b"429", b"503", b"-1", b"9999"),
    one_of(b" OK", b"", b" \xff\xfe", b" Basic " + PASSWORD.encode(), b" sk-0123456789abcdef"),
).map(b"".join)
_headers = st.tuples(
    one_of(
        *(b"Content-Length: ", b"Transfer-Encoding: ", b"Content-Type: ", b"Retry-After: "),
        *(
            b"Proxy-Authenticate: ",
            b"Location: ",
            b"Connection: ",
            b" folded ",
            b"Content-Length:-",
        ),
    ),
    st.one_of(
        one_of(b"5", b"0", b"-1", b"9" * 30, b"chunked", b"close", b"nan", b"inf", b"Basic, NTLM"),
        one_of(b"text/event-stream", b"application/json; charset=utf-8"),
        raw,
    ),
).map(b"".join)
_chunks = lines(one_of(b"5", b"hello", b"0", b"-5", b"ffffffffff", b"zz", b"5;a=b", b""), raw)
_heads = st.tuples(
    _status, one_of(b"\r\n", b"\n", b""), lines(_headers), one_of(b"\r\n", b"\n", b""), _chunks
).map(b"".join)
_HTTP_WORDS = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 407 ", b"HTTP/1.1 100 \r\n\r\n", b"Content-Length: "),
    *(b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n", b"Proxy-Authenticate: Basic\r\n", b"\r\n"),
    *(b"Retry-After: ", b"Content-Type: text/event-stream\r\n", b"ffffffff\r\n", b"0\r\n\r\n"),
)
_fmt = one_of(
    b"fmt \x10\0\0\0\x01\0\x01\0\xc0\x5d\0\0\x80\xbb\0\0\x02\0\x10\0",
    b"fmt \x10\0\0\0\x03\0\x02\0\xc0\x5d\0\0\x80\xbb\0\0\x02\0\x20\0",
    b"fmt \xff\xff\0\0",
    b"fmt \x10\0\0\0\x01\0\xff\xff\x80\x3e\0\0\0\0\0\0\0\0\x20\0",
    b"fmt \xf0\xff\xff\xff\x01\0\x01\0\x80\x3e\0\0\0\0\0\0\0\0\x10\0",
    b"LIST\x05\0\0\0abcde\0",
    b"fact\xff\xff\xff\xff",
    b"data\0\0\0\0",
    b"data\xff\xff\xff\xff",
)
wav_bytes = st.tuples(
    one_of(b"RIFF\x24\0\0\0WAVE", b"RIFF\xff\xff\xff\xffWAVE", b"RIFF", b"", b"RIFX\0\0\0\0WAVE"),
    st.lists(st.one_of(_fmt, _fmt, raw), max_size=4).map(b"".join),
    raw,
).map(b"".join)
WAV_WORDS = (
    *(b"RIFF", b"WAVE", b"fmt \x10\0\0\0\x01\0\x01\0", b"fmt (\0\0\0\xfe\xff", b"data", b"LIST"),
    *(b"\xc0\x5d\0\0", b"\x02\0\x10\0", b"\0\0\0\0", b"\xff\xff\xff\xff"),
)
TARGETS = (
    Target(
        "websocket_frames",
        websocket_frames,
        st.lists(st.one_of(_frames, _frames, _frames, _lengths), max_size=8).map(b"".join),
        (b"\x81\x00", b"\x82\x7e\x01\x00", b"\x88\x02\x03\xe8", b"\x89\x00", b"\x8a\x01?", b"\x01"),
        longest_bytes=8192,
    ),
    Target("tunnel", tunnel, _heads, _HTTP_WORDS),
    Target(
        "upgrade_answer",
        upgrade_answer,
        _heads,
        (*_HTTP_WORDS, b"Set-Cookie: a=b\r\n", b"Upgrade: "),
    ),
    Target("http_answer", http_answer, _heads, _HTTP_WORDS),
    Target("wav_header", wav_header, marked(b"\x07", wav_bytes), WAV_WORDS),
)
