"""The thread a responder runs in: questions in, pieces of their replies out."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from slng_edge.errors import ResponderError
from slng_edge.responders.interface import KeepsHistory, Responder, StartsEarly
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReplyPiece:
    """A piece of the reply to `question`, as the responder gave it."""

    question: int
    text: str


@dataclass(frozen=True)
class ReplyWritten:
    """The reply to `question` is complete."""

    question: int


@dataclass(frozen=True)
class ReplyFailed:
    """The responder failed; what came before stands."""

    question: int
    error: ResponderError


ReplyEvent: TypeAlias = ReplyPiece | ReplyWritten | ReplyFailed


@dataclass(frozen=True)
class _Question:
    number: int
    text: str
    cancelled: threading.Event


@dataclass(frozen=True)
class _Heard:
    question: _Question
    text: str | None


class ResponderRunner:
    """Owns the thread `responder`.

    Args:
        responder: What answers.
        on_event: Gets `ReplyEvent`s in that thread; none for a question that was cancelled.
        on_death: As in `Worker`.
    """

    def __init__(
        self,
        responder: Responder,
        *,
        on_event: Callable[[ReplyEvent], None],
        on_death: OnDeath | None = None,
    ) -> None:
        self._responder = responder
        self._on_event = on_event
        self._questions: queue.SimpleQueue[_Question | _Heard | None] = queue.SimpleQueue()
        self._current: _Question | None = None
        self._asked: _Question | None = None
        self._begun: _Question | None = None
        self._worker = Worker("responder", self._run, wake=self._wake, on_death=on_death)

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Cancel what runs, end the thread and close the responder.

        Raises:
            StuckThread: the responder did not come back within `timeout_s`.
        """
        self._worker.stop(timeout_s)
        self._responder.close()

    def ask(self, number: int, text: str) -> None:
        """Put question `number`, after cancelling the one before. One thread asks and cancels."""
        self.cancel()
        self._current = self._asked = _Question(number, text, threading.Event())
        self._questions.put(self._current)

    def cancel(self) -> None:
        """Nobody waits for the reply any more: the work is stopped."""
        current, self._current = self._current, None  # `stop` may cancel beside who asks
        if current is not None:
            current.cancelled.set()
            self._responder.cancel()

    def tell_heard(self, text: str | None) -> None:
        """Of the reply asked for last, only `text` was heard; told before the next question.

        None: it was dropped before it sounded, and its question comes again, or never was one.
        """
        if self._asked is not None:
            self._questions.put(_Heard(self._asked, text))

    def _run(self) -> None:
        if isinstance(self._responder, StartsEarly):
            self._responder.start()
        while (item := self._questions.get()) is not None:
            if isinstance(item, _Heard):
                # A question that was cancelled before it was taken up is in no history.
                if item.question is self._begun:
                    self._remember(item.text)
            elif not item.cancelled.is_set():
                self._begun = item
                self._answer(item)

    def _remember(self, text: str | None) -> None:
        if isinstance(self._responder, KeepsHistory):
            try:
                self._responder.heard(text)
            except Exception:
                # Anybody's code again: the history may be wrong now, the service goes on.
                log.exception("the responder has a bug")

    def _answer(self, question: _Question) -> None:
        event: ReplyEvent = ReplyWritten(question.number)
        try:
            for piece in self._responder.respond(question.text, question.cancelled):
                if question.cancelled.is_set():
                    return
                self._on_event(ReplyPiece(question.number, piece))
        except ResponderError as error:
            event = ReplyFailed(question.number, error)
        except Exception as error:
            # A responder may be anybody's code; a bug in it ends the turn, not the service.
            log.exception("the responder has a bug")
            event = ReplyFailed(question.number, ResponderError(f"{type(error).__name__}: {error}"))
        if not question.cancelled.is_set():
            self._on_event(event)

    def _wake(self) -> None:
        self.cancel()
        self._questions.put(None)
