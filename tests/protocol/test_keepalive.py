"""When a keepalive is due."""

from __future__ import annotations

from slng_edge.protocol.keepalive import Keepalive


def test_it_is_due_when_nothing_was_sent_for_its_interval() -> None:
    """Not before the connection has begun; each message puts it off."""
    keepalive = Keepalive(5.0)
    assert (keepalive.deadline(), keepalive.is_due(1e9)) == (None, False)
    keepalive.sent(10.0)
    assert (keepalive.deadline(), keepalive.is_due(14.9), keepalive.is_due(15.0)) == (
        15.0,
        False,
        True,
    )
    keepalive.sent(12.0)
    assert keepalive.deadline() == 17.0


def test_it_can_be_put_off_until_it_is_allowed() -> None:
    """It names the time at which it may go, and no earlier one."""
    keepalive = Keepalive(5.0)
    keepalive.sent(0.0)
    keepalive.put_off(60.0)
    assert (keepalive.deadline(), keepalive.is_due(59.9), keepalive.is_due(60.0)) == (
        60.0,
        False,
        True,
    )


def test_it_ends_with_its_connection_and_begins_anew_with_the_next() -> None:
    """Nothing is due in between."""
    keepalive = Keepalive(5.0)
    keepalive.sent(0.0)
    keepalive.stop()
    assert (keepalive.deadline(), keepalive.is_due(100.0)) == (None, False)
    keepalive.sent(100.0)
    assert keepalive.deadline() == 105.0
