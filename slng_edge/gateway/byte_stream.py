"""A TCP connection, with TLS or without, that one thread may read while another writes.

Why not `ssl.SSLSocket`: on Python before 3.13 a reader and a writer share one OpenSSL state
without a lock, and with a socket timeout that ends connections by itself (`recv` sees a false
end of stream). Here OpenSSL works on memory (`ssl.MemoryBIO`), every call to it is under one
lock and never waits, and the threads wait on the plain socket outside of that lock.

    recv:  socket ──recv, no lock──▶ incoming BIO ──lock: read──▶ plain bytes
    send:  plain bytes ──lock: write──▶ outgoing BIO ──send lock──▶ socket
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import struct
import threading
import time

from slng_edge.gateway.name_resolution import resolve

RECEIVE_BYTES = 65536


class ByteStream:
    """What websocket-client needs of a socket: `recv`, `send`, timeouts, `shutdown`, `close`.

    One thread may `recv` while another one `send`s; `abort` may come from any thread.
    """

    def __init__(self) -> None:
        self._sock = socket.socket()
        self._aborted = False
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._state = threading.Lock()
        self._sending = threading.Lock()
        self._received = memoryview(b"")
        self._deadline: float | None = None

    def connect(self, host: str, port: int, *, deadline: float, user_timeout_s: float) -> None:
        """Connect to the first address of `host` that answers; its name is resolved each time.

        Args:
            host: Name or address.
            port: TCP port.
            deadline: `time.monotonic()` by which a connection must stand, and until
                `limit_sending` all that is received must have come.
            user_timeout_s: How long sent data may stay without acknowledgement before
                the kernel gives the connection up (TCP_USER_TIMEOUT).

        Raises:
            OSError: no address answered (the last one's error), or `abort` was called.
        """
        self._deadline = deadline
        failure = OSError(errno.EHOSTUNREACH, "the name has no address")
        addresses = resolve(host, port, deadline=deadline, aborted=lambda: self._aborted)
        for family, kind, proto, _, address in addresses:
            with self._state:
                self._sock.close()
                self._sock = socket.socket(family, kind, proto)
                if self._aborted:
                    raise OSError(errno.ECONNABORTED, "stopped while connecting")
            try:
                self._sock.settimeout(max(0.05, deadline - time.monotonic()))
                self._sock.connect(address)
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                timeout_ms = int(user_timeout_s * 1000)
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
            except OSError as error:
                failure = error
            else:
                return
        raise failure

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Shake hands, within the deadline of `connect`.

        Raises:
            ssl.SSLError: the certificate or the handshake is refused.
            OSError: the connection broke or timed out.
        """
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    self._incoming.write_eof()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush()  # the alert that tells the server why
                raise
            else:
                break
        self._tls = tls
        self._flush()

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes, b"" at the end of the stream; waits for the first one.

        websocket-client asks for a few bytes at a time; they come from what one large
        read of the socket has brought.
        """
        if not self._received:
            self._received = memoryview(self._read())
        data = bytes(self._received[:size])
        self._received = self._received[size:]
        return data

    def _read(self) -> bytes:
        if self._tls is None:
            return self._receive()
        while True:
            with self._state:
                try:
                    data = self._tls.read(RECEIVE_BYTES)
                except ssl.SSLWantReadError:
                    data = None
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return b""
                answers = self._outgoing.pending
            if answers:  # TLS wants to say something itself, a key update for instance
                self._flush()
            if data is not None:
                return data
            if not self._fill():
                with self._state:
                    self._incoming.write_eof()
                return b""

    def send(self, data: bytes) -> int:
        """Write all of `data`; returns its length.

        Raises:
            TimeoutError: the peer took nothing for the send timeout.
            OSError: the connection is gone.
        """
        if self._tls is None:
            with self._sending:
                self._send_all(data)
            return len(data)
        with self._sending:
            with self._state:
                self._tls.write(data)
                encrypted = self._outgoing.read()
            self._send_all(encrypted)
        return len(data)

    def gettimeout(self) -> float | None:
        """The timeout of each step in seconds; None: waits until `abort`."""
        return self._sock.gettimeout()

    def settimeout(self, timeout_s: float | None) -> None:
        """Limit each step of receiving and sending to `timeout_s`."""
        self._sock.settimeout(timeout_s)

    def limit_sending(self, timeout_s: float) -> None:
        """Let a `send` fail after `timeout_s` without progress, and `recv` wait without limit.

        Two limits that differ need the kernel's own: Python's socket timeout covers both.
        """
        self._deadline = None
        self._sock.settimeout(None)
        interval = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)

    def fileno(self) -> int:
        """The socket's descriptor, -1 once it is closed."""
        return self._sock.fileno()

    def abort(self) -> None:
        """End the connection at once: a waiting `connect`, `recv` or `send` returns. Any thread."""
        with self._state:
            self._aborted = True
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the descriptor; only when no other thread uses the stream any more."""
        self._sock.close()

    def shutdown(self, how: int) -> None:
        """As `socket.shutdown`; websocket-client calls it."""
        self._sock.shutdown(how)

    def _receive(self) -> bytes:
        if self._deadline is not None:  # a peer may not stretch it by sending bit by bit
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "the peer took too long")
            self._sock.settimeout(left_s)
        return self._sock.recv(RECEIVE_BYTES)

    def _fill(self) -> bool:
        data = self._receive()
        with self._state:
            self._incoming.write(data)
        return bool(data)

    def _flush(self) -> None:
        with self._sending:
            with self._state:
                encrypted = self._outgoing.read()
            self._send_all(encrypted)

    def _send_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                sent = self._sock.send(view)
            except BlockingIOError as error:  # SO_SNDTIMEO has run out
                raise TimeoutError(errno.ETIMEDOUT, "the peer takes no data") from error
            view = view[sent:]
