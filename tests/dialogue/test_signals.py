"""Which short sound says what."""

from __future__ import annotations

import pytest

from slng_edge.dialogue.signals import THINKING_AFTER_S, THINKING_EVERY_S, Signals
from slng_edge.dialogue.turn_taking import State


def test_thinking_sounds_after_a_second_and_then_now_and_then() -> None:
    """Not before, and not while the reply sounds."""
    signals = Signals()
    assert signals.due(0.0) is None
    signals.entered(State.THINKING, 10.0)
    assert signals.deadline == 10.0 + THINKING_AFTER_S
    assert signals.due(10.9) is None
    assert signals.due(11.0) == "thinking"
    assert signals.due(11.1) is None
    assert signals.due(11.0 + THINKING_EVERY_S) == "thinking"
    signals.entered(State.SPEAKING, 16.0)
    assert signals.deadline is None
    assert signals.due(100.0) is None


@pytest.mark.parametrize(
    ("offline", "in_one_breath", "sound"),
    [
        (False, False, "wake"),
        (False, True, None),
        (True, False, "offline"),
        (True, True, "offline"),
    ],
)
def test_being_woken_sounds_unless_somebody_speaks_on(
    offline: bool, in_one_breath: bool, sound: str | None
) -> None:
    """A chime would talk over them; that there is no connection they have to know."""
    assert Signals().woken(offline=offline, in_one_breath=in_one_breath) == sound


@pytest.mark.parametrize(("offline", "sound"), [(False, "error"), (True, "offline")])
def test_a_failure_is_told_once_a_turn(offline: bool, sound: str) -> None:
    """However many things fail with it; the next turn is another one."""
    signals = Signals()
    assert signals.failed(offline=offline) == sound
    assert signals.failed(offline=offline) is None
    signals.entered(State.LISTENING, 1.0)
    assert signals.failed(offline=offline) == sound


def test_a_failure_of_a_question_in_writing_is_told_as_well() -> None:
    """Nobody speaks between two of them: each begins with thinking about it."""
    signals = Signals()
    for at in (1.0, 2.0):
        signals.entered(State.THINKING, at)
        assert signals.failed(offline=False) == "error"
        assert signals.failed(offline=False) is None
        signals.entered(State.IDLE, at + 0.5)
        assert signals.failed(offline=False) is None
