"""What speech-to-text and text-to-speech sessions share: their life, whatever they say."""

from __future__ import annotations

import queue
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

from slng_edge.config import GatewayConfig
from slng_edge.connecting.connection_plan import CLOSE_NORMAL, ConnectionPlan
from slng_edge.connecting.model_choice import ModelChoice
from slng_edge.errors import ConfigError, SessionClosed
from slng_edge.gateway.connection import DialSettings
from slng_edge.gateway.connection_budget import ConnectionBudget
from slng_edge.gateway.endpoints import endpoint_of
from slng_edge.gateway.receive_allowance import STT_LIMITS, TTS_LIMITS
from slng_edge.gateway.session_link import Exchange, SessionLink
from slng_edge.protocol.routes import Endpoint
from slng_edge.secrets import read_api_key, read_secret_file, register_key
from slng_edge.threads import OnDeath

STOP_TIMEOUT_S = 3.0


class Session:
    """An exchange with the threads and sockets around it; a context manager.

    Args:
        kind: "stt" or "tts".
        gateway: Where and how to connect.
        models: The model and its fallbacks, in order.
        keepalive_s: Of a connection that waits to be used.
        fallback_cooldown_s: How long the model rests once it was given up for a fallback.
        exchange: The pure logic; from here on touched under the link's lock only.
        build_dialect: Makes what writes and reads for one connection of a model.
        connect: Hands a greeted connection to the exchange: dialect, model, time.
        api_key: Where `$SLNG_API_KEY`, the systemd credential and the key file are not asked.
        session_id: A tracking id of the caller's (X-SLNG-Session-Id); "" sends none.
        on_event: Gets the exchange's events, `ConnectionChanged`, and a `SlngEdgeError` that
            is final, in this session's threads. Without it they are kept in `_events`.
        duration_s: How long a connection may live.
        budget: Where connections are counted.
        language: For paths that carry it.
        standing: Whether a connection is wanted also when there is no work for it; that is
            so where the plan has a place for each session.
        warm_standby: Whether a second connection is kept ready.
        resends: Whether the exchange sends again what is not answered.
        on_death: Told when a thread dies of an exception.

    Raises:
        ConfigError: something in these settings cannot be.
    """

    def __init__(
        self,
        kind: Literal["stt", "tts"],
        *,
        gateway: GatewayConfig,
        models: tuple[str, ...],
        keepalive_s: float,
        fallback_cooldown_s: float,
        exchange: Exchange,
        build_dialect: Callable[[str], Any],
        connect: Callable[[Any, str, float], None],
        api_key: str | None,
        session_id: str,
        on_event: Callable[[Any], None] | None,
        duration_s: float,
        budget: ConnectionBudget,
        language: str = "",
        standing: bool = True,
        warm_standby: bool = False,
        resends: bool = False,
        on_death: OnDeath | None = None,
    ) -> None:
        self._kind: Literal["stt", "tts"] = kind
        self._gateway = gateway
        self._language = language
        self._api_key = api_key
        if api_key:
            register_key(api_key)  # a gateway may repeat it
        self._session_id = session_id
        self.dialect = build_dialect
        self.attach = connect
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._on_event = on_event or self._events.put
        if on_event is None and on_death is None:
            on_death = self._keep_death
        for model in models:  # what cannot be is said now, not when a fallback is needed
            self.endpoint(model)
            self.dialect(model)
        self._link = SessionLink(
            kind,
            plan=ConnectionPlan(
                ModelChoice(models, cooldown_s=fallback_cooldown_s),
                duration_s=duration_s,
                standing=standing,
                warm_standby=warm_standby,
                resends=resends,
                uniform=random.uniform,
            ),
            exchange=exchange,
            routes=self,
            settings=DialSettings(
                gateway.connect_timeout_s,
                gateway.ca_file,
                STT_LIMITS if kind == "stt" else TTS_LIMITS,
            ),
            keepalive_s=keepalive_s,
            budget=budget,
            on_event=self._on_event,
            on_death=on_death,
        )

    # What the link asks for each connection

    def endpoint(self, model: str) -> Endpoint:
        """Where a connection for `model` goes, with the key of now.

        Raises:
            ConfigError: see `endpoint_of`.
        """
        return endpoint_of(
            self._gateway,
            kind=self._kind,
            model=model,
            key=self._key(),
            language=self._language,
            overrides_in="query" if self._gateway.overrides_in == "query" else "header",
            session_id=self._session_id,
        )

    def credentials(self) -> object:
        """The keys, or why there is none: another value when that has changed."""
        file = self._gateway.provider_key_file
        try:
            provider_key = read_secret_file(file, "gateway.provider_key_file") if file else ""
            return self._key(), provider_key
        except ConfigError as error:
            return str(error)

    def _key(self) -> str:
        return read_api_key(self._gateway) if self._api_key is None else self._api_key

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._link.start()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Take leave of the gateway and end the threads; idempotent, any thread.

        Who waits in an iterator of this session gets a `SessionClosed`.

        Raises:
            StuckThread: a thread did not end within `timeout_s`.
        """
        self._events.put(SessionClosed("the session was stopped", code=CLOSE_NORMAL, by_us=True))
        self._link.stop(timeout_s)

    def retry_now(self) -> None:
        """Connect now instead of waiting out the back-off."""
        self._link.retry_now()

    def look_again(self) -> None:
        """Another session has just reached the gateway: try now, if it was out of reach."""
        self._link.look_again()

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
