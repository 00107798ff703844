"""Load on real sound devices, next to a bare loop on the same.

The bare loop is a program of its own and uses nothing of this package: it is what the same
blocks cost when nobody hears or says anything.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from slng_edge.benchmarks.devices import NO_DEVICES, wait_for_devices
from slng_edge.benchmarks.figures import Figure, MeasurementFailed, Plan, figure
from slng_edge.benchmarks.processes import RunProcess, cpu_s, voluntary_switches
from slng_edge.config import Config
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

ROWS = ("cpu_silence_device", "wakeups_silence_device")

WARM_UP_S = 3.0
BARE_LOOP = """
import sys
import pyaudio, webrtcvad
rate_in, rate_out, frame_ms = map(int, sys.argv[1:])
audio, vad = pyaudio.PyAudio(), webrtcvad.Vad(2)
n_in, n_out = rate_in * frame_ms // 1000, rate_out * frame_ms // 1000
source = audio.open(rate_in, 1, pyaudio.paInt16, input=True, frames_per_buffer=n_in)
sink = audio.open(rate_out, 1, pyaudio.paInt16, output=True, frames_per_buffer=n_out)
silence = bytes(2 * n_out)
print("ready", flush=True)
while True:
    vad.is_speech(source.read(n_in, exception_on_overflow=False), rate_in)
    sink.write(silence)
"""


@dataclass(frozen=True)
class Spent:
    """CPU seconds a minute, and wake-ups a second."""

    cpu_s: float
    woken: float


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return plan.repeat * (plan.seconds + WARM_UP_S + 3)


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """CPU of `run` in silence, over that of the bare loop in the same windows; its wake-ups."""
    spent = []
    for number in range(plan.repeat):
        plan.progress(f"load on devices, window {number + 1} of {plan.repeat}")
        spent.append(_side_by_side(plan.seconds, bare_first=number % 2 == 1))
    ours, bare = ([each.cpu_s for each in both] for both in zip(*spent, strict=True))
    ratios = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
    woken, bare_woken = ([each.woken for each in both] for both in zip(*spent, strict=True))
    figures = {
        ROWS[0]: figure(
            ROWS[0],
            "CPU of `run` in silence on the default devices, over a bare PyAudio read, VAD and "
            "write loop of the same block size in the same windows; both started anew for each",
            "times",
            ratios,
            at_most=1.5,
            note=f"run {_span(ours)} s a minute, the bare loop {_span(bare)} s",
        ),
        ROWS[1]: figure(
            ROWS[1],
            "voluntary context switches of all threads of `run` in silence on the default devices, "
            "its sound library's included; of each start, as with the CPU",
            "a second",
            woken,
            note=f"the bare loop {_span(bare_woken)}",
        ),
    }
    return [figures[name] for name in ROWS if name in wanted]


def _side_by_side(seconds: float, *, bare_first: bool) -> tuple[Spent, Spent]:
    """What `run` and the bare loop took.

    What a loop costs depends on how its blocks lie to the sound server's, which is decided when
    it starts; so one start is one sample, and either may be first.
    """
    with contextlib.ExitStack() as stack:
        gateway = LocalGateway(stt=ScriptRecognizer([""]), tts=ToneSynthesizer())
        stack.enter_context(gateway)
        bare_pid = stack.enter_context(_bare_loop(Config())) if bare_first else 0
        child = RunProcess(gateway.url, source="default", sink="default")
        stack.enter_context(child)
        child.wait_ready()
        wait_for_devices(child)
        bare_pid = bare_pid or stack.enter_context(_bare_loop(Config()))
        time.sleep(WARM_UP_S)
        pids = child.pid, bare_pid
        began = time.monotonic()
        before = [(cpu_s(pid), voluntary_switches(pid)) for pid in pids]
        time.sleep(seconds)
        elapsed_s = time.monotonic() - began
        ours, bare = (
            Spent(
                (cpu_s(pid) - used) * 60 / elapsed_s, (voluntary_switches(pid) - woken) / elapsed_s
            )
            for pid, (used, woken) in zip(pids, before, strict=True)
        )
        return ours, bare


def _span(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} … {max(values):.2f})"


@contextlib.contextmanager
def _bare_loop(config: Config) -> Iterator[int]:
    """Runs the bare loop on the default devices; gives its process number."""
    numbers = (config.stt.sample_rate, config.tts.sample_rate, config.audio.frame_ms)
    process = subprocess.Popen(
        [sys.executable, "-c", BARE_LOOP, *map(str, numbers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            raise MeasurementFailed(NO_DEVICES)
        yield process.pid
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
