"""One speech-to-text session, whatever its connections do: utterances in, finals out.

Theory of operation. The exchange outlives sockets. The owner opens utterances, adds audio
and ends them, at any time; it says when a socket is up or gone; it hands in what the socket
received and asks what to send next. Everything carries `now`, seconds of a monotonic clock.

What is not answered when a connection breaks is sent again, from its start, on the next one
(`utterance_journal`); the phases of a connection are those of `connection_phase`.

Which final belongs to which utterance is not on the wire. Finals belong to the oldest
utterance that is not answered; they are joined until the first final after our `finalize`,
or, on a socket that has ever marked one with `from_finalize`, until the marked one. An empty
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
come, `close` follows, and the gateway's own close is the end. What is out cannot be taken back:
a connection that breaks after the first of them loses the rest, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from slng_edge.errors import GatewayError, LocalProtocolError, SessionClosed
from slng_edge.pcm import SAMPLE_BYTES, PcmFormat
from slng_edge.protocol.connection_phase import ConnectionPhase
from slng_edge.protocol.session_events import (
    Broken,
    Final,
    Odd,
    Partial,
    SessionReady,
    StrayFinal,
    SttEvent,
    UtteranceLost,
    given_up,
)
from slng_edge.protocol.utterance_journal import AudioDue, UtteranceJournal
from slng_edge.protocol.vocabulary import (
    Failed,
    FinalTranscript,
    NotUnderstood,
    PartialTranscript,
    Ready,
    SttServerEvent,
)

MESSAGE_BYTES = 6400
"""The most audio in one message: 200 ms at 16 kHz, inside every tier even as base64."""

DROPPED_MS = 1000
"""Audio that finds no room is reported by the second, not by the frame."""


class SttDialect(Protocol):
    """What a speech-to-text dialect writes and reads (`UnifiedStt`, …)."""

    def init(self) -> str: ...
    def audio(self, pcm: bytes) -> str | bytes: ...
    def finalize(self) -> str: ...
    def keepalive(self) -> str: ...
    def close(self) -> str: ...
    def receive(self, message: str | bytes) -> list[SttServerEvent]: ...


@dataclass
class _Utterance:
    number: int
    ended_at: float | None = None
    finalize_sent_at: float | None = None
    replayed: bool = False
    unwanted: bool = False
    news_at: float = 0.0
    finals_came: bool = False
    given_out: bool = False
    finals: list[FinalTranscript] = field(default_factory=list)

    def text(self, more: str = "") -> str:
        return " ".join(part for part in (*(final.text for final in self.finals), more) if part)


@dataclass(frozen=True)
class SttTimes:
    """The deadlines of an exchange, in seconds."""

    ready_s: float = 10.0
    keepalive_s: float = 5.0
    final_s: float = 5.0
    offline_keep_s: float = 30.0


class SttExchange:
    """Pure logic of one speech-to-text session; the owner serializes all calls.

    Args:
        dialect: Writes and reads the messages.
        rate_hz: Of the s16le mono audio handed in.
        keep_s: Seconds of unanswered audio that are kept for a resend.
        times: The deadlines.
        join_finals: False is for a recording that is sent whole: each final is given as
            it comes, `close` follows `finalize`, and an empty final that `answers` comes
            once the gateway has closed, or has marked its answer.
    """

    def __init__(
        self,
        dialect: SttDialect,
        *,
        rate_hz: int,
        keep_s: float,
        times: SttTimes,
        join_finals: bool = True,
    ) -> None:
        self._dialect = dialect
        self._format = PcmFormat(rate_hz)
        self._times = times
        self._join_finals = join_finals
        self._journal = UtteranceJournal(
            keep_bytes=self._format.bytes(keep_s * 1000),
            message_bytes=MESSAGE_BYTES,
        )
        self._utterances: dict[int, _Utterance] = {}
        self._count = 0
        self._phase = ConnectionPhase(ready_s=times.ready_s, keepalive_s=times.keepalive_s)
        self._marks_answers = False
        self._answers = 0
        self._dropped = 0
        self._close_due = False
        self._close_sent = False

    @property
    def ready(self) -> bool:
        """Whether the current connection is ready."""
        return self._phase.ready

    @property
    def served(self) -> bool:
        """Whether this connection has answered all that was said: a 1000 is its life cycle."""
        return self._close_sent or (self._answers > 0 and not self._utterances)

    @property
    def unsent_ms(self) -> float:
        """Audio that waits to be sent."""
        return self._format.ms(self._journal.unsent_bytes // SAMPLE_BYTES)

    # What the owner does

    def open_utterance(self) -> int:
        """Begin an utterance; its number is higher than all before."""
        self._count += 1
        self._utterances[self._count] = _Utterance(self._count)
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
        if known is not None and not known.unwanted:
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
        """What to send last on the connection, if it is ready."""
        return self._dialect.close() if self._phase.ready else None

    # What the connection does

    def connected(self, now: float) -> None:
        """A socket is up; `init` is due."""
        self._phase.connected(now)
        self._close_due = self._close_sent = False
        self._marks_answers = False
        self._answers = 0

    def disconnected(self, error: GatewayError) -> list[SttEvent]:
        """The socket is gone (`error` says why); what is not answered waits for the next."""
        self._phase.disconnected()
        events: list[SttEvent] = []
        for utterance in list(self._utterances.values()):
            if utterance.unwanted:
                self._forget(utterance.number)
            elif self._close_sent and _is_end(error):
                events += self._end_recording(utterance)
            elif utterance.given_out:
                why = f"the connection broke, and a part of the words is out already: {error}"
                lost_ms = self._forget(utterance.number)
                events.append(UtteranceLost(utterance.number, lost_ms, why, over=True))
            utterance.finalize_sent_at = None
        why = f"more speech than can be kept, and it cannot be sent again: {error}"
        return events + [
            UtteranceLost(number, self._ms(size), why, over=False)
            for number, size in self._journal.rewind()
        ]

    def receive(self, message: str | bytes, now: float) -> list[SttEvent]:
        """What a message of the current socket means."""
        events: list[SttEvent] = []
        for event in self._dialect.receive(message):
            match event:
                case Ready(session_id):
                    self._receive_ready()
                    events.append(SessionReady(session_id))
                case PartialTranscript(text):
                    events += self._receive_partial(text, now)
                case FinalTranscript():
                    events += self._receive_final(event, now)
                case Failed(error):
                    events.append(Broken(error))
                case NotUnderstood(_, why):
                    events.append(Odd(why))
                case _:
                    pass
        return events

    def next_message(self, now: float) -> str | bytes | None:
        """What to send now; None where nothing is due."""
        message = self._due(now)
        if message is not None:
            self._phase.sent(now)
        return message

    def deadline(self) -> float | None:
        """When `expire` or `next_message` has something to do, if nothing comes before."""
        times = [self._phase.deadline(), *map(self._gives_up_at, self._utterances.values())]
        return min((at for at in times if at is not None), default=None)

    def expire(self, now: float) -> list[SttEvent]:
        """What the passing of time means."""
        events: list[SttEvent] = [*self._phase.expire(now)]
        if events:
            return events
        for utterance in list(self._utterances.values()):
            gives_up_at = self._gives_up_at(utterance)
            if gives_up_at is not None and now >= gives_up_at:
                events += self._give_up(utterance, now)
        return events

    # Inside

    def _due(self, now: float) -> str | bytes | None:
        if self._phase.take_init():
            return self._dialect.init()
        if not self._phase.ready:
            return None
        due = self._journal.take()
        if isinstance(due, AudioDue):
            return self._dialect.audio(due.pcm)
        if due is not None:
            utterance = self._utterances[due.utterance]
            utterance.finalize_sent_at = utterance.news_at = now
            self._close_due = not self._join_finals
            return self._dialect.finalize()
        if self._close_due:
            self._close_due, self._close_sent = False, True
            return self._dialect.close()
        if self._phase.keepalive_due(now):
            return self._dialect.keepalive()
        return None

    def _oldest(self) -> _Utterance | None:
        return next(iter(self._utterances.values()), None)

    def _receive_ready(self) -> None:
        if not self._phase.ready:
            # Not before: should no gateway be ready in time, they are all that was understood.
            for utterance in self._utterances.values():
                utterance.finals.clear()
                utterance.finals_came = False
        self._phase.receive_ready()

    def _receive_partial(self, text: str, now: float) -> list[SttEvent]:
        utterance = self._oldest()
        if utterance is None or utterance.unwanted or not text:
            return []
        if not self._join_finals:
            utterance.news_at = now
            return [Partial(utterance.number, text)]
        return [Partial(utterance.number, utterance.text(text))]

    def _receive_final(self, final: FinalTranscript, now: float) -> list[SttEvent]:
        self._marks_answers |= final.answers_finalize
        utterance = self._oldest()
        if utterance is None:
            return _stray(final)
        asked = utterance.finalize_sent_at is not None
        answers = asked and (final.answers_finalize or not self._marks_answers)
        if utterance.unwanted:
            if answers:
                self._forget(utterance.number)
            return _stray(final)
        if not self._join_finals:
            utterance.news_at = now
            utterance.finals_came = True
            if final.answers_finalize:
                return [self._answer(utterance, [final], now)]
            if not final.text:
                return []
            utterance.given_out = True
            return [replace(self._final_of(utterance, [final], now), answers=False)]
        utterance.finals.append(final)
        if answers:
            return [self._answer(utterance, utterance.finals, now)]
        return [Partial(utterance.number, utterance.text())] if final.text else []

    def _answer(self, utterance: _Utterance, finals: list[FinalTranscript], now: float) -> Final:
        self._answers += 1
        self._forget(utterance.number)
        return self._final_of(utterance, finals, now)

    def _final_of(self, utterance: _Utterance, finals: list[FinalTranscript], now: float) -> Final:
        spoken = [final for final in finals if final.text]
        confidences = [final.confidence for final in spoken if final.confidence is not None]
        durations = [final.duration_s for final in finals if final.duration_s is not None]
        asked_at = now if utterance.finalize_sent_at is None else utterance.finalize_sent_at
        return Final(
            utterance=utterance.number,
            text=" ".join(final.text for final in spoken),
            latency_s=now - asked_at,
            confidence=min(confidences, default=None),
            language=next((final.language for final in spoken if final.language), None),
            duration_s=sum(durations) if durations else None,
            words=tuple(word for final in finals for word in final.words),
        )

    def _gives_up_at(self, utterance: _Utterance) -> float | None:
        if utterance.finalize_sent_at is not None:
            return utterance.news_at + self._times.final_s
        if utterance.ended_at is not None and not self._phase.ready:
            return utterance.ended_at + self._times.offline_keep_s
        return None

    def _give_up(self, utterance: _Utterance, now: float) -> list[SttEvent]:
        if utterance.finalize_sent_at is None:
            return self._give_up_offline(utterance, now)
        why = f"no final transcript within {self._times.final_s:g} s"
        if utterance.unwanted:
            self._forget(utterance.number)
            return [given_up(f"{why}: connecting anew")]
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

    def _give_up_offline(self, utterance: _Utterance, now: float) -> list[SttEvent]:
        why = f"no connection for {self._times.offline_keep_s:g} s"
        lost_ms = self._forget(utterance.number)
        if not utterance.text():
            return [UtteranceLost(utterance.number, lost_ms, why, over=True)]
        final = self._final_of(utterance, utterance.finals, now)
        lost_ms = max(0, lost_ms - round(1000 * (final.duration_s or 0.0)))
        return [UtteranceLost(utterance.number, lost_ms, why, over=False), final]

    def _end_recording(self, utterance: _Utterance) -> list[SttEvent]:
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


def _stray(final: FinalTranscript) -> list[SttEvent]:
    return [StrayFinal(final.text)] if final.text else []
