"""The random mix of faults."""

from __future__ import annotations

import pytest

from slng_edge.simulator import Faults
from slng_edge.simulator.random_faults import draw

STT = "/v1/stt/slng/deepgram/nova:3-en"
TTS = "/v1/tts/slng/deepgram/aura:2-en"


def drawn(spec, count=400):
    """What is drawn for the first connections of both kinds, each taken as a fault."""
    faults = Faults(spec)
    return [
        faults.for_connection(kind, number).drawn
        for kind in ("stt", "tts")
        for number in range(1, count + 1)
    ]


def test_the_same_seed_draws_the_same_and_another_does_not():
    """Whatever was drawn before: each connection's draw is its own."""
    assert drawn("random=7") == drawn("random=7")
    assert drawn("random=7") != drawn("random=8")
    last = Faults("random=7").for_connection("tts", 400).drawn
    assert last == drawn("random=7")[-1]


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [("random=7:0", 0, 0), ("random=7", 0.25, 0.35), ("random=7:80", 0.75, 0.85),
     ("random=7:100", 1, 1)],
)  # fmt: skip
def test_so_many_connections_have_a_fault(spec, low, high):
    """30 % by default."""
    results = drawn(spec)
    assert low <= sum(map(bool, results)) / len(results) <= high


def test_every_fault_of_the_mix_is_one_of_the_table():
    """Each is drawn sooner or later, and its value is one that the table allows."""
    names = {fault.partition("=")[0] for fault in drawn("random=7:100", 1000)}
    assert {"half_open", "stall", "refuse", "no_final", "no_cleared", "per_utterance_close"} < names


def test_kinds_have_mixes_of_their_own():
    """No final is swallowed where none is sent."""
    assert not any(draw("7:100", "tts", number).startswith("no_final") for number in range(1, 1000))


def test_what_is_asked_for_wins_over_what_is_drawn():
    """And both apply otherwise; the mix can be limited as any fault."""
    spec = next(f for f in drawn("random=7:100") if f.startswith("close_after="))
    number = drawn("random=7:100").index(spec) + 1
    both = Faults("random=7:100", "close_after=9", "wrong_case").for_connection("stt", number)
    assert (both.text("close_after"), both.drawn) == ("9", spec)
    assert "wrong_case" in both
    assert Faults("tts:random=7:100").for_connection("stt", number).drawn == ""


def test_a_connections_fault_is_drawn_logged_and_told(start, connect, caplog):
    """The first connection whose draw is wrong case has wrong case."""
    caplog.set_level("INFO", logger="slng_edge.simulator")
    number = next(n for n in range(1, 1000) if draw("7:100", "stt", n) == "wrong_case")
    gateway = start(f"random=7:100@{number}", tier="enterprise")
    for _ in range(number - 1):
        client = connect(gateway, STT)
        assert client.init()["type"] == "ready"
        client.socket.shutdown()
    assert connect(gateway, STT).init()["type"] == "Ready"
    assert gateway.drawn_faults == [("stt", number, "wrong_case")]
    assert f"stt connection {number}: drew the fault wrong_case" in caplog.text
