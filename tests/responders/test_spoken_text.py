"""What a model wrote for the eye, made fit for the ear."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slng_edge.responders.spoken_text import LONGEST_WORD, SpokenText


def spoken(*pieces: str) -> str:
    text = SpokenText()
    return "".join([*map(text.receive, pieces), *text.rest()])


TABLE = [
    ("Hello there. How are you?", "Hello there. How are you?"),
    ("This is **bold** and *italic* and ***both***.", "This is bold and italic and both."),
    ("__bold__ and _italic_", "bold and italic"),
    ("snake_case_name and 2*3 and 2 * 3", "snake_case_name and 2*3 and 2 * 3"),
    ("**Note:** it rains", "Note: it rains"),
    ("~~old~~ new, ~5 of them", "old new, ~5 of them"),
    ("Run `ls -l` now", "Run ls -l now"),
    ("# Title\n\nText", "Title\n\nText"),
    ("### Sub **bold**\nText", "Sub bold\nText"),
    ("#1 in the C# list", "#1 in the C# list"),
    ("- one\n* two\n+ three\n  - four", "one\ntwo\nthree\nfour"),
    ("- **one**: first", "one: first"),
    ("1. one\n2. two", "1. one\n2. two"),
    ("-5 degrees - cold", "-5 degrees - cold"),
    ("> quoted\n>> twice ", "quoted\ntwice "),
    ("a\n---\nb\n***\nc", "a\n\nb\n\nc"),
    ("```python\nprint(1)\n```\ndone", "\nprint(1)\n\ndone"),
    ("See [the *docs* page](https://a.example/b_(c)?d=e f) now", "See the docs page now"),
    ("![a cat](cat.png)", "a cat"),
    ("array[3] and [1] and [x] (y)", "array[3] and [1] and [x] (y)"),
    ("At https://www.example.com/a/b?c=d.", "At example.com."),
    ("At https://example.com, or <http://x.example:80/y>!", "At example.com, or x.example:80!"),
    ("https://example.com", "example.com"),
    ("a < b and <break time='1s'/> c", "a < b and <break time='1s'/> c"),
    ("<think>\nHm, **so**\n</think>\n\nYes.", "\n\nYes."),
    ("<thinking>never ends", ""),
    ("I <think> so", "I <think> so"),
    ("这是**重点**内容。", "这是重点内容。"),
    ("a\x00b\ufffdc\x1b", "abc"),
    ("\U0001f600 fine", "\U0001f600 fine"),
    ("", ""),
]


@pytest.mark.parametrize(("written", "said"), TABLE)
def test_marks_are_left_out(written: str, said: str) -> None:
    """And what stands between them is kept."""
    assert spoken(written) == said


@pytest.mark.parametrize(("written", "said"), TABLE)
def test_it_does_not_matter_how_the_text_was_dealt_out(written: str, said: str) -> None:
    """Character by character, as models do at times."""
    assert spoken(*written) == said


@given(st.data(), st.sampled_from([written for written, _ in TABLE]))
def test_any_cut_gives_the_same(data: st.DataObject, written: str) -> None:
    """Two cuts anywhere."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), min_size=2, max_size=2)))
    assert spoken(written[: cuts[0]], written[cuts[0] : cuts[1]], written[cuts[1] :]) == spoken(
        written
    )


@given(st.lists(st.text(alphabet="ab *_`#[]()!-\n<>~https:/.", max_size=12), max_size=8))
def test_nothing_is_lost_but_marks(pieces: list[str]) -> None:
    """Every letter outside of addresses comes out, in its order, however it is dealt out."""
    written = "".join(pieces)
    if "](" in written or "://" in written:
        return
    assert [c for c in spoken(*pieces) if c in "ab"] == [c for c in written if c in "ab"]


def test_a_sentence_is_given_out_with_the_next_word() -> None:
    """Speech need not wait for more than the sentence splitter does."""
    text = SpokenText()
    assert text.receive("It is ") == "It is "
    assert text.receive("four.") == ""
    assert text.receive(" And") == "four. "


def test_two_halves_of_a_character_are_put_together() -> None:
    """Some servers cut there; half of one alone is dropped."""
    assert spoken("x \ud83d", "\ude00 y \ud83d") == "x \U0001f600 y "


def test_a_word_without_end_is_not_held_back_for_ever() -> None:
    """It can be no mark."""
    text = SpokenText()
    assert len(text.receive("a" * (LONGEST_WORD + 1))) == LONGEST_WORD + 1
