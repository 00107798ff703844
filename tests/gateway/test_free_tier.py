"""One connection for everything: speech-to-text and text-to-speech take turns on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conversation_scripts import (
    PATIENCE_S,
    Heard,
    config_for,
    connections,
    conversation,
    frequencies,
    gateway,
    numbered,
    read_wav,
    silence,
    spoken,
    until_over,
    voice,
    wait_until,
    write_wav,
)
from session_scripts import (
    UNCOUNTED,
    assert_in_order,
    finals,
    listening,
    plan,
    say,
    sound_of,
    speaking,
    states,
    utter,
    utter_live,
)

from slng_edge import SttSession, TtsSession
from slng_edge.config import Config
from slng_edge.events import ConnectionChanged
from slng_edge.gateway.connection_budget import ConnectionBudget
from slng_edge.pcm import Samples
from slng_edge.protocol.session_events import Final, ReplyAudio, ReplyDone
from slng_edge.simulator import LocalGateway, ToneSynthesizer

FREE = "gateway.tier=free"


@contextmanager
def both(
    url: str, heard: Heard, spoke: Heard, *overrides: str, start: bool = True
) -> Iterator[tuple[SttSession, TtsSession]]:
    """Two sessions on one place."""
    budget = ConnectionBudget(1)
    free = (FREE, *overrides)
    with (
        listening(url, heard, *free, budget=budget, start=start) as stt,
        speaking(url, spoke, *free, budget=budget, start=start) as tts,
    ):
        yield stt, tts


# Sessions


def test_both_sessions_are_found_to_work_at_the_start() -> None:
    """Each has its turn and says `ready`; then speech-to-text has the place."""
    heard, spoke = Heard(), Heard()
    with gateway(tier="free") as served, both(served.url, heard, spoke) as (stt, _):
        heard.wait_for(ConnectionChanged, state="ready")
        spoke.wait_for(ConnectionChanged, state="ready")
        spoke.wait_for(ConnectionChanged, state="closed")
        assert wait_until(lambda: states(heard)[-1] == "ready")
        stt.wait_ready(PATIENCE_S)
        assert len(connections(served, "stt")) <= 2
        assert len(connections(served, "tts")) == 1
        assert served.violations == []
    for each in (heard, spoke):
        assert "failed" not in states(each)
        assert_in_order(each)


def test_speech_and_replies_take_turns() -> None:
    """Words, reply, words, reply: complete, on one connection after the other."""
    heard, spoke = Heard(), Heard()
    lines = [f"line {number}" for number in range(5)]
    with gateway(*lines, tier="free") as served, both(served.url, heard, spoke) as (stt, tts):
        for number, line in enumerate(lines):
            utter(stt, numbered(200, start=number))
            assert heard.wait_for(Final).text == line
            say(tts, number, f"reply to {line}.")
            spoke.wait_for(ReplyDone, reply=number)
            assert np.array_equal(sound_of(spoke, number), spoken(f"reply to {line}."))
        said = b"".join(numbered(200, start=number).tobytes() for number in range(len(lines)))
        assert b"".join(record.audio for record in connections(served, "stt")) == said
        assert served.violations == []
    for each in (heard, spoke):
        assert "failed" not in states(each)
        assert_in_order(each)


def test_speech_during_a_reply_is_kept_and_sent_after_the_swap() -> None:
    """The reply is fetched to its end; then all that was said goes out, from its start."""
    heard, spoke = Heard(), Heard()
    with (
        gateway("said meanwhile", faults=["pace=2"], tier="free") as served,
        both(served.url, heard, spoke) as (stt, tts),
    ):
        text = "a reply that takes a second or so"
        say(tts, 1, text)
        spoke.wait_for(ReplyAudio)
        samples = numbered(400)
        utter_live(stt, samples)
        spoke.wait_for(ReplyDone)
        assert heard.wait_for(Final).text == "said meanwhile"
        assert np.array_equal(sound_of(spoke, 1), spoken(text))
        assert b"".join(record.audio for record in connections(served, "stt")) == samples.tobytes()
        assert served.violations == []


def test_speech_that_interrupts_gets_the_place_at_once() -> None:
    """What was being said is dropped, and what was spoken into it is heard."""
    heard, spoke = Heard(), Heard()
    with (
        gateway("wait", faults=["pace=realtime"], tier="free") as served,
        both(served.url, heard, spoke) as (stt, tts),
    ):
        say(tts, 1, "a reply that nobody wants to hear, and that would take a good deal of time")
        spoke.wait_for(ReplyAudio)
        samples = numbered(300)
        utterance = stt.open_utterance()
        stt.add_audio(utterance, samples)
        tts.interrupt(time.monotonic())
        began = time.monotonic()
        stt.end_utterance(utterance, began)
        assert heard.wait_for(Final).text == "wait"
        assert time.monotonic() - began < 1.5
        say(tts, 2, "as you like")
        spoke.wait_for(ReplyDone, reply=2)
        assert np.array_equal(sound_of(spoke, 2), spoken("as you like"))
        assert served.violations == []


def test_a_reply_of_several_segments_is_whole() -> None:
    """Sentences that are written one after the other, with speech in between."""
    heard, spoke = Heard(), Heard()
    texts = [f"This is sentence {number}." for number in range(3)]
    with (
        gateway("one", "two", "three", tier="free") as served,
        both(served.url, heard, spoke, UNCOUNTED) as (stt, tts),
    ):
        tts.open_reply(1)
        for number, text in enumerate(texts):
            tts.add_text(1, text)
            assert wait_until(
                lambda n=number: (
                    len(sound_of(spoke, 1)) == sum(len(spoken(each)) for each in texts[: n + 1])
                )
            )
            utter(stt, numbered(100))
        tts.end_reply(1)
        spoke.wait_for(ReplyDone)
        assert wait_until(lambda: len(finals(heard)) == 3, timeout_s=15)
        assert np.array_equal(sound_of(spoke, 1), spoken(*texts))
        assert served.violations == []


def test_a_responder_that_takes_its_time_does_not_keep_speech_waiting() -> None:
    """A reply is begun and has no text yet: who speaks meanwhile is heard before it."""
    heard, spoke = Heard(), Heard()
    with (
        gateway("one moment", tier="free") as served,
        both(served.url, heard, spoke) as (stt, tts),
    ):
        tts.open_reply(1)
        time.sleep(0.5)
        utter(stt, numbered(200))
        began = time.monotonic()
        assert heard.wait_for(Final).text == "one moment"
        assert time.monotonic() - began < 2
        tts.add_text(1, "here it is")
        tts.end_reply(1)
        spoke.wait_for(ReplyDone)
        assert np.array_equal(sound_of(spoke, 1), spoken("here it is"))
        assert served.violations == []


def test_a_session_that_fails_does_not_keep_the_other_from_its_turn() -> None:
    """Text-to-speech is refused for a while, and speech is understood all the time."""
    heard, spoke = Heard(), Heard()
    with (
        gateway("one", "two", "three", faults=["tts:refuse=503@1-3"], tier="free") as served,
        both(served.url, heard, spoke) as (stt, tts),
    ):
        say(tts, 1, "said in the end")
        for line in ("one", "two", "three"):
            utter(stt, numbered(100))
            assert heard.wait_for(Final).text == line
        assert wait_until(lambda: tts.retry_now() or len(sound_of(spoke, 1)))
        spoke.wait_for(ReplyDone)
        assert served.violations == []


@pytest.mark.parametrize("wait_ms", [0, 1, 3, 10, 20, 40, 80, 150])
def test_stop_at_every_moment_of_a_swap(wait_ms: int) -> None:
    """However the change of turns stands: both end in time, and nothing is left."""
    heard, spoke = Heard(), Heard()
    with gateway("one", faults=["pace=realtime"], tier="free") as served:
        with both(served.url, heard, spoke) as (stt, tts):
            stt.wait_ready(PATIENCE_S)
            say(tts, 1, "a reply that goes on for a while")
            utter(stt, numbered(100))
            time.sleep(wait_ms / 1000)
            began = time.monotonic()
            tts.stop()
            stt.stop()
            assert time.monotonic() - began < 3
        assert served.violations == []


# Conversations


def free_loop(url: str, tmp_path: Path, *sounds: Samples) -> Config:
    source = write_wav(tmp_path / "in.wav", np.concatenate(sounds))
    return config_for(
        url, FREE, f"audio.input=file:{source}", f"audio.output=file:{tmp_path / 'out.wav'}"
    )


@pytest.mark.parametrize("faults", [[], ["ready_delay=150"]], ids=["near", "far away"])
def test_a_conversation_of_several_turns(tmp_path: Path, faults: list[str]) -> None:
    """Every question is understood, every answer is heard whole, and nothing is refused."""
    lines = ["first answer", "second answer", "third answer", "fourth answer"]
    question = (silence(500), voice(500), silence(1700))
    with gateway(*lines, tier="free", faults=faults) as served:
        config = free_loop(served.url, tmp_path, *question * 4)
        with conversation(config) as (loop, recorder):
            until_over(loop)
            assert [line["text"] for line in recorder.jsons("final")] == lines
            assert recorder.jsons("lost", "error") == []
            assert recorder.states().count("speaking") == 4
            assert "offline" not in recorder.states()
        assert served.violations == []
        played = [line["played_ms"] for line in recorder.jsons("playback_end")]
        assert played == [ToneSynthesizer.duration_ms(line) for line in lines]
    heard = frequencies(read_wav(tmp_path / "out.wav"))
    assert heard >= {ToneSynthesizer.frequency_hz(line) for line in lines}


@pytest.mark.parametrize("faults", [[], ["ready_delay=150"]], ids=["near", "far away"])
def test_a_conversation_with_an_interruption(tmp_path: Path, faults: list[str]) -> None:
    """Who speaks into the answer is heard, from the first word; the next answer is whole."""
    long = "an answer that is so very long that nobody wants to hear all of it to its end"
    sounds = (silence(500), voice(500), silence(1600), voice(900), silence(2500))
    faults = ["pace=realtime", *faults]
    with gateway(long, "the second", tier="free", faults=faults) as served:
        with conversation(free_loop(served.url, tmp_path, *sounds)) as (loop, recorder):
            until_over(loop)
            assert [line["text"] for line in recorder.jsons("final")] == [long, "the second"]
            assert len(recorder.jsons("interrupted")) == 1
            assert recorder.jsons("lost") == []
        assert served.violations == []
        assert recorder.jsons("playback_end")[-1]["played_ms"] == 600
    assert ToneSynthesizer.frequency_hz("the second") in frequencies(read_wav(tmp_path / "out.wav"))


def test_the_loop_becomes_idle_on_one_connection() -> None:
    """Both sessions have been ready: the state says so, and it stays so."""
    with (
        gateway(tier="free") as served,
        conversation(config_for(served.url, FREE)) as (_, recorder),
    ):
        recorder.wait_for("state", state="idle")
        time.sleep(0.5)
        assert recorder.states() == ["starting", "idle"]
        assert served.violations == []


def test_the_loop_on_a_plan_whose_time_is_up_again_and_again(tmp_path: Path) -> None:
    """Connections of a second or so, one at a time: no word and no sample is lost."""
    lines = [f"answer {number}" for number in range(4)]
    question = (silence(400), voice(600), silence(1500))
    limits = plan("free", duration_s=1.5)
    with gateway(*lines, tier="free", connection_s=2.6) as served:
        config = free_loop(served.url, tmp_path, *question * 4)
        with conversation(config, limits=limits) as (loop, recorder):
            until_over(loop)
            assert [line["text"] for line in recorder.jsons("final")] == lines
            assert recorder.jsons("lost") == []
        assert served.violations == []
        played = [line["played_ms"] for line in recorder.jsons("playback_end")]
        assert played == [ToneSynthesizer.duration_ms(line) for line in lines]
    heard = frequencies(read_wav(tmp_path / "out.wav"))
    assert heard >= {ToneSynthesizer.frequency_hz(line) for line in lines}


MOMENTS: dict[str, Callable[[LocalGateway], object]] = {
    "starting": lambda served: True,
    "first ready": lambda served: served.connections,
    "both ready": lambda served: connections(served, "tts") and connections(served, "stt"),
    "speech": lambda served: any(record.audio for record in served.connections),
    "words": lambda served: any(
        record.of_type("server", "final_transcript") for record in served.connections
    ),
    "text": lambda served: any(record.of_type("client", "text") for record in served.connections),
    "sound": lambda served: any(
        record.kind == "tts" and record.audio_bytes for record in served.connections
    ),
}


@pytest.mark.parametrize("moment", list(MOMENTS))
def test_stop_at_every_moment_of_a_conversation(tmp_path: Path, moment: str) -> None:
    """Within the time that is promised, with nothing left behind."""
    with gateway("an answer of some length", tier="free", faults=["pace=realtime"]) as served:
        sounds = (silence(300), voice(500), silence(3000))
        with conversation(free_loop(served.url, tmp_path, *sounds)) as (loop, _):
            assert served.wait_for(lambda: MOMENTS[moment](served), PATIENCE_S)
            began = time.monotonic()
            loop.stop()
            assert time.monotonic() - began < 4.5
        assert served.violations == []


def test_a_place_is_given_back_when_a_callback_raises() -> None:
    """A mistake of the caller's ends one thread; the other session gets its turn all the same."""
    deaths: list[str] = []
    spoke = Heard()
    budget = ConnectionBudget(1)
    raised = threading.Event()

    def broken(event: object) -> None:
        if isinstance(event, Final) and not raised.is_set():
            raised.set()
            raise KeyError("a mistake")

    with gateway(tier="free") as served:
        stt = SttSession(
            config_for(served.url, FREE),
            api_key="",
            budget=budget,
            on_event=broken,
            on_death=lambda name, _: deaths.append(name),
        )
        stt.start()
        with speaking(served.url, spoke, FREE, budget=budget) as tts:
            utter(stt, numbered(100))
            assert raised.wait(PATIENCE_S)
            say(tts, 1, "it goes on")
            spoke.wait_for(ReplyDone)
        stt.stop()
    assert deaths == ["stt-receive"]


def test_a_reply_that_is_called_off_while_it_is_dialled_for_is_told() -> None:
    """Each `connecting` has an outcome, also where nothing came of it."""
    spoke = Heard()
    with gateway(faults=["ready_delay=500@2-9"]) as served:
        tts = TtsSession(
            config_for(served.url, FREE), api_key="", on_event=spoke, budget=ConnectionBudget(1)
        )
        tts.start()
        spoke.wait_for(ConnectionChanged, state="closed")  # it has found out that it can
        tts.open_reply(1)
        spoke.wait_for(ConnectionChanged, state="connecting")
        tts.interrupt(time.monotonic())
        closed = spoke.wait_for(ConnectionChanged, state="closed")
        assert (closed.code, closed.retry_in_s) == (1000, None)
        tts.stop()


def test_a_route_that_closes_after_each_segment_keeps_its_turn() -> None:
    """Speech-to-text, which has nothing to do, does not come in between two of a reply."""
    heard, spoke = Heard(), Heard()
    with (
        gateway(tier="free", faults=["tts:per_utterance_close"]) as served,
        both(served.url, heard, spoke) as (_, tts),
    ):
        wait_until(lambda: states(spoke)[-1:] == ["closed"] and states(heard)[-1:] == ["ready"])
        before = len(connections(served, "stt"))
        say(tts, 1, "One.", "Two.", "Three.")
        spoke.wait_for(ReplyDone, reply=1)
        assert wait_until(lambda: states(heard)[-1:] == ["ready"])
        assert len(connections(served, "stt")) == before + 1
        assert served.violations == []
