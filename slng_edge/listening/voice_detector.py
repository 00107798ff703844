"""Whether one frame sounds like a voice: the one file that imports webrtcvad."""

from __future__ import annotations

from slng_edge.errors import ConfigError, MissingLibrary
from slng_edge.pcm import Samples

RATES_HZ = (8000, 16000, 32000, 48000)
"""Rates that webrtcvad takes (its `valid_rate_and_frame_length`)."""
FRAME_MS = (10, 20, 30)
"""Frame lengths that webrtcvad takes, in milliseconds (the same source)."""


class VoiceDetector:
    """WebRTC's voice activity detector: a small Gaussian mixture over six frequency bands.

    It adapts to what it hears, so one detector belongs to one microphone, and its frames
    come in order. It takes loud noise and tones for speech; `VadGate` sees to those.

    Args:
        aggressiveness: 0 (lets most pass) to 3 (lets least pass).
        rate_hz: 8000, 16000, 32000 or 48000.

    Raises:
        MissingLibrary: webrtcvad cannot be imported.
        ConfigError: `aggressiveness` or `rate_hz` is none of those.
    """

    def __init__(self, aggressiveness: int, rate_hz: int) -> None:
        if aggressiveness not in range(4):
            raise ConfigError(f"vad.aggressiveness is {aggressiveness}; it goes from 0 to 3")
        if rate_hz not in RATES_HZ:
            rates = ", ".join(str(rate) for rate in RATES_HZ)
            raise ConfigError(f"voice detection at {rate_hz} Hz is not possible; use {rates}")
        try:
            # Here and not above, so that the pure layer loads without the library.
            import webrtcvad
        except ImportError as error:
            raise MissingLibrary(
                "webrtcvad", "voice detection", "pip install webrtcvad-wheels"
            ) from error
        self.rate_hz = rate_hz
        self._lengths = frozenset(rate_hz * ms // 1000 for ms in FRAME_MS)
        self._is_speech = webrtcvad.Vad(aggressiveness).is_speech

    def is_speech(self, frame: Samples) -> bool:
        """Whether `frame`, int16 of 10, 20 or 30 ms, is speech. About 2 µs on a desktop.

        Raises:
            ValueError: the frame has another length.
        """
        if len(frame) not in self._lengths:
            raise ValueError(
                f"a frame of {len(frame)} samples at {self.rate_hz} Hz is not 10, 20 or 30 ms long"
            )
        return bool(self._is_speech(frame.tobytes(), self.rate_hz))
