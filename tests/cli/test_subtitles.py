"""Finals as SubRip and WebVTT text."""

from __future__ import annotations

import pytest

from slng_edge.cli.subtitles import Cue, cue_of, srt, tail_of_line, vtt


@pytest.mark.parametrize(
    ("words", "duration_s", "expected"),
    [
        ([{"start": 1.0, "end": 1.5}, {"start": 1.5, "end": 2.25}], 9.0, Cue(1.0, 2.25, "a b")),
        ([{"start": 1, "end": 2}, {"start": None, "end": 3}], None, Cue(1.0, 2.0, "a b")),
        ([{"start": "1", "end": "2"}, {"word": "x"}], 2.0, Cue(4.0, 6.0, "a b")),
        ([{"start": True, "end": False}], 2.0, Cue(4.0, 6.0, "a b")),
        ([{"start": 3.0, "end": 1.0}], None, Cue(3.0, 3.0, "a b")),
        ([], 2.5, Cue(4.0, 6.5, "a b")),
        ([], None, Cue(4.0, 7.0, "a b")),
    ],
)
def test_a_cue_is_as_exact_as_the_gateway_lets_it(
    words: list[dict[str, object]], duration_s: float | None, expected: Cue
) -> None:
    """The words' own times, else the final's length, else what was sent so far."""
    assert cue_of("a b", words, duration_s, after_s=4.0, sent_s=7.0) == expected


def test_times_never_run_backwards() -> None:
    """A final that comes before any more audio was sent."""
    assert cue_of("a", [], None, after_s=4.0, sent_s=3.0) == Cue(4.0, 4.0, "a")


def test_subrip_counts_its_blocks_and_writes_a_comma() -> None:
    """As players expect it."""
    block = srt(12, Cue(3661.0015, 3662.5, "Hello <i>there</i>"))
    assert block == "12\n01:01:01,002 --> 01:01:02,500\nHello <i>there</i>\n\n"


def test_webvtt_escapes_what_would_be_markup() -> None:
    """An arrow in the text would end the cue."""
    block = vtt(Cue(0.0, 0.25, "a --> b & <c>"))
    assert block == "00:00:00.000 --> 00:00:00.250\na --&gt; b &amp; &lt;c&gt;\n\n"


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("hello", 10, "hello"),
        ("hello", 3, "llo"),
        ("hello", 0, ""),
        ("", 5, ""),
        ("東京タワー", 5, "ワー"),
        ("a東京", 5, "a東京"),
    ],
)
def test_a_partial_is_cut_at_its_start(text: str, columns: int, expected: str) -> None:
    """A line that wraps could not be wiped again."""
    assert tail_of_line(text, columns) == expected
