"""The text-to-speech side of the local gateway, over real sockets."""

from __future__ import annotations

import base64
import time

import numpy as np
import pytest

from slng_edge.pcm import PcmFormat
from slng_edge.simulator import FliteSynthesizer, ToneSynthesizer

TTS = "/v1/bridges/unmute/tts/slng/deepgram/aura:2-en"
FLUSH, CLEAR = {"type": "flush"}, {"type": "clear"}
RATE_HZ = 24000
ONE_SECOND = "seventeen letters"


def text(words, **more):
    return {"type": "text", "text": words, **more}


def audio(messages):
    return b"".join(m for m in messages if isinstance(m, bytes))


def types(messages):
    """The types of JSON messages; a run of audio is one "audio"."""
    named = ["audio" if isinstance(m, bytes) else m["type"].lower() for m in messages]
    return [n for i, n in enumerate(named) if n != "audio" or named[i - 1 : i] != ["audio"]]


def tone(words, rate_hz=RATE_HZ):
    return ToneSynthesizer().synthesize(words, rate_hz).tobytes()


def test_a_text_and_a_flush_give_audio_and_flushed(start, connect):
    """The audio is exactly the text's, between the segment's marks."""
    client = connect(start(), TTS)
    client.init(sample_rate=RATE_HZ, encoding="linear16")
    client.send(text("Hello"))
    client.send(FLUSH)
    messages = client.until("flushed")
    assert types(messages) == ["segment_start", "audio", "segment_end", "flushed"]
    assert audio(messages) == tone("Hello")


def test_text_with_flush_ends_the_utterance(start, connect):
    """`flush: true` is a flush."""
    client = connect(start(), TTS)
    client.init()
    client.send(text("Hello", flush=True))
    assert audio(client.until("flushed")) == tone("Hello")


def test_text_before_ready_is_accepted(start, connect):
    """The quick start sends everything at once; it is spoken after `ready`."""
    client = connect(start("ready_delay=100"), TTS)
    client.send({"type": "init", "model": "aura:2-en", "voice": "x", "config": {}})
    client.send(text("Hello"))
    client.send(FLUSH)
    messages = client.until("flushed")
    assert types(messages) == ["ready", "segment_start", "audio", "segment_end", "flushed"]


def test_complete_sentences_sound_before_the_flush(start, connect):
    """The first sentence comes while the second is still open; the order is kept."""
    client = connect(start(), TTS)
    client.init()
    client.send(text("One two. Thr"))
    first = tone("One two.")
    heard = b""
    while len(heard) < len(first):
        message = client.receive()
        heard += message if isinstance(message, bytes) else b""
    assert heard == first
    client.send(text("ee 3.5"))
    client.send(FLUSH)
    assert audio(client.until("flushed")) == tone("Three 3.5")


def test_flush_without_text_is_answered(start, connect):
    """No audio, no segment, the terminal alone."""
    client = connect(start(), TTS)
    client.init()
    client.send(FLUSH)
    assert types(client.until("flushed")) == ["flushed"]


@pytest.mark.parametrize(
    ("terminal", "expected"),
    [
        ("flushed", ["flushed"]),
        ("audio_end", ["audio_end"]),
        ("both", ["flushed", "audio_end"]),
    ],
)
def test_what_ends_an_utterance_can_be_chosen(start, connect, terminal, expected):
    """`audio_end` tells the duration in seconds."""
    client = connect(start(f"terminal={terminal}"), TTS)
    client.init()
    client.send(text("Hello", flush=True))
    messages = client.until(expected[-1])
    assert types(messages)[3:] == expected
    if "audio_end" in expected:
        assert messages[-1]["duration"] == pytest.approx(0.3)


def test_clear_stops_the_audio_within_a_chunk(start, connect):
    """While audio goes out in real time, `clear` is read, and nothing follows `cleared`."""
    client = connect(start("pace=realtime"), TTS)
    client.init()
    client.send(text(f"{ONE_SECOND * 5}. More"))
    client.until("segment_start")
    client.receive()
    asked = time.monotonic()
    client.send(CLEAR)
    client.send(FLUSH)
    messages = client.until("cleared")
    assert time.monotonic() - asked < 0.5
    assert len(audio(messages)) <= PcmFormat(RATE_HZ).bytes(400)
    assert types(client.until("flushed")) == ["flushed"]


def test_clear_without_anything_to_clear_is_answered(start, connect):
    """`cleared` comes in any case, and the session stays."""
    client = connect(start(), TTS)
    client.init()
    client.send(CLEAR)
    assert types(client.until("cleared")) == ["cleared"]
    client.send(text("Hello", flush=True))
    assert audio(client.until("flushed")) == tone("Hello")


def test_late_audio_after_clear_has_exactly_the_length_asked_for(start, connect):
    """250 ms of the dropped reply still come, then `cleared`, then nothing of it."""
    client = connect(start("pace=realtime", "late_audio_after_clear=250"), TTS)
    client.init()
    client.send(text(f"{ONE_SECOND * 5}.", flush=True))
    client.until("segment_start")
    client.send(CLEAR)
    before = audio(client.until("cleared"))
    assert len(before) >= PcmFormat(RATE_HZ).bytes(250)
    assert before == tone(f"{ONE_SECOND * 5}.")[: len(before)]
    client.send(text("Next", flush=True))
    assert audio(client.until("flushed")) == tone("Next")


def test_late_audio_comes_even_when_all_was_sent(start, connect):
    """A reply that had gone out whole is followed by sound of the gateway's own."""
    client = connect(start("late_audio_after_clear=100"), TTS)
    client.init()
    client.send(CLEAR)
    assert len(audio(client.until("cleared"))) == PcmFormat(RATE_HZ).bytes(100)


def test_no_cleared_swallows_it(start, connect):
    """The first is swallowed, the second comes."""
    client = connect(start("no_cleared=1"), TTS)
    client.init()
    client.send(CLEAR)
    client.send(text("Hello", flush=True))
    assert "cleared" not in types(client.until("flushed"))
    client.send(CLEAR)
    assert types(client.until("cleared")) == ["cleared"]


def test_close_ends_with_1000_at_once(start, connect):
    """What is still to be said is dropped."""
    client = connect(start("pace=realtime"), TTS)
    client.init()
    client.send(text(f"{ONE_SECOND * 5}.", flush=True))
    client.send({"type": "close"})
    client.until_closed()
    assert client.close_code == 1000


def test_per_utterance_close_comes_right_after_the_terminal(start, connect):
    """The life cycle of some routes."""
    client = connect(start("per_utterance_close"), TTS)
    client.init()
    client.send(text("Hello", flush=True))
    assert types(client.until_closed())[-1] == "flushed"
    assert client.close_code == 1000


def test_odd_frames_split_samples_and_lose_nothing(start, connect):
    """Joined, they are the text's audio."""
    client = connect(start("odd_frames"), TTS)
    client.init()
    client.send(text("Hello", flush=True))
    messages = client.until("flushed")
    assert sum(len(m) % 2 for m in messages if isinstance(m, bytes)) >= 2
    assert audio(messages) == tone("Hello")


def test_base64_audio_is_numbered(start, connect):
    """`audio_chunk` messages with a sequence from 1, without a gap."""
    client = connect(start("base64_audio"), TTS)
    client.init()
    client.send(text("Hello", flush=True))
    chunks = [m for m in client.until("flushed") if m["type"] == "audio_chunk"]
    assert [m["sequence"] for m in chunks] == list(range(1, len(chunks) + 1))
    assert b"".join(base64.b64decode(m["data"]) for m in chunks) == tone("Hello")


def test_sequences_repeat_and_skip_on_demand(start, connect):
    """Every third comes twice; with `skip_sequence` every fourth is left out."""
    client = connect(start("repeat_sequence=3", "skip_sequence=4"), TTS)
    client.init()
    client.send(text("Hello", flush=True))
    numbers = [m["sequence"] for m in client.until("flushed") if m["type"] == "audio_chunk"]
    assert numbers[:6] == [1, 2, 3, 3, 5, 6]


def test_wav_header_comes_first_and_says_the_true_rate(start, connect):
    """The first message of the utterance begins with RIFF; the audio has the header's rate."""
    client = connect(start("wav_header=16000"), TTS)
    client.init(sample_rate=RATE_HZ)
    client.send(text("Hello", flush=True))
    sound = audio(client.until("flushed"))
    assert (sound[:4], sound[8:12]) == (b"RIFF", b"WAVE")
    assert int.from_bytes(sound[24:28], "little") == 16000
    assert sound[44:] == tone("Hello", 16000)


def test_no_terminal_leaves_the_end_open(start, connect):
    """The audio comes whole, its end does not."""
    client = connect(start("no_terminal=1"), TTS)
    client.init()
    client.send(text("Hello", flush=True))
    client.send(text("World", flush=True))
    messages = client.until("flushed")
    assert audio(messages) == tone("Hello") + tone("World")
    assert types(messages).count("flushed") == 1


def test_first_audio_can_be_late(start, connect):
    """`first_audio_delay` holds back each utterance's first sound."""
    client = connect(start("first_audio_delay=150"), TTS)
    client.init()
    asked = time.monotonic()
    client.send(text("Hello", flush=True))
    client.until("segment_start")
    assert time.monotonic() - asked >= 0.15


def test_pace_realtime_takes_as_long_as_the_sound(start, connect):
    """One second of audio takes about one second, less the last chunk."""
    client = connect(start("pace=realtime"), TTS)
    client.init()
    asked = time.monotonic()
    client.send(text(ONE_SECOND, flush=True))
    client.until("flushed")
    assert 0.9 < time.monotonic() - asked < 2.0


def test_never_ready_says_nothing(start, connect):
    """`init` and text go unanswered, and the connection stays."""
    gateway = start("never_ready")
    client = connect(gateway, TTS)
    client.send({"type": "init", "config": {}})
    client.send(text("Hello", flush=True))
    client.send({"type": "surprise"})
    assert client.receive()["type"] == "error"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (bytes(640), "invalid_request"),
        ({"type": "text"}, "invalid_request"),
        ({"type": "text", "text": 3}, "invalid_request"),
        ({"type": "surprise"}, "invalid_request"),
        ({"type": "init", "config": {}}, "invalid_request"),
        (text("x" * 2001), "payload_too_large"),
    ],
)
def test_a_wrong_message_is_an_error_and_the_session_lives_on(start, connect, message, code):
    """Audio, no text, unknown type, second init, a text over the tier's length."""
    client = connect(start(), TTS)
    client.init()
    client.send(message)
    assert client.receive()["code"] == code
    client.send(text("Hello", flush=True))
    assert audio(client.until("flushed")) == tone("Hello")


def test_text_before_init_is_an_error(start, connect):
    """There is no session yet."""
    client = connect(start(), TTS)
    client.send(text("Hello"))
    assert client.receive()["code"] == "not_ready"


@pytest.mark.parametrize("config", [{"encoding": "mulaw"}, {"speed": "fast"}, {"speed": 9}, []])
def test_a_config_that_cannot_be_had_is_an_error_and_1008(start, connect, config):
    """Only linear16 is spoken, at a speed that can be heard."""
    client = connect(start(), TTS)
    client.send({"type": "init", "config": config})
    assert client.receive()["code"] == "config_error"
    client.until_closed()
    assert client.close_code == 1008


def test_flite_speaks_at_the_rate_asked_for(start, connect):
    """A real voice: sound of a plausible length and level."""
    from slng_edge.errors import MissingLibrary

    try:
        flite = FliteSynthesizer()
    except MissingLibrary as error:
        pytest.skip(str(error))
    client = connect(start(tts=flite), TTS)
    client.init(sample_rate=RATE_HZ)
    client.send(text("What time is it?", flush=True))
    samples = np.frombuffer(audio(client.until("flushed")), dtype="<i2")
    assert 0.7 < len(samples) / RATE_HZ < 2.0
    assert np.abs(samples.astype(int)).max() > 3000
