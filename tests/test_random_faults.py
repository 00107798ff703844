"""The seeded conversation of `random_faults`, short; `scripts/random-faults` holds the long one."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from labelled_sound import (
    Heard,
    LabelledReplies,
    LabelReader,
    heard_in,
    labelled_voice,
    numbers_of,
    words_of,
)
from random_faults import converse, plan, replies_wrong, words_wrong

from slng_edge.pcm import Samples

SEED = int(os.environ.get("SLNG_EDGE_TEST_SEED", "2"))
TURNS = 25


def test_a_conversation_through_random_faults_keeps_its_promises(tmp_path: Path) -> None:
    """Each utterance one final or one loss, no reply twice or in another turn, nothing left."""
    outcome = converse(tmp_path, seed=SEED, turns=TURNS, fault_share=0.7)
    print(outcome.table())
    assert outcome.violations == [], f"seed {SEED}"
    assert outcome.counts["utterances"] >= TURNS - 2, "the conversation was not held"
    assert outcome.counts["connections failed"] >= TURNS / 5, "nothing went wrong"
    assert outcome.counts["replies begun"] >= TURNS / 2, "hardly anything was answered"


def test_a_seed_gives_the_same_plan_again() -> None:
    """And another seed another one."""
    assert plan(5, 50) == plan(5, 50)
    assert plan(5, 50) != plan(6, 50)


# What judges has to be able to see what is wrong


def in_room(*voices: Samples) -> bytes:
    quiet = np.zeros(800, dtype=np.int16)
    return np.concatenate([piece for voice in voices for piece in (quiet, voice)]).tobytes()


def test_a_whole_voice_is_understood_and_a_broken_one_is_told() -> None:
    """A hole and a repeat of 20 ms, at the same length too."""
    voices = {number: labelled_voice(number, 400) for number in (3, 250)}
    reader = LabelReader(voices)
    assert reader.understand(in_room(voices[3], voices[250])) == "words of 3 words of 250"
    assert numbers_of("words of 3 words of 250") == [3, 250]
    assert reader.broken == []
    hole = np.delete(voices[3], slice(1600, 1920))
    swapped = voices[3].copy()
    swapped[1600:1920] = swapped[1280:1600]
    assert reader.understand(in_room(hole)) == "broken 3"
    assert reader.understand(in_room(swapped)) == "broken 3"
    assert reader.understand(in_room(voices[3], voices[3])) == "broken 3"
    assert reader.broken == [3, 3, 3]


def reply(number: int, part: int = 0) -> Samples:
    sentence = f"Answer {number} part {part}."
    return LabelledReplies({number: 200}).synthesize(sentence, 24000)


def test_a_recording_tells_what_of_a_reply_was_heard_when() -> None:
    """By its samples, whatever is silent in between."""
    quiet = np.zeros(500, dtype=np.int16)
    recording = np.concatenate([quiet, reply(7), reply(7, 1)[:2001], quiet, reply(9)])
    assert heard_in(recording) == [
        Heard(500, 7, 0, 0, 2399),
        Heard(500 + 4800, 7, 1, 0, 999),
        Heard(500 + 4800 + 2001 + 500, 9, 0, 0, 2399),
    ]
    assert heard_in(quiet) == []


TWO = plan(1, 2, fault_share=0.0)
AFTER_FIRST = round((TWO.utterances[0].end_s + 0.3) * 24000)
AFTER_SECOND = round((TWO.utterances[1].end_s + 0.3) * 24000)


@pytest.mark.parametrize(
    ("heard", "wrong"),
    [
        ([Heard(AFTER_FIRST, 0, 0, 0, 500), Heard(AFTER_SECOND, 1, 0, 0, 500)], ""),
        ([Heard(AFTER_FIRST, 0, 0, 0, 500), Heard(AFTER_FIRST + 2000, 0, 0, 0, 500)], "twice"),
        ([Heard(AFTER_FIRST, 0, 0, 0, 500), Heard(AFTER_FIRST + 2000, 0, 0, 700, 900)], "a hole"),
        ([Heard(AFTER_FIRST, 0, 1, 0, 500), Heard(AFTER_FIRST + 2000, 0, 0, 0, 90)], "an earlier"),
        ([Heard(AFTER_SECOND + 24000, 0, 0, 0, 500)], "its question ended"),
        ([Heard(AFTER_FIRST, 1, 0, 0, 500)], "its question ended"),
    ],
)
def test_a_reply_twice_or_in_another_turn_is_told(heard: list[Heard], wrong: str) -> None:
    """And nothing is told of replies as they should be."""
    told = replies_wrong(TWO, heard)
    assert bool(told) == bool(wrong)
    assert wrong in " ".join(told)


@pytest.mark.parametrize(
    ("finals", "lost", "wrong"),
    [
        ([words_of(0), words_of(1)], 0, ""),
        ([words_of(0)], 1, ""),
        ([words_of(0), ""], 0, "never came"),
        ([words_of(0)], 0, "2 utterances"),
        ([words_of(0), words_of(0)], 0, "came 2 times"),
        ([words_of(1), words_of(0)], 0, "out of order"),
        ([words_of(0), "and " + words_of(1)], 0, "nobody said"),
    ],
)
def test_words_that_are_lost_or_come_twice_are_told(
    finals: list[str], lost: int, wrong: str
) -> None:
    """An utterance is one final or one loss that was told."""
    lines = [{"text": text} for text in finals]
    told = words_wrong(TWO, 2, lines, Counter(speech=lost), LabelReader({}))
    assert bool(told) == bool(wrong)
    assert wrong in " ".join(told)
