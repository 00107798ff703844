"""One WebSocket to the gateway: dial, send, receive, abort.

The only file that imports websocket-client, and the one that translates its exceptions.
One thread may send while another receives. There is no timeout on receiving: whoever keeps
the deadlines ends a connection with `abort` (see `byte_stream` for why).
"""

from __future__ import annotations

import contextlib
import http
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import websocket

from slng_edge.errors import ConfigError, ConnectFailed, GatewayError, SessionClosed
from slng_edge.gateway.byte_stream import ByteStream
from slng_edge.protocol.failures import error_for_close, error_for_status
from slng_edge.protocol.routes import Endpoint
from slng_edge.secrets import hide_known

SEND_TIMEOUT_S = 10.0
USER_TIMEOUT_S = 10.0
"""A dead peer is noticed within 10 s of the first unanswered byte (keepalives count)."""

CLOSE_NORMAL = 1000
CLOSE_WITHOUT_FRAME = 1006


@dataclass(frozen=True)
class DialSettings:
    """How connections are made: `timeout_s` for all of it, `ca_file` an extra authority."""

    timeout_s: float = 10.0
    ca_file: str = ""


class Connection:
    """A WebSocket to be dialled once; `abort` works from the first moment on."""

    def __init__(self) -> None:
        self._stream = ByteStream()
        self._ws = websocket.WebSocket(enable_multithread=True, skip_utf8_validation=True)

    def dial(self, endpoint: Endpoint, settings: DialSettings) -> None:
        """Connect and upgrade, within `settings.timeout_s`.

        The caller closes the connection, also when this raises.

        Raises:
            ConnectFailed: DNS, TCP, TLS or HTTP failed in a way that may pass.
            AuthenticationRejected: HTTP 401 or 403.
            RequestRejected: HTTP 400, 404 and the like.
            RateLimited: HTTP 429.
            ConfigError: `ca_file` cannot be used.
        """
        parts = urlsplit(endpoint.url)
        secure = parts.scheme == "wss"
        host = parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        where = f"{host}:{port}"
        context = _tls_context(settings.ca_file) if secure else None
        deadline = time.monotonic() + settings.timeout_s
        try:
            self._stream.connect(host, port, deadline=deadline, user_timeout_s=USER_TIMEOUT_S)
            if context is not None:
                self._stream.start_tls(context, host)
            self._ws.connect(  # type: ignore[no-untyped-call]
                endpoint.url,
                socket=self._stream,
                header=[f"{name}: {value}" for name, value in endpoint.headers],
                suppress_origin=True,
                redirect_limit=0,  # a redirect would carry the key to another host
            )
            self._stream.limit_sending(SEND_TIMEOUT_S)
        except websocket.WebSocketBadStatusException as error:
            raise _status_error(error) from error
        except ssl.SSLCertVerificationError as error:
            raise _certificate_refused(where, error) from error
        except (websocket.WebSocketException, OSError, ValueError) as error:
            # Releases differ in whether a redirect that is not followed is an exception.
            status = self._ws.getstatus()
            if status not in (None, http.HTTPStatus.SWITCHING_PROTOCOLS):
                raise self._not_upgraded(status) from error
            raise _connect_failed(where, error, settings.timeout_s) from error
        status = self._ws.getstatus()
        if status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            raise self._not_upgraded(status or 0)

    def _not_upgraded(self, status: int) -> GatewayError:
        return error_for_status(status, "", self._ws.getheaders() or {}, now=time.time())

    def send(self, message: str | bytes) -> None:
        """Send one text (str) or binary (bytes) message; waits at most `SEND_TIMEOUT_S`.

        Raises:
            SessionClosed: the connection is gone, or the peer takes no data.
        """
        try:
            if isinstance(message, str):
                self._ws.send(message)
            else:
                self._ws.send_binary(message)
        except (websocket.WebSocketException, OSError) as error:
            raise SessionClosed(f"sending failed: {error}") from error

    def receive(self) -> str | bytes:
        """The next message; waits until one comes or `abort` is called.

        A text that is not UTF-8 is given with replacement characters: the dialect
        decides what to do with it. A key that the gateway repeats is hidden. Pings are
        answered here.

        Raises:
            GatewayError: the connection is over; as `error_for_close` says of its code,
                1006 where it broke without a close frame.
        """
        try:
            while True:
                opcode, data = self._ws.recv_data(control_frame=True)
                if opcode == websocket.ABNF.OPCODE_TEXT:
                    return hide_known(bytes(data).decode("utf-8", "replace"))
                if opcode == websocket.ABNF.OPCODE_BINARY:
                    return bytes(data)
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    raise _closed_by_peer(data)
        except (websocket.WebSocketException, OSError) as error:
            raise _broken(error) from error

    def say_goodbye(self) -> None:
        """Send a close frame; the peer's answer ends `receive`. Errors do not matter here."""
        with contextlib.suppress(websocket.WebSocketException, OSError):
            self._ws.send_close(CLOSE_NORMAL, b"")

    def abort(self) -> None:
        """End the connection at once: a waiting `receive` or `send` raises. Any thread."""
        self._stream.abort()

    def close(self) -> None:
        """Release the descriptor; once no other thread uses the connection any more."""
        self._stream.abort()
        self._stream.close()


def _tls_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"gateway.ca_file = {ca_file!r} cannot be used: {error}. "
                "It must be a readable PEM file with the certificate of the authority."
            ) from error
    return context


def _status_error(error: websocket.WebSocketBadStatusException) -> GatewayError:
    body: Any = error.resp_body or b""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    return error_for_status(
        error.status_code, hide_known(text), error.resp_headers or {}, now=time.time()
    )


def _certificate_refused(where: str, error: ssl.SSLCertVerificationError) -> ConnectFailed:
    hint = "check gateway.url, or name the authority in gateway.ca_file"
    if "not yet valid" in str(error) or "expired" in str(error):
        hint = "check the clock of this device (`date`): it may not be set yet"
    return ConnectFailed(f"the certificate of {where} was refused: {error.verify_message}; {hint}")


def _connect_failed(where: str, error: Exception, timeout_s: float) -> ConnectFailed:
    if isinstance(error, socket.gaierror):
        return ConnectFailed(
            f"the name of {where} cannot be resolved ({error.strerror}): "
            "check the network, DNS and gateway.world_part or gateway.url"
        )
    if isinstance(error, TimeoutError | websocket.WebSocketTimeoutException):
        return ConnectFailed(f"{where} did not answer within {timeout_s:g} s")
    if isinstance(error, ConnectionRefusedError):
        return ConnectFailed(f"{where} refused the connection: nothing listens there")
    return ConnectFailed(f"no connection to {where}: {error}")


def _closed_by_peer(data: bytes) -> GatewayError:
    code = int.from_bytes(data[:2], "big") if len(data) >= 2 else 1005
    return error_for_close(code, hide_known(data[2:].decode("utf-8", "replace")))


def _broken(error: Exception) -> GatewayError:
    if isinstance(error, websocket.WebSocketConnectionClosedException):
        return error_for_close(CLOSE_WITHOUT_FRAME, "the connection broke")
    return error_for_close(CLOSE_WITHOUT_FRAME, str(error))
