"""A second connection that is ready before it is needed."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from conversation_scripts import (
    PATIENCE_S,
    Heard,
    config_for,
    connections,
    gateway,
    numbered,
    spoken,
    wait_until,
)
from session_scripts import (
    UNCOUNTED,
    assert_in_order,
    changes,
    complaints,
    finals,
    is_ready,
    listening,
    plan,
    ready_at,
    say,
    sound_of,
    speaking,
    states,
    time_of,
    utter,
)

from slng_edge.errors import ConfigError
from slng_edge.events import ConnectionChanged
from slng_edge.gateway.connection_budget import ConnectionBudget
from slng_edge.protocol.session_events import Final, ReplyAudio, ReplyDone
from slng_edge.simulator import ConnectionRecord

STANDBY = "tts.warm_standby=true"


def last_at(record: ConnectionRecord) -> float:
    """When the last message of a connection went."""
    return record.messages[-1][0]


# Asked for


def test_a_second_connection_is_greeted_and_left_alone() -> None:
    """Two stand, ready; the reply goes over the first, and only that one is told of."""
    heard = Heard()
    with gateway() as served, speaking(served.url, heard, STANDBY) as tts:
        assert served.wait_for(lambda: is_ready(served, "tts", 2), PATIENCE_S)
        say(tts, 1, "over the first")
        heard.wait_for(ReplyDone)
        first, second = served.connections
        assert len(first.of_type("client", "text")) == 1
        assert [message["type"] for _, who, message in second.messages if who == "client"] == [
            "init"
        ]
    assert states(heard) == ["connecting", "ready", "closed"]


def test_a_cut_is_made_up_for_without_a_dial() -> None:
    """The text goes at once to the one that stood ready; a third one becomes the new standby."""
    heard = Heard()
    faults = ["tts:reset_after=flush@1"]
    with gateway(faults=faults) as served, speaking(served.url, heard, STANDBY) as tts:
        assert served.wait_for(lambda: is_ready(served, "tts", 2), PATIENCE_S)
        say(tts, 1, "spoken all the same")
        heard.wait_for(ReplyDone)
        assert np.array_equal(sound_of(heard, 1), spoken("spoken all the same"))
        first, second = served.connections[:2]
        cut_at = time_of(first, "client", "flush")
        assert ready_at(second) < cut_at
        assert time_of(second, "client", "text") - cut_at < 0.5
        assert served.wait_for(lambda: is_ready(served, "tts", 3), PATIENCE_S)
        assert states(heard) == ["connecting", "ready", "failed", "connecting", "ready"]
    assert_in_order(heard)


def test_a_cut_in_the_sound_lets_the_next_reply_begin_at_once() -> None:
    """What was heard is not repeated, and the reply after it needs no dial."""
    heard = Heard()
    faults = ["tts:close_after_audio=200:1011@1"]
    with gateway(faults=faults) as served, speaking(served.url, heard, STANDBY) as tts:
        assert served.wait_for(lambda: is_ready(served, "tts", 2), PATIENCE_S)
        say(tts, 1, "this one is broken off")
        heard.wait_for(ConnectionChanged, state="failed")
        began = time.monotonic()
        say(tts, 2, "this one is not")
        heard.wait_for(ReplyAudio, reply=2)
        assert time.monotonic() - began < 0.5
        heard.wait_for(ReplyDone, reply=2)
        assert np.array_equal(sound_of(heard, 2), spoken("this one is not"))
        assert ready_at(served.connections[1]) < began


def test_a_standby_that_dies_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """Without an event, as nothing that is in use has changed; with one line in the log."""
    heard = Heard()
    faults = ["tts:close_after=1:1011@2"]
    with gateway(faults=faults) as served, speaking(served.url, heard, STANDBY):
        assert served.wait_for(lambda: is_ready(served, "tts", 3), PATIENCE_S)
        assert served.connections[1].close_code == 1011
        assert states(heard) == ["connecting", "ready"]
        assert [("no second connection" in line) for line in complaints(caplog)] == [True]


def test_a_standby_that_always_dies_is_not_hammered(caplog: pytest.LogCaptureFixture) -> None:
    """The delays grow, the log says it once, and replies are spoken all the while."""
    heard = Heard()
    faults = ["tts:close_after=1:1011@2-99"]
    with gateway(faults=faults) as served, speaking(served.url, heard, STANDBY) as tts:
        tts.wait_ready(PATIENCE_S)
        time.sleep(3.0)
        say(tts, 1, "still here")
        heard.wait_for(ReplyDone)
        assert np.array_equal(sound_of(heard, 1), spoken("still here"))
        # Full jitter under 1, 2, 4 s: a few at the very most.
        assert 2 <= len(served.connections) <= 12
        assert len(complaints(caplog)) == 1
        assert states(heard) == ["connecting", "ready"]


def test_a_standby_is_kept_alive() -> None:
    """Its own keepalives, as often as those of the one in use."""
    heard = Heard()
    with gateway() as served, speaking(served.url, heard, STANDBY, "tts.keepalive_s=0.2"):
        assert served.wait_for(
            lambda: (
                is_ready(served, "tts", 2)
                and len(served.connections[1].of_type("client", "keepalive")) >= 3
            ),
            PATIENCE_S,
        )


def test_a_standby_takes_a_place_of_the_plan() -> None:
    """Two places and two sessions: there is no third connection."""
    heard, spoke = Heard(), Heard()
    budget = ConnectionBudget(2)
    with (
        gateway() as served,
        listening(served.url, heard, budget=budget) as stt,
        speaking(served.url, spoke, STANDBY, budget=budget) as tts,
    ):
        stt.wait_ready(PATIENCE_S)
        tts.wait_ready(PATIENCE_S)
        say(tts, 1, "one of two")
        spoke.wait_for(ReplyDone)
        time.sleep(0.2)
        assert len(served.connections) == 2


def test_a_standby_gives_its_place_to_a_session_that_has_work() -> None:
    """Speech that waits for a place gets it at once; the one in use is not touched."""
    heard, spoke = Heard(), Heard()
    budget = ConnectionBudget(2)
    with (
        gateway("it has a place") as served,
        speaking(served.url, spoke, STANDBY, budget=budget),
    ):
        assert served.wait_for(lambda: is_ready(served, "tts", 2), PATIENCE_S)
        with listening(served.url, heard, budget=budget) as stt:
            utter(stt, numbered(200))
            assert heard.wait_for(Final).text == "it has a place"
            assert finals(heard) == ["it has a place"]
        assert states(spoke) == ["connecting", "ready"]
        assert len(connections(served, "stt")) == 1


def test_the_free_plan_has_no_place_for_it() -> None:
    """Said by the config, with what to change."""
    with pytest.raises(ConfigError, match=r"tts\.warm_standby.*gateway\.tier"):
        config_for("ws://127.0.0.1:1", STANDBY, "gateway.tier=free")


def test_a_standby_does_not_overstay() -> None:
    """It is as old as the one in use: both are replaced in time, and replies go on."""
    heard = Heard()
    with (
        gateway(connection_s=1.8) as served,
        speaking(served.url, heard, STANDBY, UNCOUNTED, limits=plan(duration_s=1.0)) as tts,
    ):
        for number in range(5):
            say(tts, number, f"reply {number}")
            heard.wait_for(ReplyDone, reply=number)
            assert np.array_equal(sound_of(heard, number), spoken(f"reply {number}"))
            time.sleep(0.6)
        assert served.violations == []
        assert "failed" not in states(heard)
    assert_in_order(heard)


# Needed: routes that close after each utterance


def test_from_the_second_time_on_the_next_connection_is_there_before_it_is_needed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the route did once is expected: quiet, without a gap, and nothing too much."""
    heard = Heard()
    faults = ["per_utterance_close", "pace=realtime"]
    with gateway(faults=faults) as served, speaking(served.url, heard, UNCOUNTED) as tts:
        for number in range(1, 5):
            say(tts, number, f"reply {number}")
            heard.wait_for(ReplyDone, reply=number)
            assert np.array_equal(sound_of(heard, number), spoken(f"reply {number}"))
        records = served.connections
        for used, following in pairwise(records[1:5]):
            assert ready_at(following) < time_of(used, "server", "flushed")
        assert len(records) == 5
        assert [len(record.of_type("client", "text")) for record in records] == [1, 1, 1, 1, 0]
        assert complaints(caplog) == []
        assert all(change.retry_in_s is None for change in changes(heard))
        assert "failed" not in states(heard)
    assert_in_order(heard)


def test_a_route_that_closed_once_is_used_on_when_it_does_not_again() -> None:
    """What one close has taught is forgotten: no connection is given up after each reply."""
    heard = Heard()
    faults = ["tts:per_utterance_close@1", "pace=10"]
    with gateway(faults=faults) as served, speaking(served.url, heard, UNCOUNTED) as tts:
        for number in range(1, 6):
            say(tts, number, f"reply {number}")
            heard.wait_for(ReplyDone, reply=number)
            assert np.array_equal(sound_of(heard, number), spoken(f"reply {number}"))
        records = served.connections
        assert [len(record.of_type("client", "text")) for record in records] == [1, 4, 0]
        assert states(heard) == ["connecting", "ready", "closed", "connecting", "ready"]
    assert_in_order(heard)


def test_a_reply_of_several_sentences_is_whole_over_such_a_route(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each sentence on a connection of its own, in order, twice over."""
    heard = Heard()
    faults = ["per_utterance_close", "pace=3"]
    with gateway(faults=faults) as served, speaking(served.url, heard, UNCOUNTED) as tts:
        for number in (1, 2):
            texts = [f"This is part {part} of {number}." for part in range(4)]
            tts.open_reply(number)
            whole = 0
            for text in texts:
                tts.add_text(number, text)
                whole += len(spoken(text))
                deadline = time.monotonic() + PATIENCE_S
                while len(sound_of(heard, number)) < whole and time.monotonic() < deadline:
                    time.sleep(0.005)
            tts.end_reply(number)
            heard.wait_for(ReplyDone, reply=number)
            assert np.array_equal(sound_of(heard, number), spoken(*texts))
        used = [record for record in served.connections if record.of_type("client", "text")]
        assert [len(record.of_type("client", "text")) for record in used] == [1] * 8
        for earlier, later in pairwise(used[1:]):
            assert ready_at(later) < time_of(earlier, "server", "flushed")
        assert complaints(caplog) == []
    assert_in_order(heard)


def test_an_interruption_over_such_a_route_does_not_disturb_the_next_reply() -> None:
    """Dropped in its middle, and answered again: the next one is itself."""
    heard = Heard()
    faults = ["per_utterance_close", "pace=realtime"]
    with gateway(faults=faults) as served, speaking(served.url, heard, UNCOUNTED) as tts:
        say(tts, 1, "short")
        heard.wait_for(ReplyDone, reply=1)
        for number in (2, 4, 6):
            say(tts, number, "a reply that nobody wants to hear to its end")
            heard.wait_for(ReplyAudio, reply=number)
            tts.interrupt(time.monotonic())
            say(tts, number + 1, f"after {number}")
            heard.wait_for(ReplyDone, reply=number + 1)
            assert np.array_equal(sound_of(heard, number + 1), spoken(f"after {number}"))
        assert "failed" not in states(heard)
    assert_in_order(heard)


def test_speech_to_text_over_such_a_route(caplog: pytest.LogCaptureFixture) -> None:
    """The words of each utterance come, on a connection of its own, quietly."""
    heard = Heard()
    lines = [f"line {number}" for number in range(5)]
    # init, one message of audio, finalize; its answer; then the end.
    with (
        gateway(*lines, faults=["stt:close_after=3:1000"]) as served,
        listening(served.url, heard) as stt,
    ):
        for number, line in enumerate(lines):
            stt.wait_ready(PATIENCE_S)
            utterance = stt.open_utterance()
            if number >= 1:
                assert served.wait_for(lambda n=number: is_ready(served, "stt", n + 2), PATIENCE_S)
            stt.add_audio(utterance, numbered(100))
            stt.end_utterance(utterance, time.monotonic())
            assert heard.wait_for(Final).text == line
            assert wait_until(lambda n=number: states(heard).count("closed") == n + 1)
        records = served.connections
        assert [record.audio for record in records[:5]] == [numbered(100).tobytes()] * 5
        assert len(records) <= 6
        assert complaints(caplog) == []
        assert "failed" not in states(heard)
        assert all(change.retry_in_s is None for change in changes(heard))
    assert_in_order(heard)
