"""Who is let in: the request's own faults first, then the faults on demand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from slng_edge.simulator.faults import ActiveFaults, Faults
from slng_edge.simulator.handshake import Refusal, Route, check_request, route_of


@dataclass(frozen=True)
class Admitted:
    """An upgrade that is granted: the attempt `number` among those of its kind."""

    route: Route
    number: int
    faults: ActiveFaults


class Admission:
    """Numbers the attempts and decides on each. Any thread."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._lock = threading.Lock()
        self._attempts: Counter[str] = Counter()

    def decide(
        self, target: str, headers: Mapping[str, str], faults: Faults, refuse_new: int | None
    ) -> Admitted | Refusal:
        """What becomes of a request.

        Args:
            target: Its path and query.
            headers: Its headers; `get` ignores case.
            faults: Those that are on now.
            refuse_new: An HTTP status to refuse it with, or None.
        """
        route = route_of(target)
        if isinstance(route, Refusal):
            return route
        with self._lock:
            self._attempts[route.kind] += 1
            number = self._attempts[route.kind]
        active = faults.for_connection(route.kind, number)
        status = refuse_new or active.number("refuse")
        if status:
            retry_after = active.text("retry_after")
            return Refusal(status, "refused", f"refused on demand: {status}", retry_after)
        refusal = check_request(route, target, headers, self._key)
        return refusal or Admitted(route, number, active)
