"""On real sound devices: load next to a bare loop, and interruptions heard from outside.

The bare loop is a program of its own and uses nothing of this package: it is what the same
blocks cost when nobody hears or says anything.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

from slng_edge.benchmarks import speech
from slng_edge.benchmarks.figures import Figure, MeasurementFailed, Plan, figure
from slng_edge.benchmarks.processes import RunProcess, cpu_s
from slng_edge.config import Config
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

CPU_ROWS = ("cpu_silence_device",)
BARGE_IN_ROWS = ("barge_in_device",)

WARM_UP_S = 3.0
MICROPHONE, SPEAKER = "vmic", "vspk"
"""Sinks of a sound server: what is played into the first is heard by the microphone."""

INTERRUPTIONS = 22
FEWEST = 20
SPOKEN_S = 0.9
SOUNDS_S = 0.7
"""How long a reply sounds before it is interrupted."""

SEARCH_S = 1.2
RECORD_HZ = 48000
AUDIBLE = 200
REPLY = "a" * 100

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


def measure_cpu(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """CPU of `run` in silence, over that of the bare loop in the same windows."""
    ours, bare = [], []
    for number in range(plan.repeat):
        plan.progress(f"load on devices, window {number + 1} of {plan.repeat}")
        spent = _cpu_side_by_side(plan.seconds, bare_first=number % 2 == 1)
        ours.append(spent[0])
        bare.append(spent[1])
    ratios = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
    return [
        figure(
            CPU_ROWS[0],
            "CPU of `run` in silence on the default devices, over a bare PyAudio read, VAD and "
            "write loop of the same block size in the same windows; both started anew for each",
            "times",
            ratios,
            at_most=1.5,
            note=f"run {_span(ours)} s a minute, the bare loop {_span(bare)} s",
        )
    ]


def _cpu_side_by_side(seconds: float, *, bare_first: bool) -> tuple[float, float]:
    """CPU seconds a minute of `run` and of the bare loop.

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
        child.wait_for(lambda: len(_open_devices(child)) == 2, 10, "open its devices")
        bare_pid = bare_pid or stack.enter_context(_bare_loop(Config()))
        time.sleep(WARM_UP_S)
        began, ours_before, bare_before = time.monotonic(), cpu_s(child.pid), cpu_s(bare_pid)
        time.sleep(seconds)
        scale = 60 / (time.monotonic() - began)
        return (cpu_s(child.pid) - ours_before) * scale, (cpu_s(bare_pid) - bare_before) * scale


def _span(values: list[float]) -> str:
    return f"{np.median(values):.2f} ({min(values):.2f} … {max(values):.2f})"


def measure_barge_in(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """The user's first word to a silent speaker, both heard from the sound server's monitors."""
    _require_virtual_devices()
    clips = [
        speech.write_wav(plan.folder / f"{number}.wav", clip)
        for number, clip in enumerate(speech.clips(INTERRUPTIONS + 1, SPOKEN_S))
    ]
    rng = np.random.default_rng(7)
    latencies_ms = []
    with (
        LocalGateway(
            stt=ScriptRecognizer([REPLY]), tts=ToneSynthesizer(), faults=["pace=realtime"]
        ) as gateway,
        RunProcess(gateway.url, source="default", sink="default") as child,
        Monitor(MICROPHONE) as microphone,
        Monitor(SPEAKER) as speaker,
    ):
        child.wait_ready()
        child.wait_for(lambda: len(_open_devices(child)) == 2, 10, "open its devices")
        time.sleep(1.0)
        for number, clip in enumerate(clips):
            plan.progress(f"interruptions on devices, {number} of {INTERRUPTIONS}")
            began = time.monotonic()
            _play(str(clip))
            child.wait_for(
                lambda number=number: len(child.of_type("playback_start")) > number,  # type: ignore[misc]
                10,
                "reply to what was said",
            )
            if number:
                latencies_ms += _latency_ms(microphone, speaker, began)
            time.sleep(SOUNDS_S + rng.uniform(0, 0.06))
    if len(latencies_ms) < FEWEST:
        raise MeasurementFailed(f"{len(latencies_ms)} interruptions were heard, {FEWEST} needed")
    return [
        figure(
            BARGE_IN_ROWS[0],
            "user's first speech sample on the microphone's monitor → last sound on the "
            f"speaker's, {len(latencies_ms)} interruptions, as many voices",
            "ms",
            latencies_ms,
            at_most=200,
            statistic="median",
        )
    ]


class Monitor:
    """Records what a sink of the sound server sounds; a context manager."""

    def __init__(self, sink: str) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._chunks: list[NDArray[np.int16]] = []
        self._count = 0
        self._began_at = float("inf")

    def __enter__(self) -> Monitor:
        command = ["parec", "-d", f"{self._sink}.monitor", "--raw", f"--rate={RECORD_HZ}"]
        command += ["--channels=1", "--format=s16le", "--latency-msec=5"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None
        self._thread = threading.Thread(
            target=self._read, args=[self._process.stdout], name=f"bench-{self._sink}", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)

    def audible_s(self, from_s: float, to_s: float) -> NDArray[np.float64]:
        """The times (`time.monotonic()`) of the audible samples in a stretch."""
        with self._lock:
            samples = np.concatenate(self._chunks or [np.empty(0, dtype=np.int16)])
            began_at = self._began_at
        start = max(0, round((from_s - began_at) * RECORD_HZ))
        cut = samples[start : max(start, round((to_s - began_at) * RECORD_HZ))]
        loud = np.flatnonzero(np.abs(cut.astype(np.int32)) > AUDIBLE)
        return began_at + (start + loud) / RECORD_HZ

    def _read(self, stream: IO[bytes]) -> None:
        odd = b""
        while data := os.read(stream.fileno(), 4096):
            now = time.monotonic()
            data = odd + data
            cut = len(data) & ~1
            odd = data[cut:]
            with self._lock:
                self._chunks.append(np.frombuffer(data[:cut], dtype="<i2").astype(np.int16))
                self._count += cut // 2
                # A chunk may come late, never early: the earliest that any allows is the truth.
                self._began_at = min(self._began_at, now - self._count / RECORD_HZ)


def _latency_ms(microphone: Monitor, speaker: Monitor, began: float) -> list[float]:
    spoken = microphone.audible_s(began, began + SEARCH_S)
    if not len(spoken):
        return []
    sounding = speaker.audible_s(spoken[0] - 0.05, spoken[0] + SEARCH_S)
    if not len(sounding) or sounding[0] > spoken[0]:
        return []  # no reply sounded that could have been interrupted
    return [float(sounding[-1] - spoken[0]) * 1000]


def _open_devices(child: RunProcess) -> set[str]:
    return {event["which"] for event in child.of_type("device") if event["state"] == "open"}


def _require_virtual_devices() -> None:
    missing = [name for name in ("pactl", "paplay", "parec") if shutil.which(name) is None]
    if missing:
        raise MeasurementFailed(f"not installed: {', '.join(missing)}; scripts/bench says more")
    done = subprocess.run(
        ["pactl", "list", "short", "sinks"], capture_output=True, text=True, timeout=10, check=False
    )
    sinks = {line.split("\t")[1] for line in done.stdout.splitlines() if "\t" in line}
    if not {MICROPHONE, SPEAKER} <= sinks:
        raise MeasurementFailed("nothing can be spoken into this microphone; use scripts/bench")


def _play(path: str) -> None:
    subprocess.run(
        ["paplay", "-d", MICROPHONE, "--latency-msec=20", path],
        capture_output=True,
        timeout=20,
        check=False,
    )


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
            raise MeasurementFailed("PyAudio opens no default devices here")
        yield process.pid
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
