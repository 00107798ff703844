"""The echo-aware gate in a simulated room: it does not hear itself, and hears who interrupts.

`scripts/evaluate-echo` does the same for longer, louder and quieter.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import pytest
from simulated_room import (
    Ear,
    Room,
    Voices,
    computed_voices,
    recordings,
    replies,
)

from slng_edge.listening.vad_gate import Onset

SPEECH_DIR = os.environ.get("SLNG_EDGE_TEST_SPEECH", "")
LEARNING_S = 10.0
ONSET = Onset(60)


@pytest.fixture(params=["computed", "people"], scope="module")
def voices(request: pytest.FixtureRequest) -> Voices:
    """Who speaks, out of the loudspeaker and in front of it."""
    if request.param == "computed":
        return computed_voices()
    if not SPEECH_DIR or not Path(SPEECH_DIR).is_dir():
        pytest.skip("SLNG_EDGE_TEST_SPEECH names no folder with recordings of speech")
    return recordings(Path(SPEECH_DIR))


@pytest.mark.parametrize(("coupling_db", "delay_ms"), [(-20.0, 80.0), (0.0, 250.0)])
def test_a_minute_of_replies_opens_nothing(
    voices: Voices, coupling_db: float, delay_ms: float
) -> None:
    """Whatever comes back, faint or as loud as it was played, early or late."""
    evening = replies(voices, 60, 1)
    room = Room(coupling_db=coupling_db, delay_ms=delay_ms)
    heard = Ear(onset=ONSET).hear(evening, room.hear(evening))
    assert heard.own_openings_s == []


def test_nine_of_ten_interruptions_at_equal_loudness_are_noticed(voices: Voices) -> None:
    """Within 200 ms (median) of the first sample, and the replies around them are no speech."""
    evening = replies(voices, 0, 2, interruptions=10, learning_s=2 * LEARNING_S)
    heard = Ear(onset=ONSET).hear(evening, Room(coupling_db=-10.0).hear(evening))
    assert len(heard.caught) >= 9
    assert statistics.median(heard.caught) <= 200
    assert heard.own_after(LEARNING_S) == 0


def test_a_machine_that_is_busy_now_and_then_does_not_interrupt_itself(voices: Voices) -> None:
    """Frames that come late and in bursts are compared with what sounded when they were heard."""
    evening = replies(voices, 0, 2, interruptions=10, learning_s=2 * LEARNING_S)
    heard = Ear(onset=ONSET, stalls=0.01).hear(evening, Room(coupling_db=-10.0).hear(evening))
    assert heard.own_openings_s == []
    assert len(heard.caught) >= 9


def test_without_the_echo_the_replies_would_open_it() -> None:
    """The room is loud enough for the tests above to mean something."""
    evening = replies(computed_voices(), 60, 1)
    room = Room(coupling_db=-10.0)
    heard = Ear(onset=ONSET, echo_aware=False).hear(evening, room.hear(evening))
    assert len(heard.own_openings_s) > 10
