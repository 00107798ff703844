"""Where a text may be cut for speech, pure: after a sentence, else a clause, else a word.

For whoever cuts text: a reply as it is written (`dialogue/sentences.py`), a text that is too long
for a message (`protocol/text_pieces.py`). What has no letter ("—", "4.5") is refused by some
speech routes and has to go with its neighbour, and a tag stays whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

LONGEST_TAG = 200
TAG = re.compile(rf"</?[A-Za-z][^<>\n]{{0,{LONGEST_TAG}}}>")
"""An SSML tag. "a < b" and "<3" are none."""
OPEN_TAG = re.compile(rf"<(?:/?(?:[A-Za-z][^<>\n]{{0,{LONGEST_TAG}}})?)?\Z")

_CLOSERS = r"[\"'”’»)\]}」』）】》*_]"
_CLOSING_TAG = rf"</[A-Za-z][^<>\n]{{0,{LONGEST_TAG}}}>|<[A-Za-z][^<>\n]{{0,{LONGEST_TAG}}}/>"
SENTENCE_END = re.compile(rf"\n|(?P<marks>[.!?…。！？।؟۔]+)(?:{_CLOSERS}|{_CLOSING_TAG})*")
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


def ends_sentence(text: str, match: re.Match[str]) -> bool | None:
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


def word_cut(text: str, at: int, low: int, high: int) -> int | None:
    """The place between `low` and `high` where a cut hurts least, never within a word.

    After a sentence, else after a clause, else after a word, as near to `at` as can be. Neither
    side is left without a letter, if that can be had.

    Returns:
        How many characters come before the cut, white space beside it included or not; None
        where no word ends between `low` and `high`, both included.
    """
    tags = _tags(text)
    letters = _letters(text)
    window = text[: high + LONGEST_TAG]
    allowed: list[int] = []
    for places in (_sentence_ends(window), _ends(_CLAUSE_END, window), _ends(_WORD_END, window)):
        allowed = _allowed(places, tags, at, low, high)
        for cut in allowed:
            if _parts_letters(letters, cut):
                return cut
    return allowed[0] if allowed else None


def best_cut(text: str, at: int, low: int, high: int) -> int:
    """As `word_cut`; where no word ends, beside a tag, else between two characters.

    Returns:
        More than `high` only where a tag that begins before `low` ends behind `high`: it is
        not cut, and the place is its end.
    """
    cut = word_cut(text, at, low, high)
    if cut is not None:
        return cut
    tags = _tags(text)
    letters = _letters(text)
    outer_edges = [start if _is_opening(text[start:end]) else end for start, end in tags]
    for places in (outer_edges, [edge for tag in tags for edge in tag]):
        for cut in _allowed(places, tags, at, low, high):
            if _parts_letters(letters, cut):
                return cut
    allowed = _allowed(range(low, high + 1), tags, at, low, high)
    whole = (cut for cut in allowed if not _belong_together(text[cut - 1], text[cut]))
    if allowed:
        return next(whole, allowed[0])
    return next(end for start, end in tags if start < at < end)


def _tags(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in TAG.finditer(text)]


def _letters(text: str) -> tuple[int, int]:
    """The first and the last letter outside of tags; a cut between them parts letters."""
    bare = TAG.sub(lambda tag: " " * len(tag.group()), text)
    first = next((place for place, char in enumerate(bare) if char.isalpha()), len(bare))
    last = next((place for place in range(len(bare) - 1, -1, -1) if bare[place].isalpha()), 0)
    return first, last


def _parts_letters(letters: tuple[int, int], cut: int) -> bool:
    first, last = letters
    return first < cut <= last


def _allowed(
    places: Iterable[int], tags: list[tuple[int, int]], at: int, low: int, high: int
) -> list[int]:
    """Those of `places` where a cut may be, the nearest to `at` first."""
    allowed = [
        cut
        for cut in places
        if low <= cut <= high and not any(start < cut < end for start, end in tags)
    ]
    return sorted(allowed, key=lambda cut: abs(cut - at))


def _sentence_ends(text: str) -> Iterator[int]:
    return (match.end() for match in SENTENCE_END.finditer(text) if ends_sentence(text, match))


def _ends(pattern: re.Pattern[str], text: str) -> Iterator[int]:
    return (match.end() for match in pattern.finditer(text))


def _belong_together(before: str, after: str) -> bool:
    """Whether two characters are one to the reader: a letter and its marks, a joined emoji."""
    return (
        unicodedata.category(after).startswith("M")
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or "\u200d" in (before, after)
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")
    )


def _is_opening(tag: str) -> bool:
    return not tag.startswith("</") and not tag.endswith("/>")
