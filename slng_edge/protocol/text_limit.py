"""How long a text of one message may be: what the plan says, and what a gateway turned out to take.

A plan allows so many characters of text in a message. A gateway may take less and not say how
much; what it then found too large is halved once, for the rest of the session, and no further: a
second refusal is another fault.
"""

from __future__ import annotations

from collections.abc import Iterable

from slng_edge.errors import GatewayError
from slng_edge.protocol.failures import says_too_large
from slng_edge.protocol.text_pieces import split_text

HALVED_CHARS = 100
"""The least that a text is halved to: no gateway's limit is below what a short sentence needs."""


class TextLimit:
    """The characters of one message, and texts cut to fit; the owner serializes all calls.

    Args:
        plan_chars: What the plan allows in one message (`TierLimits.text_chars`), at least 2.

    Attributes:
        chars: What is sent in one message; a longer word goes whole where the plan allows it.
    """

    def __init__(self, plan_chars: int) -> None:
        self.chars = plan_chars
        self._plan_chars = plan_chars
        self._halved = False

    def mends(self, error: GatewayError) -> bool:
        """Whether `error` says that a text was too large, and none was halved yet."""
        return not self._halved and says_too_large(error)

    def halve(self, texts: Iterable[str]) -> None:
        """Send less in a message from now on.

        Args:
            texts: One of them was too large; none where that is not known.
        """
        self._halved = True
        longest = max(map(len, texts), default=self.chars)
        self.chars = min(self.chars, max(HALVED_CHARS, longest // 2))

    def pieces(self, text: str) -> list[str]:
        """`text` as texts that each fit into a message; none of white space alone."""
        limit = self._limit_for(text)
        if len(text) > limit:
            return split_text(text, limit)
        return [text] if text.strip() else []

    def messages(self, texts: Iterable[str]) -> list[str]:
        """The texts of a segment as messages; one, but where it turned out to be too large."""
        text = " ".join(texts)
        limit = self._limit_for(text)
        if len(text) <= limit:
            return [text]
        # The gateway puts texts together as they come: the space between words goes with them.
        *pieces, last = split_text(text, limit - 1)
        return [*(f"{piece} " for piece in pieces), last]

    def _limit_for(self, text: str) -> int:
        """Characters of `text` in one message: where the plan allows it, no word is cut."""
        wanted = max([self.chars, *(len(word) + 1 for word in text.split())])
        return min(self._plan_chars, wanted)
