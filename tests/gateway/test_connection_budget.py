"""The plan's connections, shared by all sessions."""

from __future__ import annotations

import queue
import time
from typing import Any

import pytest
from conversation_scripts import PATIENCE_S, config_for, connections, gateway, wait_until
from hypothesis import given
from hypothesis import strategies as st

from slng_edge import SttSession, TtsSession
from slng_edge.gateway.connection_budget import Claim, ConnectionBudget


def nobody() -> None:
    """For a claim that need not be told."""


def claims(limit: int, count: int) -> list[Claim]:
    """Claims of some sessions on one budget."""
    budget = ConnectionBudget(limit)
    return [budget.claim(nobody) for _ in range(count)]


def test_no_more_places_are_given_than_there_are() -> None:
    """Whoever asks; a place that is given back can be taken again."""
    first, second = claims(2, 2)
    assert (first.take(), first.take()) == (True, True)
    assert (first.free, second.free, second.take()) == (False, False, False)
    first.give_back()
    assert (second.free, second.take(), first.take()) == (True, True, False)


def test_who_has_work_goes_first_in_the_order_of_asking() -> None:
    """A place is kept for each who asked before, and for all of them from who has no work."""
    idle, first, second = claims(1, 3)
    first.press(True)
    second.press(True)
    first.press(True)  # to say it again changes nothing
    assert (idle.free, first.free, second.free) == (False, True, False)
    assert (idle.take(), second.take(), first.take()) == (False, False, True)
    first.press(False)
    assert second.free is False
    first.give_back()
    assert (idle.take(), second.take()) == (False, True)
    second.press(False)
    second.give_back()
    assert idle.take()


def test_who_asks_again_stands_behind_the_others() -> None:
    """One that had its turn does not come before who waits."""
    first, second = claims(1, 2)
    first.press(True)
    second.press(True)
    first.press(False)
    first.press(True)
    assert (first.free, second.free) == (False, True)


def test_places_beyond_those_asked_for_are_for_everybody() -> None:
    """A standby may be opened while another session's first connection has its place as well."""
    idle, first = claims(2, 2)
    first.press(True)
    assert idle.take()
    assert (idle.take(), first.take()) == (False, True)


def test_a_place_is_wanted_while_another_has_work_and_none_is_left() -> None:
    """Its own work does not count."""
    holder, other = claims(1, 2)
    holder.press(True)
    assert not holder.wanted_by_another
    assert holder.take()
    holder.press(False)
    assert not holder.wanted_by_another
    other.press(True)
    assert (holder.wanted_by_another, other.wanted_by_another) == (True, False)
    holder.give_back()
    assert not holder.wanted_by_another


def test_the_others_are_told_when_places_come_or_are_wanted() -> None:
    """Each once a change; who changed it knows."""
    told: list[str] = []
    budget = ConnectionBudget(1)
    first = budget.claim(lambda: told.append("first"))
    second = budget.claim(lambda: told.append("second"))
    first.take()
    assert told == []
    second.press(True)
    second.press(True)
    assert told == ["first"]
    first.give_back()
    assert told == ["first", "second"]
    second.press(False)
    assert told == ["first", "second", "first"]


def test_a_session_that_ends_is_in_nobodys_way() -> None:
    """It is not told any more, does not ask any more, and may still give its places back."""
    told: list[str] = []
    budget = ConnectionBudget(1)
    first = budget.claim(lambda: told.append("first"))
    second = budget.claim(lambda: told.append("second"))
    assert first.take()
    first.press(True)
    first.leave()
    first.leave()
    told.clear()
    second.press(True)
    assert (second.free, told) == (False, [])
    first.give_back()
    assert (told, second.take()) == (["second"], True)


def test_a_callback_may_use_the_budget() -> None:
    """It is called without a lock held."""
    budget = ConnectionBudget(1)
    seen: list[bool] = []
    waiting = budget.claim(lambda: seen.append(waiting.take()))
    holder = budget.claim(nobody)
    assert holder.take()
    waiting.press(True)
    holder.give_back()
    assert seen == [True]


@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["take", "back", "press", "rest", "leave"]))
    ),
)
def test_places_are_neither_lost_nor_made(limit: int, steps: list[tuple[int, str]]) -> None:
    """Whatever sessions do, no more are out than there are, and all come back."""
    sessions = claims(limit, 4)
    held = [0] * 4
    for who, step in steps:
        claim = sessions[who]
        match step:
            case "take":
                free = claim.free
                assert claim.take() is free
                held[who] += free
            case "back" if held[who]:
                claim.give_back()
                held[who] -= 1
            case "press" | "rest":
                claim.press(step == "press")
            case "leave":
                claim.leave()
        assert sum(held) <= limit
        # Who is first in the row can take what is there.
        assert sum(held) == limit or any(claim.free for claim in sessions)
    for who, claim in enumerate(sessions):
        claim.press(False)
        for _ in range(held[who]):
            claim.give_back()
    assert [sessions[0].take() for _ in range(limit + 1)] == [True] * limit + [False]


# Sessions, on the free plan: one place


def test_two_sessions_share_one_place() -> None:
    """Each gets it when it has work: a reply after the words, words after the reply."""
    budget = ConnectionBudget(1)
    with gateway("one", "two") as served:
        config = config_for(served.url, "gateway.tier=free")
        with (
            SttSession(config, api_key="", budget=budget) as stt,
            TtsSession(config, api_key="", budget=budget) as tts,
        ):
            for words in ("one", "two"):
                texts = [event.text for event in stt.transcribe([bytes(6400)] * 5)]
                assert texts[-1] == words
                assert sum(map(len, tts.speak("hello there"))) > 0
        assert served.violations == []
        kinds = [record.kind for record in served.connections]
        assert {"stt", "tts"} == set(kinds)


def test_a_session_that_waits_for_a_place_can_be_stopped() -> None:
    """Stopping does not wait for the place, nor does it take one with it."""
    budget = ConnectionBudget(1)
    holder = budget.claim(nobody)
    assert holder.take()
    tts = TtsSession(config_for("ws://127.0.0.1:1"), api_key="", budget=budget)
    tts.start()
    assert wait_until(lambda: holder.wanted_by_another)
    began = time.monotonic()
    tts.stop()
    assert time.monotonic() - began < 1
    assert not holder.wanted_by_another
    holder.give_back()
    assert holder.take()


def test_a_session_waits_until_a_place_comes() -> None:
    """It is woken at once."""
    budget = ConnectionBudget(1)
    holder = budget.claim(nobody)
    assert holder.take()
    with gateway() as served:
        with SttSession(config_for(served.url), api_key="", budget=budget) as stt:
            assert wait_until(lambda: holder.wanted_by_another)
            assert served.connections == []
            holder.give_back()
            stt.wait_ready(PATIENCE_S)
            assert len(connections(served, "stt")) == 1
        assert wait_until(lambda: holder.free)


@pytest.mark.parametrize("fault", ["stt:refuse=401", "stt:refuse=503"])
def test_a_session_that_is_refused_keeps_no_place_from_others(fault: str) -> None:
    """Neither the place itself, nor its turn, while it waits for its next attempt."""
    budget = ConnectionBudget(1)
    with gateway(faults=[fault]) as served:
        config = config_for(served.url)
        heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stt = SttSession(config, api_key="", budget=budget, on_event=heard.put)
        with stt, TtsSession(config, api_key="", budget=budget) as tts:
            while getattr(heard.get(timeout=PATIENCE_S), "state", "") != "failed":
                pass
            assert sum(map(len, tts.speak("hello there"))) > 0
