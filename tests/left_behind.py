"""What a process holds, and what tests change in it: to be compared with what was before.

Threads, descriptors and children are what a test may leave behind; the rest is what it may leave
changed for every test that follows in the same process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NOT_OURS = ("/dev/", "/proc/", "/sys/", "pipe:", "anon_inode:")
"""Descriptors that libraries keep for good; what we must close is files and sockets."""

_OF_PYTEST = ("PYTEST_CURRENT_TEST", "PYTEST_VERSION")

_LIMITS = ("RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_AS", "RLIMIT_NPROC")


@dataclass(frozen=True)
class Child:
    """A child of this process, which may have ended and not be waited for.

    Attributes:
        started: When, in ticks: a number may be given out again.
    """

    pid: int
    started: str
    command: str = field(compare=False)


@dataclass(frozen=True)
class Held:
    """Threads, open files and sockets, and child processes of this process, at one moment."""

    threads: frozenset[threading.Thread]
    descriptors: frozenset[tuple[int, str]]
    children: frozenset[Child]

    @classmethod
    def now(cls) -> Held:
        """What there is."""
        return cls(
            frozenset(threading.enumerate()), frozenset(_descriptors()), frozenset(_children())
        )

    def since(self, before: Held) -> Held:
        """What is here and was not there."""
        return Held(
            self.threads - before.threads,
            self.descriptors - before.descriptors,
            _added(self.children, before.children),
        )

    def __bool__(self) -> bool:
        return bool(self.threads or self.descriptors or self.children)

    def __str__(self) -> str:
        found = {
            "threads": sorted(thread.name for thread in self.threads),
            "open": sorted(target for _, target in self.descriptors),
            "processes": sorted(f"{child.command} ({child.pid})" for child in self.children),
        }
        return ", ".join(f"{what} {names}" for what, names in found.items() if names)


def _descriptors() -> set[tuple[int, str]]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # Closed meanwhile: the listing's own, for one.
        if not target.startswith(_NOT_OURS):
            found.add((int(name), target))
    return found


def _children() -> set[Child]:
    found = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # the thread has ended meanwhile
            for pid in Path(f"/proc/self/task/{task}/children").read_text().split():
                with contextlib.suppress(OSError):
                    found.add(_child(int(pid)))
    return found


def _child(pid: int) -> Child:
    before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    fields = after.split()
    if fields[0] == "Z":
        return Child(pid, fields[19], f"{before.partition('(')[2]}, ended and not waited for")
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return Child(pid, fields[19], words.replace("\0", " ").strip())


def _added(now: frozenset[Child], before: frozenset[Child]) -> frozenset[Child]:
    """Those that are new, but for one that has taken the place of another of the same command.

    Of a server that a module's fixture holds, a test may have made a new one.
    """
    gone = Counter(child.command for child in before - now)
    added = set()
    for child in now - before:
        if gone[child.command]:
            gone[child.command] -= 1
        else:
            added.add(child)
    return frozenset(added)


@dataclass(frozen=True)
class ProcessState:
    """What belongs to the whole process, by its name, and how each is set back."""

    values: dict[str, Any]

    @classmethod
    def now(cls) -> ProcessState:
        """How it is; takes 50 µs."""
        return cls({name: look() for name, (look, _) in _PARTS.items()})

    def changed_to(self, after: ProcessState) -> list[str]:
        """A line for each part that is another in `after`."""
        return [
            f"{name}: {_shown(value, after.values[name])}"
            for name, value in self.values.items()
            if value != after.values[name]
        ]

    def restore(self) -> None:
        """Make it so again, in the main thread."""
        now = ProcessState.now()
        for name, value in self.values.items():
            if value != now.values[name]:
                _PARTS[name][1](value)


def _shown(before: Any, after: Any) -> str:
    """What differs; of an environment the names alone, since a value may be a key."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted(
            str(name)
            for name in before.keys() | after.keys()
            if before.get(name) != after.get(name)
        )
        return " ".join(names)
    return f"{before!r} became {after!r}"


_SIGNALS = sorted(
    # SIGALRM is pytest-timeout's, which takes its handler back when a test has failed.
    set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGALRM}
)


def _signal_handlers() -> dict[str, Any]:
    return {number.name: signal.getsignal(number) for number in _SIGNALS}


def _set_handlers(handlers: dict[str, Any]) -> None:
    for name, handler in handlers.items():
        if handler is not None:  # None: not set by Python, and cannot be
            signal.signal(signal.Signals[name], handler)


def _umask() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("Umask:")[2].split()[0], 8)


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "a folder that was removed"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OF_PYTEST}


def _set_environment(values: dict[str, str]) -> None:
    for name in set(_environment()) - set(values):
        del os.environ[name]
    os.environ.update(values)


def _limits() -> dict[str, tuple[int, int]]:
    return {name: resource.getrlimit(getattr(resource, name)) for name in _LIMITS}


def _set_limits(values: dict[str, tuple[int, int]]) -> None:
    for name, value in values.items():
        resource.setrlimit(getattr(resource, name), value)


_PARTS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "signal handlers": (_signal_handlers, _set_handlers),
    "blocked signals": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda value: signal.pthread_sigmask(signal.SIG_SETMASK, value),
    ),
    "umask": (_umask, os.umask),
    "working directory": (_folder, os.chdir),
    "environment": (_environment, _set_environment),
    "resource limits": (_limits, _set_limits),
    "switch interval": (sys.getswitchinterval, sys.setswitchinterval),
    "sys.excepthook": (lambda: sys.excepthook, lambda hook: setattr(sys, "excepthook", hook)),
    "threading.excepthook": (
        lambda: threading.excepthook,
        lambda hook: setattr(threading, "excepthook", hook),
    ),
    "sys.path": (lambda: list(sys.path), lambda paths: sys.path.__setitem__(slice(None), paths)),
    "socket timeout": (socket.getdefaulttimeout, socket.setdefaulttimeout),
    "garbage collection": (gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    "frozen garbage": (lambda: gc.get_freeze_count() > 0, lambda _: gc.unfreeze()),
}
