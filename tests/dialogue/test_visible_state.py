"""Which state the outside is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slng_edge.dialogue.turn_taking import State
from slng_edge.dialogue.visible_state import Conditions, visible_state

READY = Conditions().session_ready("stt").session_ready("tts")


@pytest.mark.parametrize("state", State)
def test_with_everything_in_order_the_dialogue_is_shown(state: State) -> None:
    """Its states have the names of the contract."""
    assert visible_state(state, READY) == state.value


@pytest.mark.parametrize(
    ("conditions", "shown"),
    [
        (Conditions(), "starting"),
        (Conditions().session_ready("stt"), "starting"),
        (Conditions().session_failed("stt", final=False), "offline"),
        (READY.session_failed("tts", final=False), "offline"),
        (READY.session_failed("tts", final=False).session_ready("tts"), "idle"),
        (READY.session_failed("tts", final=False).session_ready("stt"), "offline"),
        (READY.session_failed("stt", final=True), "error"),
        (READY.session_failed("stt", final=True).session_failed("stt", final=False), "error"),
        (READY.session_failed("stt", final=True).session_ready("stt"), "idle"),
        (READY.hearing(False), "error"),
        (READY.hearing(False).hearing(True), "idle"),
        (READY.session_failed("stt", final=False).hearing(False), "error"),
        (Conditions(deaf=True, muted=True), "muted"),
        (READY.session_failed("stt", final=True).muting(True), "muted"),
        (READY.muting(True).muting(False), "idle"),
    ],
)
def test_what_is_wrong_hides_the_dialogue(conditions: Conditions, shown: str) -> None:
    """Muted before error before offline before starting, each until it is over."""
    assert visible_state(State.IDLE, conditions) == shown


def test_a_session_that_is_ready_has_no_trouble_any_more() -> None:
    """The other one keeps its own."""
    both = frozenset(("stt", "tts"))
    troubled = Conditions(unready=both, offline=both, refused=both)
    one = frozenset(("tts",))
    assert troubled.session_ready("stt") == Conditions(unready=one, offline=one, refused=one)


def test_only_what_is_final_is_a_refusal() -> None:
    """A session that was refused stays so while it fails in other ways."""
    none, stt, both = frozenset[str](), frozenset(("stt",)), frozenset(("stt", "tts"))
    failed = Conditions(muted=True).session_failed("stt", final=False)
    assert failed == Conditions(offline=stt, refused=none, muted=True)
    failed = failed.session_failed("stt", final=True)
    assert failed == Conditions(offline=stt, refused=stt, muted=True)
    failed = failed.session_failed("tts", final=False)
    assert failed == Conditions(offline=both, refused=stt, muted=True)


def test_ear_and_mute_are_conditions_of_their_own() -> None:
    """Each is set and taken back, and leaves the other as it is."""
    offline = Conditions(offline=frozenset(("stt",)))
    assert offline.hearing(False) == replace(offline, deaf=True)
    assert offline.hearing(False).hearing(True) == offline
    assert offline.muting(True) == replace(offline, muted=True)
    assert offline.muting(True).muting(False) == offline


def test_starting_does_not_hide_who_speaks() -> None:
    """Before the gateway is ready somebody may speak already, and is heard."""
    assert visible_state(State.LISTENING, Conditions()) == "listening"


def test_offline_hides_what_the_dialogue_does() -> None:
    """In whatever state it is."""
    offline = READY.session_failed("stt", final=False)
    assert {visible_state(state, offline) for state in State} == {"offline"}
