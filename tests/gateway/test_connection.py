"""One WebSocket: dialling, what its failures are called, aborting."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from authority import Authority
from conversation_scripts import gateway, wait_until
from raw_server import read_frame, server, until_gone, upgrade

from slng_edge.errors import (
    AuthenticationRejected,
    ConnectFailed,
    GatewayError,
    RateLimited,
    RemoteProtocolError,
    RequestRejected,
    SessionClosed,
)
from slng_edge.gateway.connection import MESSAGE_BYTES, Connection, DialSettings
from slng_edge.gateway.liveness import Dead, Liveness, Ping
from slng_edge.protocol.routes import Endpoint

PATH = "/v1/bridges/unmute/stt/slng/deepgram/nova:3-en"


def dialled(url: str, timeout_s: float = 5.0, ca_file: str = "", key: str = "k") -> Connection:
    connection = Connection()
    try:
        headers = (("Authorization", f"Bearer {key}"),)
        connection.dial(Endpoint(url + PATH, headers), DialSettings(timeout_s, ca_file))
    except BaseException:
        connection.close()
        raise
    return connection


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationRejected),
        (403, AuthenticationRejected),
        (400, RequestRejected),
        (404, RequestRejected),
        (429, RateLimited),
        (503, ConnectFailed),
        (408, ConnectFailed),
    ],
)
def test_a_refused_upgrade_is_an_error_of_its_kind(status: int, kind: type) -> None:
    """The HTTP status decides, and the server's reason is in the message."""
    with gateway(faults=[f"refuse={status}"]) as served:
        with pytest.raises(kind, match=f"{status}.*refused on demand") as info:
            dialled(served.url)
        assert info.value.retryable == (kind in (RateLimited, ConnectFailed))


def test_retry_after_comes_with_the_refusal() -> None:
    """`Retry-After` is there for whoever waits."""
    with gateway(faults=["refuse=503", "retry_after=7"]) as served:
        with pytest.raises(ConnectFailed) as info:
            dialled(served.url)
        assert info.value.retry_after_s == 7


def test_messages_go_both_ways_over_tls(authority: Authority) -> None:
    """`init` goes out, `ready` comes back, the close frame is answered."""
    with gateway(ssl_context=authority.server_context()) as served:
        connection = dialled(served.url, ca_file=authority.ca_file)
        connection.send('{"type":"init","config":{}}')
        assert '"ready"' in str(connection.receive())
        connection.say_goodbye()
        with pytest.raises(SessionClosed) as info:
            connection.receive()
        connection.close()
        assert info.value.code == 1000


def test_nobody_listening_is_said() -> None:
    """A refused TCP connection says that nothing listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(ConnectFailed, match=f"127.0.0.1:{port} refused"):
        dialled(f"ws://127.0.0.1:{port}")


def test_a_name_that_is_not_known_is_said() -> None:
    """A name without an address names the settings to check."""
    with pytest.raises(ConnectFailed, match=r"cannot be resolved.*gateway\.url"):
        dialled("ws://no-such-host.invalid:80")


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_server_that_accepts_and_never_answers_costs_the_timeout(scheme: str) -> None:
    """Neither TLS nor HTTP answers: `ConnectFailed` at the deadline."""
    with server(until_gone) as port:
        began = time.monotonic()
        with pytest.raises(ConnectFailed, match=r"did not answer within 0\.4 s"):
            dialled(f"{scheme}://127.0.0.1:{port}", timeout_s=0.4)
        assert 0.3 < time.monotonic() - began < 2


def test_a_server_that_answers_bit_by_bit_does_not_stretch_the_timeout() -> None:
    """All of dialling is bounded, not each of its steps."""

    def drip(peer: socket.socket) -> None:
        gone = threading.Event()
        try:
            for byte in b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-Header: more\r\n" * 100:
                peer.sendall(bytes([byte]))
                gone.wait(0.05)
        except OSError:
            pass  # the client has left, as it should

    with server(drip) as port:
        began = time.monotonic()
        with pytest.raises(ConnectFailed, match="did not answer within"):
            dialled(f"ws://127.0.0.1:{port}", timeout_s=0.5)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_server_that_hangs_up_at_once_is_a_failed_connection(scheme: str) -> None:
    """A connection that is closed in the middle of the handshake fails at once."""
    with server(lambda peer: None) as port:
        began = time.monotonic()
        with pytest.raises(ConnectFailed):
            dialled(f"{scheme}://127.0.0.1:{port}", timeout_s=5)
        assert time.monotonic() - began < 2


def test_a_redirect_is_not_followed() -> None:
    """The key is not carried to another host."""

    def redirect(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(
            b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
        )
        until_gone(peer)

    with server(redirect) as port, pytest.raises(ConnectFailed, match="HTTP 302"):
        dialled(f"ws://127.0.0.1:{port}")


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_an_abort_ends_dialling(scheme: str) -> None:
    """From another thread, at once, however long the timeout is."""
    with server(until_gone) as port:
        connection = Connection()
        failures: list[BaseException] = []

        def dial() -> None:
            try:
                endpoint = Endpoint(f"{scheme}://127.0.0.1:{port}{PATH}", ())
                connection.dial(endpoint, DialSettings(60.0))
            except ConnectFailed as error:
                failures.append(error)

        thread = threading.Thread(target=dial)
        thread.start()
        wait_until(lambda: connection._stream.fileno() >= 0 and _connected(connection))
        connection.abort()
        thread.join(3)
        assert not thread.is_alive()
        assert len(failures) == 1
        connection.close()


def _connected(connection: Connection) -> bool:
    try:
        connection._stream._sock.getpeername()
    except OSError:
        return False
    return True


def test_an_abort_ends_receiving_and_sending(authority: Authority) -> None:
    """A waiting `receive` raises, and a later `send` does."""
    with gateway(ssl_context=authority.server_context()) as served:
        connection = dialled(served.url, ca_file=authority.ca_file)
        failures: list[BaseException] = []

        def receive() -> None:
            try:
                connection.receive()
            except SessionClosed as error:
                failures.append(error)

        thread = threading.Thread(target=receive)
        thread.start()
        connection.abort()
        thread.join(3)
        assert [error.code for error in failures] == [1006]  # type: ignore[attr-defined]
        with pytest.raises(SessionClosed):
            connection.send("more")
        connection.close()
        connection.close()
        connection.abort()


def test_a_reset_is_a_close_without_a_frame() -> None:
    """RST, and not a close: 1006, to be tried again."""
    with gateway() as served:
        connection = dialled(served.url)
        served.wait_for(lambda: served.connections, 5)
        served.drop_all()
        with pytest.raises(SessionClosed) as info:
            connection.receive()
        connection.close()
        assert (info.value.code, info.value.retryable) == (1006, True)


def test_the_key_is_in_no_error() -> None:
    """Whatever fails, the key is not repeated."""
    with gateway(key="right") as served, pytest.raises(AuthenticationRejected) as info:
        dialled(served.url, key="a-secret-of-mine")
    assert "a-secret-of-mine" not in f"{info.value!r} {info.value.__cause__!r}"


def test_a_text_that_is_not_utf8_is_given_with_replacements() -> None:
    """One broken message does not end the connection."""

    def send(peer: socket.socket) -> None:
        upgrade(peer)
        peer.sendall(b"\x81\x03a\xff\xfe")
        until_gone(peer)

    with server(send) as port:
        connection = dialled(f"ws://127.0.0.1:{port}")
        assert connection.receive() == "a\ufffd\ufffd"
        connection.close()


def test_a_ping_is_answered_while_waiting_for_a_message() -> None:
    """The pong carries what the ping did, and `receive` goes on waiting."""
    pongs: list[bytes] = []

    def ping(peer: socket.socket) -> None:
        upgrade(peer)
        peer.sendall(b"\x89\x02hi")
        pongs.append(peer.recv(100))
        peer.sendall(b"\x81\x02ok")
        until_gone(peer)

    with server(ping) as port:
        connection = dialled(f"ws://127.0.0.1:{port}")
        assert connection.receive() == "ok"
        connection.close()
    [pong] = pongs
    mask, body = pong[2:6], pong[6:]
    assert (pong[0], bytes(a ^ b for a, b in zip(body, mask, strict=False))) == (0x8A, b"hi")


def test_no_compression_is_offered() -> None:
    """permessage-deflate breaks some routes, so the request does not name it."""
    with gateway() as served:
        connection = dialled(served.url)
        served.wait_for(lambda: served.connections, 5)
        assert "sec-websocket-extensions" not in served.connections[0].headers
        connection.close()


PING, PONG, BINARY, CLOSE = 0x9, 0xA, 0x2, 0x8


def frame(opcode: int, data: bytes, *, final: bool = True) -> bytes:
    """A frame as a server sends it."""
    head = bytes([opcode | (0x80 if final else 0)])
    if len(data) < 126:
        return head + bytes([len(data)]) + data
    return head + b"\x7f" + len(data).to_bytes(8, "big") + data


def test_a_pong_that_answers_our_ping_is_noticed() -> None:
    """One that nobody asked for is not: some peers send them as a sign of life."""

    def pong(peer: socket.socket) -> None:
        upgrade(peer)
        peer.sendall(frame(PONG, b"") + frame(BINARY, b"first"))
        opcode, data = read_frame(peer)
        assert opcode == PING
        peer.sendall(frame(PONG, data) + frame(BINARY, b"second"))
        until_gone(peer)

    with server(pong) as port:
        connection = dialled(f"ws://127.0.0.1:{port}")
        assert connection.receive() == b"first"
        assert not connection.vitals().answers_pings
        connection.ping()
        assert connection.receive() == b"second"
        assert connection.vitals().answers_pings
        connection.close()


def test_a_ping_goes_out_beside_a_sending_thread() -> None:
    """Frames do not run into each other, whichever thread sends them."""
    frames: list[int] = []

    def read(peer: socket.socket) -> None:
        upgrade(peer)
        while len(frames) < 400:
            opcode, data = read_frame(peer)
            assert data in (bytes(640), b"?")
            frames.append(opcode)
        peer.sendall(frame(BINARY, b"all"))
        until_gone(peer)

    with server(read) as port:
        connection = dialled(f"ws://127.0.0.1:{port}")

        def send() -> None:
            for _ in range(200):
                connection.send(bytes(640))

        sender = threading.Thread(target=send)
        sender.start()
        for _ in range(200):
            connection.ping()
        sender.join(10)
        assert connection.receive() == b"all"
        connection.close()
    assert (frames.count(PING), frames.count(BINARY)) == (200, 200)


def test_a_ping_into_a_connection_that_is_gone_is_a_closed_session() -> None:
    """As sending is: a failed keepalive is a lost connection."""
    with gateway() as served:
        connection = dialled(served.url)
        connection.abort()
        with pytest.raises(SessionClosed):
            connection.ping()
        connection.close()
        assert connection.vitals().silent_since is None


def test_vitals_say_whether_somebody_waits_and_what_is_acknowledged() -> None:
    """Silent is who is waited for; this machine's kernel acknowledges at once."""
    with gateway() as served:
        connection = dialled(served.url)
        before = connection.vitals()
        assert before.silent_since is None
        began = time.monotonic()

        def read() -> None:
            with pytest.raises(SessionClosed):
                connection.receive()

        reader = threading.Thread(target=read)
        reader.start()
        assert wait_until(lambda: connection.vitals().silent_since)
        since = connection.vitals().silent_since
        assert since is not None
        assert began <= since <= time.monotonic()
        connection.ping()
        after = connection.vitals()
        assert after.sent_bytes == before.sent_bytes + 7
        assert wait_until(lambda: connection.vitals().acknowledged_bytes == after.sent_bytes)
        connection.abort()
        reader.join(5)
        connection.close()


def test_what_a_peer_does_not_read_is_not_acknowledged() -> None:
    """Its kernel takes as much as its buffer holds; the rest stays in ours."""
    over = threading.Event()

    def take_nothing(peer: socket.socket) -> None:
        upgrade(peer)
        over.wait(30)

    with server(take_nothing) as port:
        connection = dialled(f"ws://127.0.0.1:{port}")
        connection._stream.limit_sending(0.3)
        with pytest.raises(SessionClosed, match="takes no data any more"):
            send_for_ever(connection)
        vitals = connection.vitals()
        assert 0 < vitals.acknowledged_bytes < vitals.sent_bytes
        connection.close()
        over.set()


def send_for_ever(connection: Connection) -> None:
    """Until it raises."""
    while True:
        connection.send(bytes(65536))


@pytest.mark.parametrize(
    "pieces",
    [
        [b"\x82\x7f" + (2**40).to_bytes(8, "big")],
        [frame(BINARY, bytes(MESSAGE_BYTES // 4), final=False)]
        + [frame(0, bytes(MESSAGE_BYTES // 4), final=False)] * 3
        + [frame(0, bytes(100))],
    ],
    ids=["one frame", "fragments"],
)
def test_a_message_without_bounds_is_refused(pieces: list[bytes]) -> None:
    """The connection is closed with 1009 before the message is held as a whole."""
    codes: list[bytes] = []

    def send(peer: socket.socket) -> None:
        upgrade(peer)
        for piece in pieces:
            peer.sendall(piece)
        opcode, data = read_frame(peer)
        assert opcode == CLOSE
        codes.append(data)
        until_gone(peer)

    with server(send) as port:
        connection = dialled(f"ws://127.0.0.1:{port}")
        with pytest.raises(RemoteProtocolError, match="more than 4 MB") as info:
            connection.receive()
        connection.close()
    assert info.value.retryable
    assert codes == [(1009).to_bytes(2, "big")]


def test_a_message_as_large_as_allowed_is_given() -> None:
    """Also in fragments with pings between them, and one after the other."""
    half = MESSAGE_BYTES // 2

    def send(peer: socket.socket) -> None:
        upgrade(peer)
        peer.sendall(frame(BINARY, bytes(half), final=False))
        for _ in range(50):
            peer.sendall(frame(PONG, bytes(100)))
        peer.sendall(frame(0, bytes(half - 20)) + frame(BINARY, bytes(MESSAGE_BYTES)))
        until_gone(peer)

    with server(send) as port:
        connection = dialled(f"ws://127.0.0.1:{port}")
        assert len(connection.receive()) == MESSAGE_BYTES - 20
        assert len(connection.receive()) == MESSAGE_BYTES
        connection.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n" + b"A: b\r\n" * 300_000, "more than any gateway"),
        (b"HTTP/1.1 503 Oh\r\nContent-Length: 99999999\r\n\r\n" + b"Oh " * 600_000, "503: Oh Oh"),
    ],
    ids=["headers", "body"],
)
def test_an_answer_to_the_upgrade_without_bounds_is_refused(answer: bytes, why: str) -> None:
    """It is held neither in memory nor for the whole time for dialling."""

    def flood(peer: socket.socket) -> None:
        peer.recv(4096)
        try:
            peer.sendall(answer)
        except OSError:
            return  # the client has seen enough
        until_gone(peer)

    with server(flood) as port, pytest.raises(ConnectFailed, match=why):
        dialled(f"ws://127.0.0.1:{port}", timeout_s=30)


class Watched:
    """A connection with its two threads, watched as the sessions do; `died_at` is when it ended.

    Args:
        url: The peer.
        data: Sent each `every_s`.
    """

    def __init__(self, url: str, data: bytes, every_s: float) -> None:
        self.connection = dialled(url)
        self.why = ""
        self.pings = 0
        self.died_at = 0.0
        self._stopping = threading.Event()
        self._data, self._every_s = data, every_s
        self._threads = [
            threading.Thread(target=body, daemon=True) for body in (self._receive, self._send)
        ]
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until it dies, at most so long; then everything is over."""
        self._threads[1].join(timeout_s)
        self._stopping.set()
        self.connection.abort()
        for thread in self._threads:
            thread.join(5)
        self.connection.close()

    def _receive(self) -> None:
        try:
            while True:
                self.connection.receive()
        except GatewayError as error:
            self.why = self.why or str(error)

    def _send(self) -> None:
        liveness = Liveness(time.monotonic())
        due = time.monotonic() + self._every_s
        try:
            while not self._stopping.wait(
                max(0.0, min(due, liveness.deadline()) - time.monotonic())
            ):
                if self.why:
                    break
                match liveness.expire(time.monotonic(), self.connection.vitals()):
                    case Ping():
                        self.pings += 1
                        self.connection.ping()
                    case Dead(why):
                        self.why = why
                        break
                if time.monotonic() >= due:
                    due += self._every_s
                    self.connection.send(self._data)
        except SessionClosed as error:
            self.why = self.why or str(error)
        if not self._stopping.is_set():
            self.died_at = time.monotonic()


KEEPALIVE, AUDIO, STREAM, BACKLOG = bytes(20), bytes(640), bytes(65536), bytes(4_000_000)


def answer_one_ping(peer: socket.socket) -> float:
    """Read all until a ping has come, and answer it; when."""
    while True:
        opcode, data = read_frame(peer)
        if opcode == PING:
            peer.sendall(frame(PONG, data))
            return time.monotonic()


def test_dead_peers_are_noticed_within_ten_seconds() -> None:
    """The process freezes in silence or in live audio, or takes no more of a stream: all found.

    And found dead is neither who never answers a ping, nor who takes a backlog slowly.
    """
    froze_at: dict[str, float] = {}
    over = threading.Event()

    def freeze(name: str) -> Callable[[socket.socket], None]:
        def serve(peer: socket.socket) -> None:
            upgrade(peer)
            froze_at[name] = answer_one_ping(peer)
            over.wait(60)

        return serve

    def take_nothing(peer: socket.socket) -> None:
        upgrade(peer)
        froze_at["stream"] = time.monotonic()
        over.wait(60)

    def ignore_pings(peer: socket.socket) -> None:
        upgrade(peer)
        until_gone(peer)

    def take_slowly(peer: socket.socket) -> None:
        upgrade(peer)
        answer_one_ping(peer)
        while not over.wait(0.5):
            peer.recv(32_000)

    with ExitStack() as stack:

        def watched(serve: Callable[[socket.socket], None], data: bytes, every_s: float) -> Watched:
            url = f"ws://127.0.0.1:{stack.enter_context(server(serve))}"
            return Watched(url, data, every_s)

        found = {
            "silence": watched(freeze("silence"), KEEPALIVE, 5.0),
            "live": watched(freeze("live"), AUDIO, 0.02),
            "stream": watched(take_nothing, STREAM, 0.001),
        }
        spared = [
            watched(ignore_pings, KEEPALIVE, 5.0),
            watched(take_slowly, BACKLOG, 5.0),
        ]
        stack.callback(over.set)
        for each in found.values():
            each.join(20)
        for each in spared:
            each.join(max(0.0, min(froze_at.values()) + 18 - time.monotonic()))
    assert {name: bool(each.died_at) for name, each in found.items()} == dict.fromkeys(found, True)
    took_s = {name: each.died_at - froze_at[name] for name, each in found.items()}
    assert max(took_s.values()) <= 10, took_s
    assert "does not answer a ping" in found["silence"].why
    assert [each.died_at for each in spared] == [0.0, 0.0], [each.why for each in spared]
    assert spared[0].pings >= 3
