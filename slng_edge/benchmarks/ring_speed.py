"""What the ring buffer costs, empty, half full and nearly full."""

from __future__ import annotations

import statistics
import time

import numpy as np

from slng_edge.audio.ring_buffer import RingBuffer
from slng_edge.benchmarks.figures import Figure, Plan, figure
from slng_edge.pcm import PcmFormat

ROWS = ("ring_buffer", "ring_buffer_flat")

RATE_HZ = 24000
CAPACITY_S = 120.0
BLOCK_MS = 20
LEVELS = {"0 %": 0.0, "50 %": 0.5, "nearly full": 1.0}
CALLS = 2000
CLEARS = 100


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return 0.5 * plan.repeat


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """Microseconds of a write, a read and a clear at three fill levels, and their ratio."""
    plan.progress("ring buffer")
    write_read: dict[str, list[float]] = {level: [] for level in LEVELS}
    clear: dict[str, list[float]] = {level: [] for level in LEVELS}
    for _ in range(plan.repeat):  # one after the other: what disturbs hits all levels alike
        for level, share in LEVELS.items():
            write_read[level].append(_write_read_us(share))
            clear[level].append(_clear_us(share))
    calls = {level: statistics.median(each) / 2 for level, each in write_read.items()}
    clears = {level: statistics.median(each) for level, each in clear.items()}
    slowest = max([calls, clears], key=lambda each: max(each.values()))
    note = "; ".join(
        f"{level}: {calls[level]:.2f} a write or read, {clears[level]:.2f} a clear"
        for level in LEVELS
    )
    figures = {
        "ring_buffer": figure(
            "ring_buffer",
            f"a call (write or read of {BLOCK_MS} ms, or clear) at three fill levels; the slowest",
            "µs",
            list(slowest.values()),
            at_most=5,
            statistic="max",
            note=note,
        ),
        "ring_buffer_flat": figure(
            "ring_buffer_flat",
            "slowest fill level over the quickest: write and read, clear",
            "times",
            [max(each.values()) / min(each.values()) for each in (calls, clears)],
            at_most=1.5,
            statistic="max",
        ),
    }
    return [figures[name] for name in ROWS if name in wanted]


def _filled(share: float) -> tuple[RingBuffer, int]:
    ring = RingBuffer(rate_hz=RATE_HZ, capacity_s=CAPACITY_S, prebuffer_ms=0)
    block = PcmFormat(RATE_HZ).samples(BLOCK_MS)
    full = PcmFormat(RATE_HZ).samples(CAPACITY_S * 1000) - 3 * block  # a writer would wait
    number = ring.open_utterance()
    ring.write(np.ones(round(full * share), dtype=np.int16), number)
    return ring, number


def _write_read_us(share: float) -> float:
    """Microseconds of a write and a read together, median of the calls."""
    ring, number = _filled(share)
    block = np.ones(PcmFormat(RATE_HZ).samples(BLOCK_MS), dtype=np.int16)
    out = np.empty_like(block)
    spent = []
    for _ in range(CALLS):
        begin = time.perf_counter_ns()
        ring.write(block, number)
        ring.read_into(out)
        spent.append(time.perf_counter_ns() - begin)
    return statistics.median(spent) / 1000


def _clear_us(share: float) -> float:
    """Microseconds of a clear while a reply sounds."""
    ring, number = _filled(share)
    block = np.ones(PcmFormat(RATE_HZ).samples(BLOCK_MS), dtype=np.int16)
    fill = np.ones(ring.buffered_samples, dtype=np.int16)
    small, _ = _filled(0.0)
    spent = []
    for _ in range(CLEARS):
        ring.write(block, number)
        ring.write(block, number)
        # Filling the buffer has emptied the processor's caches, which is no property of `clear`.
        small.clear()
        ring.read_into(block)
        begin = time.perf_counter_ns()
        ring.clear()
        spent.append(time.perf_counter_ns() - begin)
        number = ring.open_utterance()
        ring.write(fill, number)
    return statistics.median(spent) / 1000
