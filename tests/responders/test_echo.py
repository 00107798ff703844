"""The responder that says what it heard."""

from __future__ import annotations

import threading

from slng_edge.responders.echo import EchoResponder


def test_it_says_what_it_heard() -> None:
    """One piece, unchanged; it can be cancelled and closed without harm."""
    echo = EchoResponder()
    assert list(echo.respond("Hello. Ünïcode", threading.Event())) == ["Hello. Ünïcode"]
    echo.cancel()
    echo.close()


def test_it_says_nothing_when_cancelled() -> None:
    """Nobody waits for it, so it is silent."""
    cancelled = threading.Event()
    cancelled.set()
    assert list(EchoResponder().respond("Hello", cancelled)) == []
