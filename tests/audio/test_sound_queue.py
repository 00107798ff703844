"""Short sounds: their order, their number, and how they end."""

from __future__ import annotations

import numpy as np
import pytest

from slng_edge.audio.ducking import DUCKED_GAIN, Ducking
from slng_edge.audio.sound_queue import SoundQueue
from slng_edge.pcm import Samples

RATE_HZ = 1000  # One sample a millisecond.
BLOCK = 20


@pytest.fixture
def ducking() -> Ducking:
    return Ducking()


@pytest.fixture
def queue(ducking: Ducking) -> SoundQueue:
    return SoundQueue(ducking)


def sound(value: int, samples: int = 30) -> Samples:
    return np.full(samples, value, dtype=np.int16)


def taken(queue: SoundQueue) -> list[int]:
    """Everything that sounds, until there is nothing more."""
    block = np.full(BLOCK, -1, dtype=np.int16)
    out: list[int] = []
    while count := queue.take_into(block):
        assert not block[count:].any()
        out += block[:count].tolist()
    return out


def values(samples: list[int]) -> list[int]:
    """The levels in `samples`, one after the other."""
    return [value for at, value in enumerate(samples) if at == 0 or value != samples[at - 1]]


def test_sounds_follow_each_other_without_a_gap(queue: SoundQueue) -> None:
    """A block may hold the end of one and the start of the next."""
    queue.add(sound(1), now=0)
    queue.add(sound(2, 15), now=0)
    assert taken(queue) == [1] * 30 + [2] * 15
    assert not queue.sounding


def test_where_there_is_none_the_block_is_left_alone(queue: SoundQueue) -> None:
    """Silence costs nothing; a sound without samples is none."""
    queue.add(sound(1, 0), now=0)
    block = sound(7, BLOCK)
    assert queue.take_into(block) == 0
    assert set(block) == {7}


def test_a_sound_that_waits_already_moves_to_the_end(queue: SoundQueue) -> None:
    """What is heard last is what is the case now."""
    one, two, three = sound(1), sound(2), sound(3)
    for each in (one, two, three, two):
        queue.add(each, now=0)
    assert values(taken(queue)) == [1, 3, 2]


def test_a_sound_is_not_repeated_while_it_sounds(queue: SoundQueue) -> None:
    """Unless another was asked for in between."""
    mute, unmute = sound(1), sound(2)
    queue.add(mute, now=0)
    queue.take_into(sound(0, BLOCK))
    queue.add(mute, now=0)
    assert taken(queue) == [1] * 10
    queue.add(mute, now=0)
    queue.take_into(sound(0, BLOCK))
    queue.add(unmute, now=0)
    queue.add(mute, now=0)
    assert values(taken(queue)) == [1, 2, 1]


def test_the_oldest_gives_way_where_too_many_wait(queue: SoundQueue) -> None:
    """Four wait at most."""
    for value in range(1, 7):
        queue.add(sound(value), now=0)
    assert values(taken(queue)) == [3, 4, 5, 6]


def test_the_reply_is_ducked_from_the_first_to_the_last(
    queue: SoundQueue, ducking: Ducking
) -> None:
    """Held once, however many sounds there are."""
    queue.add(sound(1), now=0)
    queue.add(sound(2), now=0)
    gains = []
    block = sound(0, BLOCK)
    while queue.take_into(block):
        gains.append(ducking.gain)
    assert gains == [DUCKED_GAIN, DUCKED_GAIN, 1.0]


def test_drop_ends_everything_at_once(queue: SoundQueue, ducking: Ducking) -> None:
    """There is no device to fade out on, and the ducking must not stay."""
    queue.add(sound(1, 200), now=0)
    queue.take_into(sound(0, BLOCK))
    queue.drop()
    assert (queue.sounding, ducking.gain, taken(queue)) == (False, 1.0, [])


def test_what_waited_too_long_for_a_device_is_forgotten(queue: SoundQueue) -> None:
    """A chime tells of now; a young one is kept."""
    queue.add(sound(1), now=10)
    queue.add(sound(2), now=11.5)
    queue.drop_stale(now=12.5)
    assert values(taken(queue)) == [2]
    queue.add(sound(1), now=10)
    queue.drop_stale(now=12.5)
    assert not queue.sounding
