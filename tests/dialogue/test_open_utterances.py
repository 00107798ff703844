"""Which utterances are awaited, and which of them may be the device's own reply."""

from __future__ import annotations

import pytest

from slng_edge.dialogue.open_utterances import OWN_SPEECH_MS, OpenUtterances
from slng_edge.dialogue.self_interruption import OWN_INTERRUPTIONS, SelfInterruption

REPLY = "The bus to the harbour leaves at half past two."


def opened(*, over_reply: bool, judged: bool = True) -> OpenUtterances:
    """Utterance 1 is open."""
    utterances = OpenUtterances(SelfInterruption() if judged else None, lambda: REPLY)
    utterances.begin(1, over_reply=over_reply)
    return utterances


def test_an_utterance_is_awaited_until_its_words_have_come() -> None:
    """And then no more."""
    utterances = opened(over_reply=False)
    utterances.begin(2, over_reply=True)
    assert (1 in utterances, sorted(utterances), bool(utterances)) == (True, [1, 2], True)
    utterances.close(1)
    utterances.close(1)
    assert (1 in utterances, list(utterances)) == (False, [2])
    assert utterances.clear() == (2,)
    assert not utterances


@pytest.mark.parametrize(
    ("text", "over_reply", "judged", "somebodys"),
    [
        ("what time is it", False, True, True),
        ("the bus to the harbour", False, True, True),
        ("the bus to the harbour", True, True, False),
        ("the bus to the harbour", True, False, True),
        ("stop please", True, True, True),
        ("... 12", False, True, False),
        ("", True, True, False),
    ],
)
def test_a_partial_brings_words_of_somebody(
    text: str, over_reply: bool, judged: bool, somebodys: bool
) -> None:
    """A mark is no word, and over a reply the reply's words are its own."""
    assert opened(over_reply=over_reply, judged=judged).brings_words(1, text) is somebodys


def test_words_of_an_utterance_that_is_not_open_count_for_nothing() -> None:
    """It was given up."""
    utterances = opened(over_reply=False)
    utterances.clear()
    assert not utterances.brings_words(1, "what time is it")


def test_whoever_said_other_words_once_is_not_the_device() -> None:
    """Whatever comes after: people repeat what they hear."""
    utterances = opened(over_reply=True)
    assert not utterances.brings_words(1, "the bus")
    assert utterances.brings_words(1, "when does the next one leave")
    assert utterances.brings_words(1, "the bus to the harbour")
    assert not utterances.is_own(1, "the bus to the harbour", 0.0)


@pytest.mark.parametrize(("more_ms", "own"), [(0, True), (1, False)])
def test_who_speaks_for_long_is_not_the_device(more_ms: int, own: bool) -> None:
    """It falls silent when the gate opens."""
    utterances = opened(over_reply=True)
    utterances.end(1, OWN_SPEECH_MS + more_ms)
    assert utterances.is_own(1, "half past two", 0.0) is own


@pytest.mark.parametrize(
    ("text", "over_reply", "judged", "own"),
    [
        ("half past two", True, True, True),
        ("", True, True, True),
        ("how much is it", True, True, False),
        ("half past two", False, True, False),
        ("half past two", True, False, False),
    ],
)
def test_a_final_is_the_replys_own(text: str, over_reply: bool, judged: bool, own: bool) -> None:
    """Only over a reply, and where it is judged at all."""
    assert opened(over_reply=over_reply, judged=judged).is_own(1, text, 0.0) is own


def test_own_finals_are_counted() -> None:
    """In the judge that was handed in, reply by reply."""
    judge = SelfInterruption()
    utterances = OpenUtterances(judge, lambda: REPLY)
    for utterance in range(OWN_INTERRUPTIONS):
        assert not judge.half_duplex(0.0)
        judge.reply_began(0.0)
        utterances.begin(utterance, over_reply=True)
        assert utterances.is_own(utterance, "half past two", 0.0)
        utterances.close(utterance)
    assert judge.half_duplex(0.0)


def test_one_that_cut_a_reply_is_known_until_it_is_closed() -> None:
    """A word that stops may still come in it."""
    utterances = opened(over_reply=True)
    assert not utterances.has_cut_reply
    utterances.cut_reply(1)
    assert utterances.has_cut_reply
    utterances.close(1)
    assert not utterances.has_cut_reply
