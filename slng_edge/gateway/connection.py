"""One WebSocket to the gateway: dial, send, receive, ping, abort.

The only file that imports websocket-client, and the one that translates its exceptions.
One thread may send while another receives. There is no timeout on receiving: whoever keeps
the deadlines ends a connection with `abort` (see `byte_stream` for why), and asks `Liveness`
what the connection's `vitals` mean.

websocket-client asks for the upgrade. What follows is read and written here: the answer to the
upgrade by `upgrade_answer`, as it may be anything, frames by `frame_reader` and `frame_writer`, and
how much may come says `receive_allowance`.
"""

from __future__ import annotations

import contextlib
import http
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import websocket

from slng_edge.errors import ConnectFailed, GatewayError, SessionClosed
from slng_edge.gateway.byte_stream import ByteStream
from slng_edge.gateway.dial_failures import certificate_refused, connect_failed, tls_context
from slng_edge.gateway.frame_reader import (
    BINARY,
    CLOSE,
    CLOSE_TOO_LARGE,
    PING,
    PONG,
    TEXT,
    FrameReader,
    RuleBroken,
    StreamEnded,
)
from slng_edge.gateway.frame_writer import encode_frame
from slng_edge.gateway.liveness import Vitals
from slng_edge.gateway.receive_allowance import TTS_LIMITS, ReceiveAllowance, ReceiveLimits
from slng_edge.gateway.tunnel import open_tunnel
from slng_edge.gateway.upgrade_answer import UpgradeAnswer
from slng_edge.protocol.failures import error_for_close, error_for_status
from slng_edge.protocol.routes import Endpoint
from slng_edge.proxies import proxy_for
from slng_edge.secrets import hide_known

SEND_TIMEOUT_S = 8.0
"""For a dead peer to be noticed within 10 s (protocol.md, 7) by a send that waits for room."""
USER_TIMEOUT_S = 30.0
"""What the kernel does by itself, should nobody ask `Liveness`: it counts from the first loss, and
with 8 s was measured to end a connection over a full uplink of 256 kbit/s that moved all the time.
"""

MESSAGE_BYTES = 4 * 1024 * 1024
"""87 s of 24 kHz speech, 65 s as base64, in one message; gateways send it in pieces of a second at
the most. Read, decoded and handed on it takes up to five times as much memory for a moment."""

CLOSE_NORMAL = 1000
CLOSE_WITHOUT_FRAME = 1006

WIDE_CHARS = 1024 * 1024
"""Of a text that is not ASCII, which one character can make four times as large in memory as it
came. What is longer is audio in base64."""

_UNASKED = ("sec-websocket-extensions", "sec-websocket-protocol")

PING_PAYLOAD = b"?"
"""A pong without it answers no ping of ours: RFC 6455, 5.5.3 allows pongs that nobody asked for."""


@dataclass(frozen=True)
class DialSettings:
    """How connections are made: `timeout_s` for all of it, `ca_file` an extra authority.

    `limits` is what may come on one.
    """

    timeout_s: float = 10.0
    ca_file: str = ""
    limits: ReceiveLimits = TTS_LIMITS


class Connection:
    """A WebSocket to be dialled once; `abort` works from the first moment on."""

    def __init__(self) -> None:
        self._stream = ByteStream()
        self._reader = FrameReader(self._stream.recv, message_bytes=MESSAGE_BYTES)
        self._allowance = ReceiveAllowance(TTS_LIMITS, time.monotonic())
        self._answers_pings = False

    def dial(self, endpoint: Endpoint, settings: DialSettings) -> None:
        """Connect and upgrade, within `settings.timeout_s`.

        The caller closes the connection, also when this raises.

        Through a proxy where the environment names one (see `proxy`).

        Raises:
            ConnectFailed: DNS, TCP, TLS, HTTP or the proxy failed in a way that may pass.
            AuthenticationRejected: HTTP 401 or 403.
            RequestRejected: HTTP 400, 404 and the like, or the proxy refuses for good.
            RateLimited: HTTP 429.
            ConfigError: `ca_file` cannot be used, or the environment's proxy cannot.
        """
        parts = urlsplit(endpoint.url)
        secure = parts.scheme == "wss"
        host = parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        context = tls_context(settings.ca_file) if secure else None
        proxy = proxy_for(parts.scheme, host, port)
        where = str(proxy) if proxy else f"{host}:{port}"
        named_by = f"${proxy.variable}" if proxy else "gateway.world_part or gateway.url"
        deadline = time.monotonic() + settings.timeout_s
        upgrade = websocket.WebSocket()
        try:
            self._stream.connect(
                proxy.host if proxy else host,
                proxy.port if proxy else port,
                deadline=deadline,
                user_timeout_s=USER_TIMEOUT_S,
            )
            if proxy is not None:
                open_tunnel(self._stream, proxy, host, port)
                where = f"{host}:{port} through {proxy}"
            if context is not None:
                self._stream.start_tls(context, host)
            upgrade.connect(  # type: ignore[no-untyped-call]
                endpoint.url,
                socket=UpgradeAnswer(self._stream),
                header=[f"{name}: {value}" for name, value in endpoint.headers],
                suppress_origin=True,
                redirect_limit=0,  # a redirect would carry the key to another host
            )
            self._stream.limit_sending(SEND_TIMEOUT_S)
            self._allowance = ReceiveAllowance(settings.limits, time.monotonic())
        except websocket.WebSocketBadStatusException as error:
            raise _status_error(error) from error
        except ssl.SSLCertVerificationError as error:
            raise certificate_refused(where, error) from error
        except (websocket.WebSocketException, OSError, ValueError) as error:
            # Releases differ in whether a redirect that is not followed is an exception.
            status = upgrade.getstatus()
            if status not in (None, http.HTTPStatus.SWITCHING_PROTOCOLS):
                raise _not_upgraded(upgrade) from error
            timed_out = isinstance(error, websocket.WebSocketTimeoutException)
            cause = TimeoutError(str(error)) if timed_out else error
            raise connect_failed(where, named_by, cause, settings.timeout_s) from error
        finally:
            # It holds itself by its frame buffer: it is found late, and must not keep the stream.
            upgrade.sock = None
        if upgrade.getstatus() != http.HTTPStatus.SWITCHING_PROTOCOLS:
            raise _not_upgraded(upgrade)
        unasked = [name for name in _UNASKED if name in (upgrade.getheaders() or {})]
        if unasked:  # RFC 6455, 4.1: what was not offered cannot be accepted
            raise ConnectFailed(f"{where} accepted {unasked[0]}, which was not offered")

    def send(self, message: str | bytes) -> None:
        """Send one text (str) or binary (bytes) message; waits at most `SEND_TIMEOUT_S`.

        Raises:
            SessionClosed: the connection is gone, or the peer takes no data.
        """
        if isinstance(message, str):
            self._send(TEXT, message.encode())
        else:
            self._send(BINARY, message)
        self._allowance.sent(len(message))

    def ping(self) -> None:
        """Send a ping; beside a sending thread, and waits as `send` does. Any thread.

        Raises:
            SessionClosed: as `send`.
        """
        self._send(PING, PING_PAYLOAD)

    def _send(self, opcode: int, data: bytes) -> None:
        try:
            self._stream.send(encode_frame(opcode, data))
        except TimeoutError as error:
            raise SessionClosed("sending failed: the gateway takes no data any more") from error
        except OSError as error:
            raise SessionClosed(f"sending failed: {error}") from error

    def vitals(self) -> Vitals:
        """What is known of the peer now, for `Liveness`; waits for nothing. Any thread."""
        # In this order: bytes sent in between must not count as acknowledged.
        sent_bytes = self._stream.sent_bytes
        return Vitals(
            silent_since=self._stream.silent_since,
            answers_pings=self._answers_pings,
            sent_bytes=sent_bytes,
            acknowledged_bytes=sent_bytes - self._stream.unacknowledged_bytes(),
        )

    def receive(self) -> str | bytes:
        """The next message; waits until one comes or `abort` is called.

        A text that is not UTF-8 is given with replacement characters: the dialect
        decides what to do with it. A key that the gateway repeats is hidden. Pings are
        answered here, and pongs noticed.

        Raises:
            RemoteProtocolError: what came breaks the rules of WebSockets, is a message of more
                than `MESSAGE_BYTES`, or more than the allowance; the connection is closed.
            GatewayError: the connection is over; as `error_for_close` says of its code,
                1006 where it broke without a close frame.
        """
        try:
            while True:
                message = self._reader.read()
                self._allowance.received(message.frames, len(message.data), time.monotonic())
                opcode, data = message.opcode, message.data
                if opcode == TEXT:
                    return _text(data)
                if opcode == BINARY:
                    return data
                if opcode == CLOSE:
                    self.say_goodbye()
                    raise _closed_by_peer(data)
                if opcode == PING:
                    self._stream.send(encode_frame(PONG, data))
                else:
                    self._answers_pings |= data == PING_PAYLOAD
        except RuleBroken as error:
            self._send_close(error.code)
            self._stream.abort()
            raise
        except StreamEnded as error:
            raise error_for_close(CLOSE_WITHOUT_FRAME, "the connection broke") from error
        except OSError as error:
            raise error_for_close(CLOSE_WITHOUT_FRAME, str(error)) from error

    def say_goodbye(self) -> None:
        """Send a close frame; the peer's answer ends `receive`. Errors do not matter here."""
        self._send_close(CLOSE_NORMAL)

    def _send_close(self, code: int) -> None:
        with contextlib.suppress(OSError):
            self._stream.send(encode_frame(CLOSE, code.to_bytes(2)))

    def abort(self) -> None:
        """End the connection at once: a waiting `receive` or `send` raises. Any thread."""
        self._stream.abort()

    def close(self) -> None:
        """Release the descriptor; once no other thread uses the connection any more."""
        self._stream.abort()
        self._stream.close()


def _status_error(error: websocket.WebSocketBadStatusException) -> GatewayError:
    body: Any = error.resp_body or b""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    return error_for_status(
        error.status_code, hide_known(text), error.resp_headers or {}, now=time.time()
    )


def _not_upgraded(upgrade: websocket.WebSocket) -> GatewayError:
    headers = upgrade.getheaders() or {}
    return error_for_status(upgrade.getstatus() or 0, "", headers, now=time.time())


def _text(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    if len(text) > WIDE_CHARS and not text.isascii():
        raise RuleBroken(
            f"the gateway sent a text of more than {WIDE_CHARS} characters", CLOSE_TOO_LARGE
        )
    return hide_known(text)


def _closed_by_peer(data: bytes) -> GatewayError:
    code = int.from_bytes(data[:2], "big") if len(data) >= 2 else 1005
    return error_for_close(code, hide_known(data[2:].decode("utf-8", "replace")))
