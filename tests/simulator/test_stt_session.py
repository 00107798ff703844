"""The speech-to-text side of the local gateway, over real sockets."""

from __future__ import annotations

import base64

import pytest

from slng_edge.pcm import PcmFormat

STT = "/v1/stt/slng/deepgram/nova:3-en"
FRAME = bytes(range(1, 129)) * 5  # 20 ms at 16 kHz
FINALIZE, CLOSE = {"type": "finalize"}, {"type": "close"}


def speak(client, frames=20):
    for _ in range(frames):
        client.send(FRAME)


def transcripts(messages, type_):
    return [m["transcript"] for m in messages if isinstance(m, dict) and m.get("type") == type_]


def test_an_utterance_becomes_partials_and_one_final(start, connect):
    """Words grow with the audio, and `finalize` is answered with all of them."""
    client = connect(start(), STT)
    client.init(sample_rate=16000, encoding="linear16", enable_partials=True)
    speak(client)
    client.send(FINALIZE)
    messages = client.until("final_transcript")
    assert transcripts(messages, "partial_transcript") == ["hello", "hello big", "hello big world"]
    final = messages[-1]
    assert final["transcript"] == "hello big world"
    assert final["duration"] == pytest.approx(0.4)
    assert "words" not in final
    assert "from_finalize" not in final


def test_partials_come_only_when_asked_for(start, connect):
    """Without `enable_partials` the final is the first message after `ready`."""
    client = connect(start(), STT)
    client.init()
    speak(client)
    client.send(FINALIZE)
    assert client.receive()["type"] == "final_transcript"


def test_words_come_when_asked_for_and_count_from_the_streams_start(start, connect):
    """The second utterance's words begin where the first one ended."""
    client = connect(start(lines=["one two", "three"]), STT)
    client.init(enable_word_timestamps=True)
    for expected in (["one", "two"], ["three"]):
        speak(client)
        client.send(FINALIZE)
        words = client.until("final_transcript")[-1]["words"]
        assert [word["word"] for word in words] == expected
    assert (words[0]["start"], words[0]["end"]) == (0.4, 0.8)


def test_finalize_without_speech_gets_an_empty_final(start, connect):
    """Nothing was said is an answer too, and it uses up no line of the script."""
    client = connect(start(), STT)
    client.init()
    client.send(FINALIZE)
    assert client.receive()["transcript"] == ""
    speak(client)
    client.send(FINALIZE)
    assert client.receive()["transcript"] == "hello big world"


def test_close_brings_the_pending_final_and_then_1000(start, connect):
    """What was said before `close` is not lost."""
    client = connect(start("final_delay=100"), STT)
    client.init()
    speak(client)
    client.send(CLOSE)
    assert transcripts(client.until_closed(), "final_transcript") == ["hello big world"]
    assert client.close_code == 1000


def test_close_without_pending_speech_brings_no_final(start, connect):
    """A final that was given is not given again."""
    client = connect(start(), STT)
    client.init()
    client.send(CLOSE)
    assert client.until_closed() == []


def test_base64_audio_is_audio(start, connect):
    """Both forms count, and the record has the samples of both."""
    gateway = start()
    client = connect(gateway, STT)
    client.init()
    client.send(FRAME)
    client.send({"type": "audio", "data": base64.b64encode(FRAME[::-1]).decode()})
    client.send(FINALIZE)
    assert client.receive()["duration"] == pytest.approx(0.04)
    assert gateway.connections[0].audio == FRAME + FRAME[::-1]


def test_keepalive_is_not_answered(start, connect):
    """It only keeps the connection."""
    client = connect(start(), STT)
    client.init()
    client.send({"type": "keepalive"})
    client.send(FINALIZE)
    assert client.receive()["type"] == "final_transcript"


@pytest.mark.parametrize("first", [FRAME, {"type": "audio", "data": "AAA="}])
def test_audio_before_ready_is_closed_with_1008(start, connect, first):
    """Binary or base64: no `ready`, no audio."""
    client = connect(start(), STT)
    client.send(first)
    assert client.until_closed() == []
    assert client.close_code == 1008


def test_audio_between_init_and_a_late_ready_is_closed_with_1008(start, connect):
    """`init` alone is not enough."""
    client = connect(start("ready_delay=2000"), STT)
    client.send({"type": "init", "config": {}})
    client.send(FRAME)
    client.until_closed()
    assert client.close_code == 1008


@pytest.mark.parametrize(
    "config",
    [
        {"encoding": "mp3"},
        {"encoding": "opus"},
        {"sample_rate": 96000},
        {"sample_rate": "16000"},
        "linear16",
    ],
)
def test_a_config_that_cannot_be_had_is_an_error_and_1008(start, connect, config):
    """Only whole rates and linear16 are spoken."""
    client = connect(start(), STT)
    client.send({"type": "init", "config": config})
    assert client.receive()["code"] == "config_error"
    client.until_closed()
    assert client.close_code == 1008


@pytest.mark.parametrize(
    "message",
    [
        "not json",
        "[1]",
        '{"no": "type"}',
        {"type": "surprise"},
        {"type": "init"},
        FRAME[:-1],
        {"type": "audio"},
        {"type": "audio", "data": "***"},
    ],
)
def test_a_wrong_message_is_an_error_and_the_session_lives_on(start, connect, message):
    """No JSON, no type, unknown type, second init, half a sample, no base64."""
    client = connect(start(), STT)
    client.init()
    client.send(message)
    error = client.receive()
    assert (error["type"], error["code"]) == ("error", "invalid_request")
    speak(client)
    client.send(FINALIZE)
    assert client.receive()["transcript"] == "hello big world"


def test_a_message_over_the_tiers_size_is_closed_with_4002(start, connect):
    """32 KB on pro; exactly that much still passes."""
    client = connect(start(), STT)
    client.init()
    client.send(bytes(32 * 1024))
    client.send(bytes(32 * 1024 + 2))
    client.until_closed()
    assert client.close_code == 4002


def test_finalize_before_init_is_an_error_and_1008(start, connect):
    """There is nothing to finalize."""
    client = connect(start(), STT)
    client.send(FINALIZE)
    assert client.receive()["code"] == "not_ready"
    client.until_closed()
    assert client.close_code == 1008


def test_no_final_swallows_the_first_and_the_replay_gets_its_words(start, connect):
    """The line of a swallowed final is not used up: the replay on a new connection gets it."""
    gateway = start("no_final=1", lines=["first", "second"])
    client = connect(gateway, STT)
    client.init()
    speak(client)
    client.send(FINALIZE)
    client.send({"type": "surprise"})
    assert client.receive()["type"] == "error"
    again = connect(gateway, STT)
    again.init()
    speak(again)
    again.send(FINALIZE)
    assert again.receive()["transcript"] == "first"


def test_a_final_that_was_cut_off_gives_its_words_back(start, connect):
    """A connection that breaks before the delayed final leaves the line to the replay."""
    gateway = start("final_delay=5000@1", lines=["first", "second"])
    client = connect(gateway, STT)
    client.init()
    speak(client)
    client.send(FINALIZE)
    assert gateway.wait_for(lambda: gateway.connections[0].of_type("client", "finalize"), 5)
    gateway.drop_all()
    assert gateway.wait_for(lambda: gateway.connections[0].close_code is not None, 5)
    again = connect(gateway, STT)
    again.init()
    speak(again)
    again.send(FINALIZE)
    assert again.receive()["transcript"] == "first"


def test_several_finals_join_to_the_whole(start, connect):
    """The server's own finals come before `finalize`, the rest answers it."""
    client = connect(start("several_finals=3"), STT)
    client.init()
    speak(client)
    client.send(FINALIZE)
    finals = [client.receive()["transcript"] for _ in range(3)]
    assert finals == ["hello", "big", "world"]


def test_late_final_comes_between_finalize_and_its_answer(start, connect):
    """Only `from_finalize` tells them apart."""
    client = connect(start("late_final=uh", "from_finalize"), STT)
    client.init()
    speak(client)
    client.send(FINALIZE)
    late, answer = client.receive(), client.receive()
    assert (late["transcript"], late.get("from_finalize")) == ("uh", None)
    assert (answer["transcript"], answer["from_finalize"]) == ("hello big world", True)


def test_duplicate_final_says_the_same_twice(start, connect):
    """`transcript` with is_final, then `final_transcript`."""
    client = connect(start("duplicate_final"), STT)
    client.init()
    speak(client)
    client.send(FINALIZE)
    twin, final = client.receive(), client.receive()
    assert (twin["type"], twin["is_final"]) == ("transcript", True)
    assert twin["transcript"] == final["transcript"] == "hello big world"


def test_deepgram_results_carry_partials_and_finals(start, connect):
    """The provider's own form, passed through."""
    client = connect(start("deepgram_results"), STT)
    client.init(enable_partials=True, enable_word_timestamps=True)
    speak(client)
    client.send(FINALIZE)
    results = [client.until("results")[-1] for _ in range(4)]
    assert [m["is_final"] for m in results] == [False, False, False, True]
    best = results[-1]["channel"]["alternatives"][0]
    assert best["transcript"] == "hello big world"
    assert len(best["words"]) == 3


def test_pocketsphinx_understands_flite(start, connect):
    """The engines of the default, end to end: what flite says is what pocketsphinx hears."""
    pocketsphinx = pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    assert pocketsphinx
    from slng_edge.errors import MissingLibrary
    from slng_edge.simulator import FliteSynthesizer, PocketsphinxRecognizer

    try:
        flite = FliteSynthesizer()
    except MissingLibrary as error:
        pytest.skip(str(error))
    client = connect(start(stt=PocketsphinxRecognizer()), STT)
    client.init(sample_rate=24000, enable_partials=True, enable_word_timestamps=True)
    silence = bytes(PcmFormat(24000).bytes(300))
    pcm = silence + flite.synthesize("what time is it", 24000).tobytes() + silence
    for start_byte in range(0, len(pcm), 960):
        client.send(pcm[start_byte : start_byte + 960])
    client.send(FINALIZE)
    messages = client.until("final_transcript")
    final = messages[-1]
    assert final["transcript"] == "what time is it"
    assert [word["word"] for word in final["words"]] == ["what", "time", "is", "it"]
    assert 0.25 < final["words"][0]["start"] < 0.75
    assert 0.0 < final["confidence"] <= 1.0
    assert transcripts(messages, "partial_transcript")


def test_pocketsphinx_refuses_what_its_model_cannot_hear(start, connect):
    """8 kHz has not the bandwidth."""
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    from slng_edge.simulator import PocketsphinxRecognizer

    client = connect(start(stt=PocketsphinxRecognizer()), STT)
    client.send({"type": "init", "config": {"sample_rate": 8000}})
    assert client.receive()["code"] == "config_error"
