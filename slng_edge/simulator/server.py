"""The local gateway: a WebSocket server that speaks SLNG, with faults on demand."""

from __future__ import annotations

import errno
import functools
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from slng_edge.errors import MissingLibrary, SlngEdgeError, StuckThread
from slng_edge.simulator.admission import Admission
from slng_edge.simulator.certificates import Certificates
from slng_edge.simulator.faults import Faults
from slng_edge.simulator.history import ConnectionRecord, History
from slng_edge.simulator.limits import limits_of
from slng_edge.simulator.recognition import Recognizer
from slng_edge.simulator.recognizers import PocketsphinxRecognizer
from slng_edge.simulator.recording import RecordFolder
from slng_edge.simulator.sessions import Sessions
from slng_edge.simulator.sockets import ListeningSocket
from slng_edge.simulator.synthesizers import FliteSynthesizer, Synthesizer
from slng_edge.simulator.upgrades import Upgrades

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.sync.server import Server, ServerConnection

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 10.0
"""A client that has not asked for its upgrade by then is dropped."""

CLOSE_TIMEOUT_S = 1.0
"""How long the closing handshake of one connection may take."""

GRACE_S = 0.3
"""How long `close` lets clients answer "going away" before it cuts them off."""

STOP_S = 5.0
"""Within this `close` is done, or says which thread is stuck."""

RECEIVED_FRAMES = 64
"""Frames that may wait for a session; then TCP holds the client back."""


class LocalGateway:
    """A gateway on this machine; a context manager, or `start` and `close`.

    Args:
        host: The address to listen on.
        port: The port, 0 for any free one.
        stt: The speech recognizer, pocketsphinx by default.
        tts: The speech synthesizer, flite by default.
        faults: What goes wrong, as `Faults` or as lines of their form.
        key: The API key to ask for, "" for none.
        ssl_context: For `wss`.
        record_dir: Where to write each connection's audio and messages.
        tier: Whose limits count: "free", "pro" or "enterprise".
        connection_s: Age at which a connection is ended, instead of the tier's.
        idle_s: Time without a message after which it is, instead of 300 s.
        tls_dir: Where the fault `tls` leaves its authority's certificate; without it
            `record_dir`, else a temporary folder that `close` removes.
        keep_history: Whether `connections` keeps messages and ended connections; off for a
            service that runs for weeks.

    Attributes:
        faults: The faults of connections to come; may be replaced at any time.
        refuse_new: An HTTP status for every upgrade to come, or None.

    Whether it is `wss` is settled here, by `ssl_context` or the fault `tls`; which certificate it
    shows then follows `faults`, and is good where they name none.

    Raises:
        ConfigError: a fault or tier that is none, or a folder that cannot be recorded to.
        MissingLibrary: websockets, or what an engine of the defaults needs, is not installed;
            trustme for the fault `tls`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        stt: Recognizer | None = None,
        tts: Synthesizer | None = None,
        faults: Faults | Sequence[str] = (),
        key: str = "",
        ssl_context: ssl.SSLContext | None = None,
        record_dir: str | os.PathLike[str] | None = None,
        tier: str = "pro",
        connection_s: float | None = None,
        idle_s: float | None = None,
        tls_dir: str | os.PathLike[str] | None = None,
        keep_history: bool = True,
    ) -> None:
        self.faults: Faults = faults if isinstance(faults, Faults) else Faults(*faults)
        self.refuse_new: int | None = None
        _require_websockets()
        self._address = (host, port)
        self._url = ""
        self._ssl_context = ssl_context
        self._history = History(keep=keep_history)
        self._limits = limits_of(tier).at_a_gateway(self._history.changed, connection_s, idle_s)
        self._admission = Admission(key, self._limits)
        self._sessions = Sessions(
            stt or PocketsphinxRecognizer(),
            tts or FliteSynthesizer(),
            self._limits,
            RecordFolder(record_dir) if record_dir is not None else None,
            self._history,
        )
        self._upgrades = Upgrades(self._admission)
        self._listening: ListeningSocket | None = None
        self._server: Server | None = None
        self._accepting: threading.Thread | None = None
        self._tls_dir = tls_dir or record_dir
        self._certificates = Certificates(host) if self.faults.tls else None

    # ---- life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. At its return a client can connect.

        Raises:
            ConfigError: the certificate of the fault `tls` cannot be written.
            SlngEdgeError: the address cannot be had.
        """
        from websockets.sync.server import serve

        host, port = self._address
        if self._certificates is not None:
            self._certificates.write(self._tls_dir)
        try:
            self._listening = ListeningSocket(host, port, self._tls)
        except OSError as error:
            self._remove_certificate()
            why = os.strerror(error.errno or 0) if error.errno else str(error)
            hint = "; choose another port" if error.errno == errno.EADDRINUSE else ""
            raise SlngEdgeError(f"cannot listen on {host}:{port}: {why.lower()}{hint}") from error
        port = self._listening.getsockname()[1]
        scheme = "wss" if self._ssl_context or self._certificates else "ws"
        self._url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        self._server = serve(
            self._handle,
            sock=self._listening,
            process_request=self._admit,
            compression=None,
            open_timeout=OPEN_TIMEOUT_S,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=None,
            max_queue=RECEIVED_FRAMES,
            logger=_quiet_logger(),
        )
        self._accepting = threading.Thread(
            target=self._server.serve_forever, name="gateway-accept", daemon=True
        )
        self._accepting.start()

    def close(self) -> None:
        """Send "going away" to all, cut who does not answer, stop every thread. Within 5 s.

        Raises:
            StuckThread: a thread is left.
        """
        self._remove_certificate()
        listening, server, accepting = self._listening, self._server, self._accepting
        if listening is None or server is None or accepting is None:
            return
        self._listening = None
        deadline = time.monotonic() + STOP_S
        listening.stop()
        sessions = self._sessions.running()
        for link in sessions:
            link.later(1, functools.partial(link.close, 1001, "the gateway stops"))
        grace = time.monotonic() + GRACE_S
        for connection in listening.open_connections():
            connection.closed.wait(max(0.0, grace - time.monotonic()))
        for connection in listening.open_connections():
            connection.wake()
        for thread in sessions.values():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise StuckThread(f"{thread.name} does not stop")
        server.shutdown()
        accepting.join(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> LocalGateway:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- what tests and scripts ask for ---------------------------------------------------

    @property
    def url(self) -> str:
        """`ws://HOST:PORT`, or `wss://` with a TLS context; "" before `start`."""
        return self._url

    @property
    def ca_file(self) -> str:
        """With the fault `tls`: its authority's certificate, a PEM file; "" before `start`."""
        return self._certificates.ca_file if self._certificates else ""

    @property
    def connections(self) -> list[ConnectionRecord]:
        """The connections so far, in order, the ended ones included."""
        return self._history.connections()

    @property
    def violations(self) -> list[str]:
        """What was refused or ended because of the tier's limits, a line each, in order."""
        return self._limits.violations.lines()

    @property
    def drawn_faults(self) -> list[tuple[str, int, str]]:
        """What the fault `random` drew so far: kind of session, attempt number, fault."""
        return self._admission.drawn()

    def wait_for(self, predicate: Callable[[], object], timeout_s: float) -> bool:
        """Wait until `predicate()` holds; it is asked at every message, connection and violation.

        Returns:
            Whether it came to hold within `timeout_s`.
        """
        return self._history.wait_for(predicate, timeout_s)

    def drop_all(self) -> None:
        """Cut every open connection with a TCP RST."""
        for link in self._sessions.running():
            link.reset()

    # ---- the server's callbacks -----------------------------------------------------------

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        return self._upgrades.response(connection, request, self.faults, self.refuse_new)

    def _tls(self) -> ssl.SSLContext | None:
        if self._certificates is None:
            return self._ssl_context
        return self._certificates.context(self.faults.tls)

    def _remove_certificate(self) -> None:
        if self._certificates is not None:
            self._certificates.close()

    def _handle(self, websocket: ServerConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        self._sessions.serve(websocket, self._upgrades.take(websocket), ConnectionClosed)


def _require_websockets() -> None:
    try:
        import websockets.sync.server  # noqa: F401
    except ImportError as error:
        raise MissingLibrary(
            "websockets", "the local gateway", "pip install 'slng-edge[gateway]'"
        ) from error


def _quiet_logger() -> logging.Logger:
    """For the library: what concerns users is logged here, without its tracebacks."""
    quiet = logging.getLogger("slng_edge.simulator.websockets")
    quiet.setLevel(logging.CRITICAL)
    return quiet
