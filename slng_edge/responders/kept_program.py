"""A program that is asked one question after the other: one life of it."""

from __future__ import annotations

import logging
import time

from slng_edge.responders.process_group import ProcessGroup, Program
from slng_edge.responders.program_pipes import ProgramPipes
from slng_edge.responders.reply_lines import ErrorLog, ReplyLines
from slng_edge.responders.reply_text import UnfitReply

log = logging.getLogger(__name__)

GRACE_S = 0.2
"""Between TERM and KILL; with a poll and the time to drain less than the 0.6 s of `respond`."""
_ENDING_POLL_S = 0.01


class KeptProgram:
    """The program from one start to its end.

    Raises:
        ResponderUnreachable: it cannot be started.
    """

    def __init__(self, program: Program) -> None:
        self._name = program.name
        self.group: ProcessGroup = program.start()
        self.pipes = ProgramPipes(self.group, ErrorLog(program.name))
        self.has_replied = False
        """Whether it has ever come to the end of a reply; for its owner to note."""
        self._status: int | None = None

    def is_fit(self) -> bool:
        """Whether it runs, and has written nothing since its last reply."""
        said = self.pipes.exchange(0).strip()
        if self.group.has_ended():
            log.warning("%s has ended between two questions: started anew", self._name)
            return False
        if said:
            log.warning("%s wrote text that nobody asked for: started anew", self._name)
            return False
        return self.pipes.is_output_open

    def ask(self, text: str) -> None:
        """Have `text` written, in one line."""
        self.pipes.errors.end()
        self.pipes.errors = ErrorLog(self._name)
        line = " ".join(text.splitlines()) + "\n"
        self.pipes.send(line.encode("utf-8", "replace"), then_close=False)

    def drain(self, reply: ReplyLines, limit_s: float) -> None:
        """Throw away what is left of `reply`, where it ends within `limit_s`."""
        deadline = time.monotonic() + limit_s
        while not reply.is_complete and self.pipes.is_output_open:
            wait_s = deadline - time.monotonic()
            if wait_s <= 0 or self.group.has_ended():
                return
            try:
                reply.receive(self.pipes.exchange(wait_s))
            except UnfitReply:
                # Nobody waits for it; it is not complete, so its owner begins a new life.
                return

    def ends_within(self, limit_s: float) -> bool:
        """Whether it has ended after at most `limit_s`."""
        deadline = time.monotonic() + limit_s
        while not self.group.has_ended():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_ENDING_POLL_S)
        return True

    def kill(self) -> int:
        """End it, with all that it started; how it ended. Waits at most `GRACE_S` and a moment."""
        if self._status is None:
            self.group.kill(GRACE_S)
            self.pipes.errors.end()
            self.pipes.close()
            self._status = self.group.reap()
        return self._status
