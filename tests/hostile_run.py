"""A running service and a gateway that does at random what `hostile_acts` has, from a seed.

Somebody speaks to the service every few seconds, and it answers as an echo does. After each act the
gateway is a good one, and the next question has to be answered.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from conversation_scripts import silence, voice, write_wav
from hostile_acts import ACTS, CLEAR, UPGRADE
from hostile_gateway import WORDS, HostileGateway

from slng_edge.benchmarks.processes import child_environment

KEY = "sk-live-Zm9vYmFyYmF6cXV4"
QUESTION_S = 3.0
VOICE_MS = 600
STRUCK_S = 15.0
"""An act whose moment does not come within so long is left out."""
RECOVERED_S = 90.0
"""The longest of reliability.md's deadlines: the state listening."""
GROWTH_KIB = 40 * 1024
BUSY = 0.6
"""CPU seconds in a second, over an act and the recovery from it."""
LOG_LINES = 40
THREADS_MORE = 6
FILES_MORE = 8
"""While connections come and go."""
LEFT_MORE = 2
"""At the end: a session may be between two connections."""
SETTINGS = (
    "audio.output=null",
    "audio.echo_cancel=off",
    "turn.barge_in=off",
    "control.socket=",
    "vad.stop_ms=200",
    "stt.final_timeout_s=2",
    "stt.offline_keep_s=10",
    "tts.first_audio_timeout_s=3",
    "gateway.connect_timeout_s=3",
    "responder.kind=echo",
    "tts.model=slng/rime/arcana:3-en",  # no limit of characters a minute is known
)


@dataclass
class Done:
    """What one kind of act has cost, at the most."""

    times: int = 0
    growth_kib: int = 0
    threads: int = 0
    files: int = 0
    recovered_s: float = 0.0
    busy: float = 0.0
    log_lines: int = 0


@dataclass
class Outcome:
    """What came of it; `violations` is empty where all is well."""

    seed: int
    acts: dict[str, Done] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    rss_kib: tuple[int, int] = (0, 0)
    threads: tuple[int, int] = (0, 0)
    files: tuple[int, int] = (0, 0)
    seconds: float = 0.0

    def table(self) -> str:
        """All of it as text."""
        width = max([len(name) for name in self.acts] or [0])
        head = (
            f"{'act':<{width}}  times  growth KiB  threads  files  recovered s  busy %  log lines"
        )
        rows = [
            f"{name:<{width}}  {done.times:>5}  {done.growth_kib:>10}  {done.threads:>7}"
            f"  {done.files:>5}  {done.recovered_s:>11.1f}  {done.busy * 100:>6.0f}"
            f"  {done.log_lines:>9}"
            for name, done in sorted(self.acts.items())
        ]
        pairs = [
            ("seconds", f"{self.seconds:.0f}"),
            ("acts", str(sum(done.times for done in self.acts.values()))),
            *((name, str(count)) for name, count in sorted(self.counts.items())),
            ("resident KiB, first to last", f"{self.rss_kib[0]} to {self.rss_kib[1]}"),
            ("threads, first to last", f"{self.threads[0]} to {self.threads[1]}"),
            ("open files, first to last", f"{self.files[0]} to {self.files[1]}"),
            ("violations", str(len(self.violations))),
        ]
        longest = max(len(name) for name, _ in pairs)
        totals = [f"{name:<{longest}}  {value:>14}" for name, value in pairs]
        return "\n".join([head, *rows, "", *totals, *self.violations])


class Service:
    """The process: what it tells, what it logs, what it holds."""

    def __init__(self, url: str, sound: Path) -> None:
        overrides = [f"gateway.url={url}", f"audio.input=file:{sound}", *SETTINGS]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "slng_edge", "--config", os.devnull]
            + [word for each in overrides for word in ("-s", each)]
            + ["run", "--events", "-"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **child_environment(),
                "SLNG_API_KEY": KEY,
                "MALLOC_ARENA_MAX": "1",  # as in the unit
                "HOME": "/nonexistent",
            },
        )
        self.changed = threading.Condition()
        self.counts: Counter[str] = Counter()
        self.answered = 0
        self.log_lines = 0
        self.log: list[str] = []
        self.ended = False
        self.told_key = False
        self._heard = False
        self._readers = [
            threading.Thread(target=self._read_events, name="hostile-events"),
            threading.Thread(target=self._read_log, name="hostile-log"),
        ]
        for reader in self._readers:
            reader.start()

    def await_answer(self, timeout_s: float) -> bool:
        """Whether a question that is heard from now on is answered in time."""
        with self.changed:
            self._heard = False
            before = self.answered
            return self.changed.wait_for(
                lambda: self.ended or self.answered > before, timeout_s
            ) and (not self.ended)

    def stop(self) -> int:
        """End it as systemd does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(6)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        for reader in self._readers:
            reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return status

    def held_kib(self, name: str) -> int:
        """`VmRSS`, or `VmHWM`: the most since `measure_anew`."""
        return self._status(name)

    def measure_anew(self) -> None:
        """Forget the most that was held."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")

    def threads(self) -> int:
        """How many."""
        return self._status("Threads")

    def files(self) -> int:
        """How many are open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_s(self) -> float:
        """User and system time so far."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
        if found is None:
            raise ProcessLookupError(f"the service has ended: {self.log[-3:]}")
        return int(found[1])

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            with self.changed:
                self.told_key |= KEY.encode() in line
                self.counts[event["type"]] += 1
                if event["type"] == "final":
                    self._heard = event["text"] == WORDS
                if event["type"] == "playback_end" and self._heard:
                    self._heard = False
                    self.answered += 1
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.changed:
                self.told_key |= KEY.encode() in line
                self.log_lines += 1
                self.log.append(line.decode("utf-8", "replace")[:300])
                del self.log[:-200]


@contextmanager
def service(url: str, sound: Path, outcome: Outcome) -> Iterator[Service]:
    """It runs; its exit status has to be 0."""
    running = Service(url, sound)
    try:
        yield running
    finally:
        status = running.stop()
        if status != 0:
            outcome.violations.append(f"the service ended with {status}: {''.join(running.log)}")


def questions(folder: Path, seconds: float) -> Path:
    """Somebody who asks something every few seconds."""
    one = np.concatenate([voice(VOICE_MS), silence(QUESTION_S * 1000 - VOICE_MS)])
    return write_wav(folder / "in.wav", np.tile(one, int(seconds / QUESTION_S) + 1))


def play(
    folder: Path,
    *,
    seed: int,
    seconds: float,
    only: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Do acts for about so many seconds, and judge each of them.

    Args:
        folder: Where `in.wav` is written.
        seed: Gives the acts, their moments and how often each is done; not what comes of the time.
        seconds: How long.
        only: Acts whose name has this in it.
        say: Gets a line of progress for each act.
    """
    outcome = Outcome(seed)
    rng = random.Random(seed)
    began = time.monotonic()
    with (
        HostileGateway() as gateway,
        service(gateway.url, questions(folder, seconds + 2 * RECOVERED_S), outcome) as running,
    ):
        if not running.await_answer(20.0):
            outcome.violations.append(f"no first answer: {''.join(running.log)}")
            return outcome
        first = running.held_kib("VmRSS"), running.threads(), running.files()
        moments = [
            (name, moment)
            for name, act in ACTS.items()
            for moment in act.moments
            if only in name and moment != CLEAR  # nobody interrupts here
        ]
        while time.monotonic() - began < seconds and not running.ended:
            name, moment = rng.choice(moments)
            _do(name, moment, rng, gateway, running, outcome, first, say)
        if not running.ended:
            _judge_the_end(running, outcome, first)
        outcome.counts.update({f"{name} events": n for name, n in running.counts.items()})
        outcome.counts["log lines"] = running.log_lines
    if running.told_key:
        outcome.violations.append("the key was repeated in the log or an event")
    outcome.seconds = time.monotonic() - began
    return outcome


def _do(
    name: str,
    moment: str,
    rng: random.Random,
    gateway: HostileGateway,
    running: Service,
    outcome: Outcome,
    first: tuple[int, int, int],
    say: Callable[[str], None],
) -> None:
    times = rng.choice((1, 1, 2, 3))
    lines_before, cpu_before, began = running.log_lines, running.cpu_s(), time.monotonic()
    running.measure_anew()
    gateway.plan(name, moment, times=times)
    if moment == UPGRADE or moment in ("connected", "ready", "goodbye"):
        gateway.cut_all()
    most_threads = most_files = 0
    until = began + STRUCK_S
    while gateway.counts()["struck"] < times and time.monotonic() < until and not running.ended:
        most_threads = max(most_threads, running.threads())
        most_files = max(most_files, running.files())
        time.sleep(0.1)
    struck = gateway.counts()["struck"]
    time.sleep(0.5)  # of what has no end, some
    gateway.behave()
    asked_at = time.monotonic()
    recovered = running.await_answer(RECOVERED_S)
    recovered_s = time.monotonic() - asked_at
    if not struck:
        outcome.counts["acts whose moment did not come"] += 1
        return
    at = f"{name!r} at {moment}, {struck} times"
    if running.ended:
        outcome.violations.append(f"{at}: the service ended: {''.join(running.log[-20:])}")
        return
    if not recovered:
        tail = "".join(running.log[-5:])
        outcome.violations.append(f"{at}: nothing was answered for {RECOVERED_S:g} s: {tail}")
    busy = (running.cpu_s() - cpu_before) / (time.monotonic() - began)
    growth_kib = running.held_kib("VmHWM") - first[0]
    done = outcome.acts.setdefault(name, Done())
    done.times += struck
    done.growth_kib = max(done.growth_kib, growth_kib)
    done.threads = max(done.threads, most_threads)
    done.files = max(done.files, most_files)
    done.recovered_s = max(done.recovered_s, recovered_s)
    done.busy = max(done.busy, busy)
    log_lines = running.log_lines - lines_before
    done.log_lines = max(done.log_lines, log_lines)
    for what, value, limit in (
        ("memory grew by KiB", growth_kib, GROWTH_KIB),
        ("CPU seconds a second", busy, BUSY),
        ("log lines", log_lines, LOG_LINES),
        ("threads", most_threads, first[1] + THREADS_MORE),
        ("open files", most_files, first[2] + FILES_MORE),
        ("visits elsewhere", gateway.counts()["elsewhere"], 0),
        ("cookies sent", gateway.counts()["cookies"], 0),
    ):
        if value > limit:
            outcome.violations.append(f"{at}: {what}: {value} of {limit}")
    say(f"{at}: recovered after {recovered_s:.1f} s, {growth_kib} KiB, {log_lines} log lines")


def _judge_the_end(running: Service, outcome: Outcome, first: tuple[int, int, int]) -> None:
    running.await_answer(RECOVERED_S)
    outcome.rss_kib = (first[0], running.held_kib("VmRSS"))
    outcome.threads = (first[1], running.threads())
    outcome.files = (first[2], running.files())
    if outcome.rss_kib[1] - first[0] > GROWTH_KIB:
        outcome.violations.append("memory that was taken is kept")
    for what, (early, late) in (("threads", outcome.threads), ("open files", outcome.files)):
        if late > early + LEFT_MORE:
            outcome.violations.append(f"{late - early} {what} are left")
