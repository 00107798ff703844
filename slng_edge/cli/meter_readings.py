"""What the meter shows, made from frames: level, floor, gate and clipping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from slng_edge.pcm import FULL_SCALE, SILENCE_DBFS, Samples

CLIPPED = 32767


class Gate(Protocol):
    """What a meter needs of `VadGate`."""

    @property
    def speaking(self) -> bool: ...
    @property
    def floor_dbfs(self) -> float: ...
    def receive_frame(self, frame: Samples) -> Any: ...
    def end_input(self) -> Any: ...


@dataclass(frozen=True)
class Reading:
    """A tenth of a second.

    Attributes:
        t: Seconds of sound since the beginning, at its end.
        level_dbfs: Its level.
        peak_dbfs: Of its loudest sample.
        floor_dbfs: The noise floor.
        speech: Whether the gate was open in it.
        clipped: How many of its samples were at the limit.
        zeros: Whether every sample was zero.
    """

    t: float
    level_dbfs: float
    peak_dbfs: float
    floor_dbfs: float
    speech: bool
    clipped: int
    zeros: bool

    def as_json(self) -> dict[str, float | bool | int]:
        """As an object; levels to a tenth of a decibel."""
        return {
            "t": round(self.t, 2),
            "level_dbfs": round(self.level_dbfs, 1),
            "peak_dbfs": round(self.peak_dbfs, 1),
            "floor_dbfs": round(self.floor_dbfs, 1),
            "speech": self.speech,
            "clipped": self.clipped,
            "zeros": self.zeros,
        }


class Metering:
    """Makes readings from frames; one thread.

    Args:
        gate: Says whether somebody speaks.
        rate_hz: Rate of the frames.
        readings_a_second: How many of them; a reading is never shorter than a frame.
    """

    def __init__(self, gate: Gate, *, rate_hz: int, readings_a_second: int) -> None:
        self._gate = gate
        self._rate_hz = rate_hz
        self._piece = rate_hz // readings_a_second
        self._samples = 0
        self._due = self._piece
        self._speech = False
        self._energy = 0.0
        self._peak = self._clipped = self._count = 0

    def receive_frame(self, frame: Samples) -> Reading | None:
        """Take a frame; the reading that is complete with it, if any."""
        self._gate.receive_frame(frame)
        self._speech = self._speech or self._gate.speaking
        wide = frame.astype(np.int32)
        size = np.abs(wide)
        self._energy += float(np.dot(wide.astype(np.float64), wide))
        self._peak = max(self._peak, int(size.max(initial=0)))
        self._clipped += int(np.count_nonzero(size >= CLIPPED))
        self._count += len(frame)
        self._samples += len(frame)
        if self._samples < self._due:
            return None
        self._due += self._piece
        reading = Reading(
            self._samples / self._rate_hz,
            _dbfs((self._energy / self._count) ** 0.5),
            _dbfs(self._peak),
            self._gate.floor_dbfs,
            self._speech,
            self._clipped,
            self._peak == 0,
        )
        self._forget()
        return reading

    def receive_gap(self) -> None:
        """What follows does not belong to what came: the device was lost."""
        self._gate.end_input()
        self._forget()

    def _forget(self) -> None:
        self._speech = False
        self._energy = 0.0
        self._peak = self._clipped = self._count = 0


def _dbfs(size: float) -> float:
    return max(SILENCE_DBFS, 20.0 * math.log10(size / FULL_SCALE)) if size > 0 else SILENCE_DBFS
