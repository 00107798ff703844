"""The scripts that hold long conversations, held for seconds: that they run, and judge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """The script, to its end."""
    command = [sys.executable, str(SCRIPTS / name), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def test_the_script_of_random_faults_prints_its_seed_and_a_table() -> None:
    """Exit status 0 where nothing went wrong."""
    done = run("random-faults", "--seed", "4", "--turns", "2", "--share", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("seed 4\n")
    assert "violations" in done.stdout


def test_the_script_of_tiers_prints_a_table() -> None:
    """Exit status 0 where nothing was refused and no word was lost."""
    done = run("free-tier", "--tier", "pro", "--minutes", "0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines()[1:])
    assert rows["finals"] == rows["utterances"] == "2"
    assert rows["refused or ended by a limit"] == rows["words lost"] == "0"
