"""What another program says, kept in bounds: so many bytes of it, and for so long."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

OUTPUT_LIMIT_BYTES = 4 * 1024 * 1024
"""Of one program, the newest; a line of the journal may have 48 KiB."""

_READ_BYTES = 65536
_GRACE_S = 2.0
_JOIN_S = 1.0


def output_of(*command: str, timeout_s: float, environ: Mapping[str, str]) -> str:
    """What a program says; "" where there is none, and why where it fails.

    Waits at most `timeout_s`; then it is ended with all that it started, within `_GRACE_S` and
    `_JOIN_S`.
    """
    if shutil.which(command[0]) is None:
        return ""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ),
            start_new_session=True,
        )
    except OSError as error:
        return f"{_words(command)}: {error.strerror}\n"
    ends = [_Tail(stream) for stream in (process.stdout, process.stderr) if stream is not None]
    problem = ""
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        problem = f"{_words(command)}: no end within {timeout_s:g} s\n"
    finally:
        if process.returncode is None:
            _end(process)
        said, complaint = (end.text() for end in ends)
    if said:
        return said + problem
    complaint = complaint.strip()
    return problem or (f"{_words(command)}: {complaint}\n" if complaint else "")


def _end(process: subprocess.Popen[bytes]) -> None:
    """With time to clean up first: `doctor --as-service` has a copy of the key to remove."""
    for number, timeout_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)


class _Tail:
    """Reads a stream to its end, and keeps the end of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._data = bytearray()
        self._left_out = 0
        self._thread = threading.Thread(target=self._read, name="output", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """What there is, whole lines alone where the beginning was left out."""
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():  # held open by who left the process group
            return bytes(self._data).decode("utf-8", "replace")
        self._stream.close()
        if not self._left_out:
            return self._data.decode("utf-8", "replace")
        whole = self._data.partition(b"\n")[2]
        return (
            f"({self._left_out} bytes before this are left out)\n{whole.decode('utf-8', 'replace')}"
        )

    def _read(self) -> None:
        descriptor = self._stream.fileno()
        while data := os.read(descriptor, _READ_BYTES):
            self._data += data
            too_many = len(self._data) - OUTPUT_LIMIT_BYTES
            if too_many > 0:
                del self._data[:too_many]
                self._left_out += too_many


def _words(command: Sequence[str]) -> str:
    return " ".join((Path(command[0]).name, *command[1:]))
