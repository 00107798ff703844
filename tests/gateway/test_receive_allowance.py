"""How much may come before it counts as a flood: tables, and what sessions really get."""

from __future__ import annotations

import pytest

from slng_edge.gateway.frame_reader import RuleBroken
from slng_edge.gateway.receive_allowance import (
    STT_LIMITS,
    TTS_LIMITS,
    ReceiveAllowance,
    ReceiveLimits,
)

LIMITS = ReceiveLimits(
    messages=10,
    messages_a_second=2,
    messages_a_byte=0.5,
    size_bytes=1000,
    bytes_a_second=100,
    bytes_a_byte=10,
)


def test_so_many_messages_at_once_and_no_more() -> None:
    """A message in pieces counts as so many."""
    allowance = ReceiveAllowance(LIMITS, 5.0)
    allowance.received(6, 0, 5.0)
    for _ in range(4):
        allowance.received(1, 0, 5.0)
    with pytest.raises(RuleBroken, match="far more messages") as info:
        allowance.received(1, 0, 5.0)
    assert info.value.code == 1008


def test_so_many_bytes_at_once_and_no_more() -> None:
    """Whatever the number of messages."""
    allowance = ReceiveAllowance(LIMITS, 5.0)
    allowance.received(1, 1000, 5.0)
    with pytest.raises(RuleBroken, match="far more bytes"):
        allowance.received(1, 1, 5.0)


def test_time_and_what_is_sent_allow_more() -> None:
    """Up to what may come at once; a clock that stands still or goes back allows nothing."""
    allowance = ReceiveAllowance(LIMITS, 5.0)
    allowance.received(10, 1000, 5.0)
    allowance.received(2, 100, 6.0)
    allowance.sent(6)
    allowance.received(3, 60, 6.0)
    with pytest.raises(RuleBroken):
        allowance.received(1, 0, 3.0)
    allowance = ReceiveAllowance(LIMITS, 5.0)
    for _ in range(100):
        allowance.sent(20)
    with pytest.raises(RuleBroken):
        allowance.received(11, 0, 1000.0)


def test_a_large_message_allows_as_much_as_it_asks_for() -> None:
    """More than at once else, and no more than that with the next."""
    allowance = ReceiveAllowance(LIMITS, 5.0)
    allowance.sent(200)
    allowance.sent(1)
    allowance.received(100, 2000, 5.0)
    with pytest.raises(RuleBroken):
        allowance.received(1, 0, 5.0)


@pytest.mark.parametrize(
    ("limits", "messages_a_second", "bytes_each", "sent_a_second", "seconds"),
    [
        pytest.param(STT_LIMITS, 50, 400, 32_000, 600, id="talk"),
        pytest.param(STT_LIMITS, 2000, 400, 3_200_000, 36, id="an hour of a recording in 36 s"),
        pytest.param(TTS_LIMITS, 200, 480, 1, 600, id="sound in 5 ms frames"),
        pytest.param(TTS_LIMITS, 1000, 1300, 300, 600, id="short answers, 20 times as fast"),
    ],
)
def test_what_a_good_gateway_sends_is_no_flood(
    limits: ReceiveLimits,
    messages_a_second: int,
    bytes_each: int,
    sent_a_second: int,
    seconds: int,
) -> None:
    """With room: twice as many messages as any route is known to send."""
    allowance = ReceiveAllowance(limits, 0.0)
    for second in range(seconds):
        allowance.sent(sent_a_second)
        for _ in range(messages_a_second):
            allowance.received(1, bytes_each, float(second))


@pytest.mark.parametrize("chars", [500, 2000, 10_000])
def test_a_whole_text_at_once_is_no_flood(chars: int) -> None:
    """The longest of each plan, as base64 of 48 kHz in pieces of 20 ms."""
    allowance = ReceiveAllowance(TTS_LIMITS, 0.0)
    allowance.sent(chars)
    allowance.sent(16)  # flush
    for _ in range(chars // 15 * 50):
        allowance.received(1, 48_000 * 2 // 50 * 4 // 3 + 100, 0.0)
