"""Other models, in order, while the first one fails; and back to it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import numpy as np
import pytest
from conversation_scripts import PATIENCE_S, Heard, gateway, numbered, spoken, wait_until
from session_scripts import (
    assert_in_order,
    changes,
    complaints,
    finals,
    listening,
    say,
    sound_of,
    speaking,
    states,
    utter,
)

from slng_edge import SttSession, TtsSession
from slng_edge.errors import RequestRejected
from slng_edge.events import ConnectionChanged
from slng_edge.protocol.session_events import Final, ReplyCut, ReplyDone
from slng_edge.simulator import Faults, LocalGateway
from slng_edge.simulator.faults import ActiveFaults

STT_FIRST, STT_SECOND = "slng/deepgram/nova:3-en", "slng/openai/whisper:large-v3"
TTS_FIRST, TTS_SECOND = "slng/deepgram/aura:2-en", "slng/rime/arcana:3-en"
STT_FALLBACK = f'stt.fallbacks=["{STT_SECOND}"]'
TTS_FALLBACK = f'tts.fallbacks=["{TTS_SECOND}"]'
FIRST_DELAY_S = 1.0
"""The longest wait for the one retry that the first model gets."""


def models(served: LocalGateway) -> list[str]:
    """For which model each connection that was let in was made, in order."""
    return [record.model for record in served.connections]


def hurried(session: SttSession | TtsSession, done: Callable[[], object]) -> bool:
    """Wait until `done`, without the delays between attempts."""

    def look() -> object:
        session.retry_now()
        return done()

    return wait_until(look)


class FaultsOfTheFirst(Faults):
    """What only connections of the first model suffer: the session tells whose turn it is."""

    def __init__(self, heard: Heard, fault: str) -> None:
        super().__init__(fault)
        self._heard = heard

    def for_connection(self, session: str, number: int) -> ActiveFaults:
        told = changes(self._heard)[-1]
        # Beside one of the second model, of which nothing is told, it is the first that is tried.
        first = (told.model == STT_FIRST) == (told.state == "connecting")
        return super().for_connection(session, number) if first else ActiveFaults()


# Speech-to-text


@pytest.mark.parametrize(
    "fault",
    [
        *("stt:refuse=503@1-2", "stt:refuse=500@1-2", "stt:ready_then_error=provider_error@1-2"),
        *("stt:ready_then_error=backend_error@1-2", "stt:error_on_finalize=provider_error:2"),
        *("stt:close_after=finalize:1011@1-2", "stt:close_after=2:1013@1-2"),
        *("stt:refuse=429@1-2", "stt:close_after=2:4001@1-2"),
    ],
)
def test_a_model_that_fails_twice_hands_the_kept_speech_to_the_next(fault: str) -> None:
    """The fallback gets the sentence from its first sample, and its words come once."""
    heard = Heard()
    with (
        gateway("kept and heard", faults=[fault]) as served,
        listening(served.url, heard, STT_FALLBACK) as stt,
    ):
        samples = numbered(300)
        utter(stt, samples)
        assert hurried(stt, lambda: finals(heard))
        assert served.connections[-1].model == STT_SECOND
        assert served.connections[-1].audio == samples.tobytes()
        assert models(served)[:-1] in ([], [STT_FIRST, STT_FIRST])
        time.sleep(0.1)
    assert finals(heard) == ["kept and heard"]
    assert_in_order(heard)


def test_a_model_that_never_says_ready_is_left() -> None:
    """Two connections without `ready` in time, then the next model."""
    heard = Heard()
    overrides = (STT_FALLBACK, "gateway.connect_timeout_s=0.3")
    with (
        gateway("kept and heard", faults=["stt:never_ready@1-2"]) as served,
        listening(served.url, heard, *overrides) as stt,
    ):
        utter(stt, numbered(300))
        assert hurried(stt, lambda: finals(heard))
        assert models(served) == [STT_FIRST, STT_FIRST, STT_SECOND]


def test_a_model_that_gives_no_words_is_left_at_once() -> None:
    """One final that does not come is waiting enough: the fallback gets what was said."""
    heard = Heard()
    overrides = (STT_FALLBACK, "stt.final_timeout_s=0.3")
    with (
        gateway("kept and heard", faults=["stt:no_final=all@1"]) as served,
        listening(served.url, heard, *overrides) as stt,
    ):
        samples = numbered(300)
        utter(stt, samples)
        assert heard.wait_for(Final).text == "kept and heard"
        assert models(served) == [STT_FIRST, STT_SECOND]
        assert served.connections[-1].audio == samples.tobytes()
        assert states(heard) == ["connecting", "ready", "closed", "connecting", "ready"]


def test_the_events_say_which_model_it_is() -> None:
    """Each step carries the model that it is of."""
    heard = Heard()
    with (
        gateway(faults=["stt:ready_then_error=provider_error@1-2"]) as served,
        listening(served.url, heard, STT_FALLBACK) as stt,
    ):
        assert hurried(stt, lambda: changes(heard)[-1:] and changes(heard)[-1].model == STT_SECOND)
        assert hurried(stt, lambda: states(heard)[-1:] == ["ready"])
        told = changes(heard)
    switched = next(i for i, change in enumerate(told) if change.model == STT_SECOND)
    assert {change.model for change in told[:switched]} == {STT_FIRST}
    assert [(change.state, change.model) for change in told[switched:]] == [
        ("connecting", STT_SECOND),
        ("ready", STT_SECOND),
    ]
    failed = [change for change in told if change.state == "failed"]
    assert [change.code for change in failed] == ["provider_error"] * 2
    assert failed[-1].retry_in_s == 0


def test_a_refusal_that_is_final_stays_final() -> None:
    """A wrong request is not another model's to answer: said, and not tried elsewhere."""
    heard = Heard()
    with (
        gateway(faults=["stt:refuse=400"]) as served,
        listening(served.url, heard, STT_FALLBACK),
    ):
        assert heard.wait_for(ConnectionChanged, state="failed").retry_in_s >= 600
        heard.wait_for(RequestRejected)
        time.sleep(0.3)
        assert states(heard) == ["connecting", "failed"]
        assert {change.model for change in changes(heard)} == {STT_FIRST}
        assert served.connections == []


def test_a_refused_connection_is_no_reason_for_another_model() -> None:
    """Nothing listens there: whichever model is asked for."""
    heard = Heard()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with listening(f"ws://127.0.0.1:{port}", heard, STT_FALLBACK) as stt:
        assert hurried(stt, lambda: states(heard).count("failed") >= 5)
    assert {change.model for change in changes(heard)} == {STT_FIRST}


def test_a_network_that_breaks_answered_connections_is_no_reason_for_another_model() -> None:
    """A model that works is kept however often the connection to it is cut."""
    heard = Heard()
    with gateway() as served, listening(served.url, heard, STT_FALLBACK) as stt:
        for count in range(1, 5):
            assert hurried(stt, lambda: states(heard)[-1:] == ["ready"])
            utter(stt, numbered(100))
            heard.wait_for(Final)
            served.drop_all()
            assert wait_until(lambda count=count: states(heard).count("failed") == count)
        assert set(models(served)) == {STT_FIRST}


def test_a_gateway_that_ends_idle_connections_is_no_reason_for_another_model() -> None:
    """Whatever is not spoken to is ended, again and again: the model is well."""
    heard = Heard()
    with gateway(idle_s=0.2) as served, listening(served.url, heard, STT_FALLBACK) as stt:
        assert hurried(stt, lambda: states(heard).count("failed") >= 5)
        assert set(models(served)) == {STT_FIRST}


def test_after_the_cool_down_the_first_model_is_back_in_a_pause() -> None:
    """Beside the fallback, overlapping; and the next words are its."""
    heard = Heard()
    overrides = (STT_FALLBACK, "stt.fallback_cooldown_s=0.8")
    with (
        gateway("one", "two", "three", faults=["stt:refuse=503@1-2"]) as served,
        listening(served.url, heard, *overrides) as stt,
    ):
        utter(stt, numbered(100))
        assert hurried(stt, lambda: finals(heard))
        heard.wait_for(ConnectionChanged, state="ready", model=STT_FIRST)
        utter(stt, numbered(200))
        assert wait_until(lambda: len(finals(heard)) == 2)
        assert models(served) == [STT_SECOND, STT_FIRST]
        assert served.connections[1].audio == numbered(200).tobytes()
        # It is well again, and has to fail twice anew to be left.
        closed = [change for change in changes(heard) if change.state == "closed"]
        assert [(change.model, change.reason) for change in closed] == [
            (STT_SECOND, "the first model is tried again")
        ]
    assert finals(heard) == ["one", "two"]
    assert_in_order(heard)


def test_the_first_model_does_not_interrupt_an_utterance() -> None:
    """Its turn comes when the words are there."""
    heard = Heard()
    overrides = (STT_FALLBACK, "stt.fallback_cooldown_s=0.5")
    with (
        gateway("kept together", faults=["stt:refuse=503@1-2"]) as served,
        listening(served.url, heard, *overrides) as stt,
    ):
        utterance = stt.open_utterance()
        stt.add_audio(utterance, numbered(100))
        assert hurried(stt, lambda: states(heard)[-1:] == ["ready"])
        assert served.wait_for(lambda: len(served.connections) == 2, PATIENCE_S)
        time.sleep(0.3)
        stt.add_audio(utterance, numbered(100, start=1600))
        stt.end_utterance(utterance, time.monotonic())
        heard.wait_for(Final)
        heard.wait_for(ConnectionChanged, state="ready", model=STT_FIRST)
        assert [record.audio for record in served.connections] == [numbered(200).tobytes(), b""]
    assert finals(heard) == ["kept together"]


@pytest.mark.parametrize(
    "fault", ["refuse=503", "ready_then_error=provider_error", "never_ready", "close_after=1:1011"]
)
def test_a_first_model_that_stays_broken_is_tried_now_and_then(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The fallback goes on; few attempts, few lines in the log, no word lost, no loop."""
    heard = Heard()
    overrides = (STT_FALLBACK, "stt.fallback_cooldown_s=0.4", "gateway.connect_timeout_s=0.3")
    lines = [f"line {number}" for number in range(20)]
    with (
        gateway(*lines) as served,
        listening(served.url, heard, *overrides, start=False) as stt,
    ):
        served.faults = FaultsOfTheFirst(heard, fault)
        stt.start()
        utter(stt, numbered(100))
        assert hurried(stt, lambda: finals(heard))
        until = time.monotonic() + 4.0
        count = 1
        while time.monotonic() < until:
            utter(stt, numbered(100))
            count += 1
            assert wait_until(lambda count=count: len(finals(heard)) == count)
            time.sleep(0.3)
        attempts = len(served.connections)
        again = len(complaints(caplog))
    assert finals(heard) == lines[:count]
    # In each cool-down one of the first, and perhaps one to the fallback again.
    assert attempts <= 4 + 2 * 4.0 / 0.4
    assert again <= 2 + 4.0 / 0.4
    answered = [record for record in served.connections if record.audio]
    assert sum(len(record.audio) for record in answered if record.model == STT_SECOND) == (
        count * len(numbered(100)) * 2
    )
    assert_in_order(heard)


# Text-to-speech


def test_a_reply_that_waits_is_spoken_by_the_fallback() -> None:
    """Whole, once, with the events of the fallback."""
    heard = Heard()
    with (
        gateway(faults=["tts:refuse=503@1-2"]) as served,
        speaking(served.url, heard, TTS_FALLBACK) as tts,
    ):
        say(tts, 1, "One sentence.", "And another.")
        assert hurried(tts, lambda: any(isinstance(event, ReplyDone) for event in heard.events))
        assert models(served) == [TTS_SECOND]
        assert np.array_equal(sound_of(heard, 1), spoken("One sentence.", "And another."))
    assert_in_order(heard)


def test_what_was_learned_of_a_route_is_not_thought_of_the_fallbacks() -> None:
    """That the first model's route closes after each reply says nothing of the next one's."""
    heard = Heard()
    faults = ["tts:per_utterance_close@1", "tts:refuse=503@2-3", "tts:pace=5"]
    with (
        gateway(faults=faults) as served,
        speaking(served.url, heard, TTS_FALLBACK) as tts,
    ):
        say(tts, 1, "spoken by the first")
        heard.wait_for(ReplyDone, reply=1)
        assert hurried(tts, lambda: states(heard)[-1] == "ready" and len(served.connections) == 2)
        say(tts, 2, "spoken by the fallback")
        heard.wait_for(ReplyDone, reply=2)
        time.sleep(0.1)
        assert models(served) == [TTS_FIRST, TTS_SECOND]
    assert_in_order(heard)


def test_after_a_probation_in_vain_the_fallback_that_worked_speaks_again() -> None:
    """The second of three is down like the first: the third one answers, and goes on to."""
    third = "slng/cartesia/sonic:3-en"
    heard = Heard()
    overrides = (f'tts.fallbacks=["{TTS_SECOND}", "{third}"]', "stt.fallback_cooldown_s=0.8")
    with (
        gateway(faults=["tts:refuse=503@1-4", "tts:error_on_text=provider_error@6"]) as served,
        speaking(served.url, heard, *overrides) as tts,
    ):
        say(tts, 1, "spoken by the third")
        assert hurried(tts, lambda: any(isinstance(event, ReplyDone) for event in heard.events))
        heard.wait_for(ConnectionChanged, state="ready", model=TTS_FIRST)
        say(tts, 2, "spoken by the third again")
        heard.wait_for(ReplyDone, reply=2)
        assert models(served)[:3] == [third, TTS_FIRST, third]
        assert np.array_equal(sound_of(heard, 2), spoken("spoken by the third again"))


def test_a_voice_that_is_ready_and_then_fails_is_left() -> None:
    """`ready` is no success: after two of them the fallback speaks."""
    heard = Heard()
    with (
        gateway(faults=["tts:ready_then_error=provider_error@1-2"]) as served,
        speaking(served.url, heard, TTS_FALLBACK) as tts,
    ):
        assert hurried(tts, lambda: changes(heard)[-1:] and changes(heard)[-1].model == TTS_SECOND)
        say(tts, 1, "One sentence.", "And another.")
        heard.wait_for(ReplyDone)
        assert models(served) == [TTS_FIRST, TTS_FIRST, TTS_SECOND]
        assert np.array_equal(sound_of(heard, 1), spoken("One sentence.", "And another."))
    assert_in_order(heard)


def test_a_model_that_makes_no_sound_is_left_at_once() -> None:
    """No audio in time: the text goes to the fallback."""
    heard = Heard()
    overrides = (TTS_FALLBACK, "tts.first_audio_timeout_s=0.4")
    with (
        gateway(faults=["tts:first_audio_delay=60000@1"]) as served,
        speaking(served.url, heard, *overrides) as tts,
    ):
        say(tts, 1, "said by another")
        heard.wait_for(ReplyDone)
        assert models(served) == [TTS_FIRST, TTS_SECOND]
        assert np.array_equal(sound_of(heard, 1), spoken("said by another"))
        assert "failed" not in states(heard)


def test_errors_instead_of_audio_lead_to_the_fallback() -> None:
    """A text is sent twice at most; after two errors the next reply is the fallback's."""
    heard = Heard()
    with (
        gateway(faults=["tts:error_on_text=provider_error:2"]) as served,
        speaking(served.url, heard, TTS_FALLBACK) as tts,
    ):
        say(tts, 1, "refused twice")
        ended = (ReplyCut, ReplyDone)
        assert hurried(tts, lambda: any(isinstance(event, ended) for event in heard.events))
        say(tts, 2, "spoken by the other")
        assert hurried(tts, lambda: len(sound_of(heard, 2)))
        heard.wait_for(ReplyDone, reply=2)
        assert served.connections[-1].model == TTS_SECOND
        assert np.array_equal(sound_of(heard, 2), spoken("spoken by the other"))


def test_too_large_a_text_is_no_reason_for_another_model() -> None:
    """It is sent again in halves to the model that is wanted."""
    heard = Heard()
    with (
        gateway(faults=["tts:message_limit=400"]) as served,
        speaking(served.url, heard, TTS_FALLBACK) as tts,
    ):
        text = "word " * 99 + "end"
        say(tts, 1, text)
        heard.wait_for(ReplyDone)
        assert set(models(served)) == {TTS_FIRST}


def test_an_unanswered_clear_is_no_reason_for_another_model() -> None:
    """Whose audio it is has become unclear, which does not make the model a bad one."""
    heard = Heard()
    with (
        gateway(faults=["pace=realtime", "no_cleared"]) as served,
        speaking(served.url, heard, TTS_FALLBACK) as tts,
    ):
        say(tts, 1, "a long reply that nobody wants to hear to its end")
        assert wait_until(lambda: len(sound_of(heard, 1)))
        tts.interrupt(time.monotonic())
        say(tts, 2, "after it")
        heard.wait_for(ReplyDone, reply=2)
        assert models(served) == [TTS_FIRST, TTS_FIRST]


def test_after_the_cool_down_replies_are_the_first_models_again() -> None:
    """In a pause, beside the fallback, and never in the middle of a sentence."""
    heard = Heard()
    overrides = (TTS_FALLBACK, "stt.fallback_cooldown_s=0.5")
    with (
        gateway(faults=["tts:refuse=503@1-2", "pace=realtime"]) as served,
        speaking(served.url, heard, *overrides) as tts,
    ):
        assert hurried(tts, lambda: states(heard)[-1:] == ["ready"])
        say(tts, 1, "a sentence of some length")
        heard.wait_for(ReplyDone, reply=1)
        heard.wait_for(ConnectionChanged, state="ready", model=TTS_FIRST)
        say(tts, 2, "the first again")
        heard.wait_for(ReplyDone, reply=2)
        assert models(served) == [TTS_SECOND, TTS_FIRST]
        for number, text in ((1, "a sentence of some length"), (2, "the first again")):
            assert np.array_equal(sound_of(heard, number), spoken(text))
    assert_in_order(heard)


@pytest.mark.parametrize(
    ("fallback", "voice"), [("slng/deepgram/aura:2-es", "aura-2-thalia-en"), (TTS_SECOND, None)]
)
def test_a_voice_goes_with_its_family_only(fallback: str, voice: str | None) -> None:
    """A fallback of another family speaks in the voice that it has by itself."""
    heard = Heard()
    with (
        gateway(faults=["tts:refuse=503@1-2"]) as served,
        speaking(served.url, heard, f'tts.fallbacks=["{fallback}"]') as tts,
    ):
        assert hurried(tts, lambda: served.connections)
        assert served.wait_for(lambda: served.connections[0].of_type("client", "init"), PATIENCE_S)
        assert served.connections[0].model == fallback
        [init] = served.connections[0].of_type("client", "init")
        assert (init.get("voice") or None) == voice


def test_a_standby_is_of_the_model_in_use() -> None:
    """While the fallback speaks, what stands by is a fallback too."""
    heard = Heard()
    overrides = (TTS_FALLBACK, "tts.warm_standby=true")
    with (
        gateway(faults=["tts:refuse=503@1-2"]) as served,
        speaking(served.url, heard, *overrides) as tts,
    ):
        assert hurried(tts, lambda: len(served.connections) == 2)
        assert models(served) == [TTS_SECOND, TTS_SECOND]
