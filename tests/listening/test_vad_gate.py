"""The VAD gate: frames in, events out.

A frame is one letter: `s` loud and voice-like, `n` loud and not voice-like, `w` voice-like but
hardly over the floor, `.` quiet. Its first sample is its number, by which it is known again.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.listening import vad_gate
from slng_edge.listening.echo_coupling import NO_ECHO
from slng_edge.listening.noise_floor import NoiseFloor
from slng_edge.listening.vad_gate import (
    ECHO_HOLD_MARGIN_DB,
    ECHO_OPEN_MARGIN_DB,
    FALL_DB,
    GateEvent,
    Onset,
    SpeechBegan,
    SpeechContinued,
    SpeechStopped,
    VadGate,
)
from slng_edge.listening.voice_detector import VoiceDetector
from slng_edge.pcm import SILENCE_DBFS, Samples

FRAME_MS = 20
FRAME_SAMPLES = 320
VOICE, NOISE = 7, 8
AMPLITUDES = {"s": 3000, "n": 3000, "w": 55, ".": 33}


class MarkDetector:
    """Takes the second sample's word for whether a frame is a voice."""

    def is_speech(self, frame: Samples) -> bool:
        return bool(frame[1] == VOICE)


def frame_of(letter: str, number: int) -> Samples:
    frame = np.full(FRAME_SAMPLES, AMPLITUDES[letter], dtype=np.int16)
    frame[0] = number
    frame[1] = VOICE if letter in "sw" else NOISE
    return frame


def make_gate(
    *,
    start_ms: int = 60,
    stop_ms: int = 100,
    preroll_ms: int = 100,
    max_utterance_s: float = 30.0,
) -> VadGate:
    return VadGate(
        rate_hz=16000,
        frame_ms=FRAME_MS,
        start_ms=start_ms,
        stop_ms=stop_ms,
        preroll_ms=preroll_ms,
        max_utterance_s=max_utterance_s,
        detector=MarkDetector(),
    )


def feed(
    gate: VadGate, letters: str, onset: Onset | None = None, *, first: int = 0
) -> list[GateEvent]:
    events: list[GateEvent] = []
    for number, letter in enumerate(letters, first):
        events += gate.receive_frame(frame_of(letter, number), onset)
    return events


def numbers(events: Iterable[GateEvent]) -> list[int]:
    """The numbers of all frames given out, in order."""
    out: list[int] = []
    for event in events:
        if isinstance(event, SpeechBegan):
            out += [int(frame[0]) for frame in event.frames]
        elif isinstance(event, SpeechContinued):
            out.append(int(event.frame[0]))
    return out


def began(events: Iterable[GateEvent]) -> list[SpeechBegan]:
    return [event for event in events if isinstance(event, SpeechBegan)]


def stopped(events: Iterable[GateEvent]) -> list[SpeechStopped]:
    return [event for event in events if isinstance(event, SpeechStopped)]


def test_silence_gives_nothing() -> None:
    """Quiet frames give no event, however many."""
    gate = make_gate()
    assert feed(gate, "." * 500) == []
    assert not gate.speaking


def test_it_is_quiet_until_a_frame_of_speech_and_again_a_while_after() -> None:
    """A first frame of speech ends it, long before the gate opens."""
    gate = make_gate()
    quiet = []
    for number, letter in enumerate("..s...sss" + "." * 6 + "..."):
        gate.receive_frame(frame_of(letter, number))
        quiet.append(gate.quiet)
    assert quiet == [*[True] * 2, *[False] * 3, True, *[False] * 7, *[True] * 5]


def test_speech_gives_preroll_onset_and_what_follows() -> None:
    """Onset after 60 ms with 100 ms of pre-roll; every later frame; silence closes."""
    gate = make_gate()
    events = feed(gate, ".........." + "sssss" + "......")
    assert numbers(events) == list(range(5, 20))
    assert [type(event) for event in events[:2]] == [SpeechBegan, SpeechContinued]
    assert began(events)[0].preroll_ms == 100
    assert len(began(events)[0].frames) == 8
    assert stopped(events) == [SpeechStopped(duration_ms=300, reason="silence", silence_ms=100)]
    assert not gate.speaking


def test_speaking_is_true_from_onset_to_stop() -> None:
    """The property follows the events."""
    gate = make_gate()
    states = []
    for number, letter in enumerate("sssss......"):
        gate.receive_frame(frame_of(letter, number))
        states.append(gate.speaking)
    assert states == [False] * 2 + [True] * 7 + [False] * 2


@pytest.mark.parametrize("length", [1, 2])
def test_too_little_speech_does_not_open_it(length: int) -> None:
    """A click of one or two frames does not reach the 60 ms that it takes."""
    assert feed(make_gate(), "....." + "s" * length + "." * 20) == []


def test_one_frame_too_many_does_not_count_for_the_onset() -> None:
    """Three of the last three, and not of the last four."""
    assert feed(make_gate(), ".....s.ss.....") == []


def test_one_frame_can_be_enough_for_everything() -> None:
    """To open, to be spoken, and to close."""
    gate = make_gate(start_ms=20, stop_ms=20, preroll_ms=0)
    assert began(feed(gate, "s"))
    assert gate.speaking
    assert stopped(feed(gate, "..")) == [SpeechStopped(40, "silence", 20)]
    gate = make_gate(start_ms=20, preroll_ms=0, max_utterance_s=0.02)
    assert stopped(feed(gate, "s")) == [SpeechStopped(20, "cap", 0)]


@pytest.mark.parametrize(
    ("max_utterance_s", "duration_ms"), [(0.06, 60), (0.11, 100), (0.9995, 980)]
)
def test_the_longest_utterance_is_whole_frames(max_utterance_s: float, duration_ms: int) -> None:
    """Rounded down."""
    gate = make_gate(preroll_ms=0, max_utterance_s=max_utterance_s)
    first, *_ = stopped(feed(gate, "s" * 50))
    assert (first.duration_ms, first.reason) == (duration_ms, "cap")


def test_a_gate_that_stays_shut_holds_no_more_after_a_day_than_after_a_minute() -> None:
    """Neither sound nor decisions."""
    gate = make_gate()
    feed(gate, "s...." * 500)
    before = len(pickle.dumps(gate))
    feed(gate, "s...." * 2000)
    assert len(pickle.dumps(gate)) < before + 500


def test_frames_have_whole_samples() -> None:
    """Where the rate does not give them, the part of one is left out."""
    gate = VadGate(
        rate_hz=11025,
        frame_ms=30,
        start_ms=60,
        stop_ms=100,
        preroll_ms=100,
        max_utterance_s=30.0,
        detector=MarkDetector(),
    )
    assert gate.receive_frame(np.zeros(330, dtype=np.int16)) == []


@pytest.mark.parametrize("speech_ms", [1, vad_gate.LONGEST_ONSET_MS])
def test_an_onset_may_be_as_short_and_as_long_as_that(speech_ms: int) -> None:
    """A millisecond is a frame."""
    assert Onset(speech_ms).speech_ms == speech_ms


def test_clicks_do_not_add_up() -> None:
    """Single speech frames with silence in between never open the gate."""
    assert feed(make_gate(), "s...." * 50) == []


@pytest.mark.parametrize("letter", ["n", "w"])
def test_both_conditions_are_needed(letter: str) -> None:
    """Loud without a voice, and a voice that is no louder than the room, stay outside."""
    gate = make_gate()
    feed(gate, "." * 50)
    assert feed(gate, letter * 50) == []


def test_preroll_is_only_what_there_was() -> None:
    """When speech is the first thing heard the pre-roll is as short as it must be."""
    events = feed(make_gate(), ".ssss")
    assert began(events)[0].preroll_ms == 20
    assert numbers(events) == [0, 1, 2, 3, 4]


def test_no_preroll_is_possible() -> None:
    """With preroll_ms 0 an utterance begins with its onset."""
    events = feed(make_gate(preroll_ms=0), ".....sss")
    assert began(events)[0].preroll_ms == 0
    assert numbers(events) == [5, 6, 7]


def test_preroll_never_reaches_into_the_last_utterance() -> None:
    """An utterance that follows soon begins with the first frame not given out yet."""
    events = feed(make_gate(), "sss" + "....." + ".." + "sss" + ".....")
    assert numbers(events) == list(range(18))
    assert [event.preroll_ms for event in began(events)] == [0, 40]


def test_a_gap_shorter_than_the_hangover_is_part_of_it() -> None:
    """80 ms of silence in speech do not end an utterance that takes 100."""
    events = feed(make_gate(), "sss....sss" + ".....")
    assert len(began(events)) == 1
    assert stopped(events)[0].duration_ms == 15 * FRAME_MS


def test_a_faint_word_end_is_still_speech() -> None:
    """A frame over the lower margin holds the gate open, though it could not open it."""
    events = feed(make_gate(), "." * 50 + "sss" + "w" * 20)
    assert stopped(events) == []


def test_a_click_does_not_prolong_an_utterance() -> None:
    """One loud frame in the hangover is passed on and does not start the hangover anew."""
    events = feed(make_gate(), "sssss" + "..s..")
    assert stopped(events) == [SpeechStopped(200, "silence", 100)]


def test_a_click_in_the_last_frame_of_the_hangover_costs_one_frame() -> None:
    """It might be the next word; the frame after it shows that it is not."""
    events = feed(make_gate(), "sssss" + "....s.")
    assert stopped(events) == [SpeechStopped(220, "silence", 120)]


@pytest.mark.parametrize("frames", ["ss", "s.s"])
def test_two_speech_frames_of_three_prolong_it(frames: str) -> None:
    """The detector may drop a frame of a word without ending the utterance."""
    events = feed(make_gate(), "sssss" + ".." + frames + "....")
    assert stopped(events) == []


def fading(gate: VadGate, first_amplitude: int, fall_db: float, frames: int) -> list[GateEvent]:
    """A voice-like sound of which each frame is so much quieter than the one before."""
    events: list[GateEvent] = []
    for number in range(frames):
        amplitude = round(first_amplitude * 10 ** (-fall_db * number / 20))
        frame = np.full(FRAME_SAMPLES, amplitude, dtype=np.int16)
        frame[1] = VOICE
        events += gate.receive_frame(frame)
    return events


@pytest.mark.parametrize(("fall_db", "opens"), [(9.0, False), (7.0, True)])
def test_what_dies_away_fast_does_not_open_it(fall_db: float, opens: bool) -> None:
    """A click that falls by more than 8 dB a frame is no voice, long and loud though it is."""
    gate = make_gate()
    feed(gate, "." * 50)
    assert bool(began(fading(gate, 20_000, fall_db, 5))) == opens


@pytest.mark.parametrize(("fall_db", "still_open"), [(9.0, False), (7.0, True)])
def test_what_dies_away_fast_does_not_prolong_it(fall_db: float, still_open: bool) -> None:
    """A click in the hangover is passed on, and the utterance ends all the same."""
    gate = make_gate()
    feed(gate, "." * 50 + "sssss" + "..")
    assert bool(stopped(fading(gate, 20_000, fall_db, 3))) != still_open


def test_a_loud_voice_that_goes_on_quieter_is_speech_from_its_second_frame() -> None:
    """One step down is no end: the frame after it is as loud as the one before."""
    gate = make_gate(stop_ms=60)
    events = feed(gate, "sssss")
    for _ in range(5):
        for amplitude in (3000, 900, 900):
            frame = np.full(FRAME_SAMPLES, amplitude, dtype=np.int16)
            frame[1] = VOICE
            events += gate.receive_frame(frame)
    assert stopped(events) == []


def test_short_frames_are_compared_over_twenty_milliseconds() -> None:
    """With 10 ms frames every second one may be 10 dB quieter, as with a deep voice's pulses."""
    gate = VadGate(
        rate_hz=16000,
        frame_ms=10,
        start_ms=60,
        stop_ms=100,
        preroll_ms=100,
        max_utterance_s=30,
        detector=MarkDetector(),
    )
    events: list[GateEvent] = []
    for amplitude in (3000, 900) * 10:
        frame = np.full(FRAME_SAMPLES // 2, amplitude, dtype=np.int16)
        frame[1] = VOICE
        events += gate.receive_frame(frame)
    assert len(began(events)) == 1


def test_a_fall_is_seen_from_what_was_only_observed() -> None:
    """The last frame before the ears open counts for the first one after."""
    gate = make_gate()
    feed(gate, "." * 50)
    gate.observe(frame_of("s", 50))
    assert fading(gate, 900, 0.0, 3) == []
    assert began(fading(gate, 900, 0.0, 1))


@pytest.mark.parametrize(
    ("letters", "opens_at"),
    [
        ("s" * 10, 7),
        ("s" * 4 + "." + "s" * 5, 8),
        ("s.ss.sssss", 9),
        ("ss..s..sss", None),
    ],
)
def test_the_onset_is_a_share_of_a_window(letters: str, opens_at: int | None) -> None:
    """With 200 ms, eight of ten frames open it: 160 ms of unbroken speech, 200 with gaps."""
    gate = make_gate()
    feed(gate, "." * 20)
    opened = None
    for number, letter in enumerate(letters):
        if gate.receive_frame(frame_of(letter, number), Onset(200)):
            opened = number
            break
    assert opened == opens_at


def test_preroll_is_counted_from_the_first_speech_frame_of_the_window() -> None:
    """A window of 200 ms that was opened after 160 has all its 100 ms of pre-roll."""
    gate = make_gate()
    event = began(feed(gate, "." * 20 + "s" * 8, Onset(200)))[0]
    assert event.preroll_ms == 100
    assert [int(frame[0]) for frame in event.frames] == list(range(15, 28))


def test_a_longer_onset_keeps_a_click_of_100_ms_out() -> None:
    """What opens the gate in silence does not open it while more is asked for."""
    letters = "....." + "sssss" + "." * 20
    assert feed(make_gate(), letters, Onset(200)) == []
    assert began(feed(make_gate(), letters))


def test_extra_db_asks_for_louder_speech() -> None:
    """Speech 39 dB over the floor opens it with 30 dB extra and not with 40."""
    assert began(feed(make_gate(), "." * 50 + "s" * 9, Onset(60, extra_db=30.0)))
    assert feed(make_gate(), "." * 50 + "s" * 9, Onset(60, extra_db=40.0)) == []


def test_extra_db_does_not_close_it() -> None:
    """What is asked of an onset is not asked of the speech that follows it."""
    gate = make_gate()
    feed(gate, "sss")
    assert stopped(feed(gate, "s" * 20, Onset(60, extra_db=40.0))) == []


def test_the_cap_ends_an_utterance_and_what_follows_is_a_new_one_without_a_gap() -> None:
    """A TV that talks for ever makes one utterance after the other, no sample lost or doubled."""
    gate = make_gate(max_utterance_s=0.4)
    events = feed(gate, "." * 10 + "s" * 100)
    assert {event.reason for event in stopped(events)} == {"cap"}
    assert {event.duration_ms for event in stopped(events)} == {400}
    assert [event.preroll_ms for event in began(events)] == [100, 0, 0, 0, 0, 0]
    assert numbers(events) == list(range(5, 110))


def test_after_the_cap_it_takes_a_new_onset() -> None:
    """Silence after a capped utterance opens nothing."""
    gate = make_gate(max_utterance_s=0.4)
    events = feed(gate, "s" * 20 + "s." * 20)
    assert len(began(events)) == 1


def test_silence_at_the_cap_is_silence() -> None:
    """When both limits are met by one frame the utterance ended by silence."""
    gate = make_gate(max_utterance_s=0.2)
    assert stopped(feed(gate, "sssss....."))[0].reason == "silence"


def test_a_cap_shorter_than_preroll_and_onset_ends_at_once() -> None:
    """An utterance that is too long when it begins is given out and closed."""
    gate = make_gate(max_utterance_s=0.1)
    events = feed(gate, "." * 10 + "sss")
    assert [type(event) for event in events] == [SpeechBegan, SpeechStopped]
    assert stopped(events)[0] == SpeechStopped(160, "cap", 0)


def test_the_end_of_the_input_ends_an_open_utterance() -> None:
    """A file that ends in a word ends the utterance with what there was."""
    gate = make_gate()
    feed(gate, "..sssss..")
    assert gate.end_input() == [SpeechStopped(180, "input_ended", 40)]
    assert gate.end_input() == []


def test_the_end_of_the_input_forgets_the_preroll() -> None:
    """What was heard before a mute is not part of what is said after it."""
    gate = make_gate()
    feed(gate, "....ss")
    assert gate.end_input() == []
    events = feed(gate, ".sss", first=6)
    assert numbers(events) == [6, 7, 8, 9]


def test_level_and_floor_can_be_read() -> None:
    """The meter sees the level of the last frame and the floor."""
    gate = make_gate()
    assert gate.level_dbfs == SILENCE_DBFS
    feed(gate, "." * 50)
    assert gate.level_dbfs == pytest.approx(-60, abs=0.5)
    assert gate.floor_dbfs == pytest.approx(-60, abs=0.5)
    feed(gate, "s")
    assert gate.level_dbfs == pytest.approx(-20.8, abs=0.2)


def test_a_floor_can_be_handed_in() -> None:
    """Two gates on one microphone can share what is known of the room."""
    floor = NoiseFloor(FRAME_MS)
    gate = VadGate(
        rate_hz=16000,
        frame_ms=FRAME_MS,
        start_ms=60,
        stop_ms=600,
        preroll_ms=300,
        max_utterance_s=30,
        detector=MarkDetector(),
        noise_floor=floor,
    )
    gate.receive_frame(np.full(FRAME_SAMPLES, 16, dtype=np.int16))
    assert gate.floor_dbfs == floor.dbfs < -60.0


def test_a_frame_of_another_length_is_refused_and_changes_nothing() -> None:
    """The gate's times are counted in frames, so each has to be whole."""
    gate = make_gate()
    with pytest.raises(ValueError, match="319 samples, not 320"):
        gate.receive_frame(np.zeros(319, dtype=np.int16))
    assert gate.level_dbfs == SILENCE_DBFS


@pytest.mark.parametrize("speech_ms", [0, -1, 5001])
def test_an_onset_out_of_reach_is_refused(speech_ms: int) -> None:
    """An onset is at least 1 ms, and not longer than the history."""
    with pytest.raises(ValueError, match="not within 1 and 5000"):
        Onset(speech_ms)


@settings(max_examples=200, deadline=None)
@given(st.text("s.", max_size=200), st.sampled_from([0.1, 0.3, 1.0]))
def test_frames_are_given_out_once_in_order_and_without_gaps_in_an_utterance(
    letters: str, cap_s: float
) -> None:
    """Whatever is heard: order kept, nothing twice, no hole, and the durations add up."""
    gate = make_gate(max_utterance_s=cap_s)
    events = feed(gate, letters) + gate.end_input()
    given_out = numbers(events)
    assert given_out == sorted(set(given_out))
    utterances: list[list[GateEvent]] = []
    for event in events:
        if isinstance(event, SpeechBegan):
            utterances.append([])
        utterances[-1].append(event)
    for utterance in utterances:
        frames = numbers(utterance)
        assert frames == list(range(frames[0], frames[-1] + 1))
        last = utterance[-1]
        assert isinstance(last, SpeechStopped)
        assert last.duration_ms == len(frames) * FRAME_MS
    assert len(began(events)) == len(stopped(events)) == len(utterances)


def gate_on_webrtcvad(frame_ms: int) -> VadGate:
    return VadGate(
        rate_hz=16000,
        frame_ms=frame_ms,
        start_ms=60,
        stop_ms=600,
        preroll_ms=300,
        max_utterance_s=30,
        detector=VoiceDetector(2, 16000),
    )


def room(seconds: float, rms: float) -> np.ndarray:
    """White noise of that level."""
    noise = np.random.default_rng(5).standard_normal(int(16000 * seconds))
    return noise * rms


@pytest.mark.parametrize("frame_ms", [10, 20, 30])
@pytest.mark.parametrize("kind", ["white", "tone"])
def test_a_loud_steady_noise_is_no_speech_after_four_seconds(frame_ms: int, kind: str) -> None:
    """A fan or a beep 30 dB over the room closes the gate again, and it stays closed."""
    loud = room(10, 600)
    if kind == "tone":
        loud = 850 * np.sin(2 * np.pi * 440 * np.arange(160_000) / 16000)
    signal = np.concatenate((room(3, 19), loud + room(10, 19))).astype(np.int16)
    gate = gate_on_webrtcvad(frame_ms)
    size = 16 * frame_ms
    last_ms = 0
    for start in range(0, len(signal) - size + 1, size):
        if gate.receive_frame(signal[start : start + size]):
            last_ms = start // 16
    assert 3000 < last_ms < 7000
    assert gate.floor_dbfs == pytest.approx(-35, abs=2.5)


def test_clicks_in_a_quiet_room_do_not_open_it() -> None:
    """Two loud clicks a second for ten seconds open nothing, with the real detector."""
    clicks = np.zeros(160_000)
    clicks[::8000] = 20000
    signal = np.convolve(clicks, np.exp(-np.arange(160) / 40))[:160_000] + room(10, 19)
    gate = gate_on_webrtcvad(20)
    frames = signal.astype(np.int16).reshape(-1, 320)
    assert [event for frame in frames for event in gate.receive_frame(frame)] == []


@pytest.mark.parametrize(("fall_db", "most"), [(FALL_DB, 0), (1000.0, None)])
def test_keys_and_cups_do_not_open_it(
    monkeypatch: pytest.MonkeyPatch, fall_db: float, most: int | None
) -> None:
    """Thirty sounds of 10 ms decay that ring on over 60 ms: by their fall alone they are told."""
    monkeypatch.setattr(vad_gate, "FALL_DB", fall_db)
    rng = np.random.default_rng(8)
    signal = room(16, 19)
    for number in range(30):
        start = 16000 + 8000 * number + int(rng.integers(320))
        hit = rng.standard_normal(1600) * np.exp(-np.arange(1600) / 160)
        signal[start : start + 1600] += 8000 * hit[: len(signal) - start]
    gate = gate_on_webrtcvad(20)
    frames = np.clip(signal, -32768, 32767).astype(np.int16).reshape(-1, 320)
    opened = began([event for frame in frames for event in gate.receive_frame(frame)])
    assert (len(opened) <= most) if most is not None else opened


def feed_over(gate: VadGate, letters: str, over_echo_db: float) -> list[GateEvent]:
    events: list[GateEvent] = []
    for number, letter in enumerate(letters):
        events += gate.receive_frame(frame_of(letter, number), None, over_echo_db)
    return events


def test_an_echo_does_not_open_it_and_what_exceeds_it_does() -> None:
    """Loud and voice-like, and what was expected: that was the device itself."""
    gate = make_gate()
    assert feed_over(gate, "." * 10 + "s" * 50, ECHO_OPEN_MARGIN_DB - 0.1) == []
    assert began(feed_over(gate, "sss", ECHO_OPEN_MARGIN_DB))


def test_an_echo_does_not_hold_it_open() -> None:
    """While it is open less is enough, but what the echo explains is silence."""
    gate = make_gate()
    feed_over(gate, "sss", 10.0)
    assert not stopped(feed_over(gate, "s" * 20, ECHO_HOLD_MARGIN_DB))
    assert stopped(feed_over(gate, "sssss", ECHO_HOLD_MARGIN_DB - 0.1))[0].silence_ms == 100


def test_the_echo_is_not_taken_for_the_rooms_noise() -> None:
    """A long reply without a gap does not lift the floor."""
    gate = make_gate()
    feed(gate, "." * 150)
    before = gate.floor_dbfs
    feed_over(gate, "n" * 200, 1.0)
    assert gate.floor_dbfs == before


def test_the_gate_counts_speech_and_the_silence_since() -> None:
    """Onset included, single frames in the hangover not; nothing while it is closed."""
    gate = make_gate()
    counts = []
    for number, letter in enumerate("..sssss..s.ss......"):
        gate.receive_frame(frame_of(letter, number))
        counts.append((gate.voiced_ms, gate.silent_ms))
    assert counts[:5] == [(0, 0)] * 4 + [(60, 0)]
    assert counts[5:9] == [(80, 0), (100, 0), (100, 20), (100, 40)]
    assert counts[9:13] == [(100, 60), (100, 80), (120, 0), (140, 0)]
    assert counts[13:] == [(140, 20), (140, 40), (140, 60), (140, 80), (0, 0), (0, 0)]


def test_an_onset_of_a_share_counts_its_speech_frames() -> None:
    """Eight of ten frames were speech: 160 ms."""
    gate = make_gate()
    feed(gate, "." * 20 + "ssss.sss.s", Onset(200))
    assert gate.voiced_ms == 160


@pytest.mark.parametrize("over_echo_db", [NO_ECHO, 2.0])
def test_a_gate_that_observes_stays_shut_and_remembers_nothing(over_echo_db: float) -> None:
    """Neither pre-roll nor a part of an onset goes into what is said afterwards."""
    gate = make_gate()
    feed(gate, "." * 10 + "ss")
    for number in range(20):
        assert gate.observe(frame_of("s", number), over_echo_db) == []
    assert gate.quiet
    events = feed(gate, ".sss", first=50)
    assert numbers(events) == [50, 51, 52, 53]


@pytest.mark.parametrize(("over_echo_db", "floor_dbfs"), [(NO_ECHO, -20.8), (2.0, -60.0)])
def test_a_gate_that_observes_follows_the_room_alone(
    over_echo_db: float, floor_dbfs: float
) -> None:
    """The level is always told; the floor follows what is not the device's own."""
    gate = make_gate()
    for number in range(200):
        gate.observe(frame_of("n", number), over_echo_db)
    assert gate.level_dbfs == pytest.approx(-20.8, abs=0.2)
    assert gate.floor_dbfs == pytest.approx(floor_dbfs, abs=0.3)


def test_observing_ends_an_utterance_that_is_open() -> None:
    """What is heard after it does not belong to it."""
    gate = make_gate()
    feed(gate, "sssss")
    assert gate.observe(frame_of("s", 5)) == [SpeechStopped(100, "input_ended", 0)]
    with pytest.raises(ValueError, match="319 samples"):
        gate.observe(np.zeros(319, dtype=np.int16))
