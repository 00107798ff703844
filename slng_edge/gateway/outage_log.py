"""What the log says of a session's outages: one line a change of state, however many attempts."""

from __future__ import annotations

import logging

from slng_edge.errors import SlngEdgeError

log = logging.getLogger(__name__)


class OutageLog:
    """The memory that repeats are told by; the owner serializes all calls.

    Args:
        name: "stt" or "tts".
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._said = ""
        self._said_of_standby = ""
        self._in_vain = False
        self._left = ""

    def failed(self, error: SlngEdgeError) -> None:
        """There is no connection, for another reason or again."""
        # Not one for each attempt, whatever their reasons; nor one each time that a gateway
        # says `ready` and fails again.
        said = "it is tried again" if error.retryable else "it is given up"
        level = logging.DEBUG if said == self._said else logging.WARNING
        self._said = said
        log.log(level, "%s: %s", self._name, error)

    def ended(self, *, in_vain: bool) -> None:
        """A connection is over; `in_vain` where it did nothing and the next may not either."""
        self._in_vain = in_vain

    def standby_failed(self, error: SlngEdgeError) -> None:
        """A connection beside the one in use did not come about."""
        if str(error) != self._said_of_standby:
            self._said_of_standby = str(error)
            log.warning("%s: no second connection: %s", self._name, error)

    def switched(self, model: str, other: str) -> None:
        """`model` fails, and `other` is used; told once, not each time that it is tried in vain."""
        level = logging.DEBUG if model == self._left else logging.WARNING
        self._left = model
        log.log(level, "%s: %s fails, using %s", self._name, model, other)

    def connected(self) -> None:
        """There is a connection again."""
        if self._said and not self._in_vain:
            log.info("%s: connected again", self._name)
            self._said = ""

    def answered(self, model: str) -> None:
        """`model` did what it is for."""
        if self._said:
            log.info("%s: works again", self._name)
        self._said = self._said_of_standby = ""
        self._in_vain = False
        if model == self._left:
            self._left = ""
