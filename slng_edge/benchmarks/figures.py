"""One measured figure: its samples, what is judged of them, and the goal it is held against."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slng_edge.errors import SlngEdgeError

PASS, SHORT, REPORTED, UNMEASURED = "pass", "short", "report", "not measured"

TURNS = 400
"""Of the growth: `performance.md` asks for 2,000, which take some ten minutes."""


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
        turns: After how many turns growth is looked at.
        speech: A folder of recordings for the accuracy of the gate, instead of synthetic voices.
    """

    seconds: float
    repeat: int
    folder: Path = Path()
    progress: Callable[[str], None] = lambda _: None
    turns: int = TURNS
    speech: Path | None = None


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
        goal: "≤ 0.9 s"; empty for what is only reported.
        verdict: `PASS`, `SHORT`, `REPORTED` or `UNMEASURED`.
        note: What else there is to say, or why there is nothing.
        load: The machine's, averaged over a minute, before or after it, whichever is greater.
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
    load: float = 0.0

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
    """A figure, judged against one of the two limits; without either it is only reported.

    Raises:
        MeasurementFailed: there are no samples.
    """
    if not samples:
        raise MeasurementFailed(f"{name}: nothing could be measured")
    value = statistic_of(samples, statistic)
    goal, verdict = "", REPORTED
    if at_most is not None:
        goal, verdict = f"≤ {at_most:g} {unit}", PASS if value <= at_most else SHORT
    elif at_least is not None:
        goal, verdict = f"≥ {at_least:g} {unit}", PASS if value >= at_least else SHORT
    return Figure(
        name=name,
        how=how,
        unit=unit,
        samples=tuple(samples),
        statistic=statistic,
        value=value,
        goal=goal,
        verdict=verdict,
        note=note,
    )


def unmeasured(name: str, why: str) -> Figure:
    """The row of a figure that could not be measured."""
    return Figure(name, "", "", (), "", math.nan, "", UNMEASURED, why)


def statistic_of(samples: Sequence[float], statistic: str) -> float:
    """The statistic of the samples.

    Args:
        samples: In the order in which they were measured.
        statistic: "median", "min", "max", "last", or "pN", the least sample that N % are not
            above.
    """
    match statistic:
        case "median":
            return statistics.median(samples)
        case "min":
            return min(samples)
        case "max":
            return max(samples)
        case "last":
            return samples[-1]
    ordered = sorted(samples)
    rank = math.ceil(float(statistic.removeprefix("p")) / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]
