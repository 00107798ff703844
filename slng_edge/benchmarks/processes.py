"""`slng-edge run` as a process of its own, watched from outside: events, CPU, memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from slng_edge.benchmarks.emulation import PATIENCE, emulating_host
from slng_edge.benchmarks.figures import MeasurementFailed

CPUCLOCK_SCHED = 2
"""linux/posix-timers.h: of a process's clocks the one that counts nanoseconds on a CPU."""

END_TIMEOUT_S = 8.0

COMMAND = (sys.executable, "-m", "slng_edge")
RUN = ("run", "--events", "-")


def child_environment() -> dict[str, str]:
    """The environment without what configures slng-edge."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLNG_")}
    # Nor what a service of this user has kept: one that was muted would hear nothing.
    kept["XDG_STATE_HOME"] = "/nonexistent"
    return {**kept, "SLNG_API_KEY": "local"}


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, that all threads of a process have used.

    The sum that `/proc/PID/stat` shows in hundredths, in nanoseconds.
    """
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


def peak_memory_mib(pid: int) -> float:
    """The greatest resident set of a process so far (VmHWM), in MiB."""
    return _number_in(Path(f"/proc/{pid}/status").read_text(encoding="ascii"), "VmHWM") / 1024


def voluntary_switches(pid: int) -> int:
    """How often a process's threads have gone to sleep so far: each was a wake-up.

    Threads that have ended take theirs with them.
    """
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            status = (task / "status").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has just ended
        total += _number_in(status, "voluntary_ctxt_switches")
    return total


@dataclass(frozen=True)
class Holdings:
    """What a process holds at a moment."""

    resident_kib: int
    threads: int
    files: int

    @classmethod
    def of(cls, pid: int) -> Holdings:
        """Those of process `pid`."""
        folder = Path(f"/proc/{pid}")
        status = (folder / "status").read_text(encoding="ascii")
        return cls(
            _number_in(status, "VmRSS"),
            _number_in(status, "Threads"),
            len(os.listdir(folder / "fd")),
        )


def _number_in(status: str, name: str) -> int:
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise MeasurementFailed(f"the process shows no {name}")


class RunProcess:
    """One `slng-edge run`; a context manager that ends it.

    Args:
        url: The gateway's.
        source, sink: `audio.input` and `audio.output`.
        settings: More `-s`.
        command: Instead of `slng-edge`: takes the same options before `run`.

    Attributes:
        started_at: `time.monotonic()` just before the process was made.
        events: (`time.monotonic()`, event) as they were read from its standard output.
        counts: How many of them by type.
    """

    def __init__(
        self,
        url: str,
        *,
        source: str = "null",
        sink: str = "null",
        settings: Sequence[str] = (),
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._command = tuple(command)
        self._settings = (
            f"gateway.url={url}",
            "gateway.tier=pro",
            f"audio.input={source}",
            f"audio.output={sink}",
            "control.socket=",
            "audio.echo_cancel=off",  # as where no extra is installed
            *settings,
        )
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.counts: Counter[str] = Counter()
        self.started_at = 0.0
        self._changed = threading.Condition()
        self._ended = False

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        overrides = [word for setting in self._settings for word in ("-s", setting)]
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(
            [*self._command, "--config", os.devnull, "--log-level", "warning", *overrides, *RUN],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._reader = threading.Thread(target=self._read, name="bench-events", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_TIMEOUT_S)
        self._reader.join(END_TIMEOUT_S)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # what was said to one that had ended
                stream.close()
        self._log.close()

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def say(self, line: str) -> None:
        """Write a line to its standard input.

        Raises:
            MeasurementFailed: it has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise MeasurementFailed("the measured process has ended") from error

    def of_type(self, type_: str) -> list[dict[str, Any]]:
        """The events of one type so far."""
        return [event for _, event in list(self.events) if event["type"] == type_]

    def ready_sessions(self) -> set[str]:
        """Sessions that were ready."""
        return {e["session"] for e in self.of_type("connection") if e["state"] == "ready"}

    def wait_ready(self, timeout_s: float = 15.0) -> None:
        """Wait until both sessions were ready.

        Raises:
            MeasurementFailed: they were not in time, or it has ended.
        """
        self.wait_for(lambda: self.ready_sessions() == {"stt", "tts"}, timeout_s, "be ready")

    def wait_for(self, predicate: Callable[[], object], timeout_s: float, what: str) -> None:
        """Wait until `predicate()` holds, asked at every event; longer if emulated.

        Raises:
            MeasurementFailed: it did not in time, or the process has ended.
        """
        if emulating_host():
            timeout_s *= PATIENCE
        with self._changed:
            self._changed.wait_for(lambda: predicate() or self._ended, timeout_s)
            if predicate():
                return
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()[-500:]
        raise MeasurementFailed(f"`run` did not {what} within {timeout_s:g} s. {said}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                event = json.loads(line)
                self.events.append((time.monotonic(), event))
                self.counts[event["type"]] += 1
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
