"""One connection: what is written on it beside texts, and which answers count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slng_edge.protocol.text_allowance import TextAllowance
from slng_edge.protocol.tts_wire import TtsWire
from slng_edge.protocol.unified_tts import UnifiedTts


def wire(**more: Any) -> TtsWire:
    """A connection that was greeted at 0; `cleared` is due at 9."""
    allowance = TextAllowance(more.pop("messages_a_minute", 60))
    allowance.begin_connection(0.0, chars_a_minute=None)
    dialect = UnifiedTts(model=None, voice="v", sample_rate_hz=24000)
    return TtsWire(dialect, allowance, keepalive_s=30.0, now=0.0)


def kind(message: str | None) -> str | None:
    """The type of a message."""
    return None if message is None else json.loads(message)["type"]


@pytest.mark.parametrize(
    ("flushes", "terminals", "counts"),
    [
        (1, ["flushed"], [True]),
        (1, ["audio_end"], [True]),
        (2, ["flushed", "flushed"], [False, True]),
        (2, ["flushed", "audio_end", "audio_end"], [False, False, True]),
        (2, ["flushed", "audio_end", "flushed"], [False, False, True]),
    ],
)
def test_terminals_are_counted_by_kind(
    flushes: int, terminals: list[str], counts: list[bool]
) -> None:
    """As many of one kind as there were flushes: the last of them is of the last flush."""
    one = wire()
    for _ in range(flushes):
        one.flush()
    assert [one.ended(each) for each in terminals] == counts


def test_clear_goes_first_and_texts_wait_for_its_answer() -> None:
    """`cleared` before our `clear` answers nothing, and counts begin anew after it."""
    one = wire()
    one.begin_segment()
    one.flush()
    one.clear(cleared_by=9.0)
    assert (one.cleared(), one.takes_texts) == (False, False)
    assert [kind(one.request(1.0)) for _ in range(2)] == ["clear", None]
    assert (one.takes_texts, one.deadline()) == (False, 9.0)
    assert [one.cleared() for _ in range(2)] == [True, False]
    one.flush()
    assert (one.takes_texts, one.ended("flushed")) == (True, True)


def test_nothing_is_cleared_twice_or_without_a_text() -> None:
    """The gateway has nothing to drop."""
    one = wire()
    one.clear(cleared_by=9.0)
    assert one.request(1.0) is None
    one.begin_segment()
    for _ in range(2):
        one.clear(cleared_by=9.0)
    assert [kind(one.request(1.0)) for _ in range(2)] == ["clear", None]


def test_a_missing_cleared_is_said_once() -> None:
    """When its time has come."""
    one = wire()
    one.begin_segment()
    one.clear(cleared_by=9.0)
    assert [one.give_up_clearing(now) for now in (8.9, 9.0, 9.1)] == [False, True, False]


def test_a_message_that_is_not_allowed_stays_due() -> None:
    """And no last message is sent in its place."""
    one = wire(messages_a_minute=1)
    one.begin_segment()
    one.clear(cleared_by=9.0)
    assert (one.request(1.0), one.farewell()) == (None, None)
    assert kind(one.request(99.0)) == "clear"
