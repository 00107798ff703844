"""The upgrade requests of connections, between the library that takes them and the admission."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any

from slng_edge.simulator.admission import Admission, Admitted, is_json
from slng_edge.simulator.faults import Faults
from slng_edge.simulator.handshake import Refusal
from slng_edge.simulator.history import HeaderMap

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection

log = logging.getLogger(__name__)


class Upgrades:
    """Lets connections in, and knows those that were until they are served. Any thread.

    Args:
        admission: Decides.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._admitted: weakref.WeakKeyDictionary[Any, Admitted] = weakref.WeakKeyDictionary()

    def response(
        self,
        connection: ServerConnection,
        request: Request,
        faults: Faults,
        refuse_new: int | None,
    ) -> Response | None:
        """What refuses the request, or None to let it in; see `Admission.decide`."""
        headers = HeaderMap(request.headers.raw_items())
        place = _Place(connection)
        decision = self._admission.decide(request.path, headers, faults, refuse_new, place)
        if isinstance(decision, Refusal):
            log.warning("refused %s: %d %s", request.path, decision.status, decision.message)
            body = decision.body()
            response = connection.respond(decision.status, body)
            if is_json(body):
                del response.headers["Content-Type"]
                response.headers["Content-Type"] = "application/json"
            if decision.retry_after:
                response.headers["Retry-After"] = decision.retry_after
            return response
        self._admitted[connection] = decision
        return None

    def take(self, connection: ServerConnection) -> Admitted:
        """What a connection was let in for; once."""
        return self._admitted.pop(connection)


class _Place:
    """A connection, as far as the number of connections is concerned."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    def occupies(self) -> bool:
        return bool(self._connection.socket.occupies())  # type: ignore[attr-defined]  # ours

    def closing(self) -> bool:
        return self._connection.protocol.state.name not in ("CONNECTING", "OPEN")
