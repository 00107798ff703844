"""A microphone that is open, delivers in time, and gives nothing but zeros.

It is muted, dead, or not the channel that was wired. No converter does so by itself: its noise is
more than half a step. But microphones with a noise gate do (speakerphones, sound servers) whenever
nobody speaks. So zeros are a fault only of one that was never silent for long.
"""

from __future__ import annotations

ZEROS_S = 1.5
"""Zeros for so long are noticed; as long as a device may stand still."""
NOISY_S = 30.0
"""A microphone that gave no `_RUN_S` of zeros for so long has no noise gate: one who speaks into
a gated one makes pauses."""
_RUN_S = 0.02


class ZeroWatch:
    """Counts the zeros of one microphone, over all of its openings. One thread, pure.

    Attributes:
        zeros_s: Seconds of nothing but zeros until now.
        dead: Whether a microphone that always had noise gives zeros now.
        ever_sounded: Whether it ever gave anything else.
    """

    def __init__(self) -> None:
        self.zeros_s = 0.0
        self.dead = False
        self.ever_sounded = False
        self._noisy_s = 0.0

    def receive(self, seconds: float, *, zeros: bool) -> None:
        """Take the next `seconds` of sound; `zeros` where all of its samples are."""
        if not zeros:
            self.zeros_s = 0.0
            self.dead = False
            self.ever_sounded = True
            self._noisy_s += seconds
            return
        self.zeros_s += seconds
        has_noise = self._noisy_s >= NOISY_S
        if has_noise and self.zeros_s >= ZEROS_S:
            self.dead = True
        if self.dead or (self.zeros_s >= _RUN_S and not has_noise):
            self._noisy_s = 0.0
