"""WebRTC's audio processing module, echo cancellation alone; the only file that imports livekit.

The library is a whole WebRTC client, of which this uses one object. It connects to nowhere, but
keeps two socket pairs and four threads that sleep (0.02 % of a CPU together) until the process
ends. A panic in it sends SIGTERM to the process. Its package imports all of itself: leaving the
rest out would save 15 of 55 ms and 1.5 of 22 MB, and break with its next version.

Its other options stay off, see docs/conversation.md for what they do to recognition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slng_edge.errors import AudioError, MissingLibrary
from slng_edge.pcm import Samples

if TYPE_CHECKING:
    from livekit.rtc.apm import AudioProcessingModule
    from livekit.rtc.audio_frame import AudioFrame

INSTALL = "pip install 'slng-edge[aec]'"

_LATENCY_SAMPLES = {8000: 88, 16000: 128, 32000: 259, 48000: 430}
"""Measured with livekit 1.2: where white noise comes out again."""


class ApmCanceller:
    """Implements `Canceller`. One thread.

    It finds the delay of the echo by itself, up to about half a second.

    Args:
        rate_hz: 8000, 16000, 32000 or 48000.

    Raises:
        MissingLibrary: livekit is not installed, or its native part does not load.
    """

    kind = "apm"

    def __init__(self, rate_hz: int) -> None:
        self.latency_samples = _LATENCY_SAMPLES[rate_hz]
        module, frame = _import_livekit()
        try:
            self._module = module(echo_cancellation=True)
        except ImportError as error:  # the library is loaded by the first use
            raise MissingLibrary("livekit", 'audio.echo_cancel = "apm"', INSTALL) from error
        step = rate_hz // 100
        # The library works in place, on memory whose address it takes from a bytearray.
        near, far = bytearray(2 * step), bytearray(2 * step)
        self._near: Samples = np.frombuffer(near, dtype=np.int16)
        self._far: Samples = np.frombuffer(far, dtype=np.int16)
        self._near_frame = frame(near, rate_hz, 1, step)
        self._far_frame = frame(far, rate_hz, 1, step)

    def cancel(self, near: Samples, far: Samples) -> Samples:
        """See `Canceller`; about 50 µs at 16 kHz. The array is used again by the next call.

        Raises:
            AudioError: the library refuses the frame.
        """
        self._far[:] = far
        self._near[:] = near
        try:
            self._module.process_reverse_stream(self._far_frame)
            self._module.process_stream(self._near_frame)
        except RuntimeError as error:
            raise AudioError(f"the WebRTC echo canceller failed: {error}") from error
        return self._near

    def close(self) -> None:
        """See `Canceller`; the library's threads stay until the process ends."""
        del self._module


def _import_livekit() -> tuple[type[AudioProcessingModule], type[AudioFrame]]:
    try:
        from livekit.rtc.apm import AudioProcessingModule
        from livekit.rtc.audio_frame import AudioFrame
    except ImportError as error:
        raise MissingLibrary("livekit", 'audio.echo_cancel = "apm"', INSTALL) from error
    return AudioProcessingModule, AudioFrame
