"""What has to have been heard and transcribed: an outcome, and the check of a cell against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest

import numpy as np
from conversation_scripts import RATE_HZ, REPLY_RATE_HZ, find_in, spoken
from faults.microphone import Take
from faults.stage import LONG_S, PROBE, QUESTIONS, TURN, Played, State

from slng_edge.pcm import Samples

PREROLL_MS = 300
FRAME_MS = 20
FADE_SAMPLES = REPLY_RATE_HZ * FRAME_MS // 1000
HEAD_SAMPLES = 200
"""Of a reply, by which it is told from the one before: tones differ from the first sample on."""


class Heard(Enum):
    """How much of a reply sounds. Nothing ever sounds twice."""

    WHOLE = "whole"
    CUT = "cut"
    NONE = "none"


@dataclass(frozen=True)
class Outcome:
    """What has to come of the turn that is struck; all other turns are as ever.

    Attributes:
        shows: In the table.
        means: Under the table.
        words: Whether its question is transcribed; else it is told as lost.
        reply: How much of its reply sounds.
        speech_sent: How many connections may get its question.
        text_sent: How many connections may get the text of its reply.
        lost: What is told as lost in it.
        reconnects: Whether there are more connections in the end than one of each kind.
        ends_in: The last state that is shown; in "error" nothing more can be asked.
    """

    shows: str
    means: str
    words: bool = True
    reply: Heard = Heard.WHOLE
    speech_sent: tuple[int, ...] = (1,)
    text_sent: tuple[int, ...] = (1,)
    lost: tuple[str, ...] = ()
    reconnects: bool = True
    ends_in: str = "idle"

    def events(self, state: State, *, probe: bool) -> list[str]:
        """The types of events in order, but for `lost`."""
        sounds = len(TURN) if self.reply is not Heard.NONE else TURN.index("playback_start")
        struck = [*TURN[: sounds if self.words else TURN.index("final")]]
        if state is State.INTERRUPTING:
            struck = [*TURN[:-1], struck[0], "interrupted", *struck[1:]]
        return [*struck, *(TURN if probe else ())]

    @property
    def probed(self) -> bool:
        """Whether there is a turn after the one that is struck."""
        return self.ends_in != "error"


@dataclass(frozen=True)
class Turn:
    """One turn as it has to be."""

    said: str
    words: str | None
    reply: Heard
    speech_sent: tuple[int, ...]
    text_sent: tuple[int, ...]


Words = Callable[[int, str], str]


def as_said(_turn: int, text: str) -> str:
    """The words of a final that says what was said."""
    return text


def turns_of(state: State, outcome: Outcome, words: Words) -> list[Turn]:
    """All turns of a cell."""
    *before, struck = QUESTIONS[state]
    turns = [Turn(text, words(0, text), Heard.CUT, (1,), (1,)) for text in before]
    heard = words(len(before), struck) if outcome.words else None
    turns.append(Turn(struck, heard, outcome.reply, outcome.speech_sent, outcome.text_sent))
    if outcome.probed:
        turns.append(Turn(PROBE, words(len(turns), PROBE), Heard.WHOLE, (1,), (1,)))
    return turns


def judge(
    played: Played, state: State, outcome: Outcome, words: Words, lost: tuple[str, ...]
) -> None:
    """Compare a cell with what has to have come of it.

    Raises:
        AssertionError: something else did.
    """
    turns = turns_of(state, outcome, words)
    assert [line["text"] for line in played.jsons("final")] == [
        turn.words for turn in turns if turn.words is not None
    ]
    assert [line["what"] for line in played.jsons("lost")] == list(lost)
    assert all(line["why"] for line in played.jsons("lost"))
    types = [line["type"] for line in played.jsons(*TURN, "interrupted")]
    expected = outcome.events(state, probe=outcome.probed)
    assert types == expected, f"{types}, and not {expected}"
    assert played.jsons("state")[-1]["state"] == outcome.ends_in
    _judge_speech(played, turns)
    _judge_text(played, turns)
    _judge_sound(played, turns)
    _judge_connections(played, outcome)


def _judge_connections(played: Played, outcome: Outcome) -> None:
    """As many as there have to be, and a refusal for good is not met a second time."""
    assert (len(played.records) > 2) == outcome.reconnects
    if outcome.ends_in == "error":
        final = [line for line in played.jsons("connection") if line.get("retry_in_s", 0) > LONG_S]
        assert sorted(line["session"] for line in final) == ["stt", "tts"]
        assert played.jsons("connection")[-1] in final


def _judge_speech(played: Played, turns: list[Turn]) -> None:
    """Every utterance came whole, from its start, on the connection that answered it."""
    ends = played.jsons("speech_end")
    assert [said.text for said in played.said] == [turn.said for turn in turns]
    rest = list(played.takes)
    for turn, said, ended in zip(turns, played.said, ends, strict=True):
        takes: list[Take] = [take for take in rest if take.text == turn.said]
        assert len(takes) in turn.speech_sent, takes
        for take in takes:
            rest.remove(take)
            assert take.exact
            assert take.start == takes[0].start
            assert take.samples <= ended["duration_ms"] * RATE_HZ // 1000
        assert not any(take.answered for take in takes[:-1])
        if turn.words is not None:
            [*_, last] = takes
            assert last.answered
            assert last.samples == ended["duration_ms"] * RATE_HZ // 1000
            before_ms = (said.start - last.start) * 1000 / RATE_HZ
            assert abs(before_ms - PREROLL_MS) <= 3 * FRAME_MS
    assert rest == []


def _judge_text(played: Played, turns: list[Turn]) -> None:
    """No text was sent more often than it may be, however it was divided, and no word was."""
    messages = [m for record in played.of_kind("tts") for m in record.of_type("client", "text")]
    sent = " ".join(message["text"] for message in messages).split()
    for turn in turns:
        text = (turn.words or "").split()
        count = 0
        while count < max(turn.text_sent, default=0) and sent[: len(text)] == text:
            del sent[: len(text)]
            count += 1
        assert turn.words is None or count in turn.text_sent, (turn.words, sent)
    assert sent == []


def _judge_sound(played: Played, turns: list[Turn]) -> None:
    """Each reply sounds as much as it has to, in its turn, once, and nothing else does.

    A device that ran dry puts silence between samples, so the sounding ones are compared.
    """
    rest = _sounding(played.recording)
    replies = [turn for turn in turns if turn.words and turn.reply is not Heard.NONE]
    sounds = [_sounding(spoken(turn.words or "")) for turn in replies]
    for turn, whole, after in zip_longest(replies, sounds, sounds[1:]):
        if turn.reply is Heard.WHOLE:
            assert np.array_equal(rest[: len(whole)], whole), f"{turn.words!r} does not sound whole"
            rest = rest[len(whole) :]
        else:
            length = len(rest) if after is None else find_in(rest, after[:HEAD_SAMPLES])
            _judge_cut(rest[:length], whole)
            rest = rest[length:]
    assert len(rest) == 0, f"{len(rest)} samples sound that nobody asked for"


def _sounding(samples: Samples) -> Samples:
    return np.extract(samples != 0, samples)


def _judge_cut(heard: Samples, whole: Samples) -> None:
    """The beginning of a reply, whose last block fades where it was interrupted."""
    assert 0 < len(heard) < len(whole)
    same = heard == whole[: len(heard)]
    exact = len(heard) if same.all() else int(np.argmin(same))
    assert exact > 0
    assert len(heard) - exact <= FADE_SAMPLES
