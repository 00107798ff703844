"""One connection of a text-to-speech session: what was written on it, and what it owes an answer.

A `flush` is answered by a terminal, of two kinds; a route may send both, so they are counted by
kind. A `clear` is answered by `cleared`, until when no text is written. The essay at the
head of `tts_exchange` says why.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from slng_edge.protocol.keepalive import Keepalive
from slng_edge.protocol.text_allowance import TextAllowance
from slng_edge.protocol.vocabulary import TtsServerEvent
from slng_edge.protocol.wav_header import WavHeaderStripper


class TtsDialect(Protocol):
    """What a text-to-speech dialect writes and reads (`UnifiedTts`, …)."""

    def init(self) -> str: ...
    def text(self, text: str) -> str: ...
    def flush(self) -> str: ...
    def clear(self) -> str: ...
    def keepalive(self) -> str | None: ...
    def close(self) -> str | None: ...
    def configure(self, voice: str) -> str | None: ...
    @property
    def acknowledges_clear(self) -> bool: ...
    def receive(self, message: str | bytes) -> list[TtsServerEvent]: ...


class TtsWire:
    """A connection that is ready, until it is gone; the owner serializes all calls.

    All times are seconds of a monotonic clock.

    Args:
        dialect: Has greeted it, and writes and reads for it.
        allowance: What may be sent this minute.
        keepalive_s: A keepalive is due when nothing was sent for so long.
        now: The time.

    Attributes:
        header: Takes WAV headers off its audio; the rate one named holds for the connection.
        outdated: Whether it is of no use for another segment: it speaks in a voice that is not
            wanted any more, or what comes next could be of what was cleared away.
    """

    def __init__(
        self, dialect: TtsDialect, allowance: TextAllowance, *, keepalive_s: float, now: float
    ) -> None:
        self.header = WavHeaderStripper()
        self.outdated = False
        self._dialect = dialect
        self._allowance = allowance
        self._keepalive = Keepalive(keepalive_s)
        self._keepalive.sent(now)
        self._asked_at = now
        self._configure_due: str | None = None
        self._clear_due = False
        self._cleared_by: float | None = None
        self._texts_out = False
        self._flushes = 0
        self._terminals: Counter[str] = Counter()

    @property
    def takes_texts(self) -> bool:
        """Whether neither `clear` nor a change of voice has to go, or be answered, before."""
        return self._configure_due is None and not self._clear_due and self._cleared_by is None

    # What is written

    def change_voice(self, voice: str) -> None:
        """Say so before the next text; where the dialect cannot, the connection is outdated."""
        self._configure_due = self._dialect.configure(voice)
        self.outdated |= self._configure_due is None

    def clear(self, *, cleared_by: float) -> None:
        """Drop what the gateway has got, if anything; it is to say so by `cleared_by`."""
        if self._texts_out:
            self._texts_out = False
            self._clear_due = True
            self._cleared_by = cleared_by

    def request(self, now: float) -> str | None:
        """The `clear` or the change of voice that is due; None also where it is held up."""
        self._asked_at = now
        if not self._clear_due and self._configure_due is None:
            return None
        if not self._allowance.take_message(now):
            return None
        if self._clear_due:
            return self._send_clear()
        message, self._configure_due = self._configure_due, None
        return message

    def begin_segment(self) -> None:
        """A segment's texts follow: its audio may begin with a header."""
        self.header.reset()
        self._texts_out = True

    def text(self, text: str) -> str:
        """The message with a text, to be sent now."""
        return self._dialect.text(text)

    def flush(self) -> str:
        """`flush`, to be sent now: a terminal is owed for it."""
        self._flushes += 1
        return self._dialect.flush()

    def keepalive(self, now: float) -> str | None:
        """The keepalive that is due."""
        if not self._keepalive.is_due(now):
            return None
        if self._allowance.held_until is not None:
            self._keepalive.put_off(self._allowance.held_until)  # it would hold that up further
            return None
        message = self._dialect.keepalive()
        if message is None:
            self._keepalive.stop()
        elif not self._allowance.take_message(now):
            self._keepalive.put_off(self._allowance.next_message_at(now))
            return None
        return message

    def sent(self, now: float) -> None:
        """A message goes out now."""
        self._keepalive.sent(now)

    def farewell(self) -> str | None:
        """What to send last, if the plan allowed one more message when it was last asked for."""
        allowed = self._allowance.next_message_at(self._asked_at) <= self._asked_at
        return self._dialect.close() if allowed else None

    # What comes

    def receive(self, message: str | bytes) -> list[TtsServerEvent]:
        """What a message means in any dialect."""
        return self._dialect.receive(message)

    def ended(self, kind: str) -> bool:
        """Count a terminal; whether one may end the segment in flight.

        It may not where it is the second one of a segment that the first one ended.
        """
        self._terminals[kind] += 1
        return self._terminals[kind] >= self._flushes

    def cleared(self) -> bool:
        """Take `cleared`; whether it answers a `clear` of ours."""
        if self._cleared_by is None or self._clear_due:
            return False
        self._cleared_by = None
        self._terminals.clear()
        self._flushes = 0
        return True

    # Time

    def deadline(self) -> float | None:
        """When a keepalive or the end of the wait for `cleared` is due."""
        times = (self._keepalive.deadline(), self._cleared_by)
        return min((at for at in times if at is not None), default=None)

    def give_up_clearing(self, now: float) -> bool:
        """Whether `cleared` did not come in time; said once."""
        if self._cleared_by is None or now < self._cleared_by:
            return False
        self._cleared_by = None
        return True

    def _send_clear(self) -> str:
        self._clear_due = False
        if not self._dialect.acknowledges_clear:
            self._cleared_by = None
            self.outdated = True
        return self._dialect.clear()
