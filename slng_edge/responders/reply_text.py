"""What a reply may be: text, and no more of it than a person listens to; pure."""

from __future__ import annotations

import re

from slng_edge.errors import ResponderError

MAX_CHARS = 4_000
"""Of one reply, of any responder: four and a half minutes at 15 characters a second."""
MAX_STRAYS = 3
"""Characters of one reply that nobody can say; with more of them it is no text."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_STRAY = re.compile(r"[\x80-\x84\x86-\x9f\ufffd]")
_WEB_PAGE = re.compile(r"<(?:!doctype|html|\?xml)\b", re.I)
_BLANKS = "\ufeff \t\r\n"
_LONGEST_BEGIN = len("<!doctype ")


class UnfitReply(ResponderError):
    """Something came, and it is nothing to say."""


class ReplyText:
    """Looks at one reply as it comes, before any of it is passed on; one thread.

    Args:
        name: Who writes, for errors.
        from_model: A language model wrote it, in JSON. Such texts have a stray control character
            now and then, and begin with a tag where that was asked for.
        web_page: What the error about a web page says after the name.
    """

    def __init__(self, name: str, *, from_model: bool = False, web_page: str = "") -> None:
        self._name = name
        self._from_model = from_model
        self._web_page = web_page
        self._begin = ""
        self._has_words = False
        self._chars = 0
        self._strays = 0

    def check(self, text: str) -> None:
        """Look at what comes next.

        Args:
            text: With U+FFFD in place of bytes that are no UTF-8.

        Raises:
            UnfitReply: it is no text, or the reply is a web page.
        """
        controls = _CONTROL.findall(text)
        if controls and not self._from_model:
            raise self._no_text(f"it has a character U+{ord(controls[0]):04X}")
        self._strays += len(controls) + len(_STRAY.findall(text))
        if self._strays > MAX_STRAYS:
            raise self._no_text("it is not UTF-8")
        if not self._has_words:
            self._has_words = bool(speakable(text).strip(_BLANKS))
        if not self._from_model and len(self._begin) < _LONGEST_BEGIN:
            self._begin = (self._begin + text).lstrip(_BLANKS)[:_LONGEST_BEGIN]
            if _WEB_PAGE.match(self._begin):
                raise UnfitReply(f"{self._name} {self._web_page}")

    def count(self, text: str) -> None:
        """Count what is to be said next.

        Raises:
            UnfitReply: the reply is longer than `MAX_CHARS` with it.
        """
        self._chars += len(text)
        if self._chars > MAX_CHARS:
            raise UnfitReply(f"{self._name} wrote more than {MAX_CHARS} characters and was stopped")

    def end(self) -> None:
        """The reply is complete.

        Raises:
            UnfitReply: nothing was in it but what nobody can say.
        """
        if self._strays and not self._has_words:
            raise self._no_text("it is not UTF-8")

    def _no_text(self, why: str) -> UnfitReply:
        return UnfitReply(f"{self._name} wrote what is no text (binary?) and was stopped: {why}")


def speakable(text: str) -> str:
    """`text` without the strays and control characters that a reply may have."""
    return _CONTROL.sub("", _STRAY.sub("", text))
