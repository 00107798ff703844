"""From words to the speaker: one reply at a time, on the conversation thread.

The counterpart of `hearing`. The responder writes, the splitter makes sentences, text-to-speech
speaks them, the ring buffer holds the sound until it is played. A reply has the number of its
utterance in the ring buffer; it is on every chunk of audio and every end marker, through the
text-to-speech session and back. What carries another number than the current reply's is of a
turn that is over, and is dropped.

An interruption, in this order: raise the number and clear the ring (the block in hand fades),
cancel the responder, empty the outbox of text-to-speech and send `clear`. Silence never waits
for the network.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from slng_edge.audio.playback import Playback
from slng_edge.audio.resampling import Resampler
from slng_edge.audio.ring_buffer import RingBuffer
from slng_edge.dialogue.reply import Reply
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
        self._resampler = Resampler(ring.rate_hz, ring.rate_hz)
        self._resampled = (0, 0)

    def start(self, turn: int, words: str, *, speech_ended_at: float, now: float) -> None:
        """Hand `words` to the responder; the reply is the answer of `turn`."""
        number = self._ring.open_utterance()
        self._reply = Reply(turn, number, speech_ended_at=speech_ended_at, final_at=now)
        self._tts.open_reply(number)
        self._responder.ask(turn, words)

    def drop(self, now: float) -> None:
        """Silence the reply and stop the work on it."""
        self._ring.clear()
        self._responder.cancel()
        self._tts.interrupt(now)
        self._reply = None

    def interrupt(self, now: float, by: str) -> None:
        """As `drop`, and say what was heard; waits about a block for the last sound."""
        reply = self._reply
        if reply is None:
            return
        played_ms = self._format.ms(self._playback.played_samples(reply.number))
        self.drop(now)
        heard_text = reply.heard(played_ms)
        self._responder.tell_heard(heard_text)
        silent_at = self._playback.silenced(SILENCED_TIMEOUT_S)
        self._bus.publish(
            Interrupted(
                by=by,
                heard_text=heard_text,
                played_ms=round(played_ms),
                silence_ms=round(max(0.0, silent_at - now) * 1000, 1),
            )
        )

    def refuse(self, error: SlngEdgeError, now: float) -> None:
        """Text-to-speech was refused for good: what waits there must not be spoken later."""
        if self._reply is not None:
            self._tts.interrupt(now)
            self._cut_short(self._reply, str(error))

    def plays_on(self) -> bool:
        """Whether more of the reply has been played than when this was asked last."""
        reply = self._reply
        if reply is None:
            return False
        return reply.progress(self._format.ms(self._playback.played_samples(reply.number)))

    def receive(self, item: ReplyingItem, now: float) -> Outcome:
        """What `item` means; nothing where it is of a reply that is over."""
        reply = self._reply
        match item:
            case ReplyPiece() | ReplyWritten() | ReplyFailed():
                if reply is not None and item.turn == reply.turn:
                    return self._receive_answer(reply, item, now)
            case SegmentBegan() | SegmentDone() | ReplyDone() | ReplyCut():
                if reply is not None and item.reply == reply.number:
                    self._receive_synthesis(reply, item)
            case AudioCame() | SoundStarted() | SoundDrained():
                if reply is not None and item.reply == reply.number:
                    return self._receive_sound(reply, item)
            case _:
                raise TypeError(f"{type(item).__name__} is not of a reply")
        return Outcome.NOTHING

    def _receive_answer(self, reply: Reply, item: ReplyEvent, now: float) -> Outcome:
        match item:
            case ReplyPiece(_, text):
                self._say(reply, reply.receive_text(text))
                return Outcome.NOTHING
            case ReplyFailed(_, error):
                log.warning("the responder failed: %s", error)
                self._bus.publish(Lost("reply", 0, str(error)))
        self._say(reply, reply.end_text())
        if reply.sentences:
            self._bus.publish(ReplyTold(reply.text))
            self._tts.end_reply(reply.number)
            return Outcome.NOTHING
        self._tts.interrupt(now)  # nothing to say: it must not stand before the next reply
        self._reply = None
        return Outcome.OVER

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
                self._bus.publish(PlaybackStarted())
                self._measure(reply, at)
                return Outcome.SOUND_BEGAN
            case SoundDrained(_, samples):
                if samples:
                    self._bus.publish(PlaybackEnded(round(self._format.ms(samples))))
                if reply.cut:
                    self._responder.tell_heard(reply.heard(self._format.ms(samples)))
                self._reply = None
                return Outcome.OVER

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
        if isinstance(event, ReplyDone | ReplyCut):
            self._end_resampling(event.reply)
        self._post(event)

    def _sound(self, samples: Samples, reply: int) -> None:
        if len(samples) and self._ring.write(samples, reply):
            self._post(AudioCame(reply, len(samples)))

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
