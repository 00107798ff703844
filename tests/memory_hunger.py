"""A running service from which all memory is taken for a moment, and what comes of it."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from pathlib import Path

import hungry_service
from conversation_scripts import wait_until
from starved_service import StarvedService

from slng_edge.simulator import LocalGateway

PATIENCE_S = 40.0
"""A microphone that nobody reads is noticed after 20 s, and stopping may take 5."""


def starve(folder: Path, gateway: LocalGateway, rng: random.Random) -> str:
    """Take all memory somewhere within a turn, often with the connections cut as well.

    Returns:
        "works" where a question is answered afterwards, "ended with STATUS", or "neither", which
        is a service that runs and is of no use.
    """
    with StarvedService(folder, gateway.url, program=(hungry_service.__file__,)) as service:
        service.ready()
        service.request(command="ask", text="one two three four five")
        time.sleep(rng.uniform(0.0, 0.4))
        service.tell(f"all {rng.choice((0.05, 0.3, 1.0))}")
        if rng.random() < 0.6:
            gateway.drop_all()
        if wait_until(lambda: service.process.poll() is not None, timeout_s=1.5):
            return f"ended with {service.process.poll()}"
        with suppress(OSError):  # what becomes of it is seen below
            service.request(command="ask", text="still there")
        wait_until(
            lambda: service.process.poll() is not None or _answered(service), timeout_s=PATIENCE_S
        )
        if service.process.poll() is not None:
            return f"ended with {service.process.poll()}"
        return "works" if _answered(service) else "neither"


def _answered(service: StarvedService) -> bool:
    """Whether the second question was answered, and the answer has sounded."""
    kinds = [
        event["type"]
        for event in list(service.events)
        if event["type"] == "playback_end" or event.get("text") == "still there"
    ]
    return "reply" in kinds and "playback_end" in kinds[kinds.index("reply") :]
