"""Which short sound is heard when: what cannot be seen has to be heard."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conversation_scripts import (
    REPLY_RATE_HZ,
    find_in,
    gateway,
    spoken,
    voice,
    wait_until,
    write_wav,
)
from talking import Piece, Scripted, Talk, sounds_whole, talking, without_silence

from slng_edge.audio.chimes import built_in
from slng_edge.errors import ResponderError
from slng_edge.pcm import Samples

NAMES = ("wake", "follow_up", "thinking", "done", "error", "offline", "mute", "unmute")
ALL = tuple(f"sounds.{name}=built-in" for name in NAMES)


def played(talk: Talk) -> list[str]:
    """The short sounds that are heard whole, in order."""
    recording, places = without_silence(talk.recording), []
    for name in NAMES:
        sound, at = without_silence(built_in(name, REPLY_RATE_HZ)), 0
        while (place := find_in(recording[at:], sound)) >= 0:
            places.append((at + place, name))
            at += place + len(sound)
    return [name for _, name in sorted(places)]


def wait_silent(talk: Talk) -> None:
    """Wait until nothing sounds."""
    assert wait_until(lambda: not talk.loop._playback.sounding)


def test_mute_and_unmute_are_heard(tmp_path: Path) -> None:
    """Each once, where something changed."""
    with gateway() as served, talking(served.url, tmp_path, *ALL) as talk:
        talk.loop.mute(True)
        talk.loop.mute(True)
        talk.wait_state("muted")
        talk.loop.mute(False)
        talk.wait_state("idle", 2)
        wait_silent(talk)
    assert played(talk) == ["mute", "unmute"]


def test_being_woken_is_heard(tmp_path: Path) -> None:
    """By a button or a command."""
    with gateway() as served, talking(served.url, tmp_path, *ALL) as talk:
        talk.loop.wake()
        talk.wait_for("wake")
        wait_silent(talk)
    assert played(talk) == ["wake"]


def test_nothing_is_heard_where_the_sounds_are_off(tmp_path: Path) -> None:
    """As the configuration of all other tests says it."""
    with gateway() as served:
        responder = Scripted([ResponderError("the program is gone")])
        with talking(served.url, tmp_path, responder=responder) as talk:
            talk.loop.wake()
            talk.loop.mute(True)
            talk.loop.mute(False)
            talk.loop.ask("well")
            talk.wait_for("lost", what="reply")
            talk.wait_idle()
        assert not talk.recording.any()


def test_a_sound_of_ones_own_is_heard(tmp_path: Path) -> None:
    """Of another rate, from a file."""
    own = voice(200, rate_hz=48000)
    path = write_wav(tmp_path / "ding.wav", own, rate_hz=48000)
    with gateway() as served, talking(served.url, tmp_path, f"sounds.wake={path}") as talk:
        talk.loop.wake()
        talk.wait_for("wake")
        assert wait_until(lambda: talk.loop._playback.sounding)
        wait_silent(talk)
    sounding = np.flatnonzero(np.abs(talk.recording) > 500)
    assert abs((sounding[-1] - sounding[0]) * 1000 / REPLY_RATE_HZ - 200) < 15
    expected = float(np.sqrt(np.mean(np.square(own, dtype=np.float64))))
    piece: Samples = talk.recording[sounding[0] : sounding[-1]]
    assert abs(float(np.sqrt(np.mean(np.square(piece, dtype=np.float64)))) / expected - 1) < 0.1


def test_who_waits_for_an_answer_hears_that_it_works_on_it(tmp_path: Path) -> None:
    """After a second, and not again before the answer comes."""
    responder = Scripted([1.4, "fine"])
    with gateway() as served, talking(served.url, tmp_path, *ALL, responder=responder) as talk:
        talk.loop.ask("well")
        talk.wait_state("thinking")
        talk.wait_for("playback_end")
        talk.wait_idle()
    assert played(talk) == ["thinking"]
    [thinking] = [x["t"] for x in talk.recorder.jsons("state") if x["state"] == "thinking"]
    # What stands in the device is heard before it.
    after_s = (np.flatnonzero(talk.recording)[0] - talk.position(thinking)) / REPLY_RATE_HZ
    assert 1.0 <= after_s <= 1.3
    assert sounds_whole(talk.recording, spoken("fine"))


FAILURES: dict[str, tuple[Sequence[Piece], str, str]] = {
    "it raises": ([ResponderError("the program is gone")], "the program is gone", "reply"),
    "it has a bug": ([ZeroDivisionError("by zero")], "ZeroDivisionError: by zero", "reply"),
    "it hangs": ([60.0], "the state thinking lasted longer than it may", "reply"),
    "it says nothing": ([], "gave nothing that could be said", ""),
    "it raises after a sentence": (
        ["All is well. ", ResponderError("the program is gone")],
        "the program is gone",
        "reply",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_responder_that_fails_is_heard(
    tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what failed, the loop is idle within its deadline, and works again."""
    caplog.set_level(logging.WARNING, "slng_edge")
    answer, why, lost = FAILURES[case]
    # A second time: each failure has its sound, whether or not somebody speaks in between.
    rounds = 2 if case == "it raises" else 1
    responder = Scripted(*[answer] * rounds, ["fine"])
    limits = ("turn.thinking_timeout_s=1", *ALL, "sounds.thinking=off")
    with gateway() as served, talking(served.url, tmp_path, *limits, responder=responder) as talk:
        for count in range(1, rounds + 1):
            began = time.monotonic()
            talk.loop.ask("well")
            talk.wait_state("idle", count + 1)
            assert time.monotonic() - began < 2.5
            wait_silent(talk)
        talk.loop.ask("and now")
        said = 2 if "sentence" in case else 1
        talk.wait_for("playback_end", said)
        talk.wait_idle()
    assert played(talk) == ["error"] * rounds
    assert caplog.text.count(why) >= rounds
    assert len(talk.losses(lost)) == (rounds if lost else 0)
    assert responder.asked == ["well"] * rounds + ["and now"]
    assert sounds_whole(talk.recording, spoken("fine"))


def test_a_gateway_that_is_away_is_heard_by_who_speaks(tmp_path: Path) -> None:
    """At the end of what they say, once; being woken says it as well."""
    quick = ("stt.offline_keep_s=0.3", *ALL)
    with talking("ws://127.0.0.1:1", tmp_path, *quick, begins="offline") as talk:
        talk.say()
        talk.wait_for("lost", what="speech")
        wait_silent(talk)
        talk.loop.wake()
        talk.wait_for("wake")
        assert wait_until(lambda: talk.loop._playback.sounding)
        wait_silent(talk)
    assert played(talk) == ["offline", "offline"]


def test_words_that_never_come_are_heard_to_be_lost(tmp_path: Path) -> None:
    """The gateway is there, and gives no final, twice."""
    with gateway("hello", faults=["no_final"]) as served:
        with talking(served.url, tmp_path, *ALL, "stt.final_timeout_s=0.3") as talk:
            talk.say()
            talk.wait_for("lost", what="speech")
            talk.wait_idle()
        assert played(talk)[-1:] == ["error"] or played(talk) == ["offline"]
        assert len(played(talk)) == 1


def test_a_voice_that_fails_is_heard(tmp_path: Path) -> None:
    """An error of text-to-speech, three times over."""
    with gateway("hello", faults=["error_on_text=provider_error:9"]) as served:
        with talking(served.url, tmp_path, *ALL, responder=Scripted(["fine"])) as talk:
            talk.loop.ask("well")
            talk.wait_for("lost", what="reply")
            talk.wait_idle()
        assert len(talk.losses("reply")) == 1
        assert played(talk)[-1:] in (["error"], ["offline"])
