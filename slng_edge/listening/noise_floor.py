"""How loud the room is when nobody speaks, pure: levels in, floor out.

Minimum statistics: the floor is the least smoothed level of the last two seconds. Speech has
a gap at least that often, and so does not lift the floor; a fan has none, and is the floor as
soon as the window holds nothing older. The minimum is kept per block, so that a frame costs
one comparison.
"""

from __future__ import annotations

import math
from collections import deque

from slng_edge.pcm import SILENCE_DBFS

WINDOW_MS = 2000
"""The floor is the least level of so much sound. Longer than any vowel of running speech,
short enough that a fan is speech for no longer than that (scripts/evaluate-gate)."""
BLOCK_MS = 250
"""Grain in which old levels leave the window."""
SMOOTHING_MS = 40
"""Time constant of the smoothing: a single quiet frame of an uneven noise is not the floor."""
INITIAL_DBFS = -60.0
"""Taken for the floor until the first window is full: a quiet room, so that a recording
which begins with speech is heard from its first word."""
DROPOUT_MS = 200
"""Digital silence shorter than this is a dropped block; longer, it is what the room is to a
microphone that gates or suppresses noise. Without it the window would hold speech alone, the
floor would rise to it, and the box would be deaf from its second sentence on."""
LOWEST_DBFS = -72.0
"""The floor is never lower: what stands out from less than this is no voice."""


class NoiseFloor:
    """Follows the noise floor of one microphone; one thread.

    Args:
        frame_ms: Length of the frames whose levels come, in milliseconds.
        window_ms: The least level of so much sound is the floor.
    """

    def __init__(self, frame_ms: int, *, window_ms: int = WINDOW_MS) -> None:
        self._block_frames = max(1, BLOCK_MS // frame_ms)
        blocks = max(1, round(window_ms / (self._block_frames * frame_ms)))
        self._blocks = deque([INITIAL_DBFS] * blocks, maxlen=blocks)
        self._weight = 1.0 - math.exp(-frame_ms / SMOOTHING_MS)
        self._block_least = 0.0
        self._frames_left = self._block_frames
        self._smoothed: float | None = None
        self._dropout_frames = max(1, DROPOUT_MS // frame_ms)
        self._silent_frames = 0
        self.dbfs = INITIAL_DBFS
        """The floor now, dB relative to full scale."""

    def receive_level(self, level_dbfs: float) -> float:
        """Take the level of the next frame; returns the floor with it, in dBFS.

        Digital silence that lasts counts as a quiet room, `INITIAL_DBFS`.
        """
        if level_dbfs > SILENCE_DBFS:
            self._silent_frames = 0
        else:
            self._silent_frames += 1
            if self._silent_frames < self._dropout_frames:
                return self.dbfs
            level_dbfs = INITIAL_DBFS
        smoothed = self._smoothed
        if smoothed is None:
            smoothed = level_dbfs
        else:
            smoothed += self._weight * (level_dbfs - smoothed)
        self._smoothed = smoothed
        if smoothed < self._block_least:
            self._block_least = smoothed
            if smoothed < self.dbfs:
                self.dbfs = max(smoothed, LOWEST_DBFS)
        self._frames_left -= 1
        if not self._frames_left:
            self._blocks.append(self._block_least)
            self.dbfs = max(min(self._blocks), LOWEST_DBFS)
            self._block_least = 0.0
            self._frames_left = self._block_frames
        return self.dbfs
