"""`threading` and `queue` as the product sees them here: delayed, and watched."""

from __future__ import annotations

import functools
import linecache
import queue
import re
import sys
import threading
from types import FrameType, ModuleType
from typing import Any, Self

from stress.delays import Delays
from stress.justified import SIGNALS
from stress.watch import Watch

_ASSIGNED = re.compile(r"\s*(?:self\.)?(\w+)\s*(?::[^=]+)?=")

DELAYS = Delays(0)
WATCH = Watch(DELAYS)
"""What `install` puts here."""


def name_of(frame: FrameType) -> str:
    """What is made in `frame`: module, class and attribute, without the product's name."""
    module = str(frame.f_globals["__name__"]).removeprefix("slng_edge.")
    attribute = _attribute(frame.f_code.co_filename, frame.f_lineno)
    owner = frame.f_code.co_qualname.rpartition(".")[0]
    return ".".join(part for part in (module, owner, attribute) if part)


@functools.cache
def _attribute(file: str, line: int) -> str:
    looks = sys.getprofile()
    sys.setprofile(None)  # the source is read by us, whatever the product holds
    try:
        found = _ASSIGNED.match(linecache.getline(file, line))
    finally:
        sys.setprofile(looks)
    return found[1] if found else f"line {line}"


class Lock:
    """As `threading.Lock`."""

    def __init__(self, name: str = "") -> None:
        self.name = name or name_of(sys._getframe(1))
        self._lock = threading.Lock()
        self._signals = self.name in SIGNALS
        self._owner: int | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        DELAYS.pause(self.name)
        if self._signals:
            if blocking and timeout != 0:
                WATCH.waiting("thread signal")
            return self._lock.acquire(blocking, timeout)
        WATCH.taking(self, waits=blocking)
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner = threading.get_ident()
        WATCH.taken(self)
        return True

    def release(self) -> None:
        if not self._signals:
            WATCH.releasing(self)
            self._owner = None
        self._lock.release()
        DELAYS.pause(self.name)

    def locked(self) -> bool:
        return self._lock.locked()

    def _is_owned(self) -> bool:
        return self._owner == threading.get_ident()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class RLock:
    """As `threading.RLock`; watched from the first time that a thread takes it to the last."""

    def __init__(self, name: str = "") -> None:
        self.name = name or name_of(sys._getframe(1))
        self._lock = threading.RLock()
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        DELAYS.pause(self.name)
        if not self._lock.acquire(blocking, timeout):
            return False
        self._depth += 1
        if self._depth == 1:
            WATCH.taken(self)
        return True

    def release(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            WATCH.releasing(self)
        self._lock.release()
        DELAYS.pause(self.name)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def _is_owned(self) -> bool:
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return]

    def _release_save(self) -> int:
        depth = self._depth
        for _ in range(depth):
            self.release()
        return depth

    def _acquire_restore(self, depth: int) -> None:
        for _ in range(depth):
            self.acquire()


class Condition(threading.Condition):
    """As `threading.Condition`."""

    def __init__(self, lock: Lock | RLock | None = None) -> None:
        self._held = lock or RLock(name_of(sys._getframe(1)))
        super().__init__(self._held)  # type: ignore[arg-type]

    def wait(self, timeout: float | None = None) -> bool:
        DELAYS.pause(self._held.name)
        WATCH.waiting("thread condition", but=self._held)
        woken = super().wait(timeout)
        DELAYS.pause(self._held.name)
        return woken

    def notify(self, n: int = 1) -> None:
        DELAYS.pause(self._held.name)
        super().notify(n)
        DELAYS.pause(self._held.name)


class Event(threading.Event):
    """As `threading.Event`."""

    def __init__(self) -> None:
        super().__init__()
        self.name = name_of(sys._getframe(1))

    def set(self) -> None:
        DELAYS.pause(self.name)
        super().set()
        DELAYS.pause(self.name)

    def clear(self) -> None:
        DELAYS.pause(self.name)
        super().clear()

    def wait(self, timeout: float | None = None) -> bool:
        DELAYS.pause(self.name)
        if timeout is None or timeout > 0:
            WATCH.waiting("thread event")
        found = super().wait(timeout)
        DELAYS.pause(self.name)
        return found


class Thread(threading.Thread):
    """As `threading.Thread`."""

    def start(self) -> None:
        DELAYS.pause(self.name)
        WATCH.waiting("thread start")
        super().start()
        DELAYS.pause(self.name)

    def run(self) -> None:
        DELAYS.pause(self.name)
        super().run()

    def join(self, timeout: float | None = None) -> None:
        DELAYS.pause(self.name)
        WATCH.waiting("thread join")
        super().join(timeout)
        DELAYS.pause(self.name)


class _Delayed:
    """What queues of both kinds have in common."""

    name = ""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        DELAYS.pause(self.name)
        if block and getattr(self, "maxsize", 0) > 0:
            WATCH.waiting("thread queue")
        super().put(item, block, timeout)  # type: ignore[misc]
        DELAYS.pause(self.name)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        DELAYS.pause(self.name)
        if block:
            WATCH.waiting("thread queue")
        item = super().get(block, timeout)  # type: ignore[misc]
        DELAYS.pause(self.name)
        return item


class Queue(_Delayed, queue.Queue[Any]):
    """As `queue.Queue`."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self.name = name_of(sys._getframe(1))


class SimpleQueue(_Delayed, queue.SimpleQueue[Any]):  # type: ignore[misc]
    """As `queue.SimpleQueue`."""

    def __init__(self) -> None:
        super().__init__()
        self.name = name_of(sys._getframe(1))

    def __new__(cls) -> Self:
        return super().__new__(cls)


class Shown(ModuleType):
    """A module as it is, but for some names.

    Args:
        real: What all else is taken from.
        names: What is different.
    """

    def __init__(self, real: ModuleType, **names: Any) -> None:
        super().__init__(real.__name__, real.__doc__)
        self.__dict__.update(names)
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
