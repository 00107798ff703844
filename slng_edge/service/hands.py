"""What the button and the keys do to the loop that runs, and the parts that read them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from slng_edge.errors import ControlError, SlngEdgeError, StuckThread
from slng_edge.service.control_commands import Controllable
from slng_edge.service.gpio_button import GpioButton
from slng_edge.service.terminal_keys import TerminalKeys, is_terminal
from slng_edge.threads import OnDeath

log = logging.getLogger(__name__)

LOUDEST = 2.0
"""`audio.volume` at most."""

_STOP_S = 0.5


class Steerable(Controllable, Protocol):
    """A voice loop, as a hand sees it."""

    def talk_or_stop(self, by: str = "button") -> None:
        """Stop a reply, else listen.

        Raises:
            ControlError: it cannot be done now.
        """


class Hands:
    """Owns the button's thread and that of the keys. The main thread starts and stops it.

    Args:
        loop: The loop that runs now; raises `ControlError` where there is none.
        quit: Ends the service.
        on_death: As in `Worker`.

    Attributes:
        problem: Why there is no button although one is configured; "" where there is one.
    """

    def __init__(
        self, loop: Callable[[], Steerable], *, quit: Callable[[], None], on_death: OnDeath
    ) -> None:
        self.problem = ""
        self._loop = loop
        self._quit = quit
        self._on_death = on_death
        self._gpio = 0
        self._button: GpioButton | None = None
        self._keys: TerminalKeys | None = None

    def start_button(self, gpio: int) -> None:
        """Read the button on `gpio`, 0 for none. One that cannot be read is a warning.

        Before other threads start: the library changes the working directory for a moment.
        """
        if gpio == self._gpio and not self.problem:
            return
        self._stop_button()
        self._gpio, self.problem = gpio, ""
        if not gpio:
            return
        try:
            self._button = GpioButton(gpio, self, on_death=self._on_death)
        except SlngEdgeError as error:
            self.problem = str(error)
            log.warning("on without the button: %s", error)
        else:
            self._button.start()

    def start_keys(self) -> None:
        """Take keys where `run` was started by hand, in a terminal."""
        if self._keys is None and is_terminal():
            self._keys = TerminalKeys(self, on_death=self._on_death)
            self._keys.start()

    def stop(self) -> None:
        """Leave the terminal as it was, and give the pin back."""
        if self._keys is not None:
            with suppress(StuckThread):  # it ends with the process, which is ending
                self._keys.stop(_STOP_S)
            self._keys = None
        self._stop_button()

    # In the threads of button and keys

    def talk_or_stop(self) -> None:
        """Stop a reply that sounds or is thought about; else listen."""
        self._do(lambda loop: loop.talk_or_stop())

    def toggle_mute(self) -> None:
        """Mute, or unmute."""
        self._do(lambda loop: loop.mute(not loop.muted))

    def change_volume(self, step: float) -> None:
        """Louder, or softer."""
        self._do(lambda loop: loop.set_volume(min(LOUDEST, max(0.0, loop.volume + step))))

    def quit(self) -> None:
        """End the service."""
        self._quit()

    def _do(self, what: Callable[[Steerable], None]) -> None:
        try:
            what(self._loop())
        except ControlError as error:
            log.warning("a button or key did nothing: %s", error)

    def _stop_button(self) -> None:
        if self._button is not None:
            with suppress(StuckThread):  # the pin is given back all the same
                self._button.stop(_STOP_S)
            self._button = None
