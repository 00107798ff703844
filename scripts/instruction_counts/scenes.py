"""`run` in silence, while somebody speaks and while a reply plays, for so long of its own time."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from instruction_counts.counters import Counter, uncounted

from slng_edge.benchmarks import speech
from slng_edge.benchmarks.figures import MeasurementFailed
from slng_edge.benchmarks.load import REPLY_SENTENCE
from slng_edge.benchmarks.processes import RunProcess, voluntary_switches

BEGINS_WITH = {"silence": "connection", "speech": "speech_start", "reply": "playback_start"}
"""The scenes, and the event that begins each."""

SPEECH_AT_S = 1.0
WARM_UP_S = 2.0
"""Of media, until a scene is what it is called."""

LONGER_S = 60.0
"""Recordings go on for so long after the counting: they must not end before it."""

PATIENCE_S = 900.0
"""For what takes a second where nothing is slowed or counted and the machine has nothing to do."""

LOOK_S = 0.01
GATEWAY = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer
recognizer, faults = ScriptRecognizer([sys.argv[1]]), ["pace=realtime"]
with LocalGateway(
    tier="enterprise", stt=recognizer, tts=ToneSynthesizer(), faults=faults, keep_history=False
) as gateway:
    print(gateway.url, flush=True)
    sys.stdin.read()
"""
"""Replies come in the real time that passes there."""


@dataclass(frozen=True)
class Wanted:
    """What is to be counted.

    Attributes:
        scenes: Of `BEGINS_WITH`.
        seconds: Media of the shorter and of the longer run of a pair.
        speed: Seconds that pass for `run` in a second.
        settings: `-s` for `run`.
    """

    scenes: Sequence[str]
    seconds: tuple[float, float]
    speed: float
    settings: Sequence[str] = ()


@dataclass(frozen=True)
class Counted:
    """Of one pair, per minute of media: instructions of the machine, wake-ups without a counter."""

    instructions: float
    woken: float


def write_recordings(folder: Path, wanted: Wanted) -> dict[str, Path]:
    """What the microphone hears in each scene."""
    longest_s = wanted.seconds[1] + LONGER_S
    rest, before = speech.room(longest_s), speech.room(SPEECH_AT_S)
    talk = speech.running_speech(longest_s)
    return {
        "silence": speech.write_wav(folder / "silence.wav", rest),
        "speech": speech.write_wav(folder / "speech.wav", before, talk),
        "reply": speech.write_wav(folder / "reply.wav", before, speech.clips(1)[0], rest),
    }


def count_pair(
    wanted: Wanted, counter: Counter, recordings: dict[str, Path], folder: Path
) -> dict[str, Counted]:
    """Run each scene three times, all side by side: short, long, and long without a counter.

    Raises:
        MeasurementFailed: a scene did not come to be, or was not counted.
    """
    said = REPLY_SENTENCE * (2 + round((wanted.seconds[1] + 10) * 1000 / 60 / len(REPLY_SENTENCE)))
    native = uncounted(folder)
    runs: list[Run] = []
    with contextlib.ExitStack() as stack:
        # Of hashes that are drawn anew each time, dictionaries would not cost the same.
        slowed = {"SLOW_TIME": str(wanted.speed), "PYTHONHASHSEED": "0"}
        stack.enter_context(_environment(slowed))
        for scene in wanted.scenes:
            # Nothing is understood else: no reply plays while speech streams.
            answer = said if scene == "reply" else ""
            url = stack.enter_context(_gateway(answer, native.preload))
            short_s, long_s = wanted.seconds
            for seconds, by in ((short_s, counter), (long_s, counter), (long_s, native)):
                run = Run(scene, seconds, by, folder / f"{len(runs)}.count", wanted.speed)
                with _environment({"LD_PRELOAD": by.preload}):
                    run.start(stack, url, recordings[scene], wanted.settings)
                runs.append(run)
        while not all([run.step() for run in runs]):  # noqa: C419 - every one looks, every time
            time.sleep(LOOK_S)
    pairs = {}
    for at, scene in enumerate(wanted.scenes):
        short, long, plain = runs[3 * at : 3 * at + 3]
        more = (long.instructions - short.instructions) / (long.media_s - short.media_s)
        pairs[scene] = Counted(more * 60, plain.woken / plain.media_s * 60)
    return pairs


class Run:
    """One `run` in one scene.

    Attributes:
        media_s: How long the scene was, in its own time.
        woken: How often its threads went to sleep in it.
        instructions: From the process's start to its end.
    """

    def __init__(
        self, scene: str, seconds: float, by: Counter, count_file: Path, speed: float
    ) -> None:
        self.media_s = 0.0
        self.woken = 0
        self.instructions = 0
        self._scene = scene
        self._lasts_s = seconds / speed
        self._speed = speed
        self._by = by
        self._count_file = count_file
        self._due = iter(self._acts())
        self._ended = False

    def start(
        self, stack: contextlib.ExitStack, url: str, recording: Path, settings: Sequence[str]
    ) -> None:
        """Start the process, which ends with `stack`."""
        self._count_file.unlink(missing_ok=True)  # of the pair before
        words = [word.replace("{count}", str(self._count_file)) for word in self._by.command]
        child = RunProcess(
            url,
            source=f"file:{recording}",
            settings=("gateway.tier=enterprise", *settings),
            command=(*words, self._by.python, "-m", "slng_edge"),
        )
        self._child = stack.enter_context(child)

    def step(self) -> bool:
        """Do what is due; whether all is done.

        Raises:
            MeasurementFailed: the process did not get so far, or was not counted.
        """
        self._ended = self._ended or next(self._due, self) is self
        return self._ended

    def _acts(self) -> Iterator[None]:
        patient_until = time.monotonic() + PATIENCE_S
        while (began_at := self._scene_at()) is None:
            if time.monotonic() > patient_until:
                self._child.wait_for(lambda: self._scene_at(), 0.0, f"come to {self._scene}")
            yield
        while time.monotonic() < began_at + WARM_UP_S / self._speed:
            yield
        began_at, woken = time.monotonic(), voluntary_switches(self._child.pid)
        while time.monotonic() < began_at + self._lasts_s:
            yield
        self.woken = voluntary_switches(self._child.pid) - woken
        self.media_s = (time.monotonic() - began_at) * self._speed
        os.kill(self._child.pid, signal.SIGTERM)
        if self._child.of_type("playback_end"):
            raise MeasurementFailed("the reply ended before the counting did")
        patient_until = time.monotonic() + PATIENCE_S
        while self._by.command and not self._counted():
            if time.monotonic() > patient_until:
                raise MeasurementFailed(f"{self._by.tool} counted nothing of {self._scene}")
            yield

    def _counted(self) -> bool:
        if Path(f"/proc/{self._child.pid}/exe").exists() or not self._count_file.exists():
            return False
        told = self._count_file.read_text(encoding="utf-8")
        self.instructions = sum(map(int, re.findall(r"Total instructions: (\d+)", told)))
        return self.instructions > 0

    def _scene_at(self) -> float | None:
        """When the scene began: `time.monotonic()`; None while it has not."""
        if self._child.ready_sessions() != {"stt", "tts"}:
            return None
        begins = BEGINS_WITH[self._scene]
        events = list(self._child.events)
        return next((at for at, event in reversed(events) if event["type"] == begins), None)


@contextlib.contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """What is started meanwhile gets `more`."""
    before = {name: os.environ.pop(name, None) for name in more}
    os.environ.update({name: value for name, value in more.items() if value})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _gateway(answer: str, preload: str) -> Iterator[str]:
    """A local gateway that hears `answer`, in slowed time; its address."""
    with subprocess.Popen(
        [sys.executable, "-c", GATEWAY, answer],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LD_PRELOAD": preload},
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise MeasurementFailed("the local gateway did not start, see above")
            yield url
        finally:
            process.kill()
