"""Canned answers while the responder cannot be reached."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slng_edge.errors import ConfigError, ResponderError
from slng_edge.responders.answers import (
    Answer,
    Answers,
    WithAnswers,
    load_answers,
    spoken_words,
)
from slng_edge.responders.interface import KeepsHistory, ResponderUnreachable

GOOD = """
default = "I cannot reach my brain right now."

[[answer]]
words = ["bus"]
say = "There is a bus every hour."

[[answer]]
words = ["bus", "leave"]
say = "The bus leaves at ten past every hour."

[[answer]]
words = ["Café", "opening hours"]
say = "  The café is open from nine to five. "
"""


def written(folder: Path, text: str | bytes) -> Path:
    """A file of answers with `text` in it."""
    file = folder / "answers.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("When does the bus leave?", "The bus leaves at ten past every hour."),
        ("LEAVE THE BUS!", "The bus leaves at ten past every hour."),
        ("Is there a bus?", "There is a bus every hour."),
        ("Is there a bus-stop here", "There is a bus every hour."),
        ("The business leaves", "I cannot reach my brain right now."),
        ("What are the opening hours of the café?", "The café is open from nine to five."),
        ("opening hours of the cafe\u0301", "The café is open from nine to five."),
        ("the café's opening hours", "I cannot reach my brain right now."),
        ("the café has hours of opening", "I cannot reach my brain right now."),
        ("", "I cannot reach my brain right now."),
    ],
)
def test_the_answer_with_the_most_words_that_were_said(
    tmp_path: Path, said: str, answer: str
) -> None:
    """All words, in any order, whole, capitals or not; several in one text belong together."""
    assert load_answers(written(tmp_path, GOOD)).to(said) == answer


def test_of_equal_answers_the_first_in_the_file() -> None:
    """A group of words counts each of its words."""
    answers = Answers(
        (
            Answer((("a",),), "one"),
            Answer((("a",), ("b",)), "two"),
            Answer((("b", "a"),), "two as well"),
        )
    )
    assert answers.to("b a") == "two"
    assert answers.to("a") == "one"


def test_without_a_default_there_may_be_nothing_to_say() -> None:
    """Then the error is told."""
    assert Answers((Answer((("a",),), "one"),)).to("b") == ""


def test_words_of_a_text() -> None:
    """Apostrophes of both kinds belong to a word; hyphens part words."""
    assert spoken_words("What’s the RE-ENTRY 'fee', Straße?") == (
        "what's",
        "the",
        "re",
        "entry",
        "fee",
        "strasse",
    )


def test_the_home_directory_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell; a byte order mark does no harm."""
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, b'\xef\xbb\xbfdefault = "x"\r\n')
    assert load_answers("~/answers.toml") == Answers(default="x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", 'has no answers: write default = "..." or an [[answer]]'),
        ('default = " "', "has no answers"),
        ("hello there", "is not TOML: Expected '=' after a key"),
        ('default = "a"\nx = a', "(at line 2"),
        ('x = "' + "a" * 20, "is not TOML: "),
        ("x = " + "[" * 5000, "is not TOML: "),
        (b"default = '\xff'", "is not UTF-8 text: save it as UTF-8"),
        ("default = 3", "default must be a text in quotes"),
        ('defualt = "a"', "defualt is not known; did you mean default?"),
        ('colour = "red"', "colour is not known; there is default and answer"),
        ('[answer]\nwords = ["a"]\nsay = "b"', "an answer begins with [[answer]]"),
        ("answer = [1]", "an answer begins with [[answer]]"),
        ('\n\n[[answer]]\nwords = ["a"]\nsay = " "', "answer 1, line 3: say is missing or empty"),
        ('[[answer]]\nwords = ["a"]', "answer 1, line 1: say is missing or empty"),
        ('[[answer]]\nwords = ["a"]\nsay = 3', "answer 1, line 1: say is missing or empty"),
        ('[[answer]]\nsay = "a"', "answer 1, line 1: words must be a list of texts: write words ="),
        ('[[answer]]\nwords = "a"\nsay = "a"', "words must be a list of texts"),
        ('[[answer]]\nwords = [1]\nsay = "a"', "words must be a list of texts"),
        ('[[answer]]\nwords = []\nsay = "a"', "words is empty: name a word, or make it the"),
        ('[[answer]]\nwords = ["a", "?!"]\nsay = "a"', 'there is no word in "?!"'),
        (
            '[[answer]]\nword = ["a"]\nsay = "a"\nwords = ["b"]',
            "answer 1, line 1: word is not known; did you mean words?",
        ),
        ("default = '''\n[[answer]]'''\n[[answer]]\nwords = ['a']", "answer 1: say is missing"),
        ("#" * 1_000_001, "is larger than 1 MB"),
    ],
)
def test_a_bad_file_is_a_config_error(tmp_path: Path, text: str | bytes, says: str) -> None:
    """It names the file, the line where that is known, and what to do."""
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_answers(file)
    assert says in str(caught.value)
    assert all(f"responder.answers_file {file}" in line for line in caught.value.problems)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Each with its own line."""
    file = written(tmp_path, 'x = 1\n[[answer]]\nsay = "a"\n[[answer]]\nwords = ["a"]\n')
    with pytest.raises(ConfigError) as caught:
        load_answers(file)
    assert [line.split(": ", 1)[1][:16] for line in caught.value.problems] == [
        "x is not known; ",
        "answer 1, line 2",
        "answer 2, line 4",
    ]


@pytest.mark.parametrize(
    ("name", "says"),
    [("nowhere.toml", "No such file or directory; check the path"), (".", "is no file")],
)
def test_a_file_that_is_none_is_a_config_error(tmp_path: Path, name: str, says: str) -> None:
    """Missing, or a folder."""
    with pytest.raises(ConfigError, match=says):
        load_answers(tmp_path / name)


# In front of a responder.


class Scripted:
    """A responder that yields pieces, and then raises an error where there is one."""

    def __init__(self, *pieces: str, error: Exception | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.calls: list[str] = []

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        yield from self.pieces
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        self.calls.append("cancel")

    def close(self) -> None:
        self.calls.append("close")


class ScriptedWithHistory(Scripted):
    def heard(self, text: str) -> None:
        self.calls.append(f"heard {text}")


AWAY = ResponderUnreachable("no connection to example.org")
ANSWERS = Answers((Answer((("bus",),), "Every hour."),), default="Later.")


def answer(responder: WithAnswers, text: str = "Hello") -> list[str]:
    return list(responder.respond(text, threading.Event()))


def test_who_can_be_reached_is_asked() -> None:
    """The canned answers stay in their can."""
    assert answer(WithAnswers(Scripted("a", "b"), ANSWERS), "bus") == ["a", "b"]


@pytest.mark.parametrize(("text", "reply"), [("the bus", "Every hour."), ("Hello", "Later.")])
def test_who_cannot_be_reached_is_stood_in_for(text: str, reply: str) -> None:
    """The answer that fits, or the default; each time the responder is asked first."""
    responder = WithAnswers(Scripted(error=AWAY), ANSWERS)
    assert answer(responder, text) == [reply]


def test_an_error_without_an_answer_is_told() -> None:
    """There is no default, and nothing fits."""
    responder = WithAnswers(Scripted(error=AWAY), Answers())
    with pytest.raises(ResponderUnreachable, match="no connection"):
        answer(responder)


def test_a_reply_that_breaks_off_is_not_gone_on_with() -> None:
    """What came stands, and the error is told."""
    replies = WithAnswers(Scripted("a", error=AWAY), ANSWERS).respond("bus", threading.Event())
    assert next(replies) == "a"
    with pytest.raises(ResponderUnreachable):
        next(replies)


@pytest.mark.parametrize("error", [ResponderError("the key was refused"), KeyError("a bug")])
def test_other_errors_are_told(error: Exception) -> None:
    """Somebody has to look after them."""
    with pytest.raises(type(error)):
        answer(WithAnswers(Scripted(error=error), ANSWERS))


def test_a_cancelled_turn_has_no_answer() -> None:
    """Nobody waits for it."""
    cancelled = threading.Event()
    cancelled.set()
    responder = WithAnswers(Scripted(error=AWAY), ANSWERS)
    assert list(responder.respond("bus", cancelled)) == []


def test_cancel_and_close_go_through() -> None:
    """To the responder, which has the work."""
    inner = Scripted()
    responder = WithAnswers(inner, ANSWERS)
    responder.cancel()
    responder.close()
    assert inner.calls == ["cancel", "close"]


def test_what_is_started_early_goes_through() -> None:
    """A program that takes long to load; other responders have nothing to start."""
    inner = Scripted()
    WithAnswers(inner, ANSWERS).start()
    inner.start = lambda: inner.calls.append("start")  # type: ignore[attr-defined]
    WithAnswers(inner, ANSWERS).start()
    assert inner.calls == ["start"]


def test_it_keeps_history_where_the_responder_does() -> None:
    """And does not claim to where it does not."""
    assert not isinstance(WithAnswers(Scripted(), ANSWERS), KeepsHistory)
    assert isinstance(WithAnswers(ScriptedWithHistory(), ANSWERS), KeepsHistory)


def test_what_was_heard_of_a_canned_answer_is_not_told() -> None:
    """It is no reply of the responder, whose history it would spoil."""
    inner = ScriptedWithHistory("a")
    responder = WithAnswers(inner, ANSWERS)
    answer(responder)
    assert isinstance(responder, KeepsHistory)
    responder.heard("one")
    inner.pieces, inner.error = (), AWAY
    answer(responder)
    responder.heard("two")
    inner.pieces, inner.error = ("b",), None
    answer(responder)
    responder.heard("three")
    assert inner.calls == ["heard one", "heard three"]


def test_a_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """When it goes away and when it is back, however many questions come."""
    caplog.set_level(logging.INFO)
    inner = Scripted(error=AWAY)
    responder = WithAnswers(inner, ANSWERS)
    answer(responder)
    answer(responder)
    inner.pieces, inner.error = ("a", "b"), None
    answer(responder)
    answer(responder)
    assert [record.getMessage() for record in caplog.records] == [
        "canned answers from now on: no connection to example.org",
        "the responder answers again",
    ]
