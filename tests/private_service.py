"""`slng-edge run` on a host of its own, which may write nowhere but in a folder in memory.

What it sends is on a `WireTap`, and what it writes is in that folder: the rest of its file system
is read-only. It is asked over its control socket.
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
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from network.namespaces import GATEWAY_ADDRESS, PrivateNetwork
from wire_tap import Frame, WireTap

from slng_edge.config import SoundsConfig
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

PATIENCE_S = 15.0

_READ_ONLY = """
set -e
while read -r _ where _; do
    mount -o remount,bind,ro "$where" 2>/dev/null || true  # /proc and the like; tried below
done < /proc/self/mounts
for each in "$0" /tmp /var/tmp /dev/shm /run; do
    if touch "$each/probe" 2>/dev/null; then echo "$each is not read-only" >&2; exit 9; fi
done
mount -t tmpfs -o mode=700 tmpfs "$0"
cd "$0"
exec "$@"
"""


class PrivateService:
    """One run of the service; a context manager.

    Args:
        folder: An empty one, which is where it may write.
        overrides: Of the configuration.
        environment: More of it.
    """

    def __init__(
        self, folder: Path, overrides: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.events: list[tuple[float, dict[str, Any]]] = []
        self._folder = folder
        self._overrides = overrides
        ours = {"HOME": str(folder), "TMPDIR": str(folder), "SLNG_API_KEY": "sk-of-this-test"}
        self._environment = {**os.environ, **ours, **(environment or {})}
        self._changed = threading.Condition()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            network = stack.enter_context(PrivateNetwork())
            # What is meant for the rest of the world goes over the cable, and is seen.
            route = ("ip", "-n", network.client, "route", "add", "default", "via", GATEWAY_ADDRESS)
            subprocess.run(route, check=True)
            self.tap = stack.enter_context(network._on(network.client, WireTap))
            self.gateway = network.on_gateway_host(
                lambda: LocalGateway(
                    stt=ScriptRecognizer(["yes"] * 9), tts=ToneSynthesizer(), host=GATEWAY_ADDRESS
                ).__enter__()
            )
            stack.callback(self.gateway.__exit__, None, None, None)
            self._process = network.popen(
                ["sh", "-c", _READ_ONLY, str(self._folder), *self._command()],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
            )
            stack.callback(self._end)
            for name, read in (("events", self._read_events), ("said", self._read_said)):
                thread = threading.Thread(target=read, name=name)
                thread.start()
                stack.callback(thread.join, 5)
            # Ended last of all that read it.
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    # What it does

    def wait_for(self, type_: str, after: float = 0.0, **with_fields: Any) -> float:
        """The `time.monotonic()` of the first event with these fields after `after`, waited for.

        Raises:
            TimeoutError: none came.
        """

        def found() -> list[float]:
            return [
                at
                for at, event in self.events
                if at > after and event["type"] == type_ and with_fields.items() <= event.items()
            ]

        with self._changed:
            if not self._changed.wait_for(found, PATIENCE_S):
                raise TimeoutError(f"no {type_} {with_fields} in {self.events}; {self.said}")
        return found()[0]

    def ask(self, command: str) -> None:
        """Ask over the control socket."""
        folder = os.open(self._inside, os.O_PATH | os.O_DIRECTORY)  # its path may be too long
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(5)
                sock.connect(f"/proc/self/fd/{folder}/s")
                sock.sendall(json.dumps({"command": command}).encode() + b"\n")
                with sock.makefile("rb") as answers:
                    answer = json.loads(answers.readline())
        finally:
            os.close(folder)
        assert answer["ok"], answer

    # What came of it

    @property
    def frames(self) -> list[Frame]:
        """Every frame that it sent, on all connections, in order."""
        found = []
        for stream in list(self.tap.streams.values()):
            found += stream.upgrade_and_frames()[1] if stream.pieces else []
        return sorted(found, key=lambda frame: frame.at)

    @property
    def upgrades(self) -> list[str]:
        """The requests for a WebSocket."""
        streams = [each for each in list(self.tap.streams.values()) if each.pieces]
        return [each.upgrade_and_frames()[0] for each in streams]

    def bytes_sent(self, before: float) -> int:
        """Payload of all streams until then."""
        streams = list(self.tap.streams.values())
        return sum(
            len(data) for each in streams for at, data in list(each.pieces.values()) if at < before
        )

    @property
    def written(self) -> tuple[list[str], int]:
        """The files in the only folder in which it may write, and how large they are in all."""
        files = [each for each in self._inside.rglob("*") if not each.is_dir()]
        names = sorted(str(each.relative_to(self._inside)) for each in files)
        return names, sum(each.lstat().st_size for each in files)

    said = ""
    """Its standard error."""

    # Inside

    @property
    def _inside(self) -> Path:
        return Path(f"/proc/{self._process.pid}/root{self._folder}")

    def _command(self) -> list[str]:
        quiet = (
            f"gateway.url={self.gateway.url}",
            "gateway.allow_insecure=true",
            "audio.output=null",
            "audio.echo_cancel=off",
            "vad.stop_ms=200",
            "turn.barge_in=off",
            f"control.socket={self._folder}/s",
            *(f"sounds.{each.name}=off" for each in fields(SoundsConfig)),
        )
        command = [sys.executable, "-m", "slng_edge", "run", "--events", "-"]
        for override in (*quiet, *self._overrides):
            command += ["-s", override]
        return command

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        since = time.time() - time.monotonic()
        with self._process.stdout as lines:
            for line in lines:
                event = json.loads(line)
                at = datetime.fromisoformat(event["at"]).timestamp() - since
                with self._changed:
                    self.events.append((at, event))
                    self._changed.notify_all()

    def _read_said(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self.said += line.decode("utf-8", "replace")

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
