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

import re
from collections.abc import Iterator

DEFAULT_MAX_CHARS = 500
"""Characters a text message may have on the smallest tier (protocol.md, 7)."""

_LOOK_AHEAD = 32
"""Characters beyond the limit that are waited for: a word or two, to see what a cut leaves over."""
_LONGEST_TAG = 200
TAG = re.compile(rf"</?[A-Za-z][^<>\n]{{0,{_LONGEST_TAG}}}>")
"""An SSML tag. "a < b" and "<3" are none."""
_OPEN_TAG = re.compile(rf"<(?:/?(?:[A-Za-z][^<>\n]{{0,{_LONGEST_TAG}}})?)?\Z")

_CLOSERS = r"[\"'”’»)\]}」』）】》*_]"
_CLOSING_TAG = rf"</[A-Za-z][^<>\n]{{0,{_LONGEST_TAG}}}>|<[A-Za-z][^<>\n]{{0,{_LONGEST_TAG}}}/>"
_SENTENCE_END = re.compile(rf"\n|(?P<marks>[.!?…。！？।؟۔]+)(?:{_CLOSERS}|{_CLOSING_TAG})*")
_NO_SPACE_NEEDED = frozenset("。！？।")
_GOES_ON = frozenset(".,;:!?…)]}%=/")
_CLAUSE_END = re.compile(rf"(?:[,;:—–]{_CLOSERS}*(?=\s)|[、，；：。！？])")
_WORD_END = re.compile(r"(?<=\S)(?=\s)")

_DOTTED = re.compile(r"(?:[^\W\d_]{1,2}\.)*[^\W\d_]{1,2}")
"""Initials and the like: J · U.S · e.g · z.B · Ph.D. Two letters count only with a dot in them."""
_LAST_WORD = re.compile(r"[^\s<>(\[{\"'“„‘«*_]*\Z")

_BEFORE_A_NAME = frozenset(
    re.findall(
        "[a-z]+",
        "adm approx bros bzw ca capt cf cmdr col comdr dipl dr evtl fr frl gem gen ggf gov hon hr"
        " inkl insb jr lt maj mme mlle mr mrs ms mt prof resp rev sen sgt sog sr st std str tel"
        " univ vgl vs zzgl zzt",
    )
)
"""Abbreviations that are followed by a capital letter and go on."""
_BEFORE_A_NUMBER = frozenset(
    re.findall(
        "[a-z]+",
        "abb abs anm apr art aug bd bl ch chap dec dez eq feb fig jan jul jun kap mar max min mrz"
        " no nos nov nr num oct okt op p para pg pp s sec sect sep sept tab vol ziff",
    )
)
"""Abbreviations where a number follows, and whole words where it does not ("No. I will not.")."""
_LAST_DAY_OF_A_MONTH = 31
"""A number up to this one with a full stop may be a date, a rank or an item ("am 3. Mai")."""


def has_letter(text: str) -> bool:
    """Whether `text` has a letter outside its tags, without which some routes refuse it."""
    return any(char.isalpha() for char in TAG.sub("", text))


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
        open_tag = None if ended else _OPEN_TAG.search(text)
        # What lies behind this may still become something else.
        known = len(text) if open_tag is None else open_tag.start()
        reach = self._max_chars + _LOOK_AHEAD
        known = min(known, reach)
        for match in _SENTENCE_END.finditer(text, 0, known):
            if any(start < match.start() < end for start, end in tags):
                continue
            verdict = _ends_sentence(text[:known], match)
            if verdict is None and known < reach and not ended:
                return None
            if verdict and len(text[: match.end()].rstrip()) <= self._max_chars:
                return match.end()
        if len(text.rstrip()) <= self._max_chars or (known < reach and not ended):
            return None
        return _forced_cut(text[:known], tags, self._max_chars)


def _ends_sentence(text: str, match: re.Match[str]) -> bool | None:
    """Whether a sentence ends with `match`; None where that depends on what comes."""
    if not has_letter(text[: match.start()]):
        return False
    if match.group() == "\n":
        return True
    after = text[match.end() :]
    if not after:
        return None
    marks = match.group("marks")
    parted = after[0].isspace() or match.group().endswith(">") or TAG.match(after)
    if not parted and marks[-1] not in _NO_SPACE_NEEDED:
        return False
    if "\n" in after[: len(after) - len(after.lstrip())]:
        # The line break is the end, and comes next.
        return False
    following = TAG.sub("", after).lstrip()
    if not following:
        return None
    first = following[0]
    if marks[-1] not in _NO_SPACE_NEEDED and (first.islower() or first in _GOES_ON):
        return False
    if marks == "." and _is_abbreviation(text[: match.start()], first):
        return False
    return True if has_letter(following) else None


def _is_abbreviation(before: str, following: str) -> bool:
    """Whether the word at the end of `before` is cut short, not a sentence that ends."""
    found = _LAST_WORD.search(before)
    word = found.group() if found else ""
    if word.isdecimal():
        return len(word) <= 2 and int(word) <= _LAST_DAY_OF_A_MONTH
    if _DOTTED.fullmatch(word) and (len(word) == 1 or "." in word):
        return True
    lower = word.lower()
    return lower in _BEFORE_A_NAME or (lower in _BEFORE_A_NUMBER and following.isdecimal())


def _forced_cut(text: str, tags: list[tuple[int, int]], max_chars: int) -> int:
    """Where to cut a sentence that is too long, at `max_chars` at the latest (tags aside)."""
    clauses = [match.end() for match in _CLAUSE_END.finditer(text)]
    words = [match.end() for match in _WORD_END.finditer(text)]
    outer_edges = [start if _is_opening(text[start:end]) else end for start, end in tags]
    edges = [edge for span in tags for edge in span]
    for cuts in (clauses, words, outer_edges, edges):
        allowed = [
            cut
            for cut in cuts
            if 0 < cut <= max_chars and not any(start < cut < end for start, end in tags)
        ]
        # Neither side may be left without a letter, if that can be had.
        for cut in reversed(allowed):
            if has_letter(text[:cut]) and has_letter(text[cut:]):
                return cut
        if allowed and cuts is words:
            return allowed[-1]
    for start, end in tags:
        if start < max_chars < end:
            return start or end
    return max_chars


def _is_opening(tag: str) -> bool:
    return not tag.startswith("</") and not tag.endswith("/>")
