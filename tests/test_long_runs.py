"""The scripts that hold long conversations, held for seconds: that they run, and judge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from soak import Outcome, Sample, soak
from soak_report import LEFT_WAITING, growth, table

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


def test_a_short_soak_holds(tmp_path: Path) -> None:
    """The whole service through some dozens of turns, a few of which go wrong."""
    outcome = soak(tmp_path, seed=5, turns=40, speed=20, fault_share=0.1)
    assert outcome.violations == []
    assert outcome.turns == 40
    assert outcome.counts["final"] >= 36
    assert outcome.counts["connection"] > 4  # something did go wrong
    assert outcome.samples[-1].depths["inbox"] <= LEFT_WAITING


def held(turn: int, **more: int) -> Sample:
    """A sample; `more` is above what there was at first."""
    depths = {"inbox": more.get("inbox", 0)}
    return Sample(
        turn,
        float(turn),
        50_000 + more.get("rss_kib", 0),
        15 + more.get("threads", 0),
        8 + more.get("files", 0),
        depths,
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, []),
        ({"rss_kib": 1024}, []),
        ({"rss_kib": 1025}, ["memory grew by 1025 KiB"]),
        ({"threads": 2}, ["2 threads more"]),
        ({"files": 1}, ["1 open files more"]),
        ({"inbox": 9}, ["9 wait in inbox"]),
    ],
)
def test_what_grew_is_told(more: dict[str, int], said: list[str]) -> None:
    """After the first turns, in which libraries load."""
    outcome = Outcome(seed=1, speed=20, samples=[held(1, rss_kib=-9000), held(200)])
    outcome.samples.append(held(2000, **more))
    assert growth(outcome) == said
    assert table(outcome).endswith("did not hold" if said else "held")
