"""A voice loop that writes down what it is asked, and a service around it."""

from __future__ import annotations

import json
import socket
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from slng_edge.errors import ControlError
from slng_edge.service.control_commands import ControlCommands
from slng_edge.service.control_socket import ControlSocket


class RecordedLoop:
    """Does what the protocol `Controllable` says and nothing else."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.muted = False
        self.volume = 1.0
        self.refuses = ""

    def wake(self) -> None:
        self.calls.append(("wake",))

    def interrupt(self) -> None:
        self.calls.append(("interrupt",))

    def mute(self, muted: bool) -> None:
        self.calls.append(("mute", muted))
        self.muted = muted

    def set_volume(self, gain: float) -> None:
        self.calls.append(("set_volume", gain))
        self.volume = gain

    def say(self, text: str, *, now: bool = False) -> None:
        if self.refuses:
            raise ControlError(self.refuses)
        self.calls.append(("say", text, now))

    def ask(self, text: str) -> None:
        self.calls.append(("ask", text))

    def counters(self) -> dict[str, Any]:
        return {"underruns": 2}

    def problems(self) -> dict[str, str]:
        return {}


class Service:
    """A control socket at `path` with a `RecordedLoop` behind it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loop = RecordedLoop()
        self.reloads: list[Future[str]] = []
        self.status: dict[str, Any] = {"state": "idle", "version": "0.1.0"}
        self.control = ControlSocket(
            str(path),
            ControlCommands(
                loop=lambda: self.loop, status=lambda: dict(self.status), reload=self._reload
            ),
        )

    def __enter__(self) -> Self:
        self.control.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.control.stop(2)

    def _reload(self) -> Future[str]:
        self.reloads.append(Future())
        return self.reloads[-1]


class Client:
    """The other end, on a plain socket."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(str(path))
        self._file = self.sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send as it is."""
        self.sock.sendall(data)

    def line(self) -> Any:
        """The next line, decoded; None at the end."""
        line = self._file.readline()
        return json.loads(line) if line else None

    def ask(self, **request: Any) -> Any:
        """Send a request; the next line."""
        self.send(json.dumps(request).encode() + b"\n")
        return self.line()
