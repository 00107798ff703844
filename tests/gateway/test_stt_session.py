"""Speech-to-text sessions against the local gateway, over real sockets."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from authority import Authority
from conversation_scripts import (
    PATIENCE_S,
    Heard,
    config_for,
    connections,
    gateway,
    numbered,
    voice,
    wait_until,
)
from session_scripts import listening as session
from session_scripts import utter as say

from slng_edge import SttSession
from slng_edge.errors import AuthenticationRejected, ConnectFailed, GatewayError, RequestRejected
from slng_edge.events import ConnectionChanged
from slng_edge.pcm import Samples
from slng_edge.protocol.session_events import Final, Partial, UtteranceLost
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer


def test_an_utterance_becomes_its_words() -> None:
    """All audio, then `finalize`, then the final: its number, words and latency."""
    heard = Heard()
    with gateway("one two three") as served, session(served.url, heard) as stt:
        samples = numbered(500)
        number = say(stt, samples)
        final = heard.wait_for(Final)
        assert (final.utterance, final.text) == (number, "one two three")
        assert 0 <= final.latency_s < 1
        [record] = served.connections
        assert record.audio == samples.tobytes()
        assert len(record.of_type("client", "finalize")) == 1


def test_tls_at_full_rate_loses_and_repeats_no_sample(authority: Authority) -> None:
    """Flat out for seconds both ways over TLS: what the gateway got is what was given."""
    heard = Heard()
    served = gateway("w " * 20000, ssl_context=authority.server_context(), tier="enterprise")
    overrides = (f"gateway.ca_file={authority.ca_file}", "gateway.tier=enterprise")
    with served, session(served.url, heard, *overrides) as stt:
        stt.wait_ready(PATIENCE_S)
        utterance = stt.open_utterance()
        sent = bytearray()
        until = time.monotonic() + 4.0
        while time.monotonic() < until:
            frame = numbered(20, start=len(sent) // 2)
            stt.add_audio(utterance, frame)
            sent += frame.tobytes()
            if stt._exchange.unsent_ms > 1000:
                time.sleep(0)
                wait_until(lambda: stt._exchange.unsent_ms < 1000)
            if len(sent) % (10 * 32000) == 0:
                stt.end_utterance(utterance, time.monotonic())
                heard.wait_for(Final, utterance=utterance)
                utterance = stt.open_utterance()
        stt.end_utterance(utterance, time.monotonic())
        heard.wait_for(Final, utterance=utterance)
        [record] = served.connections
        assert len(sent) > 4 * 50 * 640
        assert record.audio == bytes(sent)
        assert sum(isinstance(event, Partial) for event in heard.events) > 10


def test_transcribe_over_tls_gives_partials_and_the_final(authority: Authority) -> None:
    """The iterator form, over TLS, with arrays and with bytes."""
    served = gateway("alpha beta gamma", ssl_context=authority.server_context())
    with served:
        config = config_for(served.url, f"gateway.ca_file={authority.ca_file}")
        with SttSession(config, api_key="") as stt:
            for form in (arrays_of, bytes_of):
                events = list(stt.transcribe(form(numbered(600))))
                assert isinstance(events[-1], Final)
                assert events[-1].text == "alpha beta gamma"
                assert events[0].text.startswith("alpha")


def arrays_of(samples: Samples) -> list[Samples]:
    return [samples[at : at + 320] for at in range(0, len(samples), 320)]


def after_finals(served: LocalGateway, count: int, samples: Samples) -> Iterator[Samples]:
    """Frames, whose end comes when the gateway has given `count` finals of its own."""
    yield from arrays_of(samples)
    assert served.wait_for(
        lambda: (
            served.connections
            and len(served.connections[0].of_type("server", "final_transcript")) >= count
        ),
        PATIENCE_S,
    )
    threading.Event().wait(0.2)  # noted just before they were sent; nothing shows their arrival


def bytes_of(samples: Samples) -> list[bytes]:
    return [part.tobytes() for part in arrays_of(samples)]


def test_audio_waits_for_ready() -> None:
    """Nothing but `init` is sent before `ready`; then all of it comes, in order."""
    heard = Heard()
    with gateway(faults=["ready_delay=600"]) as served, session(served.url, heard) as stt:
        samples = numbered(400)
        say(stt, samples)
        heard.wait_for(Final)
        [record] = served.connections
        order = [
            message["type"] if isinstance(message, dict) else "audio"
            for _, _, message in record.messages
        ]
        assert order[:3] == ["init", "ready", "audio"]
        assert record.audio == samples.tobytes()
        ready_at, audio_at = record.messages[1][0], record.messages[2][0]
        assert ready_at - record.messages[0][0] >= 0.5
        assert audio_at - ready_at < 0.3


def test_silence_sends_keepalives_and_nothing_else() -> None:
    """Without speech only keepalives go out, as often as the config says."""
    heard = Heard()
    with gateway() as served, session(served.url, heard, "stt.keepalive_s=0.2"):
        assert served.wait_for(
            lambda: (
                len(served.connections[0].of_type("client", "keepalive")) >= 4
                if served.connections
                else False
            ),
            PATIENCE_S,
        )
        [record] = served.connections
        sent = [(at, message) for at, who, message in record.messages if who == "client"]
        assert {message["type"] for _, message in sent} == {"init", "keepalive"}
        at = [at for at, message in sent if message["type"] == "keepalive"]
        gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
        assert all(0.15 < gap < 0.5 for gap in gaps), gaps


def test_no_keepalive_is_sent_while_somebody_speaks() -> None:
    """Audio keeps the connection alive by itself; the count begins after the last message."""
    heard = Heard()
    with gateway() as served, session(served.url, heard, "stt.keepalive_s=0.25") as stt:
        stt.wait_ready(PATIENCE_S)
        utterance = stt.open_utterance()
        pace = threading.Event()
        for _ in range(40):
            stt.add_audio(utterance, numbered(20))
            pace.wait(0.02)
        stt.end_utterance(utterance, time.monotonic())
        heard.wait_for(Final)
        [record] = served.connections
        audio_at = [at for at, _, message in record.messages if isinstance(message, bytes)]
        between = [
            message
            for at, who, message in record.messages
            if who == "client" and audio_at[0] < at < audio_at[-1] and isinstance(message, dict)
        ]
        assert between == []


def test_audio_can_go_as_base64() -> None:
    """With `stt.audio_frames = "base64"` no binary message is sent, and no byte is lost."""
    heard = Heard()
    with gateway() as served, session(served.url, heard, "stt.audio_frames=base64") as stt:
        samples = numbered(300)
        say(stt, samples)
        heard.wait_for(Final)
        [record] = served.connections
        assert record.audio == samples.tobytes()
        assert not any(isinstance(message, bytes) for _, _, message in record.messages)
        assert record.of_type("client", "audio")


def test_a_dropped_connection_loses_no_sample_of_the_utterance() -> None:
    """The next connection gets the utterance from its start, and the live rest, once each."""
    heard = Heard()
    with gateway("kept words") as served, session(served.url, heard) as stt:
        stt.wait_ready(PATIENCE_S)
        samples = numbered(2000)
        utterance = stt.open_utterance()
        half = len(samples) // 2
        for start in range(0, half, 320):
            stt.add_audio(utterance, samples[start : min(half, start + 320)])
        served.wait_for(lambda: served.connections[0].audio_bytes >= half * 2, PATIENCE_S)
        served.drop_all()
        for start in range(half, len(samples), 320):
            stt.add_audio(utterance, samples[start : start + 320])
        heard.wait_for(ConnectionChanged, state="failed")
        stt.retry_now()
        stt.end_utterance(utterance, time.monotonic())
        assert heard.wait_for(Final).text == "kept words"
        first, second = served.connections
        assert first.audio == samples[:half].tobytes()
        assert second.audio == samples.tobytes()


def test_a_reset_in_the_middle_of_a_message_loses_nothing() -> None:
    """A reset after some bytes, wherever it hits: the replay is whole."""
    heard = Heard()
    faults = ["reset_after_bytes=9001@1-2"]
    with gateway(faults=faults) as served, session(served.url, heard) as stt:
        samples = numbered(1000)
        say(stt, samples)
        for _ in range(2):
            heard.wait_for(ConnectionChanged, state="failed")
            stt.retry_now()
        heard.wait_for(Final)
        assert served.connections[2].audio == samples.tobytes()


def test_an_answered_utterance_is_not_sent_again() -> None:
    """After a reconnect only what is not answered goes out."""
    heard = Heard()
    with gateway("one", "two") as served, session(served.url, heard) as stt:
        say(stt, numbered(300))
        heard.wait_for(Final, text="one")
        served.drop_all()
        heard.wait_for(ConnectionChanged, state="failed")
        stt.retry_now()
        second = numbered(200, start=777)
        say(stt, second)
        heard.wait_for(Final, text="two")
        assert served.connections[1].audio == second.tobytes()


def test_several_finals_make_one_event() -> None:
    """Finals of the server's own are joined with the one that answers `finalize`."""
    heard = Heard()
    with (
        gateway("a b c d e", faults=["several_finals=3"]) as served,
        session(served.url, heard) as stt,
    ):
        utterance = stt.open_utterance()
        for frame in arrays_of(numbered(600)):
            stt.add_audio(utterance, frame)
        heard.wait_for(Partial, text="a b c d e")  # after the server's own two finals
        stt.end_utterance(utterance, time.monotonic())
        assert heard.wait_for(Final).text == "a b c d e"
        [record] = served.connections
        assert len(record.of_type("server", "final_transcript")) == 3
    assert sum(isinstance(event, Final) for event in heard.events) == 1


@pytest.mark.parametrize("fault", ["duplicate_final", "from_finalize", "deepgram_results"])
def test_final_forms_of_the_field_make_one_event(fault: str) -> None:
    """Each form in which routes give finals ends in one `Final` an utterance."""
    heard = Heard()
    with gateway("one two", "three", faults=[fault]) as served, session(served.url, heard) as stt:
        say(stt, numbered(400))
        assert heard.wait_for(Final).text == "one two"
        say(stt, numbered(400))
        assert heard.wait_for(Final).text == "three"
    assert sum(isinstance(event, Final) for event in heard.events) == 2


def test_a_final_that_does_not_come_is_asked_for_once_more() -> None:
    """The utterance is replayed on a new connection, whole, and its words arrive."""
    heard = Heard()
    with (
        gateway("late words", faults=["no_final=1"]) as served,
        session(served.url, heard, "stt.final_timeout_s=0.3") as stt,
    ):
        samples = numbered(300)
        say(stt, samples)
        assert heard.wait_for(ConnectionChanged, state="closed").reason
        assert heard.wait_for(Final).text == "late words"
        assert [record.audio for record in served.connections] == [samples.tobytes()] * 2


def test_a_final_that_never_comes_is_reported_lost_after_one_replay() -> None:
    """Two connections had their chance; then the loss is told, with its length."""
    heard = Heard()
    with (
        gateway(faults=["no_final"]) as served,
        session(served.url, heard, "stt.final_timeout_s=0.3") as stt,
    ):
        number = say(stt, numbered(300))
        assert heard.wait_for(ConnectionChanged, state="closed").reason
        lost = heard.wait_for(UtteranceLost)
        assert (lost.utterance, lost.ms, lost.over) == (number, 300, True)
        assert len(served.connections) == 2


def test_malformed_messages_are_skipped_and_the_session_lives_on() -> None:
    """Broken JSON, arrays, messages without a type: the words come all the same."""
    heard = Heard()
    with (
        gateway("still here", faults=["malformed_json=1"]) as served,
        session(served.url, heard) as stt,
    ):
        say(stt, numbered(300))
        assert heard.wait_for(Final).text == "still here"
        assert len(served.connections) == 1


def test_a_refused_key_is_final_and_keeps_the_servers_words() -> None:
    """401: `AuthenticationRejected`, at once, without a second attempt, without the key."""
    heard = Heard()
    with gateway(key="right") as served, session(served.url, heard, api_key="wrong-key-123") as stt:
        with pytest.raises(AuthenticationRejected, match="Invalid or missing API key") as info:
            stt.wait_ready(PATIENCE_S)
        assert "wrong-key-123" not in str(info.value)
        failed = heard.wait_for(ConnectionChanged, state="failed")
        assert failed.retry_in_s >= 600
        assert isinstance(heard.wait_for(AuthenticationRejected), AuthenticationRejected)


def test_a_corrected_gateway_is_tried_at_once_on_retry_now() -> None:
    """After a final refusal `retry_now` does not wait for the ten minutes to pass."""
    heard = Heard()
    with gateway(faults=["refuse=403@1"]) as served, session(served.url, heard) as stt:
        heard.wait_for(AuthenticationRejected)
        stt.retry_now()
        heard.wait_for(ConnectionChanged, state="ready")


def test_a_wrong_path_is_final() -> None:
    """404 is a wrong request: said at once."""
    heard = Heard()
    with (
        gateway(faults=["refuse=404"]) as served,
        session(served.url, heard) as stt,
        pytest.raises(RequestRejected),
    ):
        stt.wait_ready(PATIENCE_S)


def test_retry_after_is_waited_for_and_then_it_works() -> None:
    """503 with Retry-After: 1 is tried again, no sooner than the server said."""
    heard = Heard()
    faults = ["refuse=503@1", "retry_after=1@1"]
    with gateway("after all", faults=faults) as served, session(served.url, heard) as stt:
        say(stt, numbered(200))
        failed = heard.wait_for(ConnectionChanged, state="failed")
        began = time.monotonic()
        assert 1.0 <= failed.retry_in_s <= 2.0
        assert heard.wait_for(Final).text == "after all"
        assert time.monotonic() - began > 0.9


def test_a_gateway_that_is_never_ready_is_left() -> None:
    """Without `ready` in time the connection is dropped, and said to have failed."""
    heard = Heard()
    with (
        gateway("second try", faults=["never_ready@1"]) as served,
        session(served.url, heard, "gateway.connect_timeout_s=0.4") as stt,
    ):
        with pytest.raises(GatewayError, match="ready"):
            stt.wait_ready(PATIENCE_S)
        stt.retry_now()
        say(stt, numbered(200))
        assert heard.wait_for(Final).text == "second try"


def test_stop_says_goodbye() -> None:
    """`close` of the dialect, then a close frame with 1000; the event says "closed"."""
    heard = Heard()
    with gateway() as served:
        with session(served.url, heard) as stt:
            stt.wait_ready(PATIENCE_S)
        [record] = served.connections
        assert served.wait_for(lambda: record.close_code is not None, PATIENCE_S)
        assert record.close_code == 1000
        assert len(record.of_type("client", "close")) == 1
    assert heard.events[-1] == ConnectionChanged("stt", "closed", heard.events[-1].model, code=1000)


def test_stop_is_idempotent_from_any_thread() -> None:
    """Several threads stop at once, and again later: all return, nothing is raised."""
    heard = Heard()
    with gateway() as served, session(served.url, heard) as stt:
        stt.wait_ready(PATIENCE_S)
        failures: list[BaseException] = []

        def stop() -> None:
            try:
                stt.stop()
            except BaseException as error:  # noqa: BLE001 - the test reports it
                failures.append(error)

        threads = [threading.Thread(target=stop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        stt.stop()
        assert failures == []


def test_stop_before_start_is_harmless() -> None:
    """A session that was never started can be stopped."""
    with session("ws://127.0.0.1:1", Heard(), start=False) as stt:
        stt.stop()


@pytest.mark.parametrize("kind", [Final, ConnectionChanged])
def test_stop_from_a_callback_ends_the_session(kind: type) -> None:
    """`stop` in a callback returns at once; the threads end by themselves, nothing dies."""
    deaths: list[Any] = []
    took: list[float] = []
    holder: list[SttSession] = []
    done = threading.Event()

    def on_event(event: Any) -> None:
        if isinstance(event, kind) and getattr(event, "state", "ready") == "ready":
            began = time.monotonic()
            holder[0].stop()
            took.append(time.monotonic() - began)
            done.set()

    with gateway() as served:
        config = config_for(served.url)
        stt = SttSession(
            config, api_key="", on_event=on_event, on_death=lambda *death: deaths.append(death)
        )
        holder.append(stt)
        stt.start()
        say(stt, numbered(200))
        assert done.wait(PATIENCE_S)
        stt.stop()
        assert (deaths, took[0] < 0.5) == ([], True)
        record = served.connections[0]
        assert served.wait_for(lambda: record.close_code is not None, PATIENCE_S)
        assert record.close_code == 1000


def test_transcribe_says_that_nothing_can_be_reached() -> None:
    """Without a gateway the iterator raises instead of waiting for ever."""
    config = config_for("ws://127.0.0.1:1", "stt.offline_keep_s=0.5")
    with SttSession(config, api_key="") as stt, pytest.raises(ConnectFailed):
        list(stt.transcribe([numbered(20)]))


KEEPS_3_S = ("vad.max_utterance_s=3", "vad.preroll_ms=0", "stt.offline_keep_s=0.5")


def test_a_recording_longer_than_is_kept_is_read_on_only_where_there_is_room() -> None:
    """One cut: what was not sent yet arrives, the rest is told with its length, after the words."""
    samples = numbered(9000)
    events: list[Any] = []
    with gateway("the rest of it", faults=["reset_after=4000ms@1"]) as served:
        config = config_for(served.url, *KEEPS_3_S, "stt.offline_keep_s=3")
        stt = SttSession(config, api_key="", join_finals=False)
        with stt, pytest.raises(ConnectFailed, match=r"speech are lost: .*1006") as info:
            events.extend(stt.transcribe(arrays_of(samples)))
        again = served.connections[1].audio
        assert samples.tobytes().endswith(again)
        assert len(again) >= 3000 * 32
        assert str(info.value).startswith(f"{9000 - len(again) // 32} ms ")
        assert "the rest of it" in [event.text for event in events if isinstance(event, Final)]


def test_a_recording_waits_for_the_gateway_no_longer_than_speech_is_kept() -> None:
    """The error says why there is no connection."""
    began = time.monotonic()
    with gateway(faults=["reset_after=1000ms@1", "refuse=503@2-99"]) as served:
        config = config_for(served.url, *KEEPS_3_S)
        stt = SttSession(config, api_key="", join_finals=False)
        with stt, pytest.raises(ConnectFailed, match=r"no connection for 0\.5 s: .*(1006|503)"):
            list(stt.transcribe(arrays_of(numbered(120_000))))  # more than sockets hold
        assert time.monotonic() - began < 5


def test_a_refusal_while_a_recording_waits_is_raised_at_once() -> None:
    """No patience is spent on what trying again does not help."""
    began = time.monotonic()
    with gateway(faults=["reset_after=1000ms@1", "refuse=403@2-99"]) as served:
        config = config_for(served.url, *KEEPS_3_S, "stt.offline_keep_s=60")
        stt = SttSession(config, api_key="", join_finals=False)
        with stt, pytest.raises(AuthenticationRejected):
            list(stt.transcribe(arrays_of(numbered(70000))))
        assert time.monotonic() - began < 5


def test_a_recording_may_be_one_frame() -> None:
    """However long: it is added as there is room."""
    samples = numbered(9000)
    with gateway() as served:
        with SttSession(config_for(served.url, *KEEPS_3_S), api_key="") as stt:
            assert list(stt.transcribe([samples]))
        assert served.connections[0].audio == samples.tobytes()


def test_transcribe_says_that_the_key_is_refused() -> None:
    """A refusal that is final is raised by the iterator."""
    with gateway(key="right") as served:
        stt = SttSession(config_for(served.url), api_key="wrong-key-123")
        with stt, pytest.raises(AuthenticationRejected):
            list(stt.transcribe([numbered(20)]))


def test_an_utterance_without_a_gateway_is_reported_lost_in_time() -> None:
    """Speech is kept for `offline_keep_s`, also while the next attempt is far off."""
    heard = Heard()
    with (
        gateway(faults=["refuse=503", "retry_after=60"]) as served,
        session(served.url, heard, "stt.offline_keep_s=0.5") as stt,
    ):
        heard.wait_for(ConnectionChanged, state="failed")
        began = time.monotonic()
        say(stt, numbered(400))
        lost = heard.wait_for(UtteranceLost)
        assert (lost.ms, lost.over) == (400, True)
        assert 0.4 < time.monotonic() - began < 3


def test_a_transcription_that_is_given_up_does_not_block_the_next() -> None:
    """Leaving the iterator early abandons its utterance."""
    with (
        gateway("one two three", "four five six") as served,
        SttSession(config_for(served.url, "stt.final_timeout_s=1"), api_key="") as stt,
    ):
        for event in stt.transcribe(arrays_of(numbered(3000))):
            assert isinstance(event, Partial)
            break
        events = list(stt.transcribe(arrays_of(numbered(500))))
        assert isinstance(events[-1], Final)


def test_finals_of_a_file_come_one_by_one() -> None:
    """`join_finals=False` gives each final of the server; an empty one at its close is the end."""
    recognizer = ScriptRecognizer(["a b c d"])
    served = LocalGateway(stt=recognizer, tts=ToneSynthesizer(), faults=["several_finals=3"])
    with served, SttSession(config_for(served.url), api_key="", join_finals=False) as stt:
        events = list(stt.transcribe(after_finals(served, 2, numbered(600))))
        finals = [event for event in events if isinstance(event, Final)]
        assert [final.text for final in finals] == ["a", "b", "c d", ""]
        assert [final.answers for final in finals] == [False, False, False, True]
        assert not served.wait_for(lambda: len(served.connections) > 1, 0.3), "for what?"


def test_the_voice_is_no_special_case() -> None:
    """Real samples, extremes included, arrive as they are."""
    heard = Heard()
    with gateway() as served, session(served.url, heard) as stt:
        samples = np.concatenate([voice(200, level=1.0), -voice(200, level=1.0)])
        say(stt, samples)
        heard.wait_for(Final)
        assert served.connections[0].audio == samples.tobytes()


def test_the_init_message_says_what_the_config_says() -> None:
    """Rate, language and options are in `init.config`; the key is in the header alone."""
    heard = Heard()
    with gateway(key="the-key-of-the-test") as served:
        overrides = ["stt.language=de", "stt.sample_rate=8000", "stt.options={vad_threshold=0.4}"]
        with session(served.url, heard, *overrides, api_key="the-key-of-the-test") as stt:
            stt.wait_ready(PATIENCE_S)
            [record] = connections(served, "stt")
            [init] = record.of_type("client", "init")
            config = init["config"]
            assert config["language"] == "de"
            assert config["sample_rate"] == 8000
            assert config["vad_threshold"] == 0.4
            assert record.headers["authorization"] == "Bearer the-key-of-the-test"
            assert "the-key-of-the-test" not in str(record.messages)


def test_a_tracking_id_goes_with_the_upgrade() -> None:
    """What the caller names the session is in the header that SLNG reads."""
    with gateway() as served:
        with SttSession(config_for(served.url), api_key="", session_id="visit-7") as stt:
            stt.wait_ready(5)
        assert served.connections[0].headers["X-SLNG-Session-Id"] == "visit-7"
