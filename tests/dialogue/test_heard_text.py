"""Which words were heard when a reply was cut off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slng_edge.dialogue.heard_text import SpokenSegment, heard_text

TEN = "one two three four five six"  # 27 characters


@pytest.mark.parametrize(
    ("played_ms", "expected"),
    [
        (-5, ""),
        (0, ""),
        (100, ""),
        (299, ""),
        (300, "one"),
        (690, "one"),
        (700, "one two"),
        (1299, "one two"),
        (1300, "one two three"),
        (2699, "one two three four five"),
        (2700, TEN),
        (9999, TEN),
    ],
)
def test_words_count_when_they_were_heard_to_their_end(played_ms: float, expected: str) -> None:
    """With all audio there, what was played is laid over the text in proportion."""
    assert heard_text([SpokenSegment(TEN, 2700, True)], played_ms) == expected


@pytest.mark.parametrize(
    ("audio_ms", "played_ms", "expected"),
    [
        (500, 500, "one two"),
        (5000, 500, ""),
        (5000, 600, "one"),
        (27 * 65.0, 27 * 65.0, TEN),
        (500, 2000, TEN),
    ],
)
def test_unfinished_audio_is_measured_by_the_pace_of_speech(
    audio_ms: float, played_ms: float, expected: str
) -> None:
    """While audio comes, the text lasts 65 ms a character, or as long as what has come."""
    assert heard_text([SpokenSegment(TEN, audio_ms, False)], played_ms) == expected


def test_segments_are_heard_one_after_the_other() -> None:
    """Whole segments count whole; the one being played in proportion; later ones not at all."""
    segments = [
        SpokenSegment("Hello there.", 1000, True),
        SpokenSegment("How are you?", 1200, True),
        SpokenSegment("Fine.", 0, False),
    ]
    assert heard_text(segments, 999) == "Hello"
    assert heard_text(segments, 1000) == "Hello there."
    assert heard_text(segments, 1000 + 700) == "Hello there. How are"
    assert heard_text(segments, 2200) == "Hello there. How are you?"


def test_nothing_behind_unfinished_audio_was_heard() -> None:
    """Audio comes in order, so a segment after an unfinished one cannot have sounded."""
    segments = [SpokenSegment("Hello there.", 300, False), SpokenSegment("More.", 0, False)]
    assert heard_text(segments, 10_000) == "Hello there."


@pytest.mark.parametrize("complete", [True, False])
def test_a_segment_without_sound_or_text_is_no_error(complete: bool) -> None:
    """A route may answer a text with nothing."""
    assert heard_text([SpokenSegment("", 0, complete)], 100) == ""
    assert heard_text([], 100) == ""


def test_a_text_that_gave_no_sound_counts_as_passed() -> None:
    """A whole segment of no length is behind the listener, and what follows is measured."""
    segments = [SpokenSegment("One.", 0, True), SpokenSegment("Two.", 400, True)]
    assert heard_text(segments, 400) == "One. Two."


def test_what_gave_no_sound_and_was_not_reached_was_not_heard() -> None:
    """It is passed only by what sounds after it."""
    assert heard_text([SpokenSegment("One.", 0, True)], 0) == ""
    segments = [SpokenSegment("One.", 400, True), SpokenSegment("Two.", 0, True)]
    assert heard_text(segments, 400) == "One."


def test_the_shortest_sound_is_heard_in_proportion() -> None:
    """There is no length below which nothing counts."""
    assert heard_text([SpokenSegment("a b", 1.0, True)], 0.5) == "a"


def test_what_was_played_to_its_end_was_heard_to_its_end() -> None:
    """Whatever a computer makes of 24 times this length divided by it: a little less than 24."""
    text = "one two three four fives"
    assert len(text) * 3940.2 / 3940.2 < len(text)
    assert heard_text([SpokenSegment(text, 3940.2, True)], 3940.2) == text


def test_tags_are_not_heard() -> None:
    """Tags are left out, and take no time."""
    segment = SpokenSegment('one <break time="1s"/>two <b>three</b>', 1300, True)
    assert heard_text([segment], 700) == "one two"
    assert heard_text([segment], 1300) == "one two three"


def test_scripts_without_spaces_go_by_the_character() -> None:
    """Chinese and Japanese are cut between characters, punctuation with the one before it."""
    assert heard_text([SpokenSegment("今日は、元気。", 700, True)], 450) == "今日は、"
    assert heard_text([SpokenSegment("今日は、元気。", 700, True)], 650) == "今日は、元"


def test_the_pace_can_be_given() -> None:
    """A fast voice says more in the same time."""
    segment = SpokenSegment(TEN, 0, False)
    assert heard_text([segment], 300, ms_per_char=30) == "one two"


@given(
    st.lists(
        st.builds(
            SpokenSegment,
            st.text("ab .", max_size=20),
            st.floats(0, 5000),
            st.booleans(),
        ),
        max_size=5,
    ),
    st.floats(0, 30_000),
    st.floats(0, 5000),
)
def test_who_listens_longer_hears_no_less(
    segments: list[SpokenSegment], played_ms: float, more_ms: float
) -> None:
    """What was heard earlier begins what was heard later, and all of it was said."""
    earlier = heard_text(segments, played_ms).split()
    later = heard_text(segments, played_ms + more_ms).split()
    assert later[: len(earlier)] == earlier
    said = " ".join(segment.text for segment in segments).split()
    assert "".join(later) == "".join(said)[: len("".join(later))]
