"""What came of an endurance run, and whether what the device holds has grown."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from slng_edge.benchmarks.processes import Holdings

HOUR_S = 3600.0
SETTLED_S = 2 * HOUR_S
GROWTH_KIB = 2048
"""More than the soak's, as each happening is the first of its kind. 480 connections more, where the
garbage was collected before each look, were measured to add 0.25 MiB in all."""


@dataclass(frozen=True)
class Row:
    """What came of a happening: seconds until it was connected, and until it answered."""

    day: str
    name: str
    reconnects: int
    losses: int
    back_s: float
    answered_s: float


@dataclass
class Outcome:
    """What came of the day; `violations` is empty where all is well."""

    hours: float
    rate: float
    rows: list[Row] = field(default_factory=list)
    samples: list[tuple[float, Holdings]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    idle_s: float = 0.0
    idle_answers: list[float] = field(default_factory=list)
    rotations: int = 0
    asked: int = 0
    events: int = 0
    media_s: float = 0.0
    monotonic_s: float = 0.0
    boot_s: float = 0.0
    longest_hunger_s: float = 0.0
    feeds: int = 0
    stopped_s: float = 0.0
    left_out_s: float = 0.0


def growth(outcome: Outcome) -> list[str]:
    """What is held more at the end than after the first two hours; nothing is as it has to be."""
    if not outcome.samples:
        return ["nothing was measured"]
    first = settled(outcome)
    last = outcome.samples[-1][1]
    early = [held for at_s, held in outcome.samples if at_s <= SETTLED_S] or [first]
    grew = []
    if last.resident_kib - first.resident_kib > GROWTH_KIB:
        grew.append(f"memory grew by {last.resident_kib - first.resident_kib} KiB")
    if last.threads > max(held.threads for held in early):
        grew.append(f"{last.threads} threads")
    if last.files > max(held.files for held in early):
        grew.append(f"{last.files} open files")
    return grew


def settled(outcome: Outcome) -> Holdings:
    """What is held after the first two hours, or at first where the day is shorter."""
    after = itertools.dropwhile(lambda each: each[0] < SETTLED_S, outcome.samples[:-1])
    return next(after, outcome.samples[0])[1]
