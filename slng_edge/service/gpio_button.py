"""A button on a GPIO pin; the only file that imports gpiozero.

The button connects the pin to ground; the pin's own pull-up resistor keeps it high while nobody
presses. gpiozero calls back in its own threads, which do no more than note the edge and its time:
the thread `button` makes presses of them, and calls.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from slng_edge.errors import MissingLibrary, SlngEdgeError
from slng_edge.service.button import ButtonAct, ButtonPresses, HandControls
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

FACTORY_VARIABLE = "GPIOZERO_PIN_FACTORY"
"""gpiozero's own variable: another way to the pins than lgpio, by its name."""


class ButtonUnavailable(SlngEdgeError):
    """The button cannot be used; the service does without it."""


class GpioButton:
    """Owns the pin, and the thread `button`, which calls `controls`.

    Args:
        gpio: The pin, by its GPIO number, not by its place on the header.
        controls: A short press is `talk_or_stop`, a long one `toggle_mute`.
        pin_factory: gpiozero's way to the pins; None: lgpio, or what `FACTORY_VARIABLE` names.
        on_death: As in `Worker`.

    Raises:
        MissingLibrary: gpiozero or lgpio is not installed.
        ButtonUnavailable: there is no such pin here, another program has it, or it may not be
            used; the message says which, and what to do.
    """

    def __init__(
        self,
        gpio: int,
        controls: HandControls,
        *,
        pin_factory: Any = None,
        on_death: OnDeath | None = None,
    ) -> None:
        self._gpio = gpio
        self._controls = controls
        self._edges: queue.SimpleQueue[tuple[bool, float] | None] = queue.SimpleQueue()
        self._device, self._close = _opened(gpio, pin_factory)
        self._held = False
        self._worker = Worker(
            "button", self._run, wake=lambda: self._edges.put(None), on_death=on_death
        )

    def start(self) -> None:
        """Take presses from now on."""
        # Before the edges, so that a press is not taken for one that was there already.
        self._held = bool(self._device.is_active)
        self._device.when_activated = lambda: self._edges.put((True, time.monotonic()))
        self._device.when_deactivated = lambda: self._edges.put((False, time.monotonic()))
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Give the pin back. Any thread, any number of times.

        Raises:
            StuckThread: `controls` did not return within `timeout_s`.
        """
        self._close()
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        presses = ButtonPresses(held=self._held, now_s=time.monotonic())
        while not self._worker.stopping.is_set():
            due_s = presses.due_s()
            timeout_s = None if due_s is None else max(0.0, due_s - time.monotonic())
            try:
                edge = self._edges.get(timeout=timeout_s)
            except queue.Empty:
                acts = presses.advance(time.monotonic())
            else:
                if edge is None:
                    return
                pressed, at_s = edge
                acts = presses.press(at_s) if pressed else presses.release(at_s)
            for act in acts:
                self._carry_out(act)

    def _carry_out(self, act: ButtonAct) -> None:
        match act:
            case ButtonAct.SHORT:
                self._controls.talk_or_stop()
            case ButtonAct.LONG:
                self._controls.toggle_mute()
            case ButtonAct.STUCK:
                log.warning(
                    "the button on GPIO%d is held all the time; it is ignored until it is "
                    "released. Is it wired from the pin to ground, and not jammed?",
                    self._gpio,
                )


def _opened(gpio: int, pin_factory: Any) -> tuple[Any, Callable[[], None]]:
    """gpiozero's device on the pin, and what gives the pin back, any number of times."""
    try:
        import gpiozero
    except ImportError as error:
        raise _missing("gpiozero") from error
    failures: tuple[type[Exception], ...] = (gpiozero.GPIOZeroError, OSError, RuntimeError)
    with contextlib.ExitStack() as to_close:
        try:
            if pin_factory is None and os.environ.get(FACTORY_VARIABLE, "lgpio").lower() == "lgpio":
                failures = (*failures, _import_lgpio().error)
                from gpiozero.pins.lgpio import LGPIOFactory

                pin_factory = LGPIOFactory()
                # The pin is taken until the factory is closed; closing the device is not enough.
                to_close.callback(pin_factory.close)
            with warnings.catch_warnings(record=True):
                # What it warns of on the way to an error is in the error.
                device = gpiozero.DigitalInputDevice(gpio, pull_up=True, pin_factory=pin_factory)
        except failures as error:
            problem = _problem(error, sorted(Path("/dev").glob("gpiochip*")))
            raise ButtonUnavailable(
                f"no button on GPIO{gpio} (wake.button_gpio): {problem}"
            ) from error
        to_close.callback(device.close)
        return device, to_close.pop_all().close


def _import_lgpio() -> Any:
    """lgpio, kept from leaving a file in the working directory.

    It makes a named pipe there when it is imported, and fails where it may not, as in a service.
    `LG_WD` names another directory, but changes to it, for the whole process.

    Raises:
        MissingLibrary: it is not installed.
    """
    before = Path.cwd()
    # systemd's, in memory: with a full card there would be no button.
    place = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or None
    with tempfile.TemporaryDirectory(prefix="slng-edge-", dir=place) as folder:
        ours = "LG_WD" not in os.environ
        if ours:
            os.environ["LG_WD"] = folder
        try:
            import lgpio
        except ImportError as error:
            raise _missing("lgpio") from error
        finally:
            os.chdir(before)
            if ours:
                del os.environ["LG_WD"]
    return lgpio


def _missing(library: str) -> MissingLibrary:
    return MissingLibrary(
        library,
        "the button (wake.button_gpio)",
        "pip install 'slng-edge[gpio]' (Raspberry Pi OS: sudo apt-get install "
        "python3-gpiozero python3-lgpio)",
    )


def _problem(error: Exception, chips: Iterable[Path]) -> str:
    """What is wrong, and what to do, in words for who has wired the button."""
    words = re.sub(r"^'(.*)'$", r"\1", str(error))  # lgpio gives its words in quotes
    match type(error).__name__:
        case "PinUnknownPi":
            return "this is no Raspberry Pi; set it to 0"
        case "PinInvalidPin":
            return "this board has no such pin; give the GPIO number, not the place on the header"
        case "GPIOPinInUse":
            return "the pin is in use in this program already; choose another"
        case "PinFixedPull" | "PinInvalidPull":
            return "the pin has no pull-up resistor; choose another"
        case "BadPinFactory":
            return f"{words}; unset {FACTORY_VARIABLE}"
    if "busy" in words.lower():
        return (
            "another program or a driver has the pin; gpioinfo says which. "
            "Choose another, or end that program"
        )
    if "gpiochip" in words or isinstance(error, PermissionError):
        return _closed_chip(list(chips))
    return words


def _closed_chip(chips: list[Path]) -> str:
    if not chips:
        return (
            "there is no /dev/gpiochip* here; in a service, its unit needs "
            "DeviceAllow=char-gpiochip rw"
        )
    shut = [chip for chip in chips if not os.access(chip, os.R_OK | os.W_OK)]
    if shut:
        return (
            f"{shut[0]} may not be opened by this user; run: sudo usermod -aG gpio USER "
            "(in a service: SupplementaryGroups=gpio), then log in again"
        )
    return f"{chips[0]} cannot be opened"
