"""Whether the device interrupts itself, pure: what was understood over a reply in, verdict out.

What is understood while a reply sounds may be the reply. An interruption whose words are those of
the reply, or that has none, was the device's own. Two of these within ten replies, and speech
does not interrupt for ten minutes: the device is half duplex. Then it is tried again.
"""

from __future__ import annotations

import re
from collections import deque

OWN_SHARE = 0.65
"""Share of the words that have to be the reply's, in its order. A recognizer gets one word of
four of an echo wrong; of what a user says to a reply some are its words too: "cancel the first
one please" has three of five."""
SHORT_WORDS = 2
"""So few words have to be the reply's one and all, and together: "stop" is the user's, unless
the reply says it."""
OWN_INTERRUPTIONS = 2
WITHIN_REPLIES = 10
"""So many own interruptions within so many replies make it half duplex."""
HALF_DUPLEX_S = 600.0
"""How long; then rooms, volumes and places may have changed."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_IDEOGRAPHS = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")


def words_of(text: str) -> list[str]:
    """The words of `text` as they are compared: lower case, no punctuation.

    Scripts without spaces count by the character.
    """
    return [
        word.replace("’", "'") for word in _WORD.findall(_IDEOGRAPHS.sub(r" \1 ", text.casefold()))
    ]


def is_own_words(words: str, reply_text: str) -> bool:
    """Whether what was understood is mostly what the device itself was saying then.

    Args:
        words: A partial or a final.
        reply_text: What was being said around then: the sentence, and those beside it. The
            more there is of it, the likelier a user's word is in it.

    Returns:
        True too where there are no words in `words`: nobody said anything.
    """
    said = words_of(words)
    if not said:
        return True
    reply = words_of(reply_text)
    if len(said) <= SHORT_WORDS:
        count = len(said)
        return any(reply[at : at + count] == said for at in range(len(reply) - count + 1))
    return _common_words(said, reply) >= OWN_SHARE * len(said)


def _common_words(first: list[str], second: list[str]) -> int:
    """Length of the longest row of words that both have in this order, gaps allowed."""
    best = [0] * (len(second) + 1)
    for word in first:
        before = 0
        for at, other in enumerate(second, 1):
            above = best[at]
            best[at] = before + 1 if word == other else max(above, best[at - 1])
            before = above
    return best[-1]


class SelfInterruption:
    """Counts the device's own interruptions. One thread.

    Times are seconds of a monotonic clock, handed in.
    """

    def __init__(self) -> None:
        self._reply = 0
        self._own: deque[int] = deque(maxlen=OWN_INTERRUPTIONS)
        self._until = float("-inf")

    def reply_began(self, now: float) -> None:
        """A reply began to sound."""
        self._reply += 1

    def interrupted(self, words: str, reply_text: str, now: float) -> bool:
        """A reply was interrupted, or paused, and this was understood in the end.

        Args:
            words: The final; empty where there was none.
            reply_text: What was being said around then.
            now: The time.

        Returns:
            Whether it was the device itself. Speech that came while it was half duplex
            counts for nothing: it interrupted nothing.
        """
        own = is_own_words(words, reply_text)
        if own and not self.half_duplex(now) and self._reply not in self._own:
            self._own.append(self._reply)
            if len(self._own) == OWN_INTERRUPTIONS and self._reply - self._own[0] < WITHIN_REPLIES:
                self._own.clear()
                self._until = now + HALF_DUPLEX_S
        return own

    def half_duplex(self, now: float) -> bool:
        """Whether speech does not interrupt for now."""
        return now < self._until
