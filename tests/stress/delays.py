"""Seeded delays where threads meet: nothing, a yield of the processor, or 0.1 to 5 ms of sleep.

What the machine does by itself now and then is done here all the time, and at the places that
count. Each thread draws from a generator of its own, by the seed and its name, so that what one
thread draws does not hang on when another one runs. A seed also draws *strained* locks and
queues, where every fourth pass is held up: a race that needs one thread to be late at one place
again and again is found there.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter

SLEEP_S = (0.0001, 0.005)
YIELDS = 0.15
"""Share of the passes that give up the processor."""
SLEEPS = 0.01
"""Share that sleep: a frame of 20 ms passes some ten points, and has to come in time."""
STRAINED_SLEEPS = 0.25
STRAINED = 0.1
"""Share of the locks and queues that a seed strains."""

BRIEF_SLEEPS, BRIEF_YIELDS, BRIEF_S = 0.003, 0.02, 0.0008
"""Of the instructions of a module that is traced."""


class _OfThread(threading.local):
    rng: random.Random | None = None
    asleep_s = 0.0


class Delays:
    """Holds threads up; `active` switches it, for all of them.

    Args:
        seed: Gives all that is drawn.
    """

    def __init__(self, seed: int) -> None:
        self.active = False
        self.counts: Counter[str] = Counter()
        """Of what was done, by kind: "none", "yield", "sleep"; of the threads that have ended."""
        self._seed = seed
        self._mine = _OfThread()
        self._threads: Counter[str] = Counter()
        self._tallies: list[list[int]] = []
        self._strained: dict[str, bool] = {}
        self._lock = threading.Lock()

    @property
    def asleep_s(self) -> float:
        """What this thread has slept here so far."""
        return self._mine.asleep_s

    def pause(self, where: str) -> None:
        """Hold this thread up, or not; `where` is the name of a lock or a queue."""
        if not self.active:
            return
        mine = self._mine
        rng = mine.rng or self._begin()
        drawn = rng.random()
        strained = self._strained.get(where)
        if strained is None:
            strained = random.Random(f"{self._seed} {where}").random() < STRAINED
            self._strained[where] = strained
        sleeps = STRAINED_SLEEPS if strained else SLEEPS
        if drawn < sleeps:
            mine.tally[2] += 1
            began = time.monotonic()
            time.sleep(rng.uniform(*SLEEP_S))
            mine.asleep_s += time.monotonic() - began
        elif drawn < sleeps + YIELDS:
            mine.tally[1] += 1
            os.sched_yield()
        else:
            mine.tally[0] += 1

    def pause_briefly(self) -> None:
        """As `pause`, between two instructions: more rarely, and for less than 1 ms."""
        if not self.active:
            return
        mine = self._mine
        drawn = (mine.rng or self._begin()).random()
        if drawn < BRIEF_SLEEPS:
            mine.tally[2] += 1
            began = time.monotonic()
            time.sleep(drawn / BRIEF_SLEEPS * BRIEF_S)
            mine.asleep_s += time.monotonic() - began
        elif drawn < BRIEF_YIELDS:
            mine.tally[1] += 1
            os.sched_yield()
        else:
            mine.tally[0] += 1

    def totals(self) -> dict[str, int]:
        """How often each was done, by all threads."""
        sums = [sum(tally[kind] for tally in self._tallies) for kind in range(3)]
        return dict(zip(("none", "yield", "sleep"), sums, strict=True))

    def strained(self) -> list[str]:
        """What this seed strains, of what was met."""
        return sorted(where for where, strained in list(self._strained.items()) if strained)

    def _begin(self) -> random.Random:
        mine, name = self._mine, threading.current_thread().name
        mine.tally = [0, 0, 0]
        with self._lock:
            self._tallies.append(mine.tally)
            self._threads[name] += 1
            count = self._threads[name]
        mine.rng = random.Random(f"{self._seed} {name} {count}")
        return mine.rng
