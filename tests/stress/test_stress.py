"""A few seconds of what `scripts/stress` does for as long as one likes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stress.watch import cycles

CHILD = Path(__file__).with_name("child.py")
LIMIT_S = 60


def played(*runs: str) -> list[dict[str, Any]]:
    """The reports of these runs, which go on at the same time."""
    commands = [[sys.executable, str(CHILD), *run.split(), "--limit", str(LIMIT_S)] for run in runs]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    told = []
    for child in children:
        out, err = child.communicate(timeout=LIMIT_S + 10)
        assert out, f"it hung, or died: {err}"
        told.append(json.loads(out))
    return told


@pytest.mark.parametrize(
    "runs",
    [
        ("talk --seed 3 --amount 1", "calls --seed 4 --amount 1"),
        ("service --seed 5 --amount 2", "closing --seed 6 --amount 8"),
    ],
)
def test_nothing_goes_wrong_where_threads_are_held_up(runs: tuple[str, ...]) -> None:
    """No invariant, no wait with a lock held, no circle of locks; and threads were held up."""
    reports = played(*runs)
    for run, report in zip(runs, reports, strict=True):
        assert report["violations"] == [], run
        assert report["locks wrong"] == {}, run
        assert report["delays"]["sleep"] > 30, run
        assert report["locks"], run
    assert cycles((first, then) for told in reports for first, then, _ in told["pairs"]) == []


def test_the_script_prints_its_seed_and_a_table() -> None:
    """Exit status 0 where nothing went wrong."""
    script = Path(__file__).resolve().parents[2] / "scripts" / "stress"
    options = ["--seed", "8", "--minutes", "0", "--only", "closing", "--amount", "1"]
    done = subprocess.run(
        [sys.executable, str(script), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("seed 8\n")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["violations", "0"] in rows
    assert ["stopped", "in", "a", "state", "1"] in rows
    assert done.stderr == "closing --seed 8: held\n"
