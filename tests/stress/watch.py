"""Who holds which lock of the product, in which order, for how long, and what is done meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from stress.delays import Delays
from stress.io_calls import waits_for
from stress.justified import HELD_ACROSS

DEPTH = 14
"""Frames of a stack that are shown."""

_FOLDER = Path(__file__).resolve().parent
_INSTRUMENTS = tuple(
    str(_FOLDER / f"{name}.py") for name in ("delays", "lines", "primitives", "watch")
)
_UNSHOWN = (*_INSTRUMENTS, threading.__file__)
"""Frames that are not shown: those of the instruments, and `with` of a condition."""

Stack = tuple[tuple[CodeType, int], ...]


@dataclass
class Use:
    """What was seen of all locks of one name."""

    taken: int = 0
    longest_s: float = 0.0
    """Held by one thread in one go, less what it was held up in `Delays`."""
    longest_cpu_s: float = 0.0
    longest_by: str = ""


@dataclass
class _Hold:
    lock: Any
    at: float
    cpu_at: float
    asleep_s: float
    stack: Stack


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.held: list[_Hold] = []
        self.profiled = False


class Watch:
    """Told of every lock that is taken and given back; any thread.

    While a thread holds a lock, each call that it makes into C is looked at: what waits for a
    network, a file, a program, a device or another thread is a violation, unless `justified` says
    why it may.

    Attributes:
        violations: What must not be, each once, with the stacks.
        excused: Which lines of `justified` were needed.
    """

    def __init__(self, delays: Delays) -> None:
        self.delays = delays
        self.uses: dict[str, Use] = {}
        self.pairs: dict[tuple[str, str], str] = {}
        """Which lock was taken while which was held, and where for the first time."""
        self.violations: dict[str, str] = {}
        self.excused: set[tuple[str, str]] = set()
        self._mine = _OfThread()
        self._lock = threading.Lock()

    # Locks

    def taking(self, lock: Any, *, waits: bool) -> None:
        """This thread is about to take `lock`, which is not one that it may take twice."""
        if waits and any(hold.lock is lock for hold in self._mine.held):
            self._tell("takes again what it holds, which never ends", lock.name, sys._getframe(2))

    def taken(self, lock: Any) -> None:
        """This thread has taken `lock`."""
        held = self._mine.held
        stack = _stack(sys._getframe(2))
        for hold in held:
            pair = (hold.lock.name, lock.name)
            if pair not in self.pairs:
                told = f"{_shown(hold.stack)}\n  then\n{_shown(stack)}"
                with self._lock:
                    self.pairs.setdefault(pair, told)
        asleep_s = self.delays.asleep_s
        held.append(_Hold(lock, time.monotonic(), time.thread_time(), asleep_s, stack))
        if len(held) == 1:
            sys.setprofile(self._look)

    def releasing(self, lock: Any) -> None:
        """This thread is about to give `lock` back."""
        held = self._mine.held
        index = next((i for i in reversed(range(len(held))) if held[i].lock is lock), None)
        if index is None:
            self._tell("is given back by a thread that does not hold it", lock.name, _caller())
            return
        hold = held.pop(index)
        if not held:
            sys.setprofile(None)
        asleep_s = self.delays.asleep_s - hold.asleep_s
        held_s = time.monotonic() - hold.at - asleep_s
        cpu_s = time.thread_time() - hold.cpu_at
        with self._lock:
            use = self.uses.setdefault(lock.name, Use())
            use.taken += 1
            use.longest_cpu_s = max(use.longest_cpu_s, cpu_s)
            if held_s > use.longest_s:
                use.longest_s, use.longest_by = held_s, _line(*hold.stack[0])

    def waiting(self, what: str, *, but: Any = None) -> None:
        """This thread is about to wait for another one, with `but` given up meanwhile."""
        for hold in list(self._mine.held):
            if hold.lock is not but:
                self._held_across(hold, what, _caller())

    # What is done with a lock held

    def _look(self, frame: FrameType, event: str, arg: Any) -> None:
        what = waits_for(frame, event, arg)
        if what is None or frame.f_code.co_filename.startswith(_INSTRUMENTS):
            return
        for hold in list(self._mine.held):
            self._held_across(hold, what, frame)

    def _held_across(self, hold: _Hold, what: str, frame: FrameType) -> None:
        name = hold.lock.name
        for excuse in ((name, what), (name, what.partition(" ")[0])):
            if excuse in HELD_ACROSS:
                self.excused.add(excuse)
                return
        self._tell(f"is held across {what}", name, frame, hold.stack)

    def _tell(self, what: str, name: str, frame: FrameType, *others: Stack) -> None:
        told = f"{name} {what}"
        if told not in self.violations:
            thread = threading.current_thread().name
            stacks = "\n  taken at\n".join(map(_shown, (_stack(frame), *others)))
            with self._lock:
                self.violations.setdefault(told, f"in thread {thread}:\n{stacks}")


def cycles(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The circles in which locks are taken, each once; two threads in one may wait for ever."""
    after: dict[str, set[str]] = {}
    for first, then in pairs:
        after.setdefault(first, set()).add(then)
    found: dict[frozenset[str], list[str]] = {}

    def walk(path: list[str]) -> None:
        for then in sorted(after.get(path[-1], ())):
            if then in path:
                circle = path[path.index(then) :]
                found.setdefault(frozenset(circle), [*circle, then])
            elif len(path) < len(after) + 1:
                walk([*path, then])

    for name in sorted(after):
        walk([name])
    return list(found.values())


def _caller() -> FrameType:
    """The innermost frame that is not of these instruments."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_UNSHOWN):
        frame = frame.f_back
    assert frame is not None
    return frame


def _stack(frame: FrameType | None) -> Stack:
    found = []
    while frame is not None and len(found) < DEPTH:
        if not frame.f_code.co_filename.startswith(_UNSHOWN):
            found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


def _line(code: CodeType, line: int) -> str:
    path = Path(code.co_filename)
    return f"{'/'.join(path.parts[-3:])}:{line} in {code.co_name}"


def _shown(stack: Stack) -> str:
    return "\n".join(f"    {_line(code, line)}" for code, line in stack)
