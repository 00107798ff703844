"""The texts that wait: whose turn it is, and what makes up a segment."""

from __future__ import annotations

import pytest

from slng_edge.protocol.reply_texts import SEGMENT_CHARS, ReplyTexts


def waiting(*replies: tuple[str, ...]) -> ReplyTexts:
    """Replies 1, 2, …, all ended."""
    texts = ReplyTexts()
    for number, reply in enumerate(replies, 1):
        texts.open(number)
        texts.add(number, reply)
        texts.end(number)
    return texts


@pytest.mark.parametrize(
    ("texts", "limit_chars", "segments"),
    [
        (("a",), 9, [("a",)]),
        (("a", "b", "c"), 9, [("a",), ("b", "c")]),
        (("a", "b", "c", "d"), 5, [("a",), ("b", "c", "d")]),
        (("a", "bbbb", "cccc", "d"), 9, [("a",), ("bbbb", "cccc"), ("d",)]),
        (("a", "bbbb", "ccccc", "d"), 9, [("a",), ("bbbb",), ("ccccc", "d")]),
        (("a", "b" * 12, "c"), 9, [("a",), ("b" * 12,), ("c",)]),
        (
            ("a", "b" * (SEGMENT_CHARS - 2), "c", "d"),
            9999,
            [("a",), ("b" * (SEGMENT_CHARS - 2), "c"), ("d",)],
        ),
    ],
)
def test_the_first_text_is_a_segment_and_then_what_fits(
    texts: tuple[str, ...], limit_chars: int, segments: list[tuple[str, ...]]
) -> None:
    """With a space between, and never more than the routes speak without a pause."""
    replies = waiting(texts)
    assert [replies.next_segment(limit_chars) for _ in segments] == [(1, each) for each in segments]
    assert replies.next_segment(limit_chars) is None


def test_one_reply_comes_after_the_other() -> None:
    """The next one begins when the one before is over, not when its texts have run out."""
    replies = waiting(("a",), (), ("b",))
    assert replies.take_finished() == []
    assert (replies.next_segment(9), replies.next_segment(9)) == ((1, ("a",)), None)
    assert replies.take_finished() == [1, 2]
    assert replies.next_segment(9) == (3, ("b",))
    assert replies.take_finished() == [3]
    assert not replies


def test_a_reply_that_has_not_ended_is_not_finished() -> None:
    """More may come."""
    replies = ReplyTexts()
    replies.open(1)
    assert (replies.take_finished(), bool(replies)) == ([], True)


def test_what_is_over_takes_no_texts() -> None:
    """Dropped alone, or with all others."""
    replies = waiting(("a",), ("b",))
    replies.drop(1)
    replies.add(1, ["late"])
    assert list(replies) == ["b"]
    replies.clear()
    replies.end(2)
    assert (list(replies), replies.take_finished()) == ([], [])


def test_what_waits_is_cut_anew_in_its_place() -> None:
    """Of each reply."""
    replies = waiting(("ab", "cd"), ("ef",))
    replies.cut_anew(list)
    assert list(replies) == list("abcdef")
    assert replies.next_segment(9) == (1, ("a",))
    assert replies.next_segment(9) == (1, ("b", "c", "d"))
