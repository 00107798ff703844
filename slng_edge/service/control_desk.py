"""Where the outside asks and is told: status, control socket, outlets, kept settings.

It outlives the loops that the supervisor puts in each other's place: the socket and whoever
listens on it stay, and mute and volume go from one loop to the next.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from slng_edge.config import Config
from slng_edge.errors import ControlError
from slng_edge.events import EventBus, Stamped
from slng_edge.service.control_commands import ControlCommands, Controllable, percent_of
from slng_edge.service.control_socket import ControlSocket
from slng_edge.service.event_relay import EventRelay
from slng_edge.service.kept_settings import KeptSettings
from slng_edge.service.notify import Notifier
from slng_edge.service.outlets import Outlets
from slng_edge.service.process_figures import process_figures
from slng_edge.service.status import StatusBoard
from slng_edge.service.status_text import status_line
from slng_edge.threads import OnDeath

log = logging.getLogger(__name__)

STATUS_INTERVAL_S = 1.0
"""systemd is told of changes at most so often."""

STATUS_REFRESH_S = 60.0
"""And where nothing changes, so often: the line has an uptime in it."""

STOP_TIMEOUT_S = 0.3


class ControlDesk:
    """What the supervisor keeps for all of its loops.

    Everything is called by the supervisor's thread, unless it says otherwise.

    Args:
        bus: The events of every loop.
        kept: Mute and volume over restarts.
        notifier: Gets the status line.
        reload: As in `ControlCommands`; called in the thread `control`.
        more: What the status shows besides; any thread.
        on_death: As in `Worker`.
    """

    def __init__(
        self,
        bus: EventBus,
        *,
        kept: KeptSettings,
        notifier: Notifier,
        reload: Callable[[], Future[str]],
        more: Callable[[], dict[str, Any]] = dict,
        on_death: OnDeath,
    ) -> None:
        self._began_s = time.monotonic()
        self._kept = kept
        self._notifier = notifier
        self._more = more
        self._on_death = on_death
        self._loop: Controllable | None = None
        self._volume_of_config = 1.0
        self._board = StatusBoard(self._began_s)
        self._commands = ControlCommands(loop=self._present_loop, status=self.status, reload=reload)
        self._socket: ControlSocket | None = None
        self._socket_path = ""
        self._outlets = Outlets(self._commands, self.status, on_death=on_death)
        # The board first: who is told of a change and asks for the status has to find it there.
        receivers = (self._board.receive, self._stream, self._outlets.receive)
        self._relay = EventRelay(bus, receivers, on_death=on_death)
        self._told = -1
        self._told_at = float("-inf")

    def start(self) -> None:
        """Begin to take events."""
        self._relay.start()

    def muted_and_volume(self, config: Config) -> tuple[bool, float]:
        """As a loop on `config` has to begin: as was kept."""
        return self._kept.muted, self._kept.volume(config.audio.volume)

    def serve(self, loop: Controllable, config: Config) -> None:
        """From now on requests are for `loop`, which runs on `config`."""
        self.look()
        muted, volume = self.muted_and_volume(config)
        if muted and self._loop is None:
            log.info("it is muted, as it was when it ended: slng-edge ctl unmute")
        # It was built with these, and they may have changed since.
        if loop.muted != muted:
            loop.mute(muted)
        if loop.volume != volume:
            loop.set_volume(volume)
        self._loop, self._volume_of_config = loop, config.audio.volume

    def open_outlets(self, config: Config) -> None:
        """Have hook, status page and MQTT as `config` wants them, before the loop starts.

        One that cannot be had is a warning.
        """
        self._outlets.open(config)

    def open_socket(self, path: str) -> None:
        """Listen at `path`, "" for nowhere; a socket that is there already stays as it is.

        Where it cannot be made, a warning says why.
        """
        if path == self._socket_path:
            return
        self._close_socket()
        self._socket_path = path
        if not path:
            return
        try:
            control = ControlSocket(path, self._commands, on_death=self._on_death)
        except ControlError as error:
            log.warning("%s; going on without", error)
            return
        control.start()
        self._socket = control
        log.info("slng-edge ctl is answered at %s", control.path)

    def look(self) -> None:
        """Keep what has changed, and tell systemd; call it once a second.

        Waits for the disk where mute or volume have changed.
        """
        if self._loop is None:
            return
        self._kept.keep(
            muted=self._loop.muted,
            volume=self._loop.volume,
            volume_of_config=self._volume_of_config,
        )
        now = time.monotonic()
        if now - self._told_at < STATUS_INTERVAL_S:
            return
        changes = self._board.changes
        if changes != self._told or now - self._told_at >= STATUS_REFRESH_S:
            self._told, self._told_at = changes, now
            self._notifier.status(status_line(self.status()))

    def stop_serving(self) -> None:
        """From now on there is no loop; requests for one are refused."""
        self.look()
        self._loop = None

    def stop(self) -> None:
        """Hand on the last events, and close the socket; idempotent.

        Raises:
            StuckThread: a thread did not stop within `STOP_TIMEOUT_S`.
        """
        try:
            self._relay.stop(STOP_TIMEOUT_S)
        finally:
            self._outlets.stop(STOP_TIMEOUT_S)
            self._close_socket()

    def status(self) -> dict[str, Any]:
        """What `ctl status` shows; any thread."""
        loop = self._loop
        more = dict(self._more())
        if loop is not None:
            more["muted"] = loop.muted
            more["volume"] = percent_of(loop.volume)
            more["counters"] = {name: _finite(each) for name, each in loop.counters().items()}
        problems = {**({} if loop is None else loop.problems()), **self._outlets.problems}
        if problems:
            more["problems"] = problems
        more["process"] = process_figures()
        return self._board.as_json(time.monotonic(), more=more)

    def _present_loop(self) -> Controllable:
        loop = self._loop
        if loop is None:
            raise ControlError("the service is ending")
        return loop

    def _stream(self, stamped: Stamped) -> None:
        control = self._socket
        if control is not None:
            control.stream(stamped)

    def _close_socket(self) -> None:
        control, self._socket = self._socket, None
        if control is not None:
            control.stop(STOP_TIMEOUT_S)


def _finite(value: Any) -> Any:
    """`value`, None where JSON has no number for it: silence has no level in dB."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
