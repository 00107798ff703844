"""From microphone frames to the outbox: what is queued, when, and who is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from conversation_scripts import RATE_HZ, silence, voice, wait_until

from slng_edge.audio.far_end import FarEnd
from slng_edge.hearing import Hearing, Loudspeaker
from slng_edge.hearing_events import (
    FramesFlow,
    HearingEvent,
    InputAwaited,
    InputEnded,
    SpeechOverReply,
    StopHeard,
    UtteranceBegan,
    UtteranceEnded,
    WakeHeard,
    WindowOpened,
    WindowPassed,
)
from slng_edge.listening.attention import WINDOW_S, Attention
from slng_edge.listening.echo_coupling import EchoCoupling
from slng_edge.listening.vad_gate import VadGate
from slng_edge.listening.voice_detector import VoiceDetector
from slng_edge.listening.wake_words import Woken
from slng_edge.pcm import Samples
from slng_edge.protocol.stt_exchange import SttExchange, SttTimes
from slng_edge.protocol.unified_stt import UnifiedStt

FRAME = RATE_HZ // 50
SPEECH = (UtteranceBegan, UtteranceEnded)


class Playing:
    """Says what a test wants it to: real ones are in the tests of the whole loop."""

    def __init__(self, sounding: Callable[[], bool]) -> None:
        self._sounding = sounding

    @property
    def sounding(self) -> bool:
        return self._sounding()

    reply_sounding = sounding


class WordAt:
    """Hears a wake word at given frames: what the engines find is in the tests of theirs."""

    def __init__(self, found: dict[int, Woken]) -> None:
        self.found = found
        self.frames = 0
        self.gaps = 0

    def receive_frame(self, frame: Samples, reply_sounds: bool) -> Woken | None:
        self.frames += 1
        return self.found.get(self.frames)

    def receive_gap(self) -> None:
        self.gaps += 1


class Ear:
    """A `Hearing` over a real gate and a real exchange, whose connection is ready."""

    def __init__(
        self,
        *,
        sounding: Callable[[], bool] = lambda: False,
        barge_in_ms: int | None = 200,
        always: bool = True,
        wake_words: WordAt | None = None,
        stop_ms: int = 200,
    ) -> None:
        self.posted: list[HearingEvent] = []
        self.far_end = FarEnd(RATE_HZ, 20)
        self.exchange = SttExchange(rate_hz=RATE_HZ, keep_s=60, times=SttTimes())
        self.exchange.connected(UnifiedStt(sample_rate_hz=RATE_HZ), 0.0)
        gate = VadGate(
            rate_hz=RATE_HZ,
            frame_ms=20,
            start_ms=60,
            stop_ms=stop_ms,
            preroll_ms=300,
            max_utterance_s=30,
            detector=VoiceDetector(2, RATE_HZ),
        )
        self.hearing = Hearing(
            gate,
            self.exchange,
            attention=Attention(always=always, follow_up_s=5.0),
            wake_words=wake_words,
            loudspeaker=Loudspeaker(
                Playing(sounding), self.far_end, EchoCoupling(RATE_HZ, 20, RATE_HZ)
            ),
            start_ms=60,
            barge_in_ms=barge_in_ms,
            post=self.posted.append,
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

    def over_reply(self) -> list[str]:
        return [event.what for event in self.posted if isinstance(event, SpeechOverReply)]

    def speech(self) -> list[HearingEvent]:
        return [event for event in self.posted if isinstance(event, SPEECH)]


@pytest.mark.parametrize(("heard", "opens"), [(silence(600), False), (voice(600), True)])
def test_echo_is_looked_for_in_what_was_heard_before_it_was_taken_out(
    heard: Samples, opens: bool
) -> None:
    """The gate judges the cleaned frame, and whether there was more than echo in the other one."""
    ear = Ear(sounding=lambda: True)
    ear.far_end.receive_block(voice(2000, level=0.001), time.monotonic() - 1)
    cleaned = voice(600)
    for start in range(0, len(cleaned) - FRAME + 1, FRAME):
        stretch = slice(start, start + FRAME)
        ear.hearing.receive_frame(cleaned[stretch], heard[stretch])
    assert bool(ear.speech()) is opens


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


def test_speech_over_a_reply_is_told_at_once_and_again_when_it_is_meant() -> None:
    """The reply is paused by the first and stopped by the second."""
    ear = Ear(sounding=lambda: True)
    ear.hear(silence(1000), voice(100))
    assert len(ear.speech()) == 1
    assert ear.over_reply() == []
    ear.hear(voice(200))
    assert ear.over_reply() == ["went on"]
    ear.hear(voice(500), silence(600))
    assert ear.over_reply() == ["went on"]


def test_a_cough_over_a_reply_is_told_when_it_is_over() -> None:
    """Long before the gate closes: the reply shall go on."""
    ear = Ear(sounding=lambda: True, stop_ms=600)
    ear.hear(silence(1000), voice(100), silence(180))
    assert ear.over_reply() == []
    ear.hear(silence(160))
    assert ear.over_reply() == ["was brief"]
    assert len(ear.speech()) == 1


def test_a_cough_is_told_where_the_gate_closes_as_soon() -> None:
    """However short `vad.stop_ms` is."""
    ear = Ear(sounding=lambda: True, stop_ms=100)
    ear.hear(silence(1000), voice(100), silence(300))
    assert ear.over_reply() == ["was brief"]
    assert len(ear.speech()) == 2


def test_who_coughs_and_then_speaks_in_one_utterance_is_heard() -> None:
    """The reply is paused again, and stopped when that is meant."""
    ear = Ear(sounding=lambda: True, stop_ms=600)
    ear.hear(silence(1000), voice(100), silence(300), voice(400))
    assert ear.over_reply() == ["was brief", "came back", "went on"]
    assert len([event for event in ear.posted if isinstance(event, UtteranceBegan)]) == 1


def test_speech_over_no_reply_is_just_speech() -> None:
    """Nothing is told of it but its beginning and end."""
    ear = Ear()
    ear.hear(silence(1000), voice(400), silence(600))
    assert ear.over_reply() == []


def test_an_asleep_ear_hears_nothing_until_it_is_woken() -> None:
    """Then what is said is queued, without what was said before."""
    ear = Ear(always=False)
    ear.hear(silence(500), voice(500), silence(500))
    assert ear.speech() == []
    ear.hear(voice(200))
    ear.hearing.wake_up()
    ear.hear(voice(300), silence(600))
    began, _ = ear.speech()
    assert isinstance(began, UtteranceBegan)
    assert began.preroll_ms == 0


def test_the_command_in_the_same_breath_is_queued_and_the_wake_word_is_not() -> None:
    """From the first sample after the word to the last."""
    word, command = voice(400, level=0.2), voice(600, level=0.3)
    frames = [command[at : at + FRAME] for at in range(0, 5 * FRAME, FRAME)]
    woken = Woken("okay_nabu", 0.97, tuple(frames), stop=False, skip_frames=0)
    # Told five frames after the end of the word.
    ear = Ear(always=False, wake_words=WordAt({25 + 20 + 5: woken}))
    ear.hear(silence(500), word, command, silence(600))
    heard = [event for event in ear.posted if isinstance(event, WakeHeard)]
    assert heard == [WakeHeard("okay_nabu", 0.97, in_one_breath=True)]
    audio, _ = ear.sent()
    assert audio.startswith(command.tobytes())
    assert ear.posted.index(heard[0]) < ear.posted.index(ear.speech()[0])


def test_a_wake_word_that_rings_on_is_no_question() -> None:
    """Nobody begins to speak in its last vowel, which is pre-roll of what follows at once."""
    ringing = voice(100, level=0.1)
    frames = tuple(ringing[at : at + FRAME] for at in range(0, 5 * FRAME, FRAME))
    woken = Woken("okay_nabu", 0.9, frames, fading_frames=5)
    alone = Ear(always=False, wake_words=WordAt({50: woken}))
    alone.hear(silence(1000), silence(600))
    assert alone.speech() == []
    followed = Ear(always=False, wake_words=WordAt({50: woken}))
    followed.hear(silence(1000), voice(400), silence(600))
    assert followed.sent()[0].startswith(ringing.tobytes())


def test_a_wake_word_that_is_found_before_its_end_is_left_out_to_its_end() -> None:
    """The frames that still belong to it do not reach the gate."""
    woken = Woken("okay_nabu", 0.9, (), stop=False, skip_frames=5)
    ear = Ear(always=False, wake_words=WordAt({25 + 15: woken}))
    word, command = voice(400, level=0.2), voice(400, level=0.3)
    ear.hear(silence(500), word, command, silence(600))
    assert ear.sent()[0].startswith(command.tobytes())


def test_a_wake_word_over_a_reply_ends_what_was_sent_of_it() -> None:
    """That utterance ends before the wake word is told, so that it can be given up."""
    woken = Woken("okay_nabu", 0.9, (), stop=False, skip_frames=0)
    ear = Ear(always=False, sounding=lambda: True, wake_words=WordAt({40: woken}))
    ear.hearing.turn_began()
    ear.hear(silence(500), voice(500))
    kinds = [type(event) for event in ear.posted if not isinstance(event, FramesFlow)]
    assert kinds[:4] == [UtteranceBegan, SpeechOverReply, UtteranceEnded, WakeHeard]


def test_a_wake_word_in_the_middle_of_a_long_utterance_is_talked_about() -> None:
    """It does not take away what was said."""
    woken = Woken("okay_nabu", 0.9, (), stop=False, skip_frames=0)
    ear = Ear(always=False, wake_words=WordAt({60: woken}))
    ear.hearing.wake_up()
    ear.hear(silence(500))
    ear.hear(voice(400))
    ear.hearing._began_at -= 10  # the clock is the machine's own
    ear.hear(voice(3000), silence(600))
    assert not [event for event in ear.posted if isinstance(event, WakeHeard)]
    assert len(ear.speech()) == 2


def test_a_wake_word_wins_over_whoever_talks_in_a_follow_up_window() -> None:
    """It may be a television, which would lock everybody out."""
    woken = Woken("okay_nabu", 0.9, (), stop=False, skip_frames=0)
    ear = Ear(always=False, wake_words=WordAt({60: woken}))
    ear.hearing.turn_ended(answered=True)
    ear.hear(silence(500))
    ear.hear(voice(400))
    ear.hearing._began_at -= 10  # the clock is the machine's own
    ear.hear(voice(3000), silence(600))
    [heard] = [event for event in ear.posted if isinstance(event, WakeHeard)]
    assert heard.cut_off


def test_how_much_was_speech_is_told_with_its_end() -> None:
    """Without pre-roll and hangover."""
    ear = Ear()
    ear.hear(silence(1000), voice(400), silence(600))
    ended = ear.speech()[-1]
    assert isinstance(ended, UtteranceEnded)
    assert 300 <= ended.voiced_ms <= 500 < ended.duration_ms


def test_the_word_that_stops_a_reply_does_nothing_else() -> None:
    """No window opens, and nothing is queued."""
    ear = Ear(
        always=False,
        wake_words=WordAt({30: Woken("stop", 0.9, (), stop=True, skip_frames=0)}),
    )
    ear.hear(silence(500), voice(500))
    assert StopHeard("stop") in ear.posted
    assert ear.speech() == []


def test_a_muted_ear_hears_nothing_and_costs_nothing() -> None:
    """Neither gate nor wake words are asked; that frames come is still told."""
    words = WordAt({})
    ear = Ear(wake_words=words)
    ear.hear(silence(500), voice(300))
    frames = words.frames
    ear.hearing.mute(True)
    ear.hear(voice(1000))
    assert [type(event) for event in ear.speech()] == [UtteranceBegan, UtteranceEnded]
    assert (words.frames, words.gaps) == (frames, 1)
    assert ear.hearing.idle
    ear.hearing.mute(False)
    ear.hear(silence(300), voice(300), silence(500))
    assert len(ear.speech()) == 4


def test_a_follow_up_is_told_and_its_end_as_well() -> None:
    """So that both can be heard."""
    ear = Ear(always=False)
    ear.hearing.turn_began()
    ear.hear(silence(100))
    ear.hearing.turn_ended(answered=True)
    ear.hear(silence(100))
    assert WindowOpened() in ear.posted
    assert WindowPassed() not in ear.posted
    ear.hearing._attention._until -= WINDOW_S  # the clock is the machine's own
    ear.hear(silence(100))
    assert ear.posted.count(WindowPassed()) == 1


def test_half_duplex_shuts_the_gate_while_a_reply_sounds() -> None:
    """And only then."""
    sounding = [True]
    ear = Ear(sounding=lambda: sounding[0])
    ear.hearing.half_duplex = True
    ear.hear(silence(500), voice(500), silence(500))
    assert ear.speech() == []
    sounding[0] = False
    threading.Event().wait(0.35)  # the echo's hangover is the clock's own
    ear.hear(silence(100), voice(500), silence(500))
    assert len(ear.speech()) == 2


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
