"""The unified text-to-speech dialect, message by message."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.errors import ConfigError, RateLimited, ServerReportedError
from slng_edge.protocol.unified_tts import UnifiedTts
from slng_edge.protocol.vocabulary import (
    Audio,
    Cleared,
    Failed,
    Ignored,
    NotUnderstood,
    Ready,
    SegmentEnded,
    SegmentStarted,
    SynthesisEnded,
    TtsServerEvent,
)

PCM = b"\1\2\3\4\5\6"
BASE64 = base64.b64encode(PCM).decode()


def tts(**changes: Any) -> UnifiedTts:
    """A dialect as the bridge wants it."""
    return UnifiedTts(**{"model": None, "voice": "", "sample_rate_hz": 24000, **changes})


def receive(**fields: Any) -> list[TtsServerEvent]:
    """What a fresh dialect makes of one JSON message."""
    return tts().receive(json.dumps(fields))


@pytest.mark.parametrize(
    ("changes", "top", "config"),
    [
        ({}, {}, {}),
        ({"model": "aura:2-en"}, {"model": "aura:2-en"}, {}),
        ({"voice": "aura-2-thalia-en"}, {"voice": "aura-2-thalia-en"}, {}),
        ({"language": "hi", "speed": 1.2}, {}, {"language": "hi", "speed": 1.2}),
        ({"speed": 1}, {}, {}),
        (
            {"options": {"pronunciation": {"mode": "rewrite", "name": "n"}, "speed": 0.9}},
            {},
            {"pronunciation": {"mode": "rewrite", "name": "n"}, "speed": 0.9},
        ),
    ],
)
def test_init_carries_the_configuration(
    changes: dict[str, Any], top: dict[str, Any], config: dict[str, Any]
) -> None:
    """Model and voice stand at the top, all else in config, and what was not asked is left out."""
    always = {"sample_rate": 24000, "encoding": "linear16"}
    expected = {"type": "init", **top, "config": {**always, **config}}
    assert json.loads(tts(**changes).init()) == expected


def test_another_encoding_is_refused() -> None:
    """Audio is linear16 always, so an option for opus is an error of the configuration."""
    with pytest.raises(ConfigError, match=r"tts\.options\.encoding"):
        tts(options={"encoding": "opus"})


def test_text_is_sent_with_what_it_needs() -> None:
    """Flush and pronunciation are sent only where they are asked for."""
    assert json.loads(tts().text("Hi.")) == {"type": "text", "text": "Hi."}
    rule = {"mode": "rewrite", "dictionary_id": "d"}
    assert json.loads(tts().text("Hi.", flush=True, pronunciation=rule)) == {
        "type": "text",
        "text": "Hi.",
        "flush": True,
        "pronunciation": rule,
    }


def test_the_plain_messages() -> None:
    """Flush, clear, keepalive and close are their type alone."""
    dialect = tts()
    sent = [dialect.flush(), dialect.clear(), dialect.keepalive(), dialect.close()]
    types = [json.loads(message) for message in sent]
    assert types == [{"type": name} for name in ("flush", "clear", "keepalive", "close")]


NO_AUDIO = "audio_chunk without audio"
NO_BASE64 = "audio_chunk whose audio is not base64"
MESSAGES: list[tuple[dict[str, Any], list[TtsServerEvent]]] = [
    ({"type": "ready", "session_id": "s1"}, [Ready("s1")]),
    ({"type": "Ready", "session_id": 5}, [Ready("5")]),
    ({"type": "audio_chunk", "data": BASE64, "sequence": 1}, [Audio(PCM, 1)]),
    ({"type": "audio_chunk", "data": BASE64, "sequence": "1"}, [Audio(PCM)]),
    ({"type": "Audio", "data": {"audio": BASE64}}, [Audio(PCM)]),
    ({"type": "audio", "audio": BASE64}, [Audio(PCM)]),
    ({"type": "chunk", "data": "", "audio": BASE64}, [Audio(PCM)]),
    ({"type": "audio_chunk", "data": ""}, [Ignored("audio_chunk")]),
    ({"type": "audio_chunk"}, [NotUnderstood("audio_chunk", NO_AUDIO)]),
    ({"type": "audio_chunk", "data": [1, 2]}, [NotUnderstood("audio_chunk", NO_AUDIO)]),
    ({"type": "audio_chunk", "data": "AQI"}, [NotUnderstood("audio_chunk", NO_BASE64)]),
    ({"type": "audio_chunk", "data": "A(ID"}, [NotUnderstood("audio_chunk", NO_BASE64)]),
    ({"type": "audio_chunk", "data": "A(AAA"}, [NotUnderstood("audio_chunk", NO_BASE64)]),
    ({"type": "audio_chunk", "data": "ü==="}, [NotUnderstood("audio_chunk", NO_BASE64)]),
    ({"type": "segment_start", "segment_id": "g1"}, [SegmentStarted("g1")]),
    ({"type": "segment_end", "segment_id": 2}, [SegmentEnded("2")]),
    ({"type": "segment_end"}, [SegmentEnded("")]),
    ({"type": "flushed"}, [SynthesisEnded("flushed")]),
    ({"type": "flushed", "duration": 1.5}, [SynthesisEnded("flushed", 1.5)]),
    ({"type": "Flushed"}, [SynthesisEnded("flushed")]),
    ({"type": "audio_end", "duration": 3.5}, [SynthesisEnded("audio_end", 3.5)]),
    ({"type": "audio_end", "duration": "3.5"}, [SynthesisEnded("audio_end")]),
    ({"type": "done"}, [SynthesisEnded("audio_end")]),
    ({"type": "end"}, [SynthesisEnded("audio_end")]),
    ({"type": "event", "data": {"event": "complete"}}, [SynthesisEnded("audio_end")]),
    ({"type": "event", "data": {"event_type": "Final"}}, [SynthesisEnded("audio_end")]),
    ({"type": "event", "data": {"event": "started"}}, [Ignored("event")]),
    ({"type": "event", "data": "complete"}, [Ignored("event")]),
    ({"type": "cleared"}, [Cleared()]),
    ({"type": "Metadata"}, [Ignored("metadata")]),
    ({"type": "control_ack"}, [Ignored("control_ack")]),
    ({"type": "surprise"}, [NotUnderstood("surprise", "unknown type 'surprise'")]),
    ({"audio": BASE64, "isFinal": None}, [Audio(PCM)]),
    ({"audio": None, "isFinal": True}, [SynthesisEnded("audio_end")]),
    ({"audio": BASE64, "isFinal": "true"}, [Audio(PCM), SynthesisEnded("audio_end")]),
    ({"audio": "?"}, [NotUnderstood("audio", "audio whose audio is not base64")]),
    ({"audio": None}, [NotUnderstood("", "no type")]),
    ({}, [NotUnderstood("", "no type")]),
]


@pytest.mark.parametrize(("fields", "events"), MESSAGES, ids=lambda value: str(value)[:60])
def test_each_message_means_its_events(
    fields: dict[str, Any], events: list[TtsServerEvent]
) -> None:
    """The messages of the protocol and those seen in the field."""
    assert receive(**fields) == events


def test_a_binary_message_is_audio() -> None:
    """Bytes are handed on as they came, half samples and headers included."""
    assert tts().receive(PCM[:3]) == [Audio(PCM[:3])]


def test_an_empty_binary_message_is_no_audio() -> None:
    """It must not pass for the first sound of an utterance."""
    assert tts().receive(b"") == [Ignored("binary")]


ERRORS: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"type": "error", "code": "provider_error", "message": "Upstream error"},
        ServerReportedError,
        "provider_error: Upstream error.",
    ),
    ({"type": "Error", "data": {"code": 429, "description": "slow"}}, RateLimited, "slow"),
    (
        {"type": "event", "data": {"event": "failed", "code": 502, "message": "gone"}},
        ServerReportedError,
        "502: gone.",
    ),
    ({"error": "no voice"}, ServerReportedError, "no voice"),
]


@pytest.mark.parametrize(("fields", "kind", "words"), ERRORS)
def test_errors_keep_the_words_of_the_server(
    fields: dict[str, Any], kind: type[Exception], words: str
) -> None:
    """Errors in every form are failures, with what the gateway said."""
    (event,) = receive(**fields)
    assert isinstance(event, Failed)
    assert type(event.error) is kind
    assert words in str(event.error)


NAMES = st.sampled_from(
    [
        "type",
        "data",
        "audio",
        "sequence",
        "duration",
        "segment_id",
        "session_id",
        "event",
        "event_type",
        "isFinal",
        "code",
        "message",
        "error",
        "retryable",
    ]
)
TYPES = st.sampled_from(
    [
        "ready",
        "audio_chunk",
        "Audio",
        "flushed",
        "audio_end",
        "done",
        "event",
        "cleared",
        "segment_start",
        "error",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | TYPES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES), TYPES | VALUES)
def test_no_json_is_too_odd(fields: dict[str, Any], kind: object) -> None:
    """Whatever a message holds, the answer is one event or two, fit for a log."""
    events = tts().receive(json.dumps({**fields, "type": kind}))
    assert 1 <= len(events) <= 2
    str(events).encode("utf-8")


@settings(deadline=None)
@given(st.text(st.characters()))
def test_no_text_is_too_odd(message: str) -> None:
    """What is no JSON at all is not understood, and raises nothing."""
    assert len(tts().receive(message)) == 1


@settings(deadline=None)
@given(st.binary(min_size=1))
def test_all_bytes_are_audio(data: bytes) -> None:
    """Any binary message is audio."""
    assert tts().receive(data) == [Audio(data)]


def test_an_interruption_is_answered_and_a_voice_stays() -> None:
    """What the exchange asks of a dialect, besides messages."""
    assert tts().acknowledges_clear
    assert tts(voice="one").configure("other") is None
