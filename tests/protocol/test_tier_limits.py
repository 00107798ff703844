"""The limits of the tiers and of Deepgram, as the gateway's documentation gives them."""

from __future__ import annotations

import base64
import dataclasses

import pytest

from slng_edge.config import Config, GatewayConfig
from slng_edge.protocol.stt_exchange import MESSAGE_BYTES
from slng_edge.protocol.tier_limits import (
    TIER_LIMITS,
    chars_a_minute,
    keepalive_s_for,
)
from slng_edge.protocol.unified_stt import UnifiedStt


@pytest.mark.parametrize(
    ("tier", "limits"),
    [
        ("free", (1, 300.0, 16_384, 20, 500, 16_384)),
        ("pro", (5, 1800.0, 32_768, 60, 2_000, 32_768)),
        ("enterprise", (50, 7200.0, 131_072, 120, 10_000, 65_536)),
    ],
)
def test_each_tier_has_its_limits(tier: str, limits: tuple[float, ...]) -> None:
    """Connections, duration, message size, messages a minute, text, audio (protocol.md, 6)."""
    assert dataclasses.astuple(TIER_LIMITS[tier]) == limits


@pytest.mark.parametrize("tier", TIER_LIMITS)
def test_the_largest_message_of_speech_fits_into_each_tier(tier: str) -> None:
    """Its audio, and all of its JSON where it goes as base64."""
    limits = TIER_LIMITS[tier]
    assert limits.audio_bytes >= MESSAGE_BYTES
    largest = UnifiedStt(sample_rate_hz=16000, binary_audio=False).audio(bytes(MESSAGE_BYTES))
    assert isinstance(largest, str)
    assert len(base64.b64encode(bytes(MESSAGE_BYTES))) < len(largest.encode())
    assert len(largest.encode()) <= limits.message_bytes


def test_each_tier_that_can_be_configured_has_limits() -> None:
    """Nobody can name a tier for which nothing is known."""
    (tier,) = [key for key in dataclasses.fields(GatewayConfig) if key.name == "tier"]
    known = set(TIER_LIMITS)
    assert Config().gateway.tier in known
    assert {name for name in ("free", "pro", "enterprise") if not tier.metadata["check"](name)} == (
        known
    )


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("slng/deepgram/aura:2-en", 2400),
        ("deepgram/aura:2", 2400),
        ("deepgram", 2400),
        ("Deepgram/aura", 2400),
        ("deepgram:aura-2", 2400),
        ("slng/rime/mist:v2", None),
        ("acme/not-deepgram", None),
        ("orpheus", None),
        ("", None),
    ],
)
def test_only_deepgram_limits_characters_a_minute(model: str, expected: int | None) -> None:
    """A part of the path says whose model it is."""
    assert chars_a_minute(model) == expected


@pytest.mark.parametrize(
    ("tier", "configured_s", "expected_s"),
    [
        ("free", 5.0, 15.0),
        ("free", 15.0, 15.0),
        ("free", 30.0, 30.0),
        ("pro", 5.0, 5.0),
        ("enterprise", 0.5, 0.5),
    ],
)
def test_keepalives_are_rare_on_the_free_tier(
    tier: str, configured_s: float, expected_s: float
) -> None:
    """They count as messages there, of which there are 20 a minute."""
    assert keepalive_s_for(tier, configured_s) == expected_s
