"""When the gate may open: windows after a wake word and after an answer."""

from __future__ import annotations

import pytest

from slng_edge.listening.attention import WINDOW_S, Attention


def asleep(follow_up_s: float = 5.0) -> Attention:
    """One that has to be woken."""
    return Attention(always=False, follow_up_s=follow_up_s)


def test_an_open_microphone_is_always_awake() -> None:
    """It has no windows, so none opens, and none passes."""
    attention = Attention(always=True, follow_up_s=5.0)
    assert attention.awake(0.0)
    attention.turn_began()
    assert not attention.turn_ended(1.0, answered=True)
    assert attention.awake(100.0)
    assert not attention.fell_asleep(100.0)


def test_it_sleeps_until_it_is_woken_and_again_when_nothing_is_said() -> None:
    """The end of the window is told once."""
    attention = asleep()
    assert not attention.awake(0.0)
    assert not attention.fell_asleep(0.0)
    attention.woken(10.0)
    assert attention.awake(10.0 + WINDOW_S - 0.01)
    assert not attention.fell_asleep(10.0 + WINDOW_S - 0.01)
    assert not attention.awake(10.0 + WINDOW_S)
    assert attention.fell_asleep(10.0 + WINDOW_S)
    assert not attention.fell_asleep(10.0 + WINDOW_S)
    assert not attention.awake(10.0 + WINDOW_S)


def test_who_asked_to_be_listened_to_is_invited_until_they_are_answered() -> None:
    """Also while they speak, and where nothing was understood."""
    attention = asleep()
    assert attention.invited is False
    attention.woken(0.0)
    assert attention.invited is True
    attention.turn_began()
    assert attention.invited is True
    attention.turn_ended(3.0, answered=False)
    assert attention.invited is False


def test_the_shortest_follow_up_is_one() -> None:
    """Only of none at all no window opens."""
    attention = asleep(follow_up_s=0.5)
    attention.turn_began()
    assert attention.turn_ended(100.0, answered=True)
    assert attention.awake(100.4)


def test_it_is_awake_for_as_long_as_the_turn_lasts() -> None:
    """Who is being answered may add something."""
    attention = asleep()
    attention.woken(0.0)
    attention.turn_began()
    assert attention.awake(100.0)
    assert not attention.fell_asleep(100.0)


def test_after_an_answer_there_is_a_window_for_more() -> None:
    """A conversation goes on without the wake word."""
    attention = asleep(follow_up_s=5.0)
    attention.turn_began()
    assert attention.turn_ended(100.0, answered=True)
    assert attention.awake(104.9)
    assert not attention.awake(105.0)


def test_it_waits_for_speech_while_a_window_is_open_and_unused() -> None:
    """Not when everybody may speak at any time, nor once somebody does."""
    attention = asleep()
    assert not attention.waits(0.0)
    attention.woken(0.0)
    assert attention.waits(1.0)
    assert not attention.waits(WINDOW_S)
    attention.turn_began()
    assert not attention.waits(1.0)
    always = Attention(always=True, follow_up_s=5.0)
    always.woken(0.0)
    assert not always.waits(1.0)


def test_without_a_follow_up_it_sleeps_after_the_answer() -> None:
    """And says so."""
    attention = asleep(follow_up_s=0.0)
    attention.woken(0.0)
    attention.turn_began()
    assert not attention.turn_ended(3.0, answered=True)
    assert not attention.awake(3.0)
    assert attention.fell_asleep(3.0)


@pytest.mark.parametrize(("at", "awake"), [(3.0, True), (WINDOW_S + 1, False)])
def test_what_was_heard_in_vain_does_not_make_the_window_longer(at: float, awake: bool) -> None:
    """A television would hold it open for ever."""
    attention = asleep()
    attention.woken(0.0)
    attention.turn_began()
    assert not attention.turn_ended(at, answered=False)
    assert attention.awake(at) == awake


def test_being_woken_in_a_turn_begins_anew() -> None:
    """The turn is over by it, and the window counts from there."""
    attention = asleep()
    attention.turn_began()
    attention.woken(50.0)
    assert attention.awake(50.0)
    assert not attention.awake(50.0 + WINDOW_S)


def test_stopped_it_sleeps_without_a_word() -> None:
    """Its window is shut, and no window passes unused."""
    attention = asleep()
    attention.woken(0.0)
    attention.stopped()
    assert not attention.awake(1.0)
    assert not attention.fell_asleep(100.0)
    attention.woken(200.0)
    assert attention.awake(201.0)
