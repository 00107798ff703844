"""What a program writes, as lines: the reply, and its complaints. Both are bounded."""

from __future__ import annotations

import logging
from codecs import getincrementaldecoder

from slng_edge.responders.reply_text import ReplyText, speakable

log = logging.getLogger(__name__)

_STDERR_LINES = 10
"""Logged of one turn; the rest is counted."""
_STDERR_CHARS = 300


class ReplyLines:
    """Bytes in, the lines of one reply out.

    A few bytes that are no UTF-8 are left out, such as half a character.

    Args:
        name: The program's, for errors.
        until_empty_line: The reply ends with a line that has nothing but blanks in it; what
            comes after it is not of this reply. Else it ends with the output.
    """

    def __init__(self, name: str, *, until_empty_line: bool = False) -> None:
        self._until_empty_line = until_empty_line
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._unfinished = ""
        self._reply = ReplyText(name, web_page="wrote a web page; it has to write text alone")
        self.is_complete = False
        """Whether the empty line has come."""
        self.has_more = False
        """Whether text came after the empty line."""

    def receive(self, data: bytes) -> list[str]:
        """The lines that are complete with `data`, each with its line break.

        Raises:
            UnfitReply: with `data` the reply is no text, or too long; nothing of it is given out.
        """
        text = self._decoder.decode(data)
        *lines, rest = (self._unfinished + text).split("\n")
        after = ""
        if self._until_empty_line:
            blank = next((n for n, line in enumerate(lines) if not line.strip()), len(lines))
            if blank < len(lines):
                after, rest = "\n".join((*lines[blank:], rest)), ""
                lines = lines[:blank]
        own = text[: max(0, len(text) - len(after))]
        self._reply.check(own)
        self._reply.count(own)
        self._unfinished = rest
        if after:
            self.is_complete = True
            self.has_more = bool(after.strip())
            self._reply.end()
        return [speakable(line) + "\n" for line in lines]

    def end(self) -> list[str]:
        """A last line without a line break.

        Raises:
            UnfitReply: all that was written is half a character.
        """
        half = self._decoder.decode(b"", final=True)
        self._reply.check(half)
        self._reply.end()
        rest, self._unfinished = speakable(self._unfinished), ""
        return [rest] if rest else []


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
