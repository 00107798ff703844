"""The experiments in the order in which they are made, and the rows that each gives."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from slng_edge.benchmarks import (
    devices,
    interruption,
    load,
    microphone_path,
    reconnecting,
    ring_speed,
    starting,
    turns,
)
from slng_edge.benchmarks.figures import Figure, Plan, unmeasured
from slng_edge.errors import SlngEdgeError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """Something that is done once and gives several figures."""

    rows: tuple[str, ...]
    measure: Callable[[Plan, frozenset[str]], list[Figure]]


EXPERIMENTS = tuple(
    Experiment(module.ROWS, module.measure)
    for module in (load, turns, microphone_path, interruption, ring_speed, starting, reconnecting)
)
DEVICE_EXPERIMENTS = (
    Experiment(devices.CPU_ROWS, devices.measure_cpu),
    Experiment(devices.BARGE_IN_ROWS, devices.measure_barge_in),
)


def row_names() -> list[str]:
    """Every row, those of devices last."""
    return [row for each in (*EXPERIMENTS, *DEVICE_EXPERIMENTS) for row in each.rows]


def figures(
    only: Collection[str],
    *,
    device: bool,
    seconds: float,
    repeat: int,
    progress: Callable[[str], None],
) -> Iterator[Figure]:
    """Measure what is asked for, row after row; a row that cannot be measured says why.

    Args:
        only: Names of rows; all of them where empty.
        device: Those on the default sound devices, too; a name in `only` asks for its row itself.
        seconds, repeat, progress: As in `Plan`.
    """
    experiments = (*EXPERIMENTS, *(DEVICE_EXPERIMENTS if device or only else ()))
    for experiment in experiments:
        wanted = frozenset(experiment.rows) & (frozenset(only) or frozenset(experiment.rows))
        if not wanted:
            continue
        with tempfile.TemporaryDirectory(prefix="slng-edge-bench-") as folder:
            plan = Plan(seconds, repeat, Path(folder), progress)
            try:
                yield from experiment.measure(plan, wanted)
            except (SlngEdgeError, OSError) as error:
                log.debug("not measured", exc_info=error)
                why = str(error) or type(error).__name__
                yield from (unmeasured(row, why) for row in experiment.rows if row in wanted)
