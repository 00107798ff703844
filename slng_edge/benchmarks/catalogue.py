"""The experiments in the order in which they are made, and the rows that each gives."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from slng_edge.benchmarks import (
    device_load,
    devices,
    gate_accuracy,
    growth,
    interruption,
    load,
    microphone_path,
    reconnecting,
    ring_speed,
    scale,
    starting,
    turns,
)
from slng_edge.benchmarks.figures import Figure, Plan, unmeasured
from slng_edge.errors import SlngEdgeError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """Something that is done once and gives several figures.

    Attributes:
        rows: Their names.
        measure: Gives those that are wanted.
        lasts_s: About how long it takes.
        on_devices: Whether it needs a sound server, or sound cards.
    """

    rows: tuple[str, ...]
    measure: Callable[[Plan, frozenset[str]], list[Figure]]
    lasts_s: Callable[[Plan], float]
    on_devices: bool = False


@dataclass(frozen=True)
class Step:
    """How far it is.

    Attributes:
        number: Of the experiment under way, from 1.
        count: How many there are.
        text: What is being done.
        done: Share of the whole time that has passed, about.
        left_s: How long it goes on, about.
    """

    number: int
    count: int
    text: str
    done: float
    left_s: float


# Those with the greatest load of their own come last: the machine's load is an average.
EXPERIMENTS = (
    Experiment(device_load.ROWS, device_load.measure, device_load.lasts_s, on_devices=True),
    Experiment(devices.ROWS, devices.measure, devices.lasts_s, on_devices=True),
    *(
        Experiment(module.ROWS, module.measure, module.lasts_s)
        for module in (
            *(load, turns, microphone_path, interruption, ring_speed, starting, reconnecting),
            *(gate_accuracy, growth, scale),
        )
    ),
)


def row_names() -> list[str]:
    """Every row."""
    return [row for each in EXPERIMENTS for row in each.rows]


def rows_on_devices() -> list[str]:
    """Those that need a sound server, or sound cards."""
    return [row for each in EXPERIMENTS if each.on_devices for row in each.rows]


def figures(
    only: Collection[str], plan: Plan, *, device: bool, progress: Callable[[Step], None]
) -> Iterator[Figure]:
    """Measure what is asked for, row after row; a row that cannot be measured says why.

    Args:
        only: Names of rows; all of them where empty.
        plan: How; its folder and its progress are replaced.
        device: Those on the default sound devices, too; a name in `only` asks for its row itself.
        progress: Told what is being done, and how far it is.
    """
    chosen = [
        (experiment, wanted)
        for experiment in EXPERIMENTS
        if (wanted := frozenset(experiment.rows) & (frozenset(only) or frozenset(experiment.rows)))
        and (device or only or not experiment.on_devices)
    ]
    lasts_s = [experiment.lasts_s(plan) for experiment, _ in chosen]
    for number, (experiment, wanted) in enumerate(chosen):
        began = time.monotonic()

        def tell(text: str, number: int = number, began: float = began) -> None:
            within_s = min(time.monotonic() - began, lasts_s[number])
            left_s = sum(lasts_s[number:]) - within_s
            done = 1 - left_s / sum(lasts_s)
            progress(Step(number + 1, len(chosen), text, done, left_s))

        load_before = os.getloadavg()[0]
        for each in _measured(experiment, wanted, replace(plan, progress=tell)):
            yield replace(each, load=max(load_before, os.getloadavg()[0]))


def _measured(experiment: Experiment, wanted: frozenset[str], plan: Plan) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="slng-edge-bench-") as folder:
        try:
            return experiment.measure(replace(plan, folder=Path(folder)), wanted)
        except (SlngEdgeError, OSError) as error:
            log.debug("not measured", exc_info=error)
            why = str(error) or type(error).__name__
            return [unmeasured(row, why) for row in experiment.rows if row in wanted]
