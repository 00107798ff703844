"""The rows of the comparison, and what was measured of one client."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A figure; less of it is better.

    Attributes:
        name: As `--json` has it.
        title: As the table has it.
        unit: Of its samples.
        how: How it is measured, one line.
        mean: Whether the samples' mean counts instead of their median.
    """

    name: str
    title: str
    unit: str
    how: str
    mean: bool = False


ROWS = (
    Row(
        "cpu_silence",
        "CPU, a minute of silence",
        "s",
        "CPU clocks of all threads and children, user and system; a quiet room in the microphone",
    ),
    Row("cpu_speech", "CPU, a minute of speech", "s", "the same, speech without a pause"),
    Row(
        "cpu_reply",
        "CPU, a minute of reply",
        "s",
        "the same, a reply that comes in real time plays, the room is quiet",
    ),
    Row(
        "wakes_silence",
        "wake-ups a second, silence",
        "",
        "voluntary context switches of all threads: each is a wait that a wake-up ends",
    ),
    Row(
        "bytes_silence",
        "sent in a minute of silence",
        "bytes",
        "on both sockets, WebSocket frames included; the mean, as keepalives are rare",
        mean=True,
    ),
    Row("start", "start", "s", "process made → the gateway's second `ready` came back"),
    Row("memory", "memory after 10 turns", "MiB", "peak resident set (VmHWM)"),
    Row("installed", "installed", "MB", "virtual environment on the disk, without pip, setuptools"),
    Row(
        "barge_in",
        "first word → speaker silent",
        "ms",
        "microphone's monitor → last sound on the speaker's before 300 ms without any; the reply "
        "comes four times as fast as it sounds",
    ),
    Row(
        "answer",
        "question's end → first sound",
        "ms",
        "last sound on the microphone's monitor → first on the speaker's",
    ),
    Row(
        "answer_own",
        "the same, less the wait",
        "ms",
        "less the silence that the client is set to wait for",
    ),
)


@dataclass
class Measured:
    """One client's samples by row, and what is to be said of them.

    Attributes:
        samples: By the row's name.
        notes: What is to be said.
        cut_replies: Replies that did not sound to the end of their window.
    """

    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    cut_replies: int = 0

    def add(self, name: str, *values: float) -> None:
        """More samples of a row."""
        self.samples.setdefault(name, []).extend(values)

    def note(self, text: str) -> None:
        """Say something, once."""
        if text not in self.notes:
            self.notes.append(text)

    def value(self, row: Row) -> float | None:
        """A row's median, or mean; None where there is none."""
        values = self.samples.get(row.name)
        if not values:
            return None
        return statistics.fmean(values) if row.mean else statistics.median(values)
