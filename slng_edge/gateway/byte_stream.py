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
import fcntl
import socket
import ssl
import struct
import sys
import termios
import threading
import time

from slng_edge.gateway.name_resolution import resolve

RECEIVE_BYTES = 65536
SEND_LOOK_S = 0.5
"""How often is looked whether the peer acknowledges what it is sent."""

_UNOPENED = socket.socket()
"""Before `connect` there is a closed one: where descriptors have run out, dialling is to say so."""
_UNOPENED.close()


class TooMuchReceived(OSError):
    """The peer has sent more than `ByteStream.allow` had allowed."""


class ByteStream:
    """What websocket-client needs of a socket to ask for the upgrade, and then carries frames.

    One thread may `recv` while another one `send`s; `abort` may come from any thread.

    Attributes:
        silent_since: `time.monotonic()` since when a `recv` has been waiting for the network;
            None while none waits. Any thread may read it.
        sent_bytes: Given to the kernel so far, TLS included. Any thread may read it.
    """

    def __init__(self) -> None:
        self._sock = _UNOPENED
        self._aborted = False
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._state = threading.Lock()
        self._sending = threading.Lock()
        self._received = memoryview(b"")
        self._deadline: float | None = None
        self._stall_s = 0.0
        self._look_s = SEND_LOOK_S
        self._looked_at = 0.0
        self._moved_at = 0.0
        self._acknowledged_bytes = 0
        self._allowed_bytes = sys.maxsize
        self.silent_since: float | None = None
        self.sent_bytes = 0

    def connect(self, host: str, port: int, *, deadline: float, user_timeout_s: float) -> None:
        """Connect to the first address of `host` that answers; its name is resolved each time.

        Each address gets its share of the time that is left, so that one that swallows
        everything (IPv6 that leads nowhere) does not use up the time of the next.

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
        for index, (family, kind, proto, _, address) in enumerate(addresses):
            with self._state:
                self._sock.close()
                self._sock = socket.socket(family, kind, proto)
                if self._aborted:
                    raise OSError(errno.ECONNABORTED, "stopped while connecting")
            try:
                left_s = (deadline - time.monotonic()) / (len(addresses) - index)
                self._sock.settimeout(max(0.05, left_s))
                self._sock.connect(address)
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                timeout_ms = int(user_timeout_s * 1000)
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
            except OSError as error:
                failure = error
            else:
                self._sock.settimeout(max(0.05, deadline - time.monotonic()))
                return
        raise failure

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Shake hands, within the deadline of `connect`.

        Raises:
            ssl.SSLError: the certificate or the handshake is refused.
            OSError: the connection broke or timed out.
        """
        self._incoming.write(self._received)  # what came early belongs to the handshake
        self._received = memoryview(b"")
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

        A reader of frames asks for a few bytes at a time; they come from what one large
        read of the socket has brought.

        Raises:
            TooMuchReceived: more came than `allow` had allowed.
            OSError: the connection broke, or timed out.
        """
        if not self._received:
            self._received = memoryview(self._read())
        data = bytes(self._received[:size])
        self._received = self._received[size:]
        self._allowed_bytes -= len(data)
        if self._allowed_bytes < 0:
            raise TooMuchReceived(errno.EMSGSIZE, "the peer sends more than it may")
        return data

    def allow(self, size: int = sys.maxsize) -> None:
        """Let `recv` give `size` bytes from now on, and no more. The reader's thread."""
        self._allowed_bytes = size

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
        """Let a `send` fail, and `recv` wait without limit.

        A `send` fails when it waits for room and the peer has acknowledged nothing for
        `timeout_s`. That is not the kernel's SO_SNDTIMEO, which wakes a sender only when a third
        of the buffer is free; nor TCP_USER_TIMEOUT, which counts from the first loss on and was
        measured to end connections on full and lossy uplinks that moved all the time.
        """
        self._deadline = None
        self._stall_s = timeout_s
        self._look_s = min(SEND_LOOK_S, timeout_s / 4)
        self._sock.settimeout(None)
        interval = struct.pack("ll", int(self._look_s), int(self._look_s % 1 * 1_000_000))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)

    def unacknowledged_bytes(self) -> int:
        """What the kernel holds that the peer has not acknowledged; 0 once closed. Any thread."""
        try:
            held = fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(4))  # SIOCOUTQ of tcp(7)
        except (OSError, ValueError):
            return 0  # closed: whoever sends or receives is told so
        return int.from_bytes(held, sys.byteorder)

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

    def _receive(self) -> bytes:
        if self._deadline is not None:  # a peer may not stretch it by sending bit by bit
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "the peer took too long")
            self._sock.settimeout(left_s)
        self.silent_since = time.monotonic()
        try:
            return self._sock.recv(RECEIVE_BYTES)
        finally:
            self.silent_since = None

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
        now = time.monotonic()
        if now - self._looked_at >= self._look_s:
            self._look(now)
        while view:
            try:
                sent = self._sock.send(view)
            except BlockingIOError as error:  # no room for as long as SO_SNDTIMEO
                now = time.monotonic()
                self._look(now)
                if now - self._moved_at >= self._stall_s:
                    raise TimeoutError(errno.ETIMEDOUT, "the peer takes no data") from error
                continue
            self.sent_bytes += sent
            view = view[sent:]

    def _look(self, now: float) -> None:
        left_bytes = self.unacknowledged_bytes()
        acknowledged_bytes = self.sent_bytes - left_bytes
        if not left_bytes or acknowledged_bytes > self._acknowledged_bytes:
            self._moved_at = now
        self._acknowledged_bytes = acknowledged_bytes
        self._looked_at = now
