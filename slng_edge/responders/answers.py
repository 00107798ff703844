"""Canned answers, out of a file, for while the responder cannot be reached.

    default = "I cannot reach my brain right now. Please try again later."

    [[answer]]
    words = ["bus", "leave"]
    say = "The bus leaves at ten past every hour."

An answer fits where all of its words were said, in any order, as whole words, in capitals or not.
The one with the most words is said; of equal ones the first in the file.
"""

from __future__ import annotations

import logging
import re
import threading
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slng_edge.config_checks import nearest
from slng_edge.errors import ConfigError
from slng_edge.responders.interface import (
    KeepsHistory,
    Responder,
    ResponderUnreachable,
    StartsEarly,
)

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 1_000_000
"""Thousands of answers; more is another file, named by mistake."""
_WORD = re.compile(r"\w+(?:'\w+)*")
_HEADER = re.compile(r"^\s*\[\[\s*answer\s*\]\]", re.MULTILINE)
_EXAMPLE = 'words = ["bus", "leave"]'


@dataclass(frozen=True)
class Answer:
    """What to say where all of `words` were said.

    Attributes:
        words: Each as `spoken_words` gives it: one word, or several that belong together.
        say: What is said.
    """

    words: tuple[tuple[str, ...], ...]
    say: str


@dataclass(frozen=True)
class Answers:
    """The answers in the order of the file, and what is said where none fits ("": nothing)."""

    answers: tuple[Answer, ...] = ()
    default: str = ""

    def to(self, text: str) -> str:
        """What to say to `text`; "" where there is nothing to say."""
        said = spoken_words(text)
        fitting = [a for a in self.answers if all(_contains(said, words) for words in a.words)]
        # max() takes the first of equal ones.
        best = max(fitting, key=lambda answer: sum(map(len, answer.words)), default=None)
        return self.default if best is None else best.say


class WithAnswers:
    """A responder that has `answers` where `responder` cannot be reached.

    `heard` is there where `responder` has it, and is told of its replies alone.

    Args:
        responder: Who is asked first, each time.
        answers: Asked where it raises `ResponderUnreachable` before the first piece. Other errors
            pass: who refuses a key or answers nonsense is there, and has to be looked after.
    """

    def __init__(self, responder: Responder, answers: Answers) -> None:
        self._responder = responder
        self._answers = answers
        self._is_away = False
        self._answered_itself = False
        if isinstance(responder, KeepsHistory):
            # An attribute, as KeepsHistory asks for no more: without history there is none.
            self.heard: Callable[[str | None], None] = self._heard

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        """The reply of the responder, or else the answer that fits, in one piece.

        Waits as the responder does.

        Raises:
            ResponderError: as the responder raises it; `ResponderUnreachable` only where no
                answer fits and there is no default, or where the reply had begun.
        """
        has_begun = self._answered_itself = False
        try:
            for piece in self._responder.respond(text, cancelled):
                has_begun = True
                self._note_present()
                yield piece
        except ResponderUnreachable as error:
            self._note_away(error)
            say = self._answers.to(text)
            if has_begun or not say:
                raise
            if not cancelled.is_set():
                self._answered_itself = True
                yield say

    def start(self) -> None:
        """As the responder does, where there is something to start early. Any thread."""
        if isinstance(self._responder, StartsEarly):
            self._responder.start()

    def cancel(self) -> None:
        """As the responder does. Any thread."""
        self._responder.cancel()

    def close(self) -> None:
        """As the responder does. Any thread."""
        self._responder.close()

    def _heard(self, text: str | None) -> None:
        if not self._answered_itself:
            assert isinstance(self._responder, KeepsHistory)
            self._responder.heard(text)

    def _note_away(self, error: ResponderUnreachable) -> None:
        if not self._is_away:
            log.warning("canned answers from now on: %s", error)
        self._is_away = True

    def _note_present(self) -> None:
        if self._is_away:
            log.info("the responder answers again")
        self._is_away = False


def spoken_words(text: str) -> tuple[str, ...]:
    """The words of `text`, comparable: without capitals, punctuation and forms of characters."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold().replace("’", "'")))


def load_answers(path: str | Path) -> Answers:
    """The answers in the TOML file `path`; `~` is the home directory.

    Raises:
        ConfigError: it cannot be read, is not TOML, or says something else than answers.
            `problems` has a line for each thing, with the file and the line in it.
    """
    file = Path(path).expanduser()
    text = _text_of(file)
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # int() of thousands of digits too
        raise ConfigError(
            f"{_named(file)} is not TOML: {error or 'nested too deep'}; texts stand in quotes, "
            "and each answer begins with [[answer]]"
        ) from error
    reading = _Reading(file, text)
    answers = reading.read(document)
    if reading.problems:
        raise ConfigError(*reading.problems)
    return answers


class _Reading:
    """One file's content, and what is wrong with it."""

    def __init__(self, file: Path, text: str) -> None:
        self.problems: list[str] = []
        self._file = file
        self._lines = [text.count("\n", 0, m.end()) + 1 for m in _HEADER.finditer(text)]

    def read(self, document: Mapping[str, Any]) -> Answers:
        self._refuse_unknown(document, ("default", "answer"), "")
        default = document.get("default", "")
        if not isinstance(default, str):
            self._note("default must be a text in quotes")
            default = ""
        tables = document.get("answer", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._note("an answer begins with [[answer]], with two brackets on each side")
            tables = []
        if len(self._lines) != len(tables):
            # A [[answer]] inside of a text: better no line than a wrong one.
            self._lines = []
        answers = tuple(self._answer(number, table) for number, table in enumerate(tables))
        if not (self.problems or answers or default.strip()):
            self._note('has no answers: write default = "..." or an [[answer]]')
        return Answers(answers, default.strip())

    def _answer(self, number: int, table: Mapping[str, Any]) -> Answer:
        line = f", line {self._lines[number]}" if self._lines else ""
        where = f"answer {number + 1}{line}: "
        self._refuse_unknown(table, ("words", "say"), where)
        say = table.get("say")
        if not isinstance(say, str) or not say.strip():
            self._note(f'{where}say is missing or empty: write say = "..."')
            say = ""
        return Answer(self._words(table.get("words"), where), say.strip())

    def _words(self, words: Any, where: str) -> tuple[tuple[str, ...], ...]:
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            self._note(f"{where}words must be a list of texts: write {_EXAMPLE}")
            return ()
        if not words:
            self._note(f"{where}words is empty: name a word, or make it the default")
        read = tuple(spoken_words(word) for word in words)
        for word in (word for word, spoken in zip(words, read, strict=True) if not spoken):
            self._note(f'{where}there is no word in "{word}"')
        return read

    def _refuse_unknown(self, table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
        for key in table:
            if key not in known:
                near = nearest(key, known)
                hint = f"did you mean {near}?" if near else f"there is {' and '.join(known)}"
                self._note(f"{where}{key} is not known; {hint}")

    def _note(self, problem: str) -> None:
        self.problems.append(f"{_named(self._file)}: {problem}")


def _text_of(file: Path) -> str:
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(f"{_named(file)} is no file: name a TOML file with answers")
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"{_named(file)} is larger than 1 MB: name a TOML file with answers")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"cannot read {_named(file)}: {error.strerror}; check the path and its rights"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{_named(file)} is not UTF-8 text: save it as UTF-8") from error


def _named(file: Path) -> str:
    return f"responder.answers_file {file}"


def _contains(said: Sequence[str], words: Sequence[str]) -> bool:
    """Whether `words` stand in `said`, one after the other."""
    length = len(words)
    return any(
        tuple(said[start : start + length]) == tuple(words)
        for start in range(len(said) - length + 1)
    )
