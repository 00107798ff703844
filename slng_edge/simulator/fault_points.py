"""Where on a connection a fault strikes: after messages, at one of a type, or after audio."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slng_edge.simulator.faults import ActiveFaults

CLOSE_CODE = 1011

_POINT = re.compile(r"(?P<count>\d+)(?P<ms>ms)?|(?P<type>[a-z_]+)")
_OPENING = ("init", "start")


@dataclass
class _Strike:
    """One fault with a point, which strikes once."""

    act: str
    close_code: int = CLOSE_CODE
    messages: int | None = None
    audio_ms: int | None = None
    type_: str = ""
    done: bool = False


@dataclass(frozen=True)
class Act:
    """What is to happen now: "close", "reset", "stall" or "half_open"."""

    name: str
    close_code: int


class FaultPoints:
    """The faults of one connection that strike at a point. The caller locks.

    A count of messages that is reached while `ready` is on its way strikes after `ready`, in
    whichever thread that is said, so that what a client saw before does not hang on chance.

    Args:
        faults: Those of the connection.
    """

    def __init__(self, faults: ActiveFaults) -> None:
        self._strikes = [
            _strike(act, faults.text(name), audio=name == "close_after_audio")
            for name, act in (
                ("close_after", "close"),
                ("close_after_audio", "close"),
                ("reset_after", "reset"),
                ("stall", "stall"),
                ("half_open", "half_open"),
            )
            if name in faults
        ]
        self._answers_opening = "never_ready" not in faults
        self._received = 0
        self._audio_ms = 0.0
        self._ready_due = False

    def __bool__(self) -> bool:
        return bool(self._strikes)

    def message_came(self, type_: str) -> list[Act]:
        """A message of the client is here, not looked at yet; what strikes instead of it."""
        self._received += 1
        if type_ in _OPENING:
            self._ready_due = self._answers_opening
        return _due(strike for strike in self._strikes if strike.type_ == type_ != "")

    def opened(self) -> list[Act]:
        """The connection is there, and nothing came yet; what strikes."""
        return self.message_done()

    def message_done(self) -> list[Act]:
        """A message has been carried out; what strikes."""
        if self._ready_due:
            return []
        return _due(
            strike
            for strike in self._strikes
            if strike.messages is not None and self._received >= strike.messages
        )

    def ready_said(self) -> list[Act]:
        """`ready` has gone out; what strikes."""
        self._ready_due = False
        return self.message_done()

    def audio_passed(self, ms: float) -> list[Act]:
        """So much more of the audio that this connection is about has passed; what strikes."""
        self._audio_ms += ms
        return _due(
            strike
            for strike in self._strikes
            if strike.audio_ms is not None and self._audio_ms >= strike.audio_ms
        )


def _strike(act: str, value: str, *, audio: bool) -> _Strike:
    place, _, code = value.partition(":")
    match = _POINT.fullmatch(place)
    assert match is not None, value  # the table's form allows no other
    strike = _Strike(act, int(code or CLOSE_CODE))
    if match["type"]:
        strike.type_ = match["type"]
    elif audio or match["ms"]:
        strike.audio_ms = int(match["count"])
    else:
        strike.messages = int(match["count"])
    return strike


def _due(strikes: Iterable[_Strike]) -> list[Act]:
    acts = []
    for strike in strikes:
        if not strike.done:
            strike.done = True
            acts.append(Act(strike.act, strike.close_code))
    return acts
