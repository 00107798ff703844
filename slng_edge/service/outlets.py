"""Who is told besides the control socket: the hook, the status page, the MQTT broker.

None of them can hold up the loop or keep it from starting: what cannot be had is a warning, and is
shown in the status. They outlive the loops that a reload puts in each other's place, and are made
anew only where their own settings have changed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from slng_edge.config import Config
from slng_edge.errors import SlngEdgeError, StuckThread
from slng_edge.events import Stamped, StateChanged
from slng_edge.secrets import read_secret_file
from slng_edge.service.control_commands import ControlCommands
from slng_edge.service.hooks import StateHook
from slng_edge.service.metrics import TurnTimes
from slng_edge.threads import OnDeath

log = logging.getLogger(__name__)


class Outlet(Protocol):
    """One of them. `receive` is called in any thread and never waits."""

    problem: str

    def start(self) -> None: ...
    def stop(self, timeout_s: float) -> None: ...
    def receive(self, stamped: Stamped) -> None: ...


class Outlets:
    """Builds, starts and stops them. The supervisor's thread, where it does not say otherwise.

    Args:
        commands: What may be asked for.
        status: What `ctl status` shows.
        on_death: As in `Worker`.
    """

    def __init__(
        self,
        commands: ControlCommands,
        status: Callable[[], Mapping[str, Any]],
        *,
        on_death: OnDeath,
    ) -> None:
        self._commands = commands
        self._status = status
        self._on_death = on_death
        self._turns = TurnTimes()
        self._lock = threading.Lock()  # the state, and who gets the next one
        self._state: Stamped | None = None
        self._settings: dict[str, object] = {}
        self._running: dict[str, Outlet] = {}  # replaced as a whole: other threads look at it
        self._unmade: dict[str, str] = {}

    @property
    def problems(self) -> dict[str, str]:
        """What does not work and why, by its setting; any thread."""
        running = {name: outlet.problem for name, outlet in self._running.items()}
        return {name: why for name, why in {**self._unmade, **running}.items() if why}

    def receive(self, stamped: Stamped) -> None:
        """Hand an event on; any one thread, never waits."""
        self._turns.receive(stamped)
        with self._lock:
            if isinstance(stamped.event, StateChanged):
                self._state = stamped
            for outlet in self._running.values():
                outlet.receive(stamped)

    def open(self, config: Config) -> None:
        """Have those run that `config` asks for; waits a moment for those that it changes."""
        self._make("hooks.state", config.hooks.state, lambda: self._build_hook(config))
        self._make(
            "status_page.listen",
            (config.status_page, _changed(config.status_page.token_file)),
            lambda: self._build_page(config),
        )
        self._make(
            "mqtt.url",
            (config.mqtt, config.gateway.ca_file, config.debug.log_transcripts),
            lambda: self._build_mqtt(config),
        )

    def stop(self, timeout_s: float) -> None:
        """Stop all of them, each within `timeout_s`; idempotent."""
        for name in tuple(self._running):
            self._stop(name, timeout_s)
        self._settings.clear()

    def _make(self, name: str, setting: object, build: Callable[[], Outlet | None]) -> None:
        if self._settings.get(name) == setting and name not in self._unmade:
            return
        self._stop(name, 1.0)
        self._settings[name] = setting
        self._unmade = {other: why for other, why in self._unmade.items() if other != name}
        try:
            outlet = build()
        except SlngEdgeError as error:
            self._unmade = {**self._unmade, name: str(error)}
            log.warning("on without %s: %s", name, error)
            return
        if outlet is None:
            return
        outlet.start()
        with self._lock:
            if self._state is not None:
                outlet.receive(self._state)
            self._running = {**self._running, name: outlet}

    def _stop(self, name: str, timeout_s: float) -> None:
        outlet = self._running.get(name)
        if outlet is None:
            return
        with self._lock:
            self._running = {other: each for other, each in self._running.items() if other != name}
        try:
            outlet.stop(timeout_s)
        except StuckThread as error:
            log.warning("%s: %s; on without waiting", name, error)

    def _build_hook(self, config: Config) -> Outlet | None:
        argv = config.hooks.state
        return StateHook(argv, on_death=self._on_death) if argv else None

    def _build_page(self, config: Config) -> Outlet | None:
        page = config.status_page
        if not page.listen:
            return None
        # Loaded for those alone who have it.
        from slng_edge.service.page_access import PageAccess
        from slng_edge.service.page_routes import PageRoutes
        from slng_edge.service.status_page import StatusPage

        token = ""
        if page.token_file:
            token = read_secret_file(page.token_file, "status_page.token_file")
        routes = PageRoutes(PageAccess(token), status=self._status, turns=self._turns)
        return StatusPage(page.listen, routes, has_token=bool(token), on_death=self._on_death)

    def _build_mqtt(self, config: Config) -> Outlet | None:
        if not config.mqtt.url:
            return None
        from slng_edge.service.mqtt_address import broker_address, broker_password
        from slng_edge.service.mqtt_link import MqttLink  # loads the library

        return MqttLink(
            broker_address(config.mqtt.url),
            commands=self._commands,
            status=self._status,
            password=broker_password(),
            ca_file=config.gateway.ca_file,
            with_words=config.debug.log_transcripts,
            on_death=self._on_death,
        )


def _changed(token_file: str) -> str:
    """What is another one after the token was replaced; "" where it cannot be read."""
    if token_file:
        with suppress(SlngEdgeError):
            return read_secret_file(token_file, "status_page.token_file")
    return ""
