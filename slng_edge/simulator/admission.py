"""Who is let in: the request's own faults first, then the faults on demand."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from slng_edge.simulator.connection_slots import Connection, ConnectionSlots
from slng_edge.simulator.faults import ActiveFaults, Faults
from slng_edge.simulator.handshake import Refusal, Route, check_request, route_of
from slng_edge.simulator.limits import TierLimits

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Admitted:
    """An upgrade that is granted: the attempt `number` among those of its kind."""

    route: Route
    number: int
    faults: ActiveFaults


@dataclass(frozen=True)
class RefusalOnDemand(Refusal):
    """A refusal whose body may be any text."""

    text: str = ""

    def body(self) -> str:
        """The response's body."""
        return self.text or super().body()


class Admission:
    """Numbers the attempts and decides on each. Any thread.

    Args:
        key: The API key to ask for, "" for none.
        limits: Whose number of connections counts.
    """

    def __init__(self, key: str, limits: TierLimits) -> None:
        self._key = key
        self._limits = limits
        self._slots = ConnectionSlots(limits.connections)
        self._lock = threading.Lock()
        self._attempts: Counter[str] = Counter()
        self._drawn: list[tuple[str, int, str]] = []

    def drawn(self) -> list[tuple[str, int, str]]:
        """What `random` drew so far: kind of session, attempt number, fault."""
        with self._lock:
            return list(self._drawn)

    def decide(
        self,
        target: str,
        headers: Mapping[str, str],
        faults: Faults,
        refuse_new: int | None,
        connection: Connection,
    ) -> Admitted | Refusal:
        """What becomes of a request. Waits 0.5 s at most, for connections that are closing.

        Args:
            target: Its path and query.
            headers: Its headers; `get` ignores case.
            faults: Those that are on now.
            refuse_new: An HTTP status to refuse it with, or None.
            connection: What will take a place if it is let in.
        """
        route = route_of(target)
        if isinstance(route, Refusal):
            return route
        number, active = self._number(route, faults)
        status, retry_after = refuse_new or active.number("refuse"), active.text("retry_after")
        if status:
            text = active.text("refuse_body")
            message = f"refused on demand: {status}"
            return RefusalOnDemand(status, "refused", message, retry_after, text)
        refusal = check_request(route, target, headers, self._key)
        if refusal is not None:
            return refusal
        if not self._slots.take(connection):
            message = f"{self._limits.connections} connections at the same time at most"
            self._limits.violations.add(f"{route.kind} {number}: rate_limit_exceeded: {message}")
            return Refusal(429, "rate_limit_exceeded", message, retry_after)
        return Admitted(route, number, active)

    def _number(self, route: Route, faults: Faults) -> tuple[int, ActiveFaults]:
        """The number of this attempt, and its faults."""
        with self._lock:
            self._attempts[route.kind] += 1
            number = self._attempts[route.kind]
            active = faults.for_connection(route.kind, number)
            if active.drawn:
                self._drawn.append((route.kind, number, active.drawn))
        if active.drawn:
            log.info("%s connection %d: drew the fault %s", route.kind, number, active.drawn)
        return number, active


def is_json(text: str) -> bool:
    """Whether a response's body is JSON."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
