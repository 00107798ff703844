"""Whether an interruption was the device's own, and what follows from it."""

from __future__ import annotations

import pytest

from slng_edge.dialogue.self_interruption import (
    HALF_DUPLEX_S,
    SelfInterruption,
    is_own_words,
    words_of,
)

REPLY = "You have three meetings this afternoon, the first one at half past two."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Stop!", ["stop"]),
        ("It’s half-past TWO.", ["it's", "half", "past", "two"]),
        ("... , !", []),
        ("停下来。", ["停", "下", "来"]),
        ("Übermorgen_um 5", ["übermorgen", "um", "5"]),
        ("", []),
    ],
)
def test_words_are_compared_without_case_and_punctuation(text: str, words: list[str]) -> None:
    """What two recognizers write differently is the same word."""
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("words", "own"),
    [
        ("", True),
        (" ... ", True),
        ("three meetings this afternoon", True),
        ("you have free meetings this afternoon", True),
        ("meetings", True),
        ("half past", True),
        ("stop", False),
        ("no", False),
        ("no no", False),
        ("past half", False),
        ("meetings stop", False),
        ("you three", False),
        ("you stop it", False),
        ("go past two", True),
        ("cancel the first one please", False),
        ("no the second one please", False),
        ("what time is it", False),
        ("two past half at one first the", False),
    ],
)
def test_what_the_reply_says_is_its_own(words: str, own: bool) -> None:
    """Most words in the reply's order are an echo; a word or two must be there just so."""
    assert is_own_words(words, REPLY) is own


def test_just_the_share_of_the_words_is_enough() -> None:
    """13 of 20."""
    reply = "a b c d e f g h i j k l m"
    assert is_own_words(f"{reply} one two three four five six seven", reply)
    assert not is_own_words(f"{reply} one two three four five six seven eight", reply)


def test_a_short_word_is_the_replys_where_the_reply_says_it() -> None:
    """While the device says "stop" it may hear "stop"."""
    assert is_own_words("Stop.", "Say stop when it is enough.")
    assert not is_own_words("Stop.", "")


def test_one_own_interruption_changes_nothing() -> None:
    """It may have been a door."""
    it = SelfInterruption()
    it.reply_began(0.0)
    assert it.interrupted("", REPLY, 1.0)
    assert not it.half_duplex(1.0)


def interrupted_in(replies: tuple[int, ...]) -> SelfInterruption:
    """Own interruptions in the replies of these numbers, a reply every ten seconds."""
    it = SelfInterruption()
    for reply in range(1, max(replies) + 1):
        it.reply_began(reply * 10.0)
        for _ in range(replies.count(reply)):
            assert it.interrupted("three meetings", REPLY, reply * 10.0 + 1)
    return it


@pytest.mark.parametrize(
    ("replies", "half_duplex"),
    [
        ((1, 1), False),
        ((1, 2), True),
        ((1, 10), True),
        ((5, 14), True),
        ((1, 11), False),
        ((1, 11, 20), True),
    ],
)
def test_two_within_ten_replies_make_it_half_duplex(
    replies: tuple[int, ...], half_duplex: bool
) -> None:
    """In two of any ten replies in a row; less often is bad luck, and one reply counts once."""
    assert interrupted_in(replies).half_duplex(max(replies) * 10.0 + 1) is half_duplex


def test_a_users_interruptions_do_not_count() -> None:
    """Whoever talks a lot does not make the device deaf."""
    it = SelfInterruption()
    for reply in range(10):
        it.reply_began(reply)
        assert not it.interrupted("what time is it", REPLY, reply)
    assert not it.half_duplex(10.0)


def test_it_is_tried_again_after_ten_minutes_and_the_count_begins_anew() -> None:
    """What came meanwhile does not count; one more is one, two are two."""
    it = interrupted_in((1, 2))
    ends = 21.0 + HALF_DUPLEX_S
    assert it.interrupted("", REPLY, ends - 1)
    assert it.half_duplex(ends - 0.1)
    assert not it.half_duplex(ends)
    assert it.interrupted("", REPLY, ends + 1)
    assert not it.half_duplex(ends + 1)
    it.reply_began(ends + 2)
    assert it.interrupted("", REPLY, ends + 2)
    assert it.half_duplex(ends + 2)
