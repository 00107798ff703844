"""Posts requests to one server, on a connection that is kept between turns.

Keeping it saves name, TCP and TLS before the first word of each reply. One that turns out to be
gone is replaced at once. What is tried a second time, and when, is `HttpClient.post`'s to say.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from datetime import UTC, datetime

from slng_edge import __version__
from slng_edge.errors import ConfigError, ResponderError
from slng_edge.proxies import proxy_for
from slng_edge.responders.http_exchange import (
    DEFAULT_TIMEOUTS,
    Answer,
    NoAnswer,
    Refused,
    Timeouts,
    exchange,
    head,
    open_tunnel,
)
from slng_edge.responders.http_failures import no_connection
from slng_edge.responders.interface import ResponderUnreachable
from slng_edge.responders.server_address import ServerAddress
from slng_edge.responders.socket_stream import POLL_S, SocketStream, Stopped, TookTooLong

log = logging.getLogger(__name__)

KEPT_S = 240.0
"""How long a connection without a question is used again; many servers close it after 60 s."""


class HttpClient:
    """One server. One thread calls `post`; `stop` and `close` may come from any.

    Args:
        address: Where questions go.
        key: Sent as `Authorization: Bearer`; "" for none.
        ca_file: An extra certificate authority; "" for none.
        accept: The media types that are understood.
        timeouts: How long each step may take.

    Raises:
        ConfigError: `ca_file` cannot be used, or the environment's proxy cannot.
    """

    def __init__(
        self,
        address: ServerAddress,
        *,
        key: str = "",
        ca_file: str = "",
        accept: str = "*/*",
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self._address = address
        self._timeouts = timeouts
        self._proxy = proxy_for(address.scheme, address.host, address.port)
        self._context = _tls_context(ca_file) if address.secure else None
        self._headers = {
            "Host": address.authority,
            "User-Agent": f"slng-edge/{__version__}",
            "Accept": accept,
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
        }
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
            if not address.secure and not address.is_loopback:
                log.warning(
                    "responder.url is http://: the key goes to %s unencrypted", address.authority
                )
        self._to_proxy: dict[str, str] = {}
        if self._proxy is not None and self._proxy.authorization:
            self._to_proxy["Proxy-Authorization"] = self._proxy.authorization
        self._lock = threading.Lock()
        # Under the lock.
        self._stream: SocketStream | None = None
        self._busy = False
        self._closed = False
        self._used_at = 0.0

    def post(self, body: bytes, stopped: Stopped, *, repeatable: bool) -> Answer:
        """Send `body`; returns when the answer's head has come, with status 2xx.

        Tries a second time where no connection came about, where a kept one turned out to be
        gone, and at 429 and 503 with a bearable `Retry-After`; where `repeatable`, also at any
        other 5xx and where the connection broke before the answer.

        Waits for at most twice `connect_s` and `first_byte_s`, and `longest_retry_s`; 0.1 s
        after `stopped` or `stop`.

        Raises:
            ResponderUnreachable: no connection, no answer in time, or 502, 503, 504.
            ResponderError: any other status than 2xx; or the client is closed.
            Abandoned: `stopped` says so.
        """
        deadline = time.monotonic() + self._timeouts.whole_s
        stream = self._take_kept(stopped)
        if stream is not None:
            try:
                return self._ask(stream, body, deadline)
            except NoAnswer as error:
                log.debug("the connection to %s was gone: %s", self._name, error.__cause__)
        try:
            return self._ask(self._open(stopped), body, deadline)
        except ResponderError as error:
            wait_s = self._wait_before_retry(error, repeatable=repeatable)
            if wait_s is None:
                raise
            log.warning("%s; it is asked once more", error)
        until = time.monotonic() + wait_s
        while not stopped() and (left_s := until - time.monotonic()) > 0:
            time.sleep(min(POLL_S, left_s))
        return self._ask(self._open(stopped), body, deadline)

    def stop(self) -> None:
        """End the connection that is in use, so that the server stops too. Any thread."""
        with self._lock:
            if self._stream is not None and self._busy:
                self._stream.shutdown()

    def close(self) -> None:
        """Stop, and close a kept connection. Any thread, any number of times."""
        self.stop()
        with self._lock:
            self._closed = True
            if self._stream is not None and not self._busy:
                self._stream.close()
                self._stream = None

    @property
    def _name(self) -> str:
        return self._address.authority

    def _take_kept(self, stopped: Stopped) -> SocketStream | None:
        with self._lock:
            stream = self._stream
            if self._closed:
                raise ResponderError(f"{self._name} was not asked: the responder is closed")
            if stream is None:
                return None
            if time.monotonic() - self._used_at > KEPT_S or not stream.is_open():
                stream.close()
                self._stream = None
                return None
            self._busy = True
        stream.stopped = stopped
        return stream

    def _open(self, stopped: Stopped) -> SocketStream:
        proxy, address, timeout_s = self._proxy, self._address, self._timeouts.connect_s
        stream = SocketStream(time.monotonic() + timeout_s, stopped)
        with self._lock:
            self._stream, self._busy = stream, True
        try:
            stream.connect(*((proxy.host, proxy.port) if proxy else (address.host, address.port)))
            if proxy is not None and address.secure:
                open_tunnel(stream, f"{address.bare_host}:{address.port}", self._to_proxy)
            if self._context is not None:
                stream.start_tls(self._context, address.host)
        except OSError as error:
            self._release(False)
            where = f"{self._name} through {proxy}" if proxy else self._name
            raise _NotSent(no_connection(where, error, timeout_s, datetime.now(UTC))) from error
        except BaseException:
            self._release(False)
            raise
        return stream

    def _ask(self, stream: SocketStream, body: bytes, deadline: float) -> Answer:
        headers = {**self._headers, "Content-Length": str(len(body))}
        target = self._address.target
        if self._proxy is not None and not self._address.secure:
            target = f"http://{self._name}{target}"
            headers |= self._to_proxy
        return exchange(
            self._name,
            stream,
            head(f"POST {target}", headers) + body,
            timeouts=self._timeouts,
            deadline=deadline,
            release=self._release,
        )

    def _wait_before_retry(self, error: ResponderError, *, repeatable: bool) -> float | None:
        """How long; None where a second attempt is not made."""
        match error:
            case Refused(status=429 | 503, retry_after_s=float(seconds)):
                return seconds if seconds <= self._timeouts.longest_retry_s else None
            case Refused(status=429 | 503):
                return self._timeouts.retry_s
            case Refused(status=status):
                return self._timeouts.retry_s if repeatable and status >= 500 else None
            case _NotSent():
                # A time-out has kept the user waiting already, and a certificate does not change.
                lasting = isinstance(error.__cause__, TookTooLong | ssl.SSLError)
                return None if lasting else self._timeouts.retry_s
            case NoAnswer() if repeatable:
                return self._timeouts.retry_s
        return None

    def _release(self, keep: bool) -> None:
        """The connection in use is free again, or not fit for use."""
        with self._lock:
            stream, self._busy = self._stream, False
            if stream is not None and (not keep or self._closed):
                stream.close()
                self._stream = None
            self._used_at = time.monotonic()


class _NotSent(ResponderUnreachable):
    """No connection came about."""


def _tls_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            raise ConfigError(
                f"gateway.ca_file = {ca_file!r} cannot be used: {error}. "
                "It has to be a readable file with certificates in PEM form"
            ) from error
    return context
