"""A connection to the gateway that tells how long each step took, and where it ended."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from slng_edge.errors import RemoteProtocolError, SlngEdgeError
from slng_edge.gateway.byte_stream import ByteStream
from slng_edge.gateway.connection import MESSAGE_BYTES, Connection, DialSettings
from slng_edge.gateway.frame_reader import FrameReader
from slng_edge.gateway.session import Session
from slng_edge.protocol.greeting import Greeting
from slng_edge.protocol.session_events import Broken, SessionReady

Step: TypeAlias = Literal["connect", "tunnel", "tls", "upgrade", "ready"]
STEPS: tuple[Step, ...] = ("connect", "tunnel", "tls", "upgrade", "ready")
"""What a session's beginning is made of, in their order: name and TCP; the way through a proxy;
TLS; HTTP; `init` and `ready`."""


@dataclass
class Dialled:
    """What became of it.

    Attributes:
        took_s: Each step that was done, and how long it took.
        error: Why the next one was not done; None where all were.
        tls: Its version, "" without TLS.
        certificate: The gateway's, as `ssl.SSLSocket.getpeercert` gives it.
    """

    took_s: dict[Step, float] = field(default_factory=dict)
    error: SlngEdgeError | None = None
    tls: str = ""
    certificate: Mapping[str, Any] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """From the first step to `ready`."""
        return sum(self.took_s.values())


class _TimedStream(ByteStream):
    """Notes when its steps begin and end, and keeps the certificate."""

    def __init__(self) -> None:
        super().__init__()
        self.ended_s: dict[Step, float] = {}
        self.tls_began_s = 0.0
        self.tls_version = ""
        self.certificate: Mapping[str, Any] = {}

    def connect(self, host: str, port: int, *, deadline: float, user_timeout_s: float) -> None:
        super().connect(host, port, deadline=deadline, user_timeout_s=user_timeout_s)
        self.ended_s["connect"] = time.monotonic()

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        self.tls_began_s = time.monotonic()
        super().start_tls(context, host)
        self.ended_s["tls"] = time.monotonic()
        if self._tls is not None:
            self.tls_version = self._tls.version() or ""
            self.certificate = self._tls.getpeercert() or {}


class _TimedConnection(Connection):
    """A connection on such a stream."""

    def __init__(self) -> None:
        super().__init__()
        self._stream.close()
        self.stream = _TimedStream()
        self._stream = self.stream
        self._reader = FrameReader(self.stream.recv, message_bytes=MESSAGE_BYTES)


def dial(session: Session, model: str, settings: DialSettings) -> Dialled:
    """Open one connection of `session` for `model`, up to `ready`, and take leave again.

    Waits at most `settings.timeout_s` to be connected, and as long for `ready`.

    Args:
        session: Knows address and messages; it is not started.
        model: One of its models.
        settings: How to connect.

    Raises:
        ConfigError: there is no address for that, or no key.
    """
    endpoint = session.endpoint(model)
    connection = _TimedConnection()
    began_s = time.monotonic()
    try:
        connection.dial(endpoint, settings)
    except SlngEdgeError as error:
        connection.close()
        return _timed(connection.stream, began_s, None, None, error)
    dialled_s = time.monotonic()
    try:
        refused = _greet(connection, session, model, settings.timeout_s)
        ready_s = None if refused else time.monotonic()
        return _timed(connection.stream, began_s, dialled_s, ready_s, refused)
    finally:
        connection.say_goodbye()
        connection.close()


def _greet(
    connection: Connection, session: Session, model: str, patience_s: float
) -> SlngEdgeError | None:
    """Say `init` and wait for `ready`; why it did not come."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        connection.abort()

    now = time.monotonic()
    greeting = Greeting(session.dialect(model), ready_s=patience_s, keepalive_s=60.0, now=now)
    alarm = threading.Timer(patience_s, give_up)
    alarm.daemon = True
    alarm.start()
    try:
        while (message := greeting.next_message(time.monotonic())) is not None:
            connection.send(message)
        while True:
            for event in greeting.receive(connection.receive(), time.monotonic()):
                if isinstance(event, Broken):
                    return event.error
                if isinstance(event, SessionReady):
                    farewell = greeting.farewell()
                    if farewell is not None:
                        connection.send(farewell)
                    return None
    except SlngEdgeError as error:
        if not late.is_set():
            return error
        return RemoteProtocolError(f"the gateway did not say `ready` within {patience_s:g} s")
    finally:
        alarm.cancel()
        alarm.join()


def _timed(
    stream: _TimedStream,
    began_s: float,
    dialled_s: float | None,
    ready_s: float | None,
    error: SlngEdgeError | None,
) -> Dialled:
    """The steps, from the moments between them; each begins where the one before has ended."""
    dialled = Dialled(error=error, tls=stream.tls_version, certificate=stream.certificate)
    moments: dict[Step, float | None] = {"connect": stream.ended_s.get("connect")}
    if stream.tls_began_s:
        moments["tunnel"] = stream.tls_began_s
        moments["tls"] = stream.ended_s.get("tls")
    moments["upgrade"] = dialled_s
    moments["ready"] = ready_s
    before_s = began_s
    for step, moment_s in moments.items():
        if moment_s is None:
            break
        dialled.took_s[step] = moment_s - before_s
        before_s = moment_s
    return dialled
