"""Resampling: no seams, nothing folded back, no end missing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from slng_edge.audio.resampling import LIVE, STORED, Resampler

PAIRS = [(48000, 16000), (44100, 16000), (16000, 48000), (24000, 48000), (22050, 24000)]


def tone(hz: float, rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    return (np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz) * 10000).astype(
        np.int16
    )


def in_chunks(samples: np.ndarray, resampler: Resampler, size: int) -> np.ndarray:
    pieces = [
        resampler.receive(samples[start : start + size]) for start in range(0, len(samples), size)
    ]
    return np.concatenate([*pieces, resampler.end()])


@pytest.mark.parametrize("quality", [LIVE, STORED])
@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_chunks_leave_no_seams(from_hz: int, to_hz: int, quality: str) -> None:
    """Odd chunks and one chunk give the same samples."""
    samples = tone(1000, from_hz)
    whole = in_chunks(samples, Resampler(from_hz, to_hz, quality), len(samples))
    for size in (from_hz // 50, 441, 7):
        parts = in_chunks(samples, Resampler(from_hz, to_hz, quality), size)
        assert len(parts) == len(whole)
        # soxr dithers its last bits.
        assert np.abs(parts.astype(int) - whole).max() <= 3


@pytest.mark.parametrize("quality", [LIVE, STORED])
@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_the_end_comes_and_the_time_stays(from_hz: int, to_hz: int, quality: str) -> None:
    """As long as before, and no sample is shifted."""
    got = in_chunks(tone(1000, from_hz), Resampler(from_hz, to_hz, quality), from_hz // 50)
    wanted = tone(1000, to_hz)
    assert abs(len(got) - to_hz) <= 1
    inner = slice(to_hz // 50, to_hz - to_hz // 50)
    assert np.corrcoef(got[inner], wanted[inner])[0, 1] > 0.9999


@pytest.mark.parametrize("quality", [LIVE, STORED])
def test_nothing_is_folded_back(quality: str) -> None:
    """A tone above the new Nyquist frequency is 60 dB down or more."""
    for hz in (8800, 12000, 20000):
        got = in_chunks(tone(hz, 48000), Resampler(48000, 16000, quality), 960)
        assert np.abs(got[1600:-1600].astype(int)).max() < 10


def test_what_is_kept_back_is_said_and_bounded() -> None:
    """Live, 20 ms at most and half of it on average: the figures in the module."""
    resampler = Resampler(48000, 16000, LIVE)
    pending = []
    for _ in range(200):
        resampler.receive(np.zeros(960, dtype=np.int16))
        pending.append(resampler.pending_s)
    assert max(pending) < 0.021
    assert 0.005 < float(np.mean(pending)) < 0.015


def test_a_resampler_can_be_used_again_after_its_end() -> None:
    """Nothing of the last stream is heard in the next."""
    resampler = Resampler(48000, 16000)
    first = in_chunks(tone(1000, 48000, 0.2), resampler, 960)
    again = in_chunks(tone(1000, 48000, 0.2), resampler, 960)
    assert np.abs(first.astype(int) - again).max() <= 3


def test_equal_rates_need_no_soxr() -> None:
    """Handed through as it is; the library is not even loaded."""
    program = (
        "import sys, numpy\n"
        "from slng_edge.audio.resampling import Resampler\n"
        "resampler, samples = Resampler(16000, 16000), numpy.arange(9, dtype=numpy.int16)\n"
        "assert resampler.receive(samples) is samples and not len(resampler.end())\n"
        "sys.exit('soxr' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_missing_soxr_is_said_with_the_line_that_installs_it() -> None:
    """Only when rates differ."""
    program = (
        "import sys\n"
        "sys.modules['soxr'] = None\n"
        "from slng_edge.errors import MissingLibrary\n"
        "from slng_edge.audio.resampling import Resampler\n"
        "Resampler(16000, 16000)\n"
        "try:\n"
        "    Resampler(48000, 16000)\n"
        "except MissingLibrary as error:\n"
        "    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    assert "converting 48000 Hz to 16000 Hz needs soxr" in said
    assert "pip install soxr" in said
