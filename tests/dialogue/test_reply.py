"""One reply: its sentences, what was heard of it, and how long it took."""

from __future__ import annotations

from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from slng_edge.dialogue.reply import Latencies, Reply


def reply(*, speech_ended_at: float = 10.0, final_at: float = 10.5) -> Reply:
    """The reply of turn 3 with the number 7."""
    return Reply(3, 7, speech_ended_at=speech_ended_at, final_at=final_at)


def test_a_reply_begins_with_nothing_done() -> None:
    """And is an answer, unless it is said to be none."""
    told = reply()
    assert (told.asked, told.sentences, told.text) == (0, 0, "")
    assert [told.cut, told.failed, told.written, told.unfinished] == [False] * 4
    assert told.answers is True
    assert Reply(3, 7, speech_ended_at=1.0, final_at=1.0, answers=False).answers is False


def test_sentences_are_given_as_soon_as_they_are_whole() -> None:
    """They are counted; the text keeps all pieces as they were written."""
    told = reply()
    assert told.receive_text("Hello there. How") == ["Hello there."]
    assert told.receive_text(" are you?") == []
    assert told.end_text() == ["How are you?"]
    assert (told.sentences, told.text) == (2, "Hello there. How are you?")
    assert (told.turn, told.number) == (3, 7)


def test_a_reply_without_a_word_has_no_sentences() -> None:
    """Nothing is sent to be spoken for white space or a lone mark."""
    told = reply()
    assert told.receive_text(" \n ") == []
    assert told.receive_text("—") == []
    assert told.end_text() == []
    assert (told.sentences, told.text) == (0, "—")


def test_a_lone_number_is_spoken() -> None:
    """It is an answer, though it has no letter."""
    told = reply()
    told.receive_text("42")
    assert told.end_text() == ["42"]


def test_a_reply_that_is_stopped_while_it_is_written_keeps_its_whole_sentences() -> None:
    """What was begun is not said; that it ends early is known."""
    told = reply()
    assert told.receive_text("One two. And th") == ["One two."]
    assert not told.written
    told.stop_writing()
    assert told.written
    assert told.unfinished
    assert told.sentences == 1


def test_a_reply_that_was_written_to_its_end_is_finished() -> None:
    """Both are told apart when it has sounded."""
    told = reply()
    told.receive_text("One two.")
    told.end_text()
    assert told.written
    assert not told.unfinished


def test_what_was_heard_goes_by_what_was_played() -> None:
    """A segment that was played whole counts whole, one that was played in part by its share."""
    told = reply()
    assert told.heard(100.0) == ""
    assert told.begin_segment(["One two.", "Three."], sent_at=11.0, came_at=11.5)
    told.receive_audio(600.0)
    told.receive_audio(400.0)
    told.end_segment()
    assert not told.begin_segment(["Four five six."], sent_at=12.0, came_at=12.5)
    told.receive_audio(1000.0)
    told.end_segment()
    assert told.heard(1000.0) == "One two. Three."
    assert told.heard(1700.0) == "One two. Three. Four five"
    assert told.heard(2000.0) == "One two. Three. Four five six."


def test_a_segment_that_is_still_coming_is_believed_to_be_longer() -> None:
    """What was played of it is not all of it, though all that came was played."""
    told = reply()
    told.begin_segment(["a long sentence that goes on and on"], sent_at=11.0, came_at=11.5)
    told.receive_audio(500.0)
    assert told.heard(500.0) == "a long"


def test_the_end_of_a_segment_without_audio_says_nothing() -> None:
    """It was never begun."""
    told = reply()
    told.end_segment()
    assert told.heard(100.0) == ""


def test_latencies_are_the_steps_of_the_turn() -> None:
    """They count from the first text and the first audio, whatever comes later."""
    told = reply()
    assert told.latencies(20.0) is None
    told.begin_segment(["One."], sent_at=11.5, came_at=11.75)
    told.begin_segment(["Two."], sent_at=12.0, came_at=13.0)
    assert told.latencies(12.0) == Latencies(
        speech_end_to_final=500,
        final_to_reply=1000,
        reply_to_audio=250,
        audio_to_sound=250,
        total=2000,
    )


@given(st.lists(st.floats(0.0, 10.0), min_size=5, max_size=5))
def test_the_latencies_make_up_the_total(times: list[float]) -> None:
    """To the millisecond, however they are rounded."""
    ended, final, sent, came, sound = sorted(times)
    told = reply(speech_ended_at=ended, final_at=final)
    told.begin_segment(["One."], sent_at=sent, came_at=came)
    latencies = told.latencies(sound)
    assert latencies is not None
    parts = asdict(latencies)
    assert parts.pop("total") == sum(parts.values())
    assert all(part >= 0 for part in parts.values())
