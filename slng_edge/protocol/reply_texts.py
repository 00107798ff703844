"""The texts of replies that wait to be spoken, one reply after the other, in segments.

The first segment of a reply is its first text alone, so that it sounds while the next is being
written; later ones take all that waits, as far as one message holds it, for the flow of the speech.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

SEGMENT_CHARS = 1000
"""Texts of one segment: some routes synthesize all of it before they send the first audio."""


@dataclass
class _Reply:
    number: int
    texts: deque[str] = field(default_factory=deque)
    begun: bool = False
    ended: bool = False


class ReplyTexts:
    """Replies that are not over, in the order of their speech; the owner serializes all calls."""

    def __init__(self) -> None:
        self._replies: deque[_Reply] = deque()

    def __bool__(self) -> bool:
        """Whether any reply is not over."""
        return bool(self._replies)

    def __iter__(self) -> Iterator[str]:
        """The texts that wait, of all replies."""
        return (text for reply in self._replies for text in reply.texts)

    def open(self, number: int) -> None:
        """Begin a reply."""
        self._replies.append(_Reply(number))

    def add(self, number: int, texts: Iterable[str]) -> None:
        """Add texts, each for one message; dropped where the reply is not open."""
        for reply in self._of(number):
            reply.texts.extend(texts)

    def end(self, number: int) -> None:
        """No more texts of the reply follow."""
        for reply in self._of(number):
            reply.ended = True

    def drop(self, number: int) -> None:
        """The reply is over, whatever waits of it."""
        self._replies = deque(reply for reply in self._replies if reply.number != number)

    def clear(self) -> None:
        """All replies are over."""
        self._replies.clear()

    def cut_anew(self, pieces: Callable[[str], Iterable[str]]) -> None:
        """Put `pieces` of each text that waits in its place."""
        for reply in self._replies:
            reply.texts = deque(piece for text in reply.texts for piece in pieces(text))

    def next_segment(self, limit_chars: int) -> tuple[int, tuple[str, ...]] | None:
        """Take the texts of the next segment out.

        Args:
            limit_chars: What one message holds of them, with a space between; a first text that
                is longer comes all the same, alone.

        Returns:
            The number of the reply and its texts; None where its next text is not there yet.
        """
        if not self._replies or not self._replies[0].texts:
            return None
        reply = self._replies[0]
        texts = [reply.texts.popleft()]
        chars = len(texts[0])
        limit = min(SEGMENT_CHARS, limit_chars)
        while reply.begun and reply.texts and chars + 1 + len(reply.texts[0]) <= limit:
            texts.append(reply.texts.popleft())
            chars += 1 + len(texts[-1])
        reply.begun = True
        return reply.number, tuple(texts)

    def take_finished(self) -> list[int]:
        """Take the replies out that have ended and of which nothing waits, up to the first other.

        Called while no segment is in flight: it could be the last of such a reply.
        """
        numbers = []
        while self._replies and self._replies[0].ended and not self._replies[0].texts:
            numbers.append(self._replies.popleft().number)
        return numbers

    def _of(self, number: int) -> list[_Reply]:
        return [reply for reply in self._replies if reply.number == number]
