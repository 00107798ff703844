"""Ducking that never gets stuck, and gain that never steps."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.audio.ducking import DUCKED_GAIN, RAMP_MS, Ducking, GainRamp
from slng_edge.pcm import Samples

RATE_HZ = 24000
RAMP = int(RATE_HZ * RAMP_MS / 1000)


def level(samples: int, value: int = 8000) -> Samples:
    return np.full(samples, value, dtype=np.int16)


def test_it_is_ducked_until_the_last_holder_lets_go() -> None:
    """The count decides, whatever the order in which they end."""
    ducking = Ducking()
    first, second = ducking.hold(), ducking.hold()
    assert ducking.gain == DUCKED_GAIN
    first.release()
    assert ducking.gain == DUCKED_GAIN
    second.release()
    assert ducking.gain == 1.0


def test_letting_go_twice_counts_once() -> None:
    """Or the second would take another's hold away."""
    ducking = Ducking()
    first = ducking.hold()
    with ducking.hold():
        first.release()
        first.release()
        assert ducking.gain == DUCKED_GAIN
    assert ducking.gain == 1.0


def test_an_error_lets_go() -> None:
    """What fails while it holds does not leave the reply quiet."""
    ducking = Ducking()

    def break_down() -> None:
        with ducking.hold():
            raise RuntimeError(f"it broke at {ducking.gain}")

    with pytest.raises(RuntimeError, match=f"it broke at {DUCKED_GAIN}"):
        break_down()
    assert ducking.gain == 1.0


def test_a_holder_that_is_forgotten_lets_go() -> None:
    """Even one within a cycle, once it is collected."""
    ducking = Ducking()
    ducking.hold()
    assert ducking.gain == 1.0
    held: list[object] = [ducking.hold()]
    held.append(held)
    del held
    gc.collect()
    assert ducking.gain == 1.0


def test_many_threads_leave_nothing_behind() -> None:
    """No lock is needed for the count to be right."""
    ducking = Ducking()

    def hold_often() -> None:
        for _ in range(500):
            with ducking.hold():
                assert ducking.gain == DUCKED_GAIN

    threads = [threading.Thread(target=hold_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert ducking.gain == 1.0


def test_at_a_gain_of_one_samples_are_left_alone() -> None:
    """No rounding where nothing is to be done."""
    block = np.arange(-300, 300, dtype=np.int16)
    GainRamp(RATE_HZ).apply(block, 1.0)
    assert block.tolist() == list(range(-300, 300))


def test_a_new_gain_is_reached_in_25_ms() -> None:
    """And kept from there on."""
    ramp = GainRamp(RATE_HZ)
    block = level(2 * RAMP)
    ramp.apply(block, 0.25)
    assert block[RAMP - 2] > 2000
    assert set(block[RAMP - 1 :]) == {2000}
    assert ramp.gain == 0.25


@settings(max_examples=60, deadline=None)
@given(
    turns=st.lists(
        st.tuples(st.integers(1, 1000), st.sampled_from([0.0, 0.25, 0.5, 1.0])), max_size=20
    )
)
def test_no_change_of_gain_is_a_step(turns: list[tuple[int, float]]) -> None:
    """However often it changes its mind, and however long the blocks are."""
    ramp = GainRamp(RATE_HZ)
    played = [level(1)]
    for length, gain in turns:
        block = level(length)
        ramp.apply(block, gain)
        played.append(block)
    steps = np.abs(np.diff(np.concatenate(played).astype(int)))
    assert steps.max(initial=0) <= 8000 / RAMP + 1


def test_after_silence_a_gain_is_there_at_once() -> None:
    """A reply does not begin at the volume of the last one."""
    ramp = GainRamp(RATE_HZ)
    block = level(100)
    ramp.apply(block, 0.5)
    ramp.jump(0.25)
    block = level(100)
    ramp.apply(block, 0.25)
    assert set(block) == {2000}


@pytest.mark.parametrize(("value", "expected"), [(-20000, -32768), (20000, 32767)])
def test_what_is_too_loud_is_clipped_and_does_not_wrap(value: int, expected: int) -> None:
    """Loud stays loud, with its sign."""
    ramp = GainRamp(RATE_HZ)
    ramp.jump(4.0)
    block = level(10, value)
    ramp.apply(block, 4.0)
    assert set(block) == {expected}
