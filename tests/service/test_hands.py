"""What button and keys do to the loop that runs, and the life of what reads them."""

from __future__ import annotations

import functools
import logging
import os
import termios
import threading
from collections.abc import Iterator

import pytest
from controllable import RecordedLoop
from conversation_scripts import wait_until

from slng_edge.errors import ControlError
from slng_edge.service import button, gpio_button, hands
from slng_edge.service.hands import LOUDEST, Hands


class HandledLoop(RecordedLoop):
    """A loop that has a button, too."""

    def talk_or_stop(self, by: str = "button") -> None:
        if self.refuses:
            raise ControlError(self.refuses)
        self.calls.append(("talk_or_stop", by))


class Handled:
    """Hands, and what they do: to a loop that may be another one by now."""

    def __init__(self) -> None:
        self.loop: HandledLoop | None = HandledLoop()
        self.quits = 0
        self.deaths: list[tuple[str, BaseException]] = []
        self.hands = Hands(
            self._present_loop,
            quit=self._quit,
            on_death=lambda thread, error: self.deaths.append((thread, error)),
        )

    @property
    def calls(self) -> list[tuple[object, ...]]:
        assert self.loop is not None
        return self.loop.calls

    def _present_loop(self) -> HandledLoop:
        if self.loop is None:
            raise ControlError("the service is starting")
        return self.loop

    def _quit(self) -> None:
        self.quits += 1


@pytest.fixture
def handled() -> Iterator[Handled]:
    """Hands without a button and keys to begin with."""
    made = Handled()
    yield made
    made.hands.stop()
    assert made.deaths == []


def test_what_hands_do(handled: Handled) -> None:
    """To the loop, but for the end, which is the service's."""
    handled.hands.talk_or_stop()
    handled.hands.toggle_mute()
    handled.hands.toggle_mute()
    handled.hands.change_volume(0.5)
    handled.hands.quit()
    assert handled.calls == [
        ("talk_or_stop", "button"),
        ("mute", True),
        ("mute", False),
        ("set_volume", 1.5),
    ]
    assert handled.quits == 1


@pytest.mark.parametrize(
    ("volume", "step", "becomes"), [(1.95, 0.1, LOUDEST), (0.05, -0.1, 0.0), (1.0, -0.1, 0.9)]
)
def test_the_volume_stays_within_its_limits(
    handled: Handled, volume: float, step: float, becomes: float
) -> None:
    """However often a key is pressed."""
    assert handled.loop is not None
    handled.loop.volume = volume
    handled.hands.change_volume(step)
    assert handled.loop.volume == pytest.approx(becomes)


def test_what_cannot_be_done_now_is_a_warning(
    handled: Handled, caplog: pytest.LogCaptureFixture
) -> None:
    """It must not end the thread that reads the button."""
    caplog.set_level(logging.WARNING, "slng_edge")
    assert handled.loop is not None
    handled.loop.refuses = "it is muted"
    handled.hands.talk_or_stop()
    handled.loop = None
    handled.hands.toggle_mute()
    assert [record.getMessage() for record in caplog.records] == [
        "a button or key did nothing: it is muted",
        "a button or key did nothing: the service is starting",
    ]


def test_hands_reach_the_loop_that_runs_now(handled: Handled) -> None:
    """After a reload it is another one."""
    before = handled.calls
    handled.loop = HandledLoop()
    handled.hands.talk_or_stop()
    assert before == []
    assert handled.calls == [("talk_or_stop", "button")]


def test_without_a_pin_and_a_terminal_nothing_is_started(handled: Handled) -> None:
    """As under systemd. Stopping is harmless, and may be repeated."""
    threads = set(threading.enumerate())
    handled.hands.start_button(0)
    assert handled.hands.problem == ""
    assert set(threading.enumerate()) == threads
    handled.hands.stop()
    handled.hands.stop()


# The button


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Pins without hardware, and a button that is quick: long is 0.15 s."""
    mock = pytest.importorskip("gpiozero.pins.mock")
    factory = mock.MockFactory()
    monkeypatch.setattr(button, "DEBOUNCE_S", 0.005)
    monkeypatch.setattr(button, "LONG_S", 0.15)
    monkeypatch.setattr(
        hands, "GpioButton", functools.partial(gpio_button.GpioButton, pin_factory=factory)
    )
    yield factory
    factory.close()


def test_the_button_does_as_it_is_pressed(handled: Handled, pins: object) -> None:
    """Short is talk or stop, long is mute; after a stop it is nothing."""
    handled.hands.start_button(17)
    pin = pins.pin(17)  # type: ignore[attr-defined]
    pin.drive_low()
    assert wait_until(lambda: handled.calls == [("mute", True)])
    pin.drive_high()
    threading.Event().wait(0.02)  # longer than it bounces
    pin.drive_low()
    threading.Event().wait(0.02)
    pin.drive_high()
    assert wait_until(lambda: handled.calls[1:] == [("talk_or_stop", "button")])
    handled.hands.stop()
    assert "button" not in {thread.name for thread in threading.enumerate()}


def test_a_reload_changes_the_pin_and_keeps_one_that_stays(handled: Handled, pins: object) -> None:
    """The old one is given back; 0 is none."""

    def buttons() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "button"]

    handled.hands.start_button(17)
    [first] = buttons()
    handled.hands.start_button(17)
    assert buttons() == [first]
    handled.hands.start_button(27)
    [second] = buttons()
    assert second is not first
    handled.hands.start_button(17)  # it was given back, or this is a problem
    assert handled.hands.problem == ""
    handled.hands.start_button(0)
    assert buttons() == []


def test_a_button_that_cannot_be_read_is_a_warning_and_tried_again(
    handled: Handled,
    pins: object,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The service runs without it and says why; the next reload may find it free."""
    caplog.set_level(logging.WARNING, "slng_edge")

    def busy(gpio: int, controls: object, *, on_death: object) -> None:
        raise gpio_button.ButtonUnavailable(f"GPIO {gpio} is in use by another program")

    works = hands.GpioButton
    monkeypatch.setattr(hands, "GpioButton", busy)
    handled.hands.start_button(17)
    assert handled.hands.problem == "GPIO 17 is in use by another program"
    assert "on without the button: GPIO 17 is in use" in caplog.text
    monkeypatch.setattr(hands, "GpioButton", works)
    handled.hands.start_button(17)
    assert handled.hands.problem == ""
    monkeypatch.setattr(hands, "GpioButton", busy)
    handled.hands.start_button(27)
    handled.hands.start_button(0)
    assert handled.hands.problem == ""


# The keys


@pytest.fixture
def keyboard() -> Iterator[int]:
    """A terminal as standard input; what is written to this is typed."""
    before = os.dup(0)
    typing, terminal = os.openpty()
    os.dup2(terminal, 0)
    yield typing
    os.dup2(before, 0)
    for descriptor in (before, typing, terminal):
        os.close(descriptor)


def test_keys_are_taken_in_a_terminal_once(handled: Handled, keyboard: int) -> None:
    """And given back at the end."""
    handled.hands.start_keys()
    handled.hands.start_keys()
    assert [thread.name for thread in threading.enumerate()].count("keys") == 1
    # What is typed before they are taken is a line for whoever reads the next one.
    assert wait_until(lambda: not termios.tcgetattr(0)[3] & termios.ICANON)
    for key in (b" ", b"+", b"m", b"q"):
        os.write(keyboard, key)
    assert wait_until(lambda: handled.quits)
    assert handled.calls == [
        ("talk_or_stop", "button"),
        ("set_volume", pytest.approx(1.1)),
        ("mute", True),
    ]
    handled.hands.stop()
    assert "keys" not in {thread.name for thread in threading.enumerate()}


def test_without_a_terminal_there_are_no_keys(handled: Handled) -> None:
    """Standard input is a pipe."""
    before = os.dup(0)
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    try:
        handled.hands.start_keys()
        assert "keys" not in {thread.name for thread in threading.enumerate()}
    finally:
        os.dup2(before, 0)
        for descriptor in (before, reading, writing):
            os.close(descriptor)
