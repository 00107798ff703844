"""`slng-edge run`, whole, with a microphone that says what standard input asks for.

    python soak_service.py SPEED -s gateway.url=... [run's other options]

Two things differ from the service as it is installed: its microphone is made of turns (a line
`7 420` on standard input is voice 7, 420 ms long), and media pass SPEED times as fast, as do the
minutes of a plan's limits. Once a second a line on descriptor 3 says what waits in its queues.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from typing import Any

import numpy as np
from labelled_sound import labelled_voice

from slng_edge import voice_loop
from slng_edge.audio import backends
from slng_edge.audio.media_clock import MediaClock
from slng_edge.audio.null_backend import NullSource
from slng_edge.cli import main
from slng_edge.pcm import Samples
from slng_edge.protocol.tier_limits import TIER_LIMITS
from slng_edge.service import supervisor

DEPTHS_FD = 3
DEPTHS_S = 1.0


class TurnSource(NullSource):
    """Silence, and the voices that are asked for. Implements `Source`."""

    def __init__(self, rate_hz: int, frame_ms: float, clock: MediaClock) -> None:
        super().__init__(rate_hz=rate_hz, frame_ms=frame_ms, clock=clock)
        self.name = "turns"
        self._rest: Samples = np.zeros(0, dtype=np.int16)

    def read(self) -> Samples | None:
        """The next frame; None after `close`."""
        frame = super().read()
        if frame is None:
            return None
        if not len(self._rest) and ASKED_FOR:
            number, ms = ASKED_FOR.popleft()
            self._rest = labelled_voice(number, ms)
        if not len(self._rest):
            return frame
        said, self._rest = self._rest[: self.frame_samples], self._rest[self.frame_samples :]
        return np.pad(said, (0, self.frame_samples - len(said)))


ASKED_FOR: deque[tuple[int, int]] = deque()


class PacedLoop(voice_loop.VoiceLoop):
    """The product's loop, at another speed, whose queues are looked into."""

    current: PacedLoop | None = None
    speed = 1.0

    def __init__(self, *args: Any, **options: Any) -> None:
        limits = TIER_LIMITS["enterprise"]
        a_minute = round(limits.messages_a_minute * PacedLoop.speed)
        limits = dataclasses.replace(limits, messages_a_minute=a_minute)
        super().__init__(*args, clock=MediaClock(PacedLoop.speed), limits=limits, **options)
        PacedLoop.current = self

    def depths(self) -> dict[str, int]:
        """What waits: all of it has to be next to nothing when nobody speaks."""
        return {
            "inbox": self._conversation._inbox.qsize(),
            "notices": self.notices.qsize(),
            "questions": self._responder._questions.qsize(),
            "speech_ms": round(self._stt._exchange.unsent_ms),
            "reply_samples": self._ring.buffered_samples,
            "events": max((len(each._events) for each in self.bus._subscriptions), default=0),
        }


def listen() -> None:
    """Take what is to be said from standard input."""
    for line in sys.stdin:
        number, ms = line.split()
        ASKED_FOR.append((int(number), int(ms)))
    os.kill(os.getpid(), signal.SIGTERM)  # whoever asked has gone


def tell_depths() -> None:
    """A line a second, until nobody reads them any more."""
    with open(DEPTHS_FD, "w", buffering=1, encoding="ascii") as out:
        while True:
            time.sleep(DEPTHS_S)
            if PacedLoop.current is not None:
                out.write(json.dumps(PacedLoop.current.depths()) + "\n")


if __name__ == "__main__":
    PacedLoop.speed = float(sys.argv[1])
    supervisor.VoiceLoop = PacedLoop  # type: ignore[misc]
    backends.SOURCES["device"] = lambda rest, *, rate_hz, frame_ms, channel, clock: TurnSource(
        rate_hz, frame_ms, clock
    )
    for work in (listen, tell_depths):
        threading.Thread(target=work, name=work.__name__, daemon=True).start()
    os.environ.setdefault("HOME", "/nonexistent")
    sys.exit(main(["run", "--events", "-", *sys.argv[2:]]))
