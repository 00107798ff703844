"""A program, and one run of it with all that it starts.

A run leads a process group of its own, so that what it starts can be stopped with it: TERM for the
group, then KILL. What a program leaves in the background when it ends by itself is left alone. The
leader is reaped last, since its number names the group and must not go to a stranger before the
last signal is sent.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from slng_edge.errors import ConfigError
from slng_edge.responders.interface import ResponderUnreachable
from slng_edge.secrets import mask

log = logging.getLogger(__name__)

REAP_S = 0.5
"""Waited for the exit status of what has ended or was killed."""
_ENDING_POLL_S = 0.01


class Program:
    """What `responder.command` names, run without a shell and with little environment.

    The environment is PATH, HOME, LANG and what begins with SLNG_EDGE_ and holds no secret.

    Args:
        argv: The program and its arguments.

    Raises:
        ConfigError: `argv` is empty, or names no program that can be run.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._environment = _environment(os.environ)
        self._argv = [_program(argv, self._environment["PATH"]), *argv[1:]]
        self.name = Path(argv[0]).name

    def start(self) -> ProcessGroup:
        """Run it.

        Raises:
            ResponderUnreachable: it cannot be started.
        """
        try:
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=self._environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # an argument that the locale cannot encode
            reason = getattr(error, "strerror", None) or error
            raise ResponderUnreachable(f"{self._argv[0]} could not be started: {reason}") from error
        return ProcessGroup(process, self.name)


class ProcessGroup:
    """One run. `signal` may come from any thread, the rest belongs to one."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin: IO[bytes] = process.stdin
        self.stdout: IO[bytes] = process.stdout
        self.stderr: IO[bytes] = process.stderr
        self._process = process
        self._name = name
        self._lock = threading.Lock()
        self._reaped = False  # under the lock: then the number may be a stranger's

    def has_ended(self) -> bool:
        """Whether the leader has ended; it is not reaped by this."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def signal(self, number: signal.Signals) -> None:
        """Send `number` to all of the group. Any thread."""
        # The leader is not reaped, so the group exists; what became another user's is not ours.
        with self._lock, suppress(ProcessLookupError, PermissionError):
            if not self._reaped:
                os.killpg(self._process.pid, number)

    def kill(self, grace_s: float) -> None:
        """TERM, then KILL for whoever is left after `grace_s`, the longest wait."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while not self.has_ended() and time.monotonic() < deadline:
            time.sleep(_ENDING_POLL_S)
        self.signal(signal.SIGKILL)

    def reap(self) -> int:
        """Close the pipes and take the exit status of what has ended or was killed."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
        with self._lock:
            self._reaped = True
        try:
            return self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:
            # Killed, but inside a system call that does not return: a dead network drive.
            log.warning(
                "%s, process %d, was killed and does not end", self._name, self._process.pid
            )
            return -signal.SIGKILL


def ending(status: int) -> str:
    """How a program ended, in words: "ended with status 3"."""
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with status {status}"


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    environment = {
        name: value
        for name, value in ours.items()
        if name in ("HOME", "LANG") or (name.startswith("SLNG_EDGE_") and mask(value) == value)
    }
    return {"PATH": ours.get("PATH") or os.defpath, **environment}


def _program(argv: Sequence[str], path: str) -> str:
    """Where the program of `argv` lies, by its whole name."""
    if not argv or not argv[0]:
        raise ConfigError("responder.command is empty; name the program that answers")
    found = shutil.which(argv[0], path=path)
    if found is not None:
        return found
    if Path(argv[0]).is_file():
        raise ConfigError(
            f"responder.command: {argv[0]} is not executable; run: chmod +x {argv[0]}"
        )
    raise ConfigError(f"responder.command: no program {argv[0]}; give its whole path")
