"""Playing cells of the fault matrix, many at a time: they mostly wait."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from faults.cells import Cell
from faults.stage import Played

JOBS = 18
GRACE_S = 3.0


@dataclass
class Result:
    """A cell that was played, or what stood in the way."""

    cell: Cell
    played: Played | None
    error: BaseException | None
    seconds: float

    def judge(self) -> None:
        """Raise where the cell could not be played, or something else came of it."""
        if self.error is not None:
            raise self.error
        assert self.played is not None
        self.cell.judge(self.played)


class Matrix:
    """What came of the cells of a run, and what they left behind."""

    def __init__(self, results: Sequence[Result], left: Sequence[str]) -> None:
        self.left = list(left)
        self._results = {result.cell: result for result in results}

    def __getitem__(self, cell: Cell) -> Result:
        return self._results[cell]


def play_all(
    cells: Sequence[Cell], jobs: int = JOBS, done: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """Play `cells`, `jobs` at a time; `done` is called for each, in order.

    Each has a gateway and a loop of its own. They wait for one another's CPU and for nothing
    else.
    """
    results = []
    with ThreadPoolExecutor(jobs, thread_name_prefix="matrix") as pool:
        for result in pool.map(_play, cells):
            results.append(result)
            done(result)
    return results


def _play(cell: Cell) -> Result:
    began = time.monotonic()
    played, error = None, None
    try:
        played = cell.play()
    except BaseException as caught:  # noqa: BLE001  # it is raised by `judge`
        error = caught
    return Result(cell, played, error, time.monotonic() - began)


@dataclass(frozen=True)
class Left:
    """The threads and the open files and sockets of this process."""

    threads: frozenset[threading.Thread]
    descriptors: frozenset[tuple[str, str]]

    @classmethod
    def now(cls) -> Left:
        """What there is."""
        return cls(frozenset(threading.enumerate()), frozenset(_descriptors()))

    def since(self) -> list[str]:
        """What is there now and was not before; waits `GRACE_S` for it to go."""
        deadline = time.monotonic() + GRACE_S
        while True:
            now = Left.now()
            threads = sorted(thread.name for thread in now.threads - self.threads)
            left = threads + sorted(name for _, name in now.descriptors - self.descriptors)
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.05)


def _descriptors() -> list[tuple[str, str]]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # Closed meanwhile: the listing's own, for one.
        if name.startswith("socket:") or name.endswith((".wav", ".pem")):
            found.append((number, name))
    return found
