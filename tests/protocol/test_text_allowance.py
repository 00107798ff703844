"""What may still be sent in this minute, and when what is held up may go."""

from __future__ import annotations

import pytest

from slng_edge.protocol.text_allowance import TextAllowance
from slng_edge.protocol.token_bucket import WINDOW_S


def allowance(messages: int, chars: int | None = None) -> TextAllowance:
    """Of a connection that was greeted at 0."""
    minute = TextAllowance(messages)
    minute.begin_connection(0.0, chars_a_minute=chars)
    return minute


@pytest.mark.parametrize(
    ("messages", "chars", "held_until"),
    [
        (6, None, None),
        (5, None, WINDOW_S),
        (6, 14, None),
        (6, 13, 1.0 + WINDOW_S),
        (5, 13, 1.0 + WINDOW_S),
    ],
)
def test_a_segment_goes_when_all_of_it_may(
    messages: int, chars: int | None, held_until: float | None
) -> None:
    """Three messages with its `flush`, after `init` and two of another; the later limit counts."""
    minute = allowance(messages, chars)
    assert minute.take_segment(["."], 1.0)
    assert minute.take_segment(["Hello. ", "World."], 2.0) is (held_until is None)
    assert minute.held_until == held_until


def test_a_segment_that_is_held_up_takes_nothing() -> None:
    """A shorter one may go, and a `clear`."""
    minute = allowance(3, 5)
    assert not minute.take_segment(["Long", "."], 0.0)
    assert minute.take_segment(["Five."], 0.0)


def test_a_message_says_when_it_may_go() -> None:
    """Until it is asked for anew."""
    minute = allowance(2)
    assert (minute.take_message(1.0), minute.held_until) == (True, None)
    assert (minute.take_message(2.0), minute.held_until) == (False, WINDOW_S)
    assert minute.next_message_at(2.0) == WINDOW_S
    minute.release()
    assert minute.held_until is None


@pytest.mark.parametrize(("second", "may_go"), [(10, False), (None, True)])
def test_characters_are_of_the_provider_and_messages_of_the_connection(
    second: int | None, may_go: bool
) -> None:
    """A new connection has messages again, and characters only with another provider."""
    minute = allowance(3, 10)
    assert minute.take_segment(["Ten chars."], 0.0)
    minute.begin_connection(1.0, chars_a_minute=second)
    assert minute.take_segment(["Ten chars."], 1.0) is may_go
