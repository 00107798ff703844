"""One run of a hook: started, watched without polling, killed with all that it started.

The run leads a process group of its own. Its leader is reaped last: until then its number cannot
be a stranger's. What it leaves in the background when it ends by itself is left alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from slng_edge.responders.process_group import ending

GRACE_S = 0.3
"""Between TERM and KILL."""
REAP_S = 0.5
SAID_BYTES = 4096
FLOOD_BYTES = 1024 * 1024
"""Whoever complains more in one run is not read any further, and ends of a broken pipe."""
SAID_LIMIT = 200
"""Characters of its last complaint that are worth a place in the log."""


class HookRun:
    """A program that runs, or could not be started. `cancel` may come from any thread.

    Args:
        argv: The program and its arguments; no shell reads them.
        environment: All of its environment.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()  # the eventfd's life
        self._cancelled = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._read_bytes = 0
        self._not_started = ""
        try:
            self._cancelled = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=dict(environment),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self._not_started = f"could not be started: {reason}"

    def wait(self, limit_s: float) -> tuple[str, str]:
        """What became of it, "" where it ended with 0, and the last line of its complaints.

        Waits at most `limit_s`, and a second more where it has to be killed.
        """
        process = self._process
        if process is None:
            return self._not_started, ""
        if self._watch(process, limit_s):
            status = process.wait(REAP_S)
            return "" if status == 0 else ending(status), self._last_line()
        self._kill(process)
        return f"took longer than {limit_s:g} s and was killed", self._last_line()

    def cancel(self) -> None:
        """Have `wait` kill it and return; any thread."""
        with self._lock:
            if self._cancelled >= 0:
                os.eventfd_write(self._cancelled, 1)

    def close(self) -> None:
        """Give its descriptors back, killing what still runs; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                self._kill(process)
            if process.stderr is not None:
                process.stderr.close()
        with self._lock:
            if self._cancelled >= 0:
                os.close(self._cancelled)
                self._cancelled = -1

    def _watch(self, process: subprocess.Popen[bytes], limit_s: float) -> bool:
        """Whether it ended by itself within `limit_s`; its complaints are read meanwhile."""
        assert process.stderr is not None
        complaints = process.stderr.fileno()
        os.set_blocking(complaints, False)
        ended = os.pidfd_open(process.pid)
        deadline = time.monotonic() + limit_s
        try:
            poll = select.poll()
            for descriptor in (ended, self._cancelled, complaints):
                poll.register(descriptor, select.POLLIN)
            while (left_s := deadline - time.monotonic()) > 0:
                found = [descriptor for descriptor, _ in poll.poll(left_s * 1000)]
                if complaints in found and not self._read(complaints):
                    poll.unregister(complaints)
                    process.stderr.close()
                if ended in found:
                    if not process.stderr.closed:
                        self._read(complaints)  # what it said last; a pipe holds no more
                    return True
                if self._cancelled in found:
                    return False
            return False
        finally:
            os.close(ended)

    def _read(self, descriptor: int) -> bool:
        """Keep the end of what it says; False where nothing more will come, or is wanted."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(descriptor, 65536)
            self._said = (self._said + data)[-SAID_BYTES:]
            self._read_bytes += len(data)
            return bool(data) and self._read_bytes < FLOOD_BYTES
        return True

    def _last_line(self) -> str:
        lines = self._said.decode("utf-8", "replace").split("\n")
        return next((line.strip()[:SAID_LIMIT] for line in reversed(lines) if line.strip()), "")

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + GRACE_S
            while os.waitid(os.P_PID, process.pid, options) is None:
                if time.monotonic() >= deadline:
                    break
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # inside a call that does not return
            process.wait(REAP_S)
