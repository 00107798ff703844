"""From microphone frames to the speech-to-text outbox, on the capture thread.

Everything here is quick: the gate decides on the frame, the session queues its bytes, and the
conversation is told of beginnings and ends. Nothing is queued in silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from slng_edge.config import Config
from slng_edge.listening.vad_gate import (
    Onset,
    SpeechBegan,
    SpeechContinued,
    SpeechStopped,
    VadGate,
)
from slng_edge.listening.voice_detector import VoiceDetector
from slng_edge.pcm import Samples

ECHO_MARGIN_DB = 6.0
"""While a reply sounds speech has to stand out this much more, so that its echo does not."""

ECHO_HANGOVER_S = 0.3
"""The room goes on sounding after the last sample was played."""

TICK_S = 1.0


@dataclass(frozen=True)
class UtteranceBegan:
    """Somebody speaks; times of this module are `time.monotonic()`."""

    utterance: int
    preroll_ms: int


@dataclass(frozen=True)
class UtteranceEnded:
    """The gate closed at `at`; all audio of the utterance is queued."""

    utterance: int
    duration_ms: int
    at: float


@dataclass(frozen=True)
class FramesFlow:
    """Frames have come through for another second: the loop is not deaf."""

    level_dbfs: float
    floor_dbfs: float


@dataclass(frozen=True)
class InputAwaited:
    """Another second without a device, in which it was looked for: not deaf by mistake."""


@dataclass(frozen=True)
class InputEnded:
    """The input was a file and has ended."""


HearingEvent: TypeAlias = UtteranceBegan | UtteranceEnded | FramesFlow | InputAwaited | InputEnded


class Outbox(Protocol):
    """What hearing needs of a speech-to-text session."""

    def open_utterance(self) -> int: ...
    def add_audio(self, utterance: int, samples: bytes) -> None: ...
    def end_utterance(self, utterance: int, now: float) -> None: ...


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
    """Runs the gate and fills the outbox. Called by the capture thread alone.

    Args:
        gate: Decides when somebody speaks.
        outbox: Where the speech goes.
        sounding: Says whether reply sound is in the air now.
        barge_in_ms: Speech needed while a reply sounds; None where speech does not
            interrupt: then the gate stays shut until the reply has died away.
        post: Gets `HearingEvent`s; must not wait.
    """

    def __init__(
        self,
        gate: VadGate,
        outbox: Outbox,
        *,
        sounding: Callable[[], bool],
        barge_in_ms: int | None,
        post: Callable[[HearingEvent], None],
    ) -> None:
        self._gate = gate
        self._outbox = outbox
        self._sounding = sounding
        self._barge_in = None if barge_in_ms is None else Onset(barge_in_ms, ECHO_MARGIN_DB)
        self._post = post
        self._utterance = 0
        self._echo_until = 0.0
        self._tick_at = 0.0

    def receive_frame(self, frame: Samples) -> None:
        """Take the next frame of the microphone."""
        now = time.monotonic()
        if now >= self._tick_at:
            self._tick_at = now + TICK_S
            self._post(FramesFlow(self._gate.level_dbfs, self._gate.floor_dbfs))
        onset = None
        if not self._gate.speaking and self._reply_in_the_air(now):
            if self._barge_in is None:
                self._gate.end_input()
                return
            onset = self._barge_in
        for event in self._gate.receive_frame(frame, onset):
            match event:
                case SpeechBegan(frames, preroll_ms):
                    self._utterance = self._outbox.open_utterance()
                    # Before the audio: words of it must not be told before it has begun.
                    self._post(UtteranceBegan(self._utterance, preroll_ms))
                    self._outbox.add_audio(
                        self._utterance, b"".join(frame.tobytes() for frame in frames)
                    )
                case SpeechContinued(frame):
                    self._outbox.add_audio(self._utterance, frame.tobytes())
                case SpeechStopped():
                    self._stop(event, now)

    @property
    def idle(self) -> bool:
        """Whether nobody speaks and no reply sounds: frames may then come two at a time."""
        return self._gate.quiet and time.monotonic() >= self._echo_until

    def receive_gap(self) -> None:
        """What follows does not belong to what came: the device was lost."""
        now = time.monotonic()
        for event in self._gate.end_input():
            if isinstance(event, SpeechStopped):
                self._stop(event, now)

    def receive_wait(self) -> None:
        """Another second has passed without a device."""
        self._post(InputAwaited())

    def receive_end(self) -> None:
        """The input has ended: an open utterance ends as by silence."""
        self.receive_gap()
        self._post(InputEnded())

    def _reply_in_the_air(self, now: float) -> bool:
        if self._sounding():
            self._echo_until = now + ECHO_HANGOVER_S
        return now < self._echo_until

    def _stop(self, stopped: SpeechStopped, now: float) -> None:
        # In this order: its words must not be told before its end.
        self._post(UtteranceEnded(self._utterance, stopped.duration_ms, now))
        self._outbox.end_utterance(self._utterance, now)
