"""Calls into a sound system that may never return, and what it prints meanwhile.

Opening and closing a device asks a driver or a sound server, and waits for its answer without a
limit: a server that hangs hangs its clients. `BoundedCalls` makes such a call in a thread of its
own and gives up on it after a while. `quiet_stderr` keeps the libraries' chatter off the terminal.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from slng_edge.errors import DeviceLost
from slng_edge.threads import start_thread

log = logging.getLogger(__name__)

T = TypeVar("T")

_CHATTER = re.compile(
    rb"^(ALSA lib |Expression '|Cannot connect to server |JackShm|jack server |"
    rb"connect\(2\) call to |attempt to connect to server |Cannot lock down |"
    rb"PaAlsa|PaUtil|.*jack_client|Failed to connect to server|Failed to load cookie file|\s*$)"
)


class _Call(Generic[T]):
    """One call under way, and what became of it."""

    def __init__(self, function: Callable[[], T], undo: Callable[[T], object] | None) -> None:
        self.done = threading.Event()
        self.value: list[T] = []
        self.error: BaseException | None = None
        self._function = function
        self._undo = undo
        self._lock = threading.Lock()
        self._abandoned = False

    def make(self) -> None:
        """Make the call; undo what it brought where nobody waits for it any more."""
        try:
            value = self._function()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            self.error = error
            return
        with self._lock:
            if not self._abandoned:
                self.value.append(value)
                return
        if self._undo is not None:
            self._undo(value)

    def abandon(self) -> bool:
        """Say that nobody waits any more; False when the value is there after all."""
        with self._lock:
            self._abandoned = not self.value and self.error is None
            return self._abandoned


class BoundedCalls:
    """Makes calls one at a time, each in a daemon thread, each with a limit; any thread.

    Args:
        name: Of the threads, as stack dumps show them.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = threading.Lock()

    def run(
        self,
        function: Callable[[], T],
        *,
        what: str,
        timeout_s: float,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """What `function` returns or raises; waits at most twice `timeout_s`.

        Args:
            function: The call.
            what: For messages: "opening the output".
            timeout_s: Longest wait for earlier calls to end, and again for this one.
            undo: Gets what `function` returned after we had given up on it.

        Raises:
            DeviceLost: no answer in time, and the call goes on in its thread, and those that
                follow are refused until it has ended; or there may be no more threads.
        """
        if not self._turn.acquire(timeout=timeout_s):
            raise DeviceLost(f"{what}: the sound system still owes an answer to an earlier call")
        call = _Call(function, undo)

        def body() -> None:
            try:
                call.make()
            finally:
                self._turn.release()
                call.done.set()

        thread = threading.Thread(target=body, name=self._name, daemon=True)
        try:
            start_thread(thread)
        except OSError as error:
            self._turn.release()
            raise DeviceLost(f"{what}: {error.strerror}") from error
        if not call.done.wait(timeout_s) and call.abandon():
            STDERR.restore()  # the call may never come back to do it
            raise DeviceLost(f"{what}: the sound system has not answered for {timeout_s:g} s")
        thread.join()
        if call.error is not None:
            raise call.error
        return call.value[0]


class _Stderr:
    """File descriptor 2, and where it leads when nobody keeps it quiet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._terminal: int | None = None

    def divert(self, to: int) -> None:
        """Lead it to the descriptor `to`; OSError where there is no standard error."""
        with self._lock:
            self._terminal = os.dup(2)
            os.dup2(to, 2)

    def restore(self) -> None:
        """Lead it back; nothing where it is not diverted. Any thread."""
        with self._lock:
            if self._terminal is not None:
                os.dup2(self._terminal, 2)
                os.close(self._terminal)
                self._terminal = None


STDERR = _Stderr()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what ALSA, JACK and PortAudio print on file descriptor 2 off the terminal.

    The descriptor is the whole process's, so other threads' lines land here too: everything that
    is not known chatter is passed on at the end. One caller at a time; a call that hangs is ended
    for the descriptor by `BoundedCalls`, or the log would be lost with it.
    """
    kept = os.memfd_create("stderr", os.MFD_CLOEXEC)
    try:
        STDERR.divert(kept)
    except OSError:
        # There is no standard error: nothing to keep quiet.
        os.close(kept)
        yield
        return
    try:
        yield
    finally:
        STDERR.restore()
        _pass_on(kept)


def _pass_on(kept: int) -> None:
    with os.fdopen(kept, "rb") as file:
        file.seek(0)
        lines = file.readlines()
    others = [line for line in lines if not _CHATTER.match(line)]
    if others:
        # Gone is gone: there is nobody left to tell.
        with contextlib.suppress(OSError):
            os.write(2, b"".join(others))
    if len(lines) > len(others):
        log.debug("kept %d lines of the sound libraries off stderr", len(lines) - len(others))
