"""The conversation: one inbox, one thread, which carries out what turn taking decides.

Theory of operation. Every other thread posts what happened into the inbox: hearing (an utterance
began, ended), the speech-to-text session (partials, finals, losses), the responder (pieces of the
reply), the text-to-speech session (audio came, ended, was cut), playback (started, drained), the
devices. One thread takes them one after the other, tells turn taking, and carries out its acts.
So there is one order of events, and one owner of every decision.

A reply has the number of its utterance in the ring buffer; it is on every chunk of audio and
every end marker, through the text-to-speech session and back. What carries another number than
the current turn's is of a turn that is over, and is dropped.

Only audio takes a short cut: microphone frames go from the capture thread to the outbox, reply
samples from the receive thread to the ring buffer (`receive_tts`); the ring refuses old numbers.

An interruption, in this order: raise the number and clear the ring (the block in hand fades),
cancel the responder, empty the outbox of text-to-speech and send `clear`. Silence never waits
for the network.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from slng_edge.audio.playback import Playback
from slng_edge.audio.resampling import Resampler
from slng_edge.audio.ring_buffer import RingBuffer
from slng_edge.dialogue.reply import Reply
from slng_edge.dialogue.turn_taking import Act, State, TurnTaking
from slng_edge.dialogue.visible_state import Conditions, visible_state
from slng_edge.errors import SlngEdgeError
from slng_edge.events import (
    ConnectionChanged,
    DeviceChanged,
    EventBus,
    FinalHeard,
    Interrupted,
    Lost,
    PartialHeard,
    PlaybackEnded,
    PlaybackStarted,
    ReplyAudioStarted,
    SpeechEnded,
    SpeechStarted,
    StateChanged,
    TurnMeasured,
)
from slng_edge.events import ReplyWritten as ReplyTold
from slng_edge.hearing import (
    FramesFlow,
    HearingEvent,
    InputAwaited,
    InputEnded,
    UtteranceBegan,
    UtteranceEnded,
)
from slng_edge.pcm import PcmFormat, Samples, samples_of
from slng_edge.protocol.session_events import (
    Final,
    Partial,
    ReplyAudio,
    ReplyCut,
    ReplyDone,
    SegmentBegan,
    SegmentDone,
    StrayFinal,
    SttEvent,
    TtsEvent,
    UtteranceLost,
)
from slng_edge.responders.runner import (
    ReplyEvent,
    ReplyFailed,
    ReplyPiece,
    ReplyWritten,
    ResponderRunner,
)
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

INBOX_LIMIT = 2000
"""Entries; the busiest second is some 100 (audio chunks), so this is many seconds of delay."""

FULL_POLL_S = 0.5
"""How often a poster that waits for room looks whether the conversation is over."""

SILENCED_TIMEOUT_S = 0.25
"""How long an interruption waits to learn when the last sound was handed to the device."""


class Hears(Protocol):
    """What the conversation needs of a speech-to-text session."""

    def abandon(self, utterance: int) -> None: ...


class Speaks(Protocol):
    """What the conversation needs of a text-to-speech session."""

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


@dataclass(frozen=True)
class SessionRefused:
    """A session was refused in a way that trying again does not help."""

    session: str
    error: SlngEdgeError


InboxItem: TypeAlias = (
    HearingEvent
    | SttEvent
    | TtsEvent
    | ReplyEvent
    | AudioCame
    | SoundStarted
    | SoundDrained
    | SessionRefused
    | ConnectionChanged
    | DeviceChanged
)


class Conversation:
    """Owns the thread `conversation`.

    Args:
        turn_taking: Decides; touched by the conversation thread alone.
        stt, tts: The sessions.
        responder: What answers.
        ring, playback: Where replies sound.
        bus: Where events are published.
        on_flow: Called once a second when microphone frames, or the tick of the loop that
            looks for a missing device, have come through the inbox.
        on_over: Called once, when the input has ended and nothing is pending.
        on_death: As in `Worker`.
    """

    def __init__(
        self,
        *,
        turn_taking: TurnTaking,
        stt: Hears,
        tts: Speaks,
        responder: ResponderRunner,
        ring: RingBuffer,
        playback: Playback,
        bus: EventBus,
        on_flow: Callable[[], None],
        on_over: Callable[[], None],
        on_death: OnDeath | None = None,
    ) -> None:
        self._turns = turn_taking
        self._stt = stt
        self._tts = tts
        self._responder = responder
        self._ring = ring
        self._playback = playback
        self._bus = bus
        self._on_flow = on_flow
        self._on_over = on_over
        self._format = PcmFormat(ring.rate_hz)
        self._inbox: queue.Queue[InboxItem | None] = queue.Queue(INBOX_LIMIT)
        self._conditions = Conditions()
        self._shown = ""
        self._reply: Reply | None = None
        self._utterances: set[int] = set()
        self._speech_ended_at = 0.0
        self._input_ended = False
        self._resampler = Resampler(ring.rate_hz, ring.rate_hz)
        self._resampled = (0, 0)
        self._worker = Worker("conversation", self._run, wake=self._wake, on_death=on_death)

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread; what is in the inbox is dropped.

        Raises:
            StuckThread: it still runs after `timeout_s`.
        """
        self._worker.stop(timeout_s)

    def post(self, item: InboxItem) -> None:
        """Put what happened into the inbox; any thread.

        Waits for room where the inbox is full, unless the conversation is over: then the
        item is dropped, because nobody will read it.
        """
        while not self._worker.stopping.is_set():
            try:
                self._inbox.put(item, timeout=FULL_POLL_S)
                return
            except queue.Full:
                continue

    def receive_tts(self, event: TtsEvent) -> None:
        """What text-to-speech gave; its audio goes into the ring at once.

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
        self.post(event)

    def _sound(self, samples: Samples, reply: int) -> None:
        if len(samples) and self._ring.write(samples, reply):
            self.post(AudioCame(reply, len(samples)))

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

    # The conversation thread

    def _run(self) -> None:
        self._show_state()
        while not self._worker.stopping.is_set():
            deadline = self._turns.deadline
            timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                item = self._inbox.get(timeout=timeout_s)
            except queue.Empty:
                self._expire()
            else:
                if item is not None:
                    self._handle(item)
            self._show_state()
            self._look_for_end()

    def _handle(self, item: InboxItem) -> None:
        now = time.monotonic()
        match item:
            case FramesFlow() | InputAwaited():
                self._on_flow()
            case AudioCame() | SoundStarted() | SoundDrained():
                self._handle_sound(item, now)
            case SegmentBegan() | SegmentDone() | ReplyDone() | ReplyCut():
                self._handle_synthesis(item, now)
            case ReplyPiece() | ReplyWritten() | ReplyFailed():
                self._handle_answer(item, now)
            case ConnectionChanged() | SessionRefused() | DeviceChanged():
                self._handle_condition(item, now)
            case _:
                self._handle_speech(item, now)

    def _handle_speech(self, item: InboxItem, now: float) -> None:
        match item:
            case UtteranceBegan(utterance, preroll_ms):
                self._utterances.add(utterance)
                self._bus.publish(SpeechStarted(preroll_ms))
                self._carry_out(self._turns.speech_began(now), now, by="speech")
            case UtteranceEnded(_, duration_ms, at):
                self._speech_ended_at = at
                self._bus.publish(SpeechEnded(duration_ms))
            case Partial(_, text):
                self._bus.publish(PartialHeard(text))
            case Final():
                self._bus.publish(_final_heard(item))
                log.debug("final: %s", item.text)
                self._utterances.discard(item.utterance)
                self._carry_out(self._turns.final_came(item.text, now), now)
            case UtteranceLost(utterance, ms, why, over):
                log.warning("%d ms of speech are lost: %s", ms, why)
                self._bus.publish(Lost("speech", ms, why))
                if over:
                    self._utterances.discard(utterance)
                    self._carry_out(self._turns.speech_lost(now), now)
            case StrayFinal():
                why = "the words came after their utterance had ended"
                log.warning("words are lost: %s", why)
                self._bus.publish(Lost("words", 0, why))
            case InputEnded():
                self._input_ended = True
            case _:
                raise TypeError(f"the inbox takes no {type(item).__name__}")

    def _handle_answer(self, item: ReplyEvent, now: float) -> None:
        reply = self._reply
        if reply is None or item.turn != reply.turn:
            return
        match item:
            case ReplyPiece(_, text):
                self._say(reply, reply.receive_text(text))
                return
            case ReplyFailed(_, error):
                log.warning("the responder failed: %s", error)
                self._bus.publish(Lost("reply", 0, str(error)))
        self._say(reply, reply.end_text())
        if reply.sentences:
            self._bus.publish(ReplyTold(reply.text))
            self._tts.end_reply(reply.number)
        else:
            self._tts.interrupt(now)  # nothing to say: it must not stand before the next reply
            self._end_reply(now)

    def _handle_synthesis(
        self, item: SegmentBegan | SegmentDone | ReplyDone | ReplyCut, now: float
    ) -> None:
        reply = self._reply
        if reply is None or item.reply != reply.number:
            return
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

    def _handle_sound(self, item: AudioCame | SoundStarted | SoundDrained, now: float) -> None:
        reply = self._reply
        if reply is None or item.reply != reply.number:
            return
        match item:
            case AudioCame(_, samples):
                reply.receive_audio(self._format.ms(samples))
                if self._turns.state is State.SPEAKING:
                    self._turns.progressed(now)
            case SoundStarted(_, at):
                self._bus.publish(PlaybackStarted())
                self._measure(reply, at)
                self._carry_out(self._turns.sound_began(now), now)
            case SoundDrained(_, samples):
                if samples:
                    self._bus.publish(PlaybackEnded(round(self._format.ms(samples))))
                self._end_reply(now)

    def _handle_condition(
        self, item: ConnectionChanged | SessionRefused | DeviceChanged, now: float
    ) -> None:
        match item:
            case ConnectionChanged(session, state):
                self._bus.publish(item)
                if state == "ready":
                    self._conditions = self._conditions.session_ready(session)
                elif state == "failed":
                    self._conditions = self._conditions.session_failed(session, final=False)
            case SessionRefused(session, error):
                self._conditions = self._conditions.session_failed(session, final=True)
                if session == "tts" and self._reply is not None:
                    self._tts.interrupt(now)  # what waits there must not be spoken in ten minutes
                    self._cut_short(self._reply, str(error))
            case DeviceChanged(which, state):
                self._bus.publish(item)
                if which == "input":
                    self._conditions = self._conditions.hearing(state != "lost")

    # Acts

    def _carry_out(self, acts: tuple[Act, ...], now: float, *, by: str = "command") -> None:
        for act in acts:
            match act:
                case Act.START_REPLY:
                    self._start_reply(now)
                case Act.CANCEL_REPLY:
                    self._drop_reply(now)
                case Act.CUT_REPLY:
                    self._interrupt(now, by)
                case Act.FORGET_SPEECH:
                    for utterance in self._utterances:
                        self._stt.abandon(utterance)
                    self._utterances.clear()

    def _start_reply(self, now: float) -> None:
        number = self._ring.open_utterance()
        ended_at = self._speech_ended_at or now
        self._reply = Reply(self._turns.turn, number, speech_ended_at=ended_at, final_at=now)
        self._tts.open_reply(number)
        self._responder.ask(self._turns.turn, self._turns.words)

    def _say(self, reply: Reply, sentences: list[str]) -> None:
        for sentence in sentences:
            self._tts.add_text(reply.number, sentence)

    def _drop_reply(self, now: float) -> None:
        self._ring.clear()
        self._responder.cancel()
        self._tts.interrupt(now)
        self._reply = None

    def _interrupt(self, now: float, by: str) -> None:
        reply = self._reply
        if reply is None:
            return
        played_ms = self._format.ms(self._playback.played_samples(reply.number))
        self._drop_reply(now)
        silent_at = self._playback.silenced(SILENCED_TIMEOUT_S)
        self._bus.publish(
            Interrupted(
                by=by,
                heard_text=reply.heard(played_ms),
                played_ms=round(played_ms),
                silence_ms=round(max(0.0, silent_at - now) * 1000, 1),
            )
        )

    def _cut_short(self, reply: Reply, why: str) -> None:
        """The rest of the reply will not come: what there is sounds, then the turn is over."""
        log.warning("the reply is cut short: %s", why)
        self._bus.publish(Lost("reply", 0, why))
        self._responder.cancel()
        self._ring.end(reply.number)

    def _end_reply(self, now: float) -> None:
        self._reply = None
        self._carry_out(self._turns.reply_ended(now), now)

    def _expire(self) -> None:
        now = time.monotonic()
        state = self._turns.state
        if state is State.SPEAKING and self._reply is not None:
            played = self._playback.played_samples(self._reply.number)
            if self._reply.progress(self._format.ms(played)):
                self._turns.progressed(now)
                return
        acts = self._turns.expire(now)
        if Act.REPORT_TIMEOUT in acts:
            why = f"the state {state.value} lasted longer than it may"
            log.error("%s; back to idle", why)
            self._bus.publish(Lost("speech" if state is State.LISTENING else "reply", 0, why))
        self._carry_out(acts, now)

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

    def _show_state(self) -> None:
        shown = visible_state(self._turns.state, self._conditions)
        if shown != self._shown:
            self._shown = shown
            log.info("state: %s", shown)
            self._bus.publish(StateChanged(shown))

    def _look_for_end(self) -> None:
        if not self._input_ended or self._turns.state is not State.IDLE or self._utterances:
            return
        tried = self._conditions.offline | self._conditions.refused
        if "stt" in self._conditions.unready and "stt" not in tried:
            return  # the first attempt is under way: whether it was reached is not known yet
        self._input_ended = False
        self._on_over()

    def _wake(self) -> None:
        try:
            self._inbox.put_nowait(None)
        except queue.Full:
            log.warning("the inbox is full: the conversation thread does not keep up")


def _final_heard(final: Final) -> FinalHeard:
    words: list[dict[str, Any]] | None = list(final.words) or None
    return FinalHeard(
        text=final.text,
        latency_ms=round(final.latency_s * 1000),
        confidence=final.confidence,
        language=final.language,
        duration_s=final.duration_s,
        words=words,
    )
