"""A TCP or TLS connection that one thread reads while another writes."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from authority import Authority
from tls_peer import TlsPeer

from slng_edge.gateway.byte_stream import ByteStream, TooMuchReceived

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


def test_a_peer_that_takes_little_by_little_ends_no_send() -> None:
    """What counts is that it acknowledges, however long there is no room for more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        stream = connected(server.getsockname()[1])
        accepted, _ = server.accept()
        stream.limit_sending(1.0)
        over = threading.Event()

        def read() -> None:
            while not over.wait(0.1):
                accepted.recv(32768)

        reader = threading.Thread(target=read)
        reader.start()
        began = time.monotonic()
        size = 0
        while time.monotonic() - began < 2.5:
            size += stream.send(bytes(200_000))
        assert stream.sent_bytes == size
        assert 0 < stream.unacknowledged_bytes() < size
        over.set()
        reader.join(5)
        stream.close()
        accepted.close()
        assert stream.unacknowledged_bytes() == 0


def test_no_more_is_received_than_is_allowed() -> None:
    """Whoever allows nothing takes all; then it is counted, whatever size is asked for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = connected(server.getsockname()[1])
        accepted, _ = server.accept()
        accepted.sendall(b"abcdefghij")
        assert stream.recv(4) == b"abcd"
        stream.allow(2)
        assert stream.recv(2) == b"ef"
        with pytest.raises(TooMuchReceived):
            stream.recv(1)
        stream.allow()
        assert stream.recv(1) == b"h"
        stream.close()
        accepted.close()


def test_silent_is_who_is_waited_for() -> None:
    """Since the wait began; not before, and not after."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = connected(server.getsockname()[1])
        accepted, _ = server.accept()
        assert stream.silent_since is None
        reader = threading.Thread(target=stream.recv, args=(1,))
        reader.start()
        wait_until(lambda: stream.silent_since is not None)
        assert stream.silent_since is not None
        accepted.sendall(b"x")
        reader.join(5)
        assert stream.silent_since is None
        stream.close()
        accepted.close()


def test_an_address_that_swallows_everything_leaves_time_for_the_next() -> None:
    """IPv6 that leads nowhere: the connection stands well before the deadline."""
    with ExitStack() as stack:
        try:
            nowhere = stack.enter_context(socket.socket(socket.AF_INET6))
            nowhere.bind(("::1", 0))
            port = nowhere.getsockname()[1]
            server = stack.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError as error:
            pytest.skip(f"no IPv6 here, or the port is taken: {error}")
        found = socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)
        if [family for family, *_ in found] != [socket.AF_INET6, socket.AF_INET]:
            pytest.skip("localhost has not both addresses, IPv6 first")
        nowhere.listen(0)
        for _ in range(3):  # a full queue swallows what comes
            filler = stack.enter_context(socket.socket(socket.AF_INET6))
            filler.setblocking(False)
            filler.connect_ex(("::1", port))
        stream = ByteStream()
        began = time.monotonic()
        stream.connect("localhost", port, deadline=began + 2, user_timeout_s=5)
        assert 0.5 < time.monotonic() - began < 1.8
        server.accept()[0].close()
        stream.close()


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
