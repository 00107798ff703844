"""Which words of a reply were heard when it was cut off, pure.

Speech routes give no times of words, so what was played is laid over the text in proportion.
Only words that were heard to their end count: a conversation that believes too little was said
repeats a word, one that believes too much leaves one out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from slng_edge.dialogue.sentences import TAG

MS_PER_CHAR = 65.0
"""Length of speech per character: about 15 characters a second, at which voices read English."""

_IDEOGRAPH = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPH}][^\s\w]*|[^\s{_IDEOGRAPH}]+")
"""A word with its punctuation; scripts without spaces count by the character."""


@dataclass(frozen=True)
class SpokenSegment:
    """One text that was sent to be spoken, and what came back for it.

    Attributes:
        text: The text; tags in it take no time and are not heard.
        audio_ms: Length of the audio that has come so far.
        complete: Whether that is all of it.
    """

    text: str
    audio_ms: float
    complete: bool


def heard_text(
    segments: Sequence[SpokenSegment], played_ms: float, *, ms_per_char: float = MS_PER_CHAR
) -> str:
    """The words heard when `played_ms` of a reply were played.

    Args:
        segments: What the reply was sent in, in order.
        played_ms: What the listener heard of it: the device's latency is subtracted.
        ms_per_char: Guess for a segment whose audio has not all come.

    Returns:
        The words, without tags, segments joined by one space; "" where none was heard.
    """
    heard: list[str] = []
    for segment in segments:
        if played_ms <= 0:
            break
        text = TAG.sub("", segment.text).strip()
        if segment.complete and played_ms >= segment.audio_ms:
            heard.append(text)
            played_ms -= segment.audio_ms
            continue
        whole_ms = segment.audio_ms
        if not segment.complete:
            whole_ms = max(whole_ms, len(text) * ms_per_char)
        if whole_ms > 0:
            heard.append(_first_words(text, len(text) * played_ms / whole_ms))
        break
    return " ".join(text for text in heard if text)


def _first_words(text: str, chars: float) -> str:
    """The words of `text` that end within its first `chars` characters."""
    end = 0
    for match in _WORD.finditer(text):
        if match.end() > chars:
            break
        end = match.end()
    return text[:end]
