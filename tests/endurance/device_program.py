"""`slng-edge run`, whole, on a clock that is played, with a microphone that says what it is told.

    python device_program.py -s gateway.url=... [run's other options]

A line `7 420` on standard input is voice 7, 420 ms long. Only the microphone and the pace of sound
differ from the service as it is installed.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from endurance.played_clock import played_media
from soak_service import TurnSource, listen

from slng_edge import voice_loop
from slng_edge.audio import backends
from slng_edge.audio.media_clock import CloseFlag, MediaClock
from slng_edge.cli import main
from slng_edge.service import supervisor

LOOK_S = 0.1
"""Sound may pass faster from one moment to the next: no wait for it is longer."""


class PlayedMediaClock(MediaClock):
    """Sound at the pace of the played clock's own line for it."""

    def __init__(self) -> None:
        self._began_s, _ = played_media()
        super().__init__()

    @property
    def speed(self) -> float:
        """Seconds of sound in a second of `time.monotonic()`, now."""
        return played_media()[1]

    @speed.setter
    def speed(self, value: float) -> None:
        """The page has it."""

    def elapsed_s(self) -> float:
        """Seconds of sound since the clock was made."""
        self.origin_s()
        return played_media()[0] - self._began_s

    def wait_until(self, position_s: float, closed: CloseFlag) -> bool:
        """See `MediaClock`."""
        while (left_s := position_s - self.elapsed_s()) > 0:
            if closed.wait(min(LOOK_S, left_s) / self.speed):
                return False
        return not closed.is_set()


class PlayedLoop(voice_loop.VoiceLoop):
    """The product's loop, with sound on that clock."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, clock=PlayedMediaClock(), **options)


if __name__ == "__main__":
    supervisor.VoiceLoop = PlayedLoop  # type: ignore[misc]
    backends.SOURCES["device"] = lambda rest, *, rate_hz, frame_ms, channel, clock: TurnSource(
        rate_hz, frame_ms, clock
    )
    threading.Thread(target=listen, name="listen", daemon=True).start()
    os.environ.setdefault("HOME", "/nonexistent")
    sys.exit(main(["--log-format", "json", "run", "--events", "-", *sys.argv[1:]]))
