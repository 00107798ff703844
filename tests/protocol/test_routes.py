"""Where a session connects, with which headers, and what is refused before it does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.errors import ConfigError
from slng_edge.protocol.routes import (
    PROTOCOLS,
    WORLD_PARTS,
    Endpoint,
    build_endpoint,
    model_name_for_init,
)

KEY = "sk-s3cret"
MODEL = "slng/deepgram/nova:3-en"


def endpoint(**changes: Any) -> Endpoint:
    """The endpoint of a speech-to-text session."""
    return build_endpoint(**{"kind": "stt", "model": MODEL, "key": KEY, **changes})


def problems(**changes: Any) -> tuple[str, ...]:
    """What is wrong with an endpoint."""
    with pytest.raises(ConfigError) as caught:
        endpoint(**changes)
    return caught.value.problems


URLS: list[tuple[dict[str, Any], str]] = [
    ({}, "wss://us-east.api.slng.ai/v1/bridges/unmute/stt/slng/deepgram/nova:3-en"),
    (
        {"protocol": "unified", "world_part": "eu-north"},
        "wss://eu-north.api.slng.ai/v1/stt/slng/deepgram/nova:3-en",
    ),
    (
        {"kind": "tts", "model": "slng/deepgram/aura:2-en", "protocol": "unified"},
        "wss://us-east.api.slng.ai/v1/tts/slng/deepgram/aura:2-en",
    ),
    (
        {"url": "wss://api.slng.ai", "protocol": "unified", "world_part": "unused"},
        "wss://api.slng.ai/v1/stt/slng/deepgram/nova:3-en",
    ),
    (
        {"url": "ws://127.0.0.1:8765", "model": "a b".replace(" ", "@") + "/ü"},
        "ws://127.0.0.1:8765/v1/bridges/unmute/stt/a%40b/%C3%BC",
    ),
]


@pytest.mark.parametrize(("changes", "url"), URLS)
def test_the_url_follows_protocol_and_host(changes: dict[str, Any], url: str) -> None:
    """World part or url give the host, protocol and model the path, quoted but for / and :."""
    assert endpoint(**changes).url == url


CLASSIC: list[tuple[dict[str, Any], str]] = [
    ({"model": "kyutai"}, "stt/kyutai-websocket-stream"),
    ({"model": "whisper", "language": "de"}, "stt/whisper-websocket-stream?language=de"),
    (
        {"model": "whisper", "language": "a&b ü"},
        "stt/whisper-websocket-stream?language=a%26b%20%C3%BC",
    ),
    ({"model": "whisper", "language": "\ud800"}, "stt/whisper-websocket-stream?language=%3F"),
    (
        {"kind": "tts", "model": "orpheus-indic", "language": "hi"},
        "tts/orpheus-indic-websocket-stream",
    ),
    ({"kind": "tts", "model": "cartesia"}, "tts/cartesia-websocket-stream"),
    (
        {"model": "whisper", "language": "en", "region": "eu-north-1", "overrides_in": "query"},
        "stt/whisper-websocket-stream?language=en&region=eu-north-1",
    ),
]


@pytest.mark.parametrize(("changes", "path"), CLASSIC)
def test_a_classic_path_names_the_model(changes: dict[str, Any], path: str) -> None:
    """Only speech-to-text carries the language in it, and only where one is set."""
    built = endpoint(protocol="classic", **changes)
    assert built.url == f"wss://us-east.api.slng.ai/v1/{path}"


MEANT = [
    ("stt", "Whisper", "Did you mean 'whisper'?"),
    ("stt", "slng/openai/whisper:large-v3", "Did you mean 'whisper'?"),
    ("stt", "wisper", "Did you mean 'whisper'?"),
    ("stt", "orpheus", "is not a model of the classic protocol. Use one of: kyutai, whisper;"),
    ("stt", "", "Use one of: kyutai, whisper;"),
    ("tts", "slng/deepgram/aura:2-en", "Did you mean 'deepgram'?"),
    ("tts", "orpheus-indic-websocket-stream", "Did you mean 'orpheus-indic'?"),
    ("tts", "chaterbox", "Did you mean 'chatterbox'?"),
    ("tts", "whisper", "Use one of: orpheus, orpheus-indic, kokoro,"),
    ("tts", "../orpheus?x", "Did you mean 'orpheus'?"),
]


@pytest.mark.parametrize(("kind", "model", "why"), MEANT)
def test_the_classic_protocol_has_models_of_its_own(kind: str, model: str, why: str) -> None:
    """A model path of another protocol is refused, with the name that may be meant."""
    (problem,) = problems(protocol="classic", kind=kind, model=model)
    assert problem.startswith(f"{kind}.model: {model!r} is not a model of the classic protocol.")
    assert why in problem


@pytest.mark.parametrize("protocol", ["bridge", "unified"])
def test_overrides_can_stand_in_the_query(protocol: str) -> None:
    """The same values as in the headers, quoted; the other headers stay where they are."""
    built = endpoint(
        protocol=protocol,
        region="eu-north-1, us-east-1",
        world_part_override="eu",
        agent_id="kiosk",
        language="de",
        overrides_in="query",
    )
    path, _, query = built.url.partition("?")
    assert path == endpoint(protocol=protocol).url
    assert query == "region=eu-north-1%2Cus-east-1&world-part=eu"
    assert built.headers == (("Authorization", f"Bearer {KEY}"), ("X-SLNG-Agent-Id", "kiosk"))


def test_no_override_no_query() -> None:
    """The URL ends with the path where there is nothing to ask."""
    assert endpoint(overrides_in="query") == endpoint()


@pytest.mark.parametrize("world_part", WORLD_PARTS)
def test_every_world_part_has_its_host(world_part: str) -> None:
    """The regional hosts."""
    assert endpoint(world_part=world_part).url.startswith(f"wss://{world_part}.api.slng.ai/v1/")


BASES = [
    ("ws://localhost", "ws://localhost"),
    ("WS://LocalHost:80/", "ws://localhost:80"),
    ("ws://127.200.0.9:1", "ws://127.200.0.9:1"),
    ("ws://[::1]:8765", "ws://[::1]:8765"),
    ("wss://[2001:db8::1]", "wss://[2001:db8::1]"),
    ("wss://gateway_1.example.:443", "wss://gateway_1.example.:443"),
    ("wss://10.0.0.1:65535", "wss://10.0.0.1:65535"),
]


@pytest.mark.parametrize(("url", "base"), BASES)
def test_another_gateway_can_be_named(url: str, base: str) -> None:
    """Scheme, host and port are taken over; ws:// where it stays on this machine."""
    assert endpoint(url=url).url.partition("/v1/")[0] == base


INSECURE = ["ws://10.0.0.1:8765", "ws://gateway", "ws://127.0.0.1.example.com", "ws://[::2]:80"]


@pytest.mark.parametrize("url", INSECURE)
def test_speech_does_not_leave_the_machine_in_clear(url: str) -> None:
    """ws:// to another host is refused, unless the configuration says so in so many words."""
    (problem,) = problems(url=url)
    assert problem.startswith("gateway.url: ")
    assert "gateway.allow_insecure" in problem
    assert endpoint(url=url, allow_insecure=True).url.startswith(url)


WRONG_URLS = [
    ("https://api.slng.ai", "did you mean wss://"),
    ("http://127.0.0.1:8765", "did you mean ws://"),
    ("127.0.0.1:8765", "no scheme"),
    ("ftp://api.slng.ai", "not a WebSocket URL"),
    ("wss://", "wrong host or port"),
    ("wss://:80", "wrong host or port"),
    ("wss://host:0", "wrong host or port"),
    ("wss://host:65536", "wrong host or port"),
    ("wss://host:port", "wrong host or port"),
    ("wss://[::1", "wrong host or port"),
    ("wss://[host]", "wrong host or port"),
    ("wss://-host", "wrong host or port"),
    ("wss://münchen.example", "wrong host or port"),
    ("wss://host/v1/stt", "must end after host and port"),
    ("wss://wss://host", "must end after host and port"),
    ("wss://host?key=s3cret", "must end after host and port"),
    ("wss://host#s3cret", "must end after host and port"),
    ("wss://user:s3cret@host", "user or a password"),
    ("wss://s3cret@host", "user or a password"),
    ("wss://ho st", "a space"),
    ("wss://host\n", "a control character"),
    ("wss://host\\x", "a backslash"),
]


@pytest.mark.parametrize(("url", "why"), WRONG_URLS)
@pytest.mark.parametrize("allow_insecure", [True, False])
def test_a_wrong_url_is_refused(url: str, why: str, allow_insecure: bool) -> None:
    """The error names the key and the mistake, and shows no secret in the URL."""
    (problem,) = problems(url=url, allow_insecure=allow_insecure)
    assert problem.startswith("gateway.url: ")
    assert why in problem
    assert "s3cret" not in problem


@pytest.mark.parametrize("url", [url for url, _ in WRONG_URLS])
def test_a_wrong_url_is_shown_where_it_holds_no_secret(url: str) -> None:
    """Else the sentence begins without it."""
    (problem,) = problems(url=url)
    shown = "must " if "s3cret" in url else f"{url!r} "
    assert problem.startswith(f"gateway.url: {shown}")


def test_no_key_no_header() -> None:
    """Whether a key is needed is for the caller to say."""
    assert endpoint(key=" \n").headers == ()


def test_all_headers() -> None:
    """Every option has its header; lists keep their order, and ids lose blanks around them."""
    built = endpoint(
        model="deepgram/nova:3",
        key=f" {KEY}\n",
        provider_key="dg-s3cret",
        region="eu-north-1, US-EAST-1,eu-north-1,",
        world_part_override="EU",
        agent_id=" kiosk 7 ",
        session_id="x" * 128,
        language="de",
    )
    assert built.headers == (
        ("Authorization", f"Bearer {KEY}"),
        ("X-Slng-Provider-Key", "dg-s3cret"),
        ("X-Region-Override", "eu-north-1,us-east-1"),
        ("X-World-Part-Override", "eu"),
        ("X-SLNG-Agent-Id", "kiosk 7"),
        ("X-SLNG-Session-Id", "x" * 128),
    )


def test_the_repr_shows_no_key() -> None:
    """An endpoint in a log or a traceback tells all but the keys, and that there are some."""
    shown = repr(endpoint(model="deepgram/nova:3", provider_key="dg-s3cret", agent_id="kiosk"))
    assert "s3cret" not in shown
    assert "('Authorization', '***'), ('X-Slng-Provider-Key', '***')" in shown
    assert "wss://us-east.api.slng.ai" in shown
    assert "'kiosk'" in shown
    assert "s3cret" not in str(endpoint())


@pytest.mark.parametrize(
    "key",
    [
        "s3c ret",
        "s3c\nret",
        "s3c\x00ret",
        "s3c\u0100ret",
        "s3c\u201cret",
        "s3c\xa0ret",
        "s3c\x85ret",
        "s3c\ud800r",
    ],
)
@pytest.mark.parametrize("name", ["key", "provider_key"])
def test_a_key_that_no_header_takes_is_refused(name: str, key: str) -> None:
    """The error says where the key comes from and which character is wrong, not the key."""
    (problem,) = problems(**{"model": "deepgram/nova:3", name: key})
    assert "character 4 of" in problem
    assert ("gateway.api_key_file" if name == "key" else "gateway.provider_key_file") in problem
    assert "s3c" not in problem


def test_a_key_with_its_scheme_is_refused() -> None:
    """ "Bearer" is ours to add."""
    (problem,) = problems(key=f"Bearer {KEY}")
    assert "Give the key alone" in problem
    assert KEY not in problem


def test_a_key_may_hold_any_latin_1_letter() -> None:
    """What a header can carry is not refused."""
    assert endpoint(key="éÿ~!").headers == (("Authorization", "Bearer éÿ~!"),)


def test_on_classic_a_provider_key_needs_a_provider_as_well() -> None:
    """SLNG's own models have no slash to be told by."""
    classic = {"kind": "tts", "protocol": "classic", "provider_key": "dg-s3cret"}
    (problem,) = problems(model="kokoro", **classic)
    assert "take one of elevenlabs, deepgram, cartesia" in problem
    headers = dict(endpoint(model="cartesia", **classic).headers)
    assert headers["X-Slng-Provider-Key"] == "dg-s3cret"


def test_a_provider_key_needs_a_model_of_the_provider() -> None:
    """Models hosted by SLNG take no provider's key: the gateway would answer 400."""
    (problem,) = problems(provider_key="dg-s3cret")
    assert problem.startswith("gateway.provider_key_file: stt.model 'slng/deepgram/nova:3-en'")
    assert "take a model without the slng/ prefix" in problem
    assert "s3cret" not in problem


@pytest.mark.parametrize("key", ["Bearer dg-s3cret", "dg s3cret"])
def test_a_wrong_provider_key_hides_no_wrong_model(key: str) -> None:
    """Both are told, so that no second attempt is needed to find the second."""
    found = problems(provider_key=key)
    assert len(found) == 2
    assert "is hosted by SLNG" in found[1]
    assert "s3cret" not in "".join(found)


WRONG_VALUES: list[tuple[dict[str, Any], str, str]] = [
    ({"world_part": "us-eats"}, "gateway.world_part", "Did you mean 'us-east'?"),
    ({"world_part": "EU-West"}, "gateway.world_part", "Did you mean 'eu-west'?"),
    ({"world_part": "moon"}, "gateway.world_part", "is not known. Use one of: eu-north, eu-west"),
    ({"world_part": ""}, "gateway.world_part", "za."),
    ({"region": "us-east-1, us-west-1"}, "gateway.region", "Did you mean 'us-east-1'?"),
    ({"region": "us-east-1\nX: y"}, "gateway.region", "ap-southeast-2, eu-north-1, us-east-1."),
    ({"world_part_override": "us"}, "gateway.world_part_override", "Use one of: ap, eu, na."),
    ({"world_part_override": "eu,na"}, "gateway.world_part_override", "one value"),
    ({"protocol": "bridges"}, "gateway.protocol", "Did you mean 'bridge'?"),
    ({"agent_id": "x" * 129}, "gateway.agent_id", "at most 128"),
    ({"agent_id": "a,b"}, "gateway.agent_id", "comma"),
    ({"session_id": "a\x07b"}, "session_id", "control character"),
    ({"session_id": "a\nb"}, "session_id", "control character"),
    ({"model": ""}, "stt.model", "is empty"),
    ({"kind": "tts", "model": ""}, "tts.model", "slng/deepgram/aura:2-en"),
    ({"model": "a b"}, "stt.model", "'a b'"),
    ({"model": "a/b?c"}, "stt.model", "character"),
    ({"model": "a/b#c"}, "stt.model", "character"),
    ({"model": "a%2fb"}, "stt.model", "character"),
    ({"model": "a\\b"}, "stt.model", "character"),
    ({"model": "a/b\r\n"}, "stt.model", "character"),
    ({"model": "a\ud800"}, "stt.model", "character"),
    ({"model": "/a/b"}, "stt.model", "empty or dotted part"),
    ({"model": "a//b"}, "stt.model", "empty or dotted part"),
    ({"model": "a/../b"}, "stt.model", "empty or dotted part"),
    ({"model": "./b"}, "stt.model", "empty or dotted part"),
]


@pytest.mark.parametrize(("changes", "key", "why"), WRONG_VALUES, ids=lambda value: str(value)[:50])
def test_a_wrong_value_names_its_key(changes: dict[str, Any], key: str, why: str) -> None:
    """The error says which key of the configuration is wrong, and what would be right."""
    (problem,) = problems(**changes)
    assert problem.startswith(f"{key}: ")
    assert why in problem


def test_all_problems_are_told_at_once() -> None:
    """One line for each."""
    found = problems(world_part="moon", model="", protocol="x", key="a b", region="x", agent_id=",")
    assert len(found) == 6


FIELDS = ("model", "key", "url", "world_part", "provider_key", "region", "agent_id", "language")


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(FIELDS), st.text(st.characters())),
    st.sampled_from(PROTOCOLS) | st.text(st.characters()),
)
def test_nothing_wrong_gets_through(changes: dict[str, str], protocol: str) -> None:
    """Any text gives an endpoint fit for a request line and headers, or a ConfigError."""
    if protocol == "classic":
        changes["model"] = "whisper"
    changes["protocol"] = protocol
    try:
        built = endpoint(**changes)
    except ConfigError:
        return
    assert built.url.isascii()
    assert built.url.isprintable()
    assert " " not in built.url
    assert all(value.isprintable() for _, value in built.headers)


def test_the_model_name_in_init() -> None:
    """Only the unified path wants it, and only the last part."""
    assert [model_name_for_init(protocol, MODEL) for protocol in PROTOCOLS] == [
        None,
        "nova:3-en",
        None,
    ]
    assert model_name_for_init("unified", "whisper") == "whisper"
