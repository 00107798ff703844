"""Every decoder, against its seeds and some new inputs; and the engines, that they find."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzz.engines import Outcome, TooSlow, by_hypothesis, read_libfuzzer, try_input
from fuzz.target import Target
from fuzz.targets import SEEDS, TARGETS, seeds_of
from hypothesis import strategies as st

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fuzz"
SOME = 10
"""Inputs a target; `scripts/fuzz` tries millions."""


def run_script(*options: str) -> subprocess.CompletedProcess[str]:
    """The script with the engine that needs no virtual environment of its own."""
    command = [sys.executable, str(SCRIPT), "--engine", "hypothesis", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", TARGETS)
def test_all_seeds_hold(name: str) -> None:
    """What real peers send, and what once went wrong."""
    seeds = seeds_of(name)
    assert seeds
    for seed in seeds:
        try_input(TARGETS[name], seed.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_some_new_inputs_hold(name: str) -> None:
    """Of the shape of what the decoder reads; the same ones each time."""
    outcome = by_hypothesis(TARGETS[name], first_seed=0, inputs=SOME)
    assert outcome.finding is None, outcome.trace
    assert outcome.inputs >= SOME


def test_no_seed_is_of_a_target_that_is_gone() -> None:
    """A folder that nobody replays would look like a check."""
    assert {folder.name for folder in SEEDS.iterdir()} == set(TARGETS)


def _planted(data: bytes) -> None:
    if b"\x00" in data and len(data) > 2:
        raise KeyError("planted")


def test_a_planted_bug_is_found_and_made_small() -> None:
    """Three bytes of which one is zero."""
    target = Target("planted", _planted, st.binary())
    outcome = by_hypothesis(target, first_seed=1, inputs=2000)
    assert outcome.finding == b"\x00\x00\x00"
    assert "KeyError: 'planted'" in outcome.trace


def test_an_input_that_takes_long_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the CPU time that counts, which a busy machine does not change."""
    monkeypatch.setattr("fuzz.engines.SLOWEST_S", 0.005)

    def spin(_: bytes) -> None:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass

    with pytest.raises(TooSlow, match="an input of 1 bytes took"):
        try_input(Target("slow", spin, st.binary()), b"x")
    try_input(Target("quick", lambda _: None, st.binary()), b"x")


def test_what_libfuzzer_tells_is_read() -> None:
    """The last figures of its status lines and of its statistics."""
    told = (
        "#2\tINITED cov: 20 ft: 21 corp: 1/1b exec/s: 0 rss: 60Mb\n"
        "#512\tNEW    cov: 31 ft: 40 corp: 2/9b lim: 4 exec/s: 0 rss: 60Mb L: 8/8 MS: 1\n"
        "stat::number_of_executed_units: 4096\n"
    )
    assert read_libfuzzer(told) == (4096, 31, 40)
    assert read_libfuzzer("") == (0, None, None)
    assert Outcome(3).finding is None


def test_the_script_prints_a_row_a_target() -> None:
    """Exit status 0 where nothing was found."""
    done = run_script("--target", "kept_settings", "--inputs", "20", "--seed", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    seed, _, row, last = done.stdout.splitlines()
    assert seed == "seed 3"
    assert row.split() == ["kept_settings", "20", "-", "-", "-", "0", "0"]
    assert last == "20 inputs, 0 findings"


def test_the_script_replays_a_file(tmp_path: Path) -> None:
    """The folder's name is the target's."""
    file = tmp_path / "kept_settings" / "input"
    file.parent.mkdir()
    file.write_bytes(b"[[[[")
    done = run_script("--replay", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"kept_settings {file}: held\n"


def test_the_script_knows_its_targets() -> None:
    """One that it does not know ends it with 2."""
    done = run_script("--target", "nothing")
    assert done.returncode == 2
    assert done.stderr == "fuzz: no such target: nothing; see --list\n"
