"""The three pipes of a running program, none of which may wait for another."""

from __future__ import annotations

import os
import selectors
from typing import IO

from slng_edge.responders.process_group import ProcessGroup
from slng_edge.responders.reply_lines import ErrorLog

_READ_BYTES = 65536


class ProgramPipes:
    """Writes the question while the reply and the complaints are read. One thread.

    Args:
        group: Whose pipes; it closes them, `close` only stops watching them.
        errors: Gets what is written to standard error. May be replaced between turns.
    """

    def __init__(self, group: ProcessGroup, errors: ErrorLog) -> None:
        self.errors = errors
        self._stdin, self._stdout, self._stderr = group.stdin, group.stdout, group.stderr
        self._unsent = memoryview(b"")
        self._close_input = False
        self._selector = selectors.DefaultSelector()
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._selector.register(self._stderr, selectors.EVENT_READ)

    def close(self) -> None:
        """Watch nothing any more."""
        self._selector.close()

    @property
    def is_output_open(self) -> bool:
        """Whether the program, or what it started, may still write."""
        return self._stdout in self._selector.get_map()

    @property
    def is_all_sent(self) -> bool:
        """Whether the program's standard input has taken everything."""
        return not self._unsent

    def send(self, data: bytes, *, then_close: bool) -> None:
        """Have `data` written by the next calls of `exchange`, the one before being all sent."""
        self._unsent = memoryview(data)
        self._close_input = then_close
        self._selector.register(self._stdin, selectors.EVENT_WRITE)

    def exchange(self, wait_s: float) -> bytes:
        """Write and read what goes; the output that came, empty where there was none.

        Waits at most `wait_s`.
        """
        ready = {key.fileobj for key, _ in self._selector.select(wait_s)}
        if self._stdin in ready:
            self._write()
        if self._stderr in ready:
            self.errors.receive(self._read(self._stderr))
        return self._read(self._stdout) if self._stdout in ready else b""

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._stdin.fileno(), self._unsent) :]
        except BrokenPipeError:
            # A program may answer without reading the question.
            self._unsent = self._unsent[:0]
        if not self._unsent:
            self._selector.unregister(self._stdin)
            if self._close_input:
                self._stdin.close()

    def _read(self, pipe: IO[bytes]) -> bytes:
        data = os.read(pipe.fileno(), _READ_BYTES)
        if not data:
            self._selector.unregister(pipe)
        return data
