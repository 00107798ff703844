"""The classic speech-to-text dialect, message by message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.errors import (
    AuthenticationRejected,
    ConfigError,
    LocalProtocolError,
    RateLimited,
    ServerReportedError,
)
from slng_edge.protocol.classic_stt import ClassicStt
from slng_edge.protocol.vocabulary import (
    Failed,
    FinalTranscript,
    Ignored,
    NotUnderstood,
    PartialTranscript,
    Ready,
    SttServerEvent,
)


def stt(**changes: Any) -> ClassicStt:
    """A dialect at 16 kHz."""
    return ClassicStt(**{"model": "whisper", "sample_rate_hz": 16000, **changes})


def receive(**fields: Any) -> list[SttServerEvent]:
    """What a fresh dialect makes of one JSON message."""
    return stt().receive(json.dumps(fields))


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, {}),
        ({"language": "de"}, {"language": "de"}),
        ({"sample_rate_hz": 8000}, {"sample_rate": 8000}),
        (
            {"language": "de", "options": {"language": "fr", "vad_threshold": 0.5, "kind": [1]}},
            {"language": "fr", "vad_threshold": 0.5, "kind": [1]},
        ),
        ({"options": {"encoding": "linear16", "sample_rate": 16000}}, {}),
    ],
)
def test_start_carries_the_configuration(changes: dict[str, Any], fields: dict[str, Any]) -> None:
    """The format is named as the classic protocol does; options stand beside it, and win."""
    always = {"type": "start", "sample_rate": 16000, "encoding": "pcm16"}
    assert json.loads(stt(**changes).init()) == {**always, **fields}


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"model": "wisper"}, ["stt.model: 'wisper' is not a model"]),
    ({"options": {"encoding": "mp3"}}, ["stt.options.encoding: "]),
    ({"options": {"sample_rate": 8000}}, ["stt.options.sample_rate: "]),
    ({"options": {"type": "init"}}, ["stt.options.type: "]),
    (
        {"options": {"type": "init", "encoding": "opus"}},
        ["stt.options.encoding: ", "stt.options.type: "],
    ),
]


@pytest.mark.parametrize(("changes", "problems"), WRONG)
def test_what_cannot_be_is_refused(changes: dict[str, Any], problems: list[str]) -> None:
    """Each problem is told, with the key it is about."""
    with pytest.raises(ConfigError) as caught:
        stt(**changes)
    for said, problem in zip(caught.value.problems, problems, strict=True):
        assert said.startswith(problem)


def test_audio_is_sent_as_it_is() -> None:
    """A binary message is the samples themselves."""
    assert stt().audio(b"\1\2\3\4") == b"\1\2\3\4"


def test_half_a_sample_is_never_sent() -> None:
    """Audio that ends inside a sample is a bug of ours, and said so."""
    with pytest.raises(LocalProtocolError, match="3 bytes"):
        stt().audio(b"\1\2\3")


def test_the_plain_messages() -> None:
    """There is `finalize`, and neither a keepalive nor a close."""
    dialect = stt()
    assert json.loads(dialect.finalize()) == {"type": "finalize"}
    spoken: list[object] = [getattr(dialect, name)() for name in ("keepalive", "close")]
    assert spoken == [None, None]


MESSAGES: list[tuple[dict[str, Any], SttServerEvent]] = [
    ({"type": "ready", "model_id": "w", "sample_rate": 16000, "encoding": "pcm16"}, Ready("")),
    ({"type": "READY", "session_id": "s1"}, Ready("s1")),
    (
        {"type": "transcript", "text": "Hello wor", "is_final": False, "confidence": 0.8},
        PartialTranscript("Hello wor", 0.8),
    ),
    ({"type": "Transcript", "text": "so"}, PartialTranscript("so")),
    (
        {"type": "transcript", "text": "Hello.", "is_final": True, "timestamp": 1.5},
        FinalTranscript("Hello."),
    ),
    ({"type": "transcript", "text": "Hello.", "is_final": "true"}, FinalTranscript("Hello.")),
    (
        {"type": "final_transcript", "text": "Hello.", "audio_duration_seconds": 1.25},
        FinalTranscript("Hello.", duration_s=1.25),
    ),
    ({"type": "final_transcript", "text": ""}, FinalTranscript("")),
    ({"type": "final_transcript"}, FinalTranscript("")),
    ({"type": "FINAL_TRANSCRIPT", "transcript": "Hello."}, FinalTranscript("Hello.")),
    ({"type": "partial_transcript", "transcript": "Hel"}, PartialTranscript("Hel")),
    ({"type": "Metadata"}, Ignored("metadata")),
    ({"type": "surprise"}, NotUnderstood("surprise", "unknown type 'surprise'")),
    (
        {"type": "final_transcript", "text": ["a"]},
        NotUnderstood("final_transcript", "final_transcript whose transcript is no text"),
    ),
]


@pytest.mark.parametrize(("fields", "event"), MESSAGES, ids=lambda value: str(value)[:60])
def test_each_message_means_one_event(fields: dict[str, Any], event: SttServerEvent) -> None:
    """The messages of the protocol, those of the unified one, and other cases."""
    assert receive(**fields) == [event]


ERRORS: list[tuple[dict[str, Any], type[Exception], bool]] = [
    ({"code": "auth_error", "message": "no such key"}, AuthenticationRejected, False),
    ({"code": "backend_error", "message": "x"}, ServerReportedError, True),
    ({"code": "backend_error", "message": "x", "retryable": False}, ServerReportedError, False),
    ({"code": "429", "description": "slow"}, RateLimited, True),
    ({"data": {"code": 400, "message": "x"}}, ServerReportedError, False),
]


@pytest.mark.parametrize(("fields", "kind", "retryable"), ERRORS)
def test_an_error_says_why(fields: dict[str, Any], kind: type[Exception], retryable: bool) -> None:
    """Flat or nested, as a word or a number; what the message says of a retry wins."""
    (event,) = receive(type="Error", **fields)
    assert isinstance(event, Failed)
    assert type(event.error) is kind
    assert event.error.retryable is retryable


@pytest.mark.parametrize("data", [b"", b"\0\1", b'{"type":"final_transcript","text":"a"}'])
def test_a_binary_message_is_not_understood(data: bytes) -> None:
    """A speech-to-text server has no binary messages."""
    assert stt().receive(data) == [NotUnderstood("", f"binary message of {len(data)} bytes")]


def said(text: str) -> dict[str, Any]:
    """Words that will not change."""
    return {"type": "transcript", "text": text, "is_final": True}


def complete(text: str, **fields: Any) -> dict[str, Any]:
    """All words so far."""
    return {"type": "final_transcript", "text": text, **fields}


def partial(text: str) -> dict[str, Any]:
    """Words that may change."""
    return {"type": "transcript", "text": text, "is_final": False}


HELLO, NOTHING, NEWS = (
    FinalTranscript("Hello."),
    FinalTranscript(""),
    FinalTranscript("How are you?"),
)
SEQUENCES: dict[str, tuple[list[dict[str, Any] | str], list[SttServerEvent]]] = {
    "repeated": ([said("Hello."), complete("Hello.")], [HELLO]),
    "repeated, written anew": ([said("hello"), complete("Hello!")], [FinalTranscript("hello")]),
    "repeated once": ([said("Hello."), complete("Hello."), complete("Hello.")], [HELLO, HELLO]),
    "finalized before": (["finalize", said("Hello."), complete("Hello.")], [HELLO]),
    "finalized between": (
        [said("Hello."), "finalize", complete("Hello.", audio_duration_seconds=2)],
        [HELLO, FinalTranscript("", duration_s=2.0)],
    ),
    "marked answer": (
        [said("Hello."), complete("Hello.", from_finalize=True)],
        [HELLO, FinalTranscript("", answers_finalize=True)],
    ),
    "of two": (
        [said("Hello."), said("How are you?"), "finalize", complete("Hello. How are you?")],
        [HELLO, NEWS, NOTHING],
    ),
    "of two, not asked": (
        [said("Hello."), said("How are you?"), complete("hello — how are you")],
        [HELLO, NEWS],
    ),
    "of the last of two": (
        [said("Hello."), said("How are you?"), "finalize", complete("How are you?")],
        [HELLO, NEWS, NOTHING],
    ),
    "of none": ([said("Hello."), complete("Goodbye.")], [HELLO, FinalTranscript("Goodbye.")]),
    "of a part": (
        [said("Hello there."), complete("Hello")],
        [FinalTranscript("Hello there."), FinalTranscript("Hello")],
    ),
    "of half a word": (
        [said("Hell"), complete("Hello")],
        [FinalTranscript("Hell"), FinalTranscript("Hello")],
    ),
    "with more": (
        [said("Hello."), partial("How"), "finalize", complete("hello, How are you?", duration=3)],
        [HELLO, PartialTranscript("How"), FinalTranscript("How are you?", duration_s=3.0)],
    ),
    "with more than several words": (
        [said("How are you?"), complete("How are you, Sam?")],
        [NEWS, FinalTranscript("Sam?")],
    ),
    "with times of what is out": (
        [said("Hello."), complete("Hello. How are you?", words=[{"word": "Hello.", "start": 0}])],
        [HELLO, NEWS],
    ),
    "said again": (
        [said("Hello."), partial("Hello."), complete("Hello.")],
        [HELLO, PartialTranscript("Hello."), HELLO],
    ),
    "said again, then silence": (
        [said("Hello."), partial("Hello."), partial(""), complete("Hello.")],
        [HELLO, PartialTranscript("Hello."), PartialTranscript(""), HELLO],
    ),
    "silence between": (
        [said("Hello."), partial(""), complete("Hello.")],
        [HELLO, PartialTranscript("")],
    ),
    "each said": ([said("Hello."), complete("Hello."), said("Hello.")], [HELLO, HELLO]),
    "without words": (
        [said(""), said("…"), "finalize", complete("Hello.")],
        [NOTHING, FinalTranscript("…"), HELLO],
    ),
    "empty answer": ([said("Hello."), "finalize", complete("")], [HELLO, NOTHING]),
    "finals alone": ([complete("Hello."), complete("Hello.")], [HELLO, HELLO]),
    "without blanks": (
        [said("你好。"), said("再见"), complete("你好，再见。")],
        [FinalTranscript("你好。"), FinalTranscript("再见")],
    ),
    "another connection": ([said("Hello."), "init", complete("Hello.")], [HELLO, HELLO]),
}


@pytest.mark.parametrize(("messages", "events"), SEQUENCES.values(), ids=SEQUENCES.keys())
def test_words_said_twice_count_once(
    messages: list[dict[str, Any] | str], events: list[SttServerEvent]
) -> None:
    """The complete transcription adds what is new in it, and still ends a wait."""
    dialect = stt()
    heard: list[SttServerEvent] = []
    for message in messages:
        if isinstance(message, str):
            getattr(dialect, message)()
        else:
            heard += dialect.receive(json.dumps(message))
    assert heard == events


TEXTS = st.lists(st.sampled_from(["a", "b", "a b", "B.", "…", ""]), max_size=4)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.booleans()), max_size=4))
def test_a_complete_transcription_loses_no_word_and_repeats_none(
    rounds: list[tuple[list[str], bool]],
) -> None:
    """Whatever is said in whatever pieces, the finals joined are the words, once."""
    dialect = stt()
    heard: list[str] = []
    for texts, asked in rounds:
        for text in texts:
            heard += texts_of(dialect, said(text))
        if asked:
            dialect.finalize()
        heard += texts_of(dialect, complete(" ".join(texts)))
    spoken = " ".join(" ".join(texts) for texts, _ in rounds)
    assert [word for text in heard for word in text.split() if word != "…"] == [
        word for word in spoken.split() if word != "…"
    ]


def texts_of(dialect: ClassicStt, fields: dict[str, Any]) -> list[str]:
    """The finals in the answer to one message."""
    events = dialect.receive(json.dumps(fields))
    return [event.text for event in events if isinstance(event, FinalTranscript)]


NAMES = st.sampled_from(
    ["type", "text", "transcript", "is_final", "data", "code", "error", "words"]
)
TYPES = st.sampled_from(["ready", "transcript", "final_transcript", "Results", "error"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | TYPES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(NAMES, VALUES) | VALUES, max_size=4))
def test_no_message_is_too_odd(messages: list[object]) -> None:
    """Whatever comes, in whatever order, the answer is a list of events, fit for a log."""
    dialect = stt()
    for message in messages:
        str(dialect.receive(json.dumps(message))).encode("utf-8")
