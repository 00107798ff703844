"""From microphone frames to the speech-to-text outbox, on the capture thread.

Everything here is quick: the wake word listener and the gate decide on the frame, the session
queues its bytes, and the conversation is told of beginnings and ends. Nothing is queued in silence.

What the conversation wants of hearing (wake up, mute, the turn is over) is asked for from its
thread and done with the next frame, so that one thread owns the gate.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from slng_edge.config import Config
from slng_edge.hearing_events import (
    FramesFlow,
    HearingEvent,
    InputAwaited,
    InputEnded,
    SpeechOverReply,
    StopHeard,
    UtteranceBegan,
    UtteranceEnded,
    WakeHeard,
    WindowOpened,
    WindowPassed,
)
from slng_edge.listening.attention import Attention
from slng_edge.listening.echo_coupling import NO_ECHO, EchoCoupling, Powers
from slng_edge.listening.vad_gate import (
    GateEvent,
    SpeechBegan,
    SpeechContinued,
    SpeechStopped,
    VadGate,
)
from slng_edge.listening.voice_detector import VoiceDetector
from slng_edge.listening.wake_words import Woken
from slng_edge.pcm import Samples

ECHO_HANGOVER_S = 0.3
"""The room goes on sounding after the last sample was played."""

BRIEF_SILENCE_MS = 200
"""Speech over a reply that pauses for so long before `turn.barge_in_ms` of it is over: the gaps
within a word are shorter."""

ONE_BREATH_S = 2.0
"""A wake word within an utterance that began longer ago than this is talked about, not called."""

TICK_S = 1.0
ALL_ECHO = -math.inf
"""How far a frame stands out in which nobody can begin to speak."""


class Outbox(Protocol):
    """What hearing needs of a speech-to-text session."""

    def open_utterance(self) -> int: ...
    def add_audio(self, utterance: int, samples: bytes) -> None: ...
    def end_utterance(self, utterance: int, now: float) -> None: ...


class Plays(Protocol):
    """What hearing needs to know of playback."""

    @property
    def sounding(self) -> bool: ...
    @property
    def reply_sounding(self) -> bool: ...


class Sounded(Protocol):
    """What sounded while a frame was recorded (`FarEnd`)."""

    def powers(self, now: float) -> Powers | None: ...


@dataclass(frozen=True)
class Loudspeaker:
    """The device's own sound: whether there is any, what it is, and how much of it comes back."""

    playback: Plays
    far_end: Sounded
    coupling: EchoCoupling


class ListensForWords(Protocol):
    """What finds wake words (`WakeListener`)."""

    def receive_frame(self, frame: Samples, reply_sounds: bool) -> Woken | None: ...
    def receive_gap(self) -> None: ...


def build_gate(config: Config) -> VadGate:
    """The voice gate of `config`."""
    vad, rate_hz = config.vad, config.stt.sample_rate
    return VadGate(
        rate_hz=rate_hz,
        frame_ms=config.audio.frame_ms,
        start_ms=vad.start_ms,
        stop_ms=vad.stop_ms,
        preroll_ms=vad.preroll_ms,
        max_utterance_s=vad.max_utterance_s,
        detector=VoiceDetector(vad.aggressiveness, rate_hz),
    )


class Hearing:
    """Runs the gate and fills the outbox. Called by the capture thread, but where it says any.

    Args:
        gate: Decides when somebody speaks.
        outbox: Where the speech goes.
        post: Gets `HearingEvent`s; must not wait.
        loudspeaker: What the device itself may be heard by; None without one.
        attention: Says when the gate may open; always without it.
        wake_words: Finds wake words.
        start_ms: Speech that opens the gate: to come back after a cough takes as much.
        barge_in_ms: Speech over a reply that is meant; None where speech does not interrupt: then
            the gate stays shut until the reply has died away.

    Attributes:
        half_duplex: Whether speech does not interrupt for now; set from any thread.
    """

    def __init__(
        self,
        gate: VadGate,
        outbox: Outbox,
        *,
        post: Callable[[HearingEvent], None],
        loudspeaker: Loudspeaker | None = None,
        attention: Attention | None = None,
        wake_words: ListensForWords | None = None,
        start_ms: int = 60,
        barge_in_ms: int | None = None,
    ) -> None:
        self.half_duplex = barge_in_ms is None
        self._gate = gate
        self._outbox = outbox
        self._attention = attention or Attention(always=True, follow_up_s=0.0)
        self._wake_words = wake_words
        self._loudspeaker = loudspeaker
        self._start_ms = max(1, start_ms)
        self._barge_in_ms = barge_in_ms or 0
        self._post = post
        self._asked: deque[Callable[[float], None]] = deque()
        self._muted = False
        self._utterance = 0
        self._began_at = 0.0
        self._voiced_ms = 0
        self._invited = False
        self._over_reply: _OverReply | None = None
        self._skip_frames = 0
        self._echo_until = 0.0
        self._reply_until = 0.0
        self._tick_at = 0.0

    # Any thread

    def wake_up(self) -> None:
        """Somebody wants to be listened to, without a wake word."""
        self._asked.append(self._wake_up)

    @property
    def awaits_speech(self) -> bool:
        """Whether somebody who woke it, or was answered just now, may be about to speak."""
        return self._attention.waits(time.monotonic())

    def sleep(self) -> None:
        """Nobody wants to be listened to any more."""
        self._asked.append(lambda now: self._attention.stopped())

    def turn_began(self) -> None:
        """A turn began that the gate knows nothing of: a question in writing."""
        self._asked.append(lambda now: self._attention.turn_began())

    def turn_ended(self, *, answered: bool) -> None:
        """The turn is over; `answered` where a reply to what was said has sounded."""
        self._asked.append(lambda now: self._end_turn(now, answered))

    def was_own(self) -> None:
        """What interrupted the reply was the device itself: expect more of that."""
        if self._loudspeaker is not None:
            coupling = self._loudspeaker.coupling
            self._asked.append(lambda now: coupling.receive_own_interruption())

    def mute(self, muted: bool) -> None:
        """Hear nothing, or hear again; an utterance that is open ends here."""
        self._asked.append(lambda now: self._mute(now, muted))

    # The capture thread

    def receive_frame(self, frame: Samples, as_heard: Samples | None = None) -> None:
        """Take the next frame of the microphone.

        Args:
            frame: What the gate, the wake word and the transcript get.
            as_heard: The frame before echo was taken out of it; None where none was. How loud
                the device hears itself is learned from this one: what a canceller leaves of the
                echo changes with every hitch of a device, and would open the gate.
        """
        now = time.monotonic()
        if now >= self._tick_at:
            self._tick_at = now + TICK_S
            self._post(FramesFlow(self._gate.level_dbfs, self._gate.floor_dbfs))
        self._do_what_was_asked(now)
        if self._muted:
            return
        if self._wake_words is not None:
            # One who speaks over a reply has it paused, and may be saying "stop".
            over_reply = self._reply_in_the_air(now) or self._over_reply is not None
            woken = self._wake_words.receive_frame(frame, over_reply)
            if woken is not None and woken.stop:
                self._post(StopHeard(woken.word))
            elif woken is not None and not self._is_talked_about(now):
                self._receive_woken(woken, now)
                return
        if self._skip_frames:
            self._skip_frames -= 1
            return
        self._gate_frame(frame, frame if as_heard is None else as_heard, now)
        if self._attention.fell_asleep(now):
            self._post(WindowPassed())

    @property
    def idle(self) -> bool:
        """Whether nobody speaks and no reply sounds: frames may then come two at a time."""
        return self._muted or (self._gate.quiet and not self._in_the_air(time.monotonic()))

    def receive_gap(self) -> None:
        """What follows does not belong to what came: the device was lost."""
        self._break_off(time.monotonic())

    def receive_wait(self) -> None:
        """Another second has passed without a device."""
        self._do_what_was_asked(time.monotonic())
        self._post(InputAwaited())

    def receive_end(self) -> None:
        """The input has ended: an open utterance ends as by silence."""
        self.receive_gap()
        self._post(InputEnded())

    def _do_what_was_asked(self, now: float) -> None:
        while self._asked:
            self._asked.popleft()(now)

    def _wake_up(self, now: float) -> None:
        # What was being said does not count; what follows is an utterance of its own.
        if self._gate.speaking:
            self._handle(self._gate.end_input(), now)
        self._attention.woken(now)

    def _mute(self, now: float, muted: bool) -> None:
        self._muted = muted
        if muted:
            self._attention.stopped()
            self._break_off(now)

    def _end_turn(self, now: float, answered: bool) -> None:
        if self._attention.turn_ended(now, answered=answered):
            self._post(WindowOpened())

    def _break_off(self, now: float) -> None:
        if self._wake_words is not None:
            self._wake_words.receive_gap()
        self._skip_frames = 0
        self._handle(self._gate.end_input(), now)

    def _is_talked_about(self, now: float) -> bool:
        """Whether who called before talks on, and the wake word is a part of it.

        In a follow-up window, or over a reply, it may be anybody who talks: a television.
        """
        return (
            self._gate.speaking
            and self._invited
            and self._over_reply is None
            and now - self._began_at > ONE_BREATH_S
        )

    def _receive_woken(self, woken: Woken, now: float) -> None:
        cut_off = self._gate.speaking and now - self._began_at > ONE_BREATH_S
        # What was sent of the wake word itself ends here, and its words are not waited for.
        self._handle(self._gate.end_input(), now)
        self._attention.woken(now)
        for frame in woken.frames[: woken.fading_frames]:
            self._gate.receive_frame(frame, None, ALL_ECHO)  # pre-roll, where a question follows
        events = [
            event
            for frame in woken.frames[woken.fading_frames :]
            for event in self._gate.receive_frame(frame)
        ]
        self._skip_frames = woken.skip_frames
        self._post(WakeHeard(woken.word, woken.score, bool(events), cut_off))
        self._handle(events, now)

    def _gate_frame(self, frame: Samples, as_heard: Samples, now: float) -> None:
        over_echo_db = NO_ECHO
        if self._loudspeaker is not None:
            sounded = self._loudspeaker.far_end.powers(now)
            over_echo_db = self._loudspeaker.coupling.receive_frame(as_heard, sounded)
        reply = self._reply_in_the_air(now)
        if not self._gate.speaking and (
            not self._attention.awake(now) or (reply and self.half_duplex)
        ):
            self._gate.observe(frame, over_echo_db)
        else:
            events = self._gate.receive_frame(frame, None, over_echo_db)
            self._handle(events, now, over_reply=reply)
            self._voiced_ms = self._gate.voiced_ms  # of an utterance that ends with the next frame
            if self._over_reply is not None and self._gate.speaking:
                self._follow_over_reply(self._over_reply)
        if self._loudspeaker is not None and not self._gate.speaking:
            self._loudspeaker.coupling.learn()

    def _handle(self, events: list[GateEvent], now: float, *, over_reply: bool = False) -> None:
        for event in events:
            match event:
                case SpeechBegan(frames, preroll_ms):
                    self._utterance = self._outbox.open_utterance()
                    self._began_at = now
                    self._invited = self._attention.invited
                    self._over_reply = (
                        _OverReply(self._start_ms, self._barge_in_ms) if over_reply else None
                    )
                    self._attention.turn_began()
                    # Before the audio: words of it must not be told before it has begun.
                    self._post(UtteranceBegan(self._utterance, preroll_ms, over_reply))
                    self._outbox.add_audio(
                        self._utterance, b"".join(frame.tobytes() for frame in frames)
                    )
                case SpeechContinued(frame):
                    self._outbox.add_audio(self._utterance, frame.tobytes())
                case SpeechStopped(duration_ms):
                    if self._over_reply is not None and self._over_reply.undecided:
                        self._post(SpeechOverReply(self._utterance, "was brief"))
                    self._over_reply = None
                    # In this order: its words must not be told before its end.
                    self._post(UtteranceEnded(self._utterance, duration_ms, now, self._voiced_ms))
                    self._outbox.end_utterance(self._utterance, now)

    def _follow_over_reply(self, speech: _OverReply) -> None:
        what = speech.follow(self._gate.voiced_ms, self._gate.silent_ms)
        if what:
            self._post(SpeechOverReply(self._utterance, what))

    def _in_the_air(self, now: float) -> bool:
        """Whether anything that the device itself plays can be heard."""
        if self._loudspeaker is not None and self._loudspeaker.playback.sounding:
            self._echo_until = now + ECHO_HANGOVER_S
        return now < self._echo_until

    def _reply_in_the_air(self, now: float) -> bool:
        if self._loudspeaker is not None and self._loudspeaker.playback.reply_sounding:
            self._reply_until = now + ECHO_HANGOVER_S
        return now < self._reply_until


class _OverReply:
    """One utterance over a reply: whether it is a cough or an interruption."""

    def __init__(self, start_ms: int, barge_in_ms: int) -> None:
        self._start_ms = start_ms
        self._barge_in_ms = barge_in_ms
        self._brief = False
        self._went_on = False
        self._counted_from_ms = 0

    @property
    def undecided(self) -> bool:
        """Whether nothing of it has been told, or only that it came back."""
        return not self._brief and not self._went_on

    def follow(self, voiced_ms: int, silent_ms: int) -> str:
        """What has become of it with the frame just heard; "" for nothing new."""
        if self._went_on:
            return ""
        spoken_ms = voiced_ms - self._counted_from_ms
        if self._brief:
            if spoken_ms < self._start_ms:
                return ""
            self._brief = False
            return "came back"
        if spoken_ms >= self._barge_in_ms:
            self._went_on = True
            return "went on"
        if silent_ms >= BRIEF_SILENCE_MS:
            self._brief = True
            self._counted_from_ms = voiced_ms
            return "was brief"
        return ""
