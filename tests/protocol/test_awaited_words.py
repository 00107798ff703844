"""One utterance whose words are awaited: how fast it was sent, and how much the finals speak of."""

from __future__ import annotations

import pytest

from slng_edge.protocol.awaited_words import AwaitedWords
from slng_edge.protocol.vocabulary import FinalTranscript


def test_what_was_kept_without_any_audio_was_not_hurried() -> None:
    """Nothing of it was sent, so there is no time that it took."""
    words = AwaitedWords(1)
    words.begin_again()
    words.asked(5.0, audio_s=0.0)
    assert not words.hurried


@pytest.mark.parametrize(("took_s", "hurried"), [(4.9, True), (5.0, False)])
def test_what_was_kept_is_hurried_where_it_goes_out_in_less_than_half_its_time(
    took_s: float, hurried: bool
) -> None:
    """Ten seconds of speech in less than five."""
    words = AwaitedWords(1)
    words.begin_again()
    words.sent(1.0)
    words.sent(2.0)
    words.asked(1.0 + took_s, audio_s=10.0)
    assert words.hurried is hurried


@pytest.mark.parametrize(
    ("durations_s", "audio_s", "covered"),
    [
        ((), 0.0, False),
        ((None,), 0.0, False),
        ((4.0, None, 5.0), 10.0, True),
        ((4.0, 4.9), 10.0, False),
    ],
)
def test_nine_tenths_of_the_audio_are_all_of_it(
    durations_s: tuple[float | None, ...], audio_s: float, covered: bool
) -> None:
    """As far as the finals say of how much they speak; silence is left out at the ends."""
    words = AwaitedWords(1)
    words.finals += [FinalTranscript("x", duration_s=each) for each in durations_s]
    assert words.covers(audio_s) is covered
