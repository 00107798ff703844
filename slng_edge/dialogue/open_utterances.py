"""The utterances whose words are awaited, pure: which of them may be the device's own reply.

Speech over a reply may be the reply. Once more of it is known it is somebody's: it went on for
longer than the device hears itself, or words came that the reply did not say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from slng_edge.dialogue.self_interruption import SelfInterruption, is_own_words

OWN_SPEECH_MS = 600
"""Who speaks for longer over a reply is not the device itself: it falls silent when the gate opens,
and what it sounded and the room go on for half of that (scripts/evaluate-echo --real)."""


class OpenUtterances:
    """Opened by the gate, closed by their final. One thread.

    Args:
        own_words: Judges and counts what was understood over a reply; None where speech always
            interrupts, or never: then all words are somebody's.
        sounding_text: Says what is being said about now, or was when the reply was silenced.
    """

    def __init__(
        self, own_words: SelfInterruption | None, sounding_text: Callable[[], str]
    ) -> None:
        self._own_words = own_words
        self._sounding_text = sounding_text
        self._open: set[int] = set()
        self._over_reply: set[int] = set()
        self._cut_reply: set[int] = set()

    def __contains__(self, utterance: int) -> bool:
        return utterance in self._open

    def __iter__(self) -> Iterator[int]:
        return iter(self._open)

    def __bool__(self) -> bool:
        return bool(self._open)

    def begin(self, utterance: int, *, over_reply: bool) -> None:
        """The gate opened; `over_reply` where a reply could be heard."""
        self._open.add(utterance)
        if over_reply:
            self._over_reply.add(utterance)

    def end(self, utterance: int, voiced_ms: int) -> None:
        """The gate closed, after `voiced_ms` of speech; the words are awaited still."""
        if voiced_ms > OWN_SPEECH_MS:
            self._over_reply.discard(utterance)

    def close(self, utterance: int) -> None:
        """No more words of it will come."""
        for utterances in (self._open, self._over_reply, self._cut_reply):
            utterances.discard(utterance)

    def clear(self) -> tuple[int, ...]:
        """Close all, and give them."""
        closed = (*self._open,)  # as in `VadGate`: no tuple from an iterator a turn
        for utterance in closed:
            self.close(utterance)
        return closed

    def brings_words(self, utterance: int, text: str) -> bool:
        """Whether a partial has words, and of somebody else than the device.

        Then all of the utterance is somebody's. A text without letters is nothing that was said.
        """
        if utterance not in self._open or not any(map(str.isalpha, text)):
            return False
        if utterance in self._over_reply:
            if self._own_words is not None and is_own_words(text, self._sounding_text()):
                return False
            self._over_reply.discard(utterance)
        return True

    def cut_reply(self, utterance: int) -> None:
        """Its words cut the reply that sounded."""
        self._cut_reply.add(utterance)

    @property
    def has_cut_reply(self) -> bool:
        """Whether one that is open cut a reply."""
        return bool(self._cut_reply)

    def is_own(self, utterance: int, text: str, now: float) -> bool:
        """Whether the final `text` is the device's own words, or none, over its reply."""
        if self._own_words is None or utterance not in self._over_reply:
            return False
        return self._own_words.interrupted(text, self._sounding_text(), now)
