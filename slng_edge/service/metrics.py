"""The status as Prometheus reads it: its text format, version 0.0.4.

Written by hand: the client library takes 65 ms and 9 MB to load, and keeps counters of its own
beside those that the status has.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from slng_edge.events import Stamped, TurnMeasured

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STATES = (
    "starting",
    "idle",
    "listening",
    "thinking",
    "speaking",
    "paused",
    "muted",
    "offline",
    "error",
)
"""Contract, "Events"."""

TURN_BUCKETS_S = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0)

_Labels = Mapping[str, str]


class Metric(NamedTuple):
    """One metric: its name without the prefix, kind, help, and a value for each set of labels."""

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[_Labels, float]]


class TurnTimes:
    """How long turns took, as a histogram. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * (len(TURN_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def receive(self, stamped: Stamped) -> None:
        """Count the turn, where the event is one; never waits."""
        if isinstance(stamped.event, TurnMeasured):
            turn_s = stamped.event.total / 1000
            with self._lock:
                self._counts[bisect.bisect_left(TURN_BUCKETS_S, turn_s)] += 1
                self._sum_s += turn_s

    def lines(self) -> Iterator[str]:
        """The histogram as text."""
        with self._lock:
            counts, sum_s = list(self._counts), self._sum_s
        name = "slng_edge_turn_duration_seconds"
        yield f"# HELP {name} From the end of speech to the first sound of the answer."
        yield f"# TYPE {name} histogram"
        total = 0
        for limit, count in zip((*map(repr, TURN_BUCKETS_S), "+Inf"), counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{limit}"}} {total}'
        yield f"{name}_sum {sum_s!r}"
        yield f"{name}_count {total}"


def metrics_text(status: Mapping[str, Any], turns: TurnTimes) -> str:
    """What the status says, and the times of the turns; what it does not say is left out."""
    lines: list[str] = []
    for metric in _metrics(status):
        if metric.samples:
            name = f"slng_edge_{metric.name}"
            lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
            lines += [f"{name}{_labels(labels)} {value!r}" for labels, value in metric.samples]
    return "\n".join([*lines, *turns.lines()]) + "\n"


def _metrics(status: Mapping[str, Any]) -> Iterator[Metric]:
    state, sessions = status.get("state"), _table(status, "sessions")
    lost, counters = _table(status, "lost"), _table(status, "counters")
    version = {"version": str(status.get("version", ""))}
    yield Metric("info", "gauge", "Which version runs.", [(version, 1)])
    yield Metric("uptime_seconds", "gauge", "Since it was started.", _one(status, "uptime_s"))
    yield Metric(
        "state",
        "gauge",
        "1 for the state that it is in.",
        [({"state": name}, int(name == state)) for name in STATES],
    )
    yield Metric("muted", "gauge", "1 where it was told to hear nothing.", _one(status, "muted"))
    volume = status.get("volume")
    yield Metric(
        "volume_ratio",
        "gauge",
        "Gain of what sounds.",
        [] if volume is None else [({}, volume / 100)],
    )
    yield Metric("events_total", "counter", "By type.", _by(_table(status, "events"), "type"))
    yield Metric(
        "interruptions_total",
        "counter",
        "Replies that were cut off.",
        _by(_table(status, "interruptions"), "by"),
    )
    yield Metric(
        "lost_total",
        "counter",
        "Times that something could not be kept.",
        [({"what": what}, each.get("times", 0)) for what, each in lost.items()],
    )
    yield Metric(
        "lost_seconds_total",
        "counter",
        "How much of it.",
        [({"what": what}, each.get("ms", 0) / 1000) for what, each in lost.items()],
    )
    yield Metric(
        "session_ready",
        "gauge",
        "1 where the connection stands.",
        [({"session": name}, int(each.get("state") == "ready")) for name, each in sessions.items()],
    )
    for key, help in (("reconnects", "Connections after the first."), ("failures", "That failed.")):
        counted = [({"session": name}, each.get(key, 0)) for name, each in sessions.items()]
        yield Metric(f"session_{key}_total", "counter", help, counted)
    yield Metric(
        "device_open",
        "gauge",
        "1 where the sound device works.",
        [
            ({"which": which}, int(each.get("state") in ("open", "reopened")))
            for which, each in _table(status, "devices").items()
        ],
    )
    yield from _of_counters(counters)
    process = _table(status, "process")
    rss = process.get("rss_mib")
    yield Metric(
        "resident_memory_bytes",
        "gauge",
        "Of the process.",
        [] if rss is None else [({}, rss * 2**20)],
    )
    yield Metric("threads", "gauge", "Of the process.", _one(process, "threads"))


def _of_counters(counters: Mapping[str, Any]) -> Iterator[Metric]:
    """Those of the loop: they begin at 0 again when it is reloaded, which Prometheus expects."""
    for key, help in (
        ("input_overflows", "Times that the microphone's sound was not taken in time."),
        ("output_underflows", "Times that the speaker ran dry."),
        ("reply_underruns", "Times that a reply's sound came too late."),
    ):
        yield Metric(f"{key}_total", "counter", help, _one(counters, key))
    for key, help in (
        ("microphone_dbfs", "Level of the last second."),
        ("noise_floor_dbfs", "What it takes for silence."),
        ("half_duplex", "1 where speech does not interrupt."),
        ("texts_waiting", "Texts that wait to be said."),
    ):
        yield Metric(key, "gauge", help, _one(counters, key))


def _one(table: Mapping[str, Any], key: str) -> list[tuple[_Labels, float]]:
    value = table.get(key)
    if isinstance(value, bool):
        return [({}, int(value))]
    return [({}, value)] if isinstance(value, int | float) else []


def _by(table: Mapping[str, Any], label: str) -> list[tuple[_Labels, float]]:
    return [({label: str(name)}, count) for name, count in table.items()]


def _labels(labels: _Labels) -> str:
    return f"{{{','.join(_pairs(labels.items()))}}}" if labels else ""


def _pairs(labels: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in labels:
        escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        yield f'{name}="{escaped}"'


def _table(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = of.get(name)
    return table if isinstance(table, Mapping) else {}
