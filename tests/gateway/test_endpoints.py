"""From the `[gateway]` section to an address with its headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from slng_edge.config import GatewayConfig, SttConfig
from slng_edge.errors import ConfigError
from slng_edge.gateway.endpoints import endpoint_of, with_given

MODEL = "slng/deepgram/nova:3-en"


def test_only_what_was_given_is_replaced() -> None:
    """None leaves the config's value; an empty string is a value."""
    section = SttConfig(language="de")
    assert with_given(section, language=None, model="a/b").language == "de"
    assert with_given(section, language="").language == ""


def test_the_url_and_the_key_are_joined() -> None:
    """The path is the protocol's, the key goes into the header."""
    gateway = GatewayConfig(url="ws://127.0.0.1:8765")
    endpoint = endpoint_of(gateway, kind="stt", model=MODEL, key="k")
    assert endpoint.url == f"ws://127.0.0.1:8765/v1/bridges/unmute/stt/{MODEL}"
    assert ("Authorization", "Bearer k") in endpoint.headers


def test_the_language_stands_in_a_classic_path() -> None:
    """Speech-to-text of the classic protocol is asked for a language in the URL."""
    gateway = GatewayConfig(url="ws://127.0.0.1:1", protocol="classic")
    endpoint = endpoint_of(gateway, kind="stt", model="whisper", key="", language="de")
    assert endpoint.url == "ws://127.0.0.1:1/v1/stt/whisper-websocket-stream?language=de"


def test_the_overrides_can_stand_in_the_query() -> None:
    """A proxy that drops unknown headers lets a query through."""
    gateway = GatewayConfig(url="ws://127.0.0.1:1", region="us-east-1")
    in_header = endpoint_of(gateway, kind="stt", model=MODEL, key="")
    in_query = endpoint_of(gateway, kind="stt", model=MODEL, key="", overrides_in="query")
    assert in_header.headers == (("X-Region-Override", "us-east-1"),)
    assert in_query.url == f"{in_header.url}?region=us-east-1"
    assert in_query.headers == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "[::1]", "localhost"])
def test_this_machine_needs_no_key(host: str) -> None:
    """The local gateway may have none."""
    endpoint_of(GatewayConfig(url=f"ws://{host}:1"), kind="tts", model=MODEL, key="")


@pytest.mark.parametrize("url", ["", "wss://proxy.example", "wss://10.0.0.1:8"])
def test_another_machine_needs_one(url: str) -> None:
    """Without a key the message names both places where it is looked for."""
    with pytest.raises(ConfigError, match=r"SLNG_API_KEY.*gateway\.api_key_file"):
        endpoint_of(GatewayConfig(url=url), kind="stt", model=MODEL, key="")


def test_plain_text_to_another_machine_is_refused() -> None:
    """`ws://` to a host that is not this one would show the key to everyone."""
    with pytest.raises(ConfigError, match="allow_insecure"):
        endpoint_of(GatewayConfig(url="ws://10.0.0.1:8"), kind="stt", model=MODEL, key="k")
    allowed = GatewayConfig(url="ws://10.0.0.1:8", allow_insecure=True)
    assert endpoint_of(allowed, kind="stt", model=MODEL, key="k").url.startswith("ws://10.0.0.1")


def test_the_providers_key_comes_from_its_file(tmp_path: Path) -> None:
    """Bring your own key, for a model that is not hosted by SLNG itself."""
    file = tmp_path / "provider-key"
    file.write_text("their-key\n")
    file.chmod(0o600)
    gateway = GatewayConfig(url="ws://127.0.0.1:1", provider_key_file=str(file))
    endpoint = endpoint_of(gateway, kind="stt", model="deepgram/nova:3", key="k")
    assert ("X-Slng-Provider-Key", "their-key") in endpoint.headers


def test_a_providers_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The setting and the cure are named; the key is not."""
    file = tmp_path / "provider-key"
    file.write_text("their-key")
    file.chmod(0o644)
    gateway = GatewayConfig(url="ws://127.0.0.1:1", provider_key_file=str(file))
    with pytest.raises(ConfigError, match=r"provider_key_file.*chmod 600") as info:
        endpoint_of(gateway, kind="stt", model="deepgram/nova:3", key="k")
    assert "their-key" not in str(info.value)
