"""How many speech-to-text sessions one process holds at real time."""

from __future__ import annotations

import subprocess
import sys

from slng_edge.benchmarks.audio_sink import AudioSink, Heard
from slng_edge.benchmarks.figures import Figure, MeasurementFailed, Plan, figure
from slng_edge.benchmarks.many_sessions import FRAME_MS
from slng_edge.benchmarks.processes import child_environment
from slng_edge.benchmarks.speech import RATE_HZ
from slng_edge.pcm import SAMPLE_BYTES, PcmFormat

ROWS = ("scale",)

MOST = 256
HELD = 0.01
"""Share of frames that may come late for the sessions to be held."""

GIVEN_UP = 0.25
"""Twice as many need not be tried."""

MOST_TRIES = 3

LATE_S = FRAME_MS / 1000
START_TIMEOUT_S = 60.0
LONGEST_S = 5.0
FRAME_BYTES = PcmFormat(RATE_HZ).samples(FRAME_MS) * SAMPLE_BYTES


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return (8 + _tries(plan)) * (_seconds(plan) + 2.5)


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """The curve, as far as it goes."""
    curve: list[tuple[int, float, float]] = []
    sessions = 1
    while sessions <= MOST and (not curve or curve[-1][1] <= GIVEN_UP):
        plan.progress(f"{sessions} speech-to-text sessions in one process")
        late, cpu = _best_fed(sessions, plan)
        curve.append((sessions, late, cpu))
        sessions *= 2
    held = [count for count, late, _ in curve if late <= HELD]
    return [
        figure(
            ROWS[0],
            f"speech-to-text sessions in one process, each sending a frame of {FRAME_MS} ms all "
            f"the time, of which at most {HELD:.0%} come more than {LATE_S * 1000:g} ms after they "
            f"were due, in the best of up to {_tries(plan)} tries",
            "sessions",
            [float(max(held, default=0))],
            note="; ".join(
                f"{count}: {late:.1%} late, {cpu:.0%} of a CPU" for count, late, cpu in curve
            ),
        )
    ]


def _seconds(plan: Plan) -> float:
    return min(plan.seconds, LONGEST_S)


def _tries(plan: Plan) -> int:
    return min(plan.repeat, MOST_TRIES)


def _best_fed(sessions: int, plan: Plan) -> tuple[float, float]:
    """As `_fed`, until they are held: what else runs on the machine only ever makes it worse."""
    tries: list[tuple[float, float]] = []
    while len(tries) < _tries(plan) and not (tries and tries[-1][0] <= HELD):
        tries.append(_fed(sessions, _seconds(plan)))
    return min(tries)


def _fed(sessions: int, seconds: float) -> tuple[float, float]:
    """Share of frames that came late, and of a CPU that the process used."""
    command = [sys.executable, "-m", "slng_edge.benchmarks.many_sessions"]
    with (
        AudioSink() as sink,
        subprocess.Popen(
            [*command, sink.url, str(sessions), str(seconds)],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as child,
    ):
        assert child.stdout is not None
        try:
            first, used = child.stdout.readline(), child.stdout.readline()
        finally:
            child.kill()
        if not used:
            raise MeasurementFailed(f"{sessions} sessions in one process did not become ready")
        expected = round(seconds * 1000 / FRAME_MS)
        heard = [each for each in sink.heard if each.arrivals]
        late = sum(late_frames(each, float(first), expected) for each in heard)
        late += (sessions - len(heard)) * expected
        return late / (sessions * expected), float(used)


def late_frames(heard: Heard, first_s: float, expected: int) -> int:
    """How many of the frames came too late, or not at all."""
    on_time, arrivals = 0, iter(heard.arrivals)
    arrival = next(arrivals)
    for number in range(expected):
        while arrival[1] < (number + 1) * FRAME_BYTES:
            following = next(arrivals, None)
            if following is None:
                return expected - on_time
            arrival = following
        on_time += arrival[0] <= first_s + number * FRAME_MS / 1000 + LATE_S
    return expected - on_time
