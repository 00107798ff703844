"""Whole conversations through the local gateway, with files and nothing as devices."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conversation_scripts import (
    PATIENCE_S,
    REPLY_RATE_HZ,
    Recorder,
    config_for,
    connections,
    conversation,
    find_in,
    frequencies,
    gateway,
    last_sound,
    read_wav,
    silence,
    spoken,
    until_over,
    voice,
    wait_until,
    write_wav,
)
from session_scripts import UNCOUNTED

from slng_edge import VoiceLoop
from slng_edge.errors import AuthenticationRejected, ConfigError, ResponderError
from slng_edge.events import EventBus
from slng_edge.pcm import Samples
from slng_edge.simulator import ToneSynthesizer
from slng_edge.voice_loop import Died, Refused

QUESTION = (silence(600), voice(400), silence(600))
LONG = "here is a very long answer that nobody wants to hear to its very end"
TOLD = (
    *("speech_start", "speech_end", "final", "reply", "reply_audio_first"),
    *("playback_start", "turn", "interrupted", "playback_end", "lost"),
)


def track(path: Path, *sounds: Samples) -> str:
    """A question, or several, as an input for the config."""
    return f"audio.input=file:{write_wav(path / 'in.wav', np.concatenate(sounds))}"


def output(path: Path) -> str:
    return f"audio.output=file:{path / 'out.wav'}"


def position(loop: VoiceLoop, recorder: Recorder, t: float) -> int:
    """The sample of the output file that sounds `t` seconds after the bus began."""
    return round((recorder.bus._started + t - loop._clock.origin_s()) * REPLY_RATE_HZ)


def texts(recorder: Recorder, type_: str) -> list[str]:
    return [line["text"] for line in recorder.jsons(type_)]


class Answers:
    """A responder that gives prepared answers, each a list of pieces, or an error."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        self.asked.append(text)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        yield from answer

    def cancel(self) -> None:
        """Nothing runs for long."""

    def close(self) -> None:
        """Nothing to release."""


def test_a_conversation_of_several_turns_with_an_interruption(tmp_path: Path) -> None:
    """Three questions, the first answer cut off: events, states, words and samples."""
    sounds = (*QUESTION, silence(700), voice(500), silence(1200), *QUESTION)
    with gateway(LONG, "short one", "the last") as served:
        config = config_for(served.url, track(tmp_path, *sounds), output(tmp_path))
        with conversation(config) as (loop, recorder):
            until_over(loop)
        assert [line["type"] for line in recorder.jsons(*TOLD)] == [
            *("speech_start", "speech_end", "final", "reply", "reply_audio_first"),
            *("playback_start", "turn", "speech_start", "interrupted", "speech_end", "final"),
            *("reply", "reply_audio_first", "playback_start", "turn", "playback_end"),
            *("speech_start", "speech_end", "final", "reply", "reply_audio_first"),
            *("playback_start", "turn", "playback_end"),
        ]
        assert recorder.states() == [
            *("starting", "idle", "listening", "thinking", "speaking"),
            *("paused", "listening", "thinking", "speaking", "idle"),
            *("listening", "thinking", "speaking", "idle"),
        ]
        assert texts(recorder, "final") == [LONG, "short one", "the last"]
        assert texts(recorder, "reply") == [LONG, "short one", "the last"]
        recording = read_wav(tmp_path / "out.wav")

        [interrupted] = recorder.jsons("interrupted")
        assert interrupted["by"] == "speech"
        assert 0 <= interrupted["silence_ms"] < 60
        began = find_in(recording, spoken(LONG)[: REPLY_RATE_HZ // 2])
        second = find_in(recording, spoken("short one"))
        assert 0 < began < second
        cut = began + last_sound(recording[began:second])
        # What stood in the device sounds on; the event's time is rounded to a millisecond.
        assert cut <= position(loop, recorder, interrupted["t"] + 0.062)
        # What was told as heard is what the file holds, but for what stood in the device.
        cut_ms = (cut - began) * 1000 / REPLY_RATE_HZ
        # The last samples of the fade are so faint that they may be zero.
        assert interrupted["played_ms"] - 10 <= cut_ms <= interrupted["played_ms"] + 120
        heard = interrupted["heard_text"]
        assert heard
        assert LONG.startswith(heard)
        assert len(heard) <= interrupted["played_ms"] / 60 < len(heard) + len("everything ")
        # The head and the tail of replies are whole, and nothing else sounds.
        third = find_in(recording, spoken("the last"))
        assert second < third
        rest = recording.copy()
        for start, text in ((second, "short one"), (third, "the last")):
            rest[start : start + len(spoken(text))] = 0
        rest[began:cut] = 0
        assert not rest.any()
        [_, ended] = recorder.jsons("playback_end")
        assert ended["played_ms"] == ToneSynthesizer.duration_ms("the last")
        # One question, one stream of audio: three utterances, each with its finalize.
        [record] = connections(served, "stt")
        assert len(record.of_type("client", "finalize")) == 3


def test_the_times_of_a_turn_add_up(tmp_path: Path) -> None:
    """The parts make the total, and none is negative."""
    with gateway("hello there") as served:
        config = config_for(served.url, track(tmp_path, *QUESTION))
        with conversation(config) as (loop, recorder):
            until_over(loop)
        [turn] = recorder.jsons("turn")
        parts = [turn[name] for name in PARTS]
        assert sum(parts) == turn["total"]
        assert min(parts) >= 0
        assert turn["total"] < 1000
        [began, ended] = recorder.jsons("speech_start", "speech_end")
        assert began["preroll_ms"] == 300
        assert 300 + 400 <= ended["duration_ms"] <= 300 + 400 + 200 + 100


PARTS = ("speech_end_to_final", "final_to_reply", "reply_to_audio", "audio_to_sound")


def test_in_silence_no_audio_is_sent(tmp_path: Path) -> None:
    """Keepalives and nothing else; and the run ends where the file does."""
    with gateway() as served:
        config = config_for(
            served.url, track(tmp_path, silence(1500)), output(tmp_path), "stt.keepalive_s=0.3"
        )
        with conversation(config) as (loop, recorder):
            until_over(loop)
            assert recorder.states() == ["starting", "idle"]
        [record] = connections(served, "stt")
        assert record.audio_bytes == 0
        assert len(record.of_type("client", "keepalive")) >= 3
        assert not any(isinstance(message, bytes) for _, _, message in record.messages)
        recording = read_wav(tmp_path / "out.wav")
        assert not recording.any()
        assert abs(len(recording) / REPLY_RATE_HZ - 1.5) < 0.5


def test_audio_that_comes_late_is_never_heard(tmp_path: Path) -> None:
    """After an interruption only the next reply sounds, whatever the gateway still sends."""
    faults = ["pace=realtime", "late_audio_after_clear=400"]
    sounds = (*QUESTION, silence(700), voice(500), silence(400))
    with gateway(LONG, "short one", faults=faults) as served:
        config = config_for(served.url, track(tmp_path, *sounds), output(tmp_path))
        with conversation(config) as (loop, recorder):
            until_over(loop)
        [interrupted] = recorder.jsons("interrupted")
        recording = read_wav(tmp_path / "out.wav")
        after = recording[position(loop, recorder, interrupted["t"] + 0.060) :]
        assert find_in(after, spoken("short one")) >= 0
        assert frequencies(after) == {ToneSynthesizer.frequency_hz("short one")}
        assert len(np.flatnonzero(after)) <= len(spoken("short one"))
        assert len(connections(served, "tts")) == 1


def test_a_clear_without_an_answer_does_not_leak_either(tmp_path: Path) -> None:
    """The connection is replaced, and the next reply is itself."""
    faults = ["pace=realtime", "no_cleared"]
    sounds = (*QUESTION, silence(700), voice(500), silence(400))
    with gateway(LONG, "short one", faults=faults) as served:
        config = config_for(served.url, track(tmp_path, *sounds), output(tmp_path))
        with conversation(config) as (loop, recorder):
            until_over(loop)
        [interrupted] = recorder.jsons("interrupted")
        after = read_wav(tmp_path / "out.wav")[position(loop, recorder, interrupted["t"] + 0.060) :]
        assert find_in(after, spoken("short one")) >= 0
        assert frequencies(after) == {ToneSynthesizer.frequency_hz("short one")}
        assert len(connections(served, "tts")) == 2


def test_audio_of_another_rate_is_played_whole(tmp_path: Path) -> None:
    """Resampled: no tail is missing, and none comes out at the head of the next reply."""
    sounds = (*QUESTION, silence(700), *QUESTION)
    with gateway("first one", "second", faults=["wav_header=16000"]) as served:
        config = config_for(served.url, track(tmp_path, *sounds), output(tmp_path))
        with conversation(config) as (loop, recorder):
            until_over(loop)
        recording = read_wav(tmp_path / "out.wav")
        ends = recorder.jsons("playback_end")
        halves = np.split(recording, [position(loop, recorder, ends[0]["t"] + 0.3)])
        for half, text, ended in zip(halves, ("first one", "second"), ends, strict=True):
            expected_ms = ToneSynthesizer.duration_ms(text)
            assert abs(ended["played_ms"] - expected_ms) <= 2
            loud = np.flatnonzero(np.abs(half) > 300)
            length_ms = (loud[-1] - loud[0]) * 1000 / REPLY_RATE_HZ
            assert abs(length_ms - expected_ms) < 5, text
            assert frequencies(half) == {ToneSynthesizer.frequency_hz(text)}


@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_a_short_piece_of_another_rate_sounds(tmp_path: Path, rate_hz: int) -> None:
    """A word of a moment is not swallowed by the resampler."""
    with gateway("a", faults=[f"wav_header={rate_hz}"]) as served:
        config = config_for(served.url, track(tmp_path, *QUESTION), output(tmp_path))
        with conversation(config) as (loop, recorder):
            until_over(loop)
        assert abs(recorder.jsons("playback_end")[0]["played_ms"] - 60) <= 2


def test_a_reply_of_several_sentences_is_whole(tmp_path: Path) -> None:
    """Streamed piece by piece, spoken sentence by sentence, without a sample missing."""
    pieces = ["First comes ", "this. And th", "en that. At la", "st the end"]
    responder = Answers(pieces)
    with gateway("tell me") as served:
        config = config_for(served.url, track(tmp_path, *QUESTION), output(tmp_path))
        with conversation(config, responder=responder) as (loop, recorder):
            until_over(loop)
        assert responder.asked == ["tell me"]
        assert texts(recorder, "reply") == ["First comes this. And then that. At last the end"]
        recording = read_wav(tmp_path / "out.wav")
        sentences = ("First comes this.", "And then that.", "At last the end")
        places = [find_in(recording, spoken(text)) for text in sentences]
        assert places == sorted(places)
        assert places[0] > 0
        total_ms = sum(map(ToneSynthesizer.duration_ms, sentences))
        assert recorder.jsons("playback_end")[0]["played_ms"] == total_ms


@pytest.mark.parametrize(
    "nothing",
    [["—"], ResponderError("the program is gone")],
    ids=["a dash", "an error"],
)
def test_a_turn_without_an_answer_does_not_silence_the_next(
    tmp_path: Path, nothing: list[str] | Exception
) -> None:
    """The loop is idle again, and the next question is answered."""
    responder = Answers(nothing, ["now it works"])
    sounds = (*QUESTION, *QUESTION)
    with gateway("one", "two") as served:
        config = config_for(served.url, track(tmp_path, *sounds), output(tmp_path))
        with conversation(config, responder=responder) as (loop, recorder):
            until_over(loop)
        assert find_in(read_wav(tmp_path / "out.wav"), spoken("now it works")) > 0
        assert recorder.states()[2:5] == ["listening", "thinking", "idle"]
        assert bool(recorder.jsons("lost")) == isinstance(nothing, Exception)


def test_an_utterance_without_words_starts_no_reply(tmp_path: Path) -> None:
    """An empty final: back to idle."""
    with gateway("") as served:
        config = config_for(served.url, track(tmp_path, *QUESTION))
        with conversation(config) as (loop, recorder):
            until_over(loop)
        assert recorder.jsons("final")[0]["text"] == ""
        assert recorder.states()[-2:] == ["listening", "idle"]
        assert recorder.jsons("reply") == []


def test_an_open_utterance_ends_with_the_file(tmp_path: Path) -> None:
    """As by silence: its words come, and the reply is heard before the end."""
    with gateway("until the end") as served:
        config = config_for(served.url, track(tmp_path, silence(600), voice(600)), output(tmp_path))
        with conversation(config) as (loop, recorder):
            until_over(loop)
        assert texts(recorder, "final") == ["until the end"]
        assert find_in(read_wav(tmp_path / "out.wav"), spoken("until the end")) > 0


def test_a_connection_that_drops_in_the_middle_of_an_utterance_loses_nothing(
    tmp_path: Path,
) -> None:
    """The second connection gets what the first got and all that followed."""
    sounds = (silence(800), voice(1500), silence(400))
    with gateway("kept words") as served:
        config = config_for(served.url, track(tmp_path, *sounds))
        with conversation(config) as (loop, recorder):
            recorder.wait_for("speech_start")
            [first] = connections(served, "stt")
            assert served.wait_for(lambda: first.audio_bytes > 20000, PATIENCE_S)
            served.drop_all()
            recorder.wait_for("connection", session="stt", state="failed")
            loop._stt.retry_now()
            loop._tts.retry_now()
            until_over(loop)
        assert texts(recorder, "final") == ["kept words"]
        assert "offline" in recorder.states()
        assert recorder.states()[-1] == "idle"
        [_, second] = connections(served, "stt")
        whole = np.concatenate(sounds).tobytes()
        assert second.audio.startswith(first.audio)
        assert whole.find(second.audio) == (800 - 300) * 32
        [ended] = recorder.jsons("speech_end")
        assert len(second.audio) == ended["duration_ms"] * 32


def test_a_connection_that_drops_in_the_middle_of_a_reply_cuts_it(tmp_path: Path) -> None:
    """What came sounds, the loss is told, nothing is said twice, and the loop goes on."""
    sounds = (*QUESTION, silence(1000), *QUESTION)
    with gateway(LONG, "short one", faults=["tts:pace=realtime@1"]) as served:
        config = config_for(served.url, track(tmp_path, *sounds), output(tmp_path))
        with conversation(config) as (loop, recorder):
            recorder.wait_for("playback_start")
            served.drop_all()
            recorder.wait_for("lost", what="reply")
            loop._stt.retry_now()
            loop._tts.retry_now()
            until_over(loop)
        recording = read_wav(tmp_path / "out.wav")
        assert find_in(recording, spoken("short one")) > 0
        first = recording[: find_in(recording, spoken("short one"))]
        assert len(np.flatnonzero(first)) < len(spoken(LONG))
        assert recorder.states()[-1] == "idle"


def test_without_a_gateway_speech_is_said_to_be_lost(tmp_path: Path) -> None:
    """The loop shows that it is offline, tells the loss, and ends with the file."""
    config = config_for("ws://127.0.0.1:1", track(tmp_path, *QUESTION), "stt.offline_keep_s=0.3")
    with conversation(config) as (loop, recorder):
        until_over(loop)
        assert not loop.ever_ready
    [lost] = recorder.jsons("lost")
    assert lost["what"] == "speech"
    assert abs(lost["ms"] - recorder.jsons("speech_end")[0]["duration_ms"]) <= 20
    assert recorder.states()[-1] == "offline"


def test_a_refused_key_is_shown_and_told() -> None:
    """The state is "error", and the notice carries what the server said."""
    with gateway(key="right") as served:
        with conversation(config_for(served.url), api_key="wrong-key-123") as (loop, recorder):
            notices = []
            while not any(isinstance(notice, Refused) for notice in notices):
                notices.append(loop.notices.get(timeout=PATIENCE_S))
            recorder.wait_for("state", state="error")
            assert isinstance(notices[-1].error, AuthenticationRejected)
        assert "wrong-key-123" not in str(recorder.jsons())


def test_speech_does_not_interrupt_where_it_may_not(tmp_path: Path) -> None:
    """`barge_in = "off"`: the reply is heard to its end, and the words are not sent."""
    sounds = (*QUESTION, silence(300), voice(400), silence(400))
    text = "an answer of two seconds or so"
    with gateway(text) as served:
        config = config_for(
            served.url, track(tmp_path, *sounds), output(tmp_path), "turn.barge_in=off"
        )
        with conversation(config) as (loop, recorder):
            until_over(loop)
        assert find_in(read_wav(tmp_path / "out.wav"), spoken(text)) > 0
        assert len(recorder.jsons("speech_start")) == 1
        assert recorder.jsons("interrupted") == []


def test_words_that_follow_while_thinking_join_the_question(tmp_path: Path) -> None:
    """Who goes on speaking before the answer sounds is answered to all of it."""
    faults = ["first_audio_delay=1200@1"]
    sounds = (*QUESTION, voice(400), silence(400))
    responder = Answers(["first"], ["all of it"])
    with gateway("what is", "the time", faults=faults) as served:
        config = config_for(served.url, track(tmp_path, *sounds), output(tmp_path))
        with conversation(config, responder=responder) as (loop, recorder):
            recorder.wait_for("playback_end")
            until_over(loop)
        assert responder.asked == ["what is", "what is the time"]
        recording = read_wav(tmp_path / "out.wav")
        assert frequencies(recording) == {ToneSynthesizer.frequency_hz("all of it")}


def test_stop_ends_a_reply_longer_than_the_buffer(tmp_path: Path) -> None:
    """More than two minutes of reply wait; the loop stops in time, and the file is valid."""
    responder = Answers([f"{'word ' * 20}{number}. " for number in range(30)])
    with gateway("go on") as served:
        config = config_for(
            served.url, track(tmp_path, *QUESTION, silence(30000)), output(tmp_path), UNCOUNTED
        )
        with conversation(config, responder=responder) as (loop, recorder):
            recorder.wait_for("playback_start")
            full = 119 * REPLY_RATE_HZ
            assert wait_until(lambda: loop._ring.buffered_samples >= full)
            began = time.monotonic()
            loop.stop()
            assert time.monotonic() - began < 5
        assert read_wav(tmp_path / "out.wav").any()


def test_a_connection_that_breaks_while_the_buffer_is_full_does_not_kill_the_loop(
    tmp_path: Path,
) -> None:
    """The receive thread waits for room then; it has to be let go."""
    responder = Answers([f"{'word ' * 20}{number}. " for number in range(30)])
    with gateway("go on") as served:
        config = config_for(
            served.url, track(tmp_path, *QUESTION, silence(30000)), output(tmp_path), UNCOUNTED
        )
        with conversation(config, responder=responder) as (loop, recorder):
            recorder.wait_for("playback_start")
            full = 119 * REPLY_RATE_HZ
            assert wait_until(lambda: loop._ring.buffered_samples >= full)
            served.drop_all()
            recorder.wait_for("connection", session="stt", state="failed")
            loop._stt.retry_now()
            recorder.wait_for("connection", session="stt", state="ready", count=2)
            threading.Event().wait(2.5)  # longer than a receiver is given to end
            notices = [loop.notices.get() for _ in range(loop.notices.qsize())]
            assert not [notice for notice in notices if isinstance(notice, Died)]
            # Whether text-to-speech has noticed by now, and waits out its back-off, is chance.
            whole = {"tts-link", "tts-send", "conversation", "playback"}
            assert wait_until(lambda: whole <= {thread.name for thread in threading.enumerate()})


@pytest.mark.parametrize("moment", ["at once", "ready", "listening", "speaking"])
def test_stop_in_every_moment(tmp_path: Path, moment: str) -> None:
    """Within five seconds, twice, with a valid file and no thread left."""
    with gateway(LONG) as served:
        config = config_for(served.url, track(tmp_path, *QUESTION, silence(9000)), output(tmp_path))
        with conversation(config) as (loop, recorder):
            if moment == "ready":
                recorder.wait_for("state", state="idle")
            elif moment != "at once":
                recorder.wait_for("state", state=moment)
            began = time.monotonic()
            loop.stop()
            loop.stop()
            assert time.monotonic() - began < 5
        if moment != "at once":
            read_wav(tmp_path / "out.wav")


def test_a_loop_without_devices_runs_and_stops() -> None:
    """`null` in and out: idle, and nothing is sent."""
    with gateway() as served, conversation(config_for(served.url)) as (_, recorder):
        recorder.wait_for("state", state="idle")
        assert [line["which"] for line in recorder.jsons("device")] != []
    assert connections(served, "stt")[0].audio_bytes == 0


def test_events_are_given_to_whoever_iterates(tmp_path: Path) -> None:
    """The public form: a context manager and an iterator, ended by the end of the loop."""
    with gateway("hello there") as served:
        config = config_for(served.url, track(tmp_path, *QUESTION))
        seen = []
        with VoiceLoop(config, api_key="") as loop:
            for stamped in loop.events():
                seen.append(stamped.event.type)
                if stamped.event.type == "playback_end":
                    break
        assert seen.index("final") < seen.index("reply") < seen.index("playback_end")


def test_a_device_that_stands_for_nothing_is_said_before_anything_starts() -> None:
    """A ConfigError of the constructor, and no thread."""
    with pytest.raises(ConfigError, match=r"audio\.input"):
        VoiceLoop(config_for("ws://127.0.0.1:1", "audio.input=file:"), api_key="")


def test_a_bus_of_the_callers_outlives_the_loop() -> None:
    """Two loops, one after the other, on one bus: as a reload does it."""
    bus = EventBus()
    with gateway() as served, Recorder(bus) as recorder:
        for count in (1, 2):
            loop = VoiceLoop(config_for(served.url), bus=bus, api_key="")
            loop.start()
            recorder.wait_for("state", state="idle", count=count)
            loop.stop()
