"""Keys of the terminal in which the service was started by hand.

The terminal gives each key at once, without showing it, as long as this process is in its
foreground; it is as it was before whenever the process stops, is stopped with Ctrl-Z, or ends.
In the background nothing is read, and nothing is changed: both would stop the whole process. So
the two signals for it are blocked where the terminal is touched, and who is in the foreground is
looked for. Ctrl-C, Ctrl-Z and Ctrl-\\ go on to do what they do.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from slng_edge.service.button import HandControls
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

HELP = "keys: Enter or space: talk or stop, m: mute, + and -: volume, q: quit"
VOLUME_STEP = 0.1
LONGEST_TYPED_BYTES = 8
"""What comes at once and is longer was pasted: a q in it ends nothing."""
FOREGROUND_POLL_S = 0.5
"""How late it is noticed that the process is in the foreground again."""
_ESCAPE = b"\x1b"
_LOCAL_FLAGS = 3
_CONTROL_CHARACTERS = 6


def is_terminal(descriptor: int = 0) -> bool:
    """Whether somebody may press keys there."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


class TerminalKeys:
    """Owns the thread `keys`, which calls `controls`, and the terminal's mode.

    Args:
        controls: What the keys do.
        descriptor: The terminal, standard input. It is not closed.
        say: Gets the one line that says which keys there are; standard error.
        on_death: As in `Worker`.
    """

    def __init__(
        self,
        controls: HandControls,
        *,
        descriptor: int = 0,
        say: Callable[[str], None] | None = None,
        on_death: OnDeath | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._say = say or _say_on_standard_error
        self._does: dict[bytes, Callable[[], None]] = {
            **dict.fromkeys((b"\n", b"\r", b" "), controls.talk_or_stop),
            **dict.fromkeys((b"m", b"M"), controls.toggle_mute),
            **dict.fromkeys((b"+", b"="), lambda: controls.change_volume(VOLUME_STEP)),
            **dict.fromkeys((b"-", b"_"), lambda: controls.change_volume(-VOLUME_STEP)),
            **dict.fromkeys((b"q", b"Q"), controls.quit),
        }
        self._lock = threading.RLock()  # A signal's handler may come in while it is held.
        self._before: list[Any] | None = None  # under the lock; None: the mode is not ours
        self._may_change = False  # under the lock
        self._wake_read, self._wake_write = -1, -1
        self._worker = Worker("keys", self._run, wake=self._wake, on_death=on_death)
        self._handles_ctrl_z = False

    def start(self) -> None:
        """Say which keys there are and take them from now on; once.

        In the main thread it takes care of Ctrl-Z as well.
        """
        self._wake_read, self._wake_write = os.pipe()
        self._may_change = True
        atexit.register(self._restore)
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            signal.signal(signal.SIGTSTP, self._suspend)
            self._handles_ctrl_z = True
        self._say(HELP)
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Leave the terminal as it was. Any thread, any number of times.

        Raises:
            StuckThread: `controls` did not return within `timeout_s`; the terminal is as it was.
        """
        with self._lock:
            self._may_change = False
        self._restore()
        atexit.unregister(self._restore)
        if self._handles_ctrl_z and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            self._handles_ctrl_z = False
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        # Else a read, or a change of mode, that comes a moment after this process has left the
        # foreground stops it. With the signals blocked in this thread, the call fails instead.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN, signal.SIGTTOU})
        try:
            while not self._worker.stopping.is_set():
                if not self._is_foreground():
                    self._wait_for_key(FOREGROUND_POLL_S, keys=False)
                    continue
                self._take_over()
                # Others change the mode too: a shell that brings this job back, for one.
                if self._wait_for_key(FOREGROUND_POLL_S, keys=True) and not self._read():
                    log.info("the terminal is gone: no keys any more")
                    return
        finally:
            self._restore()
            self._close_pipe()

    def _wait_for_key(self, timeout_s: float, *, keys: bool) -> bool:
        """Whether there is something to read; False when it is over, or `timeout_s` is."""
        watched = [self._wake_read, *([self._descriptor] if keys else [])]
        ready, _, _ = select.select(watched, [], [], timeout_s)
        return self._descriptor in ready and self._wake_read not in ready

    def _read(self) -> bool:
        """Take what was typed; False where there will be no more."""
        typed = b""
        # EIO: in the background by now, which passes, or the terminal is gone.
        with contextlib.suppress(OSError):
            typed = os.read(self._descriptor, 1024)
        if len(typed) <= LONGEST_TYPED_BYTES:
            # An arrow or a function key is ESC and more bytes, all at once.
            for key in typed.partition(_ESCAPE)[0]:
                does = self._does.get(bytes([key]))
                if does is not None and not self._worker.stopping.is_set():
                    does()
        return bool(typed) or self._is_there()

    def _is_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            # Not the terminal this process is controlled by: there is no foreground to be in.
            return True

    def _is_there(self) -> bool:
        try:
            termios.tcgetattr(self._descriptor)
        except termios.error:
            return False
        return True

    def _take_over(self) -> None:
        """Have each key given at once and unseen, where that is not so already."""
        with self._lock:
            if not self._may_change:
                return
            try:
                mode = termios.tcgetattr(self._descriptor)
                if not mode[_LOCAL_FLAGS] & (termios.ICANON | termios.ECHO):
                    return
                self._before = [*mode[:-1], [*mode[-1]]]
                mode[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO)
                # A read never waits: another program may have read the key before.
                mode[_CONTROL_CHARACTERS][termios.VMIN] = 0
                mode[_CONTROL_CHARACTERS][termios.VTIME] = 0
                # What was typed before this is not meant for us.
                termios.tcflush(self._descriptor, termios.TCIFLUSH)
                # TCSANOW and no other: they wait for output, which Ctrl-S may hold up for ever.
                termios.tcsetattr(self._descriptor, termios.TCSANOW, mode)
            except termios.error as error:
                log.debug("the terminal's mode stays as it is: %s", error)

    def _restore(self) -> None:
        """Give the terminal its own mode back."""
        with self._lock, _may_touch_terminal():
            if self._before is None:
                return
            before, self._before = self._before, None
            if not self._is_foreground():
                # Another program has the terminal now, and the mode it wants.
                return
            try:
                termios.tcsetattr(self._descriptor, termios.TCSANOW, before)
            except termios.error as error:
                log.debug("the terminal is gone: %s", error)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: stop, as one would without us, but with the terminal as it was."""
        with self._lock:
            self._restore()
            # Held, so that the other thread does not take over before this process has stopped.
            os.kill(os.getpid(), signal.SIGSTOP)

    def _wake(self) -> None:
        with self._lock:
            if self._wake_write >= 0:
                os.write(self._wake_write, b"x")

    def _close_pipe(self) -> None:
        with self._lock:
            for descriptor in (self._wake_read, self._wake_write):
                if descriptor >= 0:
                    os.close(descriptor)
            self._wake_read = self._wake_write = -1


def _say_on_standard_error(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@contextlib.contextmanager
def _may_touch_terminal() -> Iterator[None]:
    """A change of the terminal's mode from the background fails, instead of stopping all."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN, signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
