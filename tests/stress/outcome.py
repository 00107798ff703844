"""What came of one run: what was wrong, and how much was done."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from left_behind import Held


@dataclass
class Outcome:
    """`violations` is empty where all is well; any thread adds to them."""

    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def check(self, holds: object, what: str) -> None:
        """Note `what` as wrong, unless it holds."""
        if not holds:
            self.violations.append(what)

    @contextmanager
    def within(self, limit_s: float, what: str) -> Iterator[None]:
        """Note where `what` takes longer than it may."""
        began = time.monotonic()
        yield
        took_s = time.monotonic() - began
        self.check(took_s <= limit_s, f"{what} took {took_s:.2f} s, and may take {limit_s:g} s")

    @contextmanager
    def nothing_left(self, what: str) -> Iterator[None]:
        """Note threads, files, sockets and processes that are left 3 s after `what`."""
        before = Held.now()
        yield
        deadline = time.monotonic() + 3.0
        while left := Held.now().since(before):
            if time.monotonic() > deadline:
                self.violations.append(f"left by {what}: {left}")
                return
            time.sleep(0.02)


class Crowd:
    """Threads that each do one thing again and again, until the end of the `with`.

    What one of them raises is a violation, but for `allowed`.
    """

    def __init__(self, outcome: Outcome, *allowed: type[BaseException]) -> None:
        self._outcome = outcome
        self._allowed = allowed
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, name: str, act: Callable[[], Any], *, pause_s: float = 0.0) -> None:
        """One more of them."""

        def run() -> None:
            while not self._over.is_set():
                try:
                    act()
                except self._allowed:
                    self._outcome.counts["calls refused"] += 1
                except BaseException as error:  # noqa: BLE001 - it is what is looked for
                    at = error.__traceback__
                    while at is not None and at.tb_next is not None:
                        at = at.tb_next
                    where = "" if at is None else f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}"
                    self._outcome.violations.append(f"{name} raised {error!r} in {where}")
                    return
                self._outcome.counts["calls"] += 1
                time.sleep(pause_s)

        self._threads.append(threading.Thread(target=run, name=name))

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(15.0)
            if thread.is_alive():
                frame = sys._current_frames().get(thread.ident or 0)
                at = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "?"
                self._outcome.violations.append(f"{thread.name} does not come back from {at}")


def at_once(outcome: Outcome, what: str, stop: Callable[[], None], *, limit_s: float) -> None:
    """Stop it from four threads at once, and once more; each returns in time."""

    together = threading.Barrier(4)

    def one(first: bool = True) -> None:
        if first:
            together.wait(10.0)
        try:
            with outcome.within(limit_s, f"stopping the {what}"):
                stop()
        except BaseException as error:  # noqa: BLE001 - it is what is looked for
            at = error.__traceback__
            while at is not None and at.tb_next is not None:
                at = at.tb_next
            where = "" if at is None else f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}"
            outcome.violations.append(f"stopping the {what} raised {error!r} in {where}")

    threads = [threading.Thread(target=one, name=f"stops-{index}") for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit_s + 5)
        outcome.check(not thread.is_alive(), f"stopping the {what} does not end")
    one(first=False)
    outcome.counts["stops"] += 5
