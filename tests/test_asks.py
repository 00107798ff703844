"""What is asked of a running loop: say, ask, mute, volume, wake, stop."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from conversation_scripts import (
    REPLY_RATE_HZ,
    connections,
    find_in,
    frequencies,
    gateway,
    spoken,
    wait_until,
)
from talking import COUGH_MS, Scripted, Talk, sounds_whole, talking, without_silence

from slng_edge.asks import MOST_WAITING, WaitingTexts
from slng_edge.audio.chimes import built_in
from slng_edge.errors import ControlError
from slng_edge.replying import SoundStarted
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

REPLY = "an answer of a second"


def in_order(talk: Talk, *texts: str) -> None:
    """These are what has sounded, whole and in this order."""
    rest = without_silence(talk.recording)
    for text in texts:
        sound = without_silence(spoken(text))
        place = find_in(rest, sound)
        assert place >= 0, text
        rest = rest[place + len(sound) :]


# Say


def test_a_text_is_said_while_nothing_goes_on(tmp_path: Path) -> None:
    """No responder has a part in it."""
    responder = Scripted(["fine"])
    with gateway() as served, talking(served.url, tmp_path, responder=responder) as talk:
        talk.loop.say("  tea\n is ready ")
        talk.wait_for("playback_end")
        talk.wait_idle()
        assert talk.loop.counters()["texts_waiting"] == 0
    assert talk.texts("reply") == ["tea is ready"]
    assert talk.recorder.states()[-4:] == ["idle", "thinking", "speaking", "idle"]
    assert responder.asked == []
    in_order(talk, "tea is ready")


def test_what_is_to_be_said_waits_for_the_end_of_the_turn(tmp_path: Path) -> None:
    """And is said in the order in which it came, questions among it."""
    responder = Scripted([REPLY], ["fine"])
    with gateway() as served, talking(served.url, tmp_path, responder=responder) as talk:
        talk.loop.ask("first")
        talk.wait_state("speaking")
        talk.loop.say("one")
        talk.loop.ask("second")
        talk.loop.say("two")
        assert wait_until(lambda: talk.loop.counters()["texts_waiting"] == 3)
        talk.wait_for("playback_end", 4)
        talk.wait_idle()
    assert talk.texts("reply") == [REPLY, "one", "fine", "two"]
    assert responder.asked == ["first", "second"]
    assert talk.recorder.jsons("interrupted", "lost") == []
    in_order(talk, REPLY, "one", "fine", "two")


def test_a_text_at_once_interrupts_a_reply_and_comes_before_others(tmp_path: Path) -> None:
    """The history holds what was heard of it."""
    responder = Scripted([REPLY])
    with gateway() as served, talking(served.url, tmp_path, responder=responder) as talk:
        talk.loop.ask("first")
        talk.wait_state("speaking")
        talk.wait_played(200)
        talk.loop.say("later")
        talk.loop.say("at once", now=True)
        interrupted = talk.wait_for("interrupted")
        talk.wait_for("playback_end", 2)
        talk.wait_idle()
    assert interrupted["by"] == "command"
    assert responder.told == [interrupted["heard_text"]]
    assert talk.texts("reply") == [REPLY, "at once", "later"]
    in_order(talk, "at once", "later")


def test_a_text_at_once_waits_for_a_person_who_speaks(tmp_path: Path) -> None:
    """They are heard, and answered, before it."""
    responder = Scripted(["fine"])
    with (
        gateway("what is it") as served,
        talking(served.url, tmp_path, responder=responder) as talk,
    ):
        talk.say(500)
        talk.wait_state("listening")
        talk.loop.say("at once", now=True)
        talk.wait_for("playback_end", 2)
        talk.wait_idle()
    assert responder.asked == ["what is it"]
    assert talk.texts("reply") == ["fine", "at once"]
    assert talk.recorder.jsons("interrupted", "lost") == []


def test_a_text_at_once_waits_for_who_speaks_over_a_reply(tmp_path: Path) -> None:
    """The reply is held for them, and not thrown away for it."""
    responder = Scripted([REPLY], ["fine"])
    with (
        gateway("what is it", faults=["final_delay=200"]) as served,
        talking(served.url, tmp_path, responder=responder) as talk,
    ):
        talk.loop.ask("first")
        talk.wait_state("speaking")
        talk.wait_played(200)
        talk.say(500)
        talk.wait_state("paused")
        talk.loop.say("at once", now=True)
        talk.wait_for("playback_end", 2)
        talk.wait_idle()
    assert [line["by"] for line in talk.recorder.jsons("interrupted")] == ["speech"]
    assert responder.asked == ["first", "what is it"]
    assert talk.texts("reply") == [REPLY, "fine", "at once"]


def test_a_text_that_was_interrupted_before_its_sound_is_said_after_the_turn(
    tmp_path: Path,
) -> None:
    """An announcement that nobody has heard anything of is not lost."""
    responder = Scripted(["fine"])
    with (
        gateway("what is it", faults=["first_audio_delay=450@1"]) as served,
        talking(served.url, tmp_path, responder=responder) as talk,
    ):
        talk.loop.say("tea is ready")
        talk.wait_state("thinking")
        talk.say()
        talk.wait_for("playback_end", 2)
        talk.wait_idle()
    assert responder.asked == ["what is it"]
    assert talk.texts("reply") == ["tea is ready", "fine", "tea is ready"]
    assert talk.recorder.jsons("interrupted", "lost") == []
    assert np.count_nonzero(talk.recording) <= len(spoken("fine", "tea is ready"))
    in_order(talk, "fine", "tea is ready")


@pytest.mark.parametrize("then", ["another", "stop", "wake"])
def test_a_text_that_is_dropped_before_its_sound_is_told_as_lost(tmp_path: Path, then: str) -> None:
    """Whatever takes its place."""
    with (
        gateway(faults=["first_audio_delay=450@1"]) as served,
        talking(served.url, tmp_path, responder=Scripted(["fine"])) as talk,
    ):
        talk.loop.say("tea is ready")
        talk.wait_state("thinking")
        if then == "another":
            talk.loop.say("coffee", now=True)
            talk.wait_for("playback_end")
        elif then == "stop":
            talk.loop.interrupt()
        else:
            talk.loop.wake()
        talk.wait_for("lost", what="text")
        talk.wait_idle()
    assert len(talk.losses("text")) == 1
    assert not sounds_whole(talk.recording, spoken("tea")[:2400])


def test_more_texts_than_may_wait_are_refused(tmp_path: Path) -> None:
    """The twenty-first; and one without a word at once."""
    held = threading.Event()
    with (
        gateway() as served,
        talking(served.url, tmp_path, responder=Scripted([held, "fine"])) as talk,
    ):
        talk.loop.ask("first")
        talk.wait_state("thinking")
        for number in range(MOST_WAITING):
            talk.loop.say(f"text {number}")
        with pytest.raises(ControlError, match="20 texts wait"):
            talk.loop.say("one more")
        with pytest.raises(ControlError, match="20 texts wait"):
            talk.loop.ask("one more")
        for empty in ("", "  \n", "—!"):
            with pytest.raises(ControlError, match="nothing that could be said"):
                talk.loop.say(empty)
        assert talk.loop.counters()["texts_waiting"] == MOST_WAITING
        talk.loop.interrupt()
        talk.wait_for("lost", MOST_WAITING, what="text")
        talk.wait_idle()
        assert talk.loop.counters()["texts_waiting"] == 0
    assert len(talk.losses("text")) == MOST_WAITING
    assert talk.texts("reply") == []


def test_a_text_that_was_put_back_is_the_next_even_where_there_are_enough() -> None:
    """It had its place before."""
    texts = WaitingTexts()
    for number in range(MOST_WAITING):
        texts.put(f"text {number}", question=True, first=False)
    texts.put_back("the first")
    assert len(texts) == MOST_WAITING + 1
    taken = texts.take(only_at_once=False)
    assert taken is not None
    assert (taken.text, taken.question) == ("the first", False)
    assert texts.clear() == MOST_WAITING
    assert texts.take(only_at_once=False) is None


def test_what_waits_to_be_said_when_the_loop_is_stopped_is_told_as_lost(tmp_path: Path) -> None:
    """With the reply that was in the way of it."""
    with gateway() as served, talking(served.url, tmp_path, responder=Scripted([REPLY])) as talk:
        talk.loop.ask("first")
        talk.wait_state("speaking")
        talk.loop.say("never heard")
        assert wait_until(lambda: talk.loop.counters()["texts_waiting"] == 1)
        talk.loop.stop(why="it is reloaded")
    assert talk.losses("reply") == ["it is reloaded"]
    assert talk.losses("text") == ["it is reloaded"]


# Ask


def test_a_question_in_writing_is_answered_as_if_it_was_spoken(tmp_path: Path) -> None:
    """With the latencies of the turn, but of no speech."""
    responder = Scripted(["fine"])
    with gateway() as served, talking(served.url, tmp_path, responder=responder) as talk:
        talk.loop.ask("how are you")
        talk.wait_for("playback_end")
        talk.wait_idle()
        [record] = connections(served, "stt")
        assert record.audio_bytes == 0
    assert responder.asked == ["how are you"]
    [turn] = talk.recorder.jsons("turn")
    assert turn["speech_end_to_final"] == 0
    assert turn["total"] < 1000
    in_order(talk, "fine")


def test_the_times_of_a_question_in_writing_are_its_own_after_a_spoken_one(
    tmp_path: Path,
) -> None:
    """They do not count from the speech of the turn before."""
    with (
        gateway("hello") as served,
        talking(served.url, tmp_path, responder=Scripted(["fine"])) as talk,
    ):
        talk.say()
        talk.wait_for("playback_end")
        talk.wait_idle()
        talk.loop.ask("how are you")
        talk.wait_for("playback_end", 2)
        talk.wait_idle()
    [_, turn] = talk.recorder.jsons("turn")
    assert turn["speech_end_to_final"] == 0
    assert turn["total"] < 500


# Mute and volume


def test_muted_it_hears_nothing_and_unmuted_it_hears_again(tmp_path: Path) -> None:
    """What is said meanwhile goes nowhere; texts are said all the same."""
    with (
        gateway("hello") as served,
        talking(served.url, tmp_path, responder=Scripted(["fine"])) as talk,
    ):
        talk.loop.mute(True)
        talk.wait_state("muted")
        assert talk.loop.muted
        with pytest.raises(ControlError, match="unmute"):
            talk.loop.wake()
        talk.say()
        talk.loop.say("tea is ready")
        talk.wait_for("playback_end")
        assert talk.recorder.states()[-1] == "muted"
        [record] = connections(served, "stt")
        assert record.audio_bytes == 0
        talk.loop.mute(True)
        talk.loop.mute(False)
        talk.wait_state("idle", 2)
        assert not talk.loop.muted
        talk.say()
        talk.wait_for("playback_end", 2)
        talk.wait_idle()
    assert len(talk.recorder.jsons("speech_start")) == 1
    assert talk.recorder.states().count("muted") == 1


def test_an_utterance_that_is_open_ends_where_it_is_muted(tmp_path: Path) -> None:
    """What was said before is answered; what is said after is not sent."""
    responder = Scripted(["fine"])
    with (
        gateway("hello") as served,
        talking(served.url, tmp_path, responder=responder) as talk,
    ):
        talk.say(3000)
        talk.wait_for("speech_start")
        talk.loop.mute(True)
        ended = talk.wait_for("speech_end")
        talk.wait_for("playback_end")
        talk.wait_idle()
        [record] = connections(served, "stt")
        assert record.audio_bytes == ended["duration_ms"] * 32
    assert ended["duration_ms"] < 1500
    assert responder.asked == ["hello"]


def test_a_loop_that_begins_muted(tmp_path: Path) -> None:
    """As it was when the device was switched off."""
    with (
        gateway() as served,
        talking(served.url, tmp_path, begins="muted", muted=True, volume=0.5) as talk,
    ):
        assert talk.loop.muted
        assert talk.loop.volume == 0.5
        assert "idle" not in talk.recorder.states()
        talk.wait_for("device", which="output", state="open")
        assert len(talk.recorder.jsons("device")) == 1  # the microphone was never opened
        talk.loop.mute(False)
        talk.wait_for("device", which="input", state="open")
        talk.wait_state("idle")


def test_the_volume_is_that_of_what_sounds(tmp_path: Path) -> None:
    """A text at half of it is half as loud."""
    with gateway() as served, talking(served.url, tmp_path) as talk:
        talk.loop.set_volume(0.5)
        assert talk.loop.volume == 0.5
        talk.loop.say("softly now")
        talk.wait_for("playback_end")
        talk.wait_idle()
    loudest = int(np.abs(spoken("softly now")).max())
    assert abs(int(np.abs(talk.recording).max()) - loudest / 2) <= loudest * 0.02
    assert frequencies(talk.recording) == {ToneSynthesizer.frequency_hz("softly now")}


# Wake and stop


def test_stop_while_somebody_speaks_forgets_what_they_said(tmp_path: Path) -> None:
    """Idle at once, and no answer; the next utterance is heard."""
    responder = Scripted(["fine"])
    with (
        gateway("hello", "second") as served,
        talking(served.url, tmp_path, responder=responder) as talk,
    ):
        talk.say(600)
        talk.wait_state("listening")
        talk.loop.interrupt()
        talk.wait_state("idle", 2)
        talk.wait_for("speech_end")
        talk.say()
        talk.wait_for("playback_end")
        talk.wait_idle()
    assert len(responder.asked) == 1
    assert len(talk.recorder.jsons("speech_start")) == 2
    assert len(talk.recorder.jsons("reply")) == 1


@pytest.mark.parametrize("what", ["talk_or_stop", "interrupt", "wake"])
def test_a_button_silences_a_reply(tmp_path: Path, what: str) -> None:
    """One way or the other, and the event says that it was the button."""
    responder = Scripted([REPLY])
    with gateway() as served, talking(served.url, tmp_path, responder=responder) as talk:
        talk.loop.ask("first")
        talk.wait_state("speaking")
        talk.wait_played(200)
        getattr(talk.loop, what)("button")
        interrupted = talk.wait_for("interrupted")
        talk.wait_idle()
    assert interrupted["by"] == "button"
    assert 0 <= interrupted["silence_ms"] < 100
    assert responder.told == [interrupted["heard_text"]]
    assert [line["word"] for line in talk.recorder.jsons("wake")] == ["button"] * (what == "wake")
    assert np.count_nonzero(talk.recording) < REPLY_RATE_HZ


def test_stop_while_it_thinks_stops_the_work(tmp_path: Path) -> None:
    """The responder is cancelled, and told that its turn has never been."""
    responder = Scripted([30.0], ["fine"])
    with gateway() as served, talking(served.url, tmp_path, responder=responder) as talk:
        talk.loop.ask("first")
        responder.wait_for(lambda it: it.asked == ["first"])
        talk.loop.talk_or_stop()
        talk.wait_state("idle", 2)
        talk.loop.ask("second")
        talk.wait_for("playback_end")
        talk.wait_idle()
    assert responder.cancelled == ["first"]
    assert responder.told == [None]
    assert talk.texts("reply") == ["fine"]


def test_who_presses_the_button_while_they_speak_is_heard_all_the_same(tmp_path: Path) -> None:
    """It listens already: no word is lost by it."""
    responder = Scripted(["fine"])
    with (
        gateway("all of it") as served,
        talking(served.url, tmp_path, responder=responder) as talk,
    ):
        talk.say(900)
        talk.wait_state("listening")
        talk.loop.wake("button")
        talk.wait_for("wake")
        talk.wait_for("playback_end")
        talk.wait_idle()
    assert responder.asked == ["all of it"]
    assert len(talk.recorder.jsons("speech_start")) == 1


def test_a_button_press_without_a_device_to_hear_is_no_error(tmp_path: Path) -> None:
    """It is woken, and nothing comes of it."""
    with gateway() as served, talking(served.url, tmp_path, "sounds.wake=built-in") as talk:
        talk.loop.talk_or_stop()
        woken = talk.wait_for("wake")
        assert wait_until(lambda: talk.loop._playback.sounding)
        talk.wait_idle()
    assert (woken["word"], woken["score"]) == ("button", 1.0)
    assert talk.recorder.states() == ["starting", "idle"]
    assert sounds_whole(talk.recording, built_in("wake", REPLY_RATE_HZ))


def test_a_text_at_once_waits_for_a_cough_and_not_for_the_rest_of_the_reply(
    tmp_path: Path,
) -> None:
    """Nobody spoke: the reply that goes on is interrupted."""
    responder = Scripted(["an answer that goes on for a long time and is not waited for"])
    recognizer = ScriptRecognizer([""], ms_per_word=60_000)
    with (
        LocalGateway(stt=recognizer, tts=ToneSynthesizer(), faults=["final_delay=300"]) as served,
        talking(served.url, tmp_path, responder=responder) as talk,
    ):
        talk.loop.ask("first")
        talk.wait_state("speaking")
        talk.wait_played(200)
        talk.say(COUGH_MS)
        talk.wait_state("paused")
        talk.loop.say("at once", now=True)
        talk.wait_for("playback_end")
        talk.wait_idle()
    assert [line["by"] for line in talk.recorder.jsons("interrupted")] == ["command"]
    assert talk.texts("reply")[-1] == "at once"


def test_mute_acts_though_the_conversation_has_much_to_do(tmp_path: Path) -> None:
    """With the next frame: what is said from then on goes nowhere."""
    with gateway() as served, talking(served.url, tmp_path) as talk:
        busy = threading.Event()
        talk.loop._conversation.replying.receive = lambda item, now: busy.wait(5)  # type: ignore[method-assign,assignment,return-value]
        talk.loop._conversation.post(SoundStarted(1, 0.0))
        talk.loop.mute(True)
        talk.say(500)
        assert wait_until(lambda: not talk.loop.microphone.speaking)
        [heard] = connections(served, "stt")
        sent = heard.audio_bytes
        busy.set()
    assert sent == 0
