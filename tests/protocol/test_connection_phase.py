"""Where an exchange stands with its connection."""

from __future__ import annotations

from slng_edge.protocol.connection_phase import ConnectionPhase


def test_init_is_due_once_a_connection() -> None:
    """A socket that is up asks for one `init`, and the next socket for another."""
    phase = ConnectionPhase(ready_s=10.0, keepalive_s=5.0)
    assert not phase.take_init()
    phase.connected(0.0)
    assert (phase.take_init(), phase.take_init()) == (True, False)
    phase.disconnected()
    phase.connected(1.0)
    assert phase.take_init()


def test_ready_has_a_deadline() -> None:
    """A gateway that never says `ready` is reported once."""
    phase = ConnectionPhase(ready_s=10.0, keepalive_s=5.0)
    phase.connected(0.0)
    assert (phase.deadline(), phase.expire(9.9)) == (10.0, [])
    assert "`ready` within 10 s" in str(phase.expire(10.0)[0].error)
    assert phase.expire(11.0) == []


def test_a_keepalive_is_due_when_nothing_was_sent() -> None:
    """The time runs from the last message, and only on a connection that is ready."""
    phase = ConnectionPhase(ready_s=10.0, keepalive_s=5.0)
    phase.connected(0.0)
    assert not phase.keepalive_due(6.0)
    phase.receive_ready()
    phase.sent(3.0)
    assert phase.deadline() == 8.0
    assert (phase.keepalive_due(7.9), phase.keepalive_due(8.0)) == (False, True)
    phase.disconnected()
    assert (phase.deadline(), phase.keepalive_due(99.0)) == (None, False)
