"""What the speaker sounds, for those who have to tell it from what the room says.

The playback thread hands over every block it has written, with the time at which it sounds; the
capture thread asks what sounded while a frame was recorded. Silence is not kept.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import takewhile

import numpy as np

from slng_edge.listening.echo_coupling import REACH_MS, WINDOW_MS, BandAnalysis, Powers
from slng_edge.pcm import SILENCE_DBFS, Samples, level_dbfs

AHEAD_MS = 20
"""A frame is compared with what sounds so much later as well: devices state their latency to
about a block, and an echo that came before its sound could not be learned."""
FRAME_PATIENCE, FRAME_STEP_S = 25, 0.5
"""So many frames in a row that all come late say that sound was lost, or one that is so late:
those that wait while the machine does something else come in a burst. With less, stalls of up to
200 ms, twice in three seconds, made it interrupt itself ten times a minute (simulated room)."""
BLOCK_PATIENCE, BLOCK_STEP_S = 1, 0.1
"""The times of blocks do not depend on when they are told: one that is late comes after a hole."""
TOLERANCE_S = 0.004
"""A stream is put right when it is off by more. Of a speaker that runs dry 25 times in a row,
every 5 s, it hears itself once in 10 min; with 1 ms, but two blocks awaited, 4 times, and 59
times where the time follows slowly (simulated room)."""


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
        self._window: Samples = np.zeros(self._analysis.samples, dtype=np.int16)
        self._frame_s = frame_ms / 1000.0
        self._window_s = WINDOW_MS / 1000.0
        self._reach_s = reach_ms / 1000.0
        self._kept_s = self._reach_s + self._window_s + BLOCK_STEP_S
        # (first sample sounds at, last one has sounded at, level, samples)
        self._blocks: deque[tuple[float, float, float, Samples]] = deque()
        self._lock = threading.Lock()
        self._frames = Timeline(FRAME_PATIENCE, FRAME_STEP_S)
        self._played = Timeline(BLOCK_PATIENCE, BLOCK_STEP_S)

    def receive_block(self, block: Samples, at: float) -> None:
        """Take a block as it was written; playback thread. Waits for nothing to speak of.

        Args:
            block: int16, of any length; copied, for the array is used again.
            at: The `time.monotonic()` at which its first sample sounds.
        """
        at = self._played.receive(len(block) / self.rate_hz, at)
        end = self._played.end_s
        if not block.any():
            return
        kept = (at, end, level_dbfs(block), block.copy())
        with self._lock:
            self._blocks.append(kept)
            # Here as well: with the microphone gone nobody asks, and the speaker goes on.
            self._forget_before(at - self._kept_s)

    def powers(self, now: float) -> Powers | None:
        """What sounded during the frame that was recorded until `now`; capture thread.

        To be asked for every frame, in order.

        Args:
            now: The `time.monotonic()` at which the frame came.

        Returns:
            Its power by band; None where nothing sounded.
        """
        self._frames.receive(self._frame_s, now - self._frame_s)
        if not self._blocks:
            return None
        begin_s = self._frames.end_s - self._window_s + AHEAD_MS / 1000.0
        window, size = self._window, len(self._window)
        window.fill(0)
        with self._lock:
            self._forget_before(now - self._kept_s)
            # A second of blocks is kept, and the last three of them matter. Where told times have
            # jumped back, what is older than a block that is over is superseded.
            newest_first = takewhile(lambda block: block[1] > begin_s, reversed(self._blocks))
            for at, _, _, samples in reversed([*newest_first]):
                first = round((at - begin_s) * self.rate_hz)
                piece = samples[max(0, -first) : max(0, size - first)]
                window[max(0, first) : max(0, first) + len(piece)] = piece
        return self._analysis.powers(window) if window.any() else None

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


class Timeline:
    """When the pieces of a stream were, which follow each other without holes. One thread.

    They are told late, never early: a thread has to wait for its turn. So the earliest of their
    times counts, until many in a row are later: then there was a hole.

    Args:
        patience: How many.
        step_s: One that is later than this is enough.

    Attributes:
        end_s: When the last piece ended.
    """

    def __init__(self, patience: int, step_s: float) -> None:
        self.end_s = 0.0
        self._step_s = step_s
        self._late_s: deque[float] = deque(maxlen=patience)

    def receive(self, length_s: float, at: float) -> float:
        """When the next piece, `length_s` long, began: at `at`, or before it was told."""
        late_s = at - self.end_s
        self._late_s.append(late_s)
        if late_s < -TOLERANCE_S or late_s > self._step_s:
            self._follow(late_s)
        elif len(self._late_s) == self._late_s.maxlen and min(self._late_s) > TOLERANCE_S:
            self._follow(min(self._late_s))
        begin_s = self.end_s
        self.end_s += length_s
        return begin_s

    def _follow(self, late_s: float) -> None:
        self.end_s += late_s
        self._late_s.clear()
