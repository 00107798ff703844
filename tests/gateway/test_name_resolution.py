"""Looking a host name up."""

from __future__ import annotations

import socket
import time

import pytest

from slng_edge.gateway.name_resolution import resolve


def test_a_name_has_addresses() -> None:
    """The host that every machine knows."""
    found = resolve("localhost", 80, deadline=time.monotonic() + 5, aborted=lambda: False)
    assert any(address[4][:2] in (("127.0.0.1", 80), ("::1", 80)) for address in found)


def test_a_name_that_nobody_has_is_refused() -> None:
    """With the resolver's own error, which says what to do."""
    with pytest.raises(socket.gaierror):
        resolve("no-such-host.invalid", 80, deadline=time.monotonic() + 30, aborted=lambda: False)


def test_an_abort_ends_the_wait() -> None:
    """Whoever stops does not wait for a name server."""
    with pytest.raises(OSError, match="stopped while connecting"):
        resolve("localhost", 80, deadline=time.monotonic() + 60, aborted=lambda: True)


def test_the_deadline_ends_the_wait() -> None:
    """A name server that does not answer holds nobody longer than allowed."""
    with pytest.raises(TimeoutError, match="no answer of the name server"):
        resolve("localhost", 80, deadline=time.monotonic() - 1, aborted=lambda: False)
