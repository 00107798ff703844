"""Cuts a reply into sentences as it is written, pure: pieces of text in, sentences out.

A full stop is the end of a sentence only when what follows says so, so a cut waits for the
next letter: "3." may become "3.14", "Dr." be followed by a name, and what has no letter ("—",
"4.5") is refused by some speech routes and has to go with its neighbour. A line break is the one
sure sign, and cuts at once.

Each decision is made on text that cannot change it any more: at most `max_chars` and a little
more characters, and the whole of a tag that begins there. So it does not matter how the text was
dealt out.
"""

from __future__ import annotations

from collections.abc import Iterator

from slng_edge.sentence_ends import OPEN_TAG, SENTENCE_END, TAG, best_cut, ends_sentence

__all__ = ["DEFAULT_MAX_CHARS", "TAG", "SentenceSplitter"]

DEFAULT_MAX_CHARS = 500
"""Characters a text message may have on the smallest tier (protocol.md, 6)."""

_LOOK_AHEAD = 32
"""Characters beyond the limit that are waited for: a word or two, to see what a cut leaves over."""


class SentenceSplitter:
    """Gives out the sentences of one reply; one thread.

    Args:
        max_chars: No sentence is longer; one that is gets cut after a clause, else after a
            word, and only where a single word is longer within it. A tag is never cut, however
            long it is.

    Raises:
        ValueError: `max_chars` is less than 1.
    """

    def __init__(self, max_chars: int = DEFAULT_MAX_CHARS) -> None:
        if max_chars < 1:
            raise ValueError(f"a sentence of {max_chars} characters is not possible")
        self._max_chars = max_chars
        self._text = ""

    def receive(self, text: str) -> list[str]:
        """Take the next piece of the reply; returns the sentences that are sure now.

        They come without white space around them. Joined, they are the text again but for
        white space.
        """
        self._text = (self._text + text).lstrip()
        return list(self._cut(ended=False))

    def end(self) -> list[str]:
        """The reply has ended: the rest of it. The splitter is as new afterwards.

        The last one may have no letter (see `has_letter`), where the whole reply has none or
        a line break had cut off what it belonged to.
        """
        sentences = list(self._cut(ended=True))
        rest = self._text.rstrip()
        self._text = ""
        return [*sentences, rest] if rest else sentences

    def _cut(self, *, ended: bool) -> Iterator[str]:
        while (cut := self._next_cut(ended=ended)) is not None:
            yield self._text[:cut].rstrip()
            self._text = self._text[cut:].lstrip()

    def _next_cut(self, *, ended: bool) -> int | None:
        text = self._text
        tags = [match.span() for match in TAG.finditer(text)]
        open_tag = None if ended else OPEN_TAG.search(text)
        # What lies behind this may still become something else.
        known = len(text) if open_tag is None else open_tag.start()
        reach = self._max_chars + _LOOK_AHEAD
        waiting = known < reach and not ended
        known = min(known, reach)
        known = next((end for start, end in tags if start < known < end), known)
        text = text[:known]
        for match in SENTENCE_END.finditer(text):
            if any(start < match.start() < end for start, end in tags):
                continue
            verdict = ends_sentence(text, match)
            if verdict is None and waiting:
                return None
            if verdict and len(text[: match.end()].rstrip()) <= self._max_chars:
                return match.end()
        if len(self._text.rstrip()) <= self._max_chars or waiting:
            return None
        return best_cut(text, self._max_chars, 1, self._max_chars)
