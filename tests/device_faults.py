"""A real `slng-edge run` whose microphone and speaker are taken away, and what comes of it.

Microphone and speaker are devices of a private sound server, the gateway is the local one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from conversation_scripts import gateway, silence, spoken, voice, wait_until, write_wav
from virtual_sound import ALSA_CONFIG, MICROPHONE_NAME, SPEAKER_NAME, SPEAKER_RATE_HZ, VirtualSound

NOTICED_S = 2.0
"""From the fault to the event `device` with `lost`."""
BACK_S = 3.0
"""From the device's return to `reopened`: it is looked for every second and opened in 0.3 s, after
a sound server that hung has answered what it was asked before."""
PATIENCE_S = 15.0
REPLY = "one two three"

_ASOUND = """\
<{alsa}>
pcm."{microphone}" {{
    type pulse server "unix:{room.microphone.socket}" device "vmic.monitor"
    hint {{ show on description "Virtual microphone" }}
}}
pcm."{speaker}" {{
    type pulse server "unix:{room.speaker.socket}" device "vspk"
    hint {{ show on description "Virtual speaker" }}
}}
"""


class Room:
    """A microphone and a speaker, each on a sound server of its own.

    A sound server moves the streams of a device that is unplugged to another one, if need be the
    monitor of its speaker. Here there is none, as with sound cards.
    """

    def __init__(self, folder: Path) -> None:
        self.microphone = VirtualSound(folder / "microphone", ("vmic",))
        self.speaker = VirtualSound(folder / "speaker", ("vspk",))
        self._alsa_config = folder / "asound.conf"

    def __enter__(self) -> Room:
        self.each(VirtualSound.start)
        self._alsa_config.write_text(
            _ASOUND.format(
                alsa=ALSA_CONFIG, microphone=MICROPHONE_NAME, speaker=SPEAKER_NAME, room=self
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.each(VirtualSound.stop)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead a program to these devices."""
        environment = self.speaker.environment
        return {**environment, "ALSA_CONFIG_PATH": str(self._alsa_config)}

    def each(self, act: Callable[[VirtualSound], None]) -> None:
        """Do something to both servers."""
        for server in (self.microphone, self.speaker):
            act(server)


@dataclass(frozen=True)
class Fault:
    """What is done to the devices, what undoes it, and which of ours are lost by it."""

    strike: Callable[[Room], None]
    undo: Callable[[Room], None]
    loses: tuple[str, ...]


FAULTS = {
    "microphone unplugged": Fault(
        lambda room: room.microphone.unplug("vmic"),
        lambda room: room.microphone.plug("vmic"),
        ("input",),
    ),
    "speaker unplugged": Fault(
        lambda room: room.speaker.unplug("vspk"),
        lambda room: room.speaker.plug("vspk"),
        ("output",),
    ),
    "sound server killed": Fault(
        lambda room: room.each(VirtualSound.stop),
        lambda room: room.each(VirtualSound.start),
        ("input", "output"),
    ),
    "sound server hangs": Fault(
        lambda room: room.each(VirtualSound.freeze),
        lambda room: room.each(VirtualSound.thaw),
        ("input", "output"),
    ),
    "microphone suspended": Fault(
        lambda room: room.microphone.suspend(),
        lambda room: room.microphone.resume(),
        ("input",),
    ),
    "speaker suspended": Fault(
        lambda room: room.speaker.suspend(),
        lambda room: room.speaker.resume(),
        ("output",),
    ),
}
STATES = ("idle", "listening", "speaking")


@dataclass(frozen=True)
class Outcome:
    """What came of one fault in one state."""

    noticed_ms: int
    back_ms: int


class Kiosk:
    """A running service; its events, its status, and what it is asked by voice."""

    def __init__(self, folder: Path, url: str, room: Room, *overrides: str) -> None:
        self.room = room
        self.notified: list[tuple[float, bytes]] = []
        self._events_path = folder / "events.jsonl"
        self.log_path = folder / "log.txt"
        self._control = folder / "control.sock"
        self._question = write_wav(
            folder / "question.wav", np.concatenate([voice(500), silence(50)])
        )
        self._long_question = write_wav(folder / "long.wav", voice(1000))
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(folder / "notify"))
        values = (
            f"gateway.url={url}",
            f"audio.input={MICROPHONE_NAME}",
            f"audio.output={SPEAKER_NAME}",
            "audio.echo_cancel=off",
            "vad.stop_ms=200",
            f"control.socket={self._control}",
            *(f"sounds.{name}=off" for name in ("error", "offline", "done", "thinking", "wake")),
            *overrides,
        )
        options = [part for value in values for part in ("-s", value)]
        command = [*(sys.executable, "-m", "slng_edge", *options)]
        with open(self.log_path, "wb") as log:
            self._popen = subprocess.Popen(
                [*command, "run", "--events", str(self._events_path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={
                    **os.environ,
                    **room.environment,
                    "SLNG_API_KEY": "",
                    "STATE_DIRECTORY": str(folder),
                    "NOTIFY_SOCKET": str(folder / "notify"),
                },
            )
        self._listener = threading.Thread(target=self._listen, name="notify")
        self._listener.start()

    def end(self) -> int:
        """Its exit status after SIGTERM."""
        self._popen.send_signal(signal.SIGTERM)
        try:
            return self._popen.wait(10)
        finally:
            self._popen.kill()
            self._popen.wait(10)
            self._notify.shutdown(socket.SHUT_RDWR)
            self._listener.join(5)
            self._notify.close()

    @property
    def alive(self) -> bool:
        """Whether the process is the one that was started."""
        return self._popen.poll() is None

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def resources(self) -> tuple[int, int]:
        """Threads and open files of the process."""
        process = Path("/proc") / str(self._popen.pid)
        return len(os.listdir(process / "task")), len(os.listdir(process / "fd"))

    def events(self, type_: str = "", after: float = 0.0, **fields: Any) -> list[dict[str, Any]]:
        """What was told after a moment of the wall clock, with that moment as `time`."""
        lines = self._events_path.read_text().splitlines(keepends=True)
        decoded = [json.loads(line) for line in lines if line.endswith("\n")]
        for event in decoded:
            event["time"] = datetime.fromisoformat(event["at"]).timestamp()
        return [
            event
            for event in decoded
            if event["time"] > after - 0.001
            and type_ in ("", event["type"])
            and fields.items() <= event.items()
        ]

    def wait_for(self, type_: str, after: float, **fields: Any) -> dict[str, Any]:
        """The first such event."""
        wait_until(
            lambda: self._events_path.exists() and self.events(type_, after, **fields), PATIENCE_S
        )
        found = self.events(type_, after, **fields)
        if not found:
            raise AssertionError(f"no {type_} {fields}: {self.events(after=after)}\n{self.log}")
        return found[0]

    def status(self) -> dict[str, Any]:
        """What `ctl status --json` shows."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect(str(self._control))
            client.sendall(b'{"id": 1, "command": "status"}\n')
            answer = json.loads(client.makefile().readline())
        result: dict[str, Any] = answer["result"]
        return result

    def ask(self) -> None:
        """Ask by voice; fails where it is not understood, or the answer is not heard."""
        began = time.time()
        with self.room.speaker.record_speaker() as speaker:
            self.room.microphone.speak_into_microphone(self._question).wait()
            self.wait_for("final", began, text=REPLY)
            self.wait_for("playback_end", began)
            time.sleep(0.1)  # the monitor is behind the speaker
            heard_s = len(speaker.loud()) / SPEAKER_RATE_HZ
        due_s = np.count_nonzero(np.abs(spoken(REPLY).astype(int)) > 200) / 24000
        if not 0.9 * due_s < heard_s < 1.1 * due_s:
            raise AssertionError(f"{heard_s:.2f} s of {due_s:.2f} s were heard\n{self.log}")
        self.wait_for("state", began, state="idle")

    def play(self, fault: Fault, state: str, away_s: float = 0.2) -> Outcome:
        """Strike in a state, undo it, and ask again; fails where something is not as it must be."""
        mouth, began = self._reach(state)
        struck = time.time()
        fault.strike(self.room)
        lost = [self.wait_for("device", struck, which=which, state="lost") for which in fault.loses]
        wait_until(lambda: self._shown(fault) == ["lost"] * len(fault.loses), 1.0)
        time.sleep(away_s)
        shown = self._shown(fault)
        told = [event["state"] for event in self.events("device", struck)]
        if shown != ["lost"] * len(fault.loses) or told != shown:
            raise AssertionError(f"shown {shown}, told {told}\n{self.log}")
        back = time.time()
        fault.undo(self.room)
        reopened = [
            self.wait_for("device", struck, which=which, state="reopened") for which in fault.loses
        ]
        if mouth is not None:
            self._settle(mouth, began)
        self._look_at_states(struck)
        self.ask()
        if not self.alive:
            raise AssertionError(f"the process has ended\n{self.log}")
        return Outcome(
            max(round((event["time"] - struck) * 1000) for event in lost),
            max(0, *(round((event["time"] - back) * 1000) for event in reopened)),
        )

    def _shown(self, fault: Fault) -> list[str]:
        """What the status says of the devices that the fault takes away."""
        devices = self.status()["devices"]
        return [devices[which]["state"] for which in fault.loses]

    def _reach(self, state: str) -> tuple[subprocess.Popen[bytes] | None, float]:
        """Bring it into a state; who speaks meanwhile, and since when."""
        began = time.time()
        if state == "idle":
            return None, began
        long = state == "listening"
        mouth = self.room.microphone.speak_into_microphone(
            self._long_question if long else self._question
        )
        self.wait_for("speech_start" if long else "playback_start", began)
        time.sleep(0.4)
        return mouth, began

    def _settle(self, mouth: subprocess.Popen[bytes], began: float) -> None:
        """What was said is answered to its end, or told as lost."""
        try:
            mouth.wait(2)
        except subprocess.TimeoutExpired:  # the server that hung has forgotten it
            mouth.kill()
            mouth.wait(10)
        if not wait_until(
            lambda: self.events("playback_end", began) or self.events("lost", began), PATIENCE_S
        ):
            raise AssertionError(f"neither answered nor lost: {self.events(after=began)}")
        wait_until(lambda: self.status()["state"] == "idle", PATIENCE_S)

    def _look_at_states(self, struck: float) -> None:
        """While it has no microphone it says `error`, and nothing else."""
        deaf = False
        for event in self.events(after=struck):
            if event["type"] == "device" and event["which"] == "input":
                deaf = event["state"] == "lost"
            elif event["type"] == "state" and deaf and event["state"] != "error":
                raise AssertionError(f"deaf and {event['state']}: {self.events(after=struck)}")

    def longest_silence_s(self) -> float:
        """Longest time that systemd's watchdog was not fed."""
        fed = [at for at, message in self.notified if message == b"WATCHDOG=1"]
        return max(np.diff([*fed, time.monotonic()]))

    def _listen(self) -> None:
        while message := self._notify.recv(1000):
            self.notified.append((time.monotonic(), message))


@contextmanager
def kiosk(folder: Path, room: Room, *overrides: str) -> Iterator[Kiosk]:
    """A running service that was asked once."""
    with gateway(REPLY) as served:
        running = Kiosk(folder, served.url, room, *overrides)
        try:
            running.wait_for("state", 0.0, state="idle")
            running.wait_for("device", 0.0, which="input")
            running.wait_for("device", 0.0, which="output")
            running.ask()
            yield running
        finally:
            status = running.end()
        if status != 0:
            raise AssertionError(f"exit status {status}\n{running.log}")
