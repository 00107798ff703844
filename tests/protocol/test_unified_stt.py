"""The unified speech-to-text dialect, message by message."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.errors import AuthenticationRejected, ConfigError, LocalProtocolError
from slng_edge.protocol.unified_stt import UnifiedStt
from slng_edge.protocol.vocabulary import (
    Failed,
    FinalTranscript,
    Ignored,
    NotUnderstood,
    PartialTranscript,
    Ready,
    SttServerEvent,
    UtteranceEnd,
)


def stt(**changes: Any) -> UnifiedStt:
    """A dialect at 16 kHz."""
    return UnifiedStt(**{"sample_rate_hz": 16000, **changes})


def receive(**fields: Any) -> list[SttServerEvent]:
    """What a fresh dialect makes of one JSON message."""
    return stt().receive(json.dumps(fields))


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({}, {}),
        ({"language": "de"}, {"language": "de"}),
        ({"partials": False}, {"enable_partials": False}),
        ({"words": True}, {"enable_word_timestamps": True}),
        (
            {"options": {"enable_vad": True, "enable_partials": False, "language": "fr"}},
            {"enable_vad": True, "enable_partials": False, "language": "fr"},
        ),
    ],
)
def test_init_carries_the_configuration(changes: dict[str, Any], config: dict[str, Any]) -> None:
    """`init` says what was asked for and leaves out what was not; options come last."""
    always = {"sample_rate": 16000, "encoding": "linear16", "enable_partials": True}
    assert json.loads(stt(**changes).init()) == {"type": "init", "config": {**always, **config}}


def test_another_encoding_is_refused() -> None:
    """Audio is linear16 always, so an option for mp3 is an error of the configuration."""
    with pytest.raises(ConfigError, match=r"stt\.options\.encoding"):
        stt(options={"encoding": "mp3"})


def test_audio_is_sent_as_it_is() -> None:
    """A binary message is the samples themselves."""
    assert stt().audio(b"\1\2\3\4") == b"\1\2\3\4"


def test_audio_can_be_sent_as_base64() -> None:
    """The other form is JSON with the samples as base64."""
    message = stt(binary_audio=False).audio(b"\1\2")
    assert isinstance(message, str)
    assert json.loads(message) == {"type": "audio", "data": base64.b64encode(b"\1\2").decode()}


@pytest.mark.parametrize("binary_audio", [True, False])
def test_half_a_sample_is_never_sent(binary_audio: bool) -> None:
    """Audio that ends inside a sample is a bug of ours, and said so."""
    with pytest.raises(LocalProtocolError, match="3 bytes"):
        stt(binary_audio=binary_audio).audio(b"\1\2\3")


def test_the_plain_messages() -> None:
    """Finalize, keepalive and close are their type alone."""
    dialect = stt()
    sent = [dialect.finalize(), dialect.keepalive(), dialect.close()]
    assert [json.loads(message) for message in sent] == [
        {"type": "finalize"},
        {"type": "keepalive"},
        {"type": "close"},
    ]


MESSAGES: list[tuple[dict[str, Any], SttServerEvent]] = [
    ({"type": "ready", "session_id": "s1", "commands": ["finalize"], "features": {}}, Ready("s1")),
    ({"type": "READY"}, Ready("")),
    (
        {"type": "partial_transcript", "transcript": "Hello wor", "confidence": 0.85},
        PartialTranscript("Hello wor", 0.85),
    ),
    ({"type": "Partial_Transcript", "text": " so "}, PartialTranscript("so")),
    ({"type": "partial_transcript", "transcript": "x", "is_final": True}, PartialTranscript("x")),
    (
        {
            "type": "final_transcript",
            "transcript": "Hello world",
            "confidence": 0.95,
            "language": "en",
            "duration": 2.5,
        },
        FinalTranscript("Hello world", 0.95, "en", 2.5),
    ),
    ({"type": "final_transcript", "transcript": ""}, FinalTranscript("")),
    ({"type": "final_transcript", "transcript": None}, FinalTranscript("")),
    ({"type": "final_transcript"}, FinalTranscript("")),
    ({"type": "final_transcript", "transcript": "", "text": "b"}, FinalTranscript("b")),
    ({"type": "final_transcript", "transcript": 3, "text": "b"}, FinalTranscript("b")),
    ({"type": "final_transcript", "transcript": "a", "is_final": False}, FinalTranscript("a")),
    (
        {"type": "final_transcript", "transcript": "a", "from_finalize": True},
        FinalTranscript("a", answers_finalize=True),
    ),
    (
        {"type": "final_transcript", "transcript": "a", "from_finalize": "true"},
        FinalTranscript("a", answers_finalize=True),
    ),
    (
        {"type": "final_transcript", "transcript": "a", "from_finalize": "perhaps"},
        FinalTranscript("a"),
    ),
    ({"type": "final_transcript", "transcript": "a", "duration": "2 s"}, FinalTranscript("a")),
    (
        {"type": "final_transcript", "transcript": "a", "duration": None, "audio_duration": 2},
        FinalTranscript("a", duration_s=2.0),
    ),
    (
        {"type": "final_transcript", "text": "a", "audio_duration_seconds": 2},
        FinalTranscript("a", duration_s=2.0),
    ),
    ({"type": "final_transcript", "transcript": "a\ud800"}, FinalTranscript("a\ufffd")),
    ({"type": "transcript", "text": "a", "is_final": True}, FinalTranscript("a")),
    ({"type": "transcript", "text": "a", "is_final": False}, PartialTranscript("a")),
    ({"type": "transcript", "text": "a"}, PartialTranscript("a")),
    (
        {
            "type": "final_transcript",
            "transcript": " Turn it up. And off.",
            "context_id": "c",
            "is_final": True,
            "audio_duration": 3.25,
            "segments": [
                {"text": " Turn it up.", "start": 0.0, "end": 1.5},
                {"text": " And off.", "start": 1.5, "end": 3},
            ],
        },
        FinalTranscript(
            "Turn it up. And off.",
            duration_s=3.25,
            words=(
                {"word": "Turn it up.", "start": 0.0, "end": 1.5},
                {"word": "And off.", "start": 1.5, "end": 3},
            ),
        ),
    ),
    ({"type": "utterance_end", "last_word_end": 2.48}, UtteranceEnd(2.48)),
    ({"type": "UtteranceEnd", "last_word_end": "x"}, UtteranceEnd()),
    ({"type": "Metadata", "request_id": "r"}, Ignored("metadata")),
    ({"type": "SpeechStarted"}, Ignored("speechstarted")),
    ({"type": "surprise"}, NotUnderstood("surprise", "unknown type 'surprise'")),
    ({"transcript": "a"}, NotUnderstood("", "no type")),
    (
        {"type": "final_transcript", "transcript": ["a"]},
        NotUnderstood("final_transcript", "final_transcript whose transcript is no text"),
    ),
]


@pytest.mark.parametrize(("fields", "event"), MESSAGES, ids=lambda value: str(value)[:60])
def test_each_message_means_one_event(fields: dict[str, Any], event: SttServerEvent) -> None:
    """The messages of the protocol and those seen in the field."""
    assert receive(**fields) == [event]


DEEPGRAM_WORDS = [
    {"word": "hello", "start": 0.1, "end": 0.4, "confidence": 0.9, "punctuated_word": "Hello."}
]


def results(is_final: object, **extras: Any) -> dict[str, Any]:
    """A message as Deepgram writes it."""
    alternative = {"transcript": "Hello.", "confidence": 0.9, "words": DEEPGRAM_WORDS}
    channel = {"alternatives": [alternative, {"transcript": "Yellow."}]}
    return {"type": "Results", "is_final": is_final, "channel": channel, **extras}


@pytest.mark.parametrize("is_final", [True, "true", "True", 1])
def test_deepgram_finals_pass_through(is_final: object) -> None:
    """A final result in Deepgram's own form is a final, with its words."""
    (event,) = receive(**results(is_final, duration=1.5, from_finalize=True, language="en"))
    assert event == FinalTranscript("Hello.", 0.9, "en", 1.5, tuple(DEEPGRAM_WORDS), True)


@pytest.mark.parametrize("is_final", [False, "false", None, "perhaps", []])
def test_deepgram_partials_pass_through(is_final: object) -> None:
    """Anything but a clear true is a partial."""
    assert receive(**results(is_final)) == [PartialTranscript("Hello.", 0.9)]


@pytest.mark.parametrize(
    "channel",
    [None, [], "x", {}, {"alternatives": None}, {"alternatives": []}, {"alternatives": ["x"]}],
)
def test_a_deepgram_final_without_alternatives_is_empty(channel: object) -> None:
    """Nothing was said, and that is an answer."""
    assert receive(type="Results", is_final=True, channel=channel) == [FinalTranscript("")]


def test_language_and_confidence_of_the_alternative_fill_in() -> None:
    """What the message does not say at the top is taken from its first alternative."""
    alternative = {"transcript": "Hallo", "confidence": 0.7, "language": "de"}
    fields = {"type": "final_transcript", "channel": {"alternatives": [alternative]}}
    assert receive(**fields) == [FinalTranscript("Hallo", 0.7, "de")]
    assert receive(**fields, confidence=0.0, language="nl") == [FinalTranscript("Hallo", 0.0, "nl")]


@pytest.mark.parametrize("confidence", [-0.1, 1.01, math.nan, math.inf, True, "0.9", None, 10**400])
def test_a_confidence_that_is_none_is_none(confidence: object) -> None:
    """The words are kept whatever stands beside them."""
    fields = {"type": "final_transcript", "transcript": "a", "confidence": confidence}
    assert receive(**fields) == [FinalTranscript("a")]


def test_words_keep_scalars_only() -> None:
    """Each entry has a word and finite numbers; nothing nested, nothing JSON cannot say."""
    words = [
        {"word": "one", "start": "0.1", "end": 0.4, "speaker": 2, "extra": {"deep": []}},
        {"word": " ", "start": 1},
        "loose",
        {"text": "two", "start": -1, "score": math.nan, "sure": True, "x\ud800": "y\ud800"},
    ]
    (event,) = receive(type="final_transcript", transcript="one two", words=words)
    assert isinstance(event, FinalTranscript)
    assert [{k: v for k, v in word.items() if v is not None} for word in event.words] == [
        {"word": "one", "end": 0.4, "speaker": 2},
        {"word": "two", "sure": True, "x\ufffd": "y\ufffd"},
    ]
    assert not any(value is None for word in event.words for value in word.values())


@pytest.mark.parametrize("words", [None, "x", [], [{"start": 1}], {"word": "a"}])
def test_segments_stand_in_where_no_words_are(words: object) -> None:
    """Words that are missing or unfit give way to segments."""
    fields = {"type": "final_transcript", "transcript": "a b", "words": words}
    (event,) = receive(**fields, segments=[{"text": "a b", "start": 0, "end": 1}])
    assert isinstance(event, FinalTranscript)
    assert event.words == ({"word": "a b", "start": 0, "end": 1},)


def test_an_error_says_why() -> None:
    """An error message, nested as some routes send it, is a failure of the right kind."""
    (event,) = receive(type="Error", data={"code": "auth_error", "message": "no such key"})
    assert isinstance(event, Failed)
    assert isinstance(event.error, AuthenticationRejected)
    assert "no such key" in str(event.error)


@pytest.mark.parametrize("data", [b"", b"\0\1", b'{"type":"ready"}'])
def test_a_binary_message_is_not_understood(data: bytes) -> None:
    """A speech-to-text server has no binary messages."""
    assert stt().receive(data) == [NotUnderstood("", f"binary message of {len(data)} bytes")]


SAID = '{"type":"transcript","text":"hello","is_final":true}'
FINAL = '{"type":"final_transcript","transcript":"hello"}'
ANSWER = '{"type":"final_transcript","transcript":"hello","from_finalize":true}'
LONG = '{"type":"final_transcript","transcript":"hello","duration":2,"confidence":0.5}'
OTHER = '{"type":"final_transcript","transcript":"hello again"}'
PARTIAL = '{"type":"partial_transcript","transcript":"hello"}'
END = '{"type":"utterance_end"}'
FINALIZE = "finalize"
INIT = "init"
HELLO = FinalTranscript("hello")
SEQUENCES: dict[str, tuple[list[str], list[SttServerEvent]]] = {
    "repeated": ([SAID, FINAL], [HELLO]),
    "repeated after an end": ([SAID, END, FINAL], [HELLO, UtteranceEnd()]),
    "repeated once": ([SAID, FINAL, FINAL], [HELLO, HELLO]),
    "finalized before": ([FINALIZE, SAID, FINAL], [HELLO]),
    "other words": ([SAID, OTHER], [HELLO, FinalTranscript("hello again")]),
    "after a partial": ([SAID, PARTIAL, FINAL], [HELLO, PartialTranscript("hello"), HELLO]),
    "said twice": ([SAID, SAID, FINAL], [HELLO, HELLO]),
    "each said": ([SAID, FINAL, SAID, FINAL], [HELLO, HELLO]),
    "finals alone": ([FINAL, FINAL], [HELLO, HELLO]),
    "marked answer": ([SAID, ANSWER], [HELLO, FinalTranscript("", answers_finalize=True)]),
    "another connection": ([SAID, INIT, FINAL], [HELLO, HELLO]),
    "with its length": ([SAID, FINALIZE, LONG], [HELLO, FinalTranscript("")]),
    "finalized between": ([SAID, FINALIZE, FINAL], [HELLO, FinalTranscript("")]),
}


@pytest.mark.parametrize(("messages", "events"), SEQUENCES.values(), ids=SEQUENCES.keys())
def test_a_final_said_twice_counts_once(messages: list[str], events: list[SttServerEvent]) -> None:
    """A final transcript that repeats the one before adds no words, but ends a wait."""
    dialect = stt()
    heard: list[SttServerEvent] = []
    for message in messages:
        if message == FINALIZE:
            dialect.finalize()
        elif message == INIT:
            dialect.init()
        else:
            heard += dialect.receive(message)
    assert heard == events


NAMES = st.sampled_from(
    [
        "type",
        "transcript",
        "text",
        "is_final",
        "confidence",
        "words",
        "segments",
        "start",
        "end",
        "word",
        "channel",
        "alternatives",
        "duration",
        "language",
        "from_finalize",
        "data",
        "code",
        "message",
        "error",
        "retryable",
        "session_id",
    ]
)
TYPES = st.sampled_from(
    [
        "ready",
        "partial_transcript",
        "final_transcript",
        "transcript",
        "Results",
        "utterance_end",
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
    """Whatever a message holds, the answer is a list of events, fit for a log and for JSON."""
    for event in stt().receive(json.dumps({**fields, "type": kind})):
        str(event).encode("utf-8")
        if isinstance(event, FinalTranscript):
            json.dumps(event.words, allow_nan=False)


@settings(deadline=None)
@given(st.text(st.characters()) | st.binary())
def test_no_message_is_too_odd(message: str | bytes) -> None:
    """What is no JSON at all is not understood, and raises nothing."""
    assert len(stt().receive(message)) == 1


@pytest.mark.parametrize(("confidence", "kept"), [(1.0, 1.0), (1.5, None)])
def test_a_confidence_of_an_alternative_goes_up_to_one_as_well(
    confidence: float, kept: float | None
) -> None:
    """Like that of the message."""
    alternative = {"transcript": "a", "confidence": confidence}
    (event,) = receive(type="Results", is_final=True, channel={"alternatives": [alternative]})
    assert isinstance(event, FinalTranscript)
    assert event.confidence == kept


def test_a_timed_word_has_no_white_space_around_it() -> None:
    """Whisper's words begin with a space."""
    words = [{"word": " one", "start": 0.5}, {"text": " two "}]
    (event,) = receive(type="final_transcript", transcript="one two", words=words)
    assert isinstance(event, FinalTranscript)
    assert event.words == ({"word": "one", "start": 0.5}, {"word": "two"})
