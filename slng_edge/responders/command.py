"""A program that answers: the text on its standard input, the reply on its standard output.

The program is started anew for each turn, as the leader of its own process group, so that what
it starts can be stopped with it. A turn that is cancelled, takes too long or writes too much ends
with TERM for the group, then KILL; what a program leaves in the background when it ends by itself
is left alone. The leader is reaped last, since its number names the group and must not go to a
stranger before the last signal is sent.
"""

from __future__ import annotations

import logging
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from slng_edge.errors import ConfigError, ResponderError

log = logging.getLogger(__name__)

TIMEOUT_S = 120.0
"""A reply that is not complete by then never will be; `turn.thinking_timeout_s` is far shorter,
but ends with the first sound."""
MAX_CHARS = 20_000
"""Of one reply: twenty minutes of speech."""
GRACE_S = 0.5
"""Between TERM and KILL. The next turn waits for this."""
_POLL_S = 0.1
"""A program may leave a child behind that holds its output open, so its end is looked for."""
_ENDING_POLL_S = 0.005
"""The same when it has closed its output, and so is about to end."""
_READ_BYTES = 65536
_STDERR_LINES = 10
"""Logged of one turn; the rest is counted."""
_STDERR_CHARS = 300


class CommandResponder:
    """Runs `argv` for each turn, without a shell and with little environment.

    The environment is PATH, HOME, LANG and what begins with SLNG_EDGE_; never the key.

    Args:
        argv: The program and its arguments.
        timeout_s: The longest a reply may take from start to end.

    Raises:
        ConfigError: `argv` is empty, or names no program that can be run.
    """

    def __init__(self, argv: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> None:
        self._environment = _environment(os.environ)
        self._argv = [_program(argv, self._environment["PATH"]), *argv[1:]]
        self._name = Path(argv[0]).name
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        # Both under the lock. A process is here only while its number is its own.
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._closed = False

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        """The lines that the program writes, each with its line break, as they come.

        Waits for the program, at most `timeout_s`; returns within 0.6 s of being cancelled.

        Raises:
            ResponderError: it could not be started, ended with another status than 0, took too
                long or wrote too much; or the responder is closed.
        """
        if cancelled.is_set():
            return
        process = self._start()
        errors = _ErrorLog(self._name)
        kill = True
        try:
            yield from self._converse(process, text, cancelled, errors)
            kill = self._is_stopped(cancelled)
        finally:
            if kill:
                self._kill(process)
            status = self._reap(process)
            errors.end()
        if status and not kill:
            raise ResponderError(f"{self._name} {_ending(status)}{errors.last_words}")

    def cancel(self) -> None:
        """Ask the program and what it started to end; does not wait. Any thread."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                _signal_group(self._process, signal.SIGTERM)

    def close(self) -> None:
        """Cancel; no reply follows. Any thread, any number of times."""
        with self._lock:
            self._closed = True
        self.cancel()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise ResponderError(f"{self._name} was not started: the responder is closed")
            self._stopped = False
            try:
                self._process = subprocess.Popen(
                    self._argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    env=self._environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise ResponderError(
                    f"{self._argv[0]} could not be started: {error.strerror}"
                ) from error
            return self._process

    def _is_stopped(self, cancelled: threading.Event) -> bool:
        return self._stopped or cancelled.is_set()

    def _converse(
        self,
        process: subprocess.Popen[bytes],
        text: str,
        cancelled: threading.Event,
        errors: _ErrorLog,
    ) -> Iterator[str]:
        """Write `text`, yield lines until the output ends, the program does, or it is stopped."""
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        deadline = time.monotonic() + self._timeout_s
        unsent = memoryview(text.encode("utf-8", "replace") + b"\n")
        reply = _Lines(self._name)
        with selectors.DefaultSelector() as selector:
            for pipe in (process.stdin, process.stdout, process.stderr):
                os.set_blocking(pipe.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while not self._is_stopped(cancelled):
                ended = _has_ended(process)
                open_pipes = selector.get_map()
                wait_s = _POLL_S if process.stdout in open_pipes else _ENDING_POLL_S
                ready = {key.fileobj for key, _ in selector.select(0 if ended else wait_s)}
                if process.stdin in ready:
                    unsent = _write(process.stdin, unsent)
                    if not unsent:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                if process.stderr in ready:
                    data = os.read(process.stderr.fileno(), _READ_BYTES)
                    if not data:
                        selector.unregister(process.stderr)
                    errors.receive(data)
                if process.stdout in ready:
                    data = os.read(process.stdout.fileno(), _READ_BYTES)
                    if not data:
                        selector.unregister(process.stdout)
                    yield from reply.receive(data) if data else reply.end()
                elif ended:
                    # A child that was left behind may hold the pipe open; nothing is in it.
                    yield from reply.end()
                    return
                if time.monotonic() >= deadline:
                    raise ResponderError(
                        f"{self._name} did not end within {self._timeout_s:g} s and was stopped"
                    )

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """TERM, then KILL for whoever is left. Waits at most `GRACE_S`."""
        _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while not _has_ended(process) and time.monotonic() < deadline:
            time.sleep(0.01)
        _signal_group(process, signal.SIGKILL)

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        """Close the pipes and take the exit status of what has ended or was killed."""
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        with self._lock:
            self._process = None
        try:
            return process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            # Killed, but inside a system call that does not return: a dead network drive.
            log.warning("%s, process %d, was killed and does not end", self._name, process.pid)
            return -signal.SIGKILL


class _Lines:
    """Bytes in, lines of text out; bounded."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._unfinished = ""
        self._chars_left = MAX_CHARS

    def receive(self, data: bytes) -> Iterator[str]:
        """The lines that are complete with `data`.

        Raises:
            ResponderError: more than `MAX_CHARS` in all; the lines up to there come first.
        """
        text = self._decoder.decode(data).replace("\0", "")
        too_much = len(text) > self._chars_left
        text = text[: self._chars_left]
        self._chars_left -= len(text)
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        yield from (line + "\n" for line in lines)
        if too_much:
            raise ResponderError(
                f"{self._name} wrote more than {MAX_CHARS} characters and was stopped"
            )

    def end(self) -> list[str]:
        """A last line without a line break."""
        rest = self._unfinished + self._decoder.decode(b"", final=True)
        self._unfinished = ""
        return [rest] if rest else []


class _ErrorLog:
    """Puts what a program writes to standard error into the log, a bounded part of it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._unfinished = b""
        self._lines = 0
        self._last = ""

    @property
    def last_words(self) -> str:
        """ ": " and the last line, or nothing."""
        return f": {self._last}" if self._last else ""

    def receive(self, data: bytes) -> None:
        """Log the lines that are complete with `data`."""
        *lines, rest = (self._unfinished + data).split(b"\n")
        self._unfinished = rest[: 4 * _STDERR_CHARS]
        for line in lines:
            self._log(line)

    def end(self) -> None:
        """Log what is left, and how much was not logged."""
        self._log(self._unfinished)
        if self._lines > _STDERR_LINES:
            log.warning("%s: %d more lines", self._name, self._lines - _STDERR_LINES)

    def _log(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").replace("\0", "").strip()[:_STDERR_CHARS]
        if not text:
            return
        self._last = text
        self._lines += 1
        if self._lines <= _STDERR_LINES:
            log.warning("%s: %s", self._name, text)


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    environment = {
        name: value
        for name, value in ours.items()
        if name in ("HOME", "LANG") or name.startswith("SLNG_EDGE_")
    }
    return {"PATH": ours.get("PATH") or os.defpath, **environment}


def _program(argv: Sequence[str], path: str) -> str:
    """Where the program of `argv` lies, by its whole name."""
    if not argv or not argv[0]:
        raise ConfigError("responder.command is empty; name the program that answers")
    found = shutil.which(argv[0], path=path)
    if found is not None:
        return found
    if Path(argv[0]).is_file():
        raise ConfigError(
            f"responder.command: {argv[0]} is not executable; run: chmod +x {argv[0]}"
        )
    raise ConfigError(f"responder.command: no program {argv[0]}; give its whole path")


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The leader is not reaped, so the group exists; what it became by setuid is not ours to stop.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the leader has ended; it is not reaped by this."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None


def _write(pipe: IO[bytes], unsent: memoryview) -> memoryview:
    """What is left to send when the pipe has taken what it can."""
    try:
        return unsent[os.write(pipe.fileno(), unsent) :]
    except BrokenPipeError:
        # A program may answer without reading the question.
        return unsent[:0]


def _ending(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with status {status}"
