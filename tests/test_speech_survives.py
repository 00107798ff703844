"""A connection that drops in the middle of a sentence: what the gateway got, sample by sample.

What is compared is the audio of the connection that answers: every sample that was said, once,
in order, between one `finalize` and the next; and the words, exactly once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversation_scripts import (
    PATIENCE_S,
    Heard,
    Recorder,
    config_for,
    connections,
    conversation,
    gateway,
    numbered,
    silence,
    until_over,
    wait_until,
    write_wav,
)
from labelled_sound import LabelReader, labelled_voice, words_of

from slng_edge import SttSession, VoiceLoop
from slng_edge.events import ConnectionChanged
from slng_edge.pcm import Samples
from slng_edge.protocol.session_events import Final, UtteranceLost
from slng_edge.simulator import ConnectionRecord, Faults, LocalGateway, ToneSynthesizer

PIECE_MS = 20
CODES = (1000, 1001, 1006, 1011, 1012, 1013, 4001)
"""1006 stands for no close frame at all: a TCP reset."""

RATE_LIMITED_S = 5.0
"""How long 4001 keeps away at least (protocol.md, 7)."""


class Told(Heard):
    """What a session reports; its back-off is cut short, so that a test need not sit it out."""

    session: SttSession
    hasty = True

    def __call__(self, event: Any) -> None:
        super().__call__(event)
        again = isinstance(event, ConnectionChanged) and event.retry_in_s is not None
        if again and self.hasty:
            self.session.retry_now()

    def of(self, kind: type) -> list[Any]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def delays_s(self) -> list[float]:
        """What the session meant to wait before each further attempt."""
        changes = self.of(ConnectionChanged)
        return [change.retry_in_s for change in changes if change.retry_in_s is not None]


@contextmanager
def session_at(served: LocalGateway, *overrides: str) -> Iterator[tuple[SttSession, Told]]:
    """A speech-to-text session with its first connection ready."""
    told = Told()
    told.session = SttSession(config_for(served.url, *overrides), api_key="", on_event=told)
    with told.session as session:
        told.wait_for(ConnectionChanged, state="ready")
        yield session, told


def say(session: SttSession, utterance: int, samples: Samples) -> None:
    """Hand in what was said a frame at a time, as the microphone does."""
    step = PIECE_MS * 16
    for start in range(0, len(samples), step):
        session.add_audio(utterance, samples[start : start + step])


def say_so_that_it_arrives(
    session: SttSession, utterance: int, samples: Samples, record: ConnectionRecord
) -> None:
    """As `say`, each frame a message of its own: it has arrived when the next one is said."""
    step = PIECE_MS * 16
    for start in range(0, len(samples), step):
        before = record.audio_bytes
        session.add_audio(utterance, samples[start : start + step])
        assert wait_until(lambda: record.audio_bytes > before or record.close_code), "not sent"  # noqa: B023


def utterances_of(record: ConnectionRecord) -> list[bytes]:
    """The audio that a connection got, cut where `finalize` came; what follows the last, too."""
    pieces = [b""]
    for _, sender, message in list(record.messages):
        if sender == "client" and isinstance(message, bytes):
            pieces[-1] += message
        elif sender == "client" and isinstance(message, dict) and message["type"] == "finalize":
            pieces.append(b"")
    return pieces if pieces[-1] else pieces[:-1]


def answering(served: LocalGateway) -> ConnectionRecord:
    """The last connection of speech-to-text."""
    return connections(served, "stt")[-1]


def assert_survived(served: LocalGateway, told: Told, said: Sequence[Samples]) -> None:
    """Every sample once and in order where the answer came from; every word once; no loss."""
    assert utterances_of(answering(served)) == [samples.tobytes() for samples in said]
    assert [final.text for final in told.of(Final)] == LINES[: len(said)]
    assert told.of(UtteranceLost) == []


VOICES = {number: labelled_voice(number, 600) for number in (1, 2, 3)}
LINES = ["the first sentence", "and a second one", "the third"]


# One session, one sentence


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("point", ["before the first audio", "in the middle", "after finalize"])
def test_a_sentence_survives_whatever_code_ends_its_connection(code: int, point: str) -> None:
    """The next connection gets it from its first sample; the live audio follows."""
    said = numbered(400)
    frames = len(said) // (PIECE_MS * 16)
    messages = {"before the first audio": 1, "in the middle": 1 + frames // 2}.get(
        point, 1 + frames + 1
    )
    if code == 1006:
        faults = ["no_final=1@1"] if point == "after finalize" else []
    else:
        faults = [f"close_after={messages}:{code}@1", "no_final=1@1"]
    with gateway(*LINES, faults=faults) as served, session_at(served) as (session, told):
        first = connections(served, "stt")[0]  # it may be gone already
        if point == "before the first audio":
            if code == 1006:
                served.drop_all()
            assert wait_until(lambda: first.close_code is not None)
        utterance = session.open_utterance()
        half = frames // 2 * PIECE_MS * 16
        say_so_that_it_arrives(session, utterance, said[:half], answering(served))
        if point == "in the middle":
            if code == 1006:
                served.drop_all()
            assert wait_until(lambda: first.close_code is not None)
        say_so_that_it_arrives(session, utterance, said[half:], answering(served))
        session.end_utterance(utterance, time.monotonic())
        if point == "after finalize" and code == 1006:
            assert served.wait_for(lambda: first.of_type("client", "finalize"), PATIENCE_S)
            served.drop_all()
        told.wait_for(Final, utterance=utterance)
        assert first.close_code == code
        assert len(connections(served, "stt")) == 2
        if code == 4001:
            assert min(told.delays_s()) >= RATE_LIMITED_S
        assert_survived(served, told, [said])


OFFSETS = (1, 2, 639, 640, 641, 6399, 6400, 6401, 15999, 31998, 31999)


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_reset_after_any_byte_loses_no_sample(offset: int) -> None:
    """The cut falls into a frame, between two, on the first and on the last byte."""
    said = numbered(1000)
    faults = [f"reset_after_bytes={offset}@1"]
    with gateway(*LINES, faults=faults) as served, session_at(served) as (session, told):
        utterance = session.open_utterance()
        say(session, utterance, said)
        session.end_utterance(utterance, time.monotonic())
        told.wait_for(Final, utterance=utterance)
        assert len(connections(served, "stt")) == 2
        assert_survived(served, told, [said])


@pytest.mark.parametrize("seed", range(4))
def test_resets_in_a_row_lose_no_sample(seed: int) -> None:
    """Two or three connections end in the middle of one sentence; the last gets all of it."""
    rng = random.Random(seed)
    said = numbered(1000)
    count = rng.choice((2, 3))
    faults = [f"reset_after_bytes={rng.randrange(1, 32000)}@{n + 1}" for n in range(count)]
    with gateway(*LINES, faults=faults) as served, session_at(served) as (session, told):
        utterance = session.open_utterance()
        for start in range(0, len(said), 1600):
            say(session, utterance, said[start : start + 1600])
            time.sleep(0.01)  # live audio goes on while it connects
        session.end_utterance(utterance, time.monotonic())
        told.wait_for(Final, utterance=utterance)
        assert len(connections(served, "stt")) == count + 1, faults
        assert_survived(served, told, [said])


def test_a_connection_that_breaks_before_ready_counts_for_nothing() -> None:
    """Speech that waits for `ready` waits for the next one."""
    said = numbered(600)
    faults = ["never_ready@1", "close_after=1:1011@2", "refuse=503@3"]
    with gateway(*LINES, faults=faults) as served:
        told = Told()
        config = config_for(served.url, "gateway.connect_timeout_s=0.5")
        told.session = SttSession(config, api_key="", on_event=told)
        with told.session as session:
            utterance = session.open_utterance()
            say(session, utterance, said)
            session.end_utterance(utterance, time.monotonic())
            told.wait_for(Final, utterance=utterance)
            assert answering(served).number == 4
            assert_survived(served, told, [said])


@pytest.mark.parametrize("cut_at", [1000, 20000, 50000])
def test_base64_audio_survives_as_binary_does(cut_at: int) -> None:
    """The other form of audio messages, cut near its start, in its middle, near its end."""
    said = numbered(2000)
    faults = [f"reset_after_bytes={cut_at}@1"]
    with (
        gateway(*LINES, faults=faults) as served,
        session_at(served, "stt.audio_frames=base64") as (session, told),
    ):
        utterance = session.open_utterance()
        say(session, utterance, said)
        session.end_utterance(utterance, time.monotonic())
        told.wait_for(Final, utterance=utterance)
        assert answering(served).number == 2
        assert answering(served).audio == said.tobytes()
        assert [final.text for final in told.of(Final)] == LINES[:1]


# Several sentences in flight


def test_two_sentences_that_wait_survive_together() -> None:
    """One waits for its final and the next for its turn when the connection drops."""
    said = [numbered(500), numbered(700, start=20000)]
    faults = ["no_final=1@1"]
    with gateway(*LINES, faults=faults) as served, session_at(served) as (session, told):
        first = answering(served)
        for samples in said:
            utterance = session.open_utterance()
            say(session, utterance, samples)
            session.end_utterance(utterance, time.monotonic())
        assert served.wait_for(lambda: first.of_type("client", "finalize"), PATIENCE_S)
        served.drop_all()
        told.wait_for(Final, utterance=2)
        assert [final.utterance for final in told.of(Final)] == [1, 2]
        assert_survived(served, told, said)


def test_a_final_that_does_not_come_does_not_give_its_place_to_the_next() -> None:
    """Two sentences are sent at once, and the gateway answers only the second."""
    with (
        LocalGateway(stt=LabelReader(VOICES), tts=ToneSynthesizer()) as served,
        session_at(served, "stt.final_timeout_s=0.5") as (session, told),
    ):
        offline(served, told)
        for number in (1, 2):  # both wait, so both go out in one go
            utterance = session.open_utterance()
            say(session, utterance, VOICES[number])
            session.end_utterance(utterance, time.monotonic())
        told.hasty = True
        served.faults = Faults("no_final=1")
        served.refuse_new = None
        session.retry_now()
        assert wait_until(lambda: len(told.of(Final)) + len(told.of(UtteranceLost)) == 2)
        words = {final.utterance: final.text for final in told.of(Final)}
        for lost in told.of(UtteranceLost):
            words[lost.utterance] = words_of(lost.utterance)  # told: as good as said
        assert words == {1: words_of(1), 2: words_of(2)}


def test_several_finals_of_a_sentence_that_is_sent_again_are_all_heard() -> None:
    """A server that ends sentences by itself answers in pieces, whenever the audio came."""
    for _ in range(8):  # it is a race, which the gateway's first final seldom wins
        with (
            LocalGateway(stt=LabelReader(VOICES), tts=ToneSynthesizer()) as served,
            session_at(served) as (session, told),
        ):
            offline(served, told)
            utterance = session.open_utterance()
            say(session, utterance, VOICES[1])
            session.end_utterance(utterance, time.monotonic())
            served.faults = Faults("several_finals=2")
            served.refuse_new = None
            session.retry_now()
            told.wait_for(Final, utterance=utterance)
            assert [final.text for final in told.of(Final)] == [words_of(1)]


def test_what_is_answered_does_not_come_again() -> None:
    """The first sentence has its words; the drop in the second brings back the second alone."""
    said = [numbered(500), numbered(700, start=20000)]
    with gateway(*LINES) as served, session_at(served) as (session, told):
        utterance = session.open_utterance()
        say(session, utterance, said[0])
        session.end_utterance(utterance, time.monotonic())
        told.wait_for(Final, utterance=utterance)
        first = answering(served)
        utterance = session.open_utterance()
        say_so_that_it_arrives(session, utterance, said[1][:4000], first)
        served.drop_all()
        say(session, utterance, said[1][4000:])
        session.end_utterance(utterance, time.monotonic())
        told.wait_for(Final, utterance=utterance)
        assert utterances_of(answering(served)) == [said[1].tobytes()]
        assert [final.text for final in told.of(Final)] == LINES[:2]
        assert told.of(UtteranceLost) == []


def test_a_sentence_in_flight_and_one_that_is_being_said_survive_together() -> None:
    """The first waits for its final, the second is half said: one cut, both whole."""
    said = [numbered(500), numbered(700, start=20000)]
    faults = ["no_final=1@1"]
    with gateway(*LINES, faults=faults) as served, session_at(served) as (session, told):
        first = answering(served)
        utterance = session.open_utterance()
        say(session, utterance, said[0])
        session.end_utterance(utterance, time.monotonic())
        utterance = session.open_utterance()
        say(session, utterance, said[1][:6400])
        assert served.wait_for(lambda: first.of_type("client", "finalize"), PATIENCE_S)
        served.drop_all()
        say(session, utterance, said[1][6400:])
        session.end_utterance(utterance, time.monotonic())
        told.wait_for(Final, utterance=utterance)
        assert_survived(served, told, said)


def test_finals_of_its_own_before_the_cut_are_not_counted_twice() -> None:
    """The server had given half of the words; on the next connection it gives all of them."""
    said = numbered(1500)
    faults = ["several_finals=2@1"]
    with gateway(*LINES, faults=faults) as served, session_at(served) as (session, told):
        first = answering(served)
        utterance = session.open_utterance()
        say(session, utterance, said[:16000])
        assert served.wait_for(lambda: first.of_type("server", "final_transcript"), PATIENCE_S)
        served.drop_all()
        say(session, utterance, said[16000:])
        session.end_utterance(utterance, time.monotonic())
        told.wait_for(Final, utterance=utterance)
        assert_survived(served, told, [said])


# Without a connection


def offline(served: LocalGateway, told: Told) -> None:
    """Cut all connections and let none in; the session has noticed at the return."""
    told.hasty = False
    served.refuse_new = 503
    served.drop_all()
    told.wait_for(ConnectionChanged, state="connecting")
    told.wait_for(ConnectionChanged, state="failed")


def test_what_is_said_without_a_connection_is_transcribed_after_the_return() -> None:
    """Two sentences, each with its `finalize`, as if nothing had been."""
    said = [numbered(600), numbered(900, start=30000)]
    with gateway(*LINES) as served, session_at(served) as (session, told):
        offline(served, told)
        for samples in said:
            utterance = session.open_utterance()
            say(session, utterance, samples)
            session.end_utterance(utterance, time.monotonic())
        time.sleep(0.3)
        assert told.of(Final) == []
        served.refuse_new = None
        session.retry_now()
        told.wait_for(Final, utterance=2)
        assert_survived(served, told, said)


def test_a_return_in_the_middle_of_a_sentence_sends_it_from_its_start() -> None:
    """It began without a connection and ends with one: no seam."""
    said = numbered(1500)
    with gateway(*LINES) as served, session_at(served) as (session, told):
        offline(served, told)
        utterance = session.open_utterance()
        say(session, utterance, said[:12000])
        served.refuse_new = None
        session.retry_now()
        assert wait_until(lambda: answering(served).audio_bytes >= 24000)
        say(session, utterance, said[12000:])
        session.end_utterance(utterance, time.monotonic())
        told.wait_for(Final, utterance=utterance)
        assert_survived(served, told, [said])


def test_without_a_connection_for_too_long_the_loss_is_told_once() -> None:
    """How much and why; the sentence after it is heard, and the lost one is not sent any more."""
    said = [numbered(800), numbered(500, start=30000)]
    with (
        gateway(*LINES) as served,
        session_at(served, "stt.offline_keep_s=0.4") as (session, told),
    ):
        offline(served, told)
        utterance = session.open_utterance()
        say(session, utterance, said[0])
        session.end_utterance(utterance, time.monotonic())
        lost = told.wait_for(UtteranceLost, utterance=utterance)
        assert lost.ms == 800
        assert lost.why
        served.refuse_new = None
        session.retry_now()
        utterance = session.open_utterance()
        say(session, utterance, said[1])
        session.end_utterance(utterance, time.monotonic())
        told.wait_for(Final, utterance=utterance)
        assert len(told.of(UtteranceLost)) == 1
        assert utterances_of(answering(served)) == [said[1].tobytes()]


def test_a_loss_is_told_when_it_is_one_however_far_the_next_attempt_is() -> None:
    """`offline_keep_s` after the end of the sentence, not with the back-off."""
    with (
        gateway(*LINES) as served,
        session_at(served, "stt.offline_keep_s=0.3") as (session, told),
    ):
        offline(served, told)
        utterance = session.open_utterance()
        say(session, utterance, numbered(500))
        while told.delays_s()[-1] < 3.0:  # let attempts fail until the next one is far away
            count = len(told.delays_s())
            session.retry_now()
            assert wait_until(lambda: len(told.delays_s()) > count)  # noqa: B023
        ended_at = time.monotonic()
        session.end_utterance(utterance, ended_at)
        assert wait_until(lambda: told.of(UtteranceLost))
        assert time.monotonic() - ended_at < 1.0


# The whole loop: microphone, gate, session


class Silent:
    """A responder that has nothing to say: these tests are about what is heard."""

    def respond(self, text: str, cancelled: object) -> Iterator[str]:
        return iter(())

    def cancel(self) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing to release."""


@contextmanager
def listening(
    path: Path, *overrides: str, faults: Sequence[str] = (), quiet_ms: float = 450
) -> Iterator[tuple[LocalGateway, VoiceLoop, Recorder, Samples]]:
    """A loop that hears the three voices from a file, at a gateway that reads their labels."""
    pieces = [silence(600)]
    for voice in VOICES.values():
        pieces += [voice, silence(quiet_ms)]
    track = np.concatenate(pieces)
    served = LocalGateway(stt=LabelReader(VOICES), tts=ToneSynthesizer(), faults=faults)
    with served:
        source = f"audio.input=file:{write_wav(path / 'in.wav', track)}"
        config = config_for(served.url, source, "stt.final_timeout_s=1", *overrides)
        with conversation(config, responder=Silent()) as (loop, recorder):
            yield served, loop, recorder, track


def reconnect_at_once(loop: VoiceLoop) -> None:
    """Do not wait out the back-off; also where the loop has not noticed yet."""
    loop._stt.retry_now()


def drop(served: LocalGateway, loop: VoiceLoop) -> None:
    """Cut all connections; the next one comes at once."""
    before = answering(served)
    served.drop_all()
    assert wait_until(lambda: before.close_code is not None)
    reconnect_at_once(loop)


def assert_all_heard_once(recorder: Recorder, numbers: Sequence[int] = tuple(VOICES)) -> None:
    """Each voice whole, sample by sample, in order, in one final; and nothing lost."""
    texts = [line["text"] for line in recorder.jsons("final")]
    assert texts == [words_of(number) for number in numbers]
    assert recorder.jsons("lost") == []


def being_said(record: ConnectionRecord) -> int:
    """Bytes of audio since the last `finalize`."""
    count = 0
    for _, sender, message in list(record.messages):
        if sender == "client" and isinstance(message, bytes):
            count += len(message)
        elif sender == "client" and isinstance(message, dict) and message["type"] == "finalize":
            count = 0
    return count


def when_half_of_a_voice_is_there(served: LocalGateway) -> bool:
    """The pre-roll and some of the voice."""
    return served.wait_for(lambda: being_said(answering(served)) > 16000, PATIENCE_S)


def when_finalized(served: LocalGateway) -> bool:
    return served.wait_for(lambda: answering(served).of_type("client", "finalize"), PATIENCE_S)


@pytest.mark.parametrize(
    ("reached", "faults"),
    [
        (lambda _: True, []),
        (when_half_of_a_voice_is_there, []),
        (when_finalized, ["no_final=1@1"]),
    ],
    ids=["before the first audio", "in the middle", "after finalize"],
)
def test_the_loop_loses_no_sample_at_a_drop(
    tmp_path: Path, reached: Callable[[LocalGateway], bool], faults: list[str]
) -> None:
    """The pre-roll included, and where the gate has closed already."""
    with listening(tmp_path, faults=faults) as (served, loop, recorder, track):
        recorder.wait_for("connection", session="stt", state="ready")
        assert reached(served)
        drop(served, loop)
        until_over(loop)
    assert_all_heard_once(recorder)
    second = answering(served)
    assert second.number == 2
    got = utterances_of(second)
    durations = [line["duration_ms"] for line in recorder.jsons("speech_end")]
    assert [len(audio) // 32 for audio in got] == durations[-len(got) :]
    places = [track.tobytes().find(audio) for audio in got]
    assert min(places) >= 0
    assert places == sorted(places)


def test_the_loop_loses_no_sample_at_a_drop_in_every_sentence(tmp_path: Path) -> None:
    """Three sentences, four cuts: one in each, and one more as soon as the speech flows again."""
    with listening(tmp_path) as (served, loop, recorder, _):
        for count in (1, 2, 3):
            recorder.wait_for("speech_start", count=count)
            assert when_half_of_a_voice_is_there(served)
            drop(served, loop)
            recorder.wait_for("connection", session="stt", state="ready", count=count + 1)
        assert when_half_of_a_voice_is_there(served)
        drop(served, loop)
        until_over(loop)
    assert_all_heard_once(recorder)
    assert len(connections(served, "stt")) == 5


@pytest.mark.parametrize("offset", [700, 9601, 20000])
def test_the_loop_loses_no_sample_at_a_reset_after_any_byte(tmp_path: Path, offset: int) -> None:
    """Two connections in a row end there; nobody helps, so the back-off is a part of it."""
    faults = [f"reset_after_bytes={offset}@1-2"]
    with listening(tmp_path, faults=faults) as (served, loop, recorder, _):
        until_over(loop)
    assert_all_heard_once(recorder)
    assert answering(served).number == 3


def test_what_the_loop_heard_offline_comes_after_the_return(tmp_path: Path) -> None:
    """Two whole sentences without a gateway: both finals, sample for sample, and no loss."""
    with listening(tmp_path) as (served, loop, recorder, _):
        recorder.wait_for("connection", session="stt", state="ready")
        served.refuse_new = 503
        served.drop_all()
        recorder.wait_for("state", state="offline")
        recorder.wait_for("speech_end", count=2)
        served.refuse_new = None
        reconnect_at_once(loop)
        until_over(loop)
    assert_all_heard_once(recorder)


def test_what_the_loop_cannot_send_in_time_is_told_once(tmp_path: Path) -> None:
    """The first sentence is lost, with its length; the next two are heard."""
    with listening(tmp_path, "stt.offline_keep_s=0.3") as (served, loop, recorder, _):
        recorder.wait_for("connection", session="stt", state="ready")
        served.refuse_new = 503
        served.drop_all()
        recorder.wait_for("speech_end")
        time.sleep(0.4)
        reconnect_at_once(loop)  # an attempt, which is refused: a loss is told at the latest then
        lost = recorder.wait_for("lost")
        served.refuse_new = None
        reconnect_at_once(loop)
        until_over(loop)
        assert recorder.jsons("lost") == [lost]
    assert lost["what"] == "speech"
    assert lost["why"]
    assert lost["ms"] == recorder.jsons("speech_end")[0]["duration_ms"]
    assert [line["text"] for line in recorder.jsons("final")] == [words_of(2), words_of(3)]


def test_a_final_that_does_not_come_brings_the_sentence_again_once(tmp_path: Path) -> None:
    """The watchdog replaces the connection; the words come from the next, with all samples."""
    with listening(tmp_path, faults=["no_final=1"]) as (served, loop, recorder, _):
        recorder.wait_for("connection", session="stt", state="connecting", count=2)
        reconnect_at_once(loop)
        until_over(loop)
    assert_all_heard_once(recorder)
    assert answering(served).number == 2


def test_finals_that_never_come_are_told_as_one_loss_each(tmp_path: Path) -> None:
    """Replayed once, then reported; what follows is heard as before."""
    faults = ["no_final=all"]
    with listening(tmp_path, "stt.final_timeout_s=0.4", faults=faults) as (
        served,
        loop,
        recorder,
        _,
    ):
        lost = recorder.wait_for("lost")
        served.faults = Faults()
        served.drop_all()
        until_over(loop)
        assert recorder.jsons("lost") == [lost]
    assert lost["ms"] == recorder.jsons("speech_end")[0]["duration_ms"]
    texts = [line["text"] for line in recorder.jsons("final")]
    assert texts == [words_of(2), words_of(3)]
