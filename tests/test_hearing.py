"""From microphone frames to the outbox: what is queued, when, and who is told."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from conversation_scripts import RATE_HZ, silence, voice, wait_until

from slng_edge.hearing import (
    FramesFlow,
    Hearing,
    HearingEvent,
    InputAwaited,
    InputEnded,
    UtteranceBegan,
    UtteranceEnded,
)
from slng_edge.listening.vad_gate import VadGate
from slng_edge.listening.voice_detector import VoiceDetector
from slng_edge.pcm import Samples
from slng_edge.protocol.stt_exchange import SttExchange, SttTimes
from slng_edge.protocol.unified_stt import UnifiedStt

FRAME = RATE_HZ // 50
SPEECH = (UtteranceBegan, UtteranceEnded)


class Ear:
    """A `Hearing` over a real gate and a real exchange, whose connection is ready."""

    def __init__(
        self, *, sounding: Callable[[], bool] = lambda: False, barge_in_ms: int | None = 200
    ) -> None:
        self.posted: list[HearingEvent] = []
        self.exchange = SttExchange(rate_hz=RATE_HZ, keep_s=60, times=SttTimes())
        self.exchange.connected(UnifiedStt(sample_rate_hz=RATE_HZ), 0.0)
        gate = VadGate(
            rate_hz=RATE_HZ,
            frame_ms=20,
            start_ms=60,
            stop_ms=200,
            preroll_ms=300,
            max_utterance_s=30,
            detector=VoiceDetector(2, RATE_HZ),
        )
        self.hearing = Hearing(
            gate, self.exchange, sounding=sounding, barge_in_ms=barge_in_ms, post=self.posted.append
        )

    def hear(self, *sounds: Samples) -> None:
        samples = np.concatenate(sounds)
        for start in range(0, len(samples) - FRAME + 1, FRAME):
            self.hearing.receive_frame(samples[start : start + FRAME])

    def sent(self) -> tuple[bytes, list[str]]:
        """The audio and the messages that are due now."""
        audio, texts = b"", []
        while (message := self.exchange.next_message(0.0)) is not None:
            if isinstance(message, bytes):
                audio += message
            else:
                texts.append(message)
        return audio, texts

    def speech(self) -> list[HearingEvent]:
        return [event for event in self.posted if isinstance(event, SPEECH)]


def test_an_utterance_is_queued_with_its_preroll_and_then_finalized() -> None:
    """Pre-roll, speech and hangover, without a gap: the very samples of the microphone."""
    ear = Ear()
    sound = np.concatenate([silence(1000), voice(500), silence(1000)])
    ear.hear(sound)
    began, ended = ear.speech()
    assert isinstance(began, UtteranceBegan)
    assert isinstance(ended, UtteranceEnded)
    assert began.utterance == ended.utterance
    assert began.preroll_ms == 300
    audio, texts = ear.sent()
    assert len(texts) == 1
    assert "finalize" in texts[0]
    assert len(audio) == ended.duration_ms * RATE_HZ // 1000 * 2
    at = sound.tobytes().find(audio)
    assert at == (1000 - 300) * RATE_HZ // 1000 * 2


def test_silence_queues_nothing() -> None:
    """Not one message in ten seconds without speech."""
    ear = Ear()
    ear.hear(silence(10000))
    assert ear.sent() == (b"", [])
    assert ear.speech() == []


def test_frames_that_flow_are_told_once_a_second_at_most() -> None:
    """However fast frames come, the watchdog's feed does not flood the inbox."""
    ear = Ear()
    ear.hear(silence(5000))
    assert [type(event) for event in ear.posted] == [FramesFlow]
    still = silence(20)
    began = threading.Event()

    def another() -> bool:
        ear.hearing.receive_frame(still)
        return len(ear.posted) >= 2 or began.wait(0.02)

    assert wait_until(another, 3)


def test_it_is_idle_while_nobody_speaks() -> None:
    """From the first frame of speech to the end of the utterance it is not."""
    ear = Ear()
    ear.hear(silence(500))
    assert ear.hearing.idle
    ear.hear(voice(20))
    assert not ear.hearing.idle
    ear.hear(voice(300))
    assert not ear.hearing.idle
    ear.hear(silence(1500))
    assert ear.hearing.idle


def test_it_is_not_idle_while_a_reply_sounds() -> None:
    """An interruption is noticed as soon as it can be."""
    ear = Ear(sounding=lambda: True)
    ear.hear(silence(500))
    assert not ear.hearing.idle


def test_each_utterance_has_its_own_number() -> None:
    """Numbers rise, and each begins before it ends."""
    ear = Ear()
    for _ in range(3):
        ear.hear(silence(600), voice(300), silence(600))
    kinds = [type(event) for event in ear.speech()]
    assert kinds == [UtteranceBegan, UtteranceEnded] * 3
    assert [event.utterance for event in ear.speech()] == [1, 1, 2, 2, 3, 3]  # type: ignore[union-attr]


def test_a_cough_does_not_interrupt_a_reply() -> None:
    """While a reply sounds speech has to last for `barge_in_ms`."""
    ear = Ear(sounding=lambda: True)
    ear.hear(silence(1000), voice(120), silence(500))
    assert ear.speech() == []
    ear.hear(voice(400), silence(600))
    assert len(ear.speech()) == 2


def test_an_echo_hardly_louder_than_the_room_does_not_interrupt() -> None:
    """The margin over the room is greater while a reply sounds."""
    rng = np.random.default_rng(1)
    room = (rng.standard_normal(RATE_HZ * 6) * 100).astype(np.int16)
    faint = room[: 2 * RATE_HZ] + voice(2000, level=0.02)
    quiet, loud = Ear(), Ear(sounding=lambda: True)
    for ear in (quiet, loud):
        ear.hear(room)
        ear.hear(faint.astype(np.int16))
    assert quiet.speech()
    assert loud.speech() == []


def test_without_barge_in_the_gate_stays_shut_while_a_reply_sounds() -> None:
    """Half duplex: nothing is queued then, and the pre-roll of afterwards has none of it."""
    sounding = [True]
    ear = Ear(sounding=lambda: sounding[0], barge_in_ms=None)
    ear.hear(silence(500), voice(1000), silence(500))
    assert ear.speech() == []
    assert ear.sent() == (b"", [])
    sounding[0] = False
    threading.Event().wait(0.35)  # the echo's hangover is the clock's own
    ear.hear(voice(400), silence(600))
    began = ear.speech()[0]
    assert isinstance(began, UtteranceBegan)
    assert began.preroll_ms == 0


def test_speech_that_began_before_the_reply_goes_on_without_barge_in() -> None:
    """A gate that is open is not shut by a reply that begins to sound."""
    sounding = [False]
    ear = Ear(sounding=lambda: sounding[0], barge_in_ms=None)
    ear.hear(silence(500), voice(400))
    sounding[0] = True
    ear.hear(voice(400), silence(600))
    audio, _ = ear.sent()
    assert len(ear.speech()) == 2
    assert len(audio) >= 800 * RATE_HZ // 1000 * 2


def test_a_lost_device_ends_an_open_utterance() -> None:
    """What was said is finalized; what comes afterwards is another utterance."""
    ear = Ear()
    ear.hear(silence(500), voice(300))
    ear.hearing.receive_gap()
    assert [type(event) for event in ear.speech()] == [UtteranceBegan, UtteranceEnded]
    ear.hearing.receive_gap()
    assert len(ear.speech()) == 2
    assert "finalize" in ear.sent()[1][0]


def test_the_end_of_the_input_ends_an_open_utterance_first() -> None:
    """As by silence; then the end is told."""
    ear = Ear()
    ear.hear(silence(500), voice(300))
    ear.hearing.receive_end()
    assert [type(event) for event in ear.posted[-2:]] == [UtteranceEnded, InputEnded]


def test_waiting_for_a_device_is_told() -> None:
    """So that the watchdog knows that nobody is deaf by mistake."""
    ear = Ear()
    ear.hearing.receive_wait()
    assert ear.posted == [InputAwaited()]
