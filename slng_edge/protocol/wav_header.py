"""Takes a WAV header off the start of an audio stream.

The first chunk of a base64 stream can be a WAV header (protocol.md, 4): played as
audio it is a click, and the sample rate it names is the one that counts.

The sizes in it are not believed where audio begins: a header written before the
audio is known says 0 or the highest number, so all that follows `data` is audio.
"""

from __future__ import annotations

import struct

_PREAMBLE_BYTES = 12
_CHUNK_HEAD = struct.Struct("<4sI")
_FMT = struct.Struct("<HHIIHH")
_HEADER_LIMIT_BYTES = 65536
_PLAUSIBLE_RATES_HZ = range(4000, 192_001)
_FORMAT_PCM = 1
_FORMAT_EXTENSIBLE = 0xFFFE


class WavHeaderStripper:
    """Strips a RIFF/WAVE header at the start of a stream, however it is split.

    All else passes unchanged, and at once: bytes are held only while they may still
    be a header, 64 KiB of them and one message at most.

    Attributes:
        sample_rate_hz: what the last header said; None before the first one. A
            later utterance of the same socket may come without a header, so
            `reset` keeps it.
        unsupported: what is wrong with the format the header names ("2 channels",
            "32 bits a sample"), "" where it is 16-bit mono PCM or not known.
    """

    def __init__(self) -> None:
        self.sample_rate_hz: int | None = None
        self.unsupported = ""
        self._held: bytes | None = b""  # None once it is decided

    def reset(self) -> None:
        """A new utterance begins: its first bytes may be a header again; held bytes are dropped."""
        self._held = b""

    def receive(self, data: bytes) -> bytes:
        """The audio in `data`; b"" while it cannot be told from a header."""
        if self._held is None:
            return data
        held = self._held + data
        start = self._audio_start(held)
        if start is None:
            self._held = held
            return b""
        self._held = None
        return held[start:]

    def _audio_start(self, held: bytes) -> int | None:
        """Where audio begins in `held`, 0 where there is no header, None while undecided."""
        if not _may_be_preamble(held):
            return 0
        position = _PREAMBLE_BYTES
        format_at = None
        while len(held) >= position + _CHUNK_HEAD.size:
            name, size = _CHUNK_HEAD.unpack_from(held, position)
            position += _CHUNK_HEAD.size
            if name == b"data":
                if format_at is not None:
                    self._read_format(held, format_at)
                return position
            end = position + size + (size & 1)
            if end > _HEADER_LIMIT_BYTES:
                return 0
            if name == b"fmt " and size >= _FMT.size:
                format_at = position
            position = end
        return None

    def _read_format(self, held: bytes, position: int) -> None:
        tag, channels, rate_hz, _, _, bits = _FMT.unpack_from(held, position)
        problems = []
        if rate_hz in _PLAUSIBLE_RATES_HZ:
            self.sample_rate_hz = rate_hz
        else:
            problems.append(f"{rate_hz} Hz")
        if tag not in (_FORMAT_PCM, _FORMAT_EXTENSIBLE):
            problems.append(f"format {tag}")
        if channels != 1:
            problems.append(f"{channels} channels")
        if bits != 16:
            problems.append(f"{bits} bits a sample")
        self.unsupported = ", ".join(problems)


def _may_be_preamble(held: bytes) -> bool:
    return b"RIFF".startswith(held[:4]) and b"WAVE".startswith(held[8:_PREAMBLE_BYTES])
