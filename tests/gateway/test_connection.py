"""One WebSocket: dialling, what its failures are called, aborting."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
import trustme
from authority import Authority
from conversation_scripts import gateway, wait_until
from raw_server import server, until_gone, upgrade

from slng_edge.errors import (
    AuthenticationRejected,
    ConfigError,
    ConnectFailed,
    RateLimited,
    RequestRejected,
    SessionClosed,
)
from slng_edge.gateway.connection import Connection, DialSettings
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


def test_an_unknown_authority_is_refused(authority: Authority) -> None:
    """The message names the host and what to do; the attempt may be repeated."""
    with (
        gateway(ssl_context=authority.server_context()) as served,
        pytest.raises(ConnectFailed, match=r"certificate of 127\.0\.0\.1.*gateway\.ca_file"),
    ):
        dialled(served.url)


def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    """A certificate of a trusted authority does not help when the name is wrong."""
    with (
        gateway(ssl_context=authority.server_context("elsewhere.example")) as served,
        pytest.raises(ConnectFailed, match="was refused"),
    ):
        dialled(served.url, ca_file=authority.ca_file)


def test_an_expired_certificate_points_at_the_clock(authority: Authority) -> None:
    """A device without a clock sees valid certificates as not valid: say so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    authority.ca.issue_cert("127.0.0.1", not_after=long_ago).configure_cert(context)
    with (
        gateway(ssl_context=context) as served,
        pytest.raises(ConnectFailed, match="clock of this device"),
    ):
        dialled(served.url, ca_file=authority.ca_file)


def test_another_authority_does_not_help(authority: Authority) -> None:
    """A server whose certificate comes from a stranger is refused, `ca_file` or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with gateway(ssl_context=context) as served, pytest.raises(ConnectFailed, match="certificate"):
        dialled(served.url, ca_file=authority.ca_file)


def test_a_ca_file_that_cannot_be_used_is_a_config_error(tmp_path: Path) -> None:
    """Missing, or no PEM: the key of the config is named."""
    for path in (tmp_path / "none.pem", tmp_path / "empty.pem"):
        (tmp_path / "empty.pem").write_text("no certificate")
        with pytest.raises(ConfigError, match=r"gateway\.ca_file"):
            dialled("wss://127.0.0.1:1", ca_file=str(path))


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


def test_a_server_that_speaks_no_tls_is_a_failed_connection() -> None:
    """`wss://` to a plain server: one error, no traceback of the TLS library."""

    def answer(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with server(answer) as port, pytest.raises(ConnectFailed):
        dialled(f"wss://127.0.0.1:{port}", timeout_s=5)


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
