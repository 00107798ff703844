"""One text-to-speech session, whatever its connections do: texts in, audio of replies out.

Theory of operation. A reply is spoken in segments. A segment is the texts that were waiting
when it began, as far as one message holds them, followed by one `flush`; the next begins when a
terminal (`flushed` or `audio_end`) has ended it. The first segment is the first text alone, so that
it sounds while the next is being written; later ones take all that waits, for the flow of the
speech. With one flush outstanding at a time, the first terminal after our flush is the answer to
it: nothing on the wire says which (protocol.md, 4).

Audio carries no label either: it belongs to the segment in flight. Where one is given up while
the connection lives (`interrupt`, an error of the gateway's), `clear` is sent, and all audio and
all terminals are dropped until `cleared`, for no segment begins before it; a gateway that does
not say it within `cleared_s` leaves the ownership unclear, and the connection is replaced; at once
where the dialect has no answer to `clear`.

    idle ──text──▶ in flight ──terminal──▶ idle          routes that send both terminals: the
                      │                      ▲           second one belongs to the segment that
                   interrupt ──▶ clearing ───┘           the first one ended (counted by kind)
                                  `cleared`

A connection that breaks before the first audio of a segment: its texts are sent once more on
the next. After it: never, the listener would hear it twice; the reply fails, with what it had.
Routes that close after every utterance do so when the next segment is already on its way: that
it has not sounded is what tells their life cycle (`served`) from a connection that broke. Once
that is known (`one_utterance`), a segment waits for the close that follows the one before; where
that does not come within `CLOSES_WITHIN_S`, it was a mistake: it is forgotten, and the segment
goes out on the connection there is.

A plan allows so many messages a minute on a connection, and a provider so many characters: a
segment begins when all of its messages may go.
"""

from __future__ import annotations

from dataclasses import dataclass

from slng_edge.errors import GatewayError, RemoteProtocolError, SessionClosed
from slng_edge.protocol.reply_texts import ReplyTexts
from slng_edge.protocol.session_events import (
    Broken,
    Odd,
    ReplyCut,
    ReplyDone,
    SegmentDone,
    TtsEvent,
    given_up,
)
from slng_edge.protocol.speech_segment import SpeechSegment
from slng_edge.protocol.text_allowance import TextAllowance
from slng_edge.protocol.text_limit import TextLimit
from slng_edge.protocol.tier_limits import TIER_LIMITS, TierLimits
from slng_edge.protocol.tts_wire import TtsDialect, TtsWire
from slng_edge.protocol.vocabulary import (
    Audio,
    Cleared,
    Failed,
    NotUnderstood,
    SynthesisEnded,
)

__all__ = ["CLOSE_TOO_LARGE", "CLOSE_UNCLEAR", "TtsDialect", "TtsExchange", "TtsTimes"]

CLOSE_UNCLEAR = 1002
"""Why we give a connection up whose next audio could be of what was cleared away: it is not to
blame for silence."""

CLOSES_WITHIN_S = 0.3
"""How long after an utterance a route that closes after each has for it. It does so at once; a
connection that outlives this is used on."""

CLOSE_TOO_LARGE = 1009
"""Why we give a connection up on which a text was too large."""


@dataclass(frozen=True)
class TtsTimes:
    """The deadlines of an exchange, in seconds."""

    keepalive_s: float = 30.0
    first_audio_s: float = 10.0
    cleared_s: float = 1.0


class TtsExchange:
    """Pure logic of one text-to-speech session; the owner serializes all calls.

    Args:
        rate_hz: Of the audio that was asked for.
        times: The deadlines. `first_audio_s` also bounds a pause within a segment.
        limits: Of the plan: characters of a text, messages a minute.
        fallbacks: Models that are tried when the first fails: a text that has not sounded is
            sent again once, and once more to each of them.

    Attributes:
        one_utterance: Whether the route is known to close after each utterance; the owner sets
            it, and it is forgotten where a connection goes on all the same.
    """

    def __init__(
        self,
        *,
        rate_hz: int,
        times: TtsTimes,
        limits: TierLimits = TIER_LIMITS["pro"],
        fallbacks: int = 0,
    ) -> None:
        self.one_utterance = False
        self._attempts = 2 + fallbacks
        self._rate_hz = rate_hz
        self._times = times
        self._limit = TextLimit(limits.text_chars)
        self._allowance = TextAllowance(limits.messages_a_minute)
        self._replies = ReplyTexts()
        self._segment: SpeechSegment | None = None
        self._wire: TtsWire | None = None
        self._served_at: float | None = None
        self._answered = False

    @property
    def ready(self) -> bool:
        """Whether there is a connection."""
        return self._wire is not None

    @property
    def pressing(self) -> bool:
        """Whether a reply waits for a connection, or for its audio."""
        return bool(self._replies) or self._segment is not None

    @property
    def at_rest(self) -> bool:
        """Whether a change of connection now costs nothing; audio to be dropped is no loss."""
        return self._segment is None or not self._segment.on_the_wire

    @property
    def spent(self) -> bool:
        """Whether the connection is of no use for another segment."""
        if self._wire is None or not self.at_rest:
            return False
        return self._wire.outdated

    @property
    def answered(self) -> bool:
        """Whether audio has ever come on this connection."""
        return self._answered

    @property
    def finished(self) -> bool:
        """Whether nothing will come any more; of a conversation nobody knows that."""
        return False

    @property
    def served(self) -> bool:
        """Whether this connection has finished a segment: a 1000 now is the route's life."""
        return self._served_at is not None and not (
            self._segment is not None and self._segment.sounded
        )

    # What the owner does

    def open_reply(self, number: int) -> None:
        """Begin a reply; the owner chooses the number, each once."""
        self._replies.open(number)

    def add_text(self, reply: int, text: str) -> None:
        """Add a text to speak; one for a reply that is not open (any more) is dropped."""
        self._replies.add(reply, self._limit.pieces(text))

    def change_voice(self, voice: str) -> None:
        """Speak in another voice: live where the dialect can, else on a new connection.

        The connections to come are the owner's, who makes their dialects.
        """
        if self._wire is not None:
            self._wire.change_voice(voice)

    def end_reply(self, reply: int) -> list[TtsEvent]:
        """No more texts follow."""
        self._replies.end(reply)
        return self._finish_replies()

    def interrupt(self, now: float) -> None:
        """Drop every reply and what is in flight; `clear` is due where the gateway has text."""
        self._replies.clear()
        self._segment = None
        if self._wire is not None:
            self._wire.clear(cleared_by=now + self._times.cleared_s)

    def farewell(self) -> str | None:
        """What to send last on the connection, if it is ready and the plan allows one more."""
        return None if self._wire is None else self._wire.farewell()

    # What the connection does

    def connected(
        self, dialect: TtsDialect, now: float, *, chars_a_minute: int | None = None
    ) -> None:
        """A connection is ready.

        Args:
            dialect: Has greeted it, and writes and reads for it.
            now: Seconds of a monotonic clock.
            chars_a_minute: What the model's provider allows.
        """
        self._allowance.begin_connection(now, chars_a_minute=chars_a_minute)
        keepalive_s = self._times.keepalive_s
        self._wire = TtsWire(dialect, self._allowance, keepalive_s=keepalive_s, now=now)
        self._served_at = None
        self._answered = False

    def mend(self, error: GatewayError) -> GatewayError:
        """What `error` leaves to complain of: a text that was too large is halved, once."""
        if not self._limit.mends(error):
            return error
        # The segment in flight may have been too large, else what waits.
        self._limit.halve(self._replies if self._segment is None else self._segment.unsent)
        if self._segment is not None:
            self._segment.cut_anew(self._limit.messages(self._segment.texts))
        self._replies.cut_anew(self._limit.pieces)
        why = f"{error} Sending shorter texts"
        return SessionClosed(why, code=CLOSE_TOO_LARGE, by_us=True)

    def disconnected(self, error: GatewayError) -> list[TtsEvent]:
        """The socket is gone: what has not sounded is sent again, the rest is cut."""
        self._wire = None
        self._allowance.release()
        segment = self._segment
        if segment is None or not segment.on_the_wire:
            return []
        segment.attempts += 1
        if segment.sounded or segment.attempts >= self._attempts:
            return self._cut(segment, error)
        segment.send_again(self._limit.messages(segment.texts))
        return []

    def receive(self, message: str | bytes, now: float) -> list[TtsEvent]:
        """What a message of the current socket means."""
        wire = self._wire
        if wire is None:
            return []
        events: list[TtsEvent] = []
        for event in wire.receive(message):
            match event:
                case Audio():
                    events += self._receive_audio(wire, event, now)
                case SynthesisEnded(kind):
                    events += self._receive_terminal(wire, kind, now)
                case Cleared():
                    self._served_at = now if wire.cleared() else self._served_at
                case Failed(error):
                    events += self._receive_error(wire, error, now)
                case NotUnderstood(_, why):
                    events.append(Odd(why))
                case _:
                    pass
        return events

    def next_message(self, now: float) -> str | None:
        """What to send now; None where nothing is due."""
        wire = self._wire
        if wire is None:
            return None
        self._allowance.release()
        message = wire.request(now)
        waits = self.spent or self._closes_by() is not None
        if message is None and wire.takes_texts and not waits:
            message = self._due_of_segment(wire, now)
        if message is None:
            message = wire.keepalive(now)
        if message is not None:
            wire.sent(now)
        return message

    def deadline(self) -> float | None:
        """When `expire` or `next_message` has something to do, if nothing comes before."""
        times = [self._allowance.held_until, self._closes_by()]
        if self._wire is not None:
            times.append(self._wire.deadline())
        if self._segment is not None:
            times.append(self._segment.silent_at(self._times.first_audio_s))
        return min((at for at in times if at is not None), default=None)

    def expire(self, now: float) -> list[TtsEvent]:
        """What the passing of time means."""
        closes_by = self._closes_by()
        if closes_by is not None and now >= closes_by:
            self.one_utterance = False
        if self._wire is not None and self._wire.give_up_clearing(now):
            why = f"no `cleared` within {self._times.cleared_s:g} s: connecting anew"
            return [Broken(SessionClosed(why, code=CLOSE_UNCLEAR, by_us=True))]
        segment = self._segment
        patience_s = self._times.first_audio_s
        if segment is None or not segment.give_up_waiting(now, patience_s):
            return []
        what = "the rest of the audio" if segment.sounded else "audio"
        return [given_up(f"{what} did not come within {patience_s:g} s")]

    # Inside

    def _closes_by(self) -> float | None:
        """Until when the route's close is waited for, after an utterance."""
        if self._wire is None or self._served_at is None or not self.one_utterance:
            return None
        return self._served_at + CLOSES_WITHIN_S

    def _due_of_segment(self, wire: TtsWire, now: float) -> str | None:
        segment = self._segment or self._begin_segment(now)
        if segment is None:
            return None
        if not segment.on_the_wire:
            if not self._allowance.take_segment(segment.unsent, now):
                return None
            wire.begin_segment()
            segment.on_the_wire = True
        if segment.unsent:
            return wire.text(segment.unsent.popleft())
        if segment.flush_due:
            segment.flushed(now)
            return wire.flush()
        return None

    def _begin_segment(self, now: float) -> SpeechSegment | None:
        waiting = self._replies.next_segment(self._limit.chars)
        if waiting is not None:
            reply, texts = waiting
            self._segment = SpeechSegment(reply, texts, self._limit.messages(texts), now)
        return self._segment

    def _receive_audio(self, wire: TtsWire, audio: Audio, now: float) -> list[TtsEvent]:
        segment = self._segment
        if segment is None or not segment.on_the_wire:
            return []  # of what was interrupted, or of nothing that is open
        events = segment.receive(audio, now, header=wire.header, rate_hz=self._rate_hz)
        if wire.header.unsupported:
            why = f"the gateway sent audio that cannot be played: {wire.header.unsupported}"
            return self._give_up(wire, segment, RemoteProtocolError(why), now)
        if segment.overlong:
            why = "the gateway sent far more audio than the text can sound"
            return self._give_up(wire, segment, RemoteProtocolError(why), now)
        self._answered |= segment.sounded
        return events

    def _receive_terminal(self, wire: TtsWire, kind: str, now: float) -> list[TtsEvent]:
        segment = self._segment
        if segment is not None and segment.flush_due and segment.on_the_wire:
            return []  # before our flush it ends a segment of the gateway's, not the utterance
        ends = wire.ended(kind)
        if segment is None or segment.flush_due or not ends:
            return []  # the second terminal of a segment that the first one has ended
        self._segment = None
        self._served_at = now
        return [SegmentDone(segment.reply), *self._finish_replies()]

    def _receive_error(self, wire: TtsWire, error: GatewayError, now: float) -> list[TtsEvent]:
        segment = self._segment
        passing = error.retryable or self._limit.mends(error)
        if segment is None or not segment.on_the_wire or passing:
            return [Broken(error)]
        return self._give_up(wire, segment, error, now)

    def _give_up(
        self, wire: TtsWire, segment: SpeechSegment, error: GatewayError, now: float
    ) -> list[TtsEvent]:
        wire.clear(cleared_by=now + self._times.cleared_s)
        return self._cut(segment, error)

    def _cut(self, segment: SpeechSegment, error: GatewayError) -> list[TtsEvent]:
        self._segment = None
        self._replies.drop(segment.reply)
        return [ReplyCut(segment.reply, error), *self._finish_replies()]

    def _finish_replies(self) -> list[TtsEvent]:
        if self._segment is not None:
            return []
        return [ReplyDone(number) for number in self._replies.take_finished()]
