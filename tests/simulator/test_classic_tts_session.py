"""Classic text-to-speech of the local gateway, over real sockets."""

from __future__ import annotations

import base64
import json
import time
import uuid

import pytest

from slng_edge.pcm import PcmFormat
from slng_edge.simulator import ToneSynthesizer
from slng_edge.simulator.classic_tts_session import INDIC_LANGUAGES
from slng_edge.simulator.handshake import CLASSIC_NAMES

RATE_HZ = 24000
FLUSH, CLEAR, STOP, PING = ({"type": name} for name in ("flush", "clear", "stop", "ping"))
LONG = "seventeen letters" * 5 + "."
HOSTED = ("orpheus", "orpheus-indic", "kokoro", "cosyvoice", "chatterbox", "xtts")
EXTERNAL = ("elevenlabs", "deepgram", "cartesia")


def path(name="orpheus"):
    return f"/v1/tts/{name}-websocket-stream"


def text(words):
    return {"type": "input_text", "text": words}


def begin(client, **fields):
    """Send `init` and wait for `ready`."""
    client.send({"type": "init", "voice_id": "tara"} | fields)
    ready = client.receive()
    assert ready["type"].lower() == "ready", ready
    return ready


def say(client, words):
    client.send(text(words))
    client.send(FLUSH)


def audio(messages):
    return b"".join(base64.b64decode(m["data"]) for m in messages if m["type"] == "audio_chunk")


def types(messages):
    """The types of the messages; a run of audio is one "audio_chunk"."""
    named = [m["type"].lower() for m in messages]
    return [n for i, n in enumerate(named) if n != "audio_chunk" or named[i - 1 : i] != [n]]


def tone(words, rate_hz=RATE_HZ):
    return ToneSynthesizer().synthesize(words, rate_hz).tobytes()


@pytest.fixture
def open_session(start, connect):
    """Start a gateway with faults and connect to the model of a name."""

    def open_(name, *faults):
        client = connect(start(*faults), path(name))
        begin(client)
        return client

    return open_


# ---- the session --------------------------------------------------------------------------


def test_every_name_is_hosted_or_external():
    """The two sets of these tests are all there are."""
    assert set(HOSTED + EXTERNAL) == set(CLASSIC_NAMES["tts"])


@pytest.mark.parametrize("name", HOSTED + EXTERNAL)
def test_every_model_speaks(open_session, name):
    """A text and a flush give numbered chunks of 24 kHz and one `audio_end`."""
    client = open_session(name)
    say(client, "Hello")
    messages = client.until("audio_end")
    assert types(messages) == ["audio_chunk", "audio_end"]
    assert audio(messages) == tone("Hello")
    chunks, end = messages[:-1], messages[-1]
    assert [m["sequence"] for m in chunks] == list(range(1, len(chunks) + 1))
    assert sum(m["duration_ms"] for m in chunks) == pytest.approx(300)
    assert end["total_duration_ms"] == pytest.approx(300)


def test_ready_tells_session_capabilities_and_context(start, connect):
    """The context is the client's own."""
    ready = begin(connect(start(), path("cartesia")), context_id="conversation-123")
    assert ready["session"].startswith("local_")
    assert set(ready["capabilities"]) == {"input_text", "flush", "clear", "configure", "ping"}
    assert ready["context_id"] == "conversation-123"


def test_a_context_is_made_where_the_client_names_none(start, connect):
    """A UUID, another one on each connection."""
    gateway = start()
    made = {begin(connect(gateway, path()))["context_id"] for _ in range(2)}
    assert len(made) == 2
    assert all(str(uuid.UUID(context_id)) == context_id for context_id in made)


def test_the_context_outlives_its_connection(start, connect):
    """A second connection with the same id continues it."""
    gateway = start()
    for _ in range(2):
        client = connect(gateway, path())
        begin(client, context_id="kept")
        say(client, "Hello")
        assert {m["context_id"] for m in client.until("audio_end")} == {"kept"}
        client.socket.shutdown()


def test_every_event_carries_the_context(start, connect):
    """Audio, its end, pong, errors and the session's end."""
    gateway = start()
    client = connect(gateway, path())
    begin(client, context_id="mine")
    say(client, "Hello")
    client.send(PING)
    client.send({"type": "surprise"})
    messages = [client.receive() for _ in range(5)]
    gateway.close()
    messages += client.until_closed()
    assert {"audio_chunk", "audio_end", "pong", "error", "session_ended"} <= set(types(messages))
    assert {m["context_id"] for m in messages} == {"mine"}


def test_utterance_follows_utterance(open_session):
    """Each has an id and a duration of its own; sequences go on."""
    client = open_session("kokoro")
    say(client, "Hello")
    first = client.until("audio_end")
    say(client, "Good day")
    second = client.until("audio_end")
    assert audio(second) == tone("Good day")
    assert second[-1]["total_duration_ms"] == pytest.approx(480)
    assert second[-1]["id"] != first[-1]["id"]
    assert second[0]["sequence"] == first[-2]["sequence"] + 1


def test_text_before_ready_is_accepted(start, connect):
    """The quick start sends everything at once."""
    client = connect(start("ready_delay=100"), path())
    client.send({"type": "init", "voice_id": "tara"})
    say(client, "Hello")
    assert types(client.until("audio_end")) == ["ready", "audio_chunk", "audio_end"]


def test_flush_without_text_is_answered(open_session):
    """With an end of no length."""
    client = open_session("orpheus")
    client.send(FLUSH)
    end = client.receive()
    assert (end["type"], end["total_duration_ms"]) == ("audio_end", 0)


def test_ping_is_answered_before_init_too(start, connect):
    """With the context that will be the session's."""
    client = connect(start(), path())
    client.send(PING)
    pong = client.receive()
    assert pong["type"] == "pong"
    assert begin(client)["context_id"] == pong["context_id"]


@pytest.mark.parametrize("message", [text("Hello"), FLUSH, CLEAR, STOP])
def test_a_command_before_init_is_an_error(start, connect, message):
    """There is no session yet; it can be tried again."""
    client = connect(start(), path())
    client.send(message)
    error = client.receive()
    assert (error["code"], error["retryable"]) == ("not_ready", True)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (bytes(640), "invalid_request"),
        ("not json", "invalid_request"),
        ('{"text": "native"}', "invalid_request"),
        ({"type": "init"}, "invalid_request"),
        ({"type": "text", "text": "unified"}, "invalid_request"),
        ({"type": "close"}, "invalid_request"),
        ({"type": "control", "action": "flush"}, "invalid_request"),
        ({"type": "input_text"}, "invalid_request"),
        (text(3), "invalid_request"),
        (text("x" * 2001), "payload_too_large"),
    ],
)
def test_a_wrong_message_is_an_error_and_the_session_lives_on(open_session, message, code):
    """Audio, other dialects, a second init, no text; trying again does not help."""
    client = open_session("kokoro")
    client.send(message)
    error = client.receive()
    assert (error["type"], error["code"], error["retryable"]) == ("error", code, False)
    say(client, "Hello")
    assert audio(client.until("audio_end")) == tone("Hello")


# ---- stop, clear, configure ---------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTED)
def test_stop_ends_the_audio_of_hosted_models_with_audio_end(open_session, name):
    """While audio goes out; its end tells how much of it came, and nothing follows."""
    client = open_session(name, "pace=realtime")
    say(client, LONG)
    messages = [client.receive()]
    asked = time.monotonic()
    client.send(STOP)
    messages += client.until("audio_end")
    assert time.monotonic() - asked < 0.5
    heard = audio(messages)
    assert heard == tone(LONG)[: len(heard)]
    assert len(heard) < PcmFormat(RATE_HZ).bytes(700)
    assert messages[-1]["total_duration_ms"] == pytest.approx(len(heard) / 2 / RATE_HZ * 1000)
    say(client, "Next")
    following = client.until("audio_end")
    assert audio(following) == tone("Next")
    assert following[-1]["total_duration_ms"] == pytest.approx(240)


def test_stop_of_a_silent_session_is_answered(open_session):
    """The backend is closed all the same."""
    client = open_session("orpheus")
    client.send(STOP)
    assert types(client.until("audio_end")) == ["audio_end"]


def test_a_clear_after_stop_does_not_swallow_its_audio_end(open_session):
    """Each `stop` has its answer, however fast the next command follows."""
    client = open_session("orpheus", "pace=realtime")
    for _ in range(5):
        say(client, LONG)
        for message in (STOP, CLEAR, STOP, CLEAR, PING):
            client.send(message)
        ends = [m for m in client.until("pong") if m["type"] == "audio_end"]
        while len(ends) < 2:
            ends.append(client.until("audio_end")[-1])
    say(client, "Hello")
    assert audio(client.until("audio_end")) == tone("Hello")


@pytest.mark.parametrize("name", EXTERNAL)
def test_stop_is_ignored_by_external_models(open_session, name):
    """No error, no end, the reply goes on."""
    client = open_session(name)
    client.send(STOP)
    say(client, "Hello")
    client.send(STOP)
    messages = client.until("audio_end")
    assert types(messages) == ["audio_chunk", "audio_end"]
    assert audio(messages) == tone("Hello")


@pytest.mark.parametrize("name", ["orpheus", *EXTERNAL])
def test_clear_drops_text_and_audio_without_an_answer(open_session, name):
    """What comes next is the next utterance, from its start."""
    client = open_session(name, "pace=realtime")
    say(client, LONG)
    client.receive()
    client.send(CLEAR)
    client.send(PING)
    dropped = client.until("pong")
    assert set(types(dropped)) <= {"audio_chunk", "pong"}
    say(client, "Next")
    messages = client.until("audio_end")
    assert types(messages) == ["audio_chunk", "audio_end"]
    assert audio(messages).endswith(tone("Next"))
    assert len(audio(messages)) <= len(tone("Next")) + PcmFormat(RATE_HZ).bytes(40)
    assert messages[-1]["total_duration_ms"] == pytest.approx(240)


@pytest.mark.parametrize("name", ["elevenlabs", "cartesia"])
def test_configure_is_taken_in_silence_where_it_is_supported(open_session, name):
    """No answer is documented."""
    client = open_session(name)
    client.send({"type": "configure", "voice_id": "new"})
    client.send(PING)
    assert client.receive()["type"] == "pong"


@pytest.mark.parametrize("name", [*HOSTED, "deepgram"])
def test_configure_is_an_error_elsewhere(open_session, name):
    """It names the model."""
    client = open_session(name)
    client.send({"type": "configure", "voice_id": "new"})
    error = client.receive()
    assert (error["type"], error["code"]) == ("error", "invalid_request")
    assert name in error["message"]


@pytest.mark.parametrize("voice_id", [None, "", 3])
def test_configure_needs_a_voice(open_session, voice_id):
    """A string that is not empty."""
    client = open_session("cartesia")
    client.send({"type": "configure", "voice_id": voice_id})
    assert client.receive()["code"] == "invalid_request"


# ---- provider fields ----------------------------------------------------------------------


@pytest.mark.parametrize("language", [*INDIC_LANGUAGES, None])
def test_orpheus_indic_speaks_its_languages(start, connect, language):
    """Without one it takes its default."""
    begin(connect(start(), path("orpheus-indic")), voice_id="kanak", language=language)


@pytest.mark.parametrize("language", ["en", "hi-IN", ""])
def test_another_language_is_refused_by_orpheus_indic(start, connect, language):
    """An error, the session's end and close 1008."""
    client = connect(start(), path("orpheus-indic"))
    client.send({"type": "init", "voice_id": "kanak", "language": language})
    error, ended = client.until_closed()
    assert (error["code"], error["retryable"]) == ("config_error", False)
    assert ended["type"] == "session_ended"
    assert client.close_code == 1008


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (
            "elevenlabs",
            {
                "voice_settings": {"stability": 0.5, "use_speaker_boost": True},
                "generation_config": {"chunk_length_schedule": [120, 160]},
            },
        ),
        ("cartesia", {"language": "en", "context_id": "c"}),
        ("orpheus", {"buffer_size": 10, "max_tokens": 6144, "repetition_penalty": 1.3}),
    ],
)
def test_provider_fields_pass(start, connect, name, fields):
    """And the record shows them."""
    gateway = start()
    begin(connect(gateway, path(name)), **fields)
    (init,) = gateway.connections[0].of_type("client", "init")
    assert fields.items() <= init.items()


@pytest.mark.parametrize(
    "fields", [{"voice_id": 7}, {"context_id": {}}, {"voice_settings": "warm"}, {"language": 1}]
)
def test_fields_of_a_wrong_kind_are_a_config_error(start, connect, fields):
    """And close 1008."""
    client = connect(start(), path("elevenlabs"))
    client.send({"type": "init"} | fields)
    assert client.receive()["code"] == "config_error"
    client.until_closed()
    assert client.close_code == 1008


# ---- provider-native frames ---------------------------------------------------------------


def test_orpheus_takes_bare_text_and_control(start, connect):
    """Without `init`; the answers are the classic ones, and the record has the frame as it came."""
    gateway = start()
    client = connect(gateway, path())
    client.send("Hello")
    client.send({"type": "control", "action": "flush"})
    messages = client.until("audio_end")
    assert types(messages) == ["ready", "audio_chunk", "audio_end"]
    assert audio(messages) == tone("Hello")
    received = [m for _, sender, m in gateway.connections[0].messages if sender == "client"]
    assert received[0] == "Hello"


@pytest.mark.parametrize("frame", ["[1, 2]", "4.5", '"quoted"', '{"not": closed'])
def test_orpheus_speaks_whatever_is_no_json_object(open_session, frame):
    """JSON of another kind is text too."""
    client = open_session("orpheus")
    client.send(frame)
    client.send(FLUSH)
    assert audio(client.until("audio_end")) == tone(frame)


@pytest.mark.parametrize("frame", [{"no": "type"}, {"type": "control", "action": "dance"}])
def test_orpheus_refuses_objects_that_mean_nothing(open_session, frame):
    """They are not spoken."""
    client = open_session("orpheus")
    client.send(frame)
    assert client.receive()["code"] == "invalid_request"


def test_elevenlabs_takes_its_own_frames(start, connect):
    """A blank first, text, and an empty text that ends it; the connection stays."""
    client = connect(start(), path("elevenlabs"))
    for _ in range(2):
        for words in (" ", "Hel", "lo ", ""):
            client.send({"text": words, "voice_settings": {"stability": 0.5}})
        assert audio(client.until("audio_end")) == tone("Hello")


def test_native_and_classic_frames_mix(open_session):
    """On one connection, after `init`."""
    client = open_session("elevenlabs")
    client.send({"text": "Hel"})
    say(client, "lo")
    assert audio(client.until("audio_end")) == tone("Hello")


@pytest.mark.parametrize("frame", ["bare text", json.dumps({"text": 3}), json.dumps({"a": "b"})])
def test_elevenlabs_refuses_what_is_not_its_own(open_session, frame):
    """Bare text is Orpheus'."""
    client = open_session("elevenlabs")
    client.send(frame)
    assert client.receive()["code"] == "invalid_request"


# ---- the end and the faults ---------------------------------------------------------------


def test_session_ended_comes_before_the_gateways_close(start, connect):
    """With why, and what was used; it is the last message."""
    gateway = start()
    client = connect(gateway, path())
    begin(client)
    say(client, "Hello")
    client.until("audio_end")
    gateway.close()
    ended = client.until_closed()[-1]
    assert (ended["type"], ended["reason"]) == ("session_ended", "the gateway stops")
    assert ended["usage"] == {"characters": 5, "audio_ms": 300.0}
    assert client.close_code == 1001


def test_a_reset_says_nothing(start, connect):
    """A connection that breaks has no last word."""
    gateway = start()
    client = connect(gateway, path())
    begin(client)
    gateway.drop_all()
    with pytest.raises(ConnectionResetError):
        client.receive()


def test_per_utterance_close_ends_the_session_with_1000(open_session):
    """The life cycle of some routes."""
    client = open_session("xtts", "per_utterance_close")
    say(client, "Hello")
    assert types(client.until_closed()) == ["audio_chunk", "audio_end", "session_ended"]
    assert client.close_code == 1000


def test_a_message_over_the_tiers_size_ends_the_session_with_4002(open_session):
    """32 KB on pro."""
    client = open_session("orpheus")
    client.send("x" * (32 * 1024 + 1))
    assert types(client.until_closed()) == ["session_ended"]
    assert client.close_code == 4002


@pytest.mark.parametrize("terminal", ["flushed", "audio_end", "both"])
def test_whatever_the_terminal_there_is_one_audio_end(open_session, terminal):
    """The dialect has no other."""
    client = open_session("orpheus", f"terminal={terminal}")
    say(client, "Hello")
    client.send(PING)
    messages = client.until("audio_end")
    while "pong" not in types(messages):
        messages.append(client.receive())
    assert types(messages).count("audio_end") == 1
    say(client, "World")
    assert types(client.until("audio_end")) == ["audio_chunk", "audio_end"]


@pytest.mark.parametrize("end", [FLUSH, STOP])
def test_no_terminal_leaves_the_end_open(open_session, end):
    """Of an utterance, and of a stop."""
    client = open_session("orpheus", "no_terminal=1")
    client.send(text("Hello."))
    client.until("audio_chunk")
    client.send(end)
    say(client, "World")
    messages = client.until("audio_end")
    assert types(messages) == ["audio_chunk", "audio_end"]
    assert audio(messages).endswith(tone("World"))


def test_late_audio_comes_between_stop_and_its_audio_end(open_session):
    """100 ms of what was dropped."""
    client = open_session("orpheus", "late_audio_after_clear=100")
    say(client, "Hello")
    client.until("audio_end")
    client.send(STOP)
    late = client.until("audio_end")
    assert len(audio(late)) == PcmFormat(RATE_HZ).bytes(100)
    assert late[-1]["total_duration_ms"] == pytest.approx(100)


def test_late_audio_comes_after_clear_too(open_session):
    """Nothing tells where it ends."""
    client = open_session("deepgram", "late_audio_after_clear=100")
    say(client, "Hello")
    client.until("audio_end")
    client.send(CLEAR)
    say(client, "Next")
    sound = audio(client.until("audio_end"))
    assert len(sound) == PcmFormat(RATE_HZ).bytes(100) + len(tone("Next"))


def test_sequences_repeat_and_skip_on_demand(open_session):
    """And a repeat does not count as sound."""
    client = open_session("orpheus", "repeat_sequence=3", "skip_sequence=4")
    say(client, "Hello")
    *chunks, end = client.until("audio_end")
    assert [m["sequence"] for m in chunks][:6] == [1, 2, 3, 3, 5, 6]
    assert end["total_duration_ms"] == pytest.approx(300)


def test_odd_frames_and_a_wav_header_strike_inside_base64(open_session):
    """Joined, the chunks are the stream that the header begins."""
    client = open_session("orpheus", "odd_frames", "wav_header=16000")
    say(client, "Hello")
    messages = client.until("audio_end")
    sizes = [len(base64.b64decode(m["data"])) for m in messages[:-1]]
    assert any(size % 2 for size in sizes)
    sound = audio(messages)
    assert sound[:4] == b"RIFF"
    assert sound[44:] == tone("Hello", 16000)


def test_never_ready_says_nothing(start, connect):
    """`init` and text go unanswered, and the connection stays."""
    client = connect(start("never_ready"), path())
    client.send({"type": "init"})
    say(client, "Hello")
    client.send(PING)
    assert client.receive()["type"] == "pong"


def test_nested_numeric_errors_say_inside_whether_to_try_again(open_session):
    """`retryable` stands beside the code."""
    client = open_session("kokoro", "nested_error", "numeric_error", "wrong_case")
    client.send({"type": "surprise"})
    error = client.receive()
    assert error["type"] == "Error"
    assert (error["data"]["code"], error["data"]["retryable"]) == (400, False)


@pytest.mark.parametrize(
    ("code", "retryable"),
    [("provider_error", True), ("auth_error", False), ("429", True), ("401", False)],
)
def test_an_error_can_come_instead_of_the_audio(open_session, code, retryable):
    """It says whether to try again; the next utterance is spoken."""
    client = open_session("cartesia", f"error_on_text={code}:1")
    say(client, "Hello")
    error = client.receive()
    assert (error["type"], str(error["code"])) == ("error", code)
    assert error["retryable"] is retryable
    say(client, "World")
    assert audio(client.until("audio_end")) == tone("World")


def test_ready_then_error_ends_the_session(start, connect):
    """A model that looks well and is not."""
    client = connect(start("ready_then_error"), path())
    begin(client)
    assert types(client.until_closed()) == ["error", "session_ended"]
    assert client.close_code == 1011


def test_a_point_can_be_a_classic_message(start, connect):
    """Closed instead of an answer to the first `input_text`."""
    client = connect(start("close_after=input_text:1013"), path())
    begin(client)
    say(client, "Hello.")
    assert types(client.until_closed()) == ["session_ended"]
    assert client.close_code == 1013


def test_commands_count_as_messages(open_session):
    """60 a minute on pro, native frames too; then an error and 4001."""
    client = open_session("orpheus")
    for _ in range(30):
        client.send("a ")
        client.send(PING)
    messages = client.until_closed()
    assert types(messages).count("pong") == 29
    assert types(messages)[-2:] == ["error", "session_ended"]
    assert (messages[-2]["code"], messages[-2]["retryable"]) == ("rate_limit_exceeded", True)
    assert client.close_code == 4001
