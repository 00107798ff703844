"""Microphones and speakers of the system, through PortAudio.

How a device is waited for. A blocking read or write of PortAudio waits without a limit: on a
sound server that is suspended or hangs it never returns, and closing the stream from another
thread meanwhile crashes the process. A callback goes quiet in the same case, costs a thread switch
and half as much CPU again. So we ask how much there is, sleep for as long as the rest
takes, and call only what cannot block. Measured through PulseAudio, 20 ms blocks, CPU
seconds a minute, one direction: blocking 0.5, this 0.5, callback 0.8-1.2.

All that a device has is read each time. A fragment left half read keeps a block of the
server's memory locked, and libpulse waits for it for ever when the server dies.

What comes after a stall. ALSA's buffer (60 ms) is only the window through which libpulse shows its
queue, which holds minutes: a process or a sound server that stood still for 5 s finds 5 s there,
60 ms at a time, without a sign of an overflow. A reader that waits after each piece as long as the
piece lasts stays those 5 s late for good. So we read on at once until nothing is left, whenever a
read brought more than was due or the clock says that more must be there. `KEPT_S` of it are given
on in a burst: nothing is lost of what somebody says across a short stall. Older sound is dropped.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator

import numpy as np

from slng_edge.audio.media_clock import ArrivalMeter
from slng_edge.audio.pyaudio_backend import HOST, DeviceStream, Opened, Request, words_of
from slng_edge.audio.resampling import Resampler
from slng_edge.errors import DeviceLost
from slng_edge.pcm import FrameSplitter, PcmFormat, Samples

log = logging.getLogger(__name__)

STALL_S = 1.5
"""A device that delivers or takes nothing for so long is lost: 30 times its period and more."""
_FIRST_STALL_S = 4.0
"""Right after opening: a suspended Bluetooth or USB device takes seconds to wake up."""
KEPT_S = 2.0
"""Most sound that is given on at once after a stall: longer, and the answer would come to words
that are no longer meant."""
_MORE = 1.25
"""A read that brings so many times what was due shows that there may be more."""
_LEAST_PIECE_S = 0.005
"""A sound card's sample counter runs on while we read: a piece below this ends the reading on."""
_NOTICED_SLEEP_S = 0.1
"""A sleep of 1 ms that took longer was a stall of ours, not the device's; so much of it counts."""
_POLL_S = 0.001
_EARLY_S = 0.0002
"""How much sooner than the last time we look: finds the moment, and follows its drift."""
_PERIODS = 3
"""PortAudio's ALSA buffer is this many times `frames_per_buffer` (measured, see the tests)."""


class _Stream:
    """What a source and a sink have in common: one stream, opened, asked and closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lost_because = ""
        # Held for calls that do not block, so that nothing closes a stream under them.
        self._lock = threading.Lock()
        self._stream: DeviceStream | None = None
        self._closed = True
        self._due_s = 0.0
        self._waited_s = 0.0
        self._stall_s = _FIRST_STALL_S

    def close(self) -> None:
        """Close the device; any thread, idempotent; waits at most 5 s.

        A read or write that waits ends within a block. Where the sound system does not answer, the
        stream is left to it, and that is logged.
        """
        self._closed = True
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            HOST.close(self, stream)
        except DeviceLost as error:
            log.warning("%s", error)

    def _open(self, request: Request) -> Opened:
        self.close()
        self.lost_because = ""
        opened = HOST.open(self, request)
        with self._lock:
            self._stream = opened.stream
        self._closed = False
        self._due_s = 0.0
        self._waited_s = 0.0
        self._stall_s = _FIRST_STALL_S
        return opened

    @contextlib.contextmanager
    def _device(self) -> Iterator[DeviceStream]:
        """The open stream, for a call that does not block; its errors become `DeviceLost`."""
        with self._lock:
            if self.lost_because:
                raise DeviceLost(f'"{self.name}": {self.lost_because}')
            if self._stream is None:
                raise DeviceLost(f'"{self.name}" is not open')
            try:
                yield self._stream
            except OSError as error:
                raise DeviceLost(f'"{self.name}" is gone: {words_of(error)}') from error

    def _sleep(self) -> None:
        """Sleep until something may have moved; at most a period."""
        now = time.monotonic()
        if now < self._due_s:
            time.sleep(self._due_s - now)
        elif self._waited_s > self._stall_s:
            raise DeviceLost(f'"{self.name}" has stalled: nothing moved for {self._stall_s:g} s')
        else:
            time.sleep(_POLL_S)
            self._waited_s += min(time.monotonic() - now, _NOTICED_SLEEP_S)

    def _moved(self, next_s: float) -> None:
        """Note that the device delivered or took something, and will again after `next_s`."""
        self._waited_s = 0.0
        self._stall_s = STALL_S
        self._due_s = time.monotonic() + next_s - _EARLY_S


class PyAudioSource(_Stream):
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
        self._ready: deque[Samples] = deque()
        self._aligned = False
        self._small_buffer = False
        self._count = 0
        self._piece_s = self._expected_s = frame_ms / 1000

    def open(self) -> None:
        """Open the device and start it; takes 0.2 s, at most 16.

        Raises:
            DeviceNotFound: there is no device of that name now.
            FormatUnsupported: it opens at no rate that we can convert from.
            DeviceLost: it is busy, not allowed, or the sound system does not answer.
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


class PyAudioSink(_Stream):
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
        """Open the device and start it; takes 0.2 s, at most 16.

        Raises:
            DeviceNotFound: there is no device of that name now.
            FormatUnsupported: it opens at no rate that we can convert to.
            DeviceLost: it is busy, not allowed, or the sound system does not answer.
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
        if self._limit < self._capacity:
            # A device starts when its buffer is full. From then on it is not filled up again.
            self._put(np.zeros(self._capacity, dtype=np.int16))
            self._room, self._filled = 0, True
        log.debug(
            "%s: %d Hz, %d channel(s), buffer %d of %d samples",
            *(self.name, self._native_hz, self._channels, self._limit, self._capacity),
        )

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
