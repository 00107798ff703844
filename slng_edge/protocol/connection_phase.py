"""Where an exchange stands with its current connection, and when it has to say something.

    no socket ──connected──▶ init due ──take_init──▶ awaiting ready ──receive_ready──▶ ready
        ▲                                                                               │
        └─────────────────────────────── disconnected ◀─────────────────────────────────┘

Nothing but `init` is sent before `ready` (protocol.md, 3 and 4). Times are seconds of a
monotonic clock, handed in.
"""

from __future__ import annotations

from slng_edge.errors import RemoteProtocolError
from slng_edge.protocol.session_events import Broken


class ConnectionPhase:
    """The phase of one connection after the other; the owner serializes all calls.

    Args:
        ready_s: How long the gateway may take to say `ready`.
        keepalive_s: A keepalive is due when nothing was sent for so long.

    Attributes:
        ready: Whether the current connection is ready.
    """

    def __init__(self, *, ready_s: float, keepalive_s: float) -> None:
        self.ready = False
        self._ready_s = ready_s
        self._keepalive_s = keepalive_s
        self._init_due = False
        self._ready_by: float | None = None
        self._last_sent = 0.0

    def connected(self, now: float) -> None:
        """A socket is up; `init` is due."""
        self._init_due = True
        self.ready = False
        self._ready_by = now + self._ready_s
        self._last_sent = now

    def disconnected(self) -> None:
        """The socket is gone."""
        self._init_due = False
        self.ready = False
        self._ready_by = None

    def receive_ready(self) -> None:
        """The gateway said `ready`."""
        self.ready = True
        self._ready_by = None

    def take_init(self) -> bool:
        """Whether `init` is to be sent now; True once a connection."""
        due, self._init_due = self._init_due, False
        return due

    def sent(self, now: float) -> None:
        """A message went out."""
        self._last_sent = now

    def keepalive_due(self, now: float) -> bool:
        """Whether nothing was sent for so long that a keepalive has to be."""
        return self.ready and now >= self._last_sent + self._keepalive_s

    def deadline(self) -> float | None:
        """When `expire` or `keepalive_due` will say something, if nothing comes before."""
        return self._last_sent + self._keepalive_s if self.ready else self._ready_by

    def expire(self, now: float) -> list[Broken]:
        """Says, once, that `ready` did not come in time."""
        if self._ready_by is None or now < self._ready_by:
            return []
        self._ready_by = None
        why = f"the gateway did not say `ready` within {self._ready_s:g} s"
        return [Broken(RemoteProtocolError(why))]
