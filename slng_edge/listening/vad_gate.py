"""Which frames are part of an utterance, pure: frames in, events out.

The gate is closed until a share of the frames of a short window is speech (the onset rule).
It then gives out the pre-roll, the frames of the onset, and every frame until there has been
silence for `stop_ms`, or until the utterance has the greatest length that is allowed.

A frame is speech where the detector says so *and* it stands out from the noise floor: the
detector alone takes every loud noise and tone for speech. The floor follows the room, so a
fan that starts is speech for about as long as the floor looks back, and no longer. A frame that is
much quieter than what came before it is no speech either: that is how a key or a cup dies away.
While the device's own sound is in the air a frame has to stand out from its echo too, to open the
gate and to hold it open.

No frame is given out twice and none is skipped within an utterance; an utterance that begins
where another was capped goes on with the very next frame.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Protocol, TypeAlias

from slng_edge.listening.echo_coupling import NO_ECHO
from slng_edge.listening.noise_floor import NoiseFloor
from slng_edge.pcm import SILENCE_DBFS, Samples, level_dbfs

ONSET_SHARE = 0.8
"""Share of speech frames in the onset window: webrtcvad drops single frames in running speech,
and a window of 200 ms has to be decided within 200 ms of its first frame."""
OPEN_MARGIN_DB = 6.0
"""What a frame has to stand out from the floor to open the gate. At 4 dB pink noise opens it,
at 8 dB speech at 5 dB over the noise is lost (scripts/evaluate-gate)."""
HOLD_MARGIN_DB = 3.0
"""What keeps it open: less, so that the faint end of a word is not taken for silence."""
ECHO_OPEN_MARGIN_DB = 3.5
"""What a frame has to exceed the expected echo by (`EchoCoupling`) to open the gate. In four
rooms three frames of echo in a row never exceeded it by more than 2.7 dB (5 min of flite each,
-20 to +6 dB of coupling); at 5 dB 119 of 160 interruptions at equal loudness are noticed instead
of 145 (scripts/evaluate-echo --open-margin-db)."""
ECHO_HOLD_MARGIN_DB = 2.5
"""What keeps it open, while the sound of a reply that was paused dies away."""
FALL_DB = 8.0
"""A frame that is so much quieter than the one `FALL_MS` before it is no speech. Without it four
clicks a second of 2 to 15 ms keep the gate open nearly all the time; at 6 dB no fewer of them open
it, and speech loses nothing at 8 (scripts/evaluate-gate --fall-db)."""
FALL_MS = 20
"""What is compared is so far apart: with 10 ms frames the pulses of a deep voice fall as much."""
HOLD_MASK = 0b11
"""While the gate is open a speech frame counts where one of so many before it was one too."""
LONGEST_ONSET_MS = 5000
"""The history that an onset may ask for."""

StopReason: TypeAlias = Literal["silence", "cap", "input_ended"]


class SpeechDetector(Protocol):
    """What says whether one frame sounds like a voice (`VoiceDetector`)."""

    def is_speech(self, frame: Samples) -> bool:
        """Whether `frame` is speech; called once for every frame, in order."""


@dataclass(frozen=True)
class Onset:
    """What it takes to open the gate.

    Attributes:
        speech_ms: Length of the window that has to be filled with speech.
        extra_db: Added to the margin over the noise floor; the device's own reply is louder
            than the room, and must not open the gate.

    Raises:
        ValueError: `speech_ms` is not within 1 and 5000.
    """

    speech_ms: int
    extra_db: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.speech_ms <= LONGEST_ONSET_MS:
            raise ValueError(f"an onset of {self.speech_ms} ms is not within 1 and 5000 ms")


@dataclass(frozen=True)
class SpeechBegan:
    """The gate opened.

    Attributes:
        frames: Pre-roll and onset up to the frame just received, in order; not copied.
        preroll_ms: Sound in `frames` before the first frame of the onset.
    """

    frames: tuple[Samples, ...]
    preroll_ms: int


@dataclass(frozen=True)
class SpeechContinued:
    """One more frame of the utterance, hangover included."""

    frame: Samples


@dataclass(frozen=True)
class SpeechStopped:
    """The gate closed.

    Attributes:
        duration_ms: From the first sample given out to the last, pre-roll and hangover included.
        reason: Silence for `stop_ms`, the cap on an utterance, or the end of the input.
        silence_ms: Sound given out after the last speech frame.
    """

    duration_ms: int
    reason: StopReason
    silence_ms: int


GateEvent: TypeAlias = SpeechBegan | SpeechContinued | SpeechStopped


class VadGate:
    """Opens on speech and closes on silence. One thread: the one that reads the microphone.

    Args:
        rate_hz: Rate of the frames.
        frame_ms: Length of each frame: 10, 20 or 30 ms.
        start_ms: Speech needed to open the gate, unless `receive_frame` is told otherwise.
        stop_ms: Silence that closes it.
        preroll_ms: Sound before the onset that is given out as well.
        max_utterance_s: The longest utterance, whatever the detector says.
        detector: Says whether a frame sounds like a voice.
        noise_floor: Follows the room; a new one where None.
    """

    def __init__(
        self,
        *,
        rate_hz: int,
        frame_ms: int,
        start_ms: int,
        stop_ms: int,
        preroll_ms: int,
        max_utterance_s: float,
        detector: SpeechDetector,
        noise_floor: NoiseFloor | None = None,
    ) -> None:
        self._frame_samples = rate_hz * frame_ms // 1000
        self._frame_ms = frame_ms
        self._normal = Onset(max(1, start_ms))
        self._normal_mask = (1 << self._window_frames(self._normal)) - 1
        self._stop_frames = max(1, -(-stop_ms // frame_ms))
        self._preroll_frames = -(-preroll_ms // frame_ms)
        self._cap_frames = max(1, int(max_utterance_s * 1000) // frame_ms)
        self._detector = detector
        self._floor = NoiseFloor(frame_ms) if noise_floor is None else noise_floor
        history_frames = -(-LONGEST_ONSET_MS // frame_ms)
        self._history_mask = (1 << history_frames) - 1
        self._waiting: deque[Samples] = deque(maxlen=self._preroll_frames + history_frames)
        # The last speech decisions, newest in the lowest bit: shifting and counting bits is
        # the cheapest sliding window there is, and the window's length may change any time.
        self._marks = 0
        self._sent_frames = 0
        self._silent_frames = 0
        self._voiced_frames = 0
        self._level_dbfs = SILENCE_DBFS
        compared = max(1, FALL_MS // frame_ms)
        self._levels_before = deque([SILENCE_DBFS] * compared, maxlen=compared)
        self._falling = False

    @property
    def speaking(self) -> bool:
        """Whether the gate is open."""
        return self._sent_frames > 0

    @property
    def voiced_ms(self) -> int:
        """Speech in the utterance so far, from its onset on; 0 while the gate is closed."""
        return self._voiced_frames * self._frame_ms

    @property
    def silent_ms(self) -> int:
        """Sound since the last speech of the utterance; 0 while the gate is closed."""
        return self._silent_frames * self._frame_ms

    @property
    def quiet(self) -> bool:
        """Whether the gate is closed and no frame of the last `start_ms` was speech."""
        return not self._sent_frames and not self._marks & self._normal_mask

    @property
    def level_dbfs(self) -> float:
        """Level of the last frame, dB relative to full scale."""
        return self._level_dbfs

    @property
    def floor_dbfs(self) -> float:
        """The noise floor, dB relative to full scale."""
        return self._floor.dbfs

    def receive_frame(
        self, frame: Samples, onset: Onset | None = None, over_echo_db: float = NO_ECHO
    ) -> list[GateEvent]:
        """Take the next frame; returns what follows from it, mostly nothing.

        Args:
            frame: int16, `frame_ms` long. It is kept, not copied.
            onset: What it takes to open the gate now; None for `start_ms`.
            over_echo_db: How far the frame exceeds the echo that is expected
                (`EchoCoupling.receive_frame`); `NO_ECHO` while the device is silent.

        Raises:
            ValueError: the frame has another length.
        """
        level = self._receive_level(frame)
        # The floor is that of the room, not of what the device says into it.
        floor = self._floor.receive_level(level) if over_echo_db == NO_ECHO else self._floor.dbfs
        # Asked for every frame, quiet ones too: the detector learns the noise from those.
        voiced = self._detector.is_speech(frame) and not self._falling
        if self._sent_frames:
            voiced = voiced and over_echo_db >= ECHO_HOLD_MARGIN_DB
            return self._while_open(frame, voiced and level - floor >= HOLD_MARGIN_DB)
        voiced = voiced and over_echo_db >= ECHO_OPEN_MARGIN_DB
        return self._while_closed(frame, voiced, level - floor, onset or self._normal)

    def observe(self, frame: Samples, over_echo_db: float = NO_ECHO) -> list[GateEvent]:
        """Take the next frame and stay shut: asleep, or half duplex while a reply sounds.

        Level, noise floor and detector follow the room, as in `receive_frame`; nothing of what
        is heard goes into a later utterance.

        Returns:
            The end of an utterance that was open, else nothing.

        Raises:
            ValueError: the frame has another length.
        """
        level = self._receive_level(frame)
        if over_echo_db == NO_ECHO:
            self._floor.receive_level(level)
        self._detector.is_speech(frame)
        return self.end_input()

    def _receive_level(self, frame: Samples) -> float:
        if len(frame) != self._frame_samples:
            raise ValueError(f"a frame of {len(frame)} samples, not {self._frame_samples}")
        self._level_dbfs = level = level_dbfs(frame)
        self._falling = level < self._levels_before[0] - FALL_DB
        self._levels_before.append(level)
        return level

    def end_input(self) -> list[GateEvent]:
        """No frame follows that belongs to these: file ended, muted, device lost.

        Ends an open utterance and forgets the pre-roll. The gate can be used again.
        """
        if self._sent_frames:
            return [self._stop("input_ended")]
        self._waiting.clear()
        self._marks = 0
        return []

    def _while_closed(
        self, frame: Samples, voiced: bool, above_db: float, onset: Onset
    ) -> list[GateEvent]:
        self._waiting.append(frame)
        speech = voiced and above_db >= OPEN_MARGIN_DB + onset.extra_db
        self._marks = ((self._marks << 1) | speech) & self._history_mask
        if not speech:
            return []
        window_frames = self._window_frames(onset)
        window = self._marks & ((1 << window_frames) - 1)
        if window.bit_count() < ONSET_SHARE * window_frames:
            return []
        # The onset begins with the window's first speech frame; all before it is pre-roll.
        onset_frames = window.bit_length()
        count = min(len(self._waiting), self._preroll_frames + onset_frames)
        # Not tuple(...): CPython makes that of an iterator without knowing its length, and keeps
        # it when it is freed, up to 2,000 of each length, for those whose length is known.
        frames = (*islice(self._waiting, len(self._waiting) - count, None),)
        self._waiting.clear()
        self._sent_frames = count
        self._voiced_frames = window.bit_count()
        events: list[GateEvent] = [SpeechBegan(frames, (count - onset_frames) * self._frame_ms)]
        if count >= self._cap_frames:
            events.append(self._stop("cap"))
        return events

    def _window_frames(self, onset: Onset) -> int:
        return max(1, -(-onset.speech_ms // self._frame_ms))

    def _while_open(self, frame: Samples, speech: bool) -> list[GateEvent]:
        self._sent_frames += 1
        # A single frame that stands out is a click or a crest of the noise, and would keep an
        # ended utterance open for another `stop_ms`.
        before = self._marks & HOLD_MASK
        self._marks = ((self._marks << 1) | speech) & self._history_mask
        if speech and before:
            self._silent_frames = 0
            self._voiced_frames += 1
        else:
            self._silent_frames += 1
        events: list[GateEvent] = [SpeechContinued(frame)]
        # A word that sets in with the last frame of the hangover is not cut off either.
        if self._silent_frames >= self._stop_frames and not speech:
            events.append(self._stop("silence"))
        elif self._sent_frames >= self._cap_frames:
            events.append(self._stop("cap"))
        return events

    def _stop(self, reason: StopReason) -> SpeechStopped:
        stopped = SpeechStopped(
            duration_ms=self._sent_frames * self._frame_ms,
            reason=reason,
            silence_ms=self._silent_frames * self._frame_ms,
        )
        self._sent_frames = 0
        self._silent_frames = 0
        self._voiced_frames = 0
        self._marks = 0
        return stopped
