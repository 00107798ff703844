"""Carries out what is asked over the control socket: whom to ask, and what to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from slng_edge.errors import SlngEdgeError
from slng_edge.service.control_requests import (
    Ask,
    Command,
    Events,
    Mute,
    Reload,
    Say,
    Status,
    Stop,
    Unmute,
    Volume,
    Wake,
)


class Controllable(Protocol):
    """A voice loop, as the control socket sees it.

    Any thread may call; nothing waits. Everything may be called from its construction on, also
    before it is started: then it is carried out afterwards.
    """

    @property
    def muted(self) -> bool:
        """Whether it hears nothing because it was told to."""

    @property
    def volume(self) -> float:
        """The gain of what sounds: 1.0 as it comes, at most 2.0."""

    def wake(self) -> None:
        """Listen now, as after a wake word."""

    def interrupt(self) -> None:
        """Silence the reply, or give up what is under way."""

    def mute(self, muted: bool) -> None:
        """Hear nothing, or hear again."""

    def set_volume(self, gain: float) -> None:
        """Set `volume`."""

    def say(self, text: str, *, now: bool = False) -> None:
        """Speak `text` after the turn under way, or interrupt that.

        Raises:
            ControlError: too much waits, or there is nothing to say.
        """

    def ask(self, text: str) -> None:
        """Answer `text` as if it had been spoken.

        Raises:
            ControlError: too much waits, or there is nothing to answer.
        """

    def counters(self) -> dict[str, Any]:
        """What it has counted, as JSON can carry it."""

    def problems(self) -> dict[str, str]:
        """What does not work as it should while it goes on, by its setting."""


Result = Mapping[str, Any]


class ControlCommands:
    """Turns a command into calls.

    Args:
        loop: The loop that runs now; raises `ControlError` where there is none.
        status: What `status` answers.
        reload: Asks for a reload, and gives what will hold one line about it or its error.
    """

    def __init__(
        self,
        *,
        loop: Callable[[], Controllable],
        status: Callable[[], Result],
        reload: Callable[[], Future[str]],
    ) -> None:
        self._loop = loop
        self._status = status
        self._reload = reload

    def carry_out(self, command: Command) -> Result | Future[str]:
        """The result of `command`, or what it will come in; never waits.

        Raises:
            SlngEdgeError: it cannot be done.
        """
        match command:
            case Status():
                return self._status()
            case Wake():
                self._loop().wake()
            case Stop():
                self._loop().interrupt()
            case Mute() | Unmute():
                muted = isinstance(command, Mute)
                self._loop().mute(muted)
                return {"muted": muted}
            case Volume(percent):
                if percent is None:
                    return {"percent": percent_of(self._loop().volume)}
                self._loop().set_volume(percent / 100)
                return {"percent": percent}
            case Say(text, now):
                self._loop().say(text, now=now)
            case Ask(text):
                self._loop().ask(text)
            case Reload():
                return self._reload()
            case Events():  # the socket's own business
                raise AssertionError("events are streamed, not carried out")
        return {}


def percent_of(gain: float) -> float:
    """A gain as `ctl volume` shows it: 1.0 is 100."""
    percent = round(100 * gain, 1)
    return int(percent) if percent == int(percent) else percent


def failure_of(future: Future[str]) -> str:
    """Why `future` has no result, as one may be told; "" where it has one."""
    if future.cancelled():
        return "the service is ending"
    error = future.exception()
    if error is None:
        return ""
    return str(error) if isinstance(error, SlngEdgeError) else repr(error)
