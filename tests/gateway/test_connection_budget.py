"""The plan's connections, shared by all sessions."""

from __future__ import annotations

import threading
import time

from conversation_scripts import PATIENCE_S, config_for, connections, gateway

from slng_edge import SttSession, TtsSession
from slng_edge.gateway.connection_budget import ConnectionBudget


def test_no_more_places_are_given_than_there_are() -> None:
    """The one too many waits as long as it is told, and gets none."""
    budget = ConnectionBudget(2)
    assert budget.take(0.0)
    assert budget.take(0.0)
    began = time.monotonic()
    assert not budget.take(0.1)
    assert 0.09 <= time.monotonic() - began < 1


def test_a_place_that_is_given_back_goes_to_who_waits() -> None:
    """A waiting session is woken at once."""
    budget = ConnectionBudget(1)
    budget.take(0.0)
    took = threading.Event()

    def wait() -> None:
        if budget.take(PATIENCE_S):
            took.set()

    thread = threading.Thread(target=wait)
    thread.start()
    budget.give_back()
    assert took.wait(2)
    thread.join(2)


def test_two_sessions_share_one_place() -> None:
    """The second connects when the first has stopped, and not before."""
    budget = ConnectionBudget(1)
    with gateway() as served:
        config = config_for(served.url)
        stt = SttSession(config, api_key="", budget=budget)
        tts = TtsSession(config, api_key="", budget=budget)
        stt.start()
        stt.wait_ready(PATIENCE_S)
        tts.start()
        assert not budget.take(0.2)
        assert connections(served, "tts") == []
        stt.stop()
        tts.wait_ready(PATIENCE_S)
        tts.stop()
        assert budget.take(0.0)


def test_a_session_that_waits_for_a_place_can_be_stopped() -> None:
    """Stopping does not wait for the place."""
    budget = ConnectionBudget(1)
    budget.take(0.0)
    tts = TtsSession(config_for("ws://127.0.0.1:1"), api_key="", budget=budget)
    tts.start()
    began = time.monotonic()
    tts.stop()
    assert time.monotonic() - began < 1


def test_a_refused_connection_gives_its_place_back() -> None:
    """While a session waits out its back-off another one may connect."""
    budget = ConnectionBudget(1)
    with gateway(faults=["stt:refuse=401"]) as served:
        config = config_for(served.url)
        stt = SttSession(config, api_key="", budget=budget, on_event=lambda event: None)
        tts = TtsSession(config, api_key="", budget=budget)
        stt.start()
        tts.start()
        tts.wait_ready(PATIENCE_S)
        stt.stop()
        tts.stop()
