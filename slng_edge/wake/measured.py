"""What was measured of the models: when they say that a word was said, and what its end looks like.

`measured.json` beside this file is written by `scripts/evaluate-wake --fit`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from slng_edge.listening.word_end import EndShape, Lateness

FILE = Path(__file__).with_name("measured.json")

UNKNOWN_LATENESS: Mapping[str, Lateness] = {
    "micro": Lateness(late_ms=120, spread_ms=80),
    "open": Lateness(late_ms=300, spread_ms=120),
}
"""For a word that was not measured, by engine: between those of the words that were."""


def lateness(engine: str, word: str) -> Lateness:
    """When the model of `word` in `engine` says so."""
    found = _measured()["lateness"].get(engine, {}).get(word)
    return UNKNOWN_LATENESS[engine] if found is None else Lateness(*found)


def end_shape(word: str) -> EndShape | None:
    """What the end of `word` looks like, None for a word that was not measured."""
    found = _measured()["ends"].get(word)
    return None if found is None else EndShape(tuple(found))


@cache
def _measured() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return loaded
