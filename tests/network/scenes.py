"""One outage, acted out: `slng-edge run` on one host, the gateway on the other, and a plan.

A scene is held in real time, but most of it is waiting: all of them are held at the same time,
each on hosts of its own, and the tests look at what came of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from conversation_scripts import write_wav
from labelled_sound import VOICE_RATE_HZ, LabelReader, labelled_voice
from network.namespaces import GATEWAY_NAME, PrivateNetwork

from slng_edge.pcm import Samples
from slng_edge.simulator import LocalGateway, ToneSynthesizer

PATIENCE_S = 60.0
"""A scene that has not ended by then has failed."""


@dataclass(frozen=True)
class Speech:
    """Somebody speaks, `at_s` after the input's start, for `seconds`."""

    at_s: float
    seconds: float


@dataclass
class Scene:
    """What a test needs to know of an outage.

    Attributes:
        events: What `run --events -` told, each with `arrived`, its `time.monotonic()`.
        log: What it logged, as objects.
        cut_at: When the network was taken away; `returned_at` when it came back.
        status: The exit status.
        broken: Utterances that reached the gateway, but not whole, sample by sample.
        failure: What kept the scene from being held to its end.
    """

    network: PrivateNetwork
    speeches: Sequence[Speech]
    events: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    cut_at: float = 0.0
    returned_at: float = 0.0
    status: int | None = None
    broken: list[int] = field(default_factory=list)
    failure: BaseException | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    # For the plan of a scene

    def wait_for(self, type_: str, **fields: Any) -> None:
        """Wait for an event with these fields, however long ago it came."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.of(type_, **fields), PATIENCE_S):
                raise TimeoutError(f"no {type_} {fields} in {self.events}")

    def cut(self, action: Callable[[], None]) -> None:
        """Take the network away, now."""
        self.cut_at = time.monotonic()
        action()

    def mend(self, action: Callable[[], None], after_s: float) -> None:
        """Give it back, `after_s` after it was cut."""
        time.sleep(max(0.0, self.cut_at + after_s - time.monotonic()))
        action()
        self.returned_at = time.monotonic()

    # For the tests

    def of(self, type_: str, **fields: Any) -> list[dict[str, Any]]:
        """The events of a type with these fields."""
        return [
            event
            for event in list(self.events)
            if event["type"] == type_ and fields.items() <= event.items()
        ]

    def noticed_after_s(self, session: str) -> float:
        """From the cut to the event that says that the connection has failed."""
        return min(
            (
                event["arrived"] - self.cut_at
                for event in self.of("connection", session=session, state="failed")
            ),
            default=float("inf"),
        )

    def back_after_s(self, session: str) -> float:
        """From the return of the network to `ready`."""
        return min(
            (
                event["arrived"] - self.returned_at
                for event in self.of("connection", session=session, state="ready")
                if event["arrived"] > self.cut_at
            ),
            default=float("inf"),
        )

    def logged(self, session: str) -> list[str]:
        """The lines of the log, from warnings up and of its return, about one session."""
        return [
            f"{entry['level']}: {entry['message']}"
            for entry in self.log
            if entry["message"].startswith(f"{session}: ")
        ]


def hold(plan: Callable[[Scene], None], speeches: Sequence[Speech], *overrides: str) -> Scene:
    """Hold one scene: `plan` does what happens to the network, while the input is spoken."""
    with (
        tempfile.TemporaryDirectory(prefix="slng-edge-network-") as folder,
        PrivateNetwork() as network,
    ):
        scene = Scene(network, speeches)
        try:
            _hold(scene, plan, Path(folder), overrides)
        except Exception as error:  # noqa: BLE001 - the scene's own test tells it
            scene.failure = error
    return scene


def _hold(
    scene: Scene, plan: Callable[[Scene], None], folder: Path, overrides: Sequence[str]
) -> None:
    voices = {
        number: labelled_voice(number, speech.seconds * 1000)
        for number, speech in enumerate(scene.speeches)
    }
    write_wav(folder / "in.wav", _track(scene.speeches, voices))
    reader = LabelReader(voices)
    served = LocalGateway("0.0.0.0", stt=reader, tts=ToneSynthesizer())
    scene.network.on_gateway_host(served.start)
    try:
        process = _client(scene.network, folder, urlsplit(served.url).port or 0, overrides)
        try:
            readers = [
                threading.Thread(target=_read_events, args=(scene, process)),
                threading.Thread(target=_read_log, args=(scene, process)),
            ]
            for thread in readers:
                thread.start()
            plan(scene)
            scene.status = process.wait(PATIENCE_S)
            for thread in readers:
                thread.join(PATIENCE_S)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()
    finally:
        served.close()
    scene.broken = reader.broken


def _track(speeches: Sequence[Speech], voices: dict[int, Samples]) -> Samples:
    end_s = max(speech.at_s + speech.seconds for speech in speeches) + 1.0
    track = np.zeros(round(end_s * VOICE_RATE_HZ), dtype=np.int16)
    for number, speech in enumerate(speeches):
        start = round(speech.at_s * VOICE_RATE_HZ)
        track[start : start + len(voices[number])] = voices[number]
    return track


def _client(
    network: PrivateNetwork, folder: Path, port: int, overrides: Sequence[str]
) -> subprocess.Popen[bytes]:
    settings = [
        f"gateway.url=ws://{GATEWAY_NAME}:{port}",
        "gateway.allow_insecure=true",
        f"audio.input=file:{folder / 'in.wav'}",
        "audio.output=null",
        "vad.stop_ms=300",
        *overrides,
    ]
    command = [sys.executable, "-m", "slng_edge", "--log-format", "json"]
    for setting in settings:
        command += ["-s", setting]
    environment = {name: value for name, value in os.environ.items() if "SLNG" not in name}
    environment |= {
        "SLNG_API_KEY": "sk-test-of-the-network",
        "SLNG_EDGE_CONFIG": os.devnull,
        "SLNG_EDGE_CONTROL__SOCKET": "",
        "HOME": str(folder),
    }
    return network.popen(
        [*command, "run", "--events", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=folder,
    )


def _read_events(scene: Scene, process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line) | {"arrived": time.monotonic()}
        with scene._changed:
            scene.events.append(event)
            scene._changed.notify_all()


def _read_log(scene: Scene, process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        entry = json.loads(line) if line.startswith(b"{") else {"level": "?", "message": str(line)}
        scene.log.append(entry)
