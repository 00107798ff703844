"""What the gateway makes of a request's target and headers."""

from __future__ import annotations

import pytest

from slng_edge.simulator.handshake import (
    CLASSIC_NAMES,
    Refusal,
    Route,
    check_request,
    route_of,
)
from slng_edge.simulator.history import HeaderMap

CLASSIC = [(kind, name) for kind, names in CLASSIC_NAMES.items() for name in names]


def refusal(target, *headers, key=""):
    route = route_of(target)
    assert isinstance(route, Route)
    return check_request(route, target, HeaderMap(headers), key)


@pytest.mark.parametrize(
    ("target", "kind", "model"),
    [
        ("/v1/stt/slng/deepgram/nova:3-en", "stt", "slng/deepgram/nova:3-en"),
        ("/v1/tts/rime/arcana%3A3?region=us-east-1", "tts", "rime/arcana:3"),
        ("/v1/bridges/unmute/tts/slng/deepgram/aura:2-en", "tts", "slng/deepgram/aura:2-en"),
    ],
)
def test_a_model_path_is_unified(target, kind, model):
    """On the path of the model and on the bridge."""
    route = route_of(target)
    assert isinstance(route, Route)
    assert (route.kind, route.model, route.classic) == (kind, model, False)


@pytest.mark.parametrize(("kind", "name"), CLASSIC)
def test_every_classic_name_has_its_route(kind, name):
    """`/v1/{kind}/{name}-websocket-stream`."""
    path = f"/v1/{kind}/{name}-websocket-stream"
    assert route_of(path) == Route(kind, path, name, classic=True)


@pytest.mark.parametrize(
    "target",
    [
        "/v1/tts/nobody-websocket-stream",
        "/v1/tts/Orpheus-websocket-stream",
        "/v1/tts/whisper-websocket-stream",
        "/v1/stt/orpheus-websocket-stream",
        "/v1/tts/-websocket-stream",
        "/v1/llm/orpheus-websocket-stream",
        "/",
    ],
)
def test_another_name_is_404(target):
    """Unknown, in another case, or of the other kind."""
    refused = route_of(target)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (404, "not_found")


def test_the_refusal_of_a_classic_name_lists_those_there_are():
    """So that a typing error shows."""
    refused = route_of("/v1/stt/wisper-websocket-stream")
    assert isinstance(refused, Refusal)
    assert "kyutai, whisper" in refused.message


@pytest.mark.parametrize(
    ("target", "language"),
    [
        ("/v1/stt/whisper-websocket-stream?language=fr", "fr"),
        ("/v1/stt/whisper-websocket-stream", ""),
        ("/v1/tts/kokoro-websocket-stream?language=ja", ""),
        ("/v1/stt/slng/deepgram/nova:3?language=fr", ""),
    ],
)
def test_only_classic_speech_to_text_reads_a_language(target, language):
    """`?language=` in the query."""
    route = route_of(target)
    assert isinstance(route, Route)
    assert route.language == language


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/stt/slng/deepgram/nova:3-en", 400),
        ("/v1/stt/deepgram/nova:3", None),
        ("/v1/tts/orpheus-websocket-stream", 400),
        ("/v1/stt/kyutai-websocket-stream", 400),
        ("/v1/tts/elevenlabs-websocket-stream", None),
        ("/v1/tts/deepgram-websocket-stream", None),
        ("/v1/tts/cartesia-websocket-stream", None),
    ],
)
def test_a_providers_key_is_for_external_routes(target, status):
    """What SLNG hosts itself takes none."""
    refused = refusal(target, ("X-Slng-Provider-Key", "mine"))
    assert (refused.status if refused else None) == status


def test_the_key_is_asked_for_on_classic_routes_too():
    """Missing and right."""
    target = "/v1/tts/orpheus-websocket-stream"
    missing = refusal(target, key="right")
    assert missing is not None
    assert missing.status == 401
    assert refusal(target, ("authorization", "Bearer right"), key="right") is None
