"""A program that answers: the text on its standard input, the reply on its standard output.

The program is started anew for each turn; `kept_command` is for one that lives over turns. A turn
that is cancelled, takes too long or writes too much ends with TERM for the program and all that it
started, then KILL.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence

from slng_edge.errors import ResponderError
from slng_edge.responders.process_group import ProcessGroup, Program, ending
from slng_edge.responders.program_pipes import ProgramPipes
from slng_edge.responders.reply_lines import ErrorLog, ReplyLines

log = logging.getLogger(__name__)

TIMEOUT_S = 120.0
"""A reply that is not complete by then never will be; `turn.thinking_timeout_s` is far shorter,
but ends with the first sound."""
GRACE_S = 0.5
"""Between TERM and KILL. The next turn waits for this."""
POLL_S = 0.1
"""A program may leave a child behind that holds its output open, so its end is looked for."""
_ENDING_POLL_S = 0.005
"""The same when it has closed its output, and so is about to end."""
_ENDING_S = 2.0
"""For a program that has closed its output to end; its reply is complete then."""


class CommandResponder:
    """Runs `argv` for each turn, as `Program` says.

    Args:
        argv: The program and its arguments.
        timeout_s: The longest a reply may take from start to end.

    Raises:
        ConfigError: `argv` is empty, or names no program that can be run.
    """

    def __init__(self, argv: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> None:
        self._program = Program(argv)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        # All under the lock.
        self._running: ProcessGroup | None = None
        self._stopped = False
        self._closed = False

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        """The lines that the program writes, each with its line break, as they come.

        Waits for the program, at most `timeout_s`; returns within 0.6 s of being cancelled.

        Raises:
            ResponderUnreachable: it could not be started.
            ResponderError: it ended with another status than 0, took too long, wrote too much or
                what is no text; or the responder is closed.
        """
        if cancelled.is_set():
            return
        running = self._start()
        errors = ErrorLog(self._program.name)
        kill = True
        try:
            yield from self._converse(running, text, cancelled, errors)
            kill = self._is_stopped(cancelled) or not running.has_ended()
        finally:
            if kill:
                running.kill(GRACE_S)
            with self._lock:
                self._running = None
            status = running.reap()
            errors.end()
        if status and not kill:
            raise ResponderError(f"{self._program.name} {ending(status)}{errors.last_words}")

    def cancel(self) -> None:
        """Ask the program and what it started to end; does not wait. Any thread."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                self._running.signal(signal.SIGTERM)

    def close(self) -> None:
        """Cancel; no reply follows. Any thread, any number of times."""
        with self._lock:
            self._closed = True
        self.cancel()

    def _start(self) -> ProcessGroup:
        with self._lock:
            if self._closed:
                raise ResponderError(
                    f"{self._program.name} was not started: the responder is closed"
                )
            self._stopped = False
        running = self._program.start()  # takes a while, and `cancel` does not wait
        with self._lock:
            self._running = running
            if self._stopped:  # meanwhile, when there was nothing to end yet
                running.signal(signal.SIGTERM)
        return running

    def _is_stopped(self, cancelled: threading.Event) -> bool:
        return self._stopped or cancelled.is_set()

    def _converse(
        self,
        running: ProcessGroup,
        text: str,
        cancelled: threading.Event,
        errors: ErrorLog,
    ) -> Iterator[str]:
        """Write `text`, yield lines until the output ends, the program does, or it is stopped."""
        deadline = time.monotonic() + self._timeout_s
        complete_by = deadline
        reply = ReplyLines(self._program.name)
        pipes = ProgramPipes(running, errors)
        try:
            pipes.send(text.encode("utf-8", "replace") + b"\n", then_close=True)
            while not self._is_stopped(cancelled):
                ended = running.has_ended()
                wait_s = POLL_S if pipes.is_output_open else _ENDING_POLL_S
                data = pipes.exchange(0 if ended else wait_s)
                if data:
                    yield from reply.receive(data)
                elif ended or not pipes.is_output_open:
                    yield from reply.end()
                if ended and not data:
                    # A child that was left behind may hold the pipe open; nothing is in it.
                    return
                if pipes.is_output_open:
                    complete_by = time.monotonic() + _ENDING_S
                elif time.monotonic() >= complete_by:
                    log.warning("%s closed its output and did not end", self._program.name)
                    return
                if time.monotonic() >= deadline:
                    raise ResponderError(
                        f"{self._program.name} did not end within {self._timeout_s:g} s "
                        "and was stopped"
                    )
        finally:
            pipes.close()
