"""What the log says of skipped messages."""

from __future__ import annotations

from slng_edge.gateway.skipped_log import LINES, WINDOW_S, SkippedLog


def test_each_reason_is_said_once() -> None:
    """However often it comes."""
    skipped = SkippedLog()
    assert skipped.lines("no type", 5.0) == ["skipped a message: no type"]
    assert skipped.lines("no type", 6.0) == []
    assert skipped.lines("not JSON", 6.0) == ["skipped a message: not JSON"]


def test_some_reasons_are_said_and_the_rest_is_counted() -> None:
    """When the next is said, with the time, it tells how many were not."""
    skipped = SkippedLog()
    said = [line for number in range(1000) for line in skipped.lines(f"type {number}", 5.0)]
    assert len(said) == LINES
    assert skipped.lines("type 1", 5.0 + WINDOW_S) == [
        f"skipped {1000 - LINES} more messages",
        "skipped a message: type 1",
    ]
    assert skipped.lines("type 1", 6.0 + 2 * WINDOW_S) == ["skipped a message: type 1"]


def test_a_line_is_no_longer_than_a_line() -> None:
    """What a gateway wrote may be in it."""
    assert len(SkippedLog().lines("x" * 10_000, 5.0)[0]) < 300
