"""The classic text-to-speech dialect, message by message."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.config import CLASSIC_MODELS
from slng_edge.errors import (
    AuthenticationRejected,
    ConfigError,
    RateLimited,
    ServerReportedError,
    SessionClosed,
)
from slng_edge.protocol.classic_models import DEFAULT_VOICES, SLNG_TTS_MODELS
from slng_edge.protocol.classic_tts import ClassicContext, ClassicTts
from slng_edge.protocol.vocabulary import (
    Audio,
    Cleared,
    Failed,
    Ignored,
    NotUnderstood,
    Ready,
    SegmentStarted,
    SynthesisEnded,
    TtsServerEvent,
)

PCM = b"\1\2\3\4\5\6"
BASE64 = base64.b64encode(PCM).decode()
CONTEXT = "conversation-1"


def tts(**changes: Any) -> ClassicTts:
    """A dialect for orpheus in a context of its own."""
    fresh = {"model": "orpheus", "voice": "", "context": ClassicContext(CONTEXT)}
    return ClassicTts(**{**fresh, **changes})


def receive(**fields: Any) -> list[TtsServerEvent]:
    """What a fresh dialect makes of one JSON message."""
    return tts().receive(json.dumps(fields))


INITS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"voice_id": "tara"}),
    ({"voice": "luna"}, {"voice_id": "luna"}),
    ({"model": "elevenlabs"}, {}),
    (
        {
            "model": "elevenlabs",
            "voice": "21m00Tcm4TlvDq8ikWAM",
            "options": {
                "voice_settings": {"stability": 0.5, "use_speaker_boost": True},
                "generation_config": {"chunk_length_schedule": [120, 160, 250]},
            },
        },
        {
            "voice_id": "21m00Tcm4TlvDq8ikWAM",
            "voice_settings": {"stability": 0.5, "use_speaker_boost": True},
            "generation_config": {"chunk_length_schedule": [120, 160, 250]},
        },
    ),
    (
        {"model": "cartesia", "voice": "694f9389", "language": "en"},
        {"voice_id": "694f9389", "language": "en"},
    ),
    (
        {"options": {"buffer_size": 10, "max_tokens": 6144, "repetition_penalty": 1.3}},
        {"voice_id": "tara", "buffer_size": 10, "max_tokens": 6144, "repetition_penalty": 1.3},
    ),
    ({"model": "orpheus-indic", "language": "hi"}, {"voice_id": "kanak", "language": "hi"}),
    (
        {"model": "orpheus-indic", "language": "de", "options": {"language": "ml", "kind": 1}},
        {"voice_id": "kanak", "language": "ml", "kind": 1},
    ),
    (
        {"voice": "luna", "options": {"voice_id": "hera", "context_id": "of the options"}},
        {"voice_id": "hera"},
    ),
    ({"options": {"encoding": "linear16", "sample_rate": 24000}}, {"voice_id": "tara"}),
]


@pytest.mark.parametrize(("changes", "fields"), INITS)
def test_init_carries_the_configuration(changes: dict[str, Any], fields: dict[str, Any]) -> None:
    """Voice, context and the provider's fields stand side by side; options win."""
    expected = {"type": "init", "context_id": CONTEXT, **fields}
    assert json.loads(tts(**changes).init()) == expected


def test_a_first_message_takes_no_more_bytes_than_it_must() -> None:
    """The plan counts bytes: nothing is escaped to ASCII, and no blanks stand between fields."""
    fields = '"voice_id":"अनन्या","context_id":"conversation-1"'
    assert tts(voice="अनन्या").init() == f'{{"type":"init",{fields}}}'


def test_the_models_of_slng_are_models_of_the_protocol() -> None:
    """What is said of them here concerns names that can be configured."""
    assert set(DEFAULT_VOICES) == set(SLNG_TTS_MODELS)
    assert set(SLNG_TTS_MODELS) < set(CLASSIC_MODELS["tts"])


@pytest.mark.parametrize("model", CLASSIC_MODELS["tts"])
def test_each_model_has_its_default_voice(model: str) -> None:
    """Where SLNG names a default it is sent; elsewhere the voice is left out."""
    sent = json.loads(tts(model=model, language="hi").init())
    assert sent.get("voice_id") == DEFAULT_VOICES.get(model)


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"model": "orfeus"}, ["tts.model: 'orfeus' is not a model of the classic protocol. Did you"]),
    (
        {"sample_rate_hz": 16000},
        ["tts.sample_rate: the classic protocol sends 24000 Hz, not 16000"],
    ),
    ({"speed": 1.25}, ["tts.speed: the classic protocol has no speed, 1.25 cannot"]),
    ({"model": "orpheus-indic"}, ["tts.language: '' is none that orpheus-indic speaks. Use one"]),
    ({"model": "orpheus-indic", "options": {"language": ["hi"]}}, ["tts.language: ['hi'] is none"]),
    ({"options": {"encoding": "mp3"}}, ["tts.options.encoding: "]),
    ({"options": {"sample_rate": 8000}}, ["tts.options.sample_rate: "]),
    ({"options": {"type": "init"}}, ["tts.options.type: "]),
    (
        {"options": {"voice_id": 7, "context_id": " "}},
        ["tts.options.context_id: must be text", "tts.options.voice_id: must be text"],
    ),
    (
        {"model": "x", "sample_rate_hz": 8000, "speed": 2, "options": {"encoding": "opus"}},
        ["tts.model: ", "tts.sample_rate: ", "tts.speed: ", "tts.options.encoding: "],
    ),
]


@pytest.mark.parametrize(("changes", "problems"), WRONG)
def test_what_cannot_be_is_refused(changes: dict[str, Any], problems: list[str]) -> None:
    """All problems at once, each with its key."""
    with pytest.raises(ConfigError) as caught:
        tts(**changes)
    for said, problem in zip(caught.value.problems, problems, strict=True):
        assert said.startswith(problem)


def test_the_plain_messages() -> None:
    """Text under its classic name, flush, and `ping` as keepalive; there is no close."""
    dialect = tts()
    assert json.loads(dialect.text('Say "hi".')) == {"type": "input_text", "text": 'Say "hi".'}
    assert json.loads(dialect.flush()) == {"type": "flush"}
    assert json.loads(dialect.keepalive()) == {"type": "ping"}
    end: list[object] = [getattr(dialect, "close")()]  # noqa: B009
    assert end == [None]


@pytest.mark.parametrize("model", CLASSIC_MODELS["tts"])
def test_the_model_decides_how_it_is_interrupted(model: str) -> None:
    """`stop` works with the models of SLNG's own and is answered; `clear` is not."""
    dialect = tts(model=model, language="hi")
    own = model in SLNG_TTS_MODELS
    assert json.loads(dialect.clear()) == {"type": "stop" if own else "clear"}
    assert dialect.acknowledges_clear is own


@pytest.mark.parametrize("model", ["elevenlabs", "cartesia"])
def test_two_models_take_another_voice_while_connected(model: str) -> None:
    """The voice is kept over reconnects, by all dialects of the session."""
    context = ClassicContext(CONTEXT)
    dialects = [tts(model=model, voice="first", context=context) for _ in range(2)]
    configure = dialects[0].configure("second")
    assert configure is not None
    assert json.loads(configure) == {"type": "configure", "voice_id": "second"}
    assert json.loads(dialects[1].init())["voice_id"] == "second"


@pytest.mark.parametrize("model", [*SLNG_TTS_MODELS, "deepgram"])
def test_the_others_do_not(model: str) -> None:
    """Nothing to send, and nothing changed."""
    dialect = tts(model=model, voice="first", language="hi")
    assert dialect.configure("second") is None
    assert json.loads(dialect.init())["voice_id"] == "first"


MESSAGES: list[tuple[dict[str, Any], list[TtsServerEvent]]] = [
    ({"type": "ready", "session": "s1", "capabilities": ["stop"]}, [Ready("s1")]),
    ({"type": "Ready", "session": {"id": 5}}, [Ready("5")]),
    ({"type": "ready", "session_id": "s2", "session": "s1"}, [Ready("s2")]),
    ({"type": "ready"}, [Ready("")]),
    ({"type": "audio_chunk", "data": BASE64, "sequence": 1, "duration_ms": 3}, [Audio(PCM, 1)]),
    ({"type": "Audio", "data": {"audio": BASE64}}, [Audio(PCM)]),
    ({"type": "audio_chunk", "data": ""}, [Ignored("audio_chunk")]),
    ({"type": "audio_chunk"}, [NotUnderstood("audio_chunk", "audio_chunk without audio")]),
    (
        {"type": "audio_end", "id": "u1", "total_duration_ms": 1500},
        [SynthesisEnded("audio_end", 1.5)],
    ),
    ({"type": "AUDIO_END", "total_duration_ms": "x"}, [SynthesisEnded("audio_end")]),
    ({"type": "audio_end", "duration": 2}, [SynthesisEnded("audio_end", 2.0)]),
    ({"type": "flushed"}, [SynthesisEnded("flushed")]),
    ({"type": "segment_start", "segment_id": "g"}, [SegmentStarted("g")]),
    ({"type": "cleared"}, [Cleared()]),
    ({"type": "pong"}, [Ignored("pong")]),
    ({"type": "surprise"}, [NotUnderstood("surprise", "unknown type 'surprise'")]),
    ({"audio": BASE64, "isFinal": True}, [Audio(PCM), SynthesisEnded("audio_end")]),
]


@pytest.mark.parametrize(("fields", "events"), MESSAGES, ids=lambda value: str(value)[:60])
def test_each_message_means_its_events(
    fields: dict[str, Any], events: list[TtsServerEvent]
) -> None:
    """The messages of the protocol, those of the unified one, and other cases."""
    assert receive(**fields) == events


def test_bytes_are_audio() -> None:
    """Raw audio is handed on as it came."""
    assert tts().receive(PCM) == [Audio(PCM)]
    assert tts().receive(b"") == [Ignored("binary")]


@pytest.mark.parametrize("message", ["", "hello", "[1]"])
def test_what_is_no_message_is_not_understood(message: str) -> None:
    """Nothing is raised."""
    (event,) = tts().receive(message)
    assert isinstance(event, NotUnderstood)


ERRORS: list[tuple[dict[str, Any], type[Exception], bool, str]] = [
    ({"code": "backend_error", "message": "gone"}, ServerReportedError, True, "gone"),
    (
        {"code": "backend_error", "message": "gone", "retryable": False},
        ServerReportedError,
        False,
        "gone",
    ),
    (
        {"code": "invalid_request", "message": "x", "retryable": "true"},
        ServerReportedError,
        True,
        "x",
    ),
    ({"data": {"code": 401, "description": "key"}}, AuthenticationRejected, False, "key"),
]


@pytest.mark.parametrize(("fields", "kind", "retryable", "words"), ERRORS)
def test_an_error_says_why(
    fields: dict[str, Any], kind: type[Exception], retryable: bool, words: str
) -> None:
    """What the event says of a retry wins over the table."""
    (event,) = receive(type="Error", **fields)
    assert isinstance(event, Failed)
    assert type(event.error) is kind
    assert event.error.retryable is retryable
    assert words in str(event.error)


ENDS: list[tuple[dict[str, Any], type[Exception], bool, str]] = [
    ({"reason": "idle timeout", "usage": {"characters": 12}}, SessionClosed, True, "idle timeout"),
    ({"reason": "max_connection_duration_exceeded"}, SessionClosed, True, "max_connection"),
    ({}, SessionClosed, True, "no reason given"),
    ({"retryable": False}, ServerReportedError, False, "session_ended: the gateway ended"),
    ({"code": "auth_error"}, AuthenticationRejected, False, "auth_error"),
    ({"reason": "rate_limit_exceeded"}, RateLimited, True, "rate_limit_exceeded"),
    ({"reason": "auth_error"}, AuthenticationRejected, False, "auth_error"),
    ({"reason": "banned", "retryable": False}, ServerReportedError, False, "banned"),
    ({"reason": "auth_error", "retryable": True}, SessionClosed, True, "auth_error"),
]


@pytest.mark.parametrize(("fields", "kind", "retryable", "words"), ENDS)
def test_the_end_of_a_session_is_a_close(
    fields: dict[str, Any], kind: type[Exception], retryable: bool, words: str
) -> None:
    """With its reason, and to be tried again but where the reason or the event says no."""
    (event,) = receive(type="session_ended", **fields)
    assert isinstance(event, Failed)
    assert type(event.error) is kind
    assert event.error.retryable is retryable
    assert "the gateway ended the session" in str(event.error)
    assert words in str(event.error)


def test_a_session_that_ended_counts_as_closed_normally() -> None:
    """After an utterance it is the life cycle of a route, as a close 1000 is."""
    (event,) = receive(type="session_ended", reason="done")
    assert isinstance(event, Failed)
    assert isinstance(event.error, SessionClosed)
    assert (event.error.code, event.error.reason, event.error.by_us) == (1000, "done", False)


AUDIO = {"type": "audio_chunk", "data": BASE64}
END = {"type": "audio_end"}
FLUSHED = {"type": "flushed"}
CLEARED = {"type": "cleared"}
HEARD, ENDED, STRAY = Audio(PCM), SynthesisEnded("audio_end"), Ignored("audio_end")
INTERRUPTIONS: dict[str, tuple[str, list[dict[str, Any] | str], list[TtsServerEvent]]] = {
    "none": ("orpheus", [AUDIO, END, END], [HEARD, ENDED, ENDED]),
    "answered": (
        "orpheus",
        [AUDIO, "clear", AUDIO, END, AUDIO, END],
        [HEARD, HEARD, Cleared(), HEARD, ENDED],
    ),
    "crossed by the natural end": (
        "kokoro",
        [AUDIO, "clear", END, END, AUDIO, END],
        [HEARD, Cleared(), STRAY, HEARD, ENDED],
    ),
    "crossed, then a reply without audio": (
        "xtts",
        ["clear", END, END, END],
        [Cleared(), STRAY, ENDED],
    ),
    "twice": (
        "orpheus",
        ["clear", END, AUDIO, "clear", END, END],
        [Cleared(), HEARD, Cleared(), STRAY],
    ),
    "asked twice": ("orpheus", ["clear", "clear", END, END], [Cleared(), STRAY]),
    "on a new connection": ("orpheus", ["clear", "init", END], [ENDED]),
    "crossed by a reconnect": ("orpheus", ["clear", END, "init", END], [Cleared(), ENDED]),
    "answered by name": ("orpheus", ["clear", CLEARED, AUDIO, END], [Cleared(), HEARD, ENDED]),
    "flushed is no answer": (
        "orpheus",
        ["clear", FLUSHED, END],
        [SynthesisEnded("flushed"), Cleared()],
    ),
    "without an answer": ("elevenlabs", [AUDIO, "clear", END, END], [HEARD, ENDED, ENDED]),
}


@pytest.mark.parametrize(
    ("model", "messages", "events"), INTERRUPTIONS.values(), ids=INTERRUPTIONS.keys()
)
def test_the_end_of_an_interrupted_speech_is_the_answer(
    model: str, messages: list[dict[str, Any] | str], events: list[TtsServerEvent]
) -> None:
    """After `stop` the next end is `Cleared`; one more without audio before it is of nothing."""
    dialect = tts(model=model)
    assert understood(dialect, messages) == events


def understood(dialect: ClassicTts, messages: list[dict[str, Any] | str]) -> list[TtsServerEvent]:
    """The events of server messages; a name in their place is something that we do."""
    events: list[TtsServerEvent] = []
    for message in messages:
        if isinstance(message, str):
            getattr(dialect, message)()
        else:
            events += dialect.receive(json.dumps(message))
    return events


READY = {"type": "ready", "context_id": CONTEXT}
FOREIGN: list[tuple[dict[str, Any], TtsServerEvent]] = [
    ({**AUDIO, "context_id": "old"}, Ignored("audio_chunk")),
    ({**AUDIO, "context_id": 7}, Ignored("audio_chunk")),
    ({"type": "Audio", "data": {"audio": BASE64, "context_id": "old"}}, Ignored("audio")),
    ({**END, "context_id": "old"}, Ignored("audio_end")),
    ({"type": "error", "code": "x", "context_id": "old"}, Ignored("error")),
    ({"type": "session_ended", "context_id": "old"}, Ignored("session_ended")),
    ({**AUDIO, "context_id": CONTEXT}, HEARD),
    ({**AUDIO, "context_id": ""}, HEARD),
    ({**AUDIO, "context_id": None}, HEARD),
    (AUDIO, HEARD),
]


@pytest.mark.parametrize(("fields", "event"), FOREIGN)
def test_what_belongs_to_another_context_is_dropped(
    fields: dict[str, Any], event: TtsServerEvent
) -> None:
    """By its id; what carries none is of this session."""
    assert understood(tts(), ["init", READY, fields]) == [Ready(""), event]


def test_an_end_of_another_context_answers_no_stop() -> None:
    """Dropped before anything is made of it."""
    foreign = {**END, "context_id": "old"}
    events = understood(tts(), ["init", READY, "clear", foreign, END])
    assert events == [Ready(""), STRAY, Cleared()]


def test_a_refusal_before_ready_is_heard_whatever_context_it_names() -> None:
    """A gateway that could not read `init` knows our id no more than we know its."""
    events = understood(tts(), ["init", {"type": "error", "code": "x", "context_id": "made up"}])
    assert [type(event) for event in events] == [Failed]


def test_a_context_that_the_gateway_names_is_kept() -> None:
    """Its events are ours, those under the id we sent too, and the next `init` says it."""
    context = ClassicContext(CONTEXT)
    first = tts(context=context)
    named = {"type": "ready", "context_id": "of the gateway"}
    events = understood(
        first,
        [
            "init",
            named,
            {**AUDIO, "context_id": "of the gateway"},
            {**AUDIO, "context_id": CONTEXT},
        ],
    )
    assert events == [Ready(""), HEARD, HEARD]
    assert json.loads(tts(context=context).init())["context_id"] == "of the gateway"


def test_a_second_connection_keeps_to_the_context_it_began_with() -> None:
    """What another connection of the session is named does not make its audio foreign."""
    context = ClassicContext(CONTEXT)
    standby, current = tts(context=context), tts(context=context)
    understood(standby, ["init", READY])
    understood(current, ["init", {"type": "ready", "context_id": "another"}])
    assert understood(standby, [{**AUDIO, "context_id": CONTEXT}]) == [HEARD]


def test_a_new_connection_knows_its_own_context_alone() -> None:
    """Audio under an id that an earlier connection was given is late."""
    context = ClassicContext("first")
    dialect = tts(context=context)
    named = {"type": "ready", "context_id": "second"}
    events = understood(dialect, ["init", named, "init", named, {**AUDIO, "context_id": "first"}])
    assert events[-1] == Ignored("audio_chunk")


NAMES = st.sampled_from(
    ["type", "data", "audio", "context_id", "session", "reason", "code", "retryable", "isFinal"]
)
TYPES = st.sampled_from(["ready", "audio_chunk", "audio_end", "session_ended", "error", "event"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | TYPES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(NAMES, VALUES) | VALUES, max_size=4), st.booleans())
def test_no_message_is_too_odd(messages: list[object], stopped: bool) -> None:
    """Whatever comes, in whatever order, there are events for it, fit for a log."""
    dialect = tts()
    dialect.init()
    if stopped:
        dialect.clear()
    for message in messages:
        events = dialect.receive(json.dumps(message))
        assert 1 <= len(events) <= 2
        str(events).encode("utf-8")
    dialect.init().encode("utf-8")
