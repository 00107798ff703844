"""`file:PATH.wav` as a microphone and as a speaker, in real time.

Both keep to one `MediaClock`: sample k of either is the instant k / rate seconds after its
origin, so that a recording shows when what was heard.
"""

from __future__ import annotations

import threading

import numpy as np

from slng_edge.audio.media_clock import CloseFlag, MediaClock, SpeakerPacing
from slng_edge.audio.resampling import STORED, Resampler
from slng_edge.audio.wav_files import WavReader, WavWriter
from slng_edge.errors import AudioError, ConfigError, DeviceLost
from slng_edge.pcm import FrameSplitter, PcmFormat, Samples

_READ_AHEAD_S = 0.2


class WavSource:
    """A WAV file, heard as a microphone would hear it. Implements `Source`.

    A reader that comes late gets what it missed at once; nothing is lost. A second `open` goes on
    at the present moment: what was said while nobody listened is gone, as with a microphone.

    Args:
        path: PCM WAV file, any rate, any number of channels.
        rate_hz: Rate of what `read` returns.
        frame_ms: Length of a frame in milliseconds.
        channel: Which of the file's channels, from 0.
        clock: Its origin is the instant of sample 0.
    """

    def __init__(
        self, path: str, *, rate_hz: int, frame_ms: float, channel: int, clock: MediaClock
    ) -> None:
        self.name = f"file:{path}"
        self.rate_hz = rate_hz
        self.frame_samples = PcmFormat(rate_hz).samples(frame_ms)
        self.live = False
        self.overflows = 0
        self.idle = False
        self._path = path
        self._channel = channel
        self._clock = clock
        self._closed = CloseFlag()
        # Guards the open file: `close` may come while another thread reads it.
        self._lock = threading.Lock()
        self._reader: WavReader | None = None
        self._resampler = Resampler(rate_hz, rate_hz)
        self._splitter = FrameSplitter(self.frame_samples)
        self._ready: list[Samples] = []
        self._frames = 0
        self._opened_before = False

    def open(self) -> None:
        """Open the file and begin.

        Raises:
            InputFileError: it cannot be read.
            ConfigError: it has no channel of that number.
        """
        reader = WavReader(self._path)
        if not 0 <= self._channel < reader.channels:
            reader.close()
            raise ConfigError(
                f"audio.input_channel = {self._channel}: "
                f"{self._path} has {reader.channels} channel(s), counted from 0"
            )
        with self._lock:
            self._reader = reader
            self._resampler = Resampler(reader.rate_hz, self.rate_hz, STORED)
            self._splitter = FrameSplitter(self.frame_samples)
            self._ready.clear()
            self._frames = 0
            self._closed.clear()
        behind = int(self._clock.elapsed_s() * self.rate_hz) // self.frame_samples
        for _ in range(behind if self._opened_before else 0):
            if self._next_frame() is None:
                break
        self._opened_before = True

    def read(self) -> Samples | None:
        """The next frame, at the moment at which its last sample has been said.

        The last frame is padded with silence. None when the file has ended, and after `close`.

        Raises:
            InputFileError: reading failed.
        """
        frame = self._next_frame()
        if frame is None:
            return None
        end_s = self._frames * self.frame_samples / self.rate_hz
        return frame if self._clock.wait_until(end_s, self._closed) else None

    def close(self) -> None:
        """Close the file and end a waiting `read`; any thread, idempotent."""
        self._closed.set()
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
            self._ready.clear()

    def _next_frame(self) -> Samples | None:
        with self._lock:
            while not self._ready:
                if self._reader is None:
                    return None
                self._read_ahead(self._reader)
            self._frames += 1
            return self._ready.pop(0)

    def _read_ahead(self, reader: WavReader) -> None:
        piece = reader.read(max(1, int(reader.rate_hz * _READ_AHEAD_S)))
        if len(piece):
            samples = np.ascontiguousarray(piece[:, self._channel])
            self._ready += self._splitter.receive(self._resampler.receive(samples))
            return
        reader.close()
        self._reader = None
        self._ready += self._splitter.receive(self._resampler.end())
        last = self._splitter.end()
        if last is not None:
            self._ready.append(last)


class WavSink:
    """A WAV file that holds what a speaker would have sounded. Implements `Sink`.

    Sample k of the file sounds k / rate_hz seconds after the clock's origin. Where blocks come
    too late the speaker would have been silent: zeros are put in, and `underflows` counts them.

    Args:
        path: The file to write, 16-bit mono.
        rate_hz: Its rate, and that of the blocks.
        block_ms: Length of a block in milliseconds.
        buffer_ms: What stands in the device that it plays (two blocks at least): how far ahead of
            its sounding a block is taken.
        clock: Its origin is the instant of sample 0.
    """

    def __init__(
        self, path: str, *, rate_hz: int, block_ms: float, buffer_ms: float, clock: MediaClock
    ) -> None:
        self.name = f"file:{path}"
        self.rate_hz = rate_hz
        pcm = PcmFormat(rate_hz)
        self.block_samples = pcm.samples(block_ms)
        self.underflows = 0
        self.buffer_ms = max(buffer_ms, 2 * block_ms)
        self._path = path
        self._silence: Samples = np.zeros(rate_hz, dtype=np.int16)
        self._writer: WavWriter | None = None
        self._pacing = SpeakerPacing(
            clock,
            rate_hz=rate_hz,
            buffer_samples=pcm.samples(self.buffer_ms),
        )

    @property
    def latency_s(self) -> float:
        """Seconds from now until the last block written is heard."""
        return self._pacing.latency_s

    def open(self) -> None:
        """Make the file; one that exists is replaced.

        Raises:
            AudioError: it cannot be made; also when it is opened a second time, because that
                would throw the recording away.
        """
        if self._writer is not None:
            raise AudioError(f"{self._path} is already recorded into; give another output file")
        self._writer = WavWriter(self._path, self.rate_hz)

    def write(self, block: Samples) -> None:
        """Record `block`, then wait until there would be room for another of its length.

        Raises:
            AudioError: the disk is full, or refuses.
            DeviceLost: it was closed, or never opened.
        """
        if self._writer is None:
            raise DeviceLost(f"{self.name} is not open")
        gap = self._pacing.admit(len(block))
        self.underflows = self._pacing.underflows
        while gap > 0:
            self._writer.write(self._silence[:gap])
            gap -= len(self._silence)
        self._writer.write(block)
        self._pacing.wait_for_room(len(block))

    def close(self) -> None:
        """Complete the file; any thread, idempotent; ends a waiting `write`.

        Raises:
            AudioError: its length could not be written.
        """
        self._pacing.closed.set()
        if self._writer is not None:
            self._writer.close()
