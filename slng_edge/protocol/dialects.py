"""Which dialect a session speaks: one object for each connection, made by a factory.

What is wrong with the settings is said when the factory is made, not when a connection is.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from slng_edge.config import CLASSIC_TTS_RATE_HZ, TtsConfig
from slng_edge.errors import ConfigError
from slng_edge.protocol.classic_stt import ClassicStt
from slng_edge.protocol.classic_tts import ClassicContext, ClassicTts
from slng_edge.protocol.native_frames import NativeElevenLabsTts, NativeOrpheusTts
from slng_edge.protocol.routes import model_name_for_init
from slng_edge.protocol.unified_stt import UnifiedStt
from slng_edge.protocol.unified_tts import UnifiedTts

SttDialectFactory: TypeAlias = Callable[[], UnifiedStt | ClassicStt]
TtsDialectFactory: TypeAlias = Callable[[], UnifiedTts | ClassicTts]

_NATIVE_FRAMES: Mapping[str, type[ClassicTts]] = {
    "orpheus": NativeOrpheusTts,
    "elevenlabs": NativeElevenLabsTts,
}


def stt_dialect_factory(
    *,
    protocol: str,
    model: str,
    sample_rate_hz: int,
    language: str = "",
    partials: bool = True,
    words: bool = False,
    binary_audio: bool = True,
    options: Mapping[str, Any] = {},
) -> SttDialectFactory:
    """What makes the dialect of each connection of a speech-to-text session.

    Args:
        protocol: "bridge", "unified" or "classic".
        model: model path, or on "classic" a classic name.
        sample_rate_hz: rate of the audio that will be sent, s16le mono.
        language: language code; "" takes the model's default.
        partials: ask for partial transcripts; "classic" sends them anyway.
        words: ask for the times of words; "classic" has none.
        binary_audio: send audio as binary messages, else as base64 in JSON.
        options: passed through into `init.config`, on "classic" into `start` itself.

    Raises:
        ConfigError: see `UnifiedStt` and `ClassicStt`; or base64 audio on "classic".
    """
    make: SttDialectFactory
    if protocol == "classic":
        if not binary_audio:
            raise ConfigError(
                "stt.audio_frames: the classic protocol takes binary audio only. "
                'Set stt.audio_frames = "binary".'
            )
        make = functools.partial(
            ClassicStt,
            model=model,
            sample_rate_hz=sample_rate_hz,
            language=language,
            options=options,
        )
    else:
        make = functools.partial(
            UnifiedStt,
            sample_rate_hz=sample_rate_hz,
            language=language,
            partials=partials,
            words=words,
            binary_audio=binary_audio,
            options=options,
        )
    make()
    return make


def tts_dialect_factory(
    *,
    protocol: str,
    model: str,
    voice: str,
    sample_rate_hz: int = CLASSIC_TTS_RATE_HZ,
    language: str = "",
    speed: float = 1.0,
    options: Mapping[str, Any] = {},
    native_frames: bool = False,
    context_id: str = "",
) -> TtsDialectFactory:
    """What makes the dialect of each connection of a text-to-speech session.

    On "classic" the dialects share one `ClassicContext`, which lives as long as the factory:
    make one factory a session.

    Args:
        protocol: "bridge", "unified" or "classic".
        model: model path, or on "classic" a classic name.
        voice: voice name; "" takes the model's default. The built-in `tts.voice` is of
            Deepgram's: it counts as "" for the other classic models.
        sample_rate_hz: rate of the audio asked for, s16le mono.
        language: language code; "" takes the model's default.
        speed: 1.0 is the voice's own.
        options: passed through into `init.config`, on "classic" into `init` itself.
        native_frames: send text as the provider's own clients do; "classic" only, and
            only orpheus and elevenlabs have such frames.
        context_id: names the session on "classic"; "" makes one, `options.context_id` wins.

    Raises:
        ConfigError: see `UnifiedTts` and `ClassicTts`; or `native_frames` where there are none.
    """
    make: TtsDialectFactory
    if native_frames and (protocol != "classic" or model not in _NATIVE_FRAMES):
        raise ConfigError(
            f"tts.native_frames: there are none for {model!r} on {protocol!r}. Set it to false, or "
            f'gateway.protocol = "classic" and tts.model to one of: {", ".join(_NATIVE_FRAMES)}.'
        )
    if protocol == "classic":
        named = options.get("context_id") or context_id or f"slng-edge-{uuid.uuid4()}"
        make = functools.partial(
            _NATIVE_FRAMES[model] if native_frames else ClassicTts,
            model=model,
            voice="" if voice == TtsConfig.voice and model != "deepgram" else voice,
            context=ClassicContext(named),
            sample_rate_hz=sample_rate_hz,
            language=language,
            speed=speed,
            options=options,
        )
    else:
        make = functools.partial(
            UnifiedTts,
            model=model_name_for_init(protocol, model),
            voice=voice,
            sample_rate_hz=sample_rate_hz,
            language=language,
            speed=speed,
            options=options,
        )
    make()
    return make
