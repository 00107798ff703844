"""A connection that has ended is gone at once, and not when a collection finds it."""

from __future__ import annotations

import gc

from conversation_scripts import Heard, gateway, wait_until
from session_scripts import listening

from slng_edge.gateway.byte_stream import ByteStream
from slng_edge.gateway.lane import Lane


def alive(kind: type) -> int:
    """How many there are, those that nobody can reach any more included."""
    return sum(isinstance(each, kind) for each in gc.get_objects())


def test_connections_that_broke_leave_nothing() -> None:
    """With TLS each holds a store of certificates, and a flapping network makes many."""
    gc.collect()
    gc.disable()
    try:
        before = alive(Lane), alive(ByteStream)
        heard = Heard()

        def connected() -> int:
            return str(heard.events).count("state='ready'")

        with gateway() as served, listening(served.url, heard) as stt:
            for count in range(1, 6):
                assert wait_until(lambda count=count: connected() == count)
                served.drop_all()
                assert wait_until(lambda: "state='failed'" in str(heard.events[-1]))
                stt.retry_now()
            assert wait_until(lambda: connected() == 6)
            assert wait_until(lambda: alive(Lane) - before[0] <= 1)
            assert wait_until(lambda: alive(ByteStream) - before[1] <= 1)
    finally:
        gc.enable()
