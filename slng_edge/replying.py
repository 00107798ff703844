"""From words to the speaker: one reply at a time, on the conversation thread.

The counterpart of `hearing`. The responder writes, the splitter makes sentences, text-to-speech
speaks them, the ring buffer holds the sound until it is played. A reply has the number of its
utterance in the ring buffer; it is on every chunk of audio and every end marker, through the
text-to-speech session and back. What carries another number than the current reply's is of a
turn that is over, and is dropped.

Who speaks over a reply pauses it: the block in hand fades, and the rest is kept. It goes on from a
little before where it stopped, or is cut, in this order: raise the number and clear the ring,
cancel the responder, empty the outbox of text-to-speech and send `clear`. Silence never waits
for the network.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from slng_edge.audio.playback import Playback
from slng_edge.audio.resampling import Resampler
from slng_edge.audio.ring_buffer import RingBuffer
from slng_edge.dialogue.reply import Reply
from slng_edge.dialogue.rewind import SEARCHED_MS, quiet_point_ms
from slng_edge.errors import SlngEdgeError
from slng_edge.events import (
    EventBus,
    Interrupted,
    Lost,
    PlaybackEnded,
    PlaybackStarted,
    ReplyAudioStarted,
    TurnMeasured,
)
from slng_edge.events import ReplyWritten as ReplyTold
from slng_edge.pcm import PcmFormat, Samples, samples_of
from slng_edge.protocol.session_events import (
    ReplyAudio,
    ReplyCut,
    ReplyDone,
    SegmentBegan,
    SegmentDone,
    TtsEvent,
)
from slng_edge.responders.runner import (
    ReplyEvent,
    ReplyFailed,
    ReplyPiece,
    ReplyWritten,
    ResponderRunner,
)

log = logging.getLogger(__name__)

SILENCED_TIMEOUT_S = 0.25
"""How long an interruption waits to learn when the last sound was handed to the device."""

COUNTED_MS = 200
"""So much audio is told of at once: messages about each piece, to the conversation
thread, were an eighth of what a reply costs (`scripts/compare-variants --doing reply`)."""

SAID_CHARS = 45
TO_SAY_CHARS = 15
"""What counts as being said now: 3 s of speech before, and what the guess of where it stands may be
behind by."""


class Speaks(Protocol):
    """What replying needs of a text-to-speech session."""

    def open_reply(self, number: int) -> None: ...
    def add_text(self, reply: int, text: str) -> None: ...
    def end_reply(self, reply: int) -> None: ...
    def interrupt(self, now: float) -> None: ...


@dataclass(frozen=True)
class AudioCame:
    """`samples` of `reply` went into the ring buffer."""

    reply: int
    samples: int


@dataclass(frozen=True)
class SoundStarted:
    """The first block of `reply` was handed to the device at `at`."""

    reply: int
    at: float


@dataclass(frozen=True)
class SoundDrained:
    """The last of the `samples` of `reply` has been heard."""

    reply: int
    samples: int


ReplyingItem: TypeAlias = TtsEvent | ReplyEvent | AudioCame | SoundStarted | SoundDrained


class Outcome(enum.Enum):
    """What something that happened to the current reply means for the turn."""

    NOTHING = enum.auto()
    SOUND_BEGAN = enum.auto()
    WENT_ON = enum.auto()
    OVER = enum.auto()
    FAILED = enum.auto()
    """It is over, and not all of it was said."""


@dataclass(frozen=True)
class _Prepared:
    """An answer that was begun before all of the question was understood."""

    words: str
    asked: int
    came: list[ReplyEvent] = field(default_factory=list)


class Replying:
    """Makes the current reply. Called by the conversation thread, but for `receive_tts`.

    Args:
        tts: The text-to-speech session.
        responder: What answers.
        ring, playback: Where replies sound.
        bus: Where events are published.
        post: Takes what the receive thread learns to the conversation thread.
    """

    def __init__(
        self,
        *,
        tts: Speaks,
        responder: ResponderRunner,
        ring: RingBuffer,
        playback: Playback,
        bus: EventBus,
        post: Callable[[ReplyingItem], None],
    ) -> None:
        self._tts = tts
        self._responder = responder
        self._ring = ring
        self._playback = playback
        self._bus = bus
        self._post = post
        self._format = PcmFormat(ring.rate_hz)
        self._reply: Reply | None = None
        self._prepared: _Prepared | None = None
        self._asked = 0
        self._silent_at: float | None = None
        self._paused_at = 0.0
        self._sounding_text = ""
        self._told_unfinished = False
        self.answered = False
        """Whether the last reply that sounded was an answer."""
        self._resampler = Resampler(ring.rate_hz, ring.rate_hz)
        self._resampled = (0, 0)
        self._came = AudioCame(0, 0)

    def prepare(self, words: str) -> None:
        """Begin to answer `words`, which may not be the whole question; nothing is spoken yet."""
        if self._prepared is not None and self._prepared.words == words:
            return
        self.forget_prepared()
        self._asked += 1
        self._prepared = _Prepared(words, self._asked)
        self._responder.ask(self._asked, words)

    def forget_prepared(self) -> None:
        """The question that was being answered already is none."""
        if self._prepared is not None:
            self._prepared = None
            self._responder.cancel()
            self._responder.tell_heard(None)

    def start(self, turn: int, words: str, *, speech_ended_at: float, now: float) -> None:
        """Hand `words` to the responder; the reply is the answer of `turn`."""
        reply = self._open(turn, speech_ended_at=speech_ended_at, now=now, answers=True)
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared.words == words:
            reply.asked = prepared.asked
            for item in prepared.came:
                self._post(item)
            return
        if prepared is not None:
            self._responder.cancel()
            self._responder.tell_heard(None)
        self._asked += 1
        reply.asked = self._asked
        self._responder.ask(self._asked, words)

    def say(self, turn: int, text: str, *, now: float) -> None:
        """Speak `text` as it is."""
        reply = self._open(turn, speech_ended_at=now, now=now, answers=False)
        self._receive_answer(reply, ReplyPiece(reply.asked, text))
        self._receive_answer(reply, ReplyWritten(reply.asked))

    def drop(self, now: float) -> None:
        """Silence the reply and stop the work on it; nobody has interrupted it."""
        reply = self._reply
        if reply is None:
            self._silence(now)
            return
        played_ms = self._format.ms(self._playback.played_samples(reply.number))
        self._silence(now)
        self._tell_heard(reply, reply.heard(played_ms) if played_ms else None)

    def pause(self, now: float) -> None:
        """Hold the reply that sounds; waits about a block for the last sound."""
        self._ring.pause()
        self._paused_at = now
        self._silent_at = self._playback.silenced(SILENCED_TIMEOUT_S)

    def resume(self) -> None:
        """Go on from a quiet place a little before."""
        self._silent_at = None
        if self._reply is None:
            return
        played = self._ring.last_samples(SEARCHED_MS)
        self._ring.resume(quiet_point_ms(played, self._ring.rate_hz))
        if self._reply.unfinished and not self._told_unfinished:
            self._told_unfinished = True
            why = "somebody spoke while it was being written"
            log.warning("the reply ends early: %s", why)
            self._bus.publish(Lost("reply", 0, why))

    def stop_writing(self) -> None:
        """Stop the work on the reply; what was written of it stays, and may still sound."""
        reply = self._reply
        if reply is None or reply.written:
            return
        self._responder.cancel()
        reply.stop_writing()
        self._tts.end_reply(reply.number)

    def interrupt(self, now: float, by: str) -> None:
        """As `drop`, and say what was heard.

        Waits about a block for the last sound, where the reply was not paused before.
        """
        reply, silent_at = self._reply, self._silent_at
        if reply is None:
            return
        decided_at = now if silent_at is None else self._paused_at
        played_ms = self._format.ms(self._playback.played_samples(reply.number))
        self._sounding_text = self.sounding_text
        self._silence(now)
        heard_text = reply.heard(played_ms)
        self._tell_heard(reply, heard_text)
        if silent_at is None:
            silent_at = self._playback.silenced(SILENCED_TIMEOUT_S)
        self._silent_at = None
        self._bus.publish(
            Interrupted(
                by=by,
                heard_text=heard_text,
                played_ms=round(played_ms),
                silence_ms=round(max(0.0, silent_at - decided_at) * 1000, 1),
            )
        )

    def refuse(self, error: SlngEdgeError, now: float) -> None:
        """Text-to-speech was refused for good: what waits there must not be spoken later."""
        if self._reply is not None:
            self._tts.interrupt(now)
            self._cut_short(self._reply, str(error))

    @property
    def sounding_text(self) -> str:
        """What is being said about now, or was when the last reply was silenced."""
        reply = self._reply
        if reply is not None:
            heard = reply.heard(self._format.ms(self._playback.played_samples(reply.number)))
            at = len(heard)
            self._sounding_text = reply.text[max(0, at - SAID_CHARS) : at + TO_SAY_CHARS]
        return self._sounding_text

    @property
    def last_sound_at(self) -> float:
        """When reply sound was handed to the device last."""
        return self._playback.last_sound_at

    def receive(self, item: ReplyingItem, now: float) -> Outcome:
        """What `item` means; nothing where it is of a reply that is over."""
        reply = self._reply
        match item:
            case ReplyPiece() | ReplyWritten() | ReplyFailed():
                if self._prepared is not None and item.question == self._prepared.asked:
                    self._prepared.came.append(item)
                elif reply is not None and item.question == reply.asked and not reply.unfinished:
                    return self._receive_written(reply, item, now)
            case SegmentBegan() | SegmentDone() | ReplyDone() | ReplyCut():
                if reply is not None and item.reply == reply.number:
                    self._receive_synthesis(reply, item)
            case AudioCame() | SoundStarted() | SoundDrained():
                if reply is not None and item.reply == reply.number:
                    return self._receive_sound(reply, item)
            case _:
                raise TypeError(f"{type(item).__name__} is not of a reply")
        return Outcome.NOTHING

    def _open(self, turn: int, *, speech_ended_at: float, now: float, answers: bool) -> Reply:
        number = self._ring.open_utterance()
        self._silent_at = None
        self._told_unfinished = False
        self._reply = Reply(
            turn, number, speech_ended_at=speech_ended_at, final_at=now, answers=answers
        )
        self._tts.open_reply(number)
        return self._reply

    def _receive_written(self, reply: Reply, item: ReplyEvent, now: float) -> Outcome:
        if isinstance(item, ReplyFailed):
            log.warning("the responder failed: %s", item.error)
            self._bus.publish(Lost("reply", 0, str(item.error)))
            reply.failed = True
        self._receive_answer(reply, item)
        if not reply.written or reply.sentences:
            return Outcome.NOTHING
        self._tts.interrupt(now)  # nothing to say: it must not stand before the next reply
        self._reply = None
        if not reply.failed:
            log.warning("the responder gave nothing that could be said")
        return Outcome.FAILED

    def _receive_answer(self, reply: Reply, item: ReplyEvent) -> None:
        if isinstance(item, ReplyPiece):
            self._say(reply, reply.receive_text(item.text))
            return
        self._say(reply, reply.end_text())
        if reply.sentences:
            self._bus.publish(ReplyTold(reply.text))
            self._tts.end_reply(reply.number)

    def _receive_synthesis(
        self, reply: Reply, item: SegmentBegan | SegmentDone | ReplyDone | ReplyCut
    ) -> None:
        match item:
            case SegmentBegan(_, texts, latency_s, sent_at):
                if reply.begin_segment(texts, sent_at=sent_at, came_at=sent_at + latency_s):
                    self._bus.publish(ReplyAudioStarted(round(latency_s * 1000)))
            case SegmentDone():
                reply.end_segment()
            case ReplyDone():
                self._ring.end(reply.number)
            case ReplyCut(_, error):
                self._cut_short(reply, str(error))

    def _receive_sound(
        self, reply: Reply, item: AudioCame | SoundStarted | SoundDrained
    ) -> Outcome:
        match item:
            case AudioCame(_, samples):
                reply.receive_audio(self._format.ms(samples))
                return Outcome.WENT_ON
            case SoundStarted(_, at):
                self.answered = reply.answers
                self._bus.publish(PlaybackStarted())
                self._measure(reply, at)
                return Outcome.SOUND_BEGAN
            case SoundDrained(_, samples):
                if samples:
                    self._bus.publish(PlaybackEnded(round(self._format.ms(samples))))
                if reply.cut or reply.unfinished:
                    self._tell_heard(reply, reply.heard(self._format.ms(samples)))
                self._reply = None
                return Outcome.FAILED if reply.cut or reply.failed else Outcome.OVER

    def _silence(self, now: float) -> None:
        self._ring.clear()
        self._responder.cancel()
        self._tts.interrupt(now)
        self._reply = None

    def _tell_heard(self, reply: Reply, text: str | None) -> None:
        if reply.answers:
            self._responder.tell_heard(text)

    def _say(self, reply: Reply, sentences: list[str]) -> None:
        for sentence in sentences:
            self._tts.add_text(reply.number, sentence)

    def _cut_short(self, reply: Reply, why: str) -> None:
        """The rest of the reply will not come: what there is sounds, then the turn is over."""
        if reply.cut:
            return  # told already, for another reason
        reply.cut = True
        log.warning("the reply is cut short: %s", why)
        self._bus.publish(Lost("reply", 0, why))
        self._responder.cancel()
        self._ring.end(reply.number)

    def _measure(self, reply: Reply, sound_at: float) -> None:
        times = reply.latencies(sound_at)
        if times is None:
            return
        self._bus.publish(TurnMeasured(**dataclasses.asdict(times)))
        log.info(
            "turn %d: final after %d ms, reply %d, audio %d, sound %d, total %d ms",
            reply.turn,
            times.speech_end_to_final,
            times.final_to_reply,
            times.reply_to_audio,
            times.audio_to_sound,
            times.total,
        )

    # The receive thread of text-to-speech

    def receive_tts(self, event: TtsEvent) -> None:
        """Put audio into the ring at once, and post the rest.

        Called by the session's receive thread, which waits here while the ring is full.
        """
        if isinstance(event, ReplyAudio):
            samples = samples_of(event.pcm)
            if event.rate_hz != self._ring.rate_hz:
                samples = self._resampler_of(event).receive(samples)
            self._sound(samples, event.reply)
            return
        if isinstance(event, SegmentDone | ReplyCut):
            self._end_resampling(event.reply)
        if not isinstance(event, ReplyDone):
            # Before: which segment it belongs to depends on the order. `ReplyDone` may come in the
            # conversation's own thread, ahead of the inbox; all audio was told of by then.
            self._tell_came()
        self._post(event)

    def _sound(self, samples: Samples, reply: int) -> None:
        if not len(samples) or not self._ring.write(samples, reply):
            return
        if self._came.reply != reply:
            self._tell_came()
        self._came = AudioCame(reply, self._came.samples + len(samples))
        if self._format.ms(self._came.samples) >= COUNTED_MS:
            self._tell_came()

    def _tell_came(self) -> None:
        if self._came.samples:
            self._post(self._came)
        self._came = AudioCame(self._came.reply, 0)

    def _resampler_of(self, audio: ReplyAudio) -> Resampler:
        """One for each reply: what it keeps back must not come out in the next."""
        if self._resampled != (audio.reply, audio.rate_hz):
            self._end_resampling(audio.reply)
            self._resampled = (audio.reply, audio.rate_hz)
            self._resampler = Resampler(audio.rate_hz, self._ring.rate_hz)
        return self._resampler

    def _end_resampling(self, reply: int) -> None:
        if self._resampled[0] == reply:
            self._sound(self._resampler.end(), reply)
        self._resampled = (0, 0)
