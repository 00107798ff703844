"""One time line for the devices that are files: sample 0 of input and output is one instant.

A sound card paces its reader and writer; a file does not. `MediaClock` gives both ends of a
recording the same zero, and `SpeakerPacing` behaves like the buffer of an output device.
"""

from __future__ import annotations

import threading
import time

from slng_edge.errors import DeviceLost


class CloseFlag:
    """What `close` sets and a waiting thread looks at; any thread.

    It is a `threading.Event` whose `wait` costs half as much: 45 instead of 80 µs with the
    wake-up, fifty times a second and device. An event makes a lock for each wait.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._gate = threading.Lock()
        self._gate.acquire()
        self._is_set = False

    def set(self) -> None:
        """Set the flag and end every wait; idempotent."""
        with self._guard:
            if not self._is_set:
                self._is_set = True
                self._gate.release()

    def clear(self) -> None:
        """Take the flag back; idempotent."""
        with self._guard:
            if self._is_set:
                self._gate.acquire()
                self._is_set = False

    def is_set(self) -> bool:
        """Whether the flag is set."""
        return self._is_set

    def wait(self, timeout_s: float) -> bool:
        """Wait until the flag is set, at most `timeout_s`; whether it is."""
        if self._gate.acquire(timeout=timeout_s):
            self._gate.release()
        return self._is_set


class MediaClock:
    """Seconds since the first use by any of the devices that share it; any thread.

    Args:
        speed: Seconds of media in a second: a soak test lets hours of conversation pass in
            minutes, a slow emulator needs more time for one. Files and `null` follow it; sound
            devices, networks and deadlines do not.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._lock = threading.Lock()
        self._origin_s: float | None = None

    def origin_s(self) -> float:
        """The `time.monotonic()` of sample 0; fixed by the first call."""
        with self._lock:
            if self._origin_s is None:
                self._origin_s = time.monotonic()
            return self._origin_s

    def elapsed_s(self) -> float:
        """Seconds of media since `origin_s`, which the first call fixes."""
        origin_s = self._origin_s
        return (time.monotonic() - (self.origin_s() if origin_s is None else origin_s)) * self.speed

    def wait_until(self, position_s: float, closed: CloseFlag) -> bool:
        """Wait until `position_s` seconds of media have passed, or `closed` is set.

        Returns:
            Whether the moment has come; False when `closed` was set.
        """
        remaining_s = position_s - self.elapsed_s()
        if remaining_s > 0:
            return not closed.wait(remaining_s / self.speed)
        return not closed.is_set()


class SpeakerPacing:
    """Where an output device of `buffer_samples` would stand; one thread writes.

    The device sounds sample k at k / rate_hz seconds of media after the clock's origin.
    """

    def __init__(self, clock: MediaClock, *, rate_hz: int, buffer_samples: int) -> None:
        self._clock = clock
        self._rate_hz = rate_hz
        self._buffer_samples = buffer_samples
        self._position = 0
        self._started = False
        self.underflows = 0
        self.closed = CloseFlag()

    @property
    def latency_s(self) -> float:
        """Seconds until the last sample that was admitted is heard; 0 when it was. Any thread."""
        ahead_s = self._position / self._rate_hz - self._clock.elapsed_s()
        return max(0.0, ahead_s / self._clock.speed)

    def admit(self, samples: int) -> int:
        """Count `samples` in as handed over at this moment; never waits.

        Returns:
            Samples of silence that the device sounded before these, because it had run dry.

        Raises:
            DeviceLost: `closed` was set.
        """
        if self.closed.is_set():
            raise DeviceLost("the output was closed")
        due = int(self._clock.elapsed_s() * self._rate_hz)
        gap = max(0, due - self._position)
        if gap and self._started:
            self.underflows += 1
        self._started = True
        self._position += gap + samples
        return gap

    def wait_for_room(self, samples: int) -> None:
        """Wait until the device has room for `samples`.

        Raises:
            DeviceLost: `closed` was set.
        """
        room_at = self._position + samples - self._buffer_samples
        if not self._clock.wait_until(room_at / self._rate_hz, self.closed):
            raise DeviceLost("the output was closed")


class ArrivalMeter:
    """Notices that a microphone delivers less than real time, which drivers do not report.

    Samples may come late and all at once; they are lost only if the delay stays. So what counts
    is the least delay within a second, compared with the least so far. The latter may creep up by
    1 ms a second, more than any two crystals differ. One thread.
    """

    LOST_S = 0.1
    _WINDOW_S = 1.0
    _CREEP = 0.001

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._start_s: float | None = None
        self._samples = 0
        self._window_end_s = 0.0
        self._least_s = float("inf")
        self._baseline_s = float("inf")

    def behind(self, now: float) -> bool:
        """Whether more than `LOST_S` has yet to come at `now` (monotonic seconds), or is lost.

        True before the first samples, whose age nobody knows.
        """
        if self._start_s is None:
            return True
        late_s = now - self._start_s - self._samples / self._rate_hz
        return late_s > min(self._baseline_s, self._least_s) + self.LOST_S

    def receive(self, samples: int, now: float) -> bool:
        """Count `samples` that came at `now` (monotonic seconds); whether some were lost."""
        if self._start_s is None:
            self._start_s = now
            self._window_end_s = now + self._WINDOW_S
        self._samples += samples
        late_s = now - self._start_s - self._samples / self._rate_hz
        self._least_s = min(self._least_s, late_s)
        if now < self._window_end_s:
            return False
        lost = self._least_s > self._baseline_s + self.LOST_S
        self._baseline_s = (
            self._least_s if lost else min(self._least_s, self._baseline_s + self._CREEP)
        )
        self._least_s = float("inf")
        self._window_end_s = now + self._WINDOW_S
        return lost
