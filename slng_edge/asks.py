"""What people and programs ask of the conversation, by a button or in writing."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from slng_edge.errors import ControlError

MOST_WAITING = 20
"""Texts that may wait for the end of a turn; a program that sends more does not look."""


@dataclass(frozen=True)
class WakeAsked:
    """Listen now; `by` is "button" or "command"."""

    by: str


@dataclass(frozen=True)
class StopAsked:
    """Stop whatever goes on."""

    by: str


@dataclass(frozen=True)
class MuteAsked:
    """Hear nothing, or hear again."""

    muted: bool


@dataclass(frozen=True)
class TextAsked:
    """A text is to be said, or answered; it waits in `WaitingTexts`."""


Ask: TypeAlias = WakeAsked | StopAsked | MuteAsked | TextAsked


@dataclass(frozen=True)
class WaitingText:
    """A text to be said as it is, or, with `question`, to be answered.

    `at_once` interrupts a reply, never a person.
    """

    text: str
    question: bool
    at_once: bool = False


class WaitingTexts:
    """Texts that wait for the end of the turn; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: deque[WaitingText] = deque()

    def __len__(self) -> int:
        return len(self._texts)

    def put(self, text: str, *, question: bool, first: bool) -> None:
        """Add a text, at the end or as the next one.

        Raises:
            ControlError: it has no letter or digit, or too many wait already.
        """
        if not any(map(str.isalnum, text)):
            raise ControlError("the text has nothing that could be said")
        with self._lock:
            if len(self._texts) >= MOST_WAITING:
                raise ControlError(
                    f"{MOST_WAITING} texts wait to be said already; try again when it is quiet"
                )
            waiting = WaitingText(" ".join(text.split()), question, at_once=first)
            if first:
                self._texts.appendleft(waiting)
            else:
                self._texts.append(waiting)

    @property
    def is_urgent(self) -> bool:
        """Whether the next one is to be said at once."""
        with self._lock:
            return bool(self._texts) and self._texts[0].at_once

    def put_back(self, text: str) -> None:
        """A text that was taken could not be said yet: it is the next one again."""
        with self._lock:
            self._texts.appendleft(WaitingText(text, question=False))

    def take(self, *, only_at_once: bool) -> WaitingText | None:
        """The next one; None where none waits, or only such as can wait for longer."""
        with self._lock:
            if not self._texts or (only_at_once and not self._texts[0].at_once):
                return None
            return self._texts.popleft()

    def clear(self) -> int:
        """Drop them all; returns how many they were."""
        with self._lock:
            count = len(self._texts)
            self._texts.clear()
            return count
