"""From the `[gateway]` section to an address with its headers."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from slng_edge.config import GatewayConfig, SttConfig, TtsConfig
from slng_edge.errors import ConfigError
from slng_edge.protocol.routes import Endpoint, OverridesIn, build_endpoint
from slng_edge.secrets import read_secret_file

Section = TypeVar("Section", GatewayConfig, SttConfig, TtsConfig)


def with_given(section: Section, **given: Any) -> Section:
    """`section` with the values that were given, where they are not None."""
    return dataclasses.replace(section, **{k: v for k, v in given.items() if v is not None})


def endpoint_of(
    gateway: GatewayConfig,
    *,
    kind: Literal["stt", "tts"],
    model: str,
    key: str,
    session_id: str = "",
    language: str = "",
    overrides_in: OverridesIn = "header",
) -> Endpoint:
    """Where a session of `kind` for `model` connects, and with which headers.

    `language` stands in the path of classic speech-to-text; `overrides_in` says where
    region and world part override go.

    Raises:
        ConfigError: a value cannot be, there is no key for a gateway that is not on this
            machine, or the provider key's file cannot be read.
    """
    provider_key = ""
    if gateway.provider_key_file:
        provider_key = read_secret_file(gateway.provider_key_file, "gateway.provider_key_file")
    endpoint = build_endpoint(
        kind=kind,
        model=model,
        key=key,
        protocol=gateway.protocol,
        url=gateway.url,
        world_part=gateway.world_part,
        provider_key=provider_key,
        region=gateway.region,
        world_part_override=gateway.world_part_override,
        agent_id=gateway.agent_id,
        session_id=session_id,
        language=language,
        allow_insecure=gateway.allow_insecure,
        overrides_in=overrides_in,
    )
    if not key and not _on_this_machine(urlsplit(endpoint.url).hostname or ""):
        raise ConfigError(
            "no API key: set $SLNG_API_KEY, or name a private file that holds it in "
            "gateway.api_key_file"
        )
    return endpoint


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
