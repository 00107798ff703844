"""A speaker of the system, through PortAudio."""

from __future__ import annotations

import logging
import time

import numpy as np

from slng_edge.audio.device_stream import DeviceUser
from slng_edge.audio.pyaudio_backend import Request
from slng_edge.audio.resampling import Resampler
from slng_edge.errors import DeviceLost
from slng_edge.pcm import PcmFormat, Samples

log = logging.getLogger(__name__)

_PERIODS = 3
"""PortAudio's ALSA buffer is this many times `frames_per_buffer` (measured, see the tests)."""


class PyAudioSink(DeviceUser):
    """A speaker. Implements `Sink`.

    What stands in the device is `output_buffer_ms` at most, two blocks at least: PortAudio's
    buffer is asked for in that size. Where the driver insists on a larger one, only two thirds
    are used, which are two of its periods: with less it runs dry.

    Args:
        name: From `slng-edge devices`, or "default".
        rate_hz: Rate that `write` takes.
        block_ms: Length of a block in milliseconds.
        output_buffer_ms: What may stand in the device.
    """

    def __init__(
        self, name: str, *, rate_hz: int, block_ms: float, output_buffer_ms: float
    ) -> None:
        super().__init__(name)
        self.rate_hz = rate_hz
        self.block_samples = PcmFormat(rate_hz).samples(block_ms)
        self.underflows = 0
        self._block_ms = block_ms
        self.buffer_ms = max(output_buffer_ms, 2 * block_ms)
        self._period_ms = self.buffer_ms / _PERIODS
        self._native_hz = rate_hz
        self._channels = 1
        self._resampler = Resampler(rate_hz, rate_hz)
        self._capacity = 0
        self._limit = 0
        self._room = 0
        self._room_at_s = 0.0
        self._period = 1
        self._filled = False
        self._dry = False

    @property
    def latency_s(self) -> float:
        """Seconds from now until the last sample written is heard, as far as PortAudio knows."""
        standing_s = (self._limit - self._room) / self._native_hz
        passed_s = time.monotonic() - self._room_at_s
        return max(0.0, standing_s - passed_s) + self._resampler.pending_s

    def open(self) -> None:
        """Open the device and start it; returns when it plays, silence for now.

        It takes 0.2 s, at most 20; where the sound system answers, 4.3.

        Raises:
            DeviceNotFound: there is no device of that name now.
            FormatUnsupported: it opens at no rate that we can convert to.
            DeviceLost: it is busy, not allowed, takes nothing, or the sound system does not answer.
            MissingLibrary: PyAudio, or soxr to resample with, is not installed.
        """
        opened = self._open(Request(self.name, True, self.rate_hz, 1, self._period_ms))
        self._native_hz, self._channels = opened.rate_hz, opened.channels
        self._resampler = Resampler(self.rate_hz, self._native_hz)
        with self._device() as stream:
            self._capacity = max(1, stream.get_write_available())
        wanted = PcmFormat(self._native_hz).samples(self.buffer_ms)
        # A device takes a period at a time: with less than two in it, it runs dry.
        self._limit = min(self._capacity, max(wanted, 2 * self._capacity // _PERIODS))
        self._period = max(1, self._limit // _PERIODS)
        self._room, self._room_at_s = self._limit, time.monotonic()
        self._filled = self._dry = False
        log.debug(
            "%s: %d Hz, %d channel(s), buffer %d of %d samples",
            *(self.name, self._native_hz, self._channels, self._limit, self._capacity),
        )
        try:
            self._start()
        except DeviceLost:
            self.close()
            raise
        self._has_started()

    def write(self, block: Samples) -> None:
        """Hand over `block`, then wait until there is room for another of its length.

        It waits `STALL_S` at most. In this order, so that the caller decides what the next block
        is when it can be taken: an interruption is then heard a block sooner.

        Raises:
            DeviceLost: the device went away, takes nothing any more, or was closed.
        """
        samples = self._resampler.receive(block)
        if self._has_run_dry() and len(samples):
            # Whole blocks leave so much of the buffer empty. Without it the device would run dry
            # again and again: 40 ms of silence in 60 ms are due when one period is left.
            left = max(0, self._limit - len(samples)) % len(samples)
            samples = np.concatenate((np.zeros(left, dtype=np.int16), samples))
        at = 0
        while at < len(samples):
            # A resampler gives in bursts; no single one may be more than the buffer holds.
            piece = samples[at : at + self._limit]
            self._wait_for_room(len(piece))
            self._put(piece)
            at += len(piece)
        if len(samples):
            needed = -(-len(block) * self._native_hz // self.rate_hz)
            self._wait_for_room(min(needed, self._limit))

    def _start(self) -> None:
        """Fill the buffer, since a device starts when it is full, and wait until it plays.

        A sound server takes the first buffer at once, be its device suspended or not. What it
        takes of the second one has been played. From then on a buffer that is larger than our
        limit is not filled up again.
        """
        before = self.underflows
        silence: Samples = np.zeros(self._capacity, dtype=np.int16)
        self._put(silence)
        self._room = 0
        for at in range(0, self._capacity, self._limit):
            piece = silence[at : at + self._limit]
            self._wait_for_room(len(piece))
            self._put(piece)
        self._wait_for_room(1)
        self.underflows, self._filled, self._dry = before, True, False

    def _wait_for_room(self, count: int) -> None:
        while self._room < count:
            if time.monotonic() < self._due_s:
                self._sleep()
            room = self._look()
            if room > self._room:
                self._room, self._room_at_s = room, time.monotonic()
                missing = count - room if room < count else max(count, self._period)
                self._moved(0.0 if self._dry else missing / self._native_hz)
            if room < count:
                self._sleep()

    def _has_run_dry(self) -> bool:
        """Whether nothing stands in the device since something did, found out here or before."""
        standing_s = (self._limit - self._room) / self._native_hz
        if self._filled and time.monotonic() - self._room_at_s > standing_s:
            # The caller came late. Nobody has looked since there was something in it.
            self._room = max(self._room, self._look())
            self._room_at_s = time.monotonic()
        dry, self._dry = self._dry, False
        return dry

    def _look(self) -> int:
        """Samples for which there is room now; counts an underflow where it is all of it."""
        with self._device() as stream:
            available = stream.get_write_available()
        if available < 0:
            raise DeviceLost(f'"{self.name}" is gone: PortAudio error {available}')
        room = min(self._limit, available - (self._capacity - self._limit))
        if room >= self._limit and self._filled:
            self.underflows += 1
            self._filled = False
            self._dry = True
            # A sound server takes a period at once where it starts anew: look sooner than due.
            self._due_s = 0.0
        return room

    def _put(self, piece: Samples) -> None:
        out = piece if self._channels == 1 else np.repeat(piece, self._channels)
        with self._device() as stream:
            stream.write(out.tobytes(), len(piece), exception_on_underflow=False)
        self._room -= len(piece)
        self._filled = self._filled or self._room < self._limit // 2
