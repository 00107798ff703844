"""The local gateway: a WebSocket server that speaks SLNG, with faults on demand."""

from __future__ import annotations

import errno
import functools
import logging
import os
import ssl
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from slng_edge.errors import MissingLibrary, SlngEdgeError, StuckThread
from slng_edge.simulator.admission import Admission, Admitted
from slng_edge.simulator.faults import Faults
from slng_edge.simulator.handshake import Refusal
from slng_edge.simulator.limits import limits_of
from slng_edge.simulator.link import Link, WireClosed
from slng_edge.simulator.recognizers import PocketsphinxRecognizer, Recognizer
from slng_edge.simulator.recording import ConnectionRecord, HeaderMap, RecordFolder
from slng_edge.simulator.sockets import ListeningSocket
from slng_edge.simulator.stt_session import SttSession
from slng_edge.simulator.synthesizers import FliteSynthesizer, Synthesizer
from slng_edge.simulator.tts_session import TtsSession

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
        keep_history: Whether `connections` keeps messages and ended connections; off for a
            service that runs for weeks.

    Attributes:
        faults: The faults of connections to come; may be replaced at any time.
        refuse_new: An HTTP status for every upgrade to come, or None.

    Raises:
        ConfigError: a fault or tier that is none, or a folder that cannot be recorded to.
        MissingLibrary: websockets, or what an engine of the defaults needs, is not installed.
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
        keep_history: bool = True,
    ) -> None:
        self.faults: Faults = faults if isinstance(faults, Faults) else Faults(*faults)
        self.refuse_new: int | None = None
        _require_websockets()
        self._limits = limits_of(tier)
        self._stt: Recognizer = stt or PocketsphinxRecognizer()
        self._tts: Synthesizer = tts or FliteSynthesizer()
        self._address = (host, port)
        self._url = ""
        self._admission = Admission(key)
        self._ssl_context = ssl_context
        self._folder = RecordFolder(record_dir) if record_dir is not None else None
        self._keep = keep_history
        self._changed = threading.Condition()
        self._records: list[ConnectionRecord] = []
        self._admitted: weakref.WeakKeyDictionary[Any, Admitted] = weakref.WeakKeyDictionary()
        self._links: dict[Link, threading.Thread] = {}
        self._listening: ListeningSocket | None = None
        self._server: Server | None = None
        self._accepting: threading.Thread | None = None

    # ---- life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. At its return a client can connect.

        Raises:
            SlngEdgeError: the address cannot be had.
        """
        from websockets.sync.server import serve

        host, port = self._address
        try:
            self._listening = ListeningSocket(host, port, self._ssl_context)
        except OSError as error:
            why = os.strerror(error.errno or 0) if error.errno else str(error)
            hint = "; choose another port" if error.errno == errno.EADDRINUSE else ""
            raise SlngEdgeError(f"cannot listen on {host}:{port}: {why.lower()}{hint}") from error
        port = self._listening.getsockname()[1]
        scheme = "wss" if self._ssl_context else "ws"
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
        listening, server, accepting = self._listening, self._server, self._accepting
        if listening is None or server is None or accepting is None:
            return
        self._listening = None
        deadline = time.monotonic() + STOP_S
        listening.stop()
        with self._changed:
            links = dict(self._links)
        for link in links:
            link.later(1, functools.partial(link.close, 1001, "the gateway stops"))
        grace = time.monotonic() + GRACE_S
        for connection in listening.open_connections():
            connection.closed.wait(max(0.0, grace - time.monotonic()))
        for connection in listening.open_connections():
            connection.wake()
        for thread in links.values():
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
    def connections(self) -> list[ConnectionRecord]:
        """The connections so far, in order, the ended ones included."""
        with self._changed:
            return list(self._records)

    def wait_for(self, predicate: Callable[[], object], timeout_s: float) -> bool:
        """Wait until `predicate()` holds; it is asked at every message and connection.

        Returns:
            Whether it came to hold within `timeout_s`.
        """
        with self._changed:
            return bool(self._changed.wait_for(predicate, timeout_s))

    def drop_all(self) -> None:
        """Cut every open connection with a TCP RST."""
        with self._changed:
            links = list(self._links)
        for link in links:
            link.reset()

    # ---- the server's callbacks -----------------------------------------------------------

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        headers = HeaderMap(request.headers.raw_items())
        decision = self._admission.decide(request.path, headers, self.faults, self.refuse_new)
        if isinstance(decision, Refusal):
            log.warning("refused %s: %d %s", request.path, decision.status, decision.message)
            response = connection.respond(decision.status, decision.body())
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            if decision.retry_after:
                response.headers["Retry-After"] = decision.retry_after
            return response
        self._admitted[connection] = decision
        return None

    def _handle(self, websocket: ServerConnection) -> None:
        admitted = self._admitted.pop(websocket)
        kind, number, model = admitted.route.kind, admitted.number, admitted.route.model
        threading.current_thread().name = f"gateway-{kind}-{number}"
        websocket.recv_events_thread.name = f"gateway-{kind}-{number}-receive"
        assert websocket.request is not None
        record = ConnectionRecord(
            kind,
            number,
            admitted.route.path,
            model,
            HeaderMap(websocket.request.headers.raw_items()),
            changed=self._changed,
            keep=self._keep,
            tape=self._folder.tape(kind, model) if self._folder else None,
        )
        wire = _WebSocketWire(websocket)
        link = Link(wire, record, admitted.faults, self._limits)
        session_id = f"local_{uuid.uuid4().hex[:12]}"
        with self._changed:
            self._links[link] = threading.current_thread()
            self._records.append(record)
            self._changed.notify_all()
        session: SttSession | TtsSession
        if kind == "stt":
            session = SttSession(link, self._stt, session_id)
        else:
            session = TtsSession(link, self._tts, session_id)
        try:
            session.run()
        except Exception:
            log.exception("%s connection %d failed", kind, number)
            link.close(1011, "internal error")
        finally:
            link.end()
            websocket.close()
            with self._changed:
                del self._links[link]
                if not self._keep:
                    self._records.remove(record)
            record.end(wire.close_code)
            log.info(
                "%s connection %d: %s, %.1f s, %d messages, %d bytes of audio, closed with %d",
                kind,
                number,
                model,
                time.monotonic() - record.opened_at,
                record.message_count,
                record.audio_bytes,
                wire.close_code,
            )


class _WebSocketWire:
    """A `Wire` over a connection of the websockets library."""

    def __init__(self, websocket: ServerConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        self._websocket = websocket
        self._closed_error = ConnectionClosed

    @property
    def close_code(self) -> int:
        """The code of the side that closed first, 1006 where none did."""
        protocol = self._websocket.protocol
        ours, theirs = protocol.close_sent, protocol.close_rcvd
        first = theirs if protocol.close_rcvd_then_sent else ours or theirs
        return first.code if first is not None else 1006

    def receive(self) -> str | bytes:
        try:
            return self._websocket.recv()
        except self._closed_error as error:
            raise WireClosed from error

    def send(self, message: str | bytes) -> None:
        try:
            self._websocket.send(message)
        except self._closed_error as error:
            raise WireClosed from error

    def close(self, code: int, reason: str) -> None:
        self._websocket.close(code, reason)

    def reset(self) -> None:
        self._websocket.socket.reset()  # type: ignore[attr-defined]  # our ConnectionSocket


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
