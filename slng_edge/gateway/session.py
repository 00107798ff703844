"""What speech-to-text and text-to-speech sessions share: their life, whatever they say."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

from slng_edge.config import GatewayConfig
from slng_edge.gateway.connection import DialSettings
from slng_edge.gateway.connection_budget import CONNECTIONS, ConnectionBudget
from slng_edge.gateway.endpoints import endpoint_of
from slng_edge.gateway.session_link import Exchange, SessionLink
from slng_edge.secrets import read_api_key
from slng_edge.threads import OnDeath

STOP_TIMEOUT_S = 3.0


class Session:
    """An exchange with the threads and sockets around it; a context manager.

    Args:
        kind: "stt" or "tts".
        gateway: Where and how to connect.
        model: The model's path.
        exchange: The pure logic; from here on touched under the link's lock only.
        api_key: Where `$SLNG_API_KEY`, the systemd credential and the key file are not asked.
        session_id: A tracking id of the caller's (X-SLNG-Session-Id); "" sends none.
        on_event: Gets the exchange's events, `ConnectionChanged`, and a `SlngEdgeError` that
            is final, in this session's threads. Without it they are kept in `_events`.
        budget: Where connections are counted; one of its own without it.
        on_death: Told when a thread dies of an exception.

    Raises:
        ConfigError: something in these settings cannot be.
    """

    def __init__(
        self,
        kind: Literal["stt", "tts"],
        *,
        gateway: GatewayConfig,
        model: str,
        exchange: Exchange,
        api_key: str | None,
        session_id: str,
        on_event: Callable[[Any], None] | None,
        budget: ConnectionBudget | None,
        on_death: OnDeath | None,
    ) -> None:
        key = read_api_key(gateway) if api_key is None else api_key
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._on_event = on_event or self._events.put
        if on_event is None and on_death is None:
            on_death = self._keep_death
        self._link = SessionLink(
            kind,
            model=model,
            endpoint=endpoint_of(gateway, kind=kind, model=model, key=key, session_id=session_id),
            exchange=exchange,
            settings=DialSettings(gateway.connect_timeout_s, gateway.ca_file),
            budget=budget or ConnectionBudget(CONNECTIONS[gateway.tier]),
            on_event=self._on_event,
            on_death=on_death,
        )

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._link.start()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Take leave of the gateway and end the threads; idempotent, any thread.

        Raises:
            StuckThread: a thread did not end within `timeout_s`.
        """
        self._link.stop(timeout_s)

    def retry_now(self) -> None:
        """Connect now instead of waiting out the back-off."""
        self._link.retry_now()

    def wait_ready(self, timeout_s: float) -> None:
        """Wait for `ready`, at most `timeout_s`.

        Raises:
            SlngEdgeError: the first attempt that failed.
            ConnectFailed: no answer came in time.
        """
        self._link.wait_ready(timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _keep_death(self, _: str, error: BaseException) -> None:
        """Let whoever waits for an event raise what a thread died of."""
        self._events.put(error)

    def _hand_on(self, events: Sequence[Any]) -> None:
        for event in events:
            self._on_event(event)
