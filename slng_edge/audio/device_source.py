"""A microphone of the system, through PortAudio.

All that a device has is read each time. A fragment left half read keeps a block of the
server's memory locked, and libpulse waits for it for ever when the server dies.

What comes after a stall. ALSA's buffer (60 ms) is only the window through which libpulse shows its
queue, which holds minutes: a process or a sound server that stood still for 5 s finds 5 s there,
60 ms at a time, without a sign of an overflow. A reader that waits after each piece as long as the
piece lasts stays those 5 s late for good. So we read on at once until nothing is left, whenever a
read brought more than was due or the clock says that more must be there. `KEPT_S` of it are given
on in a burst: nothing is lost of what somebody says across a short stall. Older sound is dropped.

A microphone that gives nothing but zeros is told in the log. One that never did so before
(`device_zeros`) is lost, and is open again when it gives something else.
"""

from __future__ import annotations

import logging
import time
from collections import deque

import numpy as np

from slng_edge.audio.device_stream import FIRST_STALL_S, DeviceUser
from slng_edge.audio.device_zeros import ZEROS_S, ZeroWatch
from slng_edge.audio.media_clock import ArrivalMeter
from slng_edge.audio.pyaudio_backend import Request
from slng_edge.audio.resampling import Resampler
from slng_edge.errors import DeviceLost
from slng_edge.pcm import FrameSplitter, PcmFormat, Samples

log = logging.getLogger(__name__)

KEPT_S = 2.0
"""Most sound that is given on at once after a stall: longer, and the answer would come to words
that are no longer meant."""
_MORE = 1.25
"""A read that brings so many times what was due shows that there may be more."""
_LEAST_PIECE_S = 0.005
"""A sound card's sample counter runs on while we read: a piece below this ends the reading on."""

_READY_FRAMES = 25
"""Of what comes while it is waited for something else than zeros: what is said begins in these."""

_watches: dict[tuple[str, int], ZeroWatch] = {}
"""By device and channel: a lost device is opened again by another source."""


class PyAudioSource(DeviceUser):
    """A microphone. Implements `Source`.

    The device is opened at `rate_hz` where it has that, else at a rate of its own and resampled
    (`LIVE` in resampling.py: 11 ms later on average). Frames are exact whatever the driver's
    periods are.

    Args:
        name: From `slng-edge devices`, or "default".
        rate_hz: Rate of what `read` returns.
        frame_ms: Length of a frame in milliseconds.
        channel: Which channel of the device, from 0.
    """

    def __init__(self, name: str, *, rate_hz: int, frame_ms: float, channel: int = 0) -> None:
        super().__init__(name)
        self.rate_hz = rate_hz
        self.frame_samples = PcmFormat(rate_hz).samples(frame_ms)
        self.live = True
        self.overflows = 0
        self.idle = False
        self.gaps = 0
        """Times that the frame which was read next did not belong to the one before."""
        self._frame_ms = frame_ms
        self._channel = channel
        self._channels = 1
        self._native_hz = rate_hz
        self._resampler = Resampler(rate_hz, rate_hz)
        self._splitter = FrameSplitter(self.frame_samples)
        self._arrivals = ArrivalMeter(rate_hz)
        self._watch = _watches.setdefault((name, channel), ZeroWatch())
        self._zeros_told = False
        self._ready: deque[Samples] = deque()
        self._aligned = False
        self._small_buffer = False
        self._count = 0
        self._piece_s = self._expected_s = frame_ms / 1000

    def open(self) -> None:
        """Open the device and start it; returns when sound comes, or after `close`.

        It takes 0.2 s, at most 20; where the sound system answers, 4.3.

        Raises:
            DeviceNotFound: there is no device of that name now.
            FormatUnsupported: it opens at no rate that we can convert from.
            DeviceLost: it is busy, not allowed, gives nothing, or the sound system does not answer.
            ConfigError: it has no channel of that number.
            MissingLibrary: PyAudio, or soxr to resample with, is not installed.
        """
        request = Request(self.name, False, self.rate_hz, self._channel + 1, self._frame_ms)
        opened = self._open(request)
        self._native_hz, self._channels = opened.rate_hz, opened.channels
        self._restart_frames()
        self._arrivals = ArrivalMeter(self._native_hz)
        self._ready.clear()
        self._aligned = self._small_buffer = False
        self._piece_s = self._expected_s = self._frame_ms / 1000
        log.debug("%s: %d Hz, %d channel(s)", self.name, self._native_hz, self._channels)
        try:
            self._wait_for_sound()
        except DeviceLost:
            self.close()
            raise
        self._has_started()

    def read(self) -> Samples | None:
        """The next frame; waits about a frame for it, at most `STALL_S`.

        None after `close`.

        Raises:
            DeviceLost: the device went away, or delivers nothing any more.
        """
        while not self._closed:
            if self._ready:
                return self._ready.popleft()
            try:
                data = self._take()
                if not data:
                    self._sleep()
            except DeviceLost:
                if self._closed:
                    return None
                raise
            if data:
                self._receive(data)
        return None

    @property
    def only_zeros(self) -> bool:
        """Whether nothing but zeros has come so far, for `ZEROS_S` at least. Any thread."""
        return not self._watch.ever_sounded and self._watch.zeros_s >= ZEROS_S

    def _wait_for_sound(self) -> None:
        """Wait until something comes: of a microphone that gave zeros, something else than these.

        The last half second of that is read afterwards: what is being said begins there.
        """
        until_s = time.monotonic() + FIRST_STALL_S
        while not self._closed and (self._watch.dead or not self._aligned):
            if self._aligned and time.monotonic() > until_s:
                raise DeviceLost(f'"{self.name}" gives nothing but zeros: muted, or dead')
            data = self._take()
            if data:
                self._receive(data)
            else:
                self._sleep()
            while len(self._ready) > _READY_FRAMES:
                self._ready.popleft()  # zeros

    def _look_for_zeros(self, samples: Samples) -> None:
        watch, was_dead = self._watch, self._watch.dead
        watch.receive(len(samples) / self._native_hz, zeros=not samples.any())
        if watch.dead and not was_dead:
            raise DeviceLost(f'"{self.name}" gives nothing but zeros: muted, or dead')
        if self.only_zeros and not self._zeros_told:
            self._zeros_told = True
            log.warning(
                "%s: nothing but zeros since it was opened; is it muted, or the wrong channel? "
                "(with a noise gate that is so until somebody speaks)",
                self.name,
            )

    def _take(self) -> bytes:
        """All that stands in the device and behind it; empty where nothing is due."""
        if time.monotonic() < self._due_s:
            return b""
        data = self._read_available()
        a_second = self._native_hz * self._channels * 2
        now = time.monotonic()
        if not data or (
            len(data) <= _MORE * self._expected_s * a_second and not self._arrivals.behind(now)
        ):
            return data
        pieces = [data]
        while len(data) >= _LEAST_PIECE_S * a_second:
            data = self._read_available()
            pieces.append(data)
        return b"".join(pieces)

    def _read_available(self) -> bytes:
        with self._device() as stream:
            available = stream.get_read_available()
            if available > 0:
                return stream.read(available, exception_on_overflow=False)
        if available < 0:
            raise DeviceLost(f'"{self.name}" is gone: PortAudio error {available}')
        return b""

    def _receive(self, data: bytes) -> None:
        samples = np.frombuffer(data, dtype=np.int16)
        if self._channels > 1:
            samples = np.ascontiguousarray(samples[self._channel :: self._channels])
        count = len(samples)
        self._look_for_zeros(samples)
        if self._arrivals.receive(count, time.monotonic()):
            self.overflows += 1
            self._small_buffer = True
        kept = int(KEPT_S * self._native_hz)
        if self._aligned and count > kept:
            self.overflows += 1
            self.gaps += 1
            lost_s = (count - kept) / self._native_hz
            log.warning("%s: stood still, %.1f s of sound dropped", self.name, lost_s)
            samples = samples[count - kept :]
            self._restart_frames()
        if not self._aligned:
            # The first fragment is a piece of a period. With it, each frame would wait for the
            # first samples of the next period.
            self._aligned = True
            samples = samples[:0]
        resampled = self._resampler.receive(samples)
        self._ready.extend(self._splitter.receive(resampled))
        self._count += len(resampled)
        missing = self.frame_samples - self._count % self.frame_samples
        if self.idle and not self._small_buffer:
            # A driver with a small buffer overflows, once, and is asked every frame from then on.
            self._expected_s = missing / self.rate_hz + self._frame_ms / 1000
        else:
            # Grows slowly: what came late came in a larger piece than the device's own.
            self._piece_s = min(count / self._native_hz, 1.1 * self._piece_s)
            self._expected_s = max(self._piece_s, missing / self.rate_hz)
        self._moved(self._expected_s)

    def _restart_frames(self) -> None:
        self._resampler = Resampler(self._native_hz, self.rate_hz)
        self._splitter = FrameSplitter(self.frame_samples)
        self._count = 0
