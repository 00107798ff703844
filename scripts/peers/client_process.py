"""A client as a process, and what the kernel counts of it and its children."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from slng_edge.benchmarks.processes import cpu_s

END_TIMEOUT_S = 5.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What a client has used so far.

    Attributes:
        at: `time.monotonic()`.
        cpu_s: CPU seconds, user and system, of all threads, and of children alive and ended.
        wakes: Times that a thread of them went to wait, which is how often one is woken.
        peak_mib: The greatest resident sets (VmHWM), summed.
    """

    at: float
    cpu_s: float
    wakes: int
    peak_mib: float


class ClientProcess:
    """A process group of its own; a context manager that ends it.

    Attributes:
        started_at: `time.monotonic()` just before the process was made.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command, self._environment = list(command), dict(environment)
        self.started_at = 0.0

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=os.sep,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        left = [pid for pid in _tree(self._process.pid) if pid != self._process.pid]
        self._process.terminate()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_TIMEOUT_S)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):  # it ended with its parent
                os.kill(pid, 9)
        self._log.close()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def said(self) -> str:
        """The end of what it wrote."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip()[-1500:]

    def usage(self) -> Usage:
        """What it has used so far."""
        used_s, wakes, peak_mib = _ended_children_s(self._process.pid), 0, 0.0
        for pid in _tree(self._process.pid):
            with contextlib.suppress(OSError):  # a child ended meanwhile
                used_s += cpu_s(pid)
                wakes += _wakes(pid)
                peak_mib += _peak_mib(pid)
        return Usage(time.monotonic(), used_s, wakes, peak_mib)


def _tree(root: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended meanwhile
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _ended_children_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICKS_PER_S


def _wakes(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # the thread ended meanwhile
            for line in (task / "status").read_text(encoding="ascii").splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    total += int(line.split()[1])
    return total


def _peak_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
