"""What a plan allows, and what a provider allows on top of it (protocol.md, section 6).

The gateway enforces these; the client knows its tier (`gateway.tier`) and stays inside. "KB" is
read as 1,024 bytes.

Audio is not counted among the messages of a minute, in either form: the page excepts only binary
audio by its words, but its reason, that at 20 messages a minute no stream could exist, holds for
base64 audio too. So neither the client nor the local gateway counts it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

IDLE_TIMEOUT_S = 300.0
"""A connection on which nothing is sent for so long is closed by the gateway, on every tier
(protocol.md, 6)."""

DEEPGRAM_CHARS_A_MINUTE = 2400
"""Characters of text that Deepgram speaks in a minute, whatever the tier (protocol.md, 6)."""

FREE_KEEPALIVE_S = 15.0
"""The shortest time between keepalives on the free tier: they count as messages, and every 5 s
would take 12 of its 20 a minute (protocol.md, 6)."""


@dataclass(frozen=True)
class TierLimits:
    """The limits of one tier.

    Attributes:
        connections: Connections open at the same time.
        duration_s: Age at which the gateway ends a connection.
        message_bytes: Size of one JSON message, as UTF-8.
        messages_a_minute: JSON messages on one connection in any minute; audio does not
            count, binary or base64, keepalives do.
        text_chars: Characters of text in one message.
        audio_bytes: Size of one piece of audio, before base64.
    """

    connections: int
    duration_s: float
    message_bytes: int
    messages_a_minute: int
    text_chars: int
    audio_bytes: int


_KB = 1024

TIER_LIMITS: Mapping[str, TierLimits] = MappingProxyType(
    {
        "free": TierLimits(1, 300.0, 16 * _KB, 20, 500, 16 * _KB),
        "pro": TierLimits(5, 1_800.0, 32 * _KB, 60, 2_000, 32 * _KB),
        "enterprise": TierLimits(50, 7_200.0, 128 * _KB, 120, 10_000, 64 * _KB),
    }
)
"""The limits of each tier, by the name that `gateway.tier` takes (protocol.md, 6)."""


def chars_a_minute(model: str) -> int | None:
    """Characters of text that may be sent to a text-to-speech model in any minute.

    Args:
        model: A model path ("slng/deepgram/aura:2-en") or a classic name ("deepgram").

    Returns:
        Deepgram's limit for a model of theirs, None where no limit is known.
    """
    is_deepgram = "deepgram" in re.split("[/:]", model.lower())
    return DEEPGRAM_CHARS_A_MINUTE if is_deepgram else None


def keepalive_s_for(tier: str, configured_s: float) -> float:
    """The time between keepalives: as configured, on the free tier at least `FREE_KEEPALIVE_S`."""
    return max(configured_s, FREE_KEEPALIVE_S) if tier == "free" else configured_s
