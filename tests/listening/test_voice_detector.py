"""The one file that imports webrtcvad, with the real library."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from slng_edge.errors import ConfigError, MissingLibrary
from slng_edge.listening.voice_detector import VoiceDetector


def buzz(rate_hz: int, ms: int) -> np.ndarray:
    """A 150 Hz pulse train: what a voice is to the detector."""
    time_s = np.arange(rate_hz * ms // 1000) / rate_hz
    wave = sum(np.sin(2 * np.pi * 150 * k * time_s) / k for k in range(1, 20))
    return (wave * 6000).astype(np.int16)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 32000, 48000])
@pytest.mark.parametrize("ms", [10, 20, 30])
def test_voiced_frames_are_speech(rate_hz: int, ms: int) -> None:
    """A loud buzz is speech at every rate and frame length the library takes."""
    detector = VoiceDetector(2, rate_hz)
    assert [detector.is_speech(buzz(rate_hz, ms)) for _ in range(5)] == [True] * 5


def test_silence_is_not_speech() -> None:
    """Digital silence is no speech at any aggressiveness."""
    for aggressiveness in range(4):
        detector = VoiceDetector(aggressiveness, 16000)
        assert detector.is_speech(np.zeros(320, dtype=np.int16)) is False


def test_the_more_aggressive_it_is_the_less_it_takes_for_speech() -> None:
    """Of the same loud noise."""
    noise = np.random.default_rng(1).normal(0, 1600, 6400).astype(np.int16)
    taken = []
    for aggressiveness in (0, 3):
        detector = VoiceDetector(aggressiveness, 16000)
        taken.append(sum(detector.is_speech(frame) for frame in noise.reshape(20, 320)))
    assert taken[0] > 15
    assert taken[1] < 10


def test_a_strided_frame_is_read_as_it_stands() -> None:
    """One channel of a stereo block is a view with gaps, and is read without them."""
    stereo = np.zeros((320, 2), dtype=np.int16)
    stereo[:, 1] = buzz(16000, 20)
    assert VoiceDetector(2, 16000).is_speech(stereo[:, 1])
    assert not VoiceDetector(2, 16000).is_speech(stereo[:, 0])


@pytest.mark.parametrize("length", [0, 159, 319, 321, 640])
def test_other_lengths_are_refused(length: int) -> None:
    """A frame that is not 10, 20 or 30 ms long is an error that says so."""
    with pytest.raises(ValueError, match=f"{length} samples at 16000 Hz is not 10, 20 or 30 ms"):
        VoiceDetector(2, 16000).is_speech(np.zeros(length, dtype=np.int16))


@pytest.mark.parametrize(
    ("aggressiveness", "rate_hz", "says"),
    [
        (4, 16000, "from 0 to 3"),
        (-1, 16000, "from 0 to 3"),
        (2, 44100, "44100 Hz is not possible; use 8000, 16000, 32000, 48000"),
    ],
)
def test_what_the_library_cannot_do_is_a_config_error(
    aggressiveness: int, rate_hz: int, says: str
) -> None:
    """A wrong aggressiveness or rate is refused with the possible values."""
    with pytest.raises(ConfigError, match=says):
        VoiceDetector(aggressiveness, rate_hz)


def test_a_missing_library_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without webrtcvad the error carries the line that installs it."""
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    with pytest.raises(MissingLibrary) as caught:
        VoiceDetector(2, 16000)
    assert str(caught.value) == (
        "voice detection needs webrtcvad, which is not installed. Run: pip install webrtcvad-wheels"
    )
