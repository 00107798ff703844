"""The classic protocol: both sessions and whole conversations, over real sockets."""

from __future__ import annotations

import base64
import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import session_scripts
from conversation_scripts import (
    PATIENCE_S,
    REPLY_RATE_HZ,
    Heard,
    config_for,
    connections,
    conversation,
    find_in,
    frequencies,
    gateway,
    numbered,
    read_wav,
    silence,
    spoken,
    until_over,
    voice,
    wait_until,
    write_wav,
)
from raw_server import read_frame, send_text, server, until_gone, upgrade
from session_scripts import say, sound_of, states, utter

from slng_edge import SttSession, TtsSession
from slng_edge.config import Config
from slng_edge.errors import (
    AuthenticationRejected,
    ConfigError,
    ConnectFailed,
    GatewayError,
    RequestRejected,
    ServerReportedError,
)
from slng_edge.events import ConnectionChanged
from slng_edge.pcm import Samples
from slng_edge.protocol.session_events import (
    Final,
    Partial,
    ReplyAudio,
    ReplyCut,
    ReplyDone,
    SegmentBegan,
    UtteranceLost,
)
from slng_edge.simulator import ConnectionRecord, LocalGateway, ToneSynthesizer

LONG = "a reply that goes on for quite a while and does not stop before it is stopped"
CLASSIC = ("gateway.protocol=classic", "stt.model=whisper", "tts.model=orpheus")
NATIVE = ("orpheus", "elevenlabs")
MODELS = (
    *("orpheus", "orpheus-indic", "kokoro", "cosyvoice", "chatterbox", "xtts"),
    *("elevenlabs", "deepgram", "cartesia"),
)


def classic(url: str, *overrides: str) -> Config:
    return config_for(url, *CLASSIC, *overrides)


def listening(url: str, heard: Heard, *overrides: str) -> AbstractContextManager[SttSession]:
    return session_scripts.listening(url, heard, *CLASSIC, *overrides)


def speaking(url: str, heard: Heard, *overrides: str) -> AbstractContextManager[TtsSession]:
    return session_scripts.speaking(url, heard, *CLASSIC, *overrides)


def frames(samples: Samples) -> list[Samples]:
    return [samples[at : at + 320] for at in range(0, len(samples), 320)]


def types(record: ConnectionRecord, sender: str = "client") -> list[str]:
    """The messages of one side, in order; audio as "audio", repeats of it once."""
    found: list[str] = []
    for _, who, message in record.messages:
        if who == sender:
            type_ = message["type"] if isinstance(message, dict) else "audio"
            if [type_] != found[-1:]:
                found.append(type_)
    return found


def inits(served: LocalGateway) -> list[dict[str, Any]]:
    return [
        init for record in connections(served, "tts") for init in record.of_type("client", "init")
    ]


def begun(served: LocalGateway, heard: Heard, number: int) -> None:
    """Wait until a reply sounds."""
    heard.wait_for(ReplyAudio, reply=number)
    assert served.connections[-1].of_type("client", "flush")


class TestSpeechToText:
    """`start`, binary audio, `finalize`."""

    @pytest.mark.parametrize("model", ["whisper", "kyutai"])
    def test_an_utterance_becomes_its_words(self, model: str) -> None:
        """Every sample goes out once, and nothing but the three messages there are."""
        heard = Heard()
        overrides = (f"stt.model={model}", "stt.language=de")
        with gateway("one two three") as served, listening(served.url, heard, *overrides) as stt:
            samples = numbered(500)
            number = utter(stt, samples)
            final = heard.wait_for(Final)
            assert (final.utterance, final.text) == (number, "one two three")
            assert 0 <= final.latency_s < 1
            [record] = served.connections
            assert record.audio == samples.tobytes()
            assert types(record) == ["start", "audio", "finalize"]
            [start] = record.of_type("client", "start")
            assert start == {
                "type": "start",
                "sample_rate": 16000,
                "encoding": "pcm16",
                "language": "de",
            }

    def test_audio_waits_for_ready(self) -> None:
        """Nothing but `start` before it; then all of it, in order."""
        heard = Heard()
        with gateway(faults=["ready_delay=400"]) as served, listening(served.url, heard) as stt:
            samples = numbered(300)
            utter(stt, samples)
            heard.wait_for(Final)
            [record] = served.connections
            kinds = [
                message["type"] if isinstance(message, dict) else "audio"
                for _, _, message in record.messages
            ]
            assert kinds[:3] == ["start", "ready", "audio"]
            assert record.audio == samples.tobytes()

    @pytest.mark.parametrize(
        "fault", ["several_finals=3", "duplicate_final", "from_finalize", "final_delay=200"]
    )
    def test_every_word_comes_once_whatever_the_finals(self, fault: str) -> None:
        """`transcript` finals and the `final_transcript` that says them again: one event."""
        heard = Heard()
        served = gateway("a b c d e", "and more", faults=[fault])
        with served, listening(served.url, heard) as stt:
            for text in ("a b c d e", "and more"):
                utterance = stt.open_utterance()
                for frame in frames(numbered(600)):
                    stt.add_audio(utterance, frame)
                heard.wait_for(Partial, text=text)
                stt.end_utterance(utterance, time.monotonic())
                assert heard.wait_for(Final, utterance=utterance).text == text
        assert sum(isinstance(event, Final) for event in heard.events) == 2

    def test_an_empty_final_ends_the_wait(self) -> None:
        """Nobody said anything: at once, not after `final_timeout_s`."""
        heard = Heard()
        with gateway("") as served, listening(served.url, heard) as stt:
            utter(stt, numbered(300))
            assert heard.wait_for(Final).text == ""
            assert len(served.connections) == 1

    def test_a_recording_gives_every_final_by_itself_and_ends(self) -> None:
        """As `slng-edge stt FILE` reads it: no word twice, none missing, and an end."""
        with gateway("a b c d e f", faults=["several_finals=3"]) as served:
            stt = SttSession(classic(served.url), api_key="", join_finals=False)

            def paced() -> Iterator[Samples]:
                yield from frames(numbered(600))
                assert served.wait_for(
                    lambda: served.connections and len(finals_of(served.connections[0])) >= 2,
                    PATIENCE_S,
                )
                time.sleep(0.2)  # noted just before they were sent; nothing shows their arrival

            with stt:
                events = list(stt.transcribe(paced()))
        finals = [event for event in events if isinstance(event, Final)]
        assert " ".join(" ".join(final.text for final in finals).split()) == "a b c d e f"
        assert len([final for final in finals if final.text]) == 3
        assert [final.answers for final in finals] == [False] * (len(finals) - 1) + [True]

    def test_a_long_recording_is_sent_faster_than_it_was_spoken(self) -> None:
        """A minute at once: all of it arrives."""
        with gateway("the whole minute") as served:
            stt = SttSession(classic(served.url), api_key="", join_finals=False)
            samples = numbered(60_000)
            with stt:
                events = list(stt.transcribe(frames(samples)))
            assert events[-1].text == "the whole minute"
            assert served.connections[0].audio == samples.tobytes()

    @pytest.mark.parametrize("after_bytes", [1, 9001, 30_000])
    def test_a_reset_in_the_middle_of_speech_loses_no_sample(self, after_bytes: int) -> None:
        """The next connection gets the utterance from its start."""
        heard = Heard()
        faults = [f"reset_after_bytes={after_bytes}@1-2"]
        with gateway("kept", faults=faults) as served, listening(served.url, heard) as stt:
            samples = numbered(1000)
            utter(stt, samples)
            for _ in range(2):
                heard.wait_for(ConnectionChanged, state="failed")
                stt.retry_now()
            assert heard.wait_for(Final).text == "kept"
            assert served.connections[2].audio == samples.tobytes()
            assert types(served.connections[2]) == ["start", "audio", "finalize"]

    def test_a_final_that_does_not_come_is_asked_for_once_more_then_lost(self) -> None:
        """Two connections have their chance."""
        heard = Heard()
        served = gateway("late words", faults=["no_final=1"])
        with served, listening(served.url, heard, "stt.final_timeout_s=0.3") as stt:
            utter(stt, numbered(300))
            assert heard.wait_for(Final).text == "late words"
            assert len(served.connections) == 2
        heard = Heard()
        served = gateway(faults=["no_final"])
        with served, listening(served.url, heard, "stt.final_timeout_s=0.3") as stt:
            utter(stt, numbered(300))
            assert heard.wait_for(UtteranceLost).ms == 300
            assert len(served.connections) == 2

    def test_a_connection_that_was_ended_for_its_age_is_followed(self) -> None:
        """`max_connection_duration_exceeded`: the next utterance is understood all the same."""
        heard = Heard()
        served = gateway("one", "two", connection_s=0.5)
        with served, listening(served.url, heard) as stt:
            utter(stt, numbered(200))
            heard.wait_for(Final, text="one")
            heard.wait_for(ConnectionChanged, state="failed")
            stt.retry_now()
            utter(stt, numbered(200))
            heard.wait_for(Final, text="two")


def finals_of(record: ConnectionRecord) -> list[dict[str, Any]]:
    return [message for message in record.of_type("server", "transcript") if message["is_final"]]


class TestTextToSpeech:
    """`init`, `input_text`, `flush`, and what comes."""

    @pytest.mark.parametrize("model", MODELS)
    def test_every_model_speaks(self, model: str) -> None:
        """Every sample, in order, once; the default voice where none is named."""
        heard = Heard()
        overrides = (f"tts.model={model}", "tts.language=hi")
        with gateway() as served, speaking(served.url, heard, *overrides) as tts:
            say(tts, 1, "hello there")
            heard.wait_for(ReplyDone, reply=1)
            assert np.array_equal(sound_of(heard, 1), spoken("hello there"))
            [record] = served.connections
            assert types(record) == ["init", "input_text", "flush"]
            [init] = record.of_type("client", "init")
            assert init["context_id"]
            expected = {"orpheus": "tara", "xtts": "Claribel Dervla", "deepgram": VOICE}
            if model in expected:
                assert init["voice_id"] == expected[model]
            assert ("voice_id" in init) == (model not in ("elevenlabs", "cartesia"))

    def test_several_sentences_come_in_order(self) -> None:
        """The first is spoken alone, the rest as they wait; nothing is missing between them."""
        heard = Heard()
        with gateway() as served, speaking(served.url, heard) as tts:
            say(tts, 1, "One.", "Two.", "Three.")
            heard.wait_for(ReplyDone)
            assert np.array_equal(sound_of(heard, 1), spoken("One.", "Two.", "Three."))
            segments = [event.texts for event in heard.events if isinstance(event, SegmentBegan)]
            assert segments == [("One.",), ("Two.", "Three.")]

    @pytest.mark.parametrize(
        "fault",
        [
            *("odd_frames", "repeat_sequence=2", "skip_sequence=2", "wrong_case", "wav_header"),
            *("terminal=both", "malformed_json=1", "first_audio_delay=200"),
        ],
    )
    def test_forms_of_the_field_give_the_same_samples(self, fault: str) -> None:
        """However audio is cut, wrapped, numbered and ended, twice."""
        heard = Heard()
        with gateway(faults=[fault]) as served, speaking(served.url, heard) as tts:
            for number, text in ((1, "one sentence"), (2, "and another")):
                say(tts, number, text)
                heard.wait_for(ReplyDone, reply=number)
                assert np.array_equal(sound_of(heard, number), spoken(text))

    @pytest.mark.parametrize("late_ms", [0, 300])
    def test_stop_interrupts_a_model_of_slng(self, late_ms: int) -> None:
        """On the same connection; what still comes before its `audio_end` is nobody's."""
        heard = Heard()
        faults = ["pace=realtime", *([f"late_audio_after_clear={late_ms}"] if late_ms else [])]
        with gateway(faults=faults) as served, speaking(served.url, heard) as tts:
            say(tts, 1, LONG)
            begun(served, heard, 1)
            tts.interrupt(time.monotonic())
            came = len(sound_of(heard, 1))
            say(tts, 2, "fresh words")
            heard.wait_for(ReplyDone, reply=2)
            assert np.array_equal(sound_of(heard, 2), spoken("fresh words"))
            assert len(sound_of(heard, 1)) - came <= REPLY_RATE_HZ * 40 // 1000
            [record] = served.connections
            assert types(record) == ["init", "input_text", "flush", "stop", "input_text", "flush"]

    def test_a_stop_that_crosses_the_end_of_the_speech_is_one_end(self) -> None:
        """All has come, or nearly: whichever it was, the next reply is whole."""
        heard = Heard()
        with gateway() as served, speaking(served.url, heard) as tts:
            for number in range(1, 20, 2):
                say(tts, number, f"number {number}")
                if number % 3:
                    heard.wait_for(ReplyAudio, reply=number)
                tts.interrupt(time.monotonic())
                say(tts, number + 1, f"after {number}")
                heard.wait_for(ReplyDone, reply=number + 1)
                assert np.array_equal(sound_of(heard, number + 1), spoken(f"after {number}"))
            assert len(served.connections) == 1

    @pytest.mark.parametrize("model", ["elevenlabs", "cartesia", "deepgram"])
    def test_a_providers_model_is_left_after_clear(self, model: str) -> None:
        """Nothing answers `clear`, so nothing is waited for: the next reply is elsewhere."""
        heard = Heard()
        faults = ["pace=realtime@1", "late_audio_after_clear=400"]
        overrides = (f"tts.model={model}",)
        with gateway(faults=faults) as served, speaking(served.url, heard, *overrides) as tts:
            say(tts, 1, LONG)
            begun(served, heard, 1)
            tts.interrupt(time.monotonic())
            at = time.monotonic()
            say(tts, 2, "fresh words")
            heard.wait_for(ReplyDone, reply=2)
            assert time.monotonic() - at < 0.7
            assert np.array_equal(sound_of(heard, 2), spoken("fresh words"))
            first, second = served.connections
            assert types(first) == ["init", "input_text", "flush", "clear"]
            assert types(second) == ["init", "input_text", "flush"]
            assert "failed" not in states(heard)

    @pytest.mark.parametrize("model", ["orpheus", "elevenlabs"])
    def test_the_context_outlives_connections(self, model: str) -> None:
        """The same `context_id` in every `init`, whatever ended the connection before."""
        heard = Heard()
        with gateway() as served, speaking(served.url, heard, f"tts.model={model}") as tts:
            for number in (1, 2, 3):
                say(tts, number, f"number {number}")
                heard.wait_for(ReplyDone, reply=number)
                served.drop_all()
                heard.wait_for(ConnectionChanged, state="failed")
                tts.retry_now()
                heard.wait_for(ConnectionChanged, state="ready")
            assert len({init["context_id"] for init in inits(served)}) == 1
            assert len(served.connections) == 4

    def test_sessions_have_contexts_of_their_own(self) -> None:
        """Two at once do not hear each other."""
        with gateway() as served:
            for _ in range(2):
                with speaking(served.url, Heard()) as tts:
                    tts.wait_ready(PATIENCE_S)
            first, second = inits(served)
            assert first["context_id"] != second["context_id"]

    def test_audio_of_another_context_is_dropped(self) -> None:
        """By its id, wherever it stands; and so is the other context's end."""
        own, foreign = numbered(1, 100, REPLY_RATE_HZ), numbered(1, 9000, REPLY_RATE_HZ)

        def serve(peer: socket.socket) -> None:
            upgrade(peer)
            context_id = json.loads(read_frame(peer)[1])["context_id"]
            assert context_id
            send(peer, type="ready", context_id="renamed")
            read_frame(peer), read_frame(peer)
            chunk(peer, foreign, "another")
            chunk(peer, own[:10], "renamed")
            send(peer, type="audio_end", context_id="another")
            chunk(peer, foreign, "another")
            chunk(peer, own[10:], "renamed")
            send(peer, type="audio_end", context_id="renamed")
            until_gone(peer)

        heard = Heard()
        with server(serve) as port, speaking(f"ws://127.0.0.1:{port}", heard) as tts:
            say(tts, 1, "hello")
            heard.wait_for(ReplyDone, reply=1)
            assert np.array_equal(sound_of(heard, 1), own)

    def test_pings_go_out_while_nothing_is_said(self) -> None:
        """As often as the config says."""
        with gateway() as served, speaking(served.url, Heard(), "tts.keepalive_s=0.2"):
            assert served.wait_for(
                lambda: (
                    served.connections and len(served.connections[0].of_type("client", "ping")) >= 3
                ),
                PATIENCE_S,
            )

    def test_a_session_that_the_gateway_ends_is_begun_again(self) -> None:
        """`session_ended` with its reason; the same context, and the next reply is spoken."""
        heard = Heard()
        with gateway(connection_s=0.6) as served, speaking(served.url, heard) as tts:
            tts.wait_ready(PATIENCE_S)
            change = heard.wait_for(ConnectionChanged, state="failed")
            assert "max_connection_duration_exceeded" in change.reason
            tts.retry_now()
            say(tts, 1, "once more")
            heard.wait_for(ReplyDone, reply=1)
            assert served.connections[0].of_type("server", "session_ended")
            assert len({init["context_id"] for init in inits(served)}) == 1

    def test_a_route_that_ends_each_session_is_followed_quietly(self) -> None:
        """`session_ended` and 1000 after every utterance: no failure, no back-off."""
        heard = Heard()
        served = gateway(faults=["per_utterance_close"])
        with served, speaking(served.url, heard) as tts:
            began = time.monotonic()
            for number in range(1, 6):
                say(tts, number, f"reply {number}", "and on.")
                heard.wait_for(ReplyDone, reply=number)
                assert np.array_equal(sound_of(heard, number), spoken(f"reply {number}", "and on."))
            assert time.monotonic() - began < 4
            assert "failed" not in states(heard)
            assert len({init["context_id"] for init in inits(served)}) == 1


VOICE = "aura-2-thalia-en"


class TestVoices:
    """Which one speaks, and how it is changed."""

    @pytest.mark.parametrize("model", ["elevenlabs", "cartesia"])
    def test_a_provider_takes_another_voice_on_the_connection(self, model: str) -> None:
        """`configure`, and the new voice in the `init` of later connections."""
        heard = Heard()
        overrides = (f"tts.model={model}", "tts.voice=anna")
        with gateway() as served, speaking(served.url, heard, *overrides) as tts:
            say(tts, 1, "hello")
            heard.wait_for(ReplyDone, reply=1)
            tts.change_voice("ben")
            say(tts, 2, "hello again")
            heard.wait_for(ReplyDone, reply=2)
            [record] = served.connections
            assert types(record) == [
                *("init", "input_text", "flush", "configure", "input_text", "flush")
            ]
            assert record.of_type("client", "configure")[0]["voice_id"] == "ben"
            served.drop_all()
            heard.wait_for(ConnectionChanged, state="failed")
            tts.retry_now()
            heard.wait_for(ConnectionChanged, state="ready")
            assert [init["voice_id"] for init in inits(served)] == ["anna", "ben"]
            assert len({init["context_id"] for init in inits(served)}) == 1

    @pytest.mark.parametrize("protocol", ["classic", "bridge"])
    def test_others_get_a_new_connection_for_it(self, protocol: str) -> None:
        """At a pause: what is being spoken is spoken to its end, on the old one."""
        heard = Heard()
        overrides = (f"gateway.protocol={protocol}", "tts.voice=anna")
        served = gateway(faults=["pace=20"])
        with served, speaking(served.url, heard, *overrides) as tts:
            say(tts, 1, LONG)
            heard.wait_for(ReplyAudio, reply=1)
            tts.change_voice("ben")
            say(tts, 2, "hello again")
            heard.wait_for(ReplyDone, reply=1)
            heard.wait_for(ReplyDone, reply=2)
            assert np.array_equal(sound_of(heard, 1), spoken(LONG))
            assert np.array_equal(sound_of(heard, 2), spoken("hello again"))
            name = "voice_id" if protocol == "classic" else "voice"
            assert [init[name] for init in inits(served)] == ["anna", "ben"]
            assert "failed" not in states(heard)
            if protocol == "classic":
                assert len({init["context_id"] for init in inits(served)}) == 1

    def test_a_change_without_a_connection_is_kept(self) -> None:
        """The first connection speaks with the new voice."""
        heard = Heard()
        served = gateway(faults=["refuse=503@1"])
        with served, speaking(served.url, heard, "tts.voice=anna") as tts:
            heard.wait_for(ConnectionChanged, state="failed")
            tts.change_voice("ben")
            tts.retry_now()
            say(tts, 1, "hello")
            heard.wait_for(ReplyDone, reply=1)
            assert [init["voice_id"] for init in inits(served)] == ["ben"]

    def test_a_change_while_a_connection_is_made_is_kept(self) -> None:
        """It was greeted with the old voice, and is replaced before it speaks."""
        heard = Heard()
        served = gateway(faults=["ready_delay=300@1"])
        with served, speaking(served.url, heard, "tts.voice=anna") as tts:
            assert served.wait_for(
                lambda: served.connections and types(served.connections[0]) == ["init"], PATIENCE_S
            )
            tts.change_voice("ben")
            say(tts, 1, "hello")
            heard.wait_for(ReplyDone, reply=1)
            first, second = served.connections
            assert types(first) == ["init"]
            assert types(second) == ["init", "input_text", "flush"]
            assert [init["voice_id"] for init in inits(served)] == ["anna", "ben"]

    def test_a_standby_with_the_old_voice_does_not_speak(self) -> None:
        """Both connections are replaced, whichever was first."""
        heard = Heard()
        overrides = ("tts.voice=anna", "tts.warm_standby=true")
        with gateway() as served, speaking(served.url, heard, *overrides) as tts:
            assert wait_until(
                lambda: sum("ready" in types(each, "server") for each in served.connections) == 2
            )
            tts.change_voice("ben")
            say(tts, 1, "hello")
            heard.wait_for(ReplyDone, reply=1)
            spoke = [each for each in served.connections if "input_text" in types(each)]
            assert [each.of_type("client", "init")[0]["voice_id"] for each in spoke] == ["ben"]

    def test_the_options_voice_is_changed_too(self) -> None:
        """`tts.options.voice_id` wins over `tts.voice`, but not over what is asked for now."""
        heard = Heard()
        overrides = ("tts.model=kokoro", "tts.options.voice_id=anna")
        with gateway() as served, speaking(served.url, heard, *overrides) as tts:
            tts.wait_ready(PATIENCE_S)
            tts.change_voice("ben")
            say(tts, 1, "hello")
            heard.wait_for(ReplyDone, reply=1)
            assert [init["voice_id"] for init in inits(served)] == ["anna", "ben"]

    def test_a_fallback_of_another_family_keeps_its_own(self) -> None:
        """No voice of the first model's is asked of it; the first gets it when it is back."""
        heard = Heard()
        overrides = ("tts.voice=anna", 'tts.fallbacks=["elevenlabs"]', "stt.fallback_cooldown_s=0")
        served = gateway(faults=["refuse=503@1-2"])
        with served, speaking(served.url, heard, *overrides) as tts:
            for _ in range(2):
                heard.wait_for(ConnectionChanged, state="failed")
                tts.retry_now()
            heard.wait_for(ConnectionChanged, state="ready", model="elevenlabs")
            tts.change_voice("ben")
            heard.wait_for(ConnectionChanged, state="ready", model="orpheus")
            say(tts, 1, "hello")
            heard.wait_for(ReplyDone, reply=1)
            fallback = next(each for each in served.connections if each.model == "elevenlabs")
            assert "voice_id" not in fallback.of_type("client", "init")[0]
            assert fallback.of_type("client", "configure") == []
            assert inits(served)[-1]["voice_id"] == "ben"

    @pytest.mark.parametrize("nothing", ["", "  "])
    def test_no_voice_is_none_to_change_to(self, nothing: str) -> None:
        """What speaks goes on speaking."""
        with (
            gateway() as served,
            speaking(served.url, Heard()) as tts,
            pytest.raises(ConfigError, match="voice"),
        ):
            tts.change_voice(nothing)


class TestProviders:
    """What only some of the models know."""

    @pytest.mark.parametrize(
        ("model", "options"),
        [
            ("elevenlabs", {"voice_settings": {"stability": 0.5, "use_speaker_boost": True}}),
            ("elevenlabs", {"generation_config": {"chunk_length_schedule": [120, 160]}}),
            ("cartesia", {"language": "fr", "context_id": "mine"}),
            ("orpheus", {"buffer_size": 3, "max_tokens": 1000, "repetition_penalty": 1.1}),
            ("orpheus-indic", {"language": "ta"}),
        ],
    )
    def test_their_fields_go_into_init(self, model: str, options: dict[str, Any]) -> None:
        """At the top level, as they are, in every `init`."""
        heard = Heard()
        overrides = [f"tts.options.{name}={toml(value)}" for name, value in options.items()]
        with (
            gateway() as served,
            speaking(served.url, heard, f"tts.model={model}", *overrides) as tts,
        ):
            say(tts, 1, "hello")
            heard.wait_for(ReplyDone, reply=1)
            served.drop_all()
            heard.wait_for(ConnectionChanged, state="failed")
            tts.retry_now()
            heard.wait_for(ConnectionChanged, state="ready")
            assert len(inits(served)) == 2
            for init in inits(served):
                assert options.items() <= init.items()

    @pytest.mark.parametrize("model", NATIVE)
    def test_frames_of_their_own_give_the_same_speech(self, model: str) -> None:
        """`tts.native_frames`: text and flush as the provider's clients send them."""
        frames_of: dict[str, list[Any]] = {
            "orpheus": ["One.", {"type": "control", "action": "flush"}],
            "elevenlabs": ['{"text":"One. "}', '{"text":""}'],
        }
        heard = Heard()
        overrides = (f"tts.model={model}", "tts.native_frames=true")
        with gateway() as served, speaking(served.url, heard, *overrides) as tts:
            say(tts, 1, "One.", "Two, and three.")
            heard.wait_for(ReplyDone, reply=1)
            assert np.array_equal(sound_of(heard, 1), spoken("One.", "Two, and three."))
            say(tts, 2, LONG)
            heard.wait_for(ReplyDone, reply=2)
            assert np.array_equal(sound_of(heard, 2), spoken(LONG))
            sent = [
                message
                for _, who, message in served.connections[0].messages
                if who == "client"
                and not (isinstance(message, dict) and "init" in message.values())
            ]
            assert sent[:2] == frames_of[model]

    @pytest.mark.parametrize("model", NATIVE)
    def test_they_are_interrupted_as_ever(self, model: str) -> None:
        """The next reply is itself."""
        heard = Heard()
        overrides = (f"tts.model={model}", "tts.native_frames=true")
        served = gateway(faults=["pace=realtime@1", "late_audio_after_clear=200"])
        with served, speaking(served.url, heard, *overrides) as tts:
            say(tts, 1, LONG)
            heard.wait_for(ReplyAudio, reply=1)
            tts.interrupt(time.monotonic())
            say(tts, 2, "fresh words")
            heard.wait_for(ReplyDone, reply=2)
            assert np.array_equal(sound_of(heard, 2), spoken("fresh words"))


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(each)}" for name, each in value.items()) + "}"
    return json.dumps(value)


class TestFailures:
    """What goes wrong on the way."""

    def test_a_reset_before_the_first_audio_is_made_up_for(self) -> None:
        """The text is sent once more, and all of it is heard, once."""
        heard = Heard()
        served = gateway(faults=["reset_after=flush@1"])
        with served, speaking(served.url, heard) as tts:
            say(tts, 1, "sent again")
            heard.wait_for(ConnectionChanged, state="failed")
            tts.retry_now()
            heard.wait_for(ReplyDone, reply=1)
            assert np.array_equal(sound_of(heard, 1), spoken("sent again"))
            assert len({init["context_id"] for init in inits(served)}) == 1

    @pytest.mark.parametrize("model", ["orpheus", "elevenlabs"])
    def test_a_reset_in_the_middle_of_a_reply_cuts_it(self, model: str) -> None:
        """Nothing is said twice, and the next reply works."""
        heard = Heard()
        served = gateway(faults=["reset_after_bytes=20000@1"])
        with served, speaking(served.url, heard, f"tts.model={model}") as tts:
            say(tts, 1, LONG)
            assert heard.wait_for(ReplyCut).reply == 1
            tts.retry_now()
            say(tts, 2, "the next one")
            heard.wait_for(ReplyDone, reply=2)
            assert np.array_equal(sound_of(heard, 2), spoken("the next one"))
            came = sound_of(heard, 1)
            assert 0 < len(came) < len(spoken(LONG))
            assert np.array_equal(came, spoken(LONG)[: len(came)])

    @pytest.mark.parametrize("kind", ["stt", "tts"])
    def test_a_gateway_that_never_says_ready_is_left(self, kind: str) -> None:
        """After `connect_timeout_s`; the next attempt works."""
        heard = Heard()
        session = listening if kind == "stt" else speaking
        served = gateway(faults=["never_ready@1"])
        with served, session(served.url, heard, "gateway.connect_timeout_s=0.3") as any_session:
            change = heard.wait_for(ConnectionChanged, state="failed")
            assert "`ready`" in change.reason
            any_session.retry_now()
            heard.wait_for(ConnectionChanged, state="ready")

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("auth_error", AuthenticationRejected),
            ("config_error", ServerReportedError),
            ("provider_error", ServerReportedError),
        ],
    )
    def test_an_error_in_the_place_of_a_reply_is_told(
        self, code: str, kind: type[GatewayError]
    ) -> None:
        """A final one at once, a passing one after a second try."""
        heard = Heard()
        served = gateway(faults=[f"error_on_text={code}"])
        with served, speaking(served.url, heard) as tts:
            say(tts, 1, "hello")
            if code == "provider_error":
                heard.wait_for(ConnectionChanged, state="failed")
                tts.retry_now()
            cut = heard.wait_for(ReplyCut)
            assert (cut.reply, type(cut.error)) == (1, kind)
            assert cut.error.retryable == (code == "provider_error")

    @pytest.mark.parametrize("form", [(), ("nested_error",), ("numeric_error",)])
    def test_an_error_in_the_place_of_a_final_is_tried_again(self, form: tuple[str, ...]) -> None:
        """In each form that errors have."""
        heard = Heard()
        served = gateway("after all", faults=["error_on_finalize=provider_error:1", *form])
        with served, listening(served.url, heard) as stt:
            samples = numbered(300)
            utter(stt, samples)
            heard.wait_for(ConnectionChanged, state="failed")
            stt.retry_now()
            assert heard.wait_for(Final).text == "after all"
            assert served.connections[1].audio == samples.tobytes()

    def test_retryable_in_the_event_wins_over_the_table(self) -> None:
        """`provider_error` that says of itself that it is final."""

        def serve(peer: socket.socket) -> None:
            upgrade(peer)
            read_frame(peer)
            send(peer, type="error", code="provider_error", message="no more", retryable=False)
            until_gone(peer)

        heard = Heard()
        with server(serve) as port, speaking(f"ws://127.0.0.1:{port}", heard) as tts:
            with pytest.raises(ServerReportedError, match="no more") as info:
                tts.wait_ready(PATIENCE_S)
            assert not info.value.retryable
            assert heard.wait_for(ConnectionChanged, state="failed").retry_in_s >= 600

    @pytest.mark.parametrize(
        ("session", "model"), [(listening, "stt.model=orpheus"), (speaking, "tts.model=whisper")]
    )
    def test_a_model_of_the_other_kind_is_said_before_anything_is_sent(
        self, session: Any, model: str
    ) -> None:
        """Nothing to be found out from a 404."""
        with (
            pytest.raises(ConfigError, match="not a model of the classic protocol"),
            session("ws://127.0.0.1:1", Heard(), model),
        ):
            pytest.fail("it was begun")

    @pytest.mark.parametrize(
        ("refused", "kind"), [("404", RequestRejected), ("503", ConnectFailed)]
    )
    def test_a_refused_upgrade_is_said(self, refused: str, kind: type[GatewayError]) -> None:
        """As on every protocol."""
        with (
            gateway(faults=[f"refuse={refused}"]) as served,
            speaking(served.url, Heard()) as tts,
            pytest.raises(kind),
        ):
            tts.wait_ready(PATIENCE_S)

    def test_a_fallback_gets_the_speech_that_was_kept(self) -> None:
        """Two failures of the first model; the utterance is whole at the second."""
        heard = Heard()
        served = gateway("kept", faults=["error_on_finalize=provider_error:2"])
        with served, listening(served.url, heard, 'stt.fallbacks=["kyutai"]') as stt:
            samples = numbered(500)
            utter(stt, samples)
            for _ in range(2):
                heard.wait_for(ConnectionChanged, state="failed")
                stt.retry_now()
            assert heard.wait_for(Final).text == "kept"
            assert [record.model for record in served.connections] == ["whisper"] * 2 + ["kyutai"]
            assert served.connections[-1].audio == samples.tobytes()


class TestAtRandom:
    """Faults drawn from a seed, connections that drop, and interruptions, one after the other."""

    @pytest.mark.parametrize("model", ["orpheus", "elevenlabs"])
    def test_no_reply_has_a_sample_of_another(self, model: str) -> None:
        """Each is whole, or the beginning of itself; none hangs, and the context stays."""
        heard = Heard()
        rng = random.Random(2)
        faults = ["tts:random=2:70", "tts:pace=15"]
        overrides = (f"tts.model={model}", *HASTY, "gateway.tier=enterprise")
        served = gateway(faults=faults, tier="enterprise")
        with served, speaking(served.url, heard, *overrides) as tts:
            for number in range(1, 16):
                text = f"reply {number} " + "w" * rng.randrange(1, 40)
                say(tts, number, text)
                mishap = rng.choice([served.drop_all, tts.interrupt, None])
                due_at = time.monotonic() + rng.uniform(0, 0.15)
                ends = partial(ended, heard, number)
                wait_until(lambda due_at=due_at, ends=ends: ends() or time.monotonic() > due_at)
                if mishap == tts.interrupt:
                    tts.interrupt(time.monotonic())
                    continue
                if mishap is not None:
                    served.drop_all()
                assert wait_until(lambda ends=ends: tts.retry_now() or ends()), text
                sound = sound_of(heard, number)
                assert np.array_equal(sound, spoken(text)[: len(sound)]), text
                whole = isinstance(ended(heard, number), ReplyDone)
                assert (len(sound) == len(spoken(text))) or not whole, text
            assert len({init["context_id"] for init in inits(served)}) == 1
            assert len(served.connections) > 3

    def test_every_utterance_ends_with_its_words_or_as_lost(self) -> None:
        """And no word is understood twice."""
        heard = Heard()
        rng = random.Random(4)
        served = gateway("one two three four", faults=["stt:random=4:70"], tier="enterprise")
        with served, listening(served.url, heard, *HASTY, "gateway.tier=enterprise") as stt:
            for _ in range(15):
                utterance = stt.open_utterance()
                parts = frames(numbered(rng.randrange(100, 900)))
                drop_at = rng.randrange(2 * len(parts))
                for place, part in enumerate(parts):
                    stt.add_audio(utterance, part)
                    if place == drop_at:
                        served.drop_all()
                stt.end_utterance(utterance, time.monotonic())
                over = partial(outcome, heard, utterance)
                assert wait_until(lambda over=over: stt.retry_now() or over())
            texts = {event.text for event in heard.events if isinstance(event, Final)}
            assert texts == {"one two three four"}
            assert len(served.connections) > 3


HASTY = (
    *("stt.final_timeout_s=0.7", "tts.first_audio_timeout_s=0.6"),
    "gateway.connect_timeout_s=0.6",
)


def ended(heard: Heard, number: int) -> ReplyDone | ReplyCut | None:
    """How a reply ended, if it has."""
    for event in list(heard.events):
        if isinstance(event, ReplyDone | ReplyCut) and event.reply == number:
            return event
    return None


def outcome(heard: Heard, utterance: int) -> Final | UtteranceLost | None:
    """How an utterance ended, if it has."""
    for event in list(heard.events):
        over = isinstance(event, Final) or (isinstance(event, UtteranceLost) and event.over)
        if over and event.utterance == utterance:
            return event
    return None


def send(peer: socket.socket, **fields: Any) -> None:
    send_text(peer, json.dumps(fields))


def chunk(peer: socket.socket, samples: Samples, context_id: str) -> None:
    data = base64.b64encode(samples.tobytes()).decode()
    send(peer, type="audio_chunk", data=data, context_id=context_id)


class TestConversations:
    """The whole loop."""

    @pytest.mark.parametrize(
        ("model", "more"),
        [
            ("orpheus", ()),
            ("elevenlabs", ()),
            ("orpheus", ("tts.native_frames=true",)),
            ("elevenlabs", ("tts.native_frames=true", "tts.warm_standby=true")),
        ],
        ids=["stop", "clear", "native-stop", "native-clear-standby"],
    )
    def test_turns_with_an_interruption(
        self, tmp_path: Path, model: str, more: tuple[str, ...]
    ) -> None:
        """Three questions, the first answer cut off: words, and every sample that sounds."""
        question = (silence(600), voice(400), silence(600))
        sounds = (*question, silence(700), voice(500), silence(1400), *question)
        files = (
            f"audio.input=file:{write_wav(tmp_path / 'in.wav', np.concatenate(sounds))}",
            f"audio.output=file:{tmp_path / 'out.wav'}",
        )
        faults = ["tts:pace=2", "tts:late_audio_after_clear=300", "stt:several_finals=2"]
        with gateway(LONG, "short one", "the last", faults=faults) as served:
            config = classic(served.url, *files, f"tts.model={model}", *more)
            with conversation(config) as (loop, recorder):
                until_over(loop)
            assert [line["text"] for line in recorder.jsons("final")] == [
                *(LONG, "short one", "the last")
            ]
            [interrupted] = recorder.jsons("interrupted")
            assert interrupted["by"] == "speech"
            assert LONG.startswith(interrupted["heard_text"])
            recording = read_wav(tmp_path / "out.wav").copy()
            began = find_in(recording, spoken(LONG)[: REPLY_RATE_HZ // 5])
            second = find_in(recording, spoken("short one"))
            third = find_in(recording, spoken("the last"))
            assert 0 < began < second < third
            for start, text in ((second, "short one"), (third, "the last")):
                recording[start : start + len(spoken(text))] = 0
            assert frequencies(recording) == {ToneSynthesizer.frequency_hz(LONG)}
            assert not recording[second:].any()
            assert recorder.jsons("lost") == []
            assert len({init["context_id"] for init in inits(served)}) == 1
            assert len(connections(served, "stt")) == 1

    def test_a_drop_in_the_middle_of_a_question_loses_nothing(self, tmp_path: Path) -> None:
        """The second connection gets what the first got, and all that followed."""
        sounds = np.concatenate((silence(800), voice(1500), silence(400)))
        track = f"audio.input=file:{write_wav(tmp_path / 'in.wav', sounds)}"
        with gateway("kept words") as served:
            with conversation(classic(served.url, track)) as (loop, recorder):
                recorder.wait_for("speech_start")
                [first] = connections(served, "stt")
                assert served.wait_for(lambda: first.audio_bytes > 20000, PATIENCE_S)
                served.drop_all()
                until_over(loop)
            assert [line["text"] for line in recorder.jsons("final")] == ["kept words"]
            assert recorder.jsons("playback_end")
            last = connections(served, "stt")[-1]
            assert last.audio.startswith(first.audio)
            assert sounds.tobytes().find(last.audio) == (800 - 300) * 32
