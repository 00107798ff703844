"""What a gateway that refuses costs the log: an hour of attempts, and the lines that they write."""

from __future__ import annotations

import logging
import threading

import pytest
from conversation_scripts import config_for, gateway, wait_until

from slng_edge import SttSession, TtsSession
from slng_edge.connecting import back_off
from slng_edge.events import ConnectionChanged
from slng_edge.simulator import Faults

HOUR_OF_ATTEMPTS = 3600 / 15
"""The delay is anything up to 30 s, 15 s on average: 240 an hour, of each session."""


class Attempts:
    """Counts them."""

    def __init__(self) -> None:
        self.failed = 0
        self._lock = threading.Lock()

    def __call__(self, event: object) -> None:
        if isinstance(event, ConnectionChanged) and event.state == "failed":
            with self._lock:
                self.failed += 1


@pytest.mark.parametrize("fault", ["refuse=503", "ready_then_error", "reset_after=1"])
def test_an_hour_of_refusals_is_two_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """One a session, whatever the number of attempts: a card is not worn by an outage."""
    caplog.set_level(logging.INFO, "slng_edge")
    monkeypatch.setattr(back_off, "FIRST_S", 0.001)
    monkeypatch.setattr(back_off, "LIMIT_S", 0.002)
    with gateway(faults=Faults(fault, "retry_after=0")) as served:
        seen = {kind: Attempts() for kind in (SttSession, TtsSession)}
        sessions = [
            kind(config_for(served.url), api_key="", on_event=attempts)
            for kind, attempts in seen.items()
        ]
        for session in sessions:
            session.start()
        try:
            assert wait_until(
                lambda: all(each.failed >= HOUR_OF_ATTEMPTS for each in seen.values()), 30
            )
        finally:
            for session in sessions:
                session.stop()
    ours = [record for record in caplog.records if record.name.startswith("slng_edge.gateway")]
    assert 1 <= len(ours) <= 2
