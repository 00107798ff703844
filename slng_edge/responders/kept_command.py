"""A program that answers and lives over turns, for what takes long to load.

It reads a question a line, and writes lines until an empty one. It is started with the first
question, or by `start`. What is left of a reply that nobody waits for any more is read and thrown
away up to its empty line; a program that does not come to it within `DRAIN_S` is stopped, with all
that it started, and started anew at once, so that it has loaded when the next question comes.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence

from slng_edge.errors import ResponderError
from slng_edge.responders.command import POLL_S, TIMEOUT_S
from slng_edge.responders.interface import ResponderUnreachable
from slng_edge.responders.kept_program import GRACE_S, KeptProgram
from slng_edge.responders.process_group import Program, ending
from slng_edge.responders.reply_lines import ReplyLines

log = logging.getLogger(__name__)

DRAIN_S = 0.2
"""For a cancelled reply to come to its empty line."""
FIRST_PAUSE_S = 1.0
"""Before the third start where the first two lives gave no reply; then twice as long each time."""
LONGEST_PAUSE_S = 30.0


class KeptCommandResponder:
    """Runs `argv` once, as `Program` says, and asks it one question after the other.

    Args:
        argv: The program and its arguments.
        timeout_s: The longest a reply may take, from the question to its empty line.

    Raises:
        ConfigError: `argv` is empty, or names no program that can be run.
    """

    def __init__(self, argv: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> None:
        self._program = Program(argv)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        # All under the lock. A reply is under way while `_life` is in the hands of `respond`.
        self._life: KeptProgram | None = None
        self._is_replying = False
        self._stopped = False
        self._closed = False
        # Of the thread that calls `respond`.
        self._fruitless = 0
        self._rests_until_s = 0.0

    def start(self) -> None:
        """Start the program now, not with the first question; a failure is told then. Any thread.

        A question that somebody waits for is no time to load.
        """
        with self._lock:
            if self._life is not None or self._is_replying or self._closed:
                return
        try:
            life = KeptProgram(self._program)  # takes a while, and `cancel` does not wait
        except ResponderUnreachable as error:
            log.warning("%s", error)
            return
        with self._lock:
            needed = self._life is None and not self._is_replying and not self._closed
            if needed:
                self._life = life
        if not needed:
            life.kill()

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        """The lines that the program writes, each with its line break, as they come.

        Waits for the program, at most `timeout_s`; returns within 0.6 s of being cancelled.

        Raises:
            ResponderUnreachable: the program cannot be started, or has ended again and again
                before it could answer, and rests.
            ResponderError: the program ended, closed its output, took too long, wrote too much
                or what is no text; or the responder is closed.
        """
        if cancelled.is_set():
            return
        life = self._take()
        reply = ReplyLines(self._program.name, until_empty_line=True)
        failed = False
        try:
            yield from self._converse(life, text, cancelled, reply)
        except ResponderError:
            failed = True
            raise
        finally:
            if not failed and not reply.is_complete and not self._closed:
                life.drain(reply, DRAIN_S)
            self._give_back(life, reply, failed)

    def cancel(self) -> None:
        """Have the rest of the present reply thrown away; does not wait. Any thread."""
        with self._lock:
            self._stopped = True

    def close(self) -> None:
        """Cancel, and end the program; no reply follows. Any thread, any number of times.

        Waits at most `GRACE_S` and a moment, while no reply is under way; else `respond` does.
        """
        with self._lock:
            self._closed = self._stopped = True
            life = self._life
            if life is not None and self._is_replying:
                life.group.signal(signal.SIGTERM)
                return
            self._life = None
        if life is not None:
            life.kill()

    def _take(self) -> KeptProgram:
        """A life that waits for a question, for `respond` alone."""
        with self._lock:
            if self._closed:
                raise ResponderError(f"{self._program.name} was not asked: the responder is closed")
            self._stopped = False
            self._is_replying = True
            life = self._life
        try:
            if life is None or not life.is_fit():
                life = self._begin(life)
        except ResponderError:
            with self._lock:
                self._is_replying = False
            raise
        return life

    def _begin(self, last: KeptProgram | None) -> KeptProgram:
        """The life after `last`, which is over."""
        with self._lock:
            self._life = None
        if last is not None:
            self._count(last)
            last.kill()
        rest_s = self._rests_until_s - time.monotonic()
        if rest_s > 0:
            raise ResponderUnreachable(
                f"{self._program.name} ended {self._fruitless} times without a reply; "
                f"it is started again in {rest_s:.0f} s"
            )
        life = KeptProgram(self._program)  # takes a while, and `cancel` does not wait
        with self._lock:
            self._life = life
        return life

    def _converse(
        self, life: KeptProgram, text: str, cancelled: threading.Event, reply: ReplyLines
    ) -> Iterator[str]:
        """Write `text`, yield lines until the empty one, or it is stopped."""
        name = self._program.name
        deadline = time.monotonic() + self._timeout_s
        life.ask(text)
        while not (self._stopped or cancelled.is_set()):
            ended = life.group.has_ended()
            data = life.pipes.exchange(0 if ended else POLL_S)
            yield from reply.receive(data)
            if reply.is_complete:
                return
            if ended and not data:
                yield from reply.end()
                status = life.kill()
                raise ResponderError(
                    f"{name} {ending(status)} before its reply was complete"
                    f"{life.pipes.errors.last_words}"
                )
            if not life.pipes.is_output_open and not life.ends_within(GRACE_S):
                yield from reply.end()
                raise ResponderError(f"{name} closed its output and was stopped")
            if time.monotonic() >= deadline:
                raise ResponderError(
                    f"{name} did not write the empty line that ends a reply "
                    f"within {self._timeout_s:g} s and was stopped"
                )

    def _give_back(self, life: KeptProgram, reply: ReplyLines, failed: bool) -> None:
        """Keep `life` for the next question where it is in step, else have a new one begin."""
        name = self._program.name
        life.has_replied |= reply.is_complete
        if reply.has_more:
            log.warning("%s wrote text after the empty line that ends a reply: started anew", name)
        in_step = reply.is_complete and not reply.has_more and life.pipes.is_all_sent
        if reply.is_complete:
            self._fruitless, self._rests_until_s = 0, 0.0
        elif failed:
            self._count(life)
        with self._lock:
            self._is_replying = False
            kept = in_step and not self._closed
            if not kept:
                self._life = None
        if not kept:
            life.kill()
            if time.monotonic() >= self._rests_until_s:
                self.start()

    def _count(self, life: KeptProgram) -> None:
        """A life is over: has it been of use?"""
        if life.has_replied:
            return
        self._fruitless += 1
        if self._fruitless > 1:
            pause_s = min(FIRST_PAUSE_S * 2 ** (self._fruitless - 2), LONGEST_PAUSE_S)
            self._rests_until_s = time.monotonic() + pause_s
