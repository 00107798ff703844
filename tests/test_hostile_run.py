"""The script of the hostile gateway, played for seconds: that it runs, and judges."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hostile_acts import ACTS
from hostile_run import Done, Outcome

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "hostile-gateway"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """The script, to its end."""
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_it_prints_its_seed_and_a_table() -> None:
    """Exit status 0 where every bound was kept."""
    done = run("--seed", "3", "--minutes", "0.08", "--only", "masked")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("seed 3\n")
    assert "masked" in done.stdout
    assert "violations" in done.stdout


def test_it_lists_what_it_can_do() -> None:
    """Each act with its moments; what there is not is refused."""
    listed = run("--list")
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == len(ACTS)
    assert run("--only", "nothing of the kind").returncode == 2


def test_what_was_broken_stands_below_the_table() -> None:
    """A line for each."""
    outcome = Outcome(
        7, {"masked": Done(times=2, recovered_s=3.21)}, ["'masked': threads: 20 of 19"]
    )
    table = outcome.table()
    assert "masked      2" in table
    assert "3.2" in table
    assert table.endswith("\n'masked': threads: 20 of 19")
