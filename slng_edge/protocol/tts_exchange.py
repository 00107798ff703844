"""One text-to-speech session, whatever its connections do: texts in, audio of replies out.

Theory of operation. A reply is spoken in segments. A segment is the texts that were waiting
when it began, followed by one `flush`; the next begins when a terminal (`flushed` or
`audio_end`) has ended it. The first segment is the first text alone, so that it sounds while
the next is being written; later ones take all that waits, for the flow of the speech. With one
flush outstanding at a time, the first terminal after our flush is the answer to it: nothing on
the wire says which (protocol.md, 4).

Audio carries no label either: it belongs to the segment in flight. Where one is given up while
the connection lives (`interrupt`, an error of the gateway's), `clear` is sent, and all audio and
all terminals are dropped until `cleared`, for no segment begins before it; a gateway that does
not say it within `cleared_s` leaves the ownership unclear, and the connection is replaced.

    idle ──text──▶ in flight ──terminal──▶ idle          routes that send both terminals: the
                      │                      ▲           second one belongs to the segment that
                   interrupt ──▶ clearing ───┘           the first one ended (counted by kind)
                                  `cleared`

A connection that breaks before the first audio of a segment: its texts are sent once more on
the next. After it: never, the listener would hear it twice; the reply fails, with what it had.
Routes that close after every utterance do so when the next segment is already on its way: that
it has not sounded is what tells their life cycle (`served`) from a connection that broke.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Protocol

from slng_edge.errors import GatewayError, RemoteProtocolError
from slng_edge.pcm import SampleAligner
from slng_edge.protocol.connection_phase import ConnectionPhase
from slng_edge.protocol.session_events import (
    Broken,
    Odd,
    ReplyAudio,
    ReplyCut,
    ReplyDone,
    SegmentBegan,
    SegmentDone,
    SessionReady,
    TtsEvent,
    given_up,
)
from slng_edge.protocol.vocabulary import (
    Audio,
    Cleared,
    Failed,
    NotUnderstood,
    Ready,
    SynthesisEnded,
    TtsServerEvent,
)
from slng_edge.protocol.wav_header import WavHeaderStripper

SEGMENT_CHARS = 1000
"""Texts of one segment: some routes synthesize all of it before they send the first audio."""


class TtsDialect(Protocol):
    """What a text-to-speech dialect writes and reads (`UnifiedTts`, …)."""

    def init(self) -> str: ...
    def text(self, text: str) -> str: ...
    def flush(self) -> str: ...
    def clear(self) -> str: ...
    def keepalive(self) -> str: ...
    def close(self) -> str: ...
    def receive(self, message: str | bytes) -> list[TtsServerEvent]: ...


@dataclass
class _Reply:
    number: int
    texts: deque[str] = field(default_factory=deque)
    begun: bool = False
    ended: bool = False


@dataclass
class _Segment:
    reply: int
    texts: tuple[str, ...]
    unsent: deque[str]
    first_text_at: float
    flush_due: bool = True
    last_news_at: float | None = None
    sounded: bool = False
    resent: bool = False
    chunks: set[tuple[int, int]] = field(default_factory=set)
    last_sequence: int | None = None
    aligner: SampleAligner = field(default_factory=SampleAligner)

    @property
    def on_the_wire(self) -> bool:
        return len(self.unsent) < len(self.texts)

    def send_again(self) -> None:
        self.unsent = deque(self.texts)
        self.flush_due = True
        self.last_news_at = None
        self.chunks.clear()
        self.last_sequence = None
        self.aligner = SampleAligner()


@dataclass(frozen=True)
class TtsTimes:
    """The deadlines of an exchange, in seconds."""

    ready_s: float = 10.0
    keepalive_s: float = 30.0
    first_audio_s: float = 10.0
    cleared_s: float = 1.0


class TtsExchange:
    """Pure logic of one text-to-speech session; the owner serializes all calls.

    Args:
        dialect: Writes and reads the messages.
        rate_hz: Of the audio that was asked for.
        times: The deadlines. `first_audio_s` also bounds a pause within a segment.
    """

    def __init__(self, dialect: TtsDialect, *, rate_hz: int, times: TtsTimes) -> None:
        self._dialect = dialect
        self._rate_hz = rate_hz
        self._times = times
        self._replies: deque[_Reply] = deque()
        self._segment: _Segment | None = None
        self._phase = ConnectionPhase(ready_s=times.ready_s, keepalive_s=times.keepalive_s)
        self._clear_due = False
        self._cleared_by: float | None = None
        self._texts_out = False
        self._served = False
        self._flushes = 0
        self._terminals: Counter[str] = Counter()
        self._header = WavHeaderStripper()

    @property
    def ready(self) -> bool:
        """Whether the current connection is ready."""
        return self._phase.ready

    @property
    def served(self) -> bool:
        """Whether this connection has finished a segment: a 1000 now is the route's life."""
        return self._served and not (self._segment is not None and self._segment.sounded)

    # What the owner does

    def open_reply(self, number: int) -> None:
        """Begin a reply; the owner chooses the number, each once."""
        self._replies.append(_Reply(number))

    def add_text(self, reply: int, text: str) -> None:
        """Add a text to speak; one for a reply that is not open (any more) is dropped."""
        for known in self._replies:
            if known.number == reply:
                known.texts.append(text)

    def end_reply(self, reply: int) -> list[TtsEvent]:
        """No more texts follow."""
        for known in self._replies:
            if known.number == reply:
                known.ended = True
        return self._finish_replies()

    def interrupt(self, now: float) -> None:
        """Drop every reply and what is in flight; `clear` is due where the gateway has text."""
        self._replies.clear()
        self._segment = None
        self._clear(now)

    def farewell(self) -> str | None:
        """What to send last on the connection, if it is ready."""
        return self._dialect.close() if self._phase.ready else None

    # What the connection does

    def connected(self, now: float) -> None:
        """A socket is up; `init` is due."""
        self._phase.connected(now)
        self._served = False
        self._flushes = 0
        self._terminals.clear()
        self._header = WavHeaderStripper()

    def disconnected(self, error: GatewayError) -> list[TtsEvent]:
        """The socket is gone: what has not sounded is sent again once, the rest is cut."""
        self._phase.disconnected()
        self._clear_due = False
        self._cleared_by = None
        self._texts_out = False
        segment = self._segment
        if segment is None or not segment.on_the_wire:
            return []
        if segment.sounded or segment.resent:
            return self._cut(segment, error)
        segment.resent = True
        segment.send_again()
        return []

    def receive(self, message: str | bytes, now: float) -> list[TtsEvent]:
        """What a message of the current socket means."""
        events: list[TtsEvent] = []
        for event in self._dialect.receive(message):
            match event:
                case Ready(session_id):
                    self._phase.receive_ready()
                    events.append(SessionReady(session_id))
                case Audio():
                    events += self._receive_audio(event, now)
                case SynthesisEnded(kind):
                    events += self._receive_terminal(kind)
                case Cleared():
                    self._receive_cleared()
                case Failed(error):
                    events += self._receive_error(error, now)
                case NotUnderstood(_, why):
                    events.append(Odd(why))
                case _:
                    pass
        return events

    def next_message(self, now: float) -> str | None:
        """What to send now; None where nothing is due."""
        message = self._due(now)
        if message is not None:
            self._phase.sent(now)
        return message

    def deadline(self) -> float | None:
        """When `expire` or `next_message` has something to do, if nothing comes before."""
        times = [self._phase.deadline(), self._cleared_by]
        if self._segment is not None and self._segment.last_news_at is not None:
            times.append(self._segment.last_news_at + self._times.first_audio_s)
        return min((at for at in times if at is not None), default=None)

    def expire(self, now: float) -> list[TtsEvent]:
        """What the passing of time means."""
        if broken := self._phase.expire(now):
            return [*broken]
        if self._cleared_by is not None and now >= self._cleared_by:
            self._cleared_by = None
            return [given_up(f"no `cleared` within {self._times.cleared_s:g} s: connecting anew")]
        segment = self._segment
        if segment is None or segment.last_news_at is None:
            return []
        if now < segment.last_news_at + self._times.first_audio_s:
            return []
        segment.last_news_at = None
        what = "the rest of the audio" if segment.sounded else "audio"
        return [given_up(f"{what} did not come within {self._times.first_audio_s:g} s")]

    # Inside

    def _due(self, now: float) -> str | None:
        if self._phase.take_init():
            return self._dialect.init()
        if not self._phase.ready:
            return None
        if self._clear_due:
            self._clear_due = False
            return self._dialect.clear()
        if self._cleared_by is None:
            message = self._due_of_segment(now)
            if message is not None:
                return message
        if self._phase.keepalive_due(now):
            return self._dialect.keepalive()
        return None

    def _due_of_segment(self, now: float) -> str | None:
        segment = self._segment or self._begin_segment(now)
        if segment is None:
            return None
        if segment.unsent:
            if not segment.on_the_wire:
                self._header.reset()
                self._texts_out = True
            return self._dialect.text(segment.unsent.popleft())
        if segment.flush_due:
            segment.flush_due = False
            segment.last_news_at = now
            self._flushes += 1
            return self._dialect.flush()
        return None

    def _begin_segment(self, now: float) -> _Segment | None:
        if not self._replies or not self._replies[0].texts:
            return None
        reply = self._replies[0]
        texts = [reply.texts.popleft()]
        chars = len(texts[0])
        while reply.begun and reply.texts and chars + len(reply.texts[0]) <= SEGMENT_CHARS:
            texts.append(reply.texts.popleft())
            chars += len(texts[-1])
        reply.begun = True
        self._segment = _Segment(reply.number, tuple(texts), deque(texts), first_text_at=now)
        return self._segment

    def _receive_audio(self, audio: Audio, now: float) -> list[TtsEvent]:
        segment = self._segment
        if segment is None or not segment.on_the_wire:
            return []  # of what was interrupted, or of nothing that is open
        events: list[TtsEvent] = []
        if audio.sequence is not None:
            chunk = (audio.sequence, hash(audio.data))
            if chunk in segment.chunks:
                return []
            segment.chunks.add(chunk)
            last = segment.last_sequence
            segment.last_sequence = audio.sequence
            if last is not None and audio.sequence > last + 1:
                events.append(Odd(f"audio sequence jumps from {last} to {audio.sequence}"))
        if segment.last_news_at is not None:
            segment.last_news_at = now
        pcm = segment.aligner.receive(self._header.receive(audio.data))
        if self._header.unsupported:
            why = f"the gateway sent audio that cannot be played: {self._header.unsupported}"
            return self._give_up(segment, RemoteProtocolError(why), now)
        if not pcm:
            return events
        if not segment.sounded:
            segment.sounded = True
            sent_at = segment.first_text_at
            latency_s = now - sent_at
            events.append(SegmentBegan(segment.reply, segment.texts, latency_s, sent_at))
        rate_hz = self._header.sample_rate_hz or self._rate_hz
        events.append(ReplyAudio(segment.reply, pcm, rate_hz))
        return events

    def _receive_terminal(self, kind: str) -> list[TtsEvent]:
        segment = self._segment
        if segment is not None and segment.flush_due and segment.on_the_wire:
            return []  # before our flush it ends a segment of the gateway's, not the utterance
        self._terminals[kind] += 1
        if segment is None or segment.flush_due or self._terminals[kind] < self._flushes:
            return []  # the second terminal of a segment that the first one has ended
        self._segment = None
        self._served = True
        return [SegmentDone(segment.reply), *self._finish_replies()]

    def _receive_cleared(self) -> None:
        if self._cleared_by is None or self._clear_due:
            return  # it answers no `clear` of ours
        self._cleared_by = None
        self._served = True
        self._terminals.clear()
        self._flushes = 0

    def _receive_error(self, error: GatewayError, now: float) -> list[TtsEvent]:
        segment = self._segment
        if segment is None or not segment.on_the_wire or error.retryable:
            return [Broken(error)]
        return self._give_up(segment, error, now)

    def _clear(self, now: float) -> None:
        if self._texts_out:
            self._texts_out = False
            self._clear_due = True
            self._cleared_by = now + self._times.cleared_s

    def _give_up(self, segment: _Segment, error: GatewayError, now: float) -> list[TtsEvent]:
        self._clear(now)
        return self._cut(segment, error)

    def _cut(self, segment: _Segment, error: GatewayError) -> list[TtsEvent]:
        self._segment = None
        self._replies = deque(reply for reply in self._replies if reply.number != segment.reply)
        return [ReplyCut(segment.reply, error), *self._finish_replies()]

    def _finish_replies(self) -> list[TtsEvent]:
        events: list[TtsEvent] = []
        while self._segment is None and self._replies:
            reply = self._replies[0]
            if not reply.ended or reply.texts:
                break
            self._replies.popleft()
            events.append(ReplyDone(reply.number))
        return events
