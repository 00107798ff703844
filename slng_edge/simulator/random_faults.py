"""A random mix of faults, the same one for the same seed."""

from __future__ import annotations

import random

DEFAULT_PERCENT = 30

_BOTH: tuple[str, ...] = (
    "refuse=503",
    "refuse=429",
    "never_ready",
    "ready_delay={200..800}",
    "ready_then_error=provider_error",
    "close_after={2..6}:1011",
    "close_after={2..6}:1001",
    "close_after_audio={40..600}:1012",
    "reset_after={1..6}",
    "reset_after_bytes={1000..30000}",
    "half_open={1..6}",
    "stall={1..6}",
    "malformed_json={2..4}",
    "huge_message=64",
    "truncated_frame={2..5}",
    "wrong_case",
    "nested_error",
)
_MIXES: dict[str, tuple[str, ...]] = {
    "stt": (
        *_BOTH,
        "close_after=finalize:1011",
        "reset_after=finalize",
        "half_open=finalize",
        "no_final=1",
        "final_delay={100..600}",
        "several_finals={2..3}",
        "duplicate_final",
        "from_finalize",
        "deepgram_results",
        "error_on_finalize=backend_error:1",
    ),
    "tts": (
        *_BOTH,
        "close_after=flush:1011",
        "reset_after=flush",
        "half_open=flush",
        "reset_after=clear",
        "no_terminal=1",
        "no_cleared=1",
        "per_utterance_close",
        "terminal=audio_end",
        "terminal=flushed",
        "late_audio_after_clear={40..300}",
        "first_audio_delay={100..600}",
        "odd_frames",
        "base64_audio",
        "wav_header",
        "repeat_sequence={2..5}",
        "skip_sequence={2..5}",
        "error_on_text=backend_error:1",
    ),
}
"""Those that a client can live with: it notices each, and its next connection may be whole."""


def draw(value: str, session: str, number: int) -> str:
    """The fault of one connection, as it would be written, "" for none.

    Args:
        value: `SEED[:PERCENT]`; the same seed draws the same, whatever the order of connections.
        session: "stt" or "tts".
        number: The connection attempt among those of its kind.
    """
    seed, _, percent = value.partition(":")
    dice = random.Random(f"{seed}/{session}/{number}")
    if dice.randrange(100) >= int(percent or DEFAULT_PERCENT):
        return ""
    before, brace, rest = dice.choice(_MIXES[session]).partition("{")
    if not brace:
        return before
    bounds, _, after = rest.partition("}")
    low, _, high = bounds.partition("..")
    return f"{before}{dice.randint(int(low), int(high))}{after}"
