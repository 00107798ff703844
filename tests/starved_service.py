"""A real `slng-edge run` from which a test takes what a process needs: room, memory, descriptors.

Questions come through its control socket, events from its standard output, its log is a file.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from conversation_scripts import wait_until

NOBODY = 54321
"""A user id whose processes nobody else counts."""

SETTINGS = (
    "audio.input=null",
    "audio.output=null",
    "audio.echo_cancel=off",
    "gateway.connect_timeout_s=2.0",
    "turn.barge_in=off",
)


class StarvedService:
    """The process, and what is done to it; a context manager that ends it.

    Args:
        folder: For its log, state and socket.
        url: Of the gateway.
        overrides: More settings.
        program: What is run instead of `python -m slng_edge`, up to `run`'s options.
        before: What the command is put behind: `unshare ...`, `prlimit ...`.
        environment: More variables.
        popen: More for `subprocess.Popen`.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *overrides: str,
        before: Sequence[str] = (),
        program: Sequence[str] = ("-m", "slng_edge", "run", "--events", "-"),
        environment: dict[str, str] | None = None,
        **popen: Any,
    ) -> None:
        self.folder = folder
        self.socket = folder / "control.sock"
        self.log_path = folder / "log.txt"
        self.events: list[dict[str, Any]] = []
        settings = (f"gateway.url={url}", f"control.socket={self.socket}", *SETTINGS, *overrides)
        self._command = [*before, sys.executable, *program, "--config", os.devnull]
        self._command += [word for each in settings for word in ("-s", each)]
        self._environment = _environment(folder) | (environment or {})
        self._popen = popen
        self._log = self.log_path.open("ab")
        self._reader = threading.Thread(target=self._read, name="events")

    def __enter__(self) -> Self:
        options: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": self._log,
            "env": self._environment,
            "cwd": self.folder,
            **self._popen,
        }
        self.process = subprocess.Popen(self._command, **options)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise
        finally:
            self._reader.join()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self._log.close()

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_path.read_text(errors="replace")

    def limit(self, what: int, soft: int) -> int:
        """Lower or raise a limit of the running process; what it was."""
        program = (
            f"import resource; p = {self.process.pid}, {what}; limits = resource.prlimit(*p); "
            f"resource.prlimit(*p, ({soft}, limits[1])); print(limits[0])"
        )
        # By a process of its user's: even root may not change what is another's everywhere.
        who = {name: self._popen[name] for name in ("user", "group") if name in self._popen}
        said = subprocess.run([sys.executable, "-c", program], stdout=-1, check=True, **who)
        return int(said.stdout)

    def descriptors(self) -> dict[int, str]:
        """Its open descriptors, and where they lead."""
        folder = Path(f"/proc/{self.process.pid}/fd")
        found = {}
        for name in os.listdir(folder):
            try:
                found[int(name)] = os.readlink(folder / name)
            except FileNotFoundError:
                continue
        return found

    def count(self, kind: str, **fields: Any) -> int:
        """How many such events there have been."""
        return sum(
            event["type"] == kind and all(event.get(name) == fields[name] for name in fields)
            for event in list(self.events)
        )

    def failed(self, reason: str) -> bool:
        """Whether each session has failed to connect for that reason."""
        reasons = {
            event["session"]
            for event in list(self.events)
            if event["type"] == "connection" and reason in (event.get("reason") or "")
        }
        return reasons == {"stt", "tts"}

    def ready(self) -> Self:
        """Wait until it is connected and listens."""
        self.await_(lambda: self.count("connection", session="stt", state="ready"), "stt ready")
        self.await_(lambda: self.count("connection", session="tts", state="ready"), "tts ready")
        self.await_(self.socket.exists, "its control socket")
        return self

    def warnings(self, words: str) -> list[str]:
        """Lines of its log that have `words`."""
        return [line for line in self.log.splitlines() if words in line]

    def request(self, **request: Any) -> Any:
        """Its answer to a request on the control socket."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(self.socket))
            sock.sendall(json.dumps({"id": 1, **request}).encode() + b"\n")
            with sock.makefile("rb") as file:
                return json.loads(file.readline())

    def ask(self, text: str = "hello") -> None:
        """Ask in writing, and wait until the answer has sounded."""
        before = self.count("playback_end")
        assert self.request(command="ask", text=text)["ok"]
        self.await_(lambda: self.count("playback_end") > before, f"the answer to {text!r}")

    def await_(self, happened: Callable[[], Any], what: str, timeout_s: float = 60.0) -> None:
        """Wait for it, as long as the process lives."""
        seen: list[bool] = []

        def is_over() -> bool:
            seen.append(bool(happened()))
            return seen[-1] or self.process.poll() is not None

        wait_until(is_over, timeout_s=timeout_s)
        assert seen[-1], f"no {what}; status {self.process.poll()}\n{self.log}"

    def tell(self, line: str) -> None:
        """A line on its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end(self, timeout_s: float = 6.0) -> int:
        """Have it end by SIGTERM; its exit status."""
        self.process.terminate()
        return self.process.wait(timeout_s)

    def _read(self) -> None:
        if self.process.stdout is not None:
            for line in self.process.stdout:
                self.events.append(json.loads(line))


def _environment(folder: Path) -> dict[str, str]:
    ours = {name: os.environ[name] for name in os.environ if "SLNG" not in name}
    for name in ("ALSA_CONFIG_PATH", "PULSE_SERVER", "NOTIFY_SOCKET", "STATE_DIRECTORY"):
        ours.pop(name, None)  # the virtual sound of other tests
    return {**ours, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
