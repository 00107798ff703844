"""The models of the classic protocol, and what differs between them (protocol.md, 1 and 5)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from slng_edge.config import CLASSIC_MODELS

SLNG_TTS_MODELS = ("orpheus", "orpheus-indic", "kokoro", "cosyvoice", "chatterbox", "xtts")
"""Hosted by SLNG: these are interrupted by `stop`, which `audio_end` answers."""

DEFAULT_VOICES: Mapping[str, str] = {
    "orpheus": "tara",
    "orpheus-indic": "kanak",
    "kokoro": "af",
    "cosyvoice": "emma",
    "chatterbox": "nova",
    "xtts": "Claribel Dervla",
}
"""What speaks where no voice is named; the other models have a default of their own, or none."""

CONFIGURABLE_MODELS = frozenset({"elevenlabs", "cartesia"})
"""These take another voice on a live connection."""

INDIC_LANGUAGES = ("hi", "bn", "ta", "te", "mr", "gu", "kn", "ml")
"""What `orpheus-indic` speaks."""


def model_problem(kind: str, model: str) -> str:
    """Why `model` is none of the classic protocol, and what was meant; "" where it is one."""
    known = CLASSIC_MODELS[kind]
    if model in known:
        return ""
    lowered = model.lower()
    # "slng/deepgram/aura:2-en" means deepgram; "orpheus-indic" is sorted behind "orpheus".
    named = sorted(name for name in known if name in lowered)
    close = named[-1:] or difflib.get_close_matches(lowered, known)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"{kind}.model: {model!r} is not a model of the classic protocol.{meant} "
        f"Use one of: {', '.join(known)}; or another gateway.protocol."
    )
