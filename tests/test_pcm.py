"""Raw audio and its sums."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slng_edge.pcm import (
    SILENCE_DBFS,
    FrameSplitter,
    PcmFormat,
    SampleAligner,
    level_dbfs,
    samples_of,
)


@pytest.mark.parametrize(
    ("rate_hz", "ms", "samples"),
    [(16000, 20, 320), (24000, 0, 0), (44100, 20, 882), (11025, 10, 110), (8000, 0.125, 1)],
)
def test_milliseconds_are_whole_samples(rate_hz: int, ms: float, samples: int) -> None:
    """A part of a sample does not count, and a sample has two bytes."""
    sound = PcmFormat(rate_hz)
    assert (sound.samples(ms), sound.bytes(ms)) == (samples, 2 * samples)


def test_samples_last_their_share_of_a_second() -> None:
    """A second is a thousand milliseconds at any rate."""
    assert PcmFormat(24000).ms(24000) == 1000.0
    assert PcmFormat(16000).ms(8) == 0.5


def test_bytes_are_little_endian_samples() -> None:
    """s16le, whatever the machine."""
    samples = samples_of(b"\x01\x00\xff\xff\x00\x80")
    assert samples.tolist() == [1, -1, -32768]
    assert samples.dtype == np.int16
    assert samples_of(bytearray(b"")).tolist() == []


def test_half_a_sample_is_refused() -> None:
    """An odd number of bytes is no array of samples."""
    with pytest.raises(ValueError):
        samples_of(b"\x01\x00\x02")


@pytest.mark.parametrize(
    ("samples", "dbfs"),
    [
        ([], SILENCE_DBFS),
        ([0] * 100, SILENCE_DBFS),
        ([1, 0, 0, 0, 0, 0, 0, 0], SILENCE_DBFS),
        ([-32768] * 100, 0.0),
        ([16384] * 100, -6.02),
        ([1] * 100, -90.31),
    ],
)
def test_the_level_is_relative_to_full_scale(samples: list[int], dbfs: float) -> None:
    """Root mean square in dB; digital silence has a floor instead of minus infinity."""
    assert level_dbfs(np.array(samples, dtype=np.int16)) == pytest.approx(dbfs, abs=0.01)


def test_a_sine_of_full_scale_is_3_db_below() -> None:
    """As the root mean square of a sine is."""
    sine = np.sin(np.arange(16000) * 2 * math.pi / 16) * 32767
    assert level_dbfs(sine.astype(np.int16)) == pytest.approx(-3.01, abs=0.01)


@given(st.lists(st.binary(max_size=7)))
def test_the_aligner_gives_whole_samples_and_loses_nothing(pieces: list[bytes]) -> None:
    """However bytes are dealt out, they come out in order, in pairs, as soon as they can."""
    aligner = SampleAligner()
    given_out = b""
    for count, piece in enumerate(pieces, start=1):
        whole = aligner.receive(piece)
        assert len(whole) % 2 == 0
        given_out += whole
        arrived = b"".join(pieces[:count])
        assert given_out == arrived[: len(arrived) & ~1]


@given(st.lists(st.integers(0, 700)), st.integers(1, 400))
def test_the_splitter_gives_exact_frames_and_loses_nothing(
    lengths: list[int], frame_samples: int
) -> None:
    """Odd period sizes come out as frames of one size; the rest is padded with silence."""
    splitter = FrameSplitter(frame_samples)
    whole = np.arange(sum(lengths)).astype(np.int16)
    ends = np.cumsum([0, *lengths])
    frames = [
        frame
        for start, end in itertools.pairwise(ends)
        for frame in splitter.receive(whole[start:end])
    ]
    assert len(frames) == len(whole) // frame_samples
    last = splitter.end()
    assert (last is None) == (len(whole) % frame_samples == 0)
    frames += [] if last is None else [last]
    assert all(len(frame) == frame_samples for frame in frames)
    joined = np.concatenate([*frames, np.empty(0, np.int16)])
    assert joined[: len(whole)].tolist() == whole.tolist()
    assert not joined[len(whole) :].any()
    assert splitter.end() is None
