"""WAV files: read as streams, written so that they are valid at every moment."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import struct
import threading
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from slng_edge.errors import AudioError, InputFileError
from slng_edge.pcm import SAMPLE_BYTES, Samples

log = logging.getLogger(__name__)

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_FORMAT_NAMES = {
    0x0002: "Microsoft ADPCM",
    _FLOAT: "floating point",
    0x0006: "A-law",
    0x0007: "mu-law",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 6.10",
    0x0050: "MPEG audio",
    0x0055: "MP3",
    0x00FF: "AAC",
}
_OTHER_FILES = (
    (b"ID3", "MP3"),
    (b"\xff\xfb", "MP3"),
    (b"fLaC", "FLAC"),
    (b"OggS", "Ogg"),
    (b"RF64", "RF64"),
    (b"RIFX", "big-endian RIFF"),
    (b"FORM", "AIFF"),
    (b".snd", "AU"),
)
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_NEVER_PATCHED = (0, 0xFFFFFFFF)
"""Data lengths that a writer to a pipe, or one that was killed, leaves behind."""
_LARGEST_DATA = 0xFFFFFFFF - _HEADER.size
_LONGEST_FORMAT = 40
"""What WAVE_FORMAT_EXTENSIBLE has; the rest of a longer one is of no use here."""
_PIECE_BYTES = 1 << 20


class WavReader:
    """The samples of a 16-, 24- or 32-bit PCM WAV file, in bounded memory. One thread.

    Attributes:
        rate_hz: Sample rate of the file.
        channels: Its number of channels.

    Raises:
        InputFileError: there is no such file, it is unreadable or empty, or its format is
            another one; the message names it and gives the line that converts it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.rate_hz = 0
        self.channels = 0
        self._sample_bytes = 0
        self._left: int | None = None
        self._file = _open_regular(path)
        try:
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> WavReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(self, frames: int) -> NDArray[np.int16]:
        """The next `frames` samples of every channel, shape (n, channels); n is less at the end.

        What is wider than 16 bits loses its lower bits. A file that ends before its header says
        so gives what it has; that is logged once.

        Raises:
            InputFileError: reading failed.
        """
        frame_bytes = self._sample_bytes * self.channels
        wanted = frames * frame_bytes
        if self._left is not None:
            wanted = min(wanted, self._left)
        data = self._take(wanted)
        if self._left is not None:
            if len(data) < wanted:
                missing_s = (self._left - len(data)) / frame_bytes / self.rate_hz
                log.warning("%s is cut short: its last %.1f s are missing", self.path, missing_s)
                self._left = len(data)
            self._left -= len(data)
        whole = len(data) // frame_bytes * frame_bytes
        return _decode(data[:whole], self._sample_bytes).reshape(-1, self.channels)

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def _take(self, size: int) -> bytes:
        # In pieces: `read` makes room first, and a header may announce gigabytes that are not here.
        pieces = []
        try:
            while size > 0 and (piece := self._file.read(min(size, _PIECE_BYTES))):
                pieces.append(piece)
                size -= len(piece)
        except OSError as error:
            raise InputFileError(f"cannot read {self.path}: {error.strerror}") from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_header(self) -> None:
        riff = self._take(12)
        if not riff:
            raise InputFileError(f"{self.path} is empty")
        if riff[:4] != b"RIFF" or (len(riff) == 12 and riff[8:] != b"WAVE"):
            raise InputFileError(_not_wav(self.path, riff))
        if len(riff) < 12:
            raise InputFileError(f"{self.path} ends within its WAV header")
        while True:
            head = self._take(8)
            if len(head) < 8:
                raise InputFileError(f"{self.path} ends within its WAV header: it holds no audio")
            kind, size = struct.unpack("<4sI", head)
            if kind == b"data":
                break
            size += size % 2  # Chunks begin at even offsets.
            if kind == b"fmt ":
                body = self._take(min(size, _LONGEST_FORMAT))
                self._read_format(body)
                size -= len(body)
            self._file.seek(size, os.SEEK_CUR)
        if not self.channels:
            raise InputFileError(f"{self.path} has audio, but no header that says in what format")
        self._left = None if size in _NEVER_PATCHED else size
        if os.fstat(self._file.fileno()).st_size <= self._file.tell():
            raise InputFileError(f"{self.path} holds no audio")

    def _read_format(self, body: bytes) -> None:
        if len(body) < 16:
            raise InputFileError(f"{self.path} ends within its WAV header")
        tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
        if tag == _EXTENSIBLE and len(body) >= 26:
            (tag,) = struct.unpack_from("<H", body, 24)
        if tag != _PCM:
            name = _FORMAT_NAMES.get(tag, f"format 0x{tag:04x}")
            raise InputFileError(_unsupported(self.path, name))
        if bits not in (16, 24, 32):
            raise InputFileError(_unsupported(self.path, f"{bits}-bit PCM"))
        if not channels or not rate_hz:
            raise InputFileError(f"{self.path}: its header says {channels} channels, {rate_hz} Hz")
        self.rate_hz, self.channels, self._sample_bytes = rate_hz, channels, bits // 8


def read_wav(path: str) -> tuple[int, int, NDArray[np.int16]]:
    """A whole WAV file: its rate in Hz, its channels, its samples of shape (n, channels).

    Raises:
        InputFileError: as `WavReader`.
    """
    pieces = []
    with WavReader(path) as reader:
        while len(piece := reader.read(1 << 16)):
            pieces.append(piece)
        rate_hz, channels = reader.rate_hz, reader.channels
    if not pieces:
        raise InputFileError(f"{path} holds no audio")
    return rate_hz, channels, np.concatenate(pieces)


class WavWriter:
    """A 16-bit mono WAV file that can be read at any moment, even when we are killed.

    Each second of audio, and at `close`, the length in the header is brought up to date; what is
    behind it readers ignore. Past 4 GiB (a day at 24 kHz) the header keeps the largest length.

    Raises:
        AudioError: the file cannot be made; the message has the path and the reason.
    """

    def __init__(self, path: str, rate_hz: int) -> None:
        self.path = path
        self.rate_hz = rate_hz
        self.samples_written = 0
        self._patched_at = 0
        # Guards the descriptor alone: closed under a write, its number could be another file's.
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115
            try:
                self._put(self._header())
            except OSError:
                self.discard()
                raise
        except OSError as error:
            raise self._failed(error) from error

    def write(self, samples: Samples) -> None:
        """Append `samples`; any thread; after `close` they are dropped.

        Raises:
            AudioError: the disk is full, or refuses.
        """
        with self._lock:
            if self._closed:
                return
            try:
                self._put(samples.astype("<i2", copy=False).tobytes())
                self.samples_written += len(samples)
                if self.samples_written - self._patched_at >= self.rate_hz:
                    self._patch()
            except OSError as error:
                raise self._failed(error) from error

    def sync(self) -> None:
        """Wait until the disk has what was written: it may fail as late as that. Any thread.

        Raises:
            AudioError: the disk does not take it.
        """
        with self._lock:
            try:
                if not self._closed and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                    self._patch()
                    os.fsync(self._file.fileno())
            except OSError as error:
                raise self._failed(error) from error

    def close(self) -> None:
        """Write the final length and close; idempotent, any thread.

        Raises:
            AudioError: the length could not be written.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                with self._file:  # closing may fail, too: of a quota, or of a network drive
                    self._patch()
            except OSError as error:
                raise self._failed(error) from error

    def discard(self) -> None:
        """Close and remove it, as half of a file would be taken for a whole one; any thread.

        What is no regular file, /dev/full for one, stays.
        """
        with self._lock:
            self._closed = True
            with contextlib.suppress(OSError):
                self._file.close()
        if os.path.isfile(self.path):
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def _patch(self) -> None:
        os.pwrite(self._file.fileno(), self._header(), 0)
        self._patched_at = self.samples_written

    def _header(self) -> bytes:
        size = min(self.samples_written * SAMPLE_BYTES, _LARGEST_DATA & ~1)
        byte_rate = self.rate_hz * SAMPLE_BYTES
        return _HEADER.pack(
            *(b"RIFF", size + _HEADER.size - 8, b"WAVE"),
            *(b"fmt ", 16, _PCM, 1, self.rate_hz, byte_rate, SAMPLE_BYTES, SAMPLE_BYTES * 8),
            *(b"data", size),
        )

    def _failed(self, error: OSError) -> AudioError:
        return AudioError(f"cannot write {self.path}: {error.strerror}")


def _open_regular(path: str) -> BinaryIO:
    try:
        # Without O_NONBLOCK opening a named pipe that nobody writes to waits for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputFileError(f"cannot read {path}: {error.strerror}") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise InputFileError(f"cannot read {path}: it is {what}")
    return os.fdopen(descriptor, "rb")


def _decode(data: bytes, sample_bytes: int) -> NDArray[np.int16]:
    if sample_bytes == SAMPLE_BYTES:
        return np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)
    # The two upper bytes of a little-endian integer are the 16 bits that count.
    wide = np.frombuffer(data, dtype=np.uint8).reshape(-1, sample_bytes)
    return np.ascontiguousarray(wide[:, -SAMPLE_BYTES:]).view("<i2").reshape(-1)


def _not_wav(path: str, start: bytes) -> str:
    found = next((name for magic, name in _OTHER_FILES if start.startswith(magic)), "")
    what = f"but {found}" if found else "whatever its name says"
    return f"{path} is not a WAV file, {what}. Convert it: {_ffmpeg(path)}"


def _unsupported(path: str, found: str) -> str:
    return f"{path} is {found}; 16-bit PCM is needed. Convert it: {_ffmpeg(path)}"


def _ffmpeg(path: str) -> str:
    stem = os.path.splitext(path)[0]
    return f"ffmpeg -i '{path}' -c:a pcm_s16le '{stem}-16bit.wav'"
