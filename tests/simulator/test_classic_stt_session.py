"""Classic speech-to-text of the local gateway, over real sockets."""

from __future__ import annotations

import time

import pytest

from slng_edge.simulator import ScriptRecognizer

PATH = "/v1/stt/whisper-websocket-stream"
FRAME = bytes(range(1, 129)) * 5  # 20 ms at 16 kHz
FINALIZE = {"type": "finalize"}


class Listening(ScriptRecognizer):
    """A script that remembers what it was asked for."""

    def open(self, rate_hz, language):
        self.opened = (rate_hz, language)
        return super().open(rate_hz, language)


def begin(client, **more):
    """Send `start` and wait for `ready`."""
    start = {"sample_rate": 16000, "encoding": "pcm16", "language": "en"}
    client.send({"type": "start"} | start | more)
    ready = client.receive()
    assert ready["type"].lower() == "ready", ready
    return ready


def speak(client, frames=20):
    for _ in range(frames):
        client.send(FRAME)


def said(client, frames=20):
    """The messages that answer an utterance, its final last."""
    speak(client, frames)
    client.send(FINALIZE)
    return client.until("final_transcript")


@pytest.mark.parametrize("name", ["kyutai", "whisper"])
def test_ready_names_the_model_and_the_audio(start, connect, name):
    """As the client asked for it."""
    gateway = start()
    client = connect(gateway, f"/v1/stt/{name}-websocket-stream")
    assert begin(client, sample_rate=24000) == {
        "type": "ready",
        "model_id": name,
        "sample_rate": 24000,
        "encoding": "pcm16",
    }
    assert (gateway.connections[0].kind, gateway.connections[0].model) == ("stt", name)


def test_start_alone_takes_the_defaults(start, connect):
    """16 kHz, pcm16."""
    client = connect(start(), PATH)
    client.send({"type": "start"})
    assert client.receive()["sample_rate"] == 16000


@pytest.mark.parametrize(
    ("query", "fields", "language"),
    [
        ("?language=fr", {"language": None}, "fr"),
        ("?language=fr", {"language": "de"}, "de"),
        ("", {"language": "de"}, "de"),
        ("", {"language": None}, ""),
    ],
)
def test_the_language_comes_from_start_or_the_query(start, connect, query, fields, language):
    """`start` wins; neither is the model's default."""
    recognizer = Listening(["hello"])
    client = connect(start(stt=recognizer), PATH + query)
    begin(client, **fields)
    assert recognizer.opened == (16000, language)


def test_an_utterance_becomes_transcripts_and_one_final(start, connect):
    """Words grow with the audio, without being asked for, and `finalize` brings all of them."""
    client = connect(start(), PATH)
    begin(client)
    *partials, final = said(client)
    assert [m["type"] for m in partials] == ["transcript"] * 3
    assert [m["text"] for m in partials] == ["hello", "hello big", "hello big world"]
    assert {m["is_final"] for m in partials} == {False}
    assert all(isinstance(m["confidence"], float) for m in partials)
    assert all(abs(m["timestamp"] - time.time()) < 60 for m in partials)
    timestamp = final.pop("timestamp")
    assert abs(timestamp - time.time()) < 60
    assert final == {
        "type": "final_transcript",
        "text": "hello big world",
        "audio_duration_seconds": 0.4,
    }


def test_utterance_follows_utterance(start, connect):
    """`finalize` keeps the connection, and the record has all audio."""
    gateway = start(lines=["one", "two"])
    client = connect(gateway, PATH)
    begin(client)
    assert [said(client)[-1]["text"] for _ in range(2)] == ["one", "two"]
    assert gateway.connections[0].audio == FRAME * 40


def test_finalize_without_speech_gets_an_empty_final(start, connect):
    """Nothing was said is an answer too."""
    client = connect(start(), PATH)
    begin(client)
    client.send(FINALIZE)
    final = client.receive()
    assert (final["type"], final["text"]) == ("final_transcript", "")
    assert final["audio_duration_seconds"] == 0.0


def test_ping_is_answered_even_before_start(start, connect):
    """It works everywhere."""
    client = connect(start(), PATH)
    client.send({"type": "ping"})
    assert client.receive() == {"type": "pong"}


def test_audio_before_ready_is_closed_with_1008(start, connect):
    """As on the unified protocol."""
    client = connect(start(), PATH)
    client.send(FRAME)
    assert client.until_closed() == []
    assert client.close_code == 1008


@pytest.mark.parametrize(
    "fields",
    [
        {"encoding": "linear16"},
        {"encoding": "opus"},
        {"sample_rate": "16000"},
        {"sample_rate": 96000},
        {"language": 7},
    ],
)
def test_a_start_that_cannot_be_had_is_an_error_and_1008(start, connect, fields):
    """The dialect's name of the encoding is pcm16."""
    client = connect(start(), PATH)
    client.send({"type": "start", "sample_rate": 16000, "encoding": "pcm16"} | fields)
    error = client.receive()
    assert (error["type"], error["code"]) == ("error", "config_error")
    client.until_closed()
    assert client.close_code == 1008


def test_finalize_before_start_is_an_error_and_1008(start, connect):
    """There is nothing to finalize."""
    client = connect(start(), PATH)
    client.send(FINALIZE)
    assert client.receive()["code"] == "not_ready"
    client.until_closed()
    assert client.close_code == 1008


@pytest.mark.parametrize(
    "message",
    [
        "not json",
        '{"text": "native"}',
        {"type": "start"},
        {"type": "init", "config": {}},
        {"type": "audio", "data": "AAA="},
        {"type": "keepalive"},
        {"type": "close"},
        FRAME[:-1],
    ],
)
def test_a_message_of_another_dialect_is_an_error_and_the_session_lives_on(start, connect, message):
    """What only the unified protocol knows is not taken here, nor is a second start."""
    client = connect(start(), PATH)
    begin(client)
    client.send(message)
    error = client.receive()
    assert (error["type"], error["code"]) == ("error", "invalid_request")
    assert said(client)[-1]["text"] == "hello big world"


def test_no_final_swallows_the_first_and_the_replay_gets_its_words(start, connect):
    """The same fault as on the unified protocol."""
    gateway = start("no_final=1", lines=["first", "second"])
    client = connect(gateway, PATH)
    begin(client)
    speak(client)
    client.send(FINALIZE)
    client.send({"type": "ping"})
    assert [m["type"] for m in client.until("pong")] == ["transcript", "pong"]
    again = connect(gateway, PATH)
    begin(again)
    assert said(again)[-1]["text"] == "first"


def test_final_delay_holds_the_final_back(start, connect):
    """By at least what was asked for."""
    client = connect(start("final_delay=150"), PATH)
    begin(client)
    asked = time.monotonic()
    said(client)
    assert time.monotonic() - asked >= 0.15


def finals(messages):
    return [(m["type"], m["text"]) for m in messages if m.get("is_final", True)]


def test_several_finals_are_transcripts_that_the_last_one_repeats(start, connect):
    """The server's own finals come before `finalize`; `final_transcript` is complete."""
    client = connect(start("several_finals=3", "final_delay=50"), PATH)
    begin(client)
    for _ in range(2):
        assert finals(said(client)) == [
            ("transcript", "hello"),
            ("transcript", "big"),
            ("final_transcript", "hello big world"),
        ]


def test_duplicate_final_says_the_same_twice(start, connect):
    """`transcript` with is_final, then `final_transcript`."""
    client = connect(start("duplicate_final"), PATH)
    begin(client)
    assert finals(said(client)) == [
        ("transcript", "hello big world"),
        ("final_transcript", "hello big world"),
    ]


def test_a_final_of_the_servers_own_has_no_second_twin(start, connect):
    """Each piece is said once before the whole."""
    client = connect(start("duplicate_final", "several_finals=2"), PATH)
    begin(client)
    assert finals(said(client)) == [
        ("transcript", "hello"),
        ("transcript", "big world"),
        ("final_transcript", "hello big world"),
    ]


def test_late_final_and_from_finalize_keep_their_meaning(start, connect):
    """The server's own comes first, the marked answer has it in it."""
    client = connect(start("late_final=uh", "from_finalize"), PATH)
    begin(client)
    messages = said(client)
    assert finals(messages) == [("transcript", "uh"), ("final_transcript", "uh hello big world")]
    assert [m.get("from_finalize") for m in messages[-2:]] == [None, True]


def test_an_error_can_come_instead_of_the_final(start, connect):
    """The replay on the same connection gets its words."""
    client = connect(start("error_on_finalize=backend_error:1"), PATH)
    begin(client)
    speak(client)
    client.send(FINALIZE)
    assert client.until("error")[-1]["code"] == "backend_error"
    assert said(client)[-1]["text"] == "hello big world"


def test_wrong_case_and_nested_errors_strike_here_too(start, connect):
    """How messages look is the connection's business, whatever the dialect."""
    client = connect(start("wrong_case", "nested_error", "numeric_error"), PATH)
    begin(client)
    client.send({"type": "surprise"})
    error = client.receive()
    assert (error["type"], error["data"]["code"]) == ("Error", 400)


def test_never_ready_says_nothing(start, connect):
    """`start` goes unanswered, and the connection stays."""
    client = connect(start("never_ready"), PATH)
    client.send({"type": "start"})
    client.send({"type": "ping"})
    assert client.receive()["type"] == "pong"
