"""One measured figure: its samples, what is judged of them, and the goal it is held against."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slng_edge.errors import SlngEdgeError

PASS, SHORT, UNMEASURED = "pass", "short", "not measured"


class MeasurementFailed(SlngEdgeError):
    """What was to be measured did not happen."""


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        seconds: Length of each window in which load is measured.
        repeat: How often the same thing is measured.
        folder: For files; removed afterwards.
        progress: Told what is being done, a few words.
    """

    seconds: float
    repeat: int
    folder: Path
    progress: Callable[[str], None]


@dataclass(frozen=True)
class Figure:
    """A row of the report.

    Attributes:
        name: As `--only` takes it.
        how: How it was measured, one line.
        unit: Of `samples` and `value`.
        samples: What was measured; empty where it could not be.
        statistic: What of the samples is judged: "median", "p95", …
        value: That statistic.
        goal: "≤ 0.9 s"
        verdict: `PASS`, `SHORT` or `UNMEASURED`.
        note: What else there is to say, or why there is nothing.
    """

    name: str
    how: str
    unit: str
    samples: tuple[float, ...]
    statistic: str
    value: float
    goal: str
    verdict: str
    note: str = ""

    @property
    def median(self) -> float:
        """Median of the samples."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """Least and greatest sample."""
        return min(self.samples), max(self.samples)


def figure(
    name: str,
    how: str,
    unit: str,
    samples: Sequence[float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    statistic: str = "median",
    note: str = "",
) -> Figure:
    """A figure, judged against one of the two limits.

    Raises:
        MeasurementFailed: there are no samples.
    """
    if not samples:
        raise MeasurementFailed(f"{name}: nothing could be measured")
    value = statistic_of(samples, statistic)
    if at_most is not None:
        goal, good = f"≤ {at_most:g}", value <= at_most
    elif at_least is not None:
        goal, good = f"≥ {at_least:g}", value >= at_least
    else:
        raise ValueError("a figure needs a limit")
    return Figure(
        name=name,
        how=how,
        unit=unit,
        samples=tuple(samples),
        statistic=statistic,
        value=value,
        goal=f"{goal} {unit}",
        verdict=PASS if good else SHORT,
        note=note,
    )


def unmeasured(name: str, why: str) -> Figure:
    """The row of a figure that could not be measured."""
    return Figure(name, "", "", (), "", math.nan, "", UNMEASURED, why)


def statistic_of(samples: Sequence[float], statistic: str) -> float:
    """The statistic: "median", "max", or "pN", the least sample that N % are not above."""
    if statistic == "median":
        return statistics.median(samples)
    if statistic == "max":
        return max(samples)
    ordered = sorted(samples)
    rank = math.ceil(float(statistic.removeprefix("p")) / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]
