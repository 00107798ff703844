"""How long a start takes."""

from __future__ import annotations

import os
import subprocess
import time

from slng_edge.benchmarks.figures import Figure, MeasurementFailed, Plan, figure
from slng_edge.benchmarks.processes import COMMAND, RunProcess, child_environment
from slng_edge.simulator import ConnectionRecord, LocalGateway, ScriptRecognizer, ToneSynthesizer

ROWS = ("start_version", "start_run")


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return 2.0 * plan.repeat


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """Wall time of `--version`, and of `run` until both sessions are ready."""
    found = []
    if "start_version" in wanted:
        plan.progress("start of --version")
        _version_s()
        found.append(
            figure(
                "start_version",
                "wall time of `--version`",
                "s",
                [_version_s() for _ in range(plan.repeat)],
                at_most=0.15,
            )
        )
    if "start_run" in wanted:
        plan.progress("start of run")
        found.append(
            figure(
                "start_run",
                "`run` on null devices, process made → the gateway has sent both `ready`",
                "s",
                [_run_s() for _ in range(plan.repeat)],
                at_most=1.0,
            )
        )
    return found


def _version_s() -> float:
    began = time.monotonic()
    subprocess.run(
        [*COMMAND, "--version"],
        env=child_environment(),
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=20,
        cwd=os.sep,
    )
    return time.monotonic() - began


def _run_s() -> float:
    with (
        LocalGateway(stt=ScriptRecognizer([""]), tts=ToneSynthesizer()) as gateway,
        RunProcess(gateway.url) as child,
    ):
        child.wait_ready()
        ready = {record.kind: _ready_at(record) for record in gateway.connections}
        if set(ready) != {"stt", "tts"}:
            raise MeasurementFailed(f"sessions that were ready: {sorted(ready)}")
        return max(ready.values()) - child.started_at


def _ready_at(record: ConnectionRecord) -> float:
    for at, sender, message in record.messages:
        if sender == "server" and isinstance(message, dict) and message.get("type") == "ready":
            return at
    raise MeasurementFailed(f"{record.kind} was never ready")
