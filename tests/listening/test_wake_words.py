"""Wake words: frames in, a waking out.

The engine here reads its scores out of the sound: a block whose first sample is 10 w + p says
that word w was said with probability p / 10. A frame is 20 ms and begins with its number.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slng_edge.listening.wake_words import FADE_MS, HISTORY_MS, WakeListener, WakeModel, Woken
from slng_edge.listening.word_end import SHAPE_SIZE, EndShape, Lateness
from slng_edge.pcm import Samples

FRAME = 320
MS = 16
AT_ONCE = Lateness(late_ms=100, spread_ms=0)
"""Says so 100 ms after the end, always: no sound after the detection is needed."""
PLAIN = 5000
"""First sample of a frame in which no word is said, plus its number."""


class MarkedEngine:
    """Scores by what is written into the first sample of each block."""

    def __init__(self, *models: WakeModel, block_samples: int = FRAME) -> None:
        self.models = models
        self.block_samples = block_samples
        self.resets = 0
        self.closed = False

    def receive_block(self, block: Samples, with_stop: bool) -> Iterable[tuple[str, float]]:
        assert len(block) == self.block_samples
        word, tenths = divmod(int(block[0]), 10)
        for index, model in enumerate(self.models):
            if with_stop or not model.stop:
                yield model.word, tenths / 10 if index == word else 0.0

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closed = True


def model_of(word: str = "okay", cutoff: float = 0.5, **changes: object) -> WakeModel:
    return WakeModel(**{"word": word, "cutoff": cutoff, "lateness": AT_ONCE, **changes})  # type: ignore[arg-type]


def listener_of(
    *models: WakeModel, threshold: float = 0.5, refractory_s: float = 0.0, frame_ms: int = 20
) -> WakeListener:
    return WakeListener(
        [MarkedEngine(*models, block_samples=frame_ms * MS)],
        rate_hz=16000,
        frame_ms=frame_ms,
        threshold=threshold,
        refractory_s=refractory_s,
    )


def frame_of(number: int, mark: int | None = None, size: int = FRAME) -> Samples:
    frame = np.full(size, PLAIN, dtype=np.int16)
    frame[0] = PLAIN + number if mark is None else mark
    frame[-1] = number
    return frame


def feed(
    listener: WakeListener,
    count: int,
    marks: Mapping[int, int],
    *,
    reply_sounds: bool = False,
    first: int = 0,
) -> list[tuple[int, Woken]]:
    """Send `count` frames, marked ones among them; the wakings with the numbers of their frames."""
    found = []
    for number in range(first, first + count):
        woken = listener.receive_frame(frame_of(number, marks.get(number)), reply_sounds)
        if woken is not None:
            found.append((number, woken))
    return found


def numbers(woken: Woken) -> list[int]:
    return [int(frame[-1]) for frame in woken.frames]


def test_a_word_hands_out_what_came_after_its_end() -> None:
    """Detected at the end of frame 20 (420 ms), 100 ms late: frames 16 to 20 are after it."""
    [(at, woken)] = feed(listener_of(model_of()), 30, {20: 9})
    assert (at, woken.word, woken.stop, woken.skip_frames) == (20, "okay", False, 0)
    assert numbers(woken) == [16, 17, 18, 19, 20]


def test_how_many_frames_the_word_fades_in_is_told() -> None:
    """They are handed out all the same: a question may follow at once."""
    listener = listener_of(model_of())
    found = None
    for number in range(21):
        frame = frame_of(number, 9 if number == 20 else None)
        frame[1:-1] = {17: 4000}.get(number, 1500 if number > 17 else 12000)
        found = listener.receive_frame(frame, False)
    assert found is not None
    assert numbers(found) == [16, 17, 18, 19, 20]
    assert found.fading_frames == 2


def test_the_frame_in_which_the_word_ends_is_silent_until_there() -> None:
    """The frame that is kept in the history is not changed; every later sample is as it came."""
    listener = listener_of(model_of(lateness=Lateness(90, 0)))
    frames = [frame_of(number, 9 if number == 20 else None) for number in range(21)]
    kept = [frame.copy() for frame in frames]
    woken = [listener.receive_frame(frame, False) for frame in frames][-1]
    assert woken is not None
    assert numbers(woken) == [16, 17, 18, 19, 20]
    first, end, fade = woken.frames[0], 10 * MS, FADE_MS * MS
    assert first.dtype == np.int16
    assert not first[: end - fade].any()
    assert (np.diff(first[end - fade : end].astype(int)) >= 0).all()
    assert (first[end:] == kept[16][end:]).all()
    assert all((was == now).all() for was, now in zip(kept, frames, strict=True))


@pytest.mark.parametrize(
    ("threshold", "tenths", "heard"),
    [(0.5, 5, False), (0.5, 6, True), (0.2, 3, True), (0.2, 2, False), (0.9, 9, False)],
)
def test_the_threshold_is_a_probability(threshold: float, tenths: int, heard: bool) -> None:
    """Whatever the model's own recipe asks for."""
    listener = listener_of(model_of(cutoff=0.85), threshold=threshold)
    assert bool(feed(listener, 30, {20: tenths})) is heard


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.99))
def test_the_scale_of_the_recipe_rises_with_the_probability(
    one: float, other: float, cutoff: float
) -> None:
    """From 0 over 0.5 at the cutoff to 1."""
    model = model_of(cutoff=cutoff)
    low, high = sorted((one, other))
    assert 0 <= model.on_recipe_scale(low) <= model.on_recipe_scale(high) <= 1 + 1e-9
    assert model.on_recipe_scale(cutoff) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("probability", "on_scale"), [(0.0, 0.0), (0.4, 0.25), (0.8, 0.5), (0.9, 0.75), (1.0, 1.0)]
)
def test_the_scale_of_the_recipe_is_even_on_both_sides(probability: float, on_scale: float) -> None:
    """Half of it lies below the model's own cutoff of 0.8."""
    assert model_of(cutoff=0.8).on_recipe_scale(probability) == pytest.approx(on_scale)


def test_a_recipe_may_ask_for_several_scores_in_a_row() -> None:
    """One that is missing starts the count again."""
    listener = listener_of(model_of(in_a_row=3))
    found = feed(listener, 40, {10: 9, 11: 9, 13: 9, 20: 9, 21: 9, 22: 9})
    assert [at for at, _ in found] == [22]


def test_the_first_score_of_all_is_one_in_a_row() -> None:
    """The microphone is opened while the word is said."""
    found = feed(listener_of(model_of(in_a_row=2)), 10, {0: 9, 1: 9})
    assert [at for at, _ in found] == [1]


def test_no_word_is_heard_within_the_refractory_time() -> None:
    """200 ms after the word at frame 20, counted in sound."""
    listener = listener_of(model_of(), refractory_s=0.2)
    found = feed(listener, 60, {20: 9, 24: 9, 29: 9, 30: 9, 40: 9})
    assert [at for at, _ in found] == [20, 30, 40]


def test_of_several_words_the_best_wins() -> None:
    """Two engines hear something in the same frame; the surer one is believed."""
    second = MarkedEngine(model_of("hey"), block_samples=160)
    first = MarkedEngine(model_of("okay"))
    for better, expected in ((7, "okay"), (9, "hey")):
        listener = WakeListener(
            [first, second], rate_hz=16000, frame_ms=20, threshold=0.5, refractory_s=2.0
        )
        assert listener.words == ("okay", "hey")
        frame = frame_of(20, 8)
        frame[160] = better
        feed(listener, 20, {})
        woken = listener.receive_frame(frame, False)
        assert woken is not None
        assert woken.word == expected


@pytest.mark.parametrize(("late_ms", "told_at"), [(-60.0, 27), (-60.0625, 28)])
def test_sound_after_an_early_detection_is_waited_for(late_ms: float, told_at: int) -> None:
    """Said 60 ms before the end; 80 ms of context after it are needed, to the last sample."""
    listener = listener_of(model_of(lateness=Lateness(late_ms, 0)))
    [(at, woken)] = feed(listener, 40, {20: 9})
    assert at == told_at
    assert numbers(woken) == list(range(24, told_at + 1))


def test_a_surer_word_takes_the_place_of_one_that_is_waiting() -> None:
    """It is cut where it ended itself."""
    early = model_of("okay", lateness=Lateness(-60, 0))
    found = feed(listener_of(early, model_of("hey")), 40, {20: 6, 23: 19})
    assert [(at, woken.word, numbers(woken)[0]) for at, woken in found] == [(27, "hey", 19)]


def test_a_word_whose_end_is_known_is_cut_by_its_shape() -> None:
    """Not where it is quietest, as any other: this one's pause lies in the middle of it."""
    nothing_told = EndShape((0.0,) * SHAPE_SIZE)
    for shape, first in ((nothing_told, 36), (None, 34)):
        model = model_of(lateness=Lateness(100, 40), shape=shape)
        engine = MarkedEngine(model)
        listener = WakeListener(
            [engine], rate_hz=16000, frame_ms=20, threshold=0.5, refractory_s=2.0
        )
        found = []
        for number in range(60):
            frame = frame_of(number, 9 if number == 40 else None)
            frame[1:-1] = 0 if number in (33, 34) else 8000
            found.append(listener.receive_frame(frame, False))
        [woken] = filter(None, found)
        assert numbers(woken)[0] == first


def test_while_waiting_the_best_score_counts_and_the_first_place() -> None:
    """The same word's score rises: its end is told by when it was first over the threshold."""
    listener = listener_of(model_of(lateness=Lateness(0, 0)))
    [(_, woken)] = feed(listener, 40, {20: 6, 22: 9})
    assert woken.score == pytest.approx(0.9)
    assert numbers(woken)[0] == 21


@pytest.mark.parametrize(
    ("late_ms", "handed_out", "skip_frames"),
    [(-60, [], 3), (-20, [], 1), (0, [], 0), (20, [20], 0)],
)
def test_while_a_reply_sounds_the_word_is_told_at_once(
    late_ms: int, handed_out: list[int], skip_frames: int
) -> None:
    """What still belongs to the word is to be left out by whoever feeds the gate."""
    listener = listener_of(model_of(lateness=Lateness(late_ms, 0)))
    [(at, woken)] = feed(listener, 40, {20: 9}, reply_sounds=True)
    assert (at, numbers(woken), woken.skip_frames) == (20, handed_out, skip_frames)


def test_a_stop_word_is_heard_while_a_reply_sounds_and_hands_out_nothing() -> None:
    """It silences a reply, and nothing else."""
    listener = listener_of(model_of(), model_of("stop", stop=True))
    assert not feed(listener, 30, {20: 19})
    [(at, woken)] = feed(listener, 30, {50: 19}, reply_sounds=True, first=30)
    assert (at, woken) == (50, Woken("stop", pytest.approx(0.9), stop=True))


def test_a_gap_forgets_everything() -> None:
    """No frame from before it, no waiting detection, no refractory time."""
    listener = listener_of(model_of(lateness=Lateness(300, 0)), refractory_s=5)
    assert feed(listener, 30, {20: 9})
    listener.receive_gap()
    [(_, woken)] = feed(listener, 5, {104: 9}, first=100)
    assert numbers(woken) == [100, 101, 102, 103, 104]
    early = listener_of(model_of(lateness=Lateness(-60, 0)))
    feed(early, 22, {20: 9})
    early.receive_gap()
    assert not feed(early, 30, {})


def test_after_a_gap_words_are_cut_as_before_it() -> None:
    """Frames are counted anew."""
    listener = listener_of(model_of())
    listener.receive_gap()
    [(_, woken)] = feed(listener, 30, {20: 9})
    assert numbers(woken) == [16, 17, 18, 19, 20]


def test_the_engine_is_reset_at_a_gap_and_closed_at_the_end() -> None:
    """Its state is of the sound before."""
    engine = MarkedEngine(model_of())
    listener = WakeListener([engine], rate_hz=16000, frame_ms=20, threshold=0.5, refractory_s=2.0)
    listener.receive_gap()
    assert engine.resets == 1
    listener.close()
    assert engine.closed


class EverySecond:
    """32 kHz to 16 kHz, the simplest way."""

    ended = 0

    def receive(self, samples: Samples) -> Samples:
        return samples[::2]

    def end(self) -> Samples:
        self.ended += 1
        return np.empty(0, dtype=np.int16)


def test_frames_of_another_rate_are_handed_out_as_they_came() -> None:
    """The engine hears 16 kHz; the gate gets what the microphone gave."""
    converter = EverySecond()
    listener = WakeListener(
        [MarkedEngine(model_of())],
        rate_hz=32000,
        frame_ms=20,
        threshold=0.5,
        refractory_s=2.0,
        converter=converter,
    )
    found = []
    for number in range(25):
        frame = frame_of(number, 9 if number == 20 else None, size=640)
        found.append(listener.receive_frame(frame, False))
    woken = found[20]
    assert woken is not None
    assert numbers(woken) == [16, 17, 18, 19, 20]
    assert {len(frame) for frame in woken.frames} == {640}
    listener.receive_gap()
    assert converter.ended == 1


def test_another_rate_needs_a_converter() -> None:
    """Rather than listen to words at the wrong pitch."""
    with pytest.raises(ValueError, match="16000 Hz, not 48000"):
        WakeListener([], rate_hz=48000, frame_ms=20, threshold=0.5, refractory_s=2.0)


def test_no_more_than_the_history_is_handed_out() -> None:
    """A model that is later than two seconds gets what there is."""
    listener = listener_of(model_of(lateness=Lateness(2500, 0)))
    [(_, woken)] = feed(listener, 200, {180: 9})
    assert numbers(woken) == list(range(81, 181))


class HoldsBack(EverySecond):
    """What a filter does: the last 10 ms of what it has received come with the next frame."""

    def __init__(self) -> None:
        self.held = np.empty(0, dtype=np.int16)

    def receive(self, samples: Samples) -> Samples:
        sound = np.concatenate([self.held, super().receive(samples)])
        self.held = sound[-10 * MS :]
        return sound[: -10 * MS]


def test_a_word_that_ended_before_the_history_leaves_all_of_it_whole() -> None:
    """The frame in which it ended is gone, so none is silenced."""
    listener = WakeListener(
        [MarkedEngine(model_of(lateness=Lateness(2500, 0)))],
        rate_hz=32000,
        frame_ms=20,
        threshold=0.5,
        refractory_s=2.0,
        converter=HoldsBack(),
    )
    frames = [frame_of(number, 9 if number == 180 else None, size=640) for number in range(200)]
    [woken] = filter(None, [listener.receive_frame(frame, False) for frame in frames])
    assert numbers(woken) == list(range(82, 182))
    assert (woken.frames[0] == frames[82]).all()


def test_no_frame_is_kept_longer_than_the_history() -> None:
    """A device listens for months, mostly without a word."""
    listener = listener_of(model_of())
    frame = frame_of(0)
    kept = weakref.ref(frame)
    listener.receive_frame(frame, False)
    del frame
    feed(listener, HISTORY_MS // 20 - 1, {}, first=1)
    assert kept() is not None
    feed(listener, 1, {}, first=HISTORY_MS // 20)
    assert kept() is None


@given(
    frame_ms=st.sampled_from([10, 20, 30]),
    detected=st.integers(30, 80),
    late_ms=st.integers(-200, 900),
    reply_sounds=st.booleans(),
)
def test_every_sample_after_the_end_is_handed_on_once(
    frame_ms: int, detected: int, late_ms: int, reply_sounds: bool
) -> None:
    """Frames handed out, then frames not skipped: from the end on, in order, without a hole."""
    size = frame_ms * MS
    listener = listener_of(model_of(lateness=Lateness(late_ms, 0)), frame_ms=frame_ms)
    given_on: list[Samples] = []
    skip: int | None = None
    for number in range(150):
        frame = frame_of(number, 9 if number == detected else None, size=size)
        woken = listener.receive_frame(frame, reply_sounds)
        if woken is not None:
            given_on += woken.frames
            skip = woken.skip_frames
        elif skip is not None:
            skip -= 1
            if skip < 0:
                given_on.append(frame)
    end = max(0, (detected + 1) * size - late_ms * MS)
    first = end // size
    assert [int(frame[-1]) for frame in given_on] == list(range(first, 150))
    inside = end % size
    if inside and given_on[0][0] == 0:
        assert (given_on[0][inside:-1] == PLAIN).all()
