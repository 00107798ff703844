"""Which dialect a session gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slng_edge.config import CLASSIC_MODELS, NATIVE_FRAMES_MODELS, TtsConfig
from slng_edge.errors import ConfigError
from slng_edge.protocol.classic_stt import ClassicStt
from slng_edge.protocol.classic_tts import ClassicTts
from slng_edge.protocol.dialects import (
    SttDialectFactory,
    TtsDialectFactory,
    stt_dialect_factory,
    tts_dialect_factory,
)
from slng_edge.protocol.native_frames import NativeElevenLabsTts, NativeOrpheusTts
from slng_edge.protocol.unified_stt import UnifiedStt
from slng_edge.protocol.unified_tts import UnifiedTts


def stt(**changes: Any) -> SttDialectFactory:
    """What makes a dialect of the bridge at 16 kHz."""
    fresh = {"protocol": "bridge", "model": "a/b:c", "sample_rate_hz": 16000}
    return stt_dialect_factory(**{**fresh, **changes})


def tts(**changes: Any) -> TtsDialectFactory:
    """What makes a classic dialect for orpheus."""
    fresh = {"protocol": "classic", "model": "orpheus", "voice": ""}
    return tts_dialect_factory(**{**fresh, **changes})


KINDS: list[tuple[SttDialectFactory | TtsDialectFactory, type]] = [
    (stt(), UnifiedStt),
    (stt(protocol="unified"), UnifiedStt),
    (stt(protocol="classic", model="kyutai"), ClassicStt),
    (tts(protocol="bridge", model="a/b:c"), UnifiedTts),
    (tts(protocol="unified", model="a/b:c"), UnifiedTts),
    (tts(), ClassicTts),
    (tts(native_frames=True), NativeOrpheusTts),
    (tts(native_frames=True, model="elevenlabs"), NativeElevenLabsTts),
]


@pytest.mark.parametrize(("factory", "kind"), KINDS)
def test_each_connection_gets_a_dialect_of_its_own(
    factory: SttDialectFactory | TtsDialectFactory, kind: type
) -> None:
    """By protocol, model and option; never the same object twice."""
    first, second = factory(), factory()
    assert type(first) is type(second) is kind
    assert first is not second


@pytest.mark.parametrize("model", CLASSIC_MODELS["tts"])
def test_the_models_with_native_frames_are_those_of_the_configuration(model: str) -> None:
    """What the configuration allows has a dialect, and nothing else."""
    if model in NATIVE_FRAMES_MODELS:
        assert type(tts(model=model, native_frames=True)()) is not ClassicTts
        return
    with pytest.raises(ConfigError, match=r"to one of: orpheus, elevenlabs\."):
        tts(model=model, language="hi", native_frames=True)


@pytest.mark.parametrize("protocol", ["bridge", "unified"])
def test_all_settings_reach_the_unified_speech_to_text(protocol: str) -> None:
    """As they are asked for."""
    dialect = stt(
        protocol=protocol,
        sample_rate_hz=8000,
        language="de",
        partials=False,
        words=True,
        binary_audio=False,
        options={"enable_vad": True},
    )()
    assert json.loads(dialect.init())["config"] == {
        "sample_rate": 8000,
        "encoding": "linear16",
        "enable_partials": False,
        "language": "de",
        "enable_word_timestamps": True,
        "enable_vad": True,
    }
    assert isinstance(dialect.audio(b"\0\0"), str)


def test_all_settings_reach_the_classic_speech_to_text() -> None:
    """What the protocol has a name for."""
    dialect = stt(
        protocol="classic", model="whisper", sample_rate_hz=8000, language="de", options={"x": 1}
    )()
    assert json.loads(dialect.init()) == {
        "type": "start",
        "sample_rate": 8000,
        "encoding": "pcm16",
        "language": "de",
        "x": 1,
    }


def test_all_settings_reach_the_unified_text_to_speech() -> None:
    """The model stands in `init` on the unified path."""
    dialect = tts(
        protocol="unified",
        model="slng/deepgram/aura:2-en",
        voice="v",
        sample_rate_hz=16000,
        language="en",
        speed=1.5,
        options={"x": 1},
    )()
    config = {"sample_rate": 16000, "encoding": "linear16", "language": "en", "speed": 1.5, "x": 1}
    assert json.loads(dialect.init()) == {
        "type": "init",
        "model": "aura:2-en",
        "voice": "v",
        "config": config,
    }


def test_what_is_not_asked_for_is_left_to_the_model() -> None:
    """No language, no times of words, no speed; but partial transcripts, and audio as it is."""
    listening = stt()()
    assert json.loads(listening.init())["config"] == {
        "sample_rate": 16000,
        "encoding": "linear16",
        "enable_partials": True,
    }
    assert listening.audio(b"\0\0") == b"\0\0"
    assert json.loads(tts(protocol="bridge", model="a/b:c")().init()) == {
        "type": "init",
        "config": {"sample_rate": 24000, "encoding": "linear16"},
    }


@pytest.mark.parametrize("native_frames", [False, True])
def test_all_settings_reach_the_classic_text_to_speech(native_frames: bool) -> None:
    """Native frames too are opened with them."""
    make = tts(
        voice="luna",
        language="en",
        options={"max_tokens": 9},
        context_id="c",
        native_frames=native_frames,
    )
    assert json.loads(make().init()) == {
        "type": "init",
        "voice_id": "luna",
        "context_id": "c",
        "language": "en",
        "max_tokens": 9,
    }


@pytest.mark.parametrize(
    ("model", "voice"), [("orpheus", "tara"), ("cartesia", None), ("deepgram", TtsConfig.voice)]
)
def test_the_built_in_voice_is_deepgrams(model: str, voice: str | None) -> None:
    """Who chose another model and no voice gets that model's own."""
    assert json.loads(tts(model=model, voice=TtsConfig.voice)().init()).get("voice_id") == voice


def context_id(make: TtsDialectFactory) -> str:
    """What the next connection's `init` says."""
    return str(json.loads(make().init())["context_id"])


def test_a_session_has_one_context() -> None:
    """All its connections say the same, and another session says another."""
    make = tts()
    assert context_id(make) == context_id(make)
    assert len(context_id(make)) > len("slng-edge-") + 30
    assert context_id(tts()) != context_id(make)


def test_the_context_can_be_named() -> None:
    """By the caller; the options win."""
    assert context_id(tts(context_id="mine")) == "mine"
    assert context_id(tts(context_id="mine", options={"context_id": "theirs"})) == "theirs"


def test_a_context_that_ready_names_is_kept_over_reconnects() -> None:
    """By the connections made after it."""
    make = tts()
    make().receive('{"type": "ready", "context_id": "of the gateway"}')
    assert context_id(make) == "of the gateway"


WRONG_STT: list[tuple[dict[str, Any], str]] = [
    ({"options": {"encoding": "mp3"}}, "stt.options.encoding"),
    ({"protocol": "classic"}, "stt.model"),
    ({"protocol": "classic", "model": "whisper", "binary_audio": False}, "stt.audio_frames"),
]
WRONG_TTS: list[tuple[dict[str, Any], str]] = [
    ({"protocol": "bridge", "options": {"encoding": "mp3"}}, "tts.options.encoding"),
    ({"model": "aura"}, "tts.model"),
    ({"sample_rate_hz": 16000}, "tts.sample_rate"),
    ({"speed": 1.25}, "tts.speed"),
    ({"options": {"context_id": ["c"]}}, "tts.options.context_id"),
    ({"native_frames": True, "model": "kokoro"}, "tts.native_frames"),
    ({"native_frames": True, "protocol": "bridge"}, "tts.native_frames"),
]


@pytest.mark.parametrize(("changes", "key"), WRONG_STT)
def test_wrong_settings_of_speech_to_text_are_told_at_once(
    changes: dict[str, Any], key: str
) -> None:
    """When the factory is made, not when the first connection is."""
    with pytest.raises(ConfigError, match=f"^{key}: "):
        stt(**changes)


@pytest.mark.parametrize(("changes", "key"), WRONG_TTS)
def test_wrong_settings_of_text_to_speech_are_told_at_once(
    changes: dict[str, Any], key: str
) -> None:
    """When the factory is made, not when the first connection is."""
    with pytest.raises(ConfigError, match=f"^{key}: "):
        tts(**changes)
