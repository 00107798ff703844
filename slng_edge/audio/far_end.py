"""What the speaker sounds, for those who have to tell it from what the room says.

The playback thread hands over every block it has written, with the time at which it sounds; the
capture thread asks what sounded while a frame was recorded. Silence is not kept.
"""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from slng_edge.listening.echo_coupling import REACH_MS, WINDOW_MS, BandAnalysis, Powers
from slng_edge.pcm import SILENCE_DBFS, Samples, level_dbfs

AHEAD_MS = 20
"""A frame is compared with what sounds so much later as well: devices state their latency to
about a block, and an echo that came before its sound could not be learned."""
DRIFT_SHARE = 0.05
"""Frames and blocks come in a jitter of some milliseconds, and yet follow each other without
holes. So their times are counted, and follow the clock by this share of the error."""
STEP_S = 0.06
"""An error that is larger is no jitter: something was lost, or nobody asked for a while."""


class FarEnd:
    """Keeps the last sound of the speaker, a second of it at most. Two threads.

    Args:
        rate_hz: Rate of the blocks: what the playback's ring buffer has.
        frame_ms: Length of the microphone's frames.
        reach_ms: How far `level_dbfs` looks back.
    """

    def __init__(self, rate_hz: int, frame_ms: int, *, reach_ms: int = REACH_MS) -> None:
        self.rate_hz = rate_hz
        self._analysis = BandAnalysis(rate_hz)
        self._silence: Powers = np.zeros(self._analysis.bands)
        self._window: Samples = np.zeros(self._analysis.samples, dtype=np.int16)
        self._frame_s = frame_ms / 1000.0
        self._window_s = WINDOW_MS / 1000.0
        self._reach_s = reach_ms / 1000.0
        self._kept_s = self._reach_s + self._window_s + STEP_S
        # (first sample sounds at, last one has sounded at, level, samples)
        self._blocks: deque[tuple[float, float, float, Samples]] = deque()
        self._lock = threading.Lock()
        self._at_s = 0.0
        self._next_block_s = 0.0

    def receive_block(self, block: Samples, at: float) -> None:
        """Take a block as it was written; playback thread. Waits for nothing to speak of.

        Args:
            block: int16, of any length; copied, for the array is used again.
            at: The `time.monotonic()` at which its first sample sounds.
        """
        at = _without_jitter(self._next_block_s, at)
        end = self._next_block_s = at + len(block) / self.rate_hz
        if not block.any():
            return
        kept = (at, end, level_dbfs(block), block.copy())
        with self._lock:
            self._blocks.append(kept)
            # Here as well: with the microphone gone nobody asks, and the speaker goes on.
            self._forget_before(at - self._kept_s)

    def powers(self, now: float) -> Powers:
        """What sounded during the frame that was recorded until `now`; capture thread.

        To be asked for every frame, in order.

        Args:
            now: The `time.monotonic()` at which the frame came.

        Returns:
            Its power by band, to be read only; zeros where nothing sounded.
        """
        self._at_s = _without_jitter(self._at_s + self._frame_s, now)
        if not self._blocks:
            return self._silence
        begin_s = self._at_s - self._window_s + AHEAD_MS / 1000.0
        window, size = self._window, len(self._window)
        window.fill(0)
        with self._lock:
            self._forget_before(now - self._kept_s)
            for at, end, _, samples in self._blocks:
                if end > begin_s and at < begin_s + self._window_s:
                    first = round((at - begin_s) * self.rate_hz)
                    piece = samples[max(0, -first) : max(0, size - first)]
                    first = max(0, first)
                    window[first : first + len(piece)] = piece
        return self._analysis.powers(window) if window.any() else self._silence

    def level_dbfs(self, at: float) -> float:
        """The loudest block that sounded within the reach before `at`, in dBFS; any thread."""
        loudest = SILENCE_DBFS
        with self._lock:
            for begin, end, level, _ in self._blocks:
                if begin <= at and end > at - self._reach_s:
                    loudest = max(loudest, level)
        return loudest

    def _forget_before(self, time_s: float) -> None:
        while self._blocks and self._blocks[0][1] < time_s:
            self._blocks.popleft()


def _without_jitter(expected_s: float, now_s: float) -> float:
    error_s = now_s - expected_s
    return expected_s + error_s * DRIFT_SHARE if abs(error_s) < STEP_S else now_s
