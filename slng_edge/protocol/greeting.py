"""The beginning of a connection: `init` out, `ready` in, then waiting to be used.

Nothing but `init` is sent before `ready` (protocol.md, 3 and 4). A connection that is greeted ahead
of its use, as a standby or a successor, is kept alive here until an exchange takes it over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from slng_edge.errors import RemoteProtocolError
from slng_edge.protocol.keepalive import Keepalive
from slng_edge.protocol.session_events import Broken, Odd, SessionReady
from slng_edge.protocol.vocabulary import Failed, NotUnderstood, Ready


class Greets(Protocol):
    """What a greeting needs of a dialect."""

    def init(self) -> str: ...
    def keepalive(self) -> str | None: ...
    def close(self) -> str | None: ...
    def receive(self, message: str | bytes) -> Sequence[Any]: ...


class Greeting:
    """Pure logic of one connection until it is used; the owner serializes all calls.

    Args:
        dialect: Writes and reads the messages of this connection.
        ready_s: How long the gateway may take to say `ready`.
        keepalive_s: A keepalive is due when nothing was sent for so long.
        now: When the connection stood, seconds of a monotonic clock.

    Attributes:
        ready: Whether the gateway has said `ready`.
    """

    def __init__(self, dialect: Greets, *, ready_s: float, keepalive_s: float, now: float) -> None:
        self.ready = False
        self._dialect = dialect
        self._ready_s = ready_s
        self._ready_by: float | None = now + ready_s
        self._init_due = True
        self._keepalive = Keepalive(keepalive_s)

    def receive(self, message: str | bytes, now: float) -> list[SessionReady | Broken | Odd]:
        """What a message means; what only an exchange would understand is not for it yet."""
        events: list[SessionReady | Broken | Odd] = []
        for event in self._dialect.receive(message):
            match event:
                case Ready(session_id) if not self.ready:
                    self.ready = True
                    self._ready_by = None
                    self._keepalive.sent(now)
                    events.append(SessionReady(session_id))
                case Failed(error):
                    events.append(Broken(error))
                case NotUnderstood(_, why):
                    events.append(Odd(why))
                case _:
                    pass
        return events

    def next_message(self, now: float) -> str | None:
        """What to send now; None where nothing is due."""
        if self._init_due:
            self._init_due = False
            return self._dialect.init()
        if not self._keepalive.is_due(now):
            return None
        message = self._dialect.keepalive()
        if message is None:
            self._keepalive.stop()
        else:
            self._keepalive.sent(now)
        return message

    def deadline(self) -> float | None:
        """When `expire` or `next_message` has something to do, if nothing comes before."""
        return self._ready_by if self._ready_by is not None else self._keepalive.deadline()

    def expire(self, now: float) -> list[Broken]:
        """Says, once, that `ready` did not come in time."""
        if self._ready_by is None or now < self._ready_by:
            return []
        self._ready_by = None
        why = f"the gateway did not say `ready` within {self._ready_s:g} s"
        return [Broken(RemoteProtocolError(why))]

    def farewell(self) -> str | None:
        """What to send last, if it is ready."""
        return self._dialect.close() if self.ready else None
