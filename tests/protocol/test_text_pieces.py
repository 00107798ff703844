"""Text that is too long for a message: where it is cut."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slng_edge.protocol.text_pieces import split_text
from slng_edge.sentence_ends import TAG, has_letter


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("", 5, []),
        (" \n\t", 5, []),
        ("  Hello.  ", 6, ["Hello."]),
        ("One. Two. Three. Four.", 22, ["One. Two. Three. Four."]),
        ("One. Two. Three. Four.", 21, ["One. Two. Three.", "Four."]),
        ("One. Two. Three. Four.", 10, ["One. Two.", "Three.", "Four."]),
        ("Well, it is a long one. Yes.", 12, ["Well,", "it is a long", "one. Yes."]),
        ("Ask Dr. Smith, please", 15, ["Ask Dr. Smith,", "please"]),
        ("It is 3.14. Good", 12, ["It is 3.14.", "Good"]),
        ("one two three four", 9, ["one two", "three", "four"]),
        ("one\ntwo", 4, ["one", "two"]),
        ("go", 1, ["g", "o"]),
        ("今日は。元気？はい！", 6, ["今日は。", "元気？はい！"]),
        ("extraordinarily", 5, ["extra", "ordin", "arily"]),
        ("e\u0301e\u0301e\u0301", 3, ["e\u0301", "e\u0301", "e\u0301"]),
        ("नीनीनी", 3, ["नी", "नी", "नी"]),
        ("👍🏽👍🏽", 3, ["👍🏽👍🏽"[:2], "👍🏽"]),
        ("\U0001f469\u200d\U0001f4bb\U0001f469\u200d\U0001f4bb", 4, ["👩\u200d💻", "👩\u200d💻"]),
        ("a\u0301\u0302\u0303\u0304", 2, ["a\u0301", "\u0302\u0303", "\u0304"]),
        ("a\ud83d\ude00b", 2, ["a", "\ud83d\ude00", "b"]),
        ('ab <break time="1s"/> cd', 6, ["ab", '<break time="1s"/>', "cd"]),
        ('<break time="1s"/>', 6, ['<break time="1s"/>']),
        ("Hi.<b>abcdef</b>", 8, ["Hi.", "<b>abcde", "f</b>"]),
    ],
)
def test_a_text_is_cut_where_it_hurts_least(text: str, limit: int, pieces: list[str]) -> None:
    """After a sentence, a clause, a word; within a word as the last resort, within a tag never."""
    assert split_text(text, limit) == pieces


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("It costs. 4.5", 12, ["It", "costs. 4.5"]),
        ("aa, 1111 2222 bbbb", 13, ["aa, 1111 2222", "bbbb"]),
        ("xx yyy, 12345 abcdefghijkl", 12, ["xx", "yyy, 12345", "abcdefghijkl"]),
        ("123456 789 abcdef", 10, ["123456 789", "abcdef"]),
        ("1 2 3 4 abcdefg", 8, ["1 2 3 4", "abcdefg"]),
        ("7. Mac<b>Adam</b> is here", 12, ["7. Mac", "<b>Adam</b>", "is here"]),
        ("hello 11111, 22. O<b>Neill.", 9, ["hello", "11111,", "22. O", "<b>Neill."]),
        ("hello, 11 222 word", 9, ["hello,", "11 222", "word"]),
        ("12345 67890", 5, ["12345", "67890"]),
        ("— yes", 3, ["—", "yes"]),
    ],
)
def test_what_has_no_letter_goes_with_its_neighbour(
    text: str, limit: int, pieces: list[str]
) -> None:
    """Some routes refuse it alone; it stays so only where the limit leaves no other way."""
    assert split_text(text, limit) == pieces


def test_a_limit_below_one_is_refused() -> None:
    """There is no piece of no characters."""
    with pytest.raises(ValueError, match="0 characters"):
        split_text("a", 0)


PARTS = st.sampled_from(
    [
        *"ab A1 9.!?… ,;: \n\t\"'()<>/",
        *"。，中",
        "Dr.",
        "z.B.",
        "...",
        '<break time="1.5s"/>',
        "<b>",
        "</b>",
        "Hello",
        "e\u0301",
        "नी",
        "😀",
        "👍🏽",
        " ",
        " ",
        ". ",
        " 12345",
        "<b " + "x" * 199,
    ]
)
TEXTS = st.lists(PARTS, max_size=60).map("".join)
LIMITS = st.sampled_from([1, 2, 5, 12, 40, 500])


def bare(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=500, deadline=None)
@given(TEXTS, LIMITS)
def test_nothing_is_lost_or_changed(text: str, limit: int) -> None:
    """The pieces stand in the text one after the other, with white space alone between them."""
    end = 0
    for piece in split_text(text, limit):
        assert piece == piece.strip() != ""
        begin = text.index(piece, end)
        assert not text[end:begin].strip()
        end = begin + len(piece)
    assert not text[end:].strip()


@settings(max_examples=500, deadline=None)
@given(TEXTS, LIMITS)
def test_the_limit_is_kept_but_for_tags(text: str, limit: int) -> None:
    """A piece over the limit is one tag alone."""
    for piece in split_text(text, limit):
        assert len(piece) <= limit or TAG.fullmatch(piece)


@settings(max_examples=500, deadline=None)
@given(TEXTS, LIMITS)
def test_no_tag_is_cut(text: str, limit: int) -> None:
    """Every tag of the text is whole in some piece."""
    tags = [tag for piece in split_text(text, limit) for tag in TAG.findall(piece)]
    assert tags == TAG.findall(text)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(["yes", "no,", "Dr.", "fine.", "12", "—", "we\u0301ll"])))
def test_words_that_fit_are_never_cut(words: list[str]) -> None:
    """Where each word is shorter than the limit, all cuts are between words."""
    text = " ".join(words)
    assert [word for piece in split_text(text, 12) for word in piece.split()] == words


@settings(max_examples=500, deadline=None)
@given(TEXTS, st.sampled_from([5, 12, 40]))
@example("aaa bb, 1 2 3 cc", 7)
def test_a_piece_without_a_letter_fits_to_no_neighbour(text: str, limit: int) -> None:
    """Else it would have been joined."""
    pieces = split_text(text, limit)
    end = 0
    spans = []
    for piece in pieces:
        begin = text.index(piece, end)
        end = begin + len(piece)
        spans.append((begin, end))
    for left, right in pairwise(spans):
        if right[1] - left[0] <= limit:
            assert has_letter(text[slice(*left)])
            assert has_letter(text[slice(*right)])


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(["e\u0301", "o\u0302\u0323", "नी", "👍🏽", "x"]), max_size=40),
    st.integers(3, 9),
)
def test_a_letter_keeps_its_marks(letters: list[str], limit: int) -> None:
    """Also where a word has to be cut."""
    for piece in split_text("".join(letters), limit):
        assert not unicodedata.category(piece[0]).startswith("M")
        assert piece[0] != "🏽"
