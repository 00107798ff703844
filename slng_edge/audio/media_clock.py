"""One time line for the devices that are files: sample 0 of input and output is one instant.

A sound card paces its reader and writer; a file does not. `MediaClock` gives both ends of a
recording the same zero, and `SpeakerPacing` behaves like the buffer of an output device.
"""

from __future__ import annotations

import threading
import time

from slng_edge.errors import DeviceLost


class MediaClock:
    """Seconds since the first use by any of the devices that share it; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._origin_s: float | None = None

    def origin_s(self) -> float:
        """The `time.monotonic()` of sample 0; fixed by the first call."""
        with self._lock:
            if self._origin_s is None:
                self._origin_s = time.monotonic()
            return self._origin_s

    def elapsed_s(self) -> float:
        """Seconds since `origin_s`, which the first call fixes."""
        origin_s = self._origin_s
        return time.monotonic() - (self.origin_s() if origin_s is None else origin_s)

    def wait_until(self, position_s: float, closed: threading.Event) -> bool:
        """Wait until `position_s` seconds have passed since the origin, or `closed` is set.

        Returns:
            Whether the moment has come; False when `closed` was set.
        """
        remaining_s = position_s - self.elapsed_s()
        if remaining_s > 0:
            return not closed.wait(remaining_s)
        return not closed.is_set()


class SpeakerPacing:
    """Where an output device of `buffer_samples` would stand; one thread calls `admit`.

    The device sounds sample k at k / rate_hz seconds after the clock's origin. A buffer of less
    than two blocks would run dry whenever the writer is woken late, so it holds at least two.
    """

    def __init__(
        self, clock: MediaClock, *, rate_hz: int, block_samples: int, buffer_samples: int
    ) -> None:
        self._clock = clock
        self._rate_hz = rate_hz
        self._buffer_samples = max(buffer_samples, 2 * block_samples)
        self._position = 0
        self._started = False
        self.underflows = 0
        self.closed = threading.Event()

    @property
    def latency_s(self) -> float:
        """Seconds until the last sample that was admitted is heard; 0 when it was. Any thread."""
        return max(0.0, self._position / self._rate_hz - self._clock.elapsed_s())

    def admit(self, samples: int) -> int:
        """Wait until the device has room for `samples`, at most about a block, and count them in.

        Returns:
            Samples of silence that the device sounded before these, because it had run dry.

        Raises:
            DeviceLost: `closed` was set.
        """
        due = int(self._clock.elapsed_s() * self._rate_hz)
        gap = max(0, due - self._position)
        if gap and self._started:
            self.underflows += 1
        self._started = True
        self._position += gap
        room_at = self._position + samples - self._buffer_samples
        if not self._clock.wait_until(room_at / self._rate_hz, self.closed):
            raise DeviceLost("the output was closed")
        self._position += samples
        return gap
