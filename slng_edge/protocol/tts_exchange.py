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
that is known (`one_utterance`), no second segment begins on a connection: it is `spent`.

A plan allows so many messages a minute on a connection, and a provider so many characters: a
segment begins when all of its messages may go.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Protocol

from slng_edge.errors import GatewayError, RemoteProtocolError, SessionClosed
from slng_edge.pcm import SampleAligner
from slng_edge.protocol.failures import says_too_large
from slng_edge.protocol.keepalive import Keepalive
from slng_edge.protocol.session_events import (
    Broken,
    Odd,
    ReplyAudio,
    ReplyCut,
    ReplyDone,
    SegmentBegan,
    SegmentDone,
    TtsEvent,
    given_up,
)
from slng_edge.protocol.text_pieces import split_text
from slng_edge.protocol.tier_limits import TIER_LIMITS, TierLimits
from slng_edge.protocol.token_bucket import TokenBucket
from slng_edge.protocol.vocabulary import (
    Audio,
    Cleared,
    Failed,
    NotUnderstood,
    SynthesisEnded,
    TtsServerEvent,
)
from slng_edge.protocol.wav_header import WavHeaderStripper

CLOSE_UNCLEAR = 1002
"""Why we give a connection up whose next audio could be of what was cleared away: it is not to
blame for silence."""

CLOSE_TOO_LARGE = 1009
"""Why we give a connection up on which a text was too large."""

SEGMENT_CHARS = 1000
"""Texts of one segment: some routes synthesize all of it before they send the first audio."""


HALVED_CHARS = 100
"""The least that a text is halved to: no gateway's limit is below what a short sentence needs."""


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
    on_the_wire: bool = False
    flush_due: bool = True
    last_news_at: float | None = None
    sounded: bool = False
    attempts: int = 0
    chunks: set[tuple[int, int]] = field(default_factory=set)
    last_sequence: int | None = None
    aligner: SampleAligner = field(default_factory=SampleAligner)

    def send_again(self) -> None:
        self.on_the_wire = False
        self.flush_due = True
        self.last_news_at = None
        self.chunks.clear()
        self.last_sequence = None
        self.aligner = SampleAligner()


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
        one_utterance: Whether the route is known to close after each utterance.
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
        self._dialect: TtsDialect | None = None
        self._rate_hz = rate_hz
        self._times = times
        self._replies: deque[_Reply] = deque()
        self._segment: _Segment | None = None
        self._plan_chars = self._text_chars = limits.text_chars
        self._halved = False
        self._keepalive = Keepalive(times.keepalive_s)
        self._messages = TokenBucket(limits.messages_a_minute)
        self._chars: TokenBucket | None = None
        self._counts_chars = False
        self._asked_at = 0.0
        self._held_until: float | None = None
        self._configure_due: str | None = None
        self._outdated = False
        self._clear_due = False
        self._cleared_by: float | None = None
        self._texts_out = False
        self._served = False
        self._answered = False
        self._flushes = 0
        self._terminals: Counter[str] = Counter()
        self._header = WavHeaderStripper()

    @property
    def ready(self) -> bool:
        """Whether there is a connection."""
        return self._dialect is not None

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
        if self._dialect is None or not self.at_rest:
            return False
        return self._outdated or (self.one_utterance and self._served)

    @property
    def answered(self) -> bool:
        """Whether audio has ever come on this connection."""
        return self._answered

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
                known.texts.extend(self._pieces(text))

    def change_voice(self, voice: str) -> None:
        """Speak in another voice: live where the dialect can, else on a new connection.

        The connections to come are the owner's, who makes their dialects.
        """
        if self._dialect is not None:
            self._configure_due = self._dialect.configure(voice)
            self._outdated |= self._configure_due is None

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
        """What to send last on the connection, if it is ready and the plan allows one more."""
        if self._dialect is None:
            return None
        allowed = self._messages.ready_at(1, self._asked_at) <= self._asked_at
        return self._dialect.close() if allowed else None

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
        self._dialect = dialect
        self._configure_due = None
        self._outdated = False
        self._served = False
        self._answered = False
        self._flushes = 0
        self._terminals.clear()
        self._header = WavHeaderStripper()
        self._messages.reset()
        self._messages.take(1, now)  # its `init`
        self._asked_at = now
        self._keepalive.sent(now)
        self._counts_chars = chars_a_minute is not None
        if chars_a_minute is not None and self._chars is None:
            self._chars = TokenBucket(chars_a_minute)

    def mend(self, error: GatewayError) -> GatewayError:
        """What `error` leaves to complain of: a text that was too large is halved, once."""
        if self._halved or not says_too_large(error):
            return error
        self._halved = True
        texts = self._texts_in_question()
        longest = max(map(len, texts), default=self._text_chars)
        self._text_chars = min(self._text_chars, max(HALVED_CHARS, longest // 2))
        if self._segment is not None:
            self._segment.unsent = self._messages_of(self._segment.texts)
        for reply in self._replies:
            reply.texts = deque(piece for text in reply.texts for piece in self._pieces(text))
        why = f"{error} Sending shorter texts"
        return SessionClosed(why, code=CLOSE_TOO_LARGE, by_us=True)

    def disconnected(self, error: GatewayError) -> list[TtsEvent]:
        """The socket is gone: what has not sounded is sent again, the rest is cut."""
        self._dialect = None
        self._held_until = None
        self._keepalive.stop()
        self._clear_due = False
        self._cleared_by = None
        self._texts_out = False
        segment = self._segment
        if segment is None or not segment.on_the_wire:
            return []
        segment.attempts += 1
        if segment.sounded or segment.attempts >= self._attempts:
            return self._cut(segment, error)
        segment.send_again()
        segment.unsent = self._messages_of(segment.texts)
        return []

    def receive(self, message: str | bytes, now: float) -> list[TtsEvent]:
        """What a message of the current socket means."""
        if self._dialect is None:
            return []
        events: list[TtsEvent] = []
        for event in self._dialect.receive(message):
            match event:
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
        if self._dialect is None:
            return None
        self._asked_at = now
        message = self._due(self._dialect, now)
        if message is not None:
            self._keepalive.sent(now)
        return message

    def deadline(self) -> float | None:
        """When `expire` or `next_message` has something to do, if nothing comes before."""
        times = [self._keepalive.deadline(), self._held_until, self._cleared_by]
        if self._segment is not None and self._segment.last_news_at is not None:
            times.append(self._segment.last_news_at + self._times.first_audio_s)
        return min((at for at in times if at is not None), default=None)

    def expire(self, now: float) -> list[TtsEvent]:
        """What the passing of time means."""
        if self._cleared_by is not None and now >= self._cleared_by:
            self._cleared_by = None
            why = f"no `cleared` within {self._times.cleared_s:g} s: connecting anew"
            return [Broken(SessionClosed(why, code=CLOSE_UNCLEAR, by_us=True))]
        segment = self._segment
        if segment is None or segment.last_news_at is None:
            return []
        if now < segment.last_news_at + self._times.first_audio_s:
            return []
        segment.last_news_at = None
        what = "the rest of the audio" if segment.sounded else "audio"
        return [given_up(f"{what} did not come within {self._times.first_audio_s:g} s")]

    # Inside

    def _due(self, dialect: TtsDialect, now: float) -> str | None:
        self._held_until = None
        if self._clear_due:
            message = self._send_clear(dialect) if self._may_send(now) else None
        elif self._configure_due is not None:
            message = self._send_configure() if self._may_send(now) else None
        elif self._cleared_by is None and not self.spent:
            message = self._due_of_segment(dialect, now)
        else:
            message = None
        return message or self._due_in_silence(dialect, now)

    def _send_configure(self) -> str | None:
        message, self._configure_due = self._configure_due, None
        return message

    def _send_clear(self, dialect: TtsDialect) -> str:
        self._clear_due = False
        if not dialect.acknowledges_clear:
            self._cleared_by = None
            self._outdated = True
        return dialect.clear()

    def _due_in_silence(self, dialect: TtsDialect, now: float) -> str | None:
        if not self._keepalive.is_due(now):
            return None
        if self._held_until is not None:
            self._keepalive.put_off(self._held_until)  # it would hold the text up further
            return None
        message = dialect.keepalive()
        if message is None:
            self._keepalive.stop()
        elif not self._messages.take(1, now):
            self._keepalive.put_off(self._messages.ready_at(1, now))
            return None
        return message

    def _due_of_segment(self, dialect: TtsDialect, now: float) -> str | None:
        segment = self._segment or self._begin_segment(now)
        if segment is None:
            return None
        if not segment.on_the_wire:
            if not self._may_begin(segment, now):
                return None
            self._header.reset()
            self._texts_out = segment.on_the_wire = True
        if segment.unsent:
            return dialect.text(segment.unsent.popleft())
        if segment.flush_due:
            segment.flush_due = False
            segment.last_news_at = now
            self._flushes += 1
            return dialect.flush()
        return None

    def _may_begin(self, segment: _Segment, now: float) -> bool:
        """Take what the plan and the provider allow this minute, for the whole segment."""
        messages = len(segment.unsent) + 1
        chars = sum(map(len, segment.unsent))
        ready_at = self._messages.ready_at(messages, now)
        if self._counts_chars and self._chars is not None:
            ready_at = max(ready_at, self._chars.ready_at(chars, now))
        if ready_at > now:
            self._held_until = ready_at
            return False
        self._messages.take(messages, now)
        if self._counts_chars and self._chars is not None:
            self._chars.take(chars, now)
        return True

    def _may_send(self, now: float) -> bool:
        """Take one of the messages that the plan allows this minute."""
        if self._messages.take(1, now):
            return True
        self._held_until = self._messages.ready_at(1, now)
        return False

    def _begin_segment(self, now: float) -> _Segment | None:
        if not self._replies or not self._replies[0].texts:
            return None
        reply = self._replies[0]
        texts = [reply.texts.popleft()]
        chars = len(texts[0])
        limit = min(SEGMENT_CHARS, self._text_chars)
        while reply.begun and reply.texts and chars + 1 + len(reply.texts[0]) <= limit:
            texts.append(reply.texts.popleft())
            chars += 1 + len(texts[-1])
        reply.begun = True
        unsent = self._messages_of(tuple(texts))
        self._segment = _Segment(reply.number, tuple(texts), unsent, first_text_at=now)
        return self._segment

    def _pieces(self, text: str) -> list[str]:
        limit = self._limit_for(text)
        if len(text) > limit:
            return split_text(text, limit)
        return [text] if text.strip() else []

    def _messages_of(self, texts: tuple[str, ...]) -> deque[str]:
        """The texts of a segment as messages; one, but where it turned out to be too large."""
        text = " ".join(texts)
        limit = self._limit_for(text)
        if len(text) <= limit:
            return deque([text])
        # The gateway puts texts together as they come: the space between words goes with them.
        *pieces, last = split_text(text, max(1, limit - 1))
        return deque([*(f"{piece} " for piece in pieces), last])

    def _limit_for(self, text: str) -> int:
        """Characters of `text` in one message: where the plan allows it, no word is cut."""
        longest_word = max(map(len, text.split()), default=0)
        return min(self._plan_chars, max(self._text_chars, longest_word + 1))

    def _texts_in_question(self) -> list[str]:
        """What may have been too large: the segment in flight, else what waits."""
        if self._segment is not None:
            return list(self._segment.unsent)
        return [text for reply in self._replies for text in reply.texts]

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
            segment.sounded = self._answered = True
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
        mendable = says_too_large(error) and not self._halved
        if segment is None or not segment.on_the_wire or error.retryable or mendable:
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
