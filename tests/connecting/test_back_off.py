"""The row of delays between attempts."""

from __future__ import annotations

import random

from slng_edge.connecting.back_off import BackOff


def test_the_ceiling_doubles_from_one_second_to_thirty() -> None:
    """Each delay lies under the ceiling of its place in the row, over many rows."""
    highest = [0.0] * 8
    for seed in range(400):
        back_off = BackOff(random.Random(seed).uniform)
        delays = [back_off.next_delay_s() for _ in range(8)]
        highest = [max(pair) for pair in zip(highest, delays, strict=True)]
    ceilings = [1, 2, 4, 8, 16, 30, 30, 30]
    for reached, ceiling in zip(highest, ceilings, strict=True):
        assert 0.9 * ceiling < reached <= ceiling


def test_the_jitter_is_full() -> None:
    """Delays spread down to nothing, so that a thousand devices do not come back at once."""
    delays = [BackOff(random.Random(seed).uniform).next_delay_s() for seed in range(400)]
    assert min(delays) < 0.05
    assert 0.4 < sum(delays) / len(delays) < 0.6


def test_what_the_server_asks_for_is_waited_in_any_case() -> None:
    """`Retry-After` is the least; the jitter comes on top."""
    delays = [BackOff(random.Random(seed).uniform).next_delay_s(7.0) for seed in range(100)]
    assert all(7.0 <= delay <= 8.0 for delay in delays)


def test_a_connection_that_lived_starts_the_row_anew() -> None:
    """30 s count as a life."""
    back_off = BackOff(random.Random(1).uniform)
    for _ in range(6):
        back_off.next_delay_s()
    back_off.succeeded(30.0)
    assert back_off.next_delay_s() <= 1.0


def test_a_connection_that_died_at_once_does_not() -> None:
    """A gateway that accepts and drops is not hammered."""
    highest = 0.0
    for seed in range(100):
        back_off = BackOff(random.Random(seed).uniform)
        for _ in range(6):
            back_off.next_delay_s()
            back_off.succeeded(29.9)
        highest = max(highest, back_off.next_delay_s())
    assert highest > 20
