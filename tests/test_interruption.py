"""Somebody speaks over a reply: what is silenced, what goes on, and what is told of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conversation_scripts import (
    REPLY_RATE_HZ,
    frequencies,
    gateway,
    spoken,
    wait_until,
)
from talking import COUGH_MS, Scripted, Talk, heard_of, sounds_whole, talking

from slng_edge.dialogue.turn_taking import Deadlines
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

REPLY = "an answer of a second"
NEVER_OWN = "turn.barge_in=on"
"""Who coughs twice in one test is not to be taken for the device itself."""
FADE_MS = 15
"""Fade-out and fade-in."""


def understands(*lines: str, faults: Sequence[str] = (), ms_per_word: int = 60_000) -> LocalGateway:
    """A gateway that understands `lines`, and tells no partials but where `ms_per_word` says."""
    recognizer = ScriptRecognizer(lines, ms_per_word=ms_per_word)
    return LocalGateway(stt=recognizer, tts=ToneSynthesizer(), faults=faults)


def answering(talk: Talk, played_ms: float = 250) -> None:
    """A question in writing, and so much of its answer."""
    before = len(talk.recorder.jsons("playback_start"))
    talk.loop.ask("well")
    talk.wait_for("playback_start", before + 1)
    talk.wait_played(played_ms)


def test_speech_over_a_reply_holds_it_at_once_and_a_cough_lets_it_go_on(tmp_path: Path) -> None:
    """Silent soon after the first sound; then all of it, from a little before where it stopped."""
    responder = Scripted([REPLY])
    with understands("") as served, talking(served.url, tmp_path, responder=responder) as talk:
        answering(talk)
        talk.say(COUGH_MS)
        talk.wait_state("paused")
        talk.wait_state("speaking", 2)
        ended = talk.wait_for("playback_end")
        talk.wait_idle()
    assert talk.recorder.states()[-4:] == ["speaking", "paused", "speaking", "idle"]
    assert talk.recorder.jsons("interrupted", "lost") == []
    assert responder.told == []
    twice_ms, silent_ms = heard_of(talk.recording, REPLY)
    assert -FADE_MS <= twice_ms <= 650, "nothing is left out, and not much is said twice"
    assert silent_ms > 100
    assert ended["played_ms"] == ToneSynthesizer.duration_ms(REPLY)
    # The speaker is silent a block, the fade and what stands in the device after the pause.
    [paused] = [line["t"] for line in talk.recorder.jsons("state") if line["state"] == "paused"]
    silent = talk.position(paused + 0.100)
    assert not talk.recording[silent : silent + REPLY_RATE_HZ // 20].any()


def test_words_that_are_none_let_a_held_reply_go_on(tmp_path: Path) -> None:
    """Longer than a cough, so that it stays held until the final, which is empty."""
    with understands("", faults=["final_delay=200"]) as served:
        with talking(served.url, tmp_path, responder=Scripted([REPLY])) as talk:
            answering(talk)
            talk.say()
            talk.wait_for("final", text="")
            talk.wait_state("speaking", 2)
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert talk.recorder.jsons("interrupted") == []
        assert talk.recorder.states().count("paused") == 1
        twice_ms, silent_ms = heard_of(talk.recording, REPLY)
        assert -FADE_MS <= twice_ms <= 650
        assert silent_ms > 500


def test_without_resuming_the_reply_is_dropped_by_speech_without_words(tmp_path: Path) -> None:
    """`resume_false_interrupt = false`: idle, and what was heard is told."""
    responder = Scripted([REPLY])
    with understands("") as served:
        config = "turn.resume_false_interrupt=false"
        with talking(served.url, tmp_path, config, responder=responder) as talk:
            answering(talk)
            talk.say()
            interrupted = talk.wait_for("interrupted")
            talk.wait_idle()
        assert interrupted["by"] == "speech"
        assert REPLY.startswith(interrupted["heard_text"])
        assert 0 < interrupted["played_ms"] < 2000
        assert 0 <= interrupted["silence_ms"] < 100
        assert responder.told == [interrupted["heard_text"]]
        assert talk.recorder.states()[-2:] == ["paused", "idle"]
        assert np.count_nonzero(talk.recording) < REPLY_RATE_HZ


def test_words_in_a_partial_cut_the_reply_before_the_final(tmp_path: Path) -> None:
    """It will not go on, whatever the final says; the words are answered."""
    responder = Scripted([REPLY], ["fine"])
    with gateway("no stop it") as served:
        with talking(served.url, tmp_path, responder=responder) as talk:
            answering(talk)
            talk.say(600)
            interrupted = talk.wait_for("interrupted")
            talk.wait_for("playback_end")
            talk.wait_idle()
        [final] = talk.recorder.jsons("final")
        [first, *_] = talk.recorder.jsons("partial")
        assert first["t"] <= interrupted["t"] < final["t"]
        assert responder.asked == ["well", "no stop it"]
        assert responder.told == [interrupted["heard_text"]]
        assert talk.recorder.states()[-5:] == [
            *("paused", "listening", "thinking", "speaking", "idle"),
        ]
        after = talk.recording[talk.position(interrupted["t"] + 0.1) :]
        assert frequencies(after) == {ToneSynthesizer.frequency_hz("fine")}
        assert sounds_whole(after, spoken("fine"))


def test_a_short_word_cuts_a_reply_that_went_on_already(tmp_path: Path) -> None:
    """As short as a cough; only the final tells them apart, and it is answered."""
    responder = Scripted([REPLY], ["fine"])
    with understands("no", faults=["final_delay=300"]) as served:
        with talking(served.url, tmp_path, responder=responder) as talk:
            answering(talk)
            talk.say(COUGH_MS)
            talk.wait_state("speaking", 2)
            interrupted = talk.wait_for("interrupted")
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert talk.recorder.states()[-6:] == [
            *("speaking", "paused", "speaking", "thinking", "speaking", "idle"),
        ]
        assert responder.asked == ["well", "no"]
        assert responder.told == [interrupted["heard_text"]]
        assert sounds_whole(talk.recording, spoken("fine"))


def test_a_reply_that_is_written_meanwhile_ends_where_the_work_on_it_was_stopped(
    tmp_path: Path,
) -> None:
    """The responder is cancelled once the speech is meant; what there was goes on, and is told."""
    first = "The first sentence is."
    responder = Scripted([first + " And the sec", 30.0, "ond is not."], ["fine"])
    with understands("", "", "and now") as served:
        with talking(served.url, tmp_path, NEVER_OWN, responder=responder) as talk:
            answering(talk)
            assert responder.cancelled == []
            talk.say()
            talk.wait_for("final", text="")
            assert responder.cancelled == ["well"]
            talk.wait_state("speaking", 2)
            talk.say()
            talk.wait_for("final", 2, text="")
            talk.wait_state("idle", 2)
            talk.wait_idle()
            # Before the next question.
            talk.say()
            talk.wait_for("playback_end", 2)
            talk.wait_idle()
        assert talk.losses("reply") == ["somebody spoke while it was being written"]
        assert responder.told == [first]
        assert responder.asked == ["well", "and now"]
        assert sounds_whole(talk.recording, spoken(first)[-2400:])
        assert not sounds_whole(talk.recording, spoken("And the sec")[:4800])


def test_what_was_written_before_the_cancelling_is_not_spoken_after_it(tmp_path: Path) -> None:
    """What waits in the inbox when the work is stopped is of no reply any more, its end least."""
    first = "The first sentence is."
    held = threading.Event()
    responder = Scripted([first + " And", held, " here is another one."])
    with understands("") as served:
        with talking(served.url, tmp_path, responder=responder) as talk:
            answering(talk)
            replying = talk.loop._conversation.replying
            stop_writing = replying.stop_writing

            def stop_writing_late() -> None:
                held.set()
                inbox = talk.loop._conversation._inbox
                assert wait_until(lambda: inbox.qsize() >= 2)  # the rest of the text, and its end
                stop_writing()

            replying.stop_writing = stop_writing_late  # type: ignore[method-assign]
            talk.say()
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert responder.told == [first]
        assert talk.texts("reply") == []
        assert talk.losses("reply") == ["somebody spoke while it was being written"]
        assert not sounds_whole(talk.recording, spoken("And here is another one.")[:4800])


def test_a_pause_that_lasts_too_long_is_cut_and_the_late_words_are_answered(
    tmp_path: Path,
) -> None:
    """A held reply is not held for ever."""
    responder = Scripted([REPLY], ["fine"])
    with understands("late words", faults=["final_delay=600"]) as served:
        with talking(served.url, tmp_path, responder=responder) as talk:
            talk.loop._conversation._turns.deadlines = Deadlines(30.0, 15.0, 15.0, paused_s=0.3)
            answering(talk)
            talk.say()
            interrupted = talk.wait_for("interrupted")
            talk.wait_for("playback_end")
            talk.wait_idle()
        [final] = talk.recorder.jsons("final")
        assert interrupted["t"] < final["t"]
        assert responder.asked == ["well", "late words"]
        assert responder.told == [interrupted["heard_text"]]
        assert talk.losses("reply") == []


def test_a_reply_that_ends_under_somebody_who_speaks(tmp_path: Path) -> None:
    """A cough over its last words: it goes on and ends before the final, which is answered."""
    responder = Scripted(["a short one"], ["fine"])
    with understands("wait", faults=["final_delay=900"]) as served:
        with talking(served.url, tmp_path, responder=responder) as talk:
            answering(talk, played_ms=150)
            talk.say(COUGH_MS)
            talk.wait_for("playback_end", 2)
            talk.wait_idle()
        assert talk.recorder.jsons("interrupted") == []
        assert responder.asked == ["well", "wait"]
        assert responder.told == []
        assert talk.recorder.states()[-6:] == [
            *("paused", "speaking", "listening", "thinking", "speaking", "idle"),
        ]


def test_a_second_utterance_over_a_held_reply(tmp_path: Path) -> None:
    """It is held until the words of both are known, which make one question."""
    responder = Scripted([REPLY], ["fine"])
    with understands("turn it", "off", faults=["final_delay=500"]) as served:
        with talking(served.url, tmp_path, responder=responder) as talk:
            answering(talk)
            talk.say(300)
            talk.wait_for("speech_end")
            talk.say(300)
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert talk.texts("final") == ["turn it", "off"]
        assert responder.asked == ["well", "turn it off"]
        assert len(talk.recorder.jsons("interrupted")) == 1


def test_a_text_that_is_said_is_interrupted_as_a_reply_is(tmp_path: Path) -> None:
    """But the responder hears nothing of it: it has said no such thing."""
    responder = Scripted(["fine"])
    with understands("be quiet") as served:
        with talking(served.url, tmp_path, responder=responder) as talk:
            talk.loop.say(REPLY)
            talk.wait_state("speaking")
            talk.wait_played(400)
            talk.say()
            talk.wait_for("interrupted", by="speech")
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert responder.asked == ["be quiet"]
        assert responder.told == []
        assert sounds_whole(talk.recording, spoken("fine"))


# Its own voice


def test_its_own_words_are_not_answered_and_make_it_half_duplex(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`auto`: two replies that were understood as said, and speech interrupts no more."""
    caplog.set_level(logging.WARNING, "slng_edge")
    replies = ("this is the news", "all of that was it")
    responder = Scripted(*[[text] for text in replies], [REPLY])
    with understands(*replies) as served:
        with talking(served.url, tmp_path, responder=responder) as talk:
            for count, text in enumerate(replies, 1):
                assert not talk.loop.counters()["half_duplex"]
                answering(talk, 250)
                talk.say()
                talk.wait_for("final", text=text)
                talk.wait_for("playback_end", count)
                talk.wait_idle()
            assert talk.loop.counters()["half_duplex"]
            talk.loop.ask("well")
            talk.wait_for("playback_start", 3)
            talk.say()
            talk.wait_for("playback_end", 3)
            talk.wait_idle()
        assert responder.asked == ["well", "well", "well"]
        assert len(talk.recorder.jsons("speech_start")) == 2
        assert talk.recorder.jsons("interrupted") == []
        assert sounds_whole(talk.recording, spoken(REPLY))
        assert "for ten minutes speech does not interrupt" in caplog.text


def test_words_of_a_reply_are_answered_where_speech_always_interrupts(tmp_path: Path) -> None:
    """`on`: whoever says them."""
    text = "this is the news"
    responder = Scripted([text], ["fine"])
    with understands(text) as served:
        with talking(served.url, tmp_path, NEVER_OWN, responder=responder) as talk:
            answering(talk, 250)
            talk.say()
            talk.wait_for("interrupted", by="speech")
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert responder.asked == ["well", text]
        assert not talk.loop.counters()["half_duplex"]


def test_where_speech_may_not_interrupt_a_button_may(tmp_path: Path) -> None:
    """`off`: the gate is shut while a reply sounds, and opens when it is cut."""
    responder = Scripted([REPLY], ["fine"])
    with understands("hello") as served:
        with talking(served.url, tmp_path, "turn.barge_in=off", responder=responder) as talk:
            answering(talk, 200)
            talk.say()
            talk.wait_played(700)
            assert talk.recorder.jsons("speech_start") == []
            assert talk.loop.counters()["half_duplex"]
            talk.loop.wake("button")
            interrupted = talk.wait_for("interrupted")
            # The room goes on sounding for a while.
            playback, hearing = talk.loop._playback, talk.loop._hearing
            assert wait_until(
                lambda: not playback.reply_sounding and time.monotonic() > hearing._reply_until
            )
            talk.say()
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert interrupted["by"] == "button"
        assert responder.asked == ["well", "hello"]
        assert responder.told == [interrupted["heard_text"]]


def test_words_that_the_reply_offered_are_answered(tmp_path: Path) -> None:
    """Who speaks for longer than the device could be hearing itself is a person."""
    responder = Scripted(["the kitchen lamp or the other one"], ["fine"])
    with understands("the kitchen lamp") as served:
        with talking(served.url, tmp_path, responder=responder) as talk:
            answering(talk, played_ms=400)
            talk.say(1000)
            responder.wait_for(lambda it: len(it.asked) == 2)
            talk.wait_for("playback_end")
            talk.wait_idle()
        assert responder.asked == ["well", "the kitchen lamp"]
        assert talk.recorder.jsons("lost") == []
        assert not talk.loop.counters()["half_duplex"]


def test_a_state_lasts_no_longer_than_its_deadline_and_what_was_heard_is_told(
    tmp_path: Path,
) -> None:
    """Of a responder that writes one sentence and then hangs."""
    responder = Scripted(["This is all. And", 60.0])
    with understands("") as served, talking(served.url, tmp_path, responder=responder) as talk:
        talk.loop._conversation._turns.deadlines = Deadlines(30.0, 15.0, 1.0, paused_s=30.0)
        talk.loop.ask("well")
        began = talk.wait_for("playback_start")
        talk.wait_state("idle", 2)
        ended = talk.recorder.jsons("state")[-1]
        responder.wait_for(lambda it: it.told)
    sounded_s = ToneSynthesizer.duration_ms("This is all.") / 1000
    assert sounded_s + 0.9 < ended["t"] - began["t"] < sounded_s + 2.0
    assert responder.told == ["This is all."]
    assert talk.losses("reply")
