"""Cuts a whole text into pieces that fit into a message, pure (protocol.md, sections 4 and 6)."""

from __future__ import annotations

from itertools import pairwise

from slng_edge.sentence_ends import best_cut, has_letter, word_cut


def split_text(text: str, limit: int) -> list[str]:
    """`text` in as few pieces as its sentences allow, each of at most `limit` characters.

    A piece ends after a sentence, where one ends within the limit, else after a clause, else
    after a word. Only a word that is longer than the limit is cut within, between two
    characters that are not one letter. A tag is never cut: one that is longer than the limit is
    a piece of its own. A piece without a letter, which some routes refuse, is joined with a
    neighbour where the limit allows.

    Returns:
        The pieces without white space around them; joined, they are the text again but for white
        space where it was cut. None where there is nothing but white space.

    Raises:
        ValueError: `limit` is less than 1.
    """
    if limit < 1:
        raise ValueError(f"a piece of {limit} characters is not possible")
    text = text.strip()
    cuts = [0]
    while len(text) - cuts[-1] > limit:
        rest = text[cuts[-1] :]
        following = rest[best_cut(rest, limit, 1, limit) :].lstrip()
        cuts.append(len(text) - len(following))
    if cuts[-1] < len(text):
        cuts.append(len(text))
    _join_letterless(text, cuts, limit)
    return [text[begin:end].strip() for begin, end in pairwise(cuts)]


def _join_letterless(text: str, cuts: list[int], limit: int) -> None:
    """Take out or move `cuts` beside which a piece of `text` has no letter, as far as it fits."""

    def fits(first: int, last: int) -> bool:
        return len(text[cuts[first] : cuts[last]].strip()) <= limit

    at = 1
    while at < len(cuts):
        if has_letter(text[cuts[at - 1] : cuts[at]]):
            at += 1
        elif at > 1 and fits(at - 2, at):
            del cuts[at - 1]
        elif at + 1 < len(cuts) and fits(at - 1, at + 1):
            del cuts[at]
        else:
            if at > 1 and (cut := _cut_with_letters(text[cuts[at - 2] : cuts[at]], limit)):
                cuts[at - 1] = cuts[at - 2] + cut
            at += 1


def _cut_with_letters(text: str, limit: int) -> int | None:
    """Where to cut `text` so that both sides have a letter and fit, None where there is none."""
    cut = word_cut(text, limit, len(text) - limit, limit)
    if cut is None or not (has_letter(text[:cut]) and has_letter(text[cut:])):
        return None
    return cut
