"""On real sound devices: interruptions, heard from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from typing import IO

import numpy as np
from numpy.typing import NDArray

from slng_edge.benchmarks import speech
from slng_edge.benchmarks.figures import Figure, MeasurementFailed, Plan, figure
from slng_edge.benchmarks.processes import RunProcess
from slng_edge.config import Config
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

ROWS = ("barge_in_device", "silence_heard_device")

DEVICES_S = 10.0
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

NO_DEVICES = (
    "no default sound devices can be opened here; scripts/bench, in a checkout, measures on "
    "virtual ones"
)


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return (INTERRUPTIONS + 1) * (SPOKEN_S + SOUNDS_S + 1.3) + 6


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """The user's first word to a silent speaker, both heard from the sound server's monitors."""
    _require_virtual_devices()
    clips = [
        speech.write_wav(plan.folder / f"{number}.wav", clip)
        for number, clip in enumerate(speech.clips(INTERRUPTIONS + 1, SPOKEN_S))
    ]
    rng = np.random.default_rng(7)
    latencies_ms: list[float] = []
    heard_ms: list[float] = []
    with (
        LocalGateway(
            stt=ScriptRecognizer([REPLY]), tts=ToneSynthesizer(), faults=["pace=realtime"]
        ) as gateway,
        RunProcess(gateway.url, source="default", sink="default") as child,
        Monitor(MICROPHONE) as microphone,
        Monitor(SPEAKER) as speaker,
    ):
        child.wait_ready()
        wait_for_devices(child)
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
                found = _interruption(microphone, speaker, began)
                if found is not None:
                    latencies_ms.append((found[1] - found[0]) * 1000)
                    heard_ms += _after_decision_ms(child, *found)
            time.sleep(SOUNDS_S + rng.uniform(0, 0.06))
    if len(latencies_ms) < FEWEST:
        raise MeasurementFailed(f"{len(latencies_ms)} interruptions were heard, {FEWEST} needed")
    figures = {
        ROWS[0]: figure(
            ROWS[0],
            "user's first speech sample on the microphone's monitor → last sound on the "
            f"speaker's, {len(latencies_ms)} interruptions, as many voices",
            "ms",
            latencies_ms,
            at_most=200,
            statistic="median",
        ),
        ROWS[1]: figure(
            ROWS[1],
            "speech decided, by the time in its event → last sound on the speaker's monitor",
            "ms",
            heard_ms,
            at_most=Config().audio.output_buffer_ms + 40,
            statistic="p99",
        ),
    }
    return [figures[name] for name in ROWS if name in wanted]


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


def _interruption(
    microphone: Monitor, speaker: Monitor, began: float
) -> tuple[float, float] | None:
    """When somebody spoke after `began`, and when the reply last sounded, `time.monotonic()`."""
    spoken = microphone.audible_s(began, began + SEARCH_S)
    if not len(spoken):
        return None
    sounding = speaker.audible_s(spoken[0] - 0.05, spoken[0] + SEARCH_S)
    if not len(sounding) or sounding[0] > spoken[0]:
        return None  # no reply sounded that could have been interrupted
    return float(spoken[0]), float(sounding[-1])


def _after_decision_ms(child: RunProcess, spoken: float, last: float) -> list[float]:
    """From the event `speech_start` within `spoken` and `last` to `last`; none without one."""
    events = list(child.events)
    # An event may be read late, never early: the earliest that any allows is the truth.
    began_at = min(at - event["t"] for at, event in events)
    decided = [began_at + event["t"] for _, event in events if event["type"] == "speech_start"]
    return [(last - at) * 1000 for at in decided if spoken < at < last][:1]


def wait_for_devices(child: RunProcess) -> None:
    """Wait until a `run` has opened both.

    Raises:
        MeasurementFailed: it has not in time.
    """
    try:
        child.wait_for(
            lambda: (
                {each["which"] for each in child.of_type("device") if each["state"] == "open"}
                == {"input", "output"}
            ),
            DEVICES_S,
            "open its devices",
        )
    except MeasurementFailed as error:
        raise MeasurementFailed(f"{error} {NO_DEVICES}") from error


def _require_virtual_devices() -> None:
    missing = [name for name in ("pactl", "paplay", "parec") if shutil.which(name) is None]
    if missing:
        raise MeasurementFailed(f"not installed: {', '.join(missing)}; scripts/bench says more")
    done = subprocess.run(
        ["pactl", "list", "short", "sinks"], capture_output=True, text=True, timeout=10, check=False
    )
    sinks = {line.split("\t")[1] for line in done.stdout.splitlines() if "\t" in line}
    if not {MICROPHONE, SPEAKER} <= sinks:
        raise MeasurementFailed(
            f"no sound server with the sinks {MICROPHONE} and {SPEAKER}, so nothing can be spoken "
            "into this microphone; scripts/bench, in a checkout, starts one"
        )


def _play(path: str) -> None:
    subprocess.run(
        ["paplay", "-d", MICROPHONE, "--latency-msec=20", path],
        capture_output=True,
        timeout=20,
        check=False,
    )
