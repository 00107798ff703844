"""`wake.mode = "push"` through the whole loop: when it listens, and what it sends then."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from conversation_scripts import REPLY_RATE_HZ, connections, gateway, spoken, wait_until
from talking import Scripted, Talk, sounds_whole, talking

from slng_edge.audio.chimes import built_in
from slng_edge.listening import attention

PUSH = ("wake.mode=push", "wake.follow_up_s=0.5")
CHIMES = ("sounds.wake=built-in", "sounds.follow_up=built-in", "sounds.done=built-in")


def wait_asleep(talk: Talk) -> None:
    """Wait until it listens to nobody any more."""
    hearing = talk.loop._hearing
    assert wait_until(lambda: not hearing._asked and not hearing._attention.awake(time.monotonic()))


def test_without_a_wake_nothing_is_sent(tmp_path: Path) -> None:
    """Nor is anything heard, or shown."""
    with gateway() as served, talking(served.url, tmp_path, *PUSH) as talk:
        talk.say()
        assert wait_until(lambda: not talk.loop.microphone.speaking)
        [record] = connections(served, "stt")
        assert record.audio_bytes == 0
        assert record.of_type("client", "finalize") == []
    assert talk.recorder.states() == ["starting", "idle"]
    assert talk.recorder.jsons("wake", "speech_start") == []


def test_woken_it_hears_one_question_and_what_follows_the_answer(tmp_path: Path) -> None:
    """A chime for each window, and one when nobody uses it."""
    responder = Scripted(["fine"])
    with (
        gateway("first", "second") as served,
        talking(served.url, tmp_path, *PUSH, *CHIMES, responder=responder) as talk,
    ):
        talk.loop.wake("button")
        woken = talk.wait_for("wake")
        talk.say()
        talk.wait_for("playback_end")
        talk.wait_state("idle", 2)
        talk.say()
        talk.wait_for("playback_end", 2)
        wait_asleep(talk)
        assert wait_until(lambda: talk.loop._playback.sounding)
        talk.wait_idle()
        talk.say()
        assert wait_until(lambda: not talk.loop.microphone.speaking)
    assert set(woken) == {"t", "at", "type", "word", "score"}
    assert (woken["word"], woken["score"]) == ("button", 1.0)
    assert responder.asked == ["first", "second"]
    assert len(talk.recorder.jsons("speech_start")) == 2
    for name in ("wake", "follow_up", "done"):
        assert sounds_whole(talk.recording, built_in(name, REPLY_RATE_HZ)), name


def test_without_a_follow_up_it_sleeps_after_the_answer(tmp_path: Path) -> None:
    """`wake.follow_up_s = 0`: no chime, and nothing is heard."""
    with (
        gateway("first") as served,
        talking(
            served.url,
            tmp_path,
            *PUSH[:1],
            "wake.follow_up_s=0",
            *CHIMES[1:],
            responder=Scripted(["fine"]),
        ) as talk,
    ):
        talk.loop.wake()
        talk.say()
        talk.wait_for("playback_end")
        wait_asleep(talk)
        talk.say()
        assert wait_until(lambda: not talk.loop.microphone.speaking)
        assert len(talk.recorder.jsons("speech_start")) == 1
    assert not sounds_whole(talk.recording, built_in("follow_up", REPLY_RATE_HZ))


def test_a_window_that_nobody_uses_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so by a sound, and is asleep."""
    monkeypatch.setattr(attention, "WINDOW_S", 0.3)
    with gateway() as served, talking(served.url, tmp_path, *PUSH, *CHIMES[2:]) as talk:
        talk.loop.wake()
        talk.wait_for("wake")
        assert wait_until(lambda: talk.loop._playback.sounding)
        talk.wait_idle()
        talk.say()
        assert wait_until(lambda: not talk.loop.microphone.speaking)
    assert talk.recorder.states() == ["starting", "idle"]
    assert sounds_whole(talk.recording, built_in("done", REPLY_RATE_HZ))


def test_a_question_in_writing_opens_a_window_after_its_answer(tmp_path: Path) -> None:
    """Whoever asked may go on by voice."""
    responder = Scripted(["fine"])
    with (
        gateway("and then") as served,
        talking(served.url, tmp_path, *PUSH, responder=responder) as talk,
    ):
        talk.loop.ask("first")
        talk.wait_for("playback_end")
        talk.wait_state("idle", 2)
        talk.say()
        talk.wait_for("playback_end", 2)
        talk.wait_idle()
    assert responder.asked == ["first", "and then"]


def test_a_text_that_is_said_opens_no_window(tmp_path: Path) -> None:
    """An announcement is no conversation."""
    with gateway() as served, talking(served.url, tmp_path, *PUSH) as talk:
        talk.loop.say("the tea")
        talk.wait_for("playback_end")
        wait_asleep(talk)
        talk.say()
        assert wait_until(lambda: not talk.loop.microphone.speaking)
    assert talk.recorder.jsons("speech_start") == []


def test_a_reply_may_be_interrupted_by_speech(tmp_path: Path) -> None:
    """As long as the turn lasts it listens, without being woken."""
    responder = Scripted(["an answer of a second"], ["fine"])
    with (
        gateway("stop that") as served,
        talking(served.url, tmp_path, *PUSH, responder=responder) as talk,
    ):
        talk.loop.ask("first")
        talk.wait_state("speaking")
        talk.wait_played(200)
        talk.say()
        talk.wait_for("interrupted", by="speech")
        talk.wait_for("playback_end")
        talk.wait_idle()
    assert responder.asked == ["first", "stop that"]


def test_a_window_follows_an_answer_that_ended_under_a_cough(tmp_path: Path) -> None:
    """It was heard to its end, whatever else was heard."""
    responder = Scripted(["a short one"], ["fine"])
    with (
        gateway("", "and then", faults=["final_delay=1000"]) as served,
        talking(served.url, tmp_path, *PUSH, responder=responder) as talk,
    ):
        talk.loop.ask("first")
        talk.wait_state("speaking")
        talk.wait_played(150)
        talk.say(80)
        talk.wait_for("playback_end")
        talk.wait_for("final", text="")
        talk.wait_state("idle", 2)
        assert "listening" in talk.recorder.states()
        talk.say()
        talk.wait_for("playback_end", 2)
        talk.wait_idle()
    assert responder.asked == ["first", "and then"]


def test_stopped_while_it_waits_for_a_question_it_sleeps(tmp_path: Path) -> None:
    """The window is shut with the rest."""
    with gateway() as served, talking(served.url, tmp_path, *PUSH) as talk:
        talk.loop.wake()
        talk.wait_for("wake")
        talk.loop.interrupt()
        wait_asleep(talk)
        talk.say()
        assert wait_until(lambda: not talk.loop.microphone.speaking)
    assert talk.recorder.jsons("speech_start") == []


def test_stopped_while_somebody_speaks_it_sleeps(tmp_path: Path) -> None:
    """What they say after it is not heard either."""
    with gateway() as served, talking(served.url, tmp_path, *PUSH) as talk:
        talk.loop.wake()
        talk.say()
        talk.wait_state("listening")
        talk.loop.interrupt()
        talk.wait_for("speech_end")
        wait_asleep(talk)
        talk.say()
        assert wait_until(lambda: not talk.loop.microphone.speaking)
    assert len(talk.recorder.jsons("speech_start")) == 1
    assert talk.recorder.jsons("reply") == []


def test_muted_in_its_window_it_hears_nothing(tmp_path: Path) -> None:
    """And unmuted within it, it hears again."""
    responder = Scripted(["fine"])
    with (
        gateway("hello") as served,
        talking(served.url, tmp_path, *PUSH, responder=responder) as talk,
    ):
        talk.loop.wake()
        talk.loop.mute(True)
        talk.wait_state("muted")
        closed = talk.loop.microphone
        assert wait_until(lambda: talk.loop._capture._source is None)
        talk.loop.mute(False)
        talk.wait_state("idle", 2)
        assert talk.loop.microphone is not closed
        talk.say()
        talk.wait_for("playback_end")
        talk.wait_idle()
    assert len(talk.recorder.jsons("speech_start")) == 1
    assert sounds_whole(talk.recording, spoken("fine"))
