"""A TCP or TLS connection that one thread reads while another writes."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable

import pytest
from authority import Authority
from tls_peer import TlsPeer

from slng_edge.gateway.byte_stream import ByteStream

FULL_RATE_S = float(os.environ.get("SLNG_EDGE_TLS_TEST_S", "5"))


def connected(port: int) -> ByteStream:
    stream = ByteStream()
    stream.connect("127.0.0.1", port, deadline=time.monotonic() + 5, user_timeout_s=5)
    return stream


def wait_until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until `holds`; the assertions after it say what is wrong where it does not."""
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)


def send_for_ever(stream: ByteStream) -> None:
    """Send until it raises."""
    while True:
        stream.send(bytes(65536))


def test_tls_holds_at_full_rate_both_ways(authority: Authority) -> None:
    """Sending and receiving flat out in two threads loses, repeats and reorders no byte."""
    with TlsPeer(authority.server_context()) as peer:
        stream = connected(peer.port)
        stream.start_tls(authority.client_context(), "127.0.0.1")
        stream.limit_sending(5.0)
        sent, received = hashlib.sha256(), hashlib.sha256()
        sizes = {"sent": 0, "received": 0}
        frame = os.urandom(640)
        stop_at = time.monotonic() + FULL_RATE_S

        def send() -> None:
            while time.monotonic() < stop_at:
                stream.send(frame)
                sent.update(frame)
                sizes["sent"] += len(frame)

        def receive() -> None:
            while data := stream.recv(16384):
                received.update(data)
                sizes["received"] += len(data)

        threads = [threading.Thread(target=body) for body in (send, receive)]
        for thread in threads:
            thread.start()
        threads[0].join(FULL_RATE_S + 10)
        peer.stop_flood()
        wait_until(lambda: peer.received_bytes == sizes["sent"])
        wait_until(lambda: sizes["received"] == peer.sent_bytes)
        stream.abort()
        threads[1].join(5)
        stream.close()
        assert sizes["sent"] > 640 * 1000
        assert sizes["received"] > 1_000_000
        assert (peer.received.digest(), received.digest()) == (sent.digest(), peer.sent.digest())


def test_an_abort_ends_a_waiting_recv(authority: Authority) -> None:
    """`abort` from another thread ends a `recv` that would wait for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = connected(server.getsockname()[1])
        accepted, _ = server.accept()
        stream.limit_sending(5.0)
        ended = threading.Event()

        def read() -> None:
            assert stream.recv(1) == b""
            ended.set()

        reader = threading.Thread(target=read)
        reader.start()
        stream.abort()
        assert ended.wait(2)
        reader.join(2)
        stream.close()
        accepted.close()


def test_an_abort_before_connecting_is_kept() -> None:
    """A stream that is stopped while its name is resolved never connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = ByteStream()
        stream.abort()
        with pytest.raises(OSError, match="stopped while connecting"):
            stream.connect(
                "127.0.0.1",
                server.getsockname()[1],
                deadline=time.monotonic() + 5,
                user_timeout_s=5,
            )
        stream.close()


def test_a_peer_that_takes_nothing_ends_a_send() -> None:
    """A send to a peer that has stopped reading fails after its own timeout, not never."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = connected(server.getsockname()[1])
        accepted, _ = server.accept()
        stream.limit_sending(0.2)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="takes no data"):
            send_for_ever(stream)
        assert time.monotonic() - began < 5
        stream.close()
        accepted.close()


def test_bytes_come_in_order_however_few_are_asked_for() -> None:
    """websocket-client asks for two bytes, then four, then the rest."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = connected(server.getsockname()[1])
        accepted, _ = server.accept()
        accepted.sendall(b"abcdefgh")
        accepted.close()
        assert [stream.recv(2), stream.recv(1), stream.recv(99)] == [b"ab", b"c", b"defgh"]
        assert stream.recv(1) == b""
        stream.close()


def test_an_authority_that_is_not_known_is_refused(authority: Authority) -> None:
    """Without the authority's file the handshake fails, and says that it is the certificate."""
    with TlsPeer(authority.server_context()) as peer:
        stream = connected(peer.port)
        with pytest.raises(ssl.SSLCertVerificationError):
            stream.start_tls(ssl.create_default_context(), "127.0.0.1")
        stream.close()
