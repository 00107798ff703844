"""Finals with times, as SubRip (srt) or WebVTT text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HEAD_OF_VTT = "WEBVTT\n\n"
"""What a WebVTT file begins with, even one without a cue."""


@dataclass(frozen=True)
class Cue:
    """A line of text and when it is spoken, in seconds from the start of the recording."""

    start_s: float
    end_s: float
    text: str


def cue_of(
    text: str,
    words: Iterable[Mapping[str, Any]],
    duration_s: float | None,
    *,
    after_s: float,
    sent_s: float,
) -> Cue:
    """When `text` was spoken, as exactly as is known.

    Args:
        text: The final.
        words: Their times, where the route gives them (`start`, `end` in seconds).
        duration_s: Of the audio that the final is about, where the route gives it.
        after_s: End of the cue before.
        sent_s: Audio sent when the final came: it cannot be about more.
    """
    times = [
        (float(word["start"]), float(word["end"]))
        for word in words
        if _is_number(word.get("start")) and _is_number(word.get("end"))
    ]
    if times:
        return Cue(times[0][0], max(times[-1][1], times[0][0]), text)
    if duration_s is not None:
        return Cue(after_s, after_s + duration_s, text)
    return Cue(after_s, max(sent_s, after_s), text)


def srt(number: int, cue: Cue) -> str:
    """One SubRip block, the blank line that ends it included."""
    start, end = (_clock(at, ",") for at in (cue.start_s, cue.end_s))
    return f"{number}\n{start} --> {end}\n{cue.text}\n\n"


def vtt(cue: Cue) -> str:
    """One WebVTT block, the blank line that ends it included."""
    start, end = (_clock(at, ".") for at in (cue.start_s, cue.end_s))
    text = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{start} --> {end}\n{text}\n\n"


def tail_of_line(text: str, columns: int) -> str:
    """The end of `text` that fits into `columns` of a terminal; wide characters take two."""
    start = len(text)
    while start > 0:
        columns -= 2 if unicodedata.east_asian_width(text[start - 1]) in "WF" else 1
        if columns < 0:
            break
        start -= 1
    return text[start:]


def _clock(seconds: float, point: str) -> str:
    ms = round(max(0.0, seconds) * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
