"""Hands that reach into a conversation, by a seed."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

from labelled_sound import answer_to
from stress.outcome import Outcome
from stress.room import Room

from slng_edge import VoiceLoop
from slng_edge.errors import ControlError
from slng_edge.simulator import Faults, LocalGateway

HANDS = 3
"""Threads."""

LAST = 900
"""The number of the question at the end; theirs are below."""


class Hands:
    """Three threads that reach into the conversation, by a seed."""

    def __init__(
        self, outcome: Outcome, seed: int, loop: VoiceLoop, served: LocalGateway, room: Room
    ) -> None:
        self._outcome, self._seed = outcome, seed
        self._loop, self._served, self._room = loop, served, room
        self._numbers = iter(range(500, LAST))
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.acts: Counter[str] = Counter()
        self._threads = [
            threading.Thread(target=self._run, args=(index,), name=f"hand-{index}")
            for index in range(HANDS)
        ]

    def __enter__(self) -> Hands:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(15.0)
            self._outcome.check(not thread.is_alive(), f"{thread.name} does not come back")
        self._room.taken.clear()
        self._served.faults, self._served.refuse_new = Faults(), None
        self._served.drop_all()  # each connection keeps the faults that it began with
        self._loop.mute(False)
        self._loop.set_volume(1.0)
        self._loop.retry_now()

    def _run(self, index: int) -> None:
        rng = random.Random(f"{self._seed} hand {index}")
        kinds = [name for name in dir(self) if name.startswith("do_")]
        while not self._over.wait(rng.choice((0.0, 0.05, 0.3, 0.8))):
            name = rng.choice(kinds)
            try:
                getattr(self, name)(rng)
            except ControlError:  # muted, or too much waits: said to whoever asks
                self._outcome.counts["calls refused"] += 1
            except BaseException as error:
                self._outcome.violations.append(f"{name} raised {error!r}")
                raise
            with self._lock:
                self.acts[name.removeprefix("do_")] += 1

    def _number(self) -> int:
        with self._lock:
            return next(self._numbers)

    # By the name of each, several weigh more

    def do_stop(self, rng: random.Random) -> None:
        self._loop.interrupt(rng.choice(("command", "button")))

    def do_wake(self, rng: random.Random) -> None:
        self._loop.wake()

    def do_button(self, rng: random.Random) -> None:
        self._loop.talk_or_stop()

    def do_mute(self, rng: random.Random) -> None:
        self._loop.mute(True)
        time.sleep(rng.choice((0.0, 0.0, 0.1, 0.4)))
        self._loop.mute(False)

    def do_say(self, rng: random.Random) -> None:
        self._loop.say(answer_to(self._number(), rng.choice((1, 2))), now=rng.random() < 0.4)

    def do_ask(self, rng: random.Random) -> None:
        self._loop.ask(f"words of {self._number()}")

    def do_volume(self, rng: random.Random) -> None:
        self._loop.set_volume(rng.choice((0.0, 0.5, 1.0, 1.0, 1.0)))

    def do_retry(self, rng: random.Random) -> None:
        self._loop.retry_now()

    def do_look(self, rng: random.Random) -> None:
        self._loop.counters()
        self._loop.problems()

    def do_drop(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            self._served.drop_all()

    def do_fault(self, rng: random.Random) -> None:
        drawn = f"random={rng.randrange(10**6)}:60"
        self._served.faults = Faults(*rng.choice(((), (drawn,), (drawn,))))
        self._served.refuse_new = rng.choice((None, None, None, 503))

    def do_take_device(self, rng: random.Random) -> None:
        which = rng.choice(("input", "output"))
        self._room.taken.add(which)
        time.sleep(rng.choice((0.05, 0.3)))
        self._room.taken.discard(which)
