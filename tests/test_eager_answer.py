"""`turn.eager_answer`: the answer is begun when the gateway hears the end of the question."""

from __future__ import annotations

from pathlib import Path

import pytest
from conversation_scripts import connections, gateway, spoken
from talking import Scripted, Talk, sounds_whole, talking

from slng_edge.simulator import sessions
from slng_edge.simulator.recognition import Recognition
from slng_edge.simulator.stt_session import SttSession

EAGER = ("turn.eager_answer=true", "vad.stop_ms=300")
HEARD_AT = 2
"""The gateway takes the question to be over after so many words."""


class EndsQuestions(SttSession):
    """Hears the end of a question itself: a final of its own, and `utterance_end`."""

    def _send_final_of_own(self, partial: str) -> None:
        words = partial.split()[: (self._words_given // HEARD_AT + 1) * HEARD_AT]
        if len(words) < self._words_given + HEARD_AT:
            return
        self._send_final(Recognition(" ".join(words[self._words_given :])))
        self._words_given = len(words)
        self._link.send_event("utterance_end", last_word_end=1.0)


@pytest.fixture(autouse=True)
def gateway_ends_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every speech-to-text session of these tests is such a one."""
    monkeypatch.setattr(sessions, "SttSession", EndsQuestions)


def started_before_final(talk: Talk, responder: Scripted, number: int = 0) -> bool:
    """Whether the responder was asked before the final was known, whose time is rounded."""
    [final] = talk.recorder.jsons("final")
    return responder.asked_at[number] < talk.recorder.bus._started + final["t"] - 0.01


def test_the_answer_is_begun_before_the_final_and_used_where_it_agrees(tmp_path: Path) -> None:
    """It is asked for once, and its pieces, early and late, make one reply."""
    responder = Scripted(["One is here. Two ", 0.4, "as well."])
    with gateway("what now") as served:
        with talking(served.url, tmp_path, *EAGER, responder=responder) as talk:
            talk.say()
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert started_before_final(talk, responder)
        assert responder.asked == ["what now"]
        assert responder.told == []
        assert responder.cancelled == []
        assert talk.texts("reply") == ["One is here. Two as well."]
        assert sounds_whole(talk.recording, spoken("One is here."))
        assert sounds_whole(talk.recording, spoken("Two as well."))
        [turn] = talk.recorder.jsons("turn")
        assert turn["final_to_reply"] < 50


def test_nothing_is_said_before_the_final(tmp_path: Path) -> None:
    """However early the answer is there."""
    with (
        gateway("what now", faults=["final_delay=400"]) as served,
        talking(served.url, tmp_path, *EAGER, responder=Scripted(["fine"])) as talk,
    ):
        talk.say()
        talk.wait_for("speech_end")
        [record] = connections(served, "tts")
        assert record.of_type("client", "text") == []
        talk.wait_for("playback_end")
        talk.wait_idle()
        assert len(record.of_type("client", "text")) == 1
    told = talk.recorder.jsons("final", "playback_start")
    assert [line["type"] for line in told] == ["final", "playback_start"]


def test_an_answer_to_half_a_question_is_thrown_away(tmp_path: Path) -> None:
    """The rest came after all; the history never hears of it."""
    responder = Scripted(["to the half", 30.0], ["to all"])
    with gateway("what now then") as served:
        with talking(served.url, tmp_path, *EAGER, responder=responder) as talk:
            talk.say(250)
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert started_before_final(talk, responder)
        assert responder.asked == ["what now", "what now then"]
        assert responder.told == [None]
        assert responder.cancelled == ["what now"]
        assert talk.texts("reply") == ["to all"]
        assert not sounds_whole(talk.recording, spoken("to the half")[:4800])


def test_an_answer_that_was_complete_is_thrown_away_too(tmp_path: Path) -> None:
    """It was finished before the rest of the question was known."""
    responder = Scripted(["to the half"], ["to all"])
    with gateway("what now then", faults=["final_delay=200"]) as served:
        with talking(served.url, tmp_path, *EAGER, responder=responder) as talk:
            talk.say(250)
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert responder.told == [None]
        assert talk.texts("reply") == ["to all"]


def test_a_question_that_goes_on_is_answered_anew_each_time_it_seems_to_end(
    tmp_path: Path,
) -> None:
    """The last of them is the one that counts."""
    responder = Scripted(["too early", 30.0], ["just right"])
    with gateway("what now and then") as served:
        with talking(served.url, tmp_path, *EAGER, responder=responder) as talk:
            talk.say(700)
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert responder.asked == ["what now", "what now and then"]
        assert responder.told == [None]
        assert started_before_final(talk, responder, 1)
        assert talk.texts("reply") == ["just right"]


def test_an_early_answer_to_a_question_that_was_given_up_is_stopped(tmp_path: Path) -> None:
    """At once: nobody will ask for it."""
    responder = Scripted(["too early", 30.0], ["fine"])
    with gateway("what now") as served:
        with talking(served.url, tmp_path, *EAGER, responder=responder) as talk:
            talk.say(1500)
            responder.wait_for(lambda it: it.asked == ["what now"])
            talk.loop.interrupt()
            responder.wait_for(lambda it: it.told == [None])
            talk.wait_idle()
        assert responder.cancelled == ["what now"]
        assert "too early" not in talk.texts("reply")


def test_an_early_answer_that_fails_fails_the_turn(tmp_path: Path) -> None:
    """Once the final agrees, and not before."""
    responder = Scripted([ZeroDivisionError("by zero")])
    with gateway("what now") as served:
        with talking(served.url, tmp_path, *EAGER, responder=responder) as talk:
            talk.say()
            talk.wait_for("lost", what="reply")
            talk.wait_idle()
        assert [line["type"] for line in talk.recorder.jsons("final", "lost")] == ["final", "lost"]
        assert len(responder.asked) == 1


def test_without_it_the_end_of_a_question_is_only_its_final(tmp_path: Path) -> None:
    """The default."""
    responder = Scripted(["fine"])
    with gateway("what now") as served:
        with talking(served.url, tmp_path, EAGER[1], responder=responder) as talk:
            talk.say()
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert not started_before_final(talk, responder)
        assert responder.asked == ["what now"]
