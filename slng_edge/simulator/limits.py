"""What a plan allows (protocol.md, section 6), as far as the local gateway enforces it."""

from __future__ import annotations

from dataclasses import dataclass

from slng_edge.errors import ConfigError


@dataclass(frozen=True)
class TierLimits:
    """Sizes that a client must stay inside."""

    message_bytes: int
    text_characters: int


TIERS = {
    "free": TierLimits(message_bytes=16 * 1024, text_characters=500),
    "pro": TierLimits(message_bytes=32 * 1024, text_characters=2_000),
    "enterprise": TierLimits(message_bytes=128 * 1024, text_characters=10_000),
}


def limits_of(tier: str) -> TierLimits:
    """The limits of a tier by its name.

    Raises:
        ConfigError: there is no such tier.
    """
    try:
        return TIERS[tier]
    except KeyError:
        raise ConfigError(f"tier {tier!r}: one of {', '.join(TIERS)}") from None
