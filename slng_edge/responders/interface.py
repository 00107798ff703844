"""What answers: the words of one turn in, pieces of the reply out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from slng_edge.errors import ResponderError


class ResponderUnreachable(ResponderError):
    """There is no connection to what answers, or no answer on it; canned answers may step in."""


class Responder(Protocol):
    """One conversation partner. One thread calls `respond`; the rest may come from any."""

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        """The reply to `text`, piece by piece, as it comes.

        Nothing is done before the first piece is asked for. The iterator ends early, without
        an error, when `cancelled` is set or `cancel` is called; closing it stops the work too.

        Args:
            text: What was said.
            cancelled: Set by the caller, before it calls `cancel`, when nobody waits any more.

        Raises:
            ResponderError: there is no answer, or no more of it; the pieces so far stand.
        """

    def cancel(self) -> None:
        """Stop the work on the present reply; does not wait for it. Idempotent, any thread."""

    def close(self) -> None:
        """Cancel, and release everything; no `respond` follows. Idempotent, any thread."""


@runtime_checkable
class StartsEarly(Protocol):
    """A responder with something to load before the first question; optional beside `Responder`."""

    def start(self) -> None:
        """Begin to load it; does not wait for it. Any thread."""


@runtime_checkable
class KeepsHistory(Protocol):
    """A responder that remembers what was said; optional beside `Responder`."""

    def heard(self, text: str | None) -> None:
        """Of the last reply the user heard only `text`: it was interrupted, or broke off.

        Called in the thread that calls `respond`, before the next question. Without a call a
        reply that came to its end was heard, and one that was stopped or failed was not.

        Args:
            text: "" where the user spoke before a word of it was out; None where it was dropped
                before it sounded, also when it was complete: the turn has never been.
        """
