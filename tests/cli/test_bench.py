"""`slng-edge bench`: what it prints and how it ends; what it measures is no part of the tests."""

from __future__ import annotations

import io
import json
import math
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slng_edge.benchmarks import catalogue, gate_accuracy, growth, report, scale, speech
from slng_edge.benchmarks.audio_sink import AudioSink, Heard
from slng_edge.benchmarks.figures import (
    PASS,
    REPORTED,
    SHORT,
    UNMEASURED,
    Figure,
    MeasurementFailed,
    Plan,
    figure,
    statistic_of,
)
from slng_edge.benchmarks.microphone_path import local_config
from slng_edge.benchmarks.processes import (
    COMMAND,
    Holdings,
    cpu_s,
    peak_memory_mib,
    voluntary_switches,
)
from slng_edge.cli import main
from slng_edge.errors import AudioError
from slng_edge.gateway.stt_session import SttSession
from slng_edge.listening.vad_gate import VadGate


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

    def cut_off(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
        raise KeyboardInterrupt

    monkeypatch.setattr(
        catalogue,
        "EXPERIMENTS",
        (
            catalogue.Experiment(("good", "late"), measured, lambda plan: 60),
            catalogue.Experiment(("failing",), failed, lambda plan: 20),
            catalogue.Experiment(("heard",), cut_off, lambda plan: 20, on_devices=True),
        ),
    )


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
        r"^late +9 ms \(max\) +2 +1 … 9 +3 +≤ 5 ms +short(, load \S+)?$",
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


@pytest.mark.usefixtures("experiments")
def test_on_a_terminal_one_line_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part under way, a count, and about how long it goes on."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(["bench"]) == 1
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    lines = shown.split("\r\x1b[K")
    assert re.fullmatch(r"\S{20} 1/2, about 80 s left: measuring", lines[1])
    assert lines[-1] == ""
    assert "\n" not in shown


@pytest.mark.usefixtures("experiments")
def test_ctrl_c_prints_what_has_been_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status says that it was cut off, and so does the report."""
    assert main(["bench", "--json", "--only", "good", "heard"]) == 130
    answer = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in answer["figures"]] == ["good"]
    assert answer["interrupted"] == "1 of 2 figures were measured"


@pytest.mark.usefixtures("experiments")
def test_rows_that_need_a_sound_server_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    """They are not measured unless asked for, and the report says how to."""
    assert main(["bench"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^not asked for: heard, which need .*--device.*scripts/bench", out, re.M)
    assert main(["bench", "--device"]) == 130


@pytest.mark.usefixtures("experiments")
def test_only_may_be_given_several_times(capsys: pytest.CaptureFixture[str]) -> None:
    """Names add up; and the load at both ends is told."""
    assert main(["bench", "--json", "--only", "good", "--only", "late"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in answer["figures"]] == ["good", "late"]
    assert {"load", "load_at_end"} <= set(answer)


@pytest.mark.parametrize(("load", "shown"), [(0.0, "pass"), (1000.0, "pass, load 1000.0")])
def test_a_loaded_machine_is_named_beside_the_verdict(load: float, shown: str) -> None:
    """Loaded is one that had more to do than it has processors."""
    row = replace(figure("row", "how", "ms", [1.0], at_most=2), load=load)
    assert report.as_table([row], {"machine": "a"}).splitlines()[3].endswith(f"≤ 2 ms  {shown}")
    (told,) = json.loads(report.as_json([row], {}))["figures"]
    assert (told["loaded"], told["load"]) == (load > 0, load)


def test_an_unknown_figure_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest name is proposed."""
    assert main(["bench", "--only", "cpu_silense"]) == 2
    assert "did you mean cpu_silence?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        *(["--seconds", "0"], ["--seconds", "soon"], ["--repeat", "0"], ["--repeat", "1.5"]),
        *(["--turns", "200"], ["--speech", "/dev/null/speech"]),
    ],
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
    ("statistic", "value"),
    [("median", 3.0), ("min", 1.0), ("max", 100.0), ("last", 4.0), ("p80", 4.0), ("p99", 100.0)],
)
def test_a_statistic_is_of_the_samples(statistic: str, value: float) -> None:
    """A percentile is one of the samples, never between two."""
    assert statistic_of([100.0, 1.0, 2.0, 3.0, 4.0], statistic) == value


@pytest.mark.parametrize(("value", "verdict"), [(2000.0, PASS), (1999.0, SHORT)])
def test_a_goal_may_be_a_least_value(value: float, verdict: str) -> None:
    """At the limit is good enough."""
    assert figure("row", "", "times", [value], at_least=2000).verdict == verdict


def test_without_a_goal_a_figure_is_only_reported() -> None:
    """It neither passes nor falls short."""
    row = figure("row", "", "a second", [1.0])
    assert (row.goal, row.verdict) == ("", REPORTED)


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


def test_a_wake_up_is_counted() -> None:
    """Each sleep of any thread is one."""
    slept, go_on = threading.Event(), threading.Event()

    def sleep() -> None:
        for _ in range(20):
            time.sleep(0.001)
        slept.set()
        go_on.wait(10)

    before = voluntary_switches(os.getpid())
    sleeping = threading.Thread(target=sleep)
    sleeping.start()
    assert slept.wait(10)
    assert 20 <= voluntary_switches(os.getpid()) - before < 200
    go_on.set()
    sleeping.join()


def test_what_a_process_holds_is_counted() -> None:
    """Resident memory, threads, files."""
    before = Holdings.of(os.getpid())
    with open(os.devnull, "rb"):
        after = Holdings.of(os.getpid())
    assert after.files == before.files + 1
    assert after.threads == before.threads
    assert 10_000 < after.resident_kib < 4_000_000


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


def test_a_real_ctrl_c_leaves_the_report_and_no_process() -> None:
    """Sent while the second part is under way, as the line on the terminal says."""
    ours, theirs = pty.openpty()
    command = [*COMMAND, "bench", "--only", "ring_buffer", "reconnect", "--repeat", "1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    while b"reconnection 1 of 1" not in shown:
        shown += os.read(ours, 1024)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    os.close(ours)
    assert process.returncode == 130
    assert "2/2, about" in shown.decode()
    assert re.search(r"^ring_buffer +\S+ µs", out, re.M)
    assert re.search(r"^interrupted +1 of 2 figures were measured$", out, re.M)


# Accuracy of the gate


def test_labels_are_read_as_they_stand(tmp_path: Path) -> None:
    """From each time on it is what the line says."""
    lab = tmp_path / "a.lab"
    lab.write_text("0.5\t0.5\tspeech\n1.0\t1.0\tsilence\n")
    assert gate_accuracy.stretches_of(gate_accuracy.labels_of(lab, 32000)) == [(8000, 16000)]


def test_without_labels_speech_is_what_is_loud() -> None:
    """A short gap belongs to it, a click does not."""
    samples = np.random.default_rng(1).normal(0, 5, 48000)
    samples[8000:16000] += 3000 * np.sin(np.arange(8000))
    samples[11000:12000] = 0  # 62 ms
    samples[40000:40800] += 3000 * np.sin(np.arange(800))  # 50 ms
    assert gate_accuracy.stretches_of(gate_accuracy.speech_by_level(samples)) == [(8000, 16000)]


@pytest.mark.parametrize("kind", gate_accuracy.NOISES)
@pytest.mark.parametrize("snr_db", [20.0, 5.0])
def test_noise_is_as_far_below_the_speech_as_asked_for(kind: str, snr_db: float) -> None:
    """Measured over the labelled speech alone."""
    spoken = np.zeros(32000)
    spoken[8000:16000] = 1000.0
    recording = gate_accuracy.Recording("r", spoken, spoken > 0)
    noisy = gate_accuracy.mixed(recording, kind, snr_db, seed=1)
    noise = noisy.samples - np.pad(spoken, (96000, 32000))
    assert 20 * np.log10(1000 / np.sqrt(np.mean(noise**2))) == pytest.approx(snr_db, abs=0.01)
    assert gate_accuracy.stretches_of(noisy.speech) == [(104000, 112000)]


def test_what_the_gate_gives_out_is_counted_sample_by_sample() -> None:
    """All of the speech, and some before and after it."""
    voice = speech.clips(1, longest_s=1.0)[0].astype(np.float64)
    recording = gate_accuracy.Recording("r", voice, np.ones(len(voice), dtype=np.bool_))
    noisy = gate_accuracy.mixed(recording, "white", 20.0, seed=1)
    sent = gate_accuracy.sent_of(noisy, speech.new_gate(VadGate, local_config()))
    counted = gate_accuracy.Counted()
    sent[: 4 * 16000] = False  # it learns the room
    counted.add(noisy, sent)
    assert counted.kept == 100
    ((left, right),) = gate_accuracy.stretches_of(sent)
    began, ended = gate_accuracy.stretches_of(noisy.speech)[0]
    assert 0 < began - left <= 0.4 * 16000
    assert 0 < right - ended <= 0.9 * 16000
    expected = 100 * (began - left + right - ended) / (16000 * 4)
    assert counted.other_share == pytest.approx(expected, abs=0.5)


# Growth and scale


def test_turns_pass_faster_than_real_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Twelve of them, and nothing is left of any but memory."""
    monkeypatch.setattr(growth, "SETTLED", 4)
    monkeypatch.setattr(growth, "TAKEN_PER", 4)
    plan = Plan(1.0, 1, tmp_path, turns=12)
    rows = {row.name: row for row in growth.measure(plan, frozenset(growth.ROWS))}
    assert (rows["growth_threads"].value, rows["growth_files"].value) == (0, 0)
    assert len(rows["growth"].samples) == 2
    assert rows["growth"].value < 20


def test_growth_needs_turns_to_compare() -> None:
    """Fewer than those after which nothing should grow say nothing."""
    with pytest.raises(MeasurementFailed, match="--turns of at least 240"):
        growth.measure(Plan(1.0, 1, turns=239), frozenset(growth.ROWS))


def test_the_sink_hears_a_session_and_answers_it() -> None:
    """It becomes ready, and each frame comes as it is."""
    with AudioSink() as sink, SttSession(url=sink.url, api_key="local") as session:
        session.wait_ready(5)
        utterance = session.open_utterance()
        for number in range(1, 4):
            session.add_audio(utterance, bytes(640))
            until = time.monotonic() + 5
            while len(sink.heard[0].arrivals) < number and time.monotonic() < until:
                time.sleep(0.005)
        assert [count for _, count in sink.heard[0].arrivals] == [640, 1280, 1920]


@pytest.mark.parametrize(
    ("arrivals", "late"),
    [
        ([(10.001, 640), (10.021, 1280), (10.041, 1920)], 0),
        ([(10.021, 640), (10.022, 1280), (10.041, 1920)], 1),
        ([(10.030, 1280), (10.041, 1920)], 1),
        ([(10.001, 640), (10.021, 1280)], 1),
    ],
    ids=["on time", "one late", "two at once", "one that never came"],
)
def test_a_frame_is_late_that_comes_a_frame_after_it_was_due(
    arrivals: list[tuple[float, int]], late: int
) -> None:
    """The first is due at 10 s, and each 20 ms another."""
    with socket.socket() as unused:
        heard = Heard(unused)
    heard.arrivals = arrivals
    assert scale.late_frames(heard, 10.0, 3) == late
