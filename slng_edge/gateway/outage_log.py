"""What the log says of a session's outages: one line a change of state, however many attempts."""

from __future__ import annotations

import logging
import re
from collections import deque

from slng_edge.errors import SlngEdgeError

log = logging.getLogger(__name__)

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
"""Of this device, in what is said of a certificate that is not valid now."""


class OutageLog:
    """The memory that repeats are told by; the owner serializes all calls but `write`.

    What is to be said is kept until `write`: the owner holds a lock until then, and whoever reads
    the log may be slow.

    Args:
        name: "stt" or "tts".
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._said = ""
        self._said_of_standby = ""
        self._in_vain = False
        self._left: set[str] = set()
        self._lines: deque[tuple[int, str]] = deque()

    def write(self) -> None:
        """Log what is to be said; without a lock held. Any thread."""
        while self._lines:
            try:
                level, line = self._lines.popleft()
            except IndexError:  # another thread was quicker
                return
            log.log(level, "%s: %s", self._name, line)

    def failed(self, error: SlngEdgeError) -> None:
        """There is no connection, for another reason or again."""
        # Not one for each attempt, whatever their reasons; nor one each time that a gateway
        # says `ready` and fails again.
        said = "it is tried again" if error.retryable else "it is given up"
        level = logging.DEBUG if said == self._said else logging.WARNING
        self._said = said
        self._lines.append((level, str(error)))

    def ended(self, *, in_vain: bool) -> None:
        """A connection is over; `in_vain` where it did nothing and the next may not either."""
        self._in_vain = in_vain

    def standby_failed(self, error: SlngEdgeError) -> None:
        """A connection beside the one in use did not come about."""
        said = _TIME.sub("", str(error))  # else each minute would be news
        if said != self._said_of_standby:
            self._said_of_standby = said
            self._lines.append((logging.WARNING, f"no second connection: {error}"))

    def switched(self, model: str, other: str) -> None:
        """`model` fails, and `other` is used; told once, not each time that it is tried in vain."""
        level = logging.DEBUG if model in self._left else logging.WARNING
        self._left.add(model)
        self._lines.append((level, f"{model} fails, using {other}"))

    def connected(self) -> None:
        """There is a connection again."""
        if self._said and not self._in_vain:
            self._lines.append((logging.INFO, "connected again"))
            self._said = ""

    def answered(self, model: str) -> None:
        """`model` did what it is for."""
        if self._said:
            self._lines.append((logging.INFO, "works again"))
        self._said = self._said_of_standby = ""
        self._in_vain = False
        self._left.discard(model)
