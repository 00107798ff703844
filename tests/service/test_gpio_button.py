"""A button on a GPIO pin.

gpiozero's own mock pins stand in for the hardware: its devices, its threads and its events are the
real ones, and only the level of the pin is set by hand.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slng_edge.errors import MissingLibrary
from slng_edge.service import button, gpio_button
from slng_edge.service.gpio_button import ButtonUnavailable, GpioButton

gpiozero = pytest.importorskip("gpiozero")
mock = pytest.importorskip("gpiozero.pins.mock")


class Noted:
    """Controls that note what they are asked for, and in which thread."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def _note(self, call: str) -> None:
        self.calls.put((call, threading.current_thread().name))

    def talk_or_stop(self) -> None:
        self._note("talk or stop")

    def toggle_mute(self) -> None:
        self._note("toggle mute")

    def change_volume(self, step: float) -> None:
        self._note(f"volume {step}")

    def quit(self) -> None:
        self._note("quit")

    def next(self) -> str:
        call, thread = self.calls.get(timeout=5)
        assert thread == "button"
        return call


@pytest.fixture
def factory() -> Iterator[mock.MockFactory]:
    """Pins without hardware."""
    made = mock.MockFactory()
    yield made
    made.close()


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    """A button is quicker here: long is 0.15 s, stuck 0.3 s."""
    monkeypatch.setattr(button, "DEBOUNCE_S", 0.005)
    monkeypatch.setattr(button, "LONG_S", 0.15)
    monkeypatch.setattr(button, "STUCK_S", 0.3)
    return Noted()


@pytest.fixture
def pressed(factory: mock.MockFactory, noted: Noted) -> Iterator[mock.MockPin]:
    """The pin of a button that is in service."""
    made = GpioButton(17, noted, pin_factory=factory)
    made.start()
    yield factory.pin(17)
    made.stop(timeout_s=2)


def press(pin: mock.MockPin) -> None:
    """Shorter than is long, and longer than contacts bounce."""
    pin.drive_low()
    time.sleep(0.02)
    pin.drive_high()
    time.sleep(0.02)


def test_a_press_to_ground_talks_or_stops(pressed: mock.MockPin, noted: Noted) -> None:
    """The pin is pulled up; low is pressed. It is told in a thread of its own."""
    assert pressed.pull == "up"
    for _ in range(2):
        press(pressed)
        assert noted.next() == "talk or stop"


def test_a_long_press_mutes_while_it_is_held(pressed: mock.MockPin, noted: Noted) -> None:
    """And nothing more when it is released."""
    pressed.drive_low()
    assert noted.next() == "toggle mute"
    pressed.drive_high()
    with pytest.raises(queue.Empty):
        noted.calls.get(timeout=0.05)


def test_a_button_held_at_the_start_is_told_and_ignored(
    factory: mock.MockFactory, noted: Noted, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning; when it is released, it is a button."""
    pin = factory.pin(17)
    made = GpioButton(17, noted, pin_factory=factory)
    pin.drive_low()
    made.start()
    with pytest.raises(queue.Empty):
        noted.calls.get(timeout=0.2)
    pin.drive_high()
    with pytest.raises(queue.Empty):
        noted.calls.get(timeout=0.05)
    press(pin)
    assert noted.next() == "talk or stop"
    made.stop(timeout_s=2)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1
    assert warned[0].startswith("the button on GPIO17 is held all the time")


def test_stopping_gives_the_pin_back(factory: mock.MockFactory, noted: Noted) -> None:
    """Any number of times, started or not; then another may have it."""
    for is_started in (False, True):
        made = GpioButton(17, noted, pin_factory=factory)
        if is_started:
            made.start()
        made.stop(timeout_s=2)
        made.stop(timeout_s=2)
    assert "button" not in {thread.name for thread in threading.enumerate()}


def test_a_pin_in_use_is_said(factory: mock.MockFactory, noted: Noted) -> None:
    """By another part of this program."""
    first = gpiozero.LED(17, pin_factory=factory)
    with pytest.raises(ButtonUnavailable, match=r"no button on GPIO17 .* in use in this program"):
        GpioButton(17, noted, pin_factory=factory)
    first.close()


def test_a_pin_that_is_not_there_is_said(factory: mock.MockFactory, noted: Noted) -> None:
    """A number too high, or one of the header's."""
    with pytest.raises(ButtonUnavailable, match="this board has no such pin; give the GPIO"):
        GpioButton(99, noted, pin_factory=factory)


def test_an_unknown_way_to_the_pins_is_said(noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names one that gpiozero does not have."""
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "nonsense")
    with pytest.raises(ButtonUnavailable, match="'nonsense'; unset GPIOZERO_PIN_FACTORY"):
        GpioButton(17, noted)


@pytest.mark.parametrize("library", ["gpiozero", "lgpio"])
def test_a_missing_library_is_said_with_the_line_that_installs_it(
    library: str, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory and the environment are as they were."""
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    before = Path.cwd(), dict(os.environ)
    with pytest.raises(MissingLibrary, match=rf"needs {library}.*pip install 'slng-edge\[gpio\]'"):
        GpioButton(17, noted)
    assert (Path.cwd(), dict(os.environ)) == before


def test_lgpio_needs_no_room_for_temporary_files(
    tmp_path: Path, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pipe is in systemd's folder for the service, which is in memory; it is none of ours."""
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    monkeypatch.setitem(sys.modules, "lgpio", None)
    with pytest.raises(MissingLibrary):  # and not ButtonUnavailable, as there is no folder
        GpioButton(17, noted)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("lgpio") is None, reason="lgpio is not installed")
@pytest.mark.skipif(Path("/dev/gpiochip0").exists(), reason="this machine has pins")
def test_a_machine_without_pins_is_said(tmp_path: Path) -> None:
    """With the real library, which keeps a thread: in a process of its own. It leaves no file."""
    code = "from slng_edge.service.gpio_button import GpioButton; GpioButton(17, None)"
    environment = {k: v for k, v in os.environ.items() if k != "GPIOZERO_PIN_FACTORY"}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert re.search(r"ButtonUnavailable: .*(no Raspberry Pi|no /dev/gpiochip)", ended.stderr)
    assert list(tmp_path.iterdir()) == []


class LgpioError(Exception):
    """As lgpio's own error shows itself."""

    def __str__(self) -> str:
        return repr(self.args[0])


@pytest.mark.parametrize(
    ("error", "chips", "says"),
    [
        (LgpioError("GPIO busy"), [], "another program or a driver has the pin; gpioinfo"),
        (LgpioError("can not open gpiochip"), [], "there is no /dev/gpiochip*"),
        (LgpioError("can not open gpiochip"), ["/nowhere"], "/nowhere may not be opened by this"),
        (LgpioError("can not open gpiochip"), ["/dev/null"], "/dev/null cannot be opened"),
        (PermissionError(13, "Permission denied"), ["/nowhere"], "usermod -aG gpio"),
        (gpiozero.PinUnknownPi("unable to locate"), [], "this is no Raspberry Pi; set it to 0"),
        (gpiozero.PinFixedPull("x"), [], "has no pull-up resistor"),
        (OSError("something else"), [], "something else"),
    ],
)
def test_what_is_wrong_is_said_in_words(error: Exception, chips: list[str], says: str) -> None:
    """A busy pin, missing rights, no pins at all."""
    assert says in gpio_button._problem(error, map(Path, chips))
