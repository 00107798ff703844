"""The device of an endurance run: `slng-edge run` as a process, and what it tells.

Whoever watches lives in real time; what is noted is by the device's own clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from endurance.gateway_program import VOICE_MS, VOICES
from endurance.played_clock import REAL, PlayedClock
from network.namespaces import GATEWAY_NAME, PrivateNetwork

from slng_edge.benchmarks.processes import Holdings, child_environment

GATEWAY_PORT = 8443
AUTHORITY = "authority.pem"
ZONE = "Europe/Berlin"
REAL_PATIENCE_S = 20.0
"""For what takes no time by any clock that is played: a program that starts, an answer."""

PRIORITY_VARIABLE = "SLNG_EDGE_ENDURANCE_PRIORITY"
"""Real-time, of device and gateway: at 120 times the speed a pong has to come within 40 ms. A whole
day asks for it; tests beside others do not."""

SO_TIMESTAMPNS = 35
"""asm-generic/socket.h; Python does not name it."""
_STAMP = struct.Struct("@ll")

SETTINGS = (
    f"gateway.url=wss://{GATEWAY_NAME}:{GATEWAY_PORT}",
    "audio.input=turns",
    "audio.output=null",
    "audio.echo_cancel=off",
    "vad.stop_ms=300",
)


class Violation(Exception):
    """Something is not as it has to be."""


@dataclass
class Told:
    """What the device told: events with `arrived_s` of its own clock, and its log.

    `backwards` has what jumped where nothing may.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    backwards: list[str] = field(default_factory=list)
    feeds: int = 0
    longest_hunger_s: float = 0.0

    def of(self, kind: str, since: int = 0, **fields: Any) -> list[dict[str, Any]]:
        """Events of a kind with these fields, from number `since` on."""
        return [
            event
            for event in self.events[since:]
            if event["type"] == kind and fields.items() <= event.items()
        ]


class Device:
    """Started by `boot`, ended by `shut_down` or `close`.

    Args:
        folder: For its sockets and its log; `AUTHORITY` is there.
        clock: What it lives by.
        library: What plays it.
        network: Where its host is.

    Attributes:
        told: What it told so far.
        state: The last that it told; `sessions` likewise.
        changed: Notified when it told something.
        booted_s: When its first second began, by its clock.
    """

    def __init__(
        self, folder: Path, clock: PlayedClock, library: Path, network: PrivateNetwork
    ) -> None:
        self.folder, self.clock, self._library, self._network = folder, clock, library, network
        self.told = Told()
        self.state = ""
        self.sessions = {"stt": "", "tts": ""}
        self.changed = threading.Condition()
        self.booted_s = 0.0
        self._readers: list[threading.Thread] = []
        self._said = 0
        self._fed_s: float | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended, by itself or not."""
        return bool(self._readers) and self.process.poll() is not None

    def boot(self) -> None:
        """Start it, by its clock."""
        path = str(self.folder / "notify")
        Path(path).unlink(missing_ok=True)
        self._watchdog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._watchdog.bind(path)
        self._watchdog.settimeout(0.2)
        self._watchdog.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        overrides = [
            *SETTINGS,
            f"gateway.ca_file={self.folder / AUTHORITY}",
            f"control.socket={self.folder / 'control.sock'}",
        ]
        self.process = self._network.popen(
            [
                *(sys.executable, "-m", "endurance.device_program", "--config", os.devnull),
                *(word for each in overrides for word in ("-s", each)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.clock.environment(
                self._library,
                {**environment(), "NOTIFY_SOCKET": path, "TZ": ZONE, "MALLOC_ARENA_MAX": "1"},
            ),
        )
        self._readers = [
            threading.Thread(target=work, name=f"endurance-{work.__name__}")
            for work in (self._read_events, self._read_log, self._read_feeds)
        ]
        for reader in self._readers:
            reader.start()

    def say(self) -> int:
        """Let somebody speak; the number of what is said."""
        assert self.process.stdin is not None
        number = self._said % VOICES
        self._said += 1
        self.process.stdin.write(f"{number} {VOICE_MS}\n".encode())
        self.process.stdin.flush()
        return number

    def status(self) -> dict[str, Any]:
        """What `ctl status --json` shows."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(REAL_PATIENCE_S)
            sock.connect(str(self.folder / "control.sock"))
            sock.sendall(b'{"id": 1, "command": "status"}\n')
            with sock.makefile("rb") as lines:
                result: dict[str, Any] = json.loads(lines.readline())["result"]
        return result

    def holds(self) -> Holdings:
        """What the device's process holds."""
        return Holdings.of(self.process.pid)

    def shut_down(self) -> float:
        """SIGTERM; the seconds until it has ended, which it has to with 0."""
        began_s = self.clock.now_s()
        self.process.terminate()
        try:
            status = self.process.wait(REAL_PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise Violation("the device does not stop") from error
        if status:
            raise Violation(f"the device ended with {status}")
        return self.clock.now_s() - began_s

    def look_for_hunger(self) -> None:
        """Count how long the watchdog has not been fed by now."""
        self._look_for_hunger(self.clock.now_s())

    def _look_for_hunger(self, now_s: float) -> None:
        if self._fed_s is not None:
            hunger_s = now_s - self._fed_s
            self.told.longest_hunger_s = max(self.told.longest_hunger_s, hunger_s)

    def close(self) -> None:
        """End it however it is, and what watches it."""
        if not self._readers:
            return
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (
            self.process.stdin,
            self.process.stdout,
            self.process.stderr,
            self._watchdog,
        ):
            assert stream is not None
            stream.close()

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        last_t = 0.0
        first = True
        for line in self.process.stdout:
            event = json.loads(line)
            event["arrived_s"] = self.clock.now_s()
            if first:
                self.booted_s, first = event["arrived_s"] - event["t"], False
                hurry(self.process.pid)
            event["arrived_day_s"] = self.clock.now_s(REAL)
            if event["t"] < last_t:
                self.told.backwards.append(f"t went from {last_t} to {event['t']}")
            last_t = event["t"]
            negative = {name: value for name, value in event.items() if _is_negative(value)}
            if negative:
                self.told.backwards.append(f"{event['type']}: {negative}")
            with self.changed:
                if event["type"] == "state":
                    self.state = event["state"]
                elif event["type"] == "connection":
                    self.sessions[event["session"]] = event["state"]
                self.told.events.append(event)
                self.changed.notify_all()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        with (self.folder / "device.log").open("wb") as file:
            for line in self.process.stderr:
                file.write(line)
                file.flush()
                known = line.startswith(b"{")
                entry = json.loads(line) if known else {"level": "?", "message": line.decode()}
                with self.changed:
                    self.told.log.append(entry)
                    self.changed.notify_all()

    def _read_feeds(self) -> None:
        while self.process.poll() is None:
            try:
                message, stamps, *_ = self._watchdog.recvmsg(4096, socket.CMSG_SPACE(_STAMP.size))
            except TimeoutError:
                continue
            if message != b"WATCHDOG=1":
                continue
            # When it was sent: whoever watches may be late.
            seconds, ns = _STAMP.unpack(stamps[0][2])
            ago_ns = time.time_ns() - seconds * 1_000_000_000 - ns
            fed_s = self.clock.at_s(time.monotonic_ns() - ago_ns)
            self._look_for_hunger(fed_s)
            self._fed_s = fed_s
            self.told.feeds += 1


def environment() -> dict[str, str]:
    """That of the programs of a run."""
    return {**child_environment(), "PYTHONPATH": str(Path(__file__).parents[1])}


def hurry(pid: int) -> None:
    """Give a program priority, once it is up: what it loads would keep others waiting."""
    priority = int(os.environ.get(PRIORITY_VARIABLE, "0"))
    if not priority:
        return
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.sched_setscheduler(int(task), os.SCHED_RR, os.sched_param(priority))


def _is_negative(value: object) -> bool:
    return isinstance(value, int | float) and value < 0
