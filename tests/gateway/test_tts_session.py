"""Text-to-speech sessions against the local gateway, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from authority import Authority
from conversation_scripts import (
    PATIENCE_S,
    REPLY_RATE_HZ,
    Heard,
    config_for,
    frequencies,
    gateway,
    spoken,
    wait_until,
)
from session_scripts import UNCOUNTED, say, sound_of
from session_scripts import speaking as session

from slng_edge import SttSession, TtsSession
from slng_edge.errors import AuthenticationRejected, ConnectFailed, GatewayError, SessionClosed
from slng_edge.events import ConnectionChanged
from slng_edge.pcm import Samples
from slng_edge.protocol.session_events import Final, ReplyAudio, ReplyCut, ReplyDone, SegmentBegan
from slng_edge.simulator import ToneSynthesizer

LONG = "a reply that goes on for quite a while and does not stop before it is stopped"


def speech_of(url: str, text: str | list[str], *overrides: str, **more: Any) -> Samples:
    """The whole speech of a text by the iterator form."""
    with TtsSession(config_for(url, *overrides), api_key="", **more) as tts:
        return np.concatenate(list(tts.speak(text)))


def test_a_text_becomes_its_sound() -> None:
    """Every sample of the gateway's, in order, once."""
    with gateway() as served:
        assert np.array_equal(speech_of(served.url, "hello"), spoken("hello"))


def test_the_python_example_of_the_documentation_works() -> None:
    """As written: context managers, iterators, no config file."""
    with gateway("said in a script") as served:
        with TtsSession(
            url=served.url, model="slng/deepgram/aura:2-en", voice="aura-2-thalia-en"
        ) as tts:
            for chunk in tts.speak("Hello."):
                assert chunk.dtype == np.int16
                assert chunk.ndim == 1
        with SttSession(url=served.url) as stt:
            for frames in ([bytes(640)] * 30, [np.zeros(320, dtype=np.int16)] * 30):
                events = list(stt.transcribe(frames))
                assert isinstance(events[-1], Final)
                assert events[-1].text == "said in a script"


def test_speech_over_tls_at_full_rate(authority: Authority) -> None:
    """Two minutes of speech as fast as it comes, while texts go out: not a sample differs."""
    sentences = [f"{'word ' * 30}{number}.\n" for number in range(16)]
    with gateway(ssl_context=authority.server_context()) as served:
        sound = speech_of(served.url, sentences, f"gateway.ca_file={authority.ca_file}", UNCOUNTED)
    assert np.array_equal(sound, spoken(*sentences))


@pytest.mark.parametrize(
    "fault",
    [
        *("odd_frames", "base64_audio", "repeat_sequence=2", "skip_sequence=2", "wrong_case"),
        *("wav_header", "terminal=audio_end", "terminal=both", "malformed_json=1"),
        "first_audio_delay=300",
    ],
)
def test_forms_of_the_field_give_the_same_samples(fault: str) -> None:
    """However audio is cut, wrapped, numbered and ended, the same samples come out, twice."""
    heard = Heard()
    with gateway(faults=[fault]) as served, session(served.url, heard) as tts:
        for number, text in ((1, "one sentence"), (2, "and another")):
            say(tts, number, text)
            heard.wait_for(ReplyDone, reply=number)
            assert np.array_equal(sound_of(heard, number), spoken(text))


def test_a_wav_header_of_another_rate_is_believed() -> None:
    """The audio is marked with the rate that its header says."""
    heard = Heard()
    with gateway(faults=["wav_header=16000"]) as served, session(served.url, heard) as tts:
        say(tts, 1, "one sentence")
        heard.wait_for(ReplyDone)
        rates = {event.rate_hz for event in heard.events if isinstance(event, ReplyAudio)}
        assert rates == {16000}
        assert np.array_equal(sound_of(heard, 1), spoken("one sentence", rate_hz=16000))


def test_several_sentences_come_in_order() -> None:
    """The first is spoken alone, the rest as they wait; all of it comes once."""
    heard = Heard()
    with gateway() as served, session(served.url, heard) as tts:
        say(tts, 1, "One.", "Two.", "Three.")
        heard.wait_for(ReplyDone)
        assert np.array_equal(sound_of(heard, 1), spoken("One.", "Two.", "Three."))
        segments = [event.texts for event in heard.events if isinstance(event, SegmentBegan)]
        assert segments == [("One.",), ("Two.", "Three.")]


def test_a_route_that_closes_after_each_utterance_is_quietly_followed() -> None:
    """No failure, no back-off, and the next reply works."""
    heard = Heard()
    with gateway(faults=["per_utterance_close"]) as served, session(served.url, heard) as tts:
        for number in range(1, 4):
            say(tts, number, f"reply {number}")
            heard.wait_for(ReplyDone, reply=number)
        assert np.array_equal(sound_of(heard, 3), spoken("reply 3"))
        states = [event.state for event in heard.events if isinstance(event, ConnectionChanged)]
        assert "failed" not in states
        closed = [
            event
            for event in heard.events
            if isinstance(event, ConnectionChanged) and event.state == "closed"
        ]
        assert all((event.code, event.retry_in_s) == (1000, None) for event in closed)


def test_a_long_reply_over_such_a_route_has_no_back_off() -> None:
    """Sentence after sentence, each on a connection of its own, without a pause of seconds."""
    heard = Heard()
    with gateway(faults=["per_utterance_close"]) as served, session(served.url, heard) as tts:
        tts.open_reply(1)
        texts = [f"Number {number}." for number in range(6)]
        began = time.monotonic()
        for text in texts:
            tts.add_text(1, text)
            assert wait_until(lambda text=text: len(sound_of(heard, 1)) and _all_of(heard, text))
        tts.end_reply(1)
        heard.wait_for(ReplyDone)
        assert np.array_equal(sound_of(heard, 1), spoken(*texts))
        assert time.monotonic() - began < 4
        states = [event.state for event in heard.events if isinstance(event, ConnectionChanged)]
        assert "failed" not in states


def _all_of(heard: Heard, text: str) -> bool:
    part = spoken(text)
    return np.array_equal(sound_of(heard, 1)[-len(part) :], part)


def test_late_audio_is_credited_to_nobody() -> None:
    """What still comes between `clear` and `cleared` is not in the next reply."""
    heard = Heard()
    faults = ["pace=realtime", "late_audio_after_clear=400"]
    with gateway(faults=faults) as served, session(served.url, heard) as tts:
        say(tts, 1, LONG)
        heard.wait_for(ReplyAudio, reply=1)
        tts.interrupt(time.monotonic())
        came = len(sound_of(heard, 1))
        say(tts, 2, "fresh words")
        heard.wait_for(ReplyDone, reply=2)
        assert np.array_equal(sound_of(heard, 2), spoken("fresh words"))
        assert frequencies(sound_of(heard, 2)) == {ToneSynthesizer.frequency_hz("fresh words")}
        # At most what was being handed on when the interruption came.
        assert len(sound_of(heard, 1)) - came <= REPLY_RATE_HZ * 40 // 1000
        [record] = served.connections
        assert len(record.of_type("server", "cleared")) == 1


def test_a_clear_that_is_not_answered_replaces_the_connection() -> None:
    """Whose audio it is cannot be known any more, so the next reply gets a new socket."""
    heard = Heard()
    faults = ["pace=realtime", "no_cleared"]
    with gateway(faults=faults) as served, session(served.url, heard) as tts:
        say(tts, 1, LONG)
        heard.wait_for(ReplyAudio, reply=1)
        tts.interrupt(time.monotonic())
        say(tts, 2, "fresh words")
        assert heard.wait_for(ConnectionChanged, state="closed").reason
        heard.wait_for(ReplyDone, reply=2)
        assert np.array_equal(sound_of(heard, 2), spoken("fresh words"))
        assert len(served.connections) == 2


def test_an_interruption_without_speech_sends_nothing() -> None:
    """There is nothing to clear."""
    heard = Heard()
    with gateway() as served, session(served.url, heard) as tts:
        tts.wait_ready(PATIENCE_S)
        tts.interrupt(time.monotonic())
        say(tts, 1, "after it")
        heard.wait_for(ReplyDone, reply=1)
        assert served.connections[0].of_type("client", "clear") == []


def test_a_connection_that_breaks_before_the_first_audio_is_made_up_for() -> None:
    """The text is sent once more, and the listener hears all of it, once."""
    heard = Heard()
    faults = ["first_audio_delay=5000@1"]
    with gateway(faults=faults) as served, session(served.url, heard) as tts:
        say(tts, 1, "sent again")
        served.wait_for(
            lambda: served.connections and served.connections[0].of_type("client", "flush"),
            PATIENCE_S,
        )
        served.drop_all()
        heard.wait_for(ConnectionChanged, state="failed")
        tts.retry_now()
        heard.wait_for(ReplyDone, reply=1)
        assert np.array_equal(sound_of(heard, 1), spoken("sent again"))


def test_it_is_made_up_for_only_once() -> None:
    """A second break before any audio is reported."""
    heard = Heard()
    with gateway(faults=["first_audio_delay=5000"]) as served, session(served.url, heard) as tts:
        say(tts, 1, "sent again")
        for count in (1, 2):
            served.wait_for(
                lambda count=count: (
                    len(served.connections) == count
                    and served.connections[-1].of_type("client", "flush")
                ),
                PATIENCE_S,
            )
            served.drop_all()
            heard.wait_for(ConnectionChanged, state="connecting")
            tts.retry_now()
        cut = heard.wait_for(ReplyCut)
        assert (cut.reply, type(cut.error)) == (1, SessionClosed)


def test_a_connection_that_breaks_after_the_first_audio_cuts_the_reply() -> None:
    """Nothing is said twice: the reply ends with what came, and the next one works."""
    heard = Heard()
    with gateway(faults=["pace=realtime@1"]) as served, session(served.url, heard) as tts:
        say(tts, 1, LONG)
        heard.wait_for(ReplyAudio, reply=1)
        served.drop_all()
        cut = heard.wait_for(ReplyCut)
        assert (cut.reply, type(cut.error)) == (1, SessionClosed)
        tts.retry_now()
        say(tts, 2, "the next one")
        heard.wait_for(ReplyDone, reply=2)
        assert np.array_equal(sound_of(heard, 2), spoken("the next one"))
        came = sound_of(heard, 1)
        assert np.array_equal(came, spoken(LONG)[: len(came)])


def test_a_gateway_that_stays_silent_is_left() -> None:
    """No audio within `first_audio_timeout_s`: once more, then the reply is cut."""
    heard = Heard()
    faults = ["first_audio_delay=60000"]
    with (
        gateway(faults=faults) as served,
        session(served.url, heard, "tts.first_audio_timeout_s=0.3") as tts,
    ):
        say(tts, 1, "nobody speaks")
        assert heard.wait_for(ConnectionChanged, state="closed").reason
        heard.wait_for(ReplyCut, reply=1)
        assert len(served.connections) == 2


def test_an_end_that_never_comes_is_not_waited_for_for_ever() -> None:
    """All audio came and no terminal: the reply ends as cut, after the timeout."""
    heard = Heard()
    with (
        gateway(faults=["no_terminal"]) as served,
        session(served.url, heard, "tts.first_audio_timeout_s=0.3") as tts,
    ):
        say(tts, 1, "no end")
        heard.wait_for(ReplyCut, reply=1)
        assert np.array_equal(sound_of(heard, 1), spoken("no end"))


def test_a_text_that_is_too_large_for_the_gateway_is_halved_once() -> None:
    """`payload_too_large`: the whole reply is spoken all the same, in messages that fit."""
    heard = Heard()
    with gateway(tier="free") as served, session(served.url, heard, UNCOUNTED) as tts:
        say(tts, 1, "word " * 150)
        heard.wait_for(ReplyDone, reply=1)
        refused, taken = served.connections
        assert [len(text["text"]) for text in refused.of_type("client", "text")] == [750]
        texts = [text["text"] for text in taken.of_type("client", "text")]
        assert all(len(text) <= 375 for text in texts)
        assert " ".join("".join(texts).split()) == " ".join(["word"] * 150)


def test_a_text_that_is_too_large_even_so_cuts_only_its_reply() -> None:
    """A gateway whose limit is far below that of its tier: the session lives on."""
    heard = Heard()
    with gateway(tier="free") as served, session(served.url, heard, UNCOUNTED) as tts:
        say(tts, 1, "x" * 1300)
        cut = heard.wait_for(ReplyCut)
        assert "payload_too_large" in str(cut.error)
        say(tts, 2, "short enough")
        heard.wait_for(ReplyDone, reply=2)
        assert np.array_equal(sound_of(heard, 2), spoken("short enough"))


def test_keepalives_go_out_while_nothing_is_said() -> None:
    """As often as the config says."""
    heard = Heard()
    with gateway() as served, session(served.url, heard, "tts.keepalive_s=0.2"):
        assert served.wait_for(
            lambda: (
                served.connections
                and len(served.connections[0].of_type("client", "keepalive")) >= 3
            ),
            PATIENCE_S,
        )


def test_texts_are_spoken_while_the_next_is_awaited() -> None:
    """An iterable of texts: the first sentence sounds before the second is there."""
    sounded = threading.Event()

    def texts() -> Iterator[str]:
        yield "First sentence. And "
        assert sounded.wait(PATIENCE_S)
        yield "the second."

    with gateway() as served, TtsSession(config_for(served.url), api_key="") as tts:
        parts = []
        for chunk in tts.speak(texts()):
            sounded.set()
            parts.append(chunk)
        assert np.array_equal(np.concatenate(parts), spoken("First sentence.", "And the second."))


def test_a_mistake_in_the_callers_texts_reaches_the_caller() -> None:
    """What the iterable raises is raised where the sound is asked for."""

    def texts() -> Iterator[str]:
        yield "First sentence. "
        raise LookupError("no more text")

    with gateway() as served, TtsSession(config_for(served.url), api_key="") as tts:
        with pytest.raises(LookupError, match="no more text"):
            list(tts.speak(texts()))
        assert np.array_equal(np.concatenate(list(tts.speak("again"))), spoken("again"))


def test_leaving_the_iterator_drops_the_rest() -> None:
    """The next speech begins at once, and is itself."""
    with (
        gateway(faults=["pace=realtime"]) as served,
        TtsSession(config_for(served.url), api_key="") as tts,
    ):
        for _ in tts.speak(LONG):
            break
        began = time.monotonic()
        assert np.array_equal(np.concatenate(list(tts.speak("next"))), spoken("next"))
        assert time.monotonic() - began < 2


def test_speak_says_that_nothing_can_be_reached() -> None:
    """Without a gateway the iterator raises instead of waiting for ever."""
    config = config_for("ws://127.0.0.1:1", "tts.first_audio_timeout_s=0.5")
    with TtsSession(config, api_key="") as tts, pytest.raises(ConnectFailed, match="refused"):
        list(tts.speak("hello"))


def test_speak_says_that_the_key_is_refused() -> None:
    """A refusal that is final is raised by the iterator."""
    with gateway(key="right") as served:
        tts = TtsSession(config_for(served.url), api_key="wrong-key-123")
        with tts, pytest.raises(AuthenticationRejected):
            list(tts.speak("hello"))


def test_speak_says_that_the_connection_broke() -> None:
    """In the middle of the sound: what came came, then the error."""
    with (
        gateway(faults=["pace=realtime"]) as served,
        TtsSession(config_for(served.url), api_key="") as tts,
    ):
        sound = tts.speak(LONG)
        next(sound)
        served.drop_all()
        with pytest.raises(GatewayError):
            list(sound)


def test_stop_from_a_callback_ends_the_session() -> None:
    """In the receive thread, at the first audio: nothing is stuck, nothing dies."""
    deaths: list[Any] = []
    holder: list[TtsSession] = []
    done = threading.Event()

    def on_event(event: Any) -> None:
        if isinstance(event, ReplyAudio) and not done.is_set():
            holder[0].stop()
            done.set()

    with gateway(faults=["pace=realtime"]) as served:
        tts = TtsSession(
            config_for(served.url),
            api_key="",
            on_event=on_event,
            on_death=lambda *death: deaths.append(death),
        )
        holder.append(tts)
        tts.start()
        say(tts, 1, LONG)
        assert done.wait(PATIENCE_S)
        tts.stop()
        assert deaths == []


def test_the_init_message_says_what_the_config_says() -> None:
    """Voice on top, the rest in `config`; no model on the bridge path, one on the other."""
    for protocol, model in (("bridge", None), ("unified", "aura:2-en")):
        heard = Heard()
        overrides = (f"gateway.protocol={protocol}", "tts.speed=1.5", "tts.language=en")
        with gateway() as served, session(served.url, heard, *overrides) as tts:
            tts.wait_ready(PATIENCE_S)
            [init] = served.connections[0].of_type("client", "init")
            assert init["voice"] == "aura-2-thalia-en"
            assert init.get("model") == model
            assert init["config"]["speed"] == 1.5
            assert init["config"]["sample_rate"] == REPLY_RATE_HZ
