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
from slng_edge.audio.media_clock import CloseFlag, MediaClock
from slng_edge.cli import main
from slng_edge.pcm import PcmFormat, Samples
from slng_edge.protocol.tier_limits import TIER_LIMITS
from slng_edge.service import supervisor

DEPTHS_FD = 3
DEPTHS_S = 1.0


class TurnSource:
    """Silence, and the voices that are asked for. Implements `Source`."""

    name = "turns"

    def __init__(self, rate_hz: int, frame_ms: float, clock: MediaClock) -> None:
        self.rate_hz = rate_hz
        self.frame_samples = PcmFormat(rate_hz).samples(frame_ms)
        self.live = True
        self.overflows = 0
        self.idle = False
        self._clock = clock
        self._closed = CloseFlag()
        self._frames = 0
        self._silence = np.zeros(self.frame_samples, dtype=np.int16)
        self._rest: Samples = self._silence[:0]

    def open(self) -> None:
        """Start at the present moment."""
        self._closed.clear()
        self._frames = int(self._clock.elapsed_s() * self.rate_hz) // self.frame_samples

    def read(self) -> Samples | None:
        """The next frame; None after `close`."""
        self._frames += 1
        if not self._clock.wait_until(
            self._frames * self.frame_samples / self.rate_hz, self._closed
        ):
            return None
        if not len(self._rest) and ASKED_FOR:
            number, ms = ASKED_FOR.popleft()
            self._rest = labelled_voice(number, ms)
        if not len(self._rest):
            return self._silence
        frame, self._rest = self._rest[: self.frame_samples], self._rest[self.frame_samples :]
        return np.pad(frame, (0, self.frame_samples - len(frame)))

    def close(self) -> None:
        """End a waiting `read`."""
        self._closed.set()


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
