"""The bucket: what passes in any minute, and when the next may."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.protocol.token_bucket import MINUTE_S, WINDOW_S, TokenBucket


def test_it_is_full_at_the_start() -> None:
    """All of the limit may go at once, and not one more."""
    bucket = TokenBucket(3)
    assert [bucket.take(1, 0.0) for _ in range(4)] == [True, True, True, False]


def test_what_was_taken_comes_back_after_a_minute_and_the_margin() -> None:
    """Each amount by itself, not all at once."""
    bucket = TokenBucket(2)
    bucket.take(1, 0.0)
    bucket.take(1, 10.0)
    assert bucket.ready_at(1, 20.0) == WINDOW_S
    assert bucket.ready_at(2, 20.0) == 10.0 + WINDOW_S
    assert bucket.take(1, WINDOW_S)
    assert not bucket.take(1, WINDOW_S)


def test_it_does_not_refill_bit_by_bit() -> None:
    """Half a minute after all was taken, nothing is there yet."""
    bucket = TokenBucket(20)
    assert all(bucket.take(1, 0.0) for _ in range(20))
    assert not bucket.take(1, 30.0)


def test_what_was_refused_takes_nothing() -> None:
    """A smaller amount still passes."""
    bucket = TokenBucket(10)
    assert bucket.take(7, 0.0)
    assert not bucket.take(4, 0.0)
    assert bucket.take(3, 0.0)


@pytest.mark.parametrize(
    ("amount", "expected"), [(0, 5.0), (1, 5.0), (2, 62.0), (3, 63.0), (4, 63.0)]
)
def test_it_says_when_an_amount_is_there(amount: int, expected: float) -> None:
    """At once, or when enough has come back."""
    bucket = TokenBucket(4)
    bucket.take(1, 0.0)
    bucket.take(2, 1.0)
    assert bucket.ready_at(amount, 5.0) == expected


def test_more_than_the_limit_waits_until_all_is_back() -> None:
    """It could never be sent otherwise, and nothing else is sent in its minute."""
    bucket = TokenBucket(10)
    bucket.take(1, 0.0)
    assert not bucket.take(25, 5.0)
    assert bucket.ready_at(25, 5.0) == WINDOW_S
    assert bucket.take(25, WINDOW_S)
    assert bucket.ready_at(1, WINDOW_S) == 2 * WINDOW_S


def test_nothing_is_always_there() -> None:
    """Also when all was taken."""
    bucket = TokenBucket(1)
    bucket.take(1, 0.0)
    assert bucket.take(0, 0.0)
    assert bucket.ready_at(0, 0.0) == 0.0
    bucket = TokenBucket(1)
    bucket.take(25, 0.0)
    assert bucket.take(0, 0.0)


def test_a_reset_fills_it() -> None:
    """A new connection has all of its limit."""
    bucket = TokenBucket(3)
    bucket.take(3, 0.0)
    bucket.reset()
    assert bucket.take(1, 0.0)
    assert bucket.take(2, 0.0)
    assert bucket.ready_at(1, 0.0) == WINDOW_S


def test_a_limit_of_nothing_is_refused() -> None:
    """It would wait for ever."""
    with pytest.raises(ValueError, match="0 a minute"):
        TokenBucket(0)


def test_a_negative_amount_is_refused() -> None:
    """Nothing is given back by hand."""
    with pytest.raises(ValueError, match="-1"):
        TokenBucket(1).take(-1, 0.0)


STEPS = st.lists(
    st.tuples(st.floats(0, 40, allow_nan=False), st.integers(0, 30), st.booleans()), max_size=60
)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 25), STEPS)
def test_no_minute_holds_more_than_the_limit(
    limit: int, steps: list[tuple[float, int, bool]]
) -> None:
    """Wherever the minute begins; where one amount alone is over the limit, it stands alone.

    `steps` are pauses in seconds, amounts, and whether to wait for the amount or to try at once.
    """
    bucket = TokenBucket(limit)
    now = 0.0
    sent: list[tuple[float, int]] = []
    for pause, amount, wait in steps:
        now += pause
        if wait:
            now = bucket.ready_at(amount, now)
        taken = bucket.take(amount, now)
        assert taken or not wait, "it was said to be there"
        if taken and amount:
            sent.append((now, amount))
    # A minute that holds the most begins with something sent; its end counts as well.
    for begin, _ in sent:
        within = [amount for at, amount in sent if begin <= at <= begin + MINUTE_S]
        assert sum(within) <= limit or len(within) == 1


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 25), STEPS)
def test_nothing_waits_longer_than_it_has_to(
    limit: int, steps: list[tuple[float, int, bool]]
) -> None:
    """A moment before the time that is said, the amount would be one too many."""
    bucket = TokenBucket(limit)
    now = 0.0
    sent: list[tuple[float, int]] = []
    for pause, amount, _ in steps:
        now += pause
        ready_at = bucket.ready_at(amount, now)
        if ready_at > now:
            standing = sum(taken for at, taken in sent if at + WINDOW_S >= ready_at)
            assert standing + amount > limit
        now = ready_at
        assert bucket.take(amount, now)
        if amount:
            sent.append((now, amount))
