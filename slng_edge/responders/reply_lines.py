"""What a program writes, as lines: the reply, and its complaints. Both are bounded."""

from __future__ import annotations

import logging
from codecs import getincrementaldecoder

from slng_edge.errors import ResponderError

log = logging.getLogger(__name__)

MAX_CHARS = 20_000
"""Of one reply: twenty minutes of speech."""
_STDERR_LINES = 10
"""Logged of one turn; the rest is counted."""
_STDERR_CHARS = 300


class ReplyLines:
    """Bytes in, the lines of one reply out.

    Bytes that are no UTF-8 are replaced, NUL is left out.

    Args:
        name: The program's, for errors.
        until_empty_line: The reply ends with a line that has nothing but blanks in it; what
            comes after it is not of this reply. Else it ends with the output.
    """

    def __init__(self, name: str, *, until_empty_line: bool = False) -> None:
        self._name = name
        self._until_empty_line = until_empty_line
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._unfinished = ""
        self._chars_left = MAX_CHARS
        self._is_too_long = False
        self.is_complete = False
        """Whether the empty line has come."""
        self.has_more = False
        """Whether text came after the empty line."""

    def receive(self, data: bytes) -> list[str]:
        """The lines that are complete with `data`, each with its line break."""
        text = self._decoder.decode(data).replace("\0", "")
        self._is_too_long |= len(text) > self._chars_left
        text = text[: self._chars_left]
        self._chars_left -= len(text)
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        if self._until_empty_line:
            lines = self._up_to_the_end(lines)
        return [line + "\n" for line in lines]

    def check_length(self) -> None:
        """Called when the lines so far have been passed on.

        Raises:
            ResponderError: there was more than `MAX_CHARS` of them.
        """
        if self._is_too_long and not self.is_complete:
            raise ResponderError(
                f"{self._name} wrote more than {MAX_CHARS} characters and was stopped"
            )

    def end(self) -> list[str]:
        """A last line without a line break."""
        rest = self._unfinished + self._decoder.decode(b"", final=True)
        self._unfinished = ""
        return [rest] if rest else []

    def _up_to_the_end(self, lines: list[str]) -> list[str]:
        for number, line in enumerate(lines):
            if not line.strip():
                rest = (*lines[number:], self._unfinished)
                self.is_complete = True
                self.has_more = any(text.strip() for text in rest)
                return lines[:number]
        return lines


class ErrorLog:
    """Puts what a program writes to standard error in one turn into the log, a part of it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._unfinished = b""
        self._lines = 0
        self._last = ""

    @property
    def last_words(self) -> str:
        """ ": " and the last line, or nothing."""
        return f": {self._last}" if self._last else ""

    def receive(self, data: bytes) -> None:
        """Log the lines that are complete with `data`."""
        *lines, rest = (self._unfinished + data).split(b"\n")
        self._unfinished = rest[: 4 * _STDERR_CHARS]
        for line in lines:
            self._log(line)

    def end(self) -> None:
        """Log what is left, and how much was not logged."""
        self._log(self._unfinished)
        self._unfinished = b""
        if self._lines > _STDERR_LINES:
            log.warning("%s: %d more lines", self._name, self._lines - _STDERR_LINES)

    def _log(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").replace("\0", "").strip()[:_STDERR_CHARS]
        if not text:
            return
        self._last = text
        self._lines += 1
        if self._lines <= _STDERR_LINES:
            log.warning("%s: %s", self._name, text)
