"""One speech-to-text session, whatever its connections do: utterances in, finals out.

Theory of operation. The exchange outlives sockets. The owner opens utterances, adds audio
and ends them, at any time; it says when a connection is ready (`greeting` has seen to that) or
gone; it hands in what the socket received and asks what to send next. Everything carries `now`,
seconds of a monotonic clock.

What is not answered when a connection breaks is sent again, from its start, on the next one
(`utterance_journal`).

Which final belongs to which utterance is not on the wire. So one `finalize` is outstanding at a
time, and what was said after it waits for the answer. Finals belong to the oldest utterance that
is not answered; they are joined until the first final after our `finalize`, or, on a socket that
has ever marked one with `from_finalize`, until the marked one. Speech that was kept and sent faster
than it was spoken is answered when its finals cover it, or none has come for `SETTLE_S`. An empty
final is an answer too. A final that does not come within `final_s` after `finalize` ends the
wait: what was understood so far is taken; where nothing was, the utterance is replayed once on
a new connection and then reported as lost. An utterance that finds no connection for
`offline_keep_s` after its end is reported as lost, but for what was understood of it.

A connection whose next final could be of an utterance that nobody waits for any more would
credit it to the wrong one. So an utterance that is abandoned when the gateway has a part of it
is finalized, and its words awaited, as strays; and where they do not come, or an utterance is
lost while the gateway has it, the connection is replaced: finals of a retired socket never
come here.

A recording is sent whole, faster than it was spoken, and a model that ends sentences by itself may
send its first final after our `finalize`. There (`join_finals=False`) finals are given as they
come, `close` follows, and the gateway's own close is the end; in a dialect without `close` the
first final after `finalize` is. What is out cannot be taken back: a connection that breaks after
the first of them loses the rest, and says so.

Messages other than audio pass a bucket, because a plan allows so many a minute on a connection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from slng_edge.errors import (
    GatewayError,
    LocalProtocolError,
    RemoteProtocolError,
    SessionClosed,
)
from slng_edge.pcm import SAMPLE_BYTES, PcmFormat
from slng_edge.protocol.awaited_words import AwaitedWords
from slng_edge.protocol.failures import says_too_large
from slng_edge.protocol.keepalive import Keepalive
from slng_edge.protocol.session_events import (
    Broken,
    Final,
    Odd,
    Partial,
    StrayFinal,
    SttEvent,
    UtteranceLost,
    WordsEnded,
    given_up,
)
from slng_edge.protocol.tier_limits import TIER_LIMITS
from slng_edge.protocol.token_bucket import TokenBucket
from slng_edge.protocol.utterance_journal import AudioDue, UtteranceJournal
from slng_edge.protocol.vocabulary import (
    Failed,
    FinalTranscript,
    NotUnderstood,
    PartialTranscript,
    SttServerEvent,
    UtteranceEnd,
)

MESSAGE_BYTES = 6400
"""The most audio in one message: 200 ms at 16 kHz, inside every tier even as base64."""

SETTLE_S = 0.7
"""How long after a final more of them are waited for, where speech was sent faster than it was
spoken: a server that ends sentences by itself is behind then, and its first final after `finalize`
may be of an earlier sentence."""

CLOSES_WITHIN_S = 0.3
"""How long after an answer a route that closes after each utterance has for it: it does so at
once."""

CLOSE_UNCLEAR = 1002
"""Why we give a connection up whose next final could be of another utterance: it is not to blame
for silence."""

CLOSE_TOO_LARGE = 1009
"""Why we give a connection up on which a message was too large."""

PARTIAL_CHARS = 20_000
"""Shown of what is understood so far."""
WORDS_CHARS = 100_000
FINALS = 1000
"""Of one utterance, not of a recording: more than an hour of speech. A gateway that goes on is not
telling what was said."""

STRAY_FINALS = 20
"""Since speech was sent last. They are told as lost words; a gateway that goes on speaks of what
nobody said."""

DROPPED_MS = 1000
"""Audio that finds no room is reported by the second, not by the frame."""


class SttDialect(Protocol):
    """What a speech-to-text dialect writes and reads (`UnifiedStt`, …)."""

    def init(self) -> str: ...
    def audio(self, pcm: bytes) -> str | bytes: ...
    def finalize(self) -> str: ...
    def keepalive(self) -> str | None: ...
    def close(self) -> str | None: ...
    def receive(self, message: str | bytes) -> list[SttServerEvent]: ...


@dataclass(frozen=True)
class SttTimes:
    """The deadlines of an exchange, in seconds."""

    keepalive_s: float = 5.0
    final_s: float = 5.0
    offline_keep_s: float = 30.0


class SttExchange:
    """Pure logic of one speech-to-text session; the owner serializes all calls.

    Args:
        rate_hz: Of the s16le mono audio handed in.
        keep_s: Seconds of unanswered audio that are kept for a resend.
        times: The deadlines.
        messages_a_minute: That may be sent on a connection, audio apart.
        join_finals: False is for a recording that is sent whole: each final is given as
            it comes, `close` follows `finalize`, and an empty final that `answers` comes
            once the gateway has closed, or has marked its answer.

    Attributes:
        one_utterance: Whether the route is known to close after each utterance; the owner sets
            it, and it is forgotten where a connection outlives an answer.
    """

    def __init__(
        self,
        *,
        rate_hz: int,
        keep_s: float,
        times: SttTimes,
        messages_a_minute: int = TIER_LIMITS["pro"].messages_a_minute,
        join_finals: bool = True,
    ) -> None:
        self.one_utterance = False
        self._dialect: SttDialect | None = None
        self._format = PcmFormat(rate_hz)
        self._times = times
        self._join_finals = join_finals
        self._journal = UtteranceJournal(
            keep_bytes=self._format.bytes(keep_s * 1000),
            message_bytes=MESSAGE_BYTES,
        )
        self._utterances: dict[int, AwaitedWords] = {}
        self._count = 0
        self._keepalive = Keepalive(times.keepalive_s)
        self._messages = TokenBucket(messages_a_minute)
        self._asked_at = 0.0
        self._held_until: float | None = None
        self._halved = False
        self._marks_answers = False
        self._answers = 0
        self._answered_at: float | None = None
        self._strays = 0
        self._dropped = 0
        self._close_due = False
        self._close_sent = False

    @property
    def ready(self) -> bool:
        """Whether there is a connection."""
        return self._dialect is not None

    @property
    def pressing(self) -> bool:
        """Whether speech waits for a connection, or for its answer."""
        return bool(self._utterances)

    @property
    def at_rest(self) -> bool:
        """Whether a change of connection now costs nothing."""
        return not self._utterances or self.spent

    @property
    def spent(self) -> bool:
        """Whether the connection is of no use for anything further: it was told to close."""
        return self._close_sent and not self._awaits_answer()

    @property
    def answered(self) -> bool:
        """Whether this connection has ever answered."""
        return self._answers > 0

    @property
    def finished(self) -> bool:
        """Whether a recording was sent whole, and no other one begun since: no speech will come."""
        return not self._join_finals and self._count > 0 and not self._utterances

    @property
    def served(self) -> bool:
        """Whether this connection has answered all that it was asked: a 1000 is its life cycle.

        What has just begun to be said does not count: the gateway did not know of it.
        """
        return self._close_sent or (self._answers > 0 and not self._awaits_answer())

    @property
    def unsent_ms(self) -> float:
        """Audio that waits to be sent."""
        return self._format.ms(self._journal.unsent_bytes // SAMPLE_BYTES)

    # What the owner does

    def open_utterance(self) -> int:
        """Begin an utterance; its number is higher than all before."""
        self._count += 1
        self._utterances[self._count] = AwaitedWords(self._count)
        self._journal.open(self._count)
        return self._count

    def add_audio(self, utterance: int, pcm: bytes) -> list[SttEvent]:
        """Add whole samples to the utterance opened last; says what had to go for it.

        Raises:
            LocalProtocolError: `pcm` ends in the middle of a sample.
        """
        if len(pcm) % SAMPLE_BYTES:
            raise LocalProtocolError(f"audio of {len(pcm)} bytes ends in the middle of a sample")
        known = self._utterances.get(utterance)
        if known is None or known.unwanted:
            return []  # given up on; its loss is reported
        self._dropped += self._journal.append(utterance, pcm)
        if self._ms(self._dropped) < DROPPED_MS:
            return []
        return self._tell_dropped(utterance)

    def end_utterance(self, utterance: int, now: float) -> list[SttEvent]:
        """No more audio follows; `finalize` is sent after what is queued."""
        known = self._utterances.get(utterance)
        if known is None or known.unwanted:
            self._dropped = 0  # what became of it is told, or nobody asks
            return []
        known.ended_at = now
        self._journal.end(utterance)
        return self._tell_dropped(utterance) if self._dropped else []

    def abandon(self, utterance: int) -> None:
        """Nobody waits for the words any more; a final of it that still comes is stray."""
        known = self._utterances.get(utterance)
        if known is None:
            return
        if self._journal.cut(utterance):
            known.unwanted = True
        else:
            self._forget(utterance)

    def farewell(self) -> str | None:
        """What to send last on the connection, if it is ready and the plan allows one more."""
        if self._dialect is None or self._close_sent:
            return None
        allowed = self._messages.ready_at(1, self._asked_at) <= self._asked_at
        return self._dialect.close() if allowed else None

    # What the connection does

    def connected(self, dialect: SttDialect, now: float) -> None:
        """A connection is ready; `dialect`, which has greeted it, writes and reads for it."""
        self._dialect = dialect
        self._marks_answers = False
        self._answers = 0
        self._answered_at = None
        self._strays = 0
        self._messages.reset()
        self._messages.take(1, now)  # its `init`
        self._asked_at = now
        self._keepalive.sent(now)
        # Not before: should no gateway be ready in time, they are all that was understood.
        for utterance in self._utterances.values():
            utterance.begin_again()

    def mend(self, error: GatewayError) -> GatewayError:
        """What `error` leaves to complain of: a message that was too large is halved, once."""
        if self._halved or not says_too_large(error):
            return error
        self._halved = True
        self._journal.halve_messages()
        why = f"{error} Sending smaller messages"
        return SessionClosed(why, code=CLOSE_TOO_LARGE, by_us=True)

    def disconnected(self, error: GatewayError) -> list[SttEvent]:
        """The socket is gone (`error` says why); what is not answered waits for the next."""
        closed = self._close_sent and _is_end(error)
        self._dialect = None
        self._held_until = None
        self._close_due = self._close_sent = False
        self._keepalive.stop()
        events: list[SttEvent] = []
        for utterance in list(self._utterances.values()):
            if utterance.unwanted:
                self._forget(utterance.number)
            elif closed and utterance.finalize_sent_at is not None:
                events += self._end_recording(utterance)
            elif utterance.given_out:
                why = f"the connection broke, and a part of the words is out already: {error}"
                lost_ms = self._forget(utterance.number)
                events.append(UtteranceLost(utterance.number, lost_ms, why, over=True))
            utterance.leave_connection()
        why = f"more speech than can be kept, and it cannot be sent again: {error}"
        return events + [
            UtteranceLost(number, self._ms(size), why, over=False)
            for number, size in self._journal.rewind()
        ]

    def receive(self, message: str | bytes, now: float) -> list[SttEvent]:
        """What a message of the current socket means."""
        if self._dialect is None:
            return []
        events: list[SttEvent] = []
        for event in self._dialect.receive(message):
            match event:
                case PartialTranscript(text):
                    events += self._receive_partial(text, now)
                case FinalTranscript():
                    events += self._receive_final(event, now)
                case Failed(error):
                    events.append(Broken(error))
                case NotUnderstood(_, why):
                    events.append(Odd(why))
                case UtteranceEnd():
                    events += self._receive_end_of_words()
                case _:
                    pass
        return events

    def next_message(self, now: float) -> str | bytes | None:
        """What to send now; None where nothing is due."""
        self._asked_at = now
        message = self._due(now)
        if message is not None and not self._close_sent:
            self._keepalive.sent(now)
        return message

    def deadline(self) -> float | None:
        """When `expire` or `next_message` has something to do, if nothing comes before."""
        times = [self._keepalive.deadline(), self._held_until, self._closes_by()]
        times += map(self._gives_up_at, self._utterances.values())
        return min((at for at in times if at is not None), default=None)

    def expire(self, now: float) -> list[SttEvent]:
        """What the passing of time means."""
        closes_by = self._closes_by()
        if closes_by is not None and now >= closes_by:
            self.one_utterance = False
        events: list[SttEvent] = []
        for utterance in list(self._utterances.values()):
            gives_up_at = self._gives_up_at(utterance)
            if gives_up_at is not None and now >= gives_up_at:
                events += self._give_up(utterance, now)
        return events

    # Inside

    def _closes_by(self) -> float | None:
        """Until when the route's close is expected, after an answer."""
        if self._dialect is None or self._answered_at is None or not self.one_utterance:
            return None
        return self._answered_at + CLOSES_WITHIN_S

    def _due(self, now: float) -> str | bytes | None:
        self._held_until = None
        if self._dialect is None or self._close_sent:
            return None
        if self._close_due:  # what follows is for the next connection
            if self._may_send(now):
                return self._close(self._dialect)
        elif self._awaits_answer():
            pass  # what follows waits: nothing on the wire would say whose a final is
        elif not self._journal.finalize_is_next:
            due = self._journal.take()
            if isinstance(due, AudioDue):
                self._strays = 0
                self._utterances[due.utterance].sent(now)
                return self._dialect.audio(due.pcm)
        elif self._may_send(now):
            return self._finalize(self._dialect, now)
        return self._due_in_silence(self._dialect, now)

    def _awaits_answer(self) -> bool:
        return any(each.finalize_sent_at is not None for each in self._utterances.values())

    def _due_in_silence(self, dialect: SttDialect, now: float) -> str | None:
        if not self._keepalive.is_due(now):
            return None
        message = dialect.keepalive()
        if message is None:
            self._keepalive.stop()
        elif not self._messages.take(1, now):
            self._keepalive.put_off(self._messages.ready_at(1, now))
            return None
        return message

    def _finalize(self, dialect: SttDialect, now: float) -> str | None:
        due = self._journal.take()
        if due is None:  # pragma: no cover - the journal has just said that it is next
            return None
        utterance = self._utterances[due.utterance]
        utterance.asked(now, audio_s=self._audio_s(utterance))
        self._close_due = not self._join_finals and dialect.close() is not None
        return dialect.finalize()

    def _close(self, dialect: SttDialect) -> str | None:
        self._close_due, self._close_sent = False, True
        self._keepalive.stop()
        return dialect.close()

    def _may_send(self, now: float) -> bool:
        """Take one of the messages that the plan allows this minute."""
        if self._messages.take(1, now):
            return True
        self._held_until = self._messages.ready_at(1, now)
        return False

    def _oldest(self) -> AwaitedWords | None:
        return next(iter(self._utterances.values()), None)

    def _receive_partial(self, text: str, now: float) -> list[SttEvent]:
        utterance = self._oldest()
        if utterance is None or utterance.unwanted or not text:
            return []
        if not self._join_finals:
            utterance.news_at = now
            return [Partial(utterance.number, text[:PARTIAL_CHARS])]
        if utterance.settles_at is not None:
            utterance.settles_at = now + SETTLE_S
        return [Partial(utterance.number, utterance.text(text)[:PARTIAL_CHARS])]

    def _receive_final(self, final: FinalTranscript, now: float) -> list[SttEvent]:
        self._marks_answers |= final.answers_finalize
        utterance = self._oldest()
        if utterance is None:
            return self._stray(final)
        asked = utterance.finalize_sent_at is not None
        answers = asked and (final.answers_finalize or not self._marks_answers)
        if utterance.unwanted:
            if answers:
                self._forget(utterance.number)
            return self._stray(final)
        if not self._join_finals:
            utterance.news_at = now
            utterance.finals_came = True
            closes = self._dialect is not None and self._dialect.close() is not None
            if final.answers_finalize or (asked and not closes):
                return [self._answer(utterance, [final], now)]
            if not final.text:
                return []
            utterance.given_out = True
            return [replace(utterance.final([final], now), answers=False)]
        utterance.finals.append(final)
        if len(utterance.finals) > FINALS or utterance.chars > WORDS_CHARS:
            utterance.finals.clear()
            why = "the gateway sent more words than one utterance can have: connecting anew"
            return [Broken(RemoteProtocolError(why))]
        if answers and (final.answers_finalize or self._is_last(utterance, final)):
            return [self._answer(utterance, utterance.finals, now)]
        if answers:
            utterance.settles_at = now + SETTLE_S
        words = utterance.text()[:PARTIAL_CHARS]
        return [Partial(utterance.number, words)] if final.text else []

    def _stray(self, final: FinalTranscript) -> list[SttEvent]:
        """Words that belong to no open utterance."""
        if not final.text:
            return []
        self._strays += 1
        if self._strays > STRAY_FINALS:
            what = f"words {self._strays} times that belong to no speech"
            return [Broken(RemoteProtocolError(f"the gateway sent {what}: connecting anew"))]
        return [StrayFinal(final.text)]

    def _receive_end_of_words(self) -> list[SttEvent]:
        utterance = self._oldest()
        if utterance is None or utterance.unwanted or not utterance.text():
            return []
        return [WordsEnded(utterance.number, utterance.text())]

    def _is_last(self, utterance: AwaitedWords, final: FinalTranscript) -> bool:
        """Whether `final`, which came after `finalize`, is the answer to it."""
        return not utterance.hurried or not final.text or utterance.covers(self._audio_s(utterance))

    def _audio_s(self, utterance: AwaitedWords) -> float:
        size = self._journal.size_of(utterance.number)
        return self._format.ms(size // SAMPLE_BYTES) / 1000

    def _answer(self, utterance: AwaitedWords, finals: list[FinalTranscript], now: float) -> Final:
        self._answers += 1
        self._answered_at = now
        self._forget(utterance.number)
        return utterance.final(finals, now)

    def _gives_up_at(self, utterance: AwaitedWords) -> float | None:
        if utterance.settles_at is not None:
            return utterance.settles_at
        if utterance.finalize_sent_at is not None:
            return utterance.news_at + self._times.final_s
        if utterance.ended_at is not None and self._dialect is None:
            return utterance.ended_at + self._times.offline_keep_s
        return None

    def _give_up(self, utterance: AwaitedWords, now: float) -> list[SttEvent]:
        if utterance.finalize_sent_at is None:
            return self._give_up_offline(utterance, now)
        why = f"no final transcript within {self._times.final_s:g} s"
        if utterance.unwanted:
            self._forget(utterance.number)
            unclear = f"{why} to speech that was given up: connecting anew"
            return [Broken(SessionClosed(unclear, code=CLOSE_UNCLEAR, by_us=True))]
        if utterance.text() or utterance.given_out:
            return [self._answer(utterance, utterance.finals, now)]
        if utterance.replayed:
            lost_ms = self._forget(utterance.number)
            return [
                UtteranceLost(utterance.number, lost_ms, f"{why}, twice", over=True),
                given_up(f"{why}, twice: connecting anew"),
            ]
        utterance.replayed = True
        utterance.finalize_sent_at = None
        utterance.ended_at = now  # the time to find a connection begins anew
        return [given_up(f"{why}: connecting anew and sending it again")]

    def _give_up_offline(self, utterance: AwaitedWords, now: float) -> list[SttEvent]:
        why = f"no connection for {self._times.offline_keep_s:g} s"
        lost_ms = self._forget(utterance.number)
        if not utterance.text():
            return [UtteranceLost(utterance.number, lost_ms, why, over=True)]
        final = utterance.final(utterance.finals, now)
        lost_ms = max(0, lost_ms - round(1000 * (final.duration_s or 0.0)))
        return [UtteranceLost(utterance.number, lost_ms, why, over=False), final]

    def _end_recording(self, utterance: AwaitedWords) -> list[SttEvent]:
        """The gateway has closed after our `close`: all is said, if anything was."""
        if utterance.finals_came:
            self._answers += 1
            self._forget(utterance.number)
            return [Final(utterance.number, "", latency_s=0.0)]
        if not utterance.replayed:
            utterance.replayed = True
            return []
        lost_ms = self._forget(utterance.number)
        why = "the gateway closed without a final transcript, twice"
        return [UtteranceLost(utterance.number, lost_ms, why, over=True)]

    def _tell_dropped(self, utterance: int) -> list[SttEvent]:
        lost_ms, self._dropped = self._ms(self._dropped), 0
        why = "more speech than can be kept while there is no connection"
        return [UtteranceLost(utterance, lost_ms, why, over=False)]

    def _forget(self, utterance: int) -> int:
        """Drop the utterance; returns the milliseconds of it that were kept."""
        self._utterances.pop(utterance, None)
        return self._ms(self._journal.forget(utterance))

    def _ms(self, size: int) -> int:
        return round(self._format.ms(size // SAMPLE_BYTES))


def _is_end(error: GatewayError) -> bool:
    """Whether the gateway has closed as `close` asks it to, having said all."""
    if not isinstance(error, SessionClosed) or error.by_us:
        return False
    return error.code in (1000, 1001, 1005)
