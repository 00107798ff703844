"""Threads that have a name, can be told to stop, and do not die in silence."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable

from slng_edge.errors import StuckThread

log = logging.getLogger(__name__)

OnDeath = Callable[[str, BaseException], None]

BEGIN_S = 5.0
"""A thread that has not begun so long after it was started never will."""

_awaited: dict[threading.Thread, float] = {}
"""Threads that are being started, and those of workers until they end: since when."""


def start_thread(thread: threading.Thread) -> None:
    """Start `thread`. Any thread.

    Where memory runs out as it begins, `Thread.start` waits for it without an end:
    `vanished_threads` names it then.

    Raises:
        OSError: EAGAIN: there may be no more threads, or there is no memory for its stack.
    """
    _awaited[thread] = time.monotonic()
    try:
        _start(thread)
    finally:
        _awaited.pop(thread, None)


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:  # all that Python says
        raise OSError(errno.EAGAIN, str(error)) from error


def vanished_threads() -> list[str]:
    """Names of threads that did not begin within `BEGIN_S`, or ended and could not say why.

    Both happen where there is no memory, and Python tells nobody. Any thread.
    """
    known = list(_awaited.items())
    long_ago = time.monotonic() - BEGIN_S
    silent = [thread for thread, at in known if at < long_ago and not thread.is_alive()]
    # Looked at again: one that ends as it should takes itself out while it still lives.
    return [thread.name for thread in silent if thread in _awaited]


class Doorbell:
    """What one thread sleeps on until another rings: `threading.Condition` for a single sleeper.

    It costs less than a condition, which makes a lock for each wait: while speech streams, 4 to 7 %
    of the CPU and a tenth of the wake-ups.

    Args:
        lock: Held by whoever calls a method here. `wait` gives it up while it sleeps. So nothing
            that changes between a look under the lock and the sleep is missed.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._bell = threading.Lock()
        self._bell.acquire()
        self._sleeps = False

    def ring(self) -> None:
        """Wake the sleeper; nothing where nobody sleeps. Any thread, with the lock held."""
        if self._sleeps:
            self._sleeps = False
            self._bell.release()

    def wait(self, timeout_s: float) -> None:
        """Sleep until `ring`, at most `timeout_s`. One thread, with the lock held."""
        self._sleeps = True
        self._lock.release()
        try:
            rung = self._bell.acquire(timeout=max(0.0, timeout_s))
        finally:
            self._lock.acquire()
        if not rung and not self._sleeps:
            # Rung after the time was over, before we had the lock: it has been, this is no wait.
            self._bell.acquire(blocking=False)
        self._sleeps = False


def _nothing() -> None:
    """What a worker that has ended does."""


class Worker:
    """One named thread around `run`, which has to return soon after `stopping` is set.

    Args:
        name: The thread's name, as logs and stack dumps show it.
        run: The body. It looks at `stopping`, or is woken by `wake`.
        wake: Called by `stop` after `stopping` is set; ends whatever `run` blocks on.
        on_death: Called in the dying thread with its name and the exception
            that `run` let out. Without it the exception is logged.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], None],
        *,
        wake: Callable[[], None] | None = None,
        on_death: OnDeath | None = None,
    ) -> None:
        self.name = name
        self.stopping = threading.Event()
        self._run = run
        self._wake = wake
        self._on_death = on_death
        self._thread = threading.Thread(target=self._body, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread, once.

        Raises:
            OSError: as `start_thread`.
        """
        _awaited[self._thread] = time.monotonic()
        try:
            _start(self._thread)
        except OSError:
            del _awaited[self._thread]
            raise

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """Whether this is called in the worker's own thread."""
        return threading.current_thread() is self._thread

    def ask_to_stop(self) -> None:
        """Set `stopping` and wake the body; does not wait. Any thread, any number of times."""
        self.stopping.set()
        wake = self._wake  # looked at once: it is gone as soon as the thread has ended
        if wake is not None:
            wake()

    def stop(self, timeout_s: float) -> None:
        """Ask the thread to stop and wait for it, at most `timeout_s`.

        From the worker's own thread it asks and does not wait.

        Raises:
            StuckThread: it still runs after `timeout_s`.
        """
        self.ask_to_stop()
        self.join(timeout_s)

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end, at most `timeout_s`.

        Raises:
            StuckThread: it still runs after `timeout_s`.
        """
        if threading.current_thread() is self._thread or self._thread.ident is None:
            return
        self._thread.join(max(0.0, timeout_s))
        if self._thread.is_alive():
            raise StuckThread(f"thread {self.name} did not stop within {timeout_s:.1f} s")

    def _body(self) -> None:
        try:
            self._run()
        except BaseException as error:
            if self._on_death is None:
                log.exception("thread %s died", self.name)
            else:
                self._on_death(self.name, error)
            _awaited.pop(self._thread, None)
        else:
            _awaited.pop(self._thread, None)
        finally:
            # Whose methods they are is kept by it, and often keeps it: such a circle is found
            # late, and a connection is large.
            self._run, self._wake = _nothing, None
