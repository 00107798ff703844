"""Connections are replaced before their time is up, at a pause, with no word lost."""

from __future__ import annotations

import time

import numpy as np
import pytest
from conversation_scripts import (
    PATIENCE_S,
    Heard,
    connections,
    gateway,
    numbered,
    spoken,
)
from session_scripts import (
    UNCOUNTED,
    assert_in_order,
    changes,
    finals,
    is_ready,
    left_at,
    listening,
    plan,
    ready_at,
    say,
    sound_of,
    speaking,
    states,
    time_of,
    utter,
    utter_live,
)

from slng_edge.events import ConnectionChanged
from slng_edge.protocol.session_events import Final, ReplyCut, ReplyDone

TIME_UP = "its time is nearly up"


def test_speech_to_text_is_replaced_in_a_pause_while_both_stand() -> None:
    """The successor is ready before the old one takes leave; what is said next goes to it."""
    heard = Heard()
    with (
        gateway("one", "two", connection_s=1.6) as served,
        listening(served.url, heard, limits=plan(duration_s=1.0)) as stt,
    ):
        utter(stt, numbered(200))
        heard.wait_for(Final)
        assert heard.wait_for(ConnectionChanged, state="closed").reason == TIME_UP
        heard.wait_for(ConnectionChanged, state="ready")
        utter(stt, numbered(300))
        assert heard.wait_for(Final).text == "two"
        first, second, *_ = served.connections
        assert ready_at(second) < left_at(first)
        assert (first.audio, second.audio) == (numbered(200).tobytes(), numbered(300).tobytes())
        assert served.violations == []
    assert_in_order(heard)


def test_text_to_speech_is_replaced_in_a_pause_while_both_stand() -> None:
    """As speech-to-text; the reply after it is spoken on the successor."""
    heard = Heard()
    with (
        gateway(connection_s=1.6) as served,
        speaking(served.url, heard, limits=plan(duration_s=1.0)) as tts,
    ):
        say(tts, 1, "first")
        heard.wait_for(ReplyDone, reply=1)
        assert heard.wait_for(ConnectionChanged, state="closed").reason == TIME_UP
        heard.wait_for(ConnectionChanged, state="ready")
        say(tts, 2, "second")
        heard.wait_for(ReplyDone, reply=2)
        first, second, *_ = served.connections
        assert ready_at(second) < left_at(first)
        assert [len(record.of_type("client", "text")) for record in (first, second)] == [1, 1]
        assert np.array_equal(sound_of(heard, 2), spoken("second"))
    assert_in_order(heard)


def test_each_step_of_a_replacement_is_told_in_order() -> None:
    """closed with a reason, connecting, ready with the new id: no step of it is a failure."""
    heard = Heard()
    with gateway() as served, listening(served.url, heard, limits=plan(duration_s=0.5)):
        heard.wait_for(ConnectionChanged, state="closed")
        heard.wait_for(ConnectionChanged, state="ready")
    assert states(heard)[:5] == ["connecting", "ready", "closed", "connecting", "ready"]
    _, before, closed, _, after = changes(heard)[:5]
    assert (closed.code, closed.reason, closed.retry_in_s) == (1000, TIME_UP, None)
    assert before.session_id
    assert after.session_id not in ("", None, before.session_id)


def test_an_utterance_keeps_its_connection_where_a_pause_comes_in_time() -> None:
    """The successor waits, ready, until the words have come; nothing is sent twice."""
    heard = Heard()
    with (
        gateway("kept together", "next") as served,
        listening(served.url, heard, limits=plan(duration_s=4.0)) as stt,
    ):
        stt.wait_ready(PATIENCE_S)
        time.sleep(2.9)
        utterance = stt.open_utterance()
        stt.add_audio(utterance, numbered(100))
        assert served.wait_for(lambda: is_ready(served, "stt", 2), PATIENCE_S)
        stt.add_audio(utterance, numbered(100, start=1600))
        stt.end_utterance(utterance, time.monotonic())
        assert heard.wait_for(Final).text == "kept together"
        heard.wait_for(ConnectionChanged, state="closed")
        first, second = served.connections
        assert first.audio == numbered(200).tobytes()
        assert second.audio == b""
        answered = time_of(first, "server", "final_transcript")
        assert ready_at(second) < answered < left_at(first)


def test_a_segment_keeps_its_connection_and_the_next_one_goes_to_the_successor() -> None:
    """Between two sentences of one reply is a pause: not a sample is lost or repeated."""
    heard = Heard()
    first_text, second_text = "This sentence goes on for long.", "And another."
    with (
        gateway(faults=["pace=realtime"]) as served,
        speaking(served.url, heard, UNCOUNTED, limits=plan(duration_s=2.0)) as tts,
    ):
        tts.wait_ready(PATIENCE_S)
        time.sleep(0.6)
        say(tts, 1, first_text, second_text)
        heard.wait_for(ReplyDone, reply=1)
        assert np.array_equal(sound_of(heard, 1), spoken(first_text, second_text))
        first, second, *_ = served.connections
        assert [text["text"] for text in first.of_type("client", "text")] == [first_text]
        assert [text["text"] for text in second.of_type("client", "text")] == [second_text]
        assert ready_at(second) < time_of(first, "server", "flushed") < left_at(first)
    assert_in_order(heard)


def test_who_speaks_without_a_pause_is_moved_with_all_that_was_said() -> None:
    """Overdue: the successor gets the sentence from its first sample; its words come once."""
    heard = Heard()
    speech = numbered(2600)
    with (
        gateway("said without a pause", connection_s=2.6) as served,
        listening(served.url, heard, limits=plan(duration_s=1.6)) as stt,
    ):
        stt.wait_ready(PATIENCE_S)
        utter_live(stt, speech)
        heard.wait_for(Final)
        first, second, *_ = served.connections
        assert second.audio == speech.tobytes()
        assert 0 < len(first.audio) < len(speech) * 2
        assert first.audio == speech.tobytes()[: len(first.audio)]
        assert ready_at(second) < left_at(first)
        assert served.violations == []
    assert finals(heard) == ["said without a pause"]
    assert_in_order(heard)


def test_a_reply_without_an_end_is_not_cut_for_the_sake_of_a_replacement() -> None:
    """However overdue, text-to-speech waits for the end of the segment."""
    heard = Heard()
    text = "one sentence that is spoken for far longer than it may"
    with (
        gateway(faults=["pace=realtime"]) as served,
        speaking(served.url, heard, UNCOUNTED, limits=plan(duration_s=1.0)) as tts,
    ):
        say(tts, 1, text)
        heard.wait_for(ReplyDone, reply=1)
        heard.wait_for(ConnectionChanged, state="closed")
        assert np.array_equal(sound_of(heard, 1), spoken(text))
        assert not any(isinstance(event, ReplyCut) for event in heard.events)
        first = served.connections[0]
        assert time_of(first, "server", "flushed") < left_at(first)
        texts = [text for record in served.connections for text in record.of_type("client", "text")]
        assert len(texts) == 1


def test_a_standing_successor_does_not_grow_too_old() -> None:
    """One that waits through a long segment is replaced in its turn, and never overstays."""
    heard = Heard()
    with (
        gateway(faults=["pace=realtime"], connection_s=10) as served,
        speaking(served.url, heard, UNCOUNTED, limits=plan(duration_s=0.8)) as tts,
    ):
        say(tts, 1, "a sentence of three seconds, about, without a pause")
        heard.wait_for(ReplyDone, reply=1)
        say(tts, 2, "after it")
        heard.wait_for(ReplyDone, reply=2)
        assert np.array_equal(sound_of(heard, 2), spoken("after it"))
        assert len(served.connections) >= 4
        for waiting in served.connections[1:3]:
            assert left_at(waiting) - ready_at(waiting) < 0.8
    assert_in_order(heard)


@pytest.mark.parametrize("duration_s", [0.8, 1.5])
def test_with_one_connection_the_old_one_goes_first_in_a_pause(duration_s: float) -> None:
    """Closed, opened again, and nothing of what is said meanwhile is lost."""
    heard = Heard()
    with (
        gateway(
            "one", "two", "three", "four", connection_s=duration_s + 0.8, tier="free"
        ) as served,
        listening(served.url, heard, limits=plan("free", duration_s=duration_s)) as stt,
    ):
        for number in range(4):
            utter_live(stt, numbered(200, start=number))
            heard.wait_for(Final)
            time.sleep(duration_s / 3)
        assert finals(heard) == ["one", "two", "three", "four"]
        records = served.connections
        assert len(records) >= 2
        said = b"".join(numbered(200, start=number).tobytes() for number in range(4))
        assert b"".join(record.audio for record in records) == said
        assert served.violations == []
    assert_in_order(heard)


def test_with_one_connection_who_speaks_without_a_pause_loses_nothing() -> None:
    """The sentence stops on the first and comes whole on the second, which the plan allows."""
    heard = Heard()
    speech = numbered(2400)
    with (
        gateway("all of it", connection_s=2.4, tier="free") as served,
        listening(served.url, heard, limits=plan("free", duration_s=1.5)) as stt,
    ):
        stt.wait_ready(PATIENCE_S)
        utter_live(stt, speech)
        heard.wait_for(Final)
        first, second = served.connections[:2]
        assert first.audio == speech.tobytes()[: len(first.audio)]
        assert second.audio == speech.tobytes()
        assert served.violations == []
    assert finals(heard) == ["all of it"]
    assert_in_order(heard)


def test_with_one_connection_a_reply_is_moved_between_its_segments() -> None:
    """Closed after one sentence, opened for the next: complete and in order."""
    heard = Heard()
    texts = [f"This is sentence {number}." for number in range(4)]
    with (
        gateway(faults=["pace=2"], connection_s=3.0, tier="free") as served,
        speaking(served.url, heard, UNCOUNTED, limits=plan("free", duration_s=1.2)) as tts,
    ):
        tts.open_reply(1)
        for number, text in enumerate(texts):
            tts.add_text(1, text)
            whole = sum(len(spoken(each)) for each in texts[: number + 1])
            deadline = time.monotonic() + PATIENCE_S
            while len(sound_of(heard, 1)) < whole and time.monotonic() < deadline:
                time.sleep(0.01)
        tts.end_reply(1)
        heard.wait_for(ReplyDone, reply=1)
        assert np.array_equal(sound_of(heard, 1), spoken(*texts))
        assert len(served.connections) >= 2
        assert served.violations == []
    assert_in_order(heard)


def test_both_sessions_stay_inside_of_what_the_gateway_enforces() -> None:
    """Several changes each, at work: nothing is refused, ended, lost or cut."""
    spoke, heard = Heard(), Heard()
    with (
        gateway(*(f"line {number}" for number in range(8)), connection_s=1.6) as served,
        listening(served.url, heard, limits=plan(duration_s=0.9)) as stt,
        speaking(served.url, spoke, UNCOUNTED, limits=plan(duration_s=0.9)) as tts,
    ):
        for number in range(8):
            utter_live(stt, numbered(200, start=number))
            say(tts, number, f"this is reply {number}.")
            # One that was sent anew, on a slow machine, is the script's next line.
            assert heard.wait_for(Final).text.startswith("line ")
            spoke.wait_for(ReplyDone, reply=number)
            assert np.array_equal(sound_of(spoke, number), spoken(f"this is reply {number}."))
            time.sleep(0.15)
        assert len(connections(served, "stt")) >= 3
        assert len(connections(served, "tts")) >= 3
        assert served.violations == []
    for each in (heard, spoke):
        assert "failed" not in states(each)
        assert_in_order(each)


def test_a_gateway_whose_connections_live_shorter_than_its_plan_says_is_kept_up_with() -> None:
    """It ends the first one for its age, which is made up for quietly; the next one is replaced
    in a pause before that.
    """
    heard = Heard()
    with gateway("one", "two", connection_s=5.3) as served, listening(served.url, heard) as stt:
        utter(stt, numbered(200))
        heard.wait_for(Final, text="one")
        assert served.wait_for(lambda: is_ready(served, "stt", 2), PATIENCE_S)
        heard.wait_for(ConnectionChanged, state="closed", reason=TIME_UP)
        utter(stt, numbered(200))
        heard.wait_for(Final, text="two")
        assert len(served.violations) == 1
    assert "failed" not in states(heard)
    assert_in_order(heard)


def test_what_is_on_its_way_is_told_before_the_change() -> None:
    """A callback that takes its time with a partial: the change of connection waits for it."""
    heard = Heard()

    def slow(event: object) -> None:
        if type(event).__name__ == "Partial":
            time.sleep(0.1)
        heard(event)

    with (
        gateway("some words that come one by one as they are said") as served,
        listening(served.url, slow, limits=plan(duration_s=1.0)) as stt,
    ):
        stt.wait_ready(PATIENCE_S)
        utter_live(stt, numbered(1800))
        heard.wait_for(Final)
        assert len(served.connections) >= 2
    assert_in_order(heard)
