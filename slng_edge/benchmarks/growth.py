"""Hundreds of turns at twenty times real time: what the loop holds more of after them."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from slng_edge.benchmarks import speech
from slng_edge.benchmarks.figures import Figure, MeasurementFailed, Plan, figure
from slng_edge.benchmarks.processes import Holdings, RunProcess
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer, limits

ROWS = ("growth", "growth_threads", "growth_files")

SPEED = 20.0
SETTLED = 200
"""Turns after which nothing should grow any more."""

FULL = 2000
TAKEN_PER = 20
"""Turns over whose end the resident set is looked at, as it goes up and down within each."""

ANSWER = "Ok."
SPOKEN_S = 0.5
STOP_MS = 200
PAUSE_S = 2.0
"""Of media, between turns: a voice without pauses would be taken for the noise of the room."""

TURN_TIMEOUT_S = 20.0
TIER = "accelerated"
COMMAND = (sys.executable, "-m", "slng_edge.benchmarks.accelerated_loop", f"{SPEED:g}")


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return 0.25 * plan.turns + 4


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """Resident set, threads and open files after the turns, less those after `SETTLED`."""
    if plan.turns < SETTLED + 2 * TAKEN_PER:
        raise MeasurementFailed(f"growth needs --turns of at least {SETTLED + 2 * TAKEN_PER}")
    turns = plan.turns // TAKEN_PER * TAKEN_PER
    held = _held(plan, turns)
    base = held[0]
    how = (
        f"after {turns} turns, less after {SETTLED}: the voice loop as a process, {SPEED:g} "
        "times real time, nothing goes wrong"
    )
    if turns < FULL:
        how += f"; the goal is meant for {FULL} (`--only growth --turns {FULL}`)"
    grown = [(each.resident_kib - base.resident_kib) / 1024 for each in held[1:]]
    figures = {
        "growth": figure(
            "growth",
            f"resident set {how}",
            "MiB",
            grown,
            at_most=1,
            statistic="last",
            note=f"{base.resident_kib / 1024:.1f} MiB after {SETTLED} turns",
        ),
        "growth_threads": figure(
            "growth_threads",
            f"threads {how}",
            "threads",
            [float(each.threads - base.threads) for each in held[1:]],
            at_most=0,
            statistic="last",
            note=f"{base.threads} after {SETTLED} turns",
        ),
        "growth_files": figure(
            "growth_files",
            f"open files {how}",
            "files",
            [float(each.files - base.files) for each in held[1:]],
            at_most=0,
            statistic="last",
            note=f"{base.files} after {SETTLED} turns",
        ),
    }
    return [figures[name] for name in ROWS if name in wanted]


def _held(plan: Plan, turns: int) -> list[Holdings]:
    """What the loop held after `SETTLED` turns, and after each `TAKEN_PER` more."""
    voice = speech.write_wav(plan.folder / "voice.wav", speech.clips(1, SPOKEN_S)[0])
    held: list[Holdings] = []
    with (
        _accelerated_tier(),
        LocalGateway(
            tier=TIER,
            stt=ScriptRecognizer([ANSWER]),
            tts=ToneSynthesizer(),
            keep_history=False,
        ) as gateway,
        RunProcess(
            gateway.url,
            source="asked",
            settings=[f"vad.stop_ms={STOP_MS}", "gateway.tier=enterprise"],
            command=[*COMMAND, str(voice)],
        ) as child,
    ):
        child.wait_ready()
        time.sleep(2 * PAUSE_S / SPEED)
        within: list[Holdings] = []
        for turn in range(1, turns + 1):
            child.say("")
            child.wait_for(
                lambda turn=turn: child.counts["playback_end"] >= turn,  # type: ignore[misc]
                TURN_TIMEOUT_S,
                f"answer turn {turn}",
            )
            time.sleep(PAUSE_S / SPEED)
            if turn % TAKEN_PER == 0:
                plan.progress(f"growth, turn {turn} of {turns}")
            if turn > SETTLED - TAKEN_PER:
                within.append(Holdings.of(child.pid))
            if len(within) == TAKEN_PER:
                held.append(_typical(within))
                within.clear()
    return held


@contextlib.contextmanager
def _accelerated_tier() -> Iterator[None]:
    """Meanwhile local gateways know a tier whose minutes pass as fast as the media."""
    full = limits.TIERS["enterprise"]
    limits.TIERS[TIER] = replace(full, messages_a_minute=round(SPEED * full.messages_a_minute))
    try:
        yield
    finally:
        del limits.TIERS[TIER]


def _typical(within: list[Holdings]) -> Holdings:
    """Their medians."""
    return Holdings(
        resident_kib=round(statistics.median(each.resident_kib for each in within)),
        threads=round(statistics.median(each.threads for each in within)),
        files=round(statistics.median(each.files for each in within)),
    )
