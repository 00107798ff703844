"""How audio is cut into messages, and what may stand before it."""

from __future__ import annotations

import itertools
import struct

from slng_edge.pcm import SAMPLE_BYTES


def message_cuts(length: int, step: int, *, odd: bool = False) -> list[tuple[int, int]]:
    """Where to cut `length` bytes into messages of `step`; with `odd`, of odd lengths."""
    edges = list(range(0, length, step))
    if odd:
        edges = [edge + index % 2 for index, edge in enumerate(edges)]
    return list(itertools.pairwise([*edges, length]))


def wav_header(rate_hz: int) -> bytes:
    """The header of a WAV stream whose length is not known yet."""
    endless = 0x7FFFF000
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", endless + 36, b"WAVE", b"fmt ", 16, 1, 1,
        rate_hz, rate_hz * SAMPLE_BYTES, SAMPLE_BYTES, 16, b"data", endless,
    )  # fmt: skip
