"""The providers' own text frames on classic endpoints."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from slng_edge.protocol.classic_tts import ClassicContext
from slng_edge.protocol.native_frames import NativeElevenLabsTts, NativeOrpheusTts
from slng_edge.protocol.vocabulary import (
    Audio,
    Cleared,
    Failed,
    Ready,
    SynthesisEnded,
    TtsServerEvent,
)

PCM = b"\1\2\3\4"
BASE64 = base64.b64encode(PCM).decode()


def orpheus() -> NativeOrpheusTts:
    """A dialect with the default voice."""
    return NativeOrpheusTts(model="orpheus", voice="", context=ClassicContext("c"))


def elevenlabs(**options: Any) -> NativeElevenLabsTts:
    """A dialect with `options`."""
    context = ClassicContext("c")
    return NativeElevenLabsTts(model="elevenlabs", voice="v", context=context, options=options)


@pytest.mark.parametrize("dialect", [orpheus(), elevenlabs()])
def test_the_session_is_opened_as_a_classic_one(
    dialect: NativeOrpheusTts | NativeElevenLabsTts,
) -> None:
    """`init` and `ping` are SLNG's, so that a voice is set and `ready` is said."""
    init = json.loads(dialect.init())
    assert (init["type"], init["context_id"]) == ("init", "c")
    assert json.loads(dialect.keepalive()) == {"type": "ping"}


@pytest.mark.parametrize("text", ["Hello world.", 'She said "hi".', " नमस्ते ", "[laughs] Oh."])
def test_orpheus_takes_bare_text(text: str) -> None:
    """The frame is the text, nothing around it."""
    assert orpheus().text(text) == text


@pytest.mark.parametrize(
    "text", ['{"type": "stop"}', ' {"type": "stop"', "{", "4.5", "null", '"hi"', "[1]", "", "  "]
)
def test_text_that_reads_as_a_message_is_spoken_all_the_same(text: str) -> None:
    """A reply must not command the gateway: then the classic message carries it."""
    assert json.loads(orpheus().text(text)) == {"type": "input_text", "text": text}


def test_bare_text_is_fit_for_the_wire() -> None:
    """A lone surrogate is replaced, as in JSON."""
    assert orpheus().text("a\ud800") == "a\ufffd"


def test_text_nested_beyond_reading_is_spoken() -> None:
    """A text of brackets is no message, however deep."""
    text = "[" * 100_000
    assert orpheus().text(text) == text


def test_orpheus_is_flushed_by_a_control_message() -> None:
    """In its own form."""
    assert json.loads(orpheus().flush()) == {"type": "control", "action": "flush"}


def test_elevenlabs_takes_text_with_its_voice_settings() -> None:
    """A blank ends the text, once; settings are sent where there are some."""
    settings = {"stability": 0.5}
    assert json.loads(elevenlabs(voice_settings=settings).text("Hi.")) == {
        "text": "Hi. ",
        "voice_settings": settings,
    }
    assert json.loads(elevenlabs().text("Hi. ")) == {"text": "Hi. "}


def test_an_empty_text_flushes_elevenlabs() -> None:
    """No more text follows."""
    assert json.loads(elevenlabs().flush()) == {"text": ""}


def test_elevenlabs_text_is_fit_for_the_wire() -> None:
    """A lone surrogate is replaced."""
    assert json.loads(elevenlabs().text("a\ud800")) == {"text": "a\ufffd "}


def test_elevenlabs_text_takes_no_more_bytes_than_it_must() -> None:
    """The plan counts them: no blanks between fields, no escapes."""
    sent = elevenlabs(voice_settings={"style": 0, "speed": 1}).text("ओह!")
    assert sent == '{"text":"ओह! ","voice_settings":{"style":0,"speed":1}}'


RAW: list[tuple[str | bytes, list[TtsServerEvent]]] = [
    (PCM, [Audio(PCM)]),
    (json.dumps({"type": "ready", "session": "s"}), [Ready("s")]),
    (json.dumps({"audio": BASE64, "isFinal": None}), [Audio(PCM)]),
    (json.dumps({"audio": BASE64, "isFinal": True}), [Audio(PCM), SynthesisEnded("audio_end")]),
    (json.dumps({"audio": None, "isFinal": True}), [SynthesisEnded("audio_end")]),
    (json.dumps({"type": "audio_chunk", "data": BASE64, "sequence": 1}), [Audio(PCM, 1)]),
]


@pytest.mark.parametrize("dialect", [orpheus(), elevenlabs()])
@pytest.mark.parametrize(("message", "events"), RAW)
def test_raw_forms_are_understood(
    dialect: NativeOrpheusTts | NativeElevenLabsTts,
    message: str | bytes,
    events: list[TtsServerEvent],
) -> None:
    """Those of the provider, beside those of the gateway."""
    assert dialect.receive(message) == events


def test_an_error_of_the_provider_is_an_error() -> None:
    """ElevenLabs sends it without a type."""
    (event,) = elevenlabs().receive('{"message": "bad voice", "error": "voice_id", "code": 1008}')
    assert isinstance(event, Failed)
    assert "bad voice" in str(event.error)


def test_an_interruption_is_the_classic_one() -> None:
    """`stop` for orpheus, answered by the end; `clear` for elevenlabs."""
    dialect = orpheus()
    assert json.loads(dialect.clear()) == {"type": "stop"}
    assert dialect.receive('{"type": "audio_end"}') == [Cleared()]
    assert json.loads(elevenlabs().clear()) == {"type": "clear"}
