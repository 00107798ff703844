"""A WAV header at the start of a stream is taken off, wherever messages cut it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.protocol.wav_header import WavHeaderStripper

PCM = bytes(range(1, 201))


def chunk(name: bytes, payload: bytes) -> bytes:
    """A RIFF chunk, padded to an even length."""
    return name + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) & 1)


def fmt(rate_hz: int = 22050, *, tag: int = 1, channels: int = 1, bits: int = 16) -> bytes:
    """A `fmt ` chunk."""
    frame = channels * bits // 8
    fields = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * frame % 2**32, frame, bits)
    return chunk(b"fmt ", fields)


def header(*chunks: bytes, data_size: int = 0) -> bytes:
    """A WAV header up to the first sample; streams write any size."""
    return b"RIFF\xff\xff\xff\xffWAVE" + b"".join(chunks) + b"data" + struct.pack("<I", data_size)


HEADERS = {
    "plain": header(fmt()),
    "size of a stream": header(fmt(), data_size=0xFFFFFFFF),
    "LIST before data": header(fmt(), chunk(b"LIST", b"INFOISFT" + b"x" * 27)),
    "extensible": header(chunk(b"fmt ", fmt(tag=0xFFFE)[8:] + b"\0" * 24)),
    "chunk before fmt": header(chunk(b"JUNK", b"\0" * 28), fmt()),
}


@pytest.mark.parametrize("head", HEADERS.values(), ids=HEADERS.keys())
@pytest.mark.parametrize("step", [1, 3, 7, 44, 10_000])
def test_a_header_is_stripped_however_it_is_split(head: bytes, step: int) -> None:
    """Only the samples come out, and the sample rate is known."""
    stripper = WavHeaderStripper()
    stream = head + PCM
    parts = [stripper.receive(stream[at : at + step]) for at in range(0, len(stream), step)]
    assert b"".join(parts) == PCM
    assert stripper.sample_rate_hz == 22050
    assert stripper.unsupported == ""


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=10))
def test_what_is_no_header_passes_unchanged(parts: list[bytes]) -> None:
    """Raw audio comes out byte for byte, and says nothing of its format."""
    stripper = WavHeaderStripper()
    out = b"".join(stripper.receive(part) for part in [*parts, PCM])
    assert out == b"".join([*parts, PCM])
    assert stripper.sample_rate_hz is None
    assert stripper.unsupported == ""


def test_raw_audio_is_not_held() -> None:
    """One byte that no header begins with is enough to decide."""
    stripper = WavHeaderStripper()
    assert stripper.receive(b"") == b""
    assert stripper.receive(b"\x01") == b"\x01"
    assert stripper.receive(b"RIFF") == b"RIFF"


@pytest.mark.parametrize("start", [b"R", b"RIF", b"RIFF1234", b"RIFF1234WAV"])
def test_audio_that_begins_like_a_header_is_held_and_given_back(start: bytes) -> None:
    """As soon as the bytes cannot be a header any more, all of them come out."""
    stripper = WavHeaderStripper()
    assert stripper.receive(start) == b""
    assert stripper.receive(b"xyz!") == start + b"xyz!"


def test_a_header_is_looked_for_only_at_the_start() -> None:
    """The same bytes later in the stream are audio."""
    stripper = WavHeaderStripper()
    stripper.receive(PCM)
    assert stripper.receive(HEADERS["plain"]) == HEADERS["plain"]


def test_a_new_utterance_may_bring_a_header_again() -> None:
    """After reset a header is stripped again, and the rate stays known until a new one is."""
    stripper = WavHeaderStripper()
    stripper.receive(header(fmt(16000)) + PCM)
    stripper.reset()
    assert stripper.sample_rate_hz == 16000
    assert stripper.receive(header(fmt(24000)) + PCM) == PCM
    assert stripper.sample_rate_hz == 24000


def test_reset_forgets_held_bytes() -> None:
    """Bytes of an utterance that was given up do not reach the next."""
    stripper = WavHeaderStripper()
    assert stripper.receive(b"RIFF") == b""
    stripper.reset()
    assert stripper.receive(PCM) == PCM


def test_a_header_cut_short_is_no_audio() -> None:
    """A stream that ends inside its header ends without audio."""
    stripper = WavHeaderStripper()
    assert stripper.receive(HEADERS["plain"][:30]) == b""
    assert stripper.sample_rate_hz is None


LONGEST_CHUNK = 65536 - len(b"RIFF\0\0\0\0WAVELIST\0\0\0\0")


@pytest.mark.parametrize("size", [LONGEST_CHUNK + 1, LONGEST_CHUNK + 2, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("start", [b"", fmt()], ids=["at once", "after fmt"])
def test_a_header_that_never_ends_is_given_up(start: bytes, size: int) -> None:
    """A chunk beyond 64 KiB is no header: nothing is swallowed or held, no rate is believed."""
    stripper = WavHeaderStripper()
    stream = b"RIFF\0\0\0\0WAVE" + start + b"LIST" + struct.pack("<I", size)
    assert stripper.receive(stream) == stream
    assert stripper.receive(PCM) == PCM
    assert stripper.sample_rate_hz is None


def test_a_header_may_take_64_kib() -> None:
    """Its chunks may be as long as that before `data`."""
    stripper = WavHeaderStripper()
    long = chunk(b"LIST", b"\0" * (LONGEST_CHUNK - len(fmt())))
    assert stripper.receive(header(fmt(), long) + PCM) == PCM
    assert stripper.sample_rate_hz == 22050


def test_a_format_chunk_too_short_is_passed_over() -> None:
    """The header is stripped all the same; its rate is not known."""
    stripper = WavHeaderStripper()
    assert stripper.receive(header(chunk(b"fmt ", b"\1\0")) + PCM) == PCM
    assert stripper.sample_rate_hz is None


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (fmt(tag=3, bits=32), "format 3, 32 bits a sample"),
        (fmt(channels=2), "2 channels"),
        (fmt(0), "0 Hz"),
        (fmt(4_000_000_000), "4000000000 Hz"),
    ],
)
def test_a_format_that_would_be_noise_is_named(head: bytes, problem: str) -> None:
    """What is not 16-bit mono PCM at a rate that can be is said, so that it is not played."""
    stripper = WavHeaderStripper()
    assert stripper.receive(header(head) + PCM) == PCM
    assert stripper.unsupported == problem
