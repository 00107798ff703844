"""The responder's thread: questions in, pieces of the right turn out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conversation_scripts import PATIENCE_S, wait_until

from slng_edge.errors import ResponderError
from slng_edge.responders.command import CommandResponder
from slng_edge.responders.echo import EchoResponder
from slng_edge.responders.interface import Responder
from slng_edge.responders.runner import ReplyFailed, ReplyPiece, ReplyWritten, ResponderRunner


class Slow:
    """Answers piece by piece, each when it is let to."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.asked: list[str] = []
        self.closed = False

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        self.asked.append(text)
        for number in range(3):
            self.go.acquire(timeout=PATIENCE_S)
            if cancelled.is_set():
                return
            yield f"{text} {number}"

    def cancel(self) -> None:
        self.go.release()

    def close(self) -> None:
        self.closed = True
        self.go.release()


@contextmanager
def running(responder: Responder) -> Iterator[tuple[ResponderRunner, list[Any], list[Any]]]:
    events: list[Any] = []
    deaths: list[Any] = []
    runner = ResponderRunner(
        responder, on_event=events.append, on_death=lambda *death: deaths.append(death)
    )
    runner.start()
    try:
        yield runner, events, deaths
    finally:
        runner.stop(3)


def test_an_answer_is_its_pieces_and_its_end() -> None:
    """Each with the number of the turn."""
    with running(EchoResponder()) as (runner, events, _):
        runner.ask(7, "hello")
        assert wait_until(lambda: len(events) == 2)
        assert events == [ReplyPiece(7, "hello"), ReplyWritten(7)]


def test_pieces_come_while_the_rest_is_awaited() -> None:
    """The first is handed on before the second is there."""
    slow = Slow()
    with running(slow) as (runner, events, _):
        runner.ask(1, "x")
        slow.go.release()
        assert wait_until(lambda: events == [ReplyPiece(1, "x 0")])
        slow.go.release(2)
        assert wait_until(lambda: len(events) == 4)


def test_a_new_question_cancels_the_one_before() -> None:
    """Nothing of the old turn comes any more, its end included."""
    slow = Slow()
    with running(slow) as (runner, events, _):
        runner.ask(1, "old")
        slow.go.release()
        assert wait_until(lambda: events)
        runner.ask(2, "new")
        slow.go.release(3)
        assert wait_until(lambda: ReplyWritten(2) in events)
        assert [event.question for event in events] == [1, 2, 2, 2, 2]


def test_what_was_heard_of_a_reply_is_told_before_the_next_question() -> None:
    """In the responder's thread, so that its history needs no lock."""

    class Remembers(EchoResponder):
        def __init__(self) -> None:
            self.told: list[str] = []

        def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
            self.told.append(f"asked {text}")
            yield text

        def heard(self, text: str) -> None:
            self.told.append(f"heard {text} in {threading.current_thread().name}")
            if text == "raise":
                raise KeyError("a mistake")

    remembers = Remembers()
    with running(remembers) as (runner, events, _):
        runner.ask(1, "one")
        assert wait_until(lambda: ReplyWritten(1) in events)
        runner.tell_heard("half of it")
        runner.tell_heard("raise")
        runner.ask(2, "two")
        assert wait_until(lambda: ReplyWritten(2) in events)
    assert remembers.told == [
        *("asked one", "heard half of it in responder"),
        *("heard raise in responder", "asked two"),
    ]


def test_a_responder_without_a_history_is_not_told() -> None:
    """`heard` is optional."""
    with running(EchoResponder()) as (runner, events, _):
        runner.tell_heard("half of it")
        runner.ask(1, "one")
        assert wait_until(lambda: ReplyWritten(1) in events)


def test_a_question_that_was_cancelled_in_the_queue_is_not_asked() -> None:
    """The responder never sees it."""
    slow = Slow()
    with running(slow) as (runner, events, _):
        runner.ask(1, "first")
        assert wait_until(lambda: slow.asked)
        runner.ask(2, "second")
        runner.ask(3, "third")
        slow.go.release(4)
        assert wait_until(lambda: ReplyWritten(3) in events)
        assert slow.asked == ["first", "third"]


def test_a_failure_is_an_event_of_its_turn() -> None:
    """What came before stands, and the next question is answered."""

    class Broken(EchoResponder):
        def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
            yield "so far"
            if text == "fail":
                raise ResponderError("no more")

    with running(Broken()) as (runner, events, deaths):
        runner.ask(1, "fail")
        assert wait_until(lambda: len(events) == 2)
        assert isinstance(events[1], ReplyFailed)
        assert (events[0], str(events[1].error)) == (ReplyPiece(1, "so far"), "no more")
        runner.ask(2, "work")
        assert wait_until(lambda: ReplyWritten(2) in events)
        assert deaths == []


def test_a_bug_in_a_responder_ends_the_turn_alone() -> None:
    """An exception that is no ResponderError is told and logged, and the next question answered."""

    class Wrong(EchoResponder):
        def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
            if text == "x":
                raise ZeroDivisionError("by me")
            yield text

    with running(Wrong()) as (runner, events, deaths):
        runner.ask(1, "x")
        assert wait_until(lambda: events)
        failed = events[0]
        assert isinstance(failed, ReplyFailed)
        assert (failed.question, str(failed.error)) == (1, "ZeroDivisionError: by me")
        runner.ask(2, "y")
        assert wait_until(lambda: events[-1] == ReplyWritten(2))
        assert deaths == []


def test_stop_ends_a_program_that_runs() -> None:
    """A real one that would take a minute; the responder is closed."""
    with running(CommandResponder(("sleep", "60"))) as (runner, events, _):
        runner.ask(1, "x")
        began = time.monotonic()
        runner.stop(3)
        assert time.monotonic() - began < 2
        assert events == []


def test_cancel_without_a_question_is_harmless() -> None:
    """As often as one likes, also after the end."""
    with running(EchoResponder()) as (runner, events, _):
        runner.cancel()
        runner.ask(1, "x")
        assert wait_until(lambda: len(events) == 2)
        runner.cancel()
        runner.cancel()


def test_the_responder_is_closed_at_the_end() -> None:
    """After its thread has ended."""
    slow = Slow()
    with running(slow):
        pass
    assert slow.closed


class Remembers(EchoResponder):
    """Notes what it was asked and told."""

    def __init__(self) -> None:
        self.noted: list[str | None] = []

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        self.noted.append(text)
        yield from super().respond(text, cancelled)

    def heard(self, text: str | None) -> None:
        self.noted.append(text)


def test_what_was_heard_is_told_of_the_question_it_belongs_to() -> None:
    """One that was cancelled before it was taken up is in no history, and the one before stays."""
    responder = Remembers()
    with running(responder) as (runner, events, _):
        runner.ask(1, "first")
        assert wait_until(lambda: ReplyWritten(1) in events)
        runner.tell_heard("fir")
        held = threading.Event()
        responder.heard = lambda text: (responder.noted.append(text), held.wait(5))  # type: ignore[assignment,method-assign]
        assert wait_until(lambda: responder.noted[-1] == "fir")
        runner.ask(2, "second")
        runner.cancel()
        runner.tell_heard(None)
        runner.ask(3, "third")
        held.set()
        assert wait_until(lambda: ReplyWritten(3) in events)
    assert responder.noted == ["first", "fir", "third"]
