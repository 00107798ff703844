"""`slng-edge bench`: what it prints and how it ends; what it measures is no part of the tests."""

from __future__ import annotations

import json
import math
import os
import re
import time
from pathlib import Path

import pytest

from slng_edge.benchmarks import catalogue, speech
from slng_edge.benchmarks.figures import (
    PASS,
    SHORT,
    UNMEASURED,
    Figure,
    MeasurementFailed,
    Plan,
    figure,
    statistic_of,
)
from slng_edge.benchmarks.microphone_path import local_config
from slng_edge.benchmarks.processes import cpu_s, peak_memory_mib
from slng_edge.cli import main
from slng_edge.errors import AudioError


@pytest.fixture
def experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows in the place of the real ones: one good, one short, one that fails."""

    def measured(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
        plan.progress("measuring")
        rows = [
            figure("good", "how it was measured", "ms", [1.0] * plan.repeat, at_most=2),
            figure("late", "likewise", "ms", [1.0, 2.0, 9.0], at_most=5, statistic="max"),
        ]
        return [row for row in rows if row.name in wanted]

    def failed(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
        raise AudioError("there is no microphone")

    monkeypatch.setattr(
        catalogue,
        "EXPERIMENTS",
        (
            catalogue.Experiment(("good", "late"), measured),
            catalogue.Experiment(("failing",), failed),
        ),
    )
    monkeypatch.setattr(catalogue, "DEVICE_EXPERIMENTS", ())


@pytest.mark.usefixtures("experiments")
def test_the_table_says_how_to_measure_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Machine, commit, Python and command line stand above the figures."""
    assert main(["bench", "--only", "good"]) == 0
    out = capsys.readouterr().out
    for name in ("machine", "commit", "python", "command"):
        assert re.search(rf"^{name} +\S", out, re.MULTILINE), name
    assert "good: how it was measured" in out


@pytest.mark.usefixtures("experiments")
def test_a_figure_short_of_its_goal_is_reported_and_no_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit status is 0, the row says short."""
    assert main(["bench", "--only", "late"]) == 0
    assert re.search(
        r"^late +9 ms \(max\) +2 +1 … 9 +3 +≤ 5 ms +short$",
        capsys.readouterr().out,
        re.MULTILINE,
    )


@pytest.mark.usefixtures("experiments")
def test_what_cannot_be_measured_fails_and_the_rest_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One experiment that fails does not hide the others."""
    assert main(["bench", "--json", "--repeat", "3"]) == 1
    answer = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in answer["figures"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "good": PASS,
        "late": SHORT,
        "failing": UNMEASURED,
    }
    assert rows["good"]["samples"] == 3
    assert rows["late"]["spread"] == [1.0, 9.0]
    assert rows["failing"]["value"] is None
    assert rows["failing"]["note"] == "there is no microphone"


@pytest.mark.usefixtures("experiments")
def test_progress_is_shown_on_a_terminal_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard error, which is no terminal here, stays empty."""
    assert main(["bench", "--only", "good"]) == 0
    assert capsys.readouterr().err == ""


def test_an_unknown_figure_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest name is proposed."""
    assert main(["bench", "--only", "cpu_silense"]) == 2
    assert "did you mean cpu_silence?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [["--seconds", "0"], ["--seconds", "soon"], ["--repeat", "0"], ["--repeat", "1.5"]]
)
def test_a_measure_that_cannot_be_is_a_usage_error(argv: list[str]) -> None:
    """Neither nothing nor words."""
    assert main(["bench", *argv]) == 2


def test_every_name_is_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` prints what `--only` takes."""
    assert main(["bench", "--list"]) == 0
    names = capsys.readouterr().out.split()
    assert len(names) == len(set(names))
    assert {"cpu_silence", "barge_in", "ring_buffer", "cpu_silence_device"} <= set(names)


@pytest.mark.parametrize(
    ("statistic", "value"), [("median", 3.0), ("max", 100.0), ("p80", 4.0), ("p99", 100.0)]
)
def test_a_statistic_is_of_the_samples(statistic: str, value: float) -> None:
    """A percentile is one of the samples, never between two."""
    assert statistic_of([100.0, 1.0, 2.0, 3.0, 4.0], statistic) == value


@pytest.mark.parametrize(("value", "verdict"), [(2000.0, PASS), (1999.0, SHORT)])
def test_a_goal_may_be_a_least_value(value: float, verdict: str) -> None:
    """At the limit is good enough."""
    assert figure("row", "", "times", [value], at_least=2000).verdict == verdict


def test_no_samples_are_no_figure() -> None:
    """Nothing measured is never a pass."""
    with pytest.raises(MeasurementFailed, match="row"):
        figure("row", "", "ms", [], at_most=1)


def test_cpu_seconds_are_those_of_the_process_table() -> None:
    """The clock of a process counts what /proc shows in hundredths."""
    end = time.process_time() + 0.05
    while time.process_time() < end:
        math.sqrt(2)
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    shown_s = (int(fields[11]) + int(fields[12])) / ticks
    assert cpu_s(os.getpid()) == pytest.approx(shown_s, abs=3 / ticks)


def test_peak_memory_is_in_mib() -> None:
    """A Python with numpy is tens of MiB."""
    assert 10 < peak_memory_mib(os.getpid()) < 4000


def test_the_speech_opens_the_gate_with_and_without_a_synthesizer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is measured with is speech to the gate; a quiet room is not."""
    assert len(speech.clips(2)) == 2
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    assert len(speech.clips(3, longest_s=0.9)) == 3
    assert not speech.opens_gate(speech.room(3.0))


@pytest.mark.parametrize("row", ["ring_buffer", "start_version"])
def test_a_quick_figure_is_measured(row: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A real one, whatever its value: it is not missing."""
    assert main(["bench", "--json", "--only", row, "--repeat", "1"]) == 0
    (measured,) = json.loads(capsys.readouterr().out)["figures"]
    assert measured["name"] == row
    assert measured["value"] > 0


def test_the_loops_in_a_benchmark_ignore_the_users_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Figures are of the defaults, whatever the environment says."""
    monkeypatch.setenv("SLNG_EDGE_VAD__STOP_MS", "900")
    assert local_config().vad.stop_ms == 600
