"""A room with a loudspeaker, a microphone and a person in it, all of it computed.

What is played comes back late, coloured by a small loudspeaker and blurred by the walls; a person
speaks over it as loudly as a test wants. Everything follows from seeds. It runs as fast as the
machine does: ten minutes take seconds.
"""

from __future__ import annotations

import functools
import math
import shutil
import subprocess
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slng_edge.audio.far_end import FarEnd
from slng_edge.audio.resampling import Resampler
from slng_edge.listening.echo_coupling import NO_ECHO, EchoCoupling
from slng_edge.listening.vad_gate import Onset, SpeechBegan, VadGate
from slng_edge.listening.voice_detector import VoiceDetector

RATE_HZ = 16000
REPLY_DBFS = -24.0
"""Level of the replies while they speak, as they are played."""
FLITE_VOICES = ("slt", "rms", "awb", "kal16")
STANDING_FRAMES = 2
"""What stands in the device when a block is written (`audio.output_buffer_ms`, less a block)."""
Wave = NDArray[np.float64]

REPLIES = (
    "The weather today is sunny, with a light breeze from the west.",
    "You have three meetings this afternoon, the first one at half past two.",
    "I have set a timer for ten minutes.",
    "The capital of Australia is Canberra, not Sydney, as many people think.",
    "Sure, here is a recipe for pancakes: take two eggs, some flour, milk, and a pinch of salt.",
    "I am sorry, I did not understand that.",
    "Turning on the lights in the living room.",
    "Here is what I found about the history of the steam engine.",
    "It was improved by James Watt in the eighteenth century, and changed the world.",
    "Your shopping list has milk, bread, butter and apples on it.",
    "There is some traffic on the motorway, so leave a little earlier.",
    "The film starts at eight and lasts two hours.",
)
INTERRUPTIONS = (
    "Stop.",
    "Wait a moment.",
    "No, that is not what I meant.",
    "Turn off the lights please.",
    "What time is it?",
    "Hold on, play some music instead.",
    "Stop it please.",
    "Actually I wanted the other one.",
    "Quiet.",
    "Tell me about tomorrow.",
)


# Who speaks


@dataclass(frozen=True)
class Voices:
    """What there is to be said: sentences of replies, and interruptions, at 16 kHz."""

    replies: Sequence[Wave]
    interruptions: Sequence[Wave]


@functools.cache
def computed_voices() -> Voices:
    """Voices of pulses, noise and resonances: no words, but syllables, pitch and pauses."""
    return Voices(
        [_utterance(seed, 90 + 40 * (seed % 4), 2.0 + seed % 3) for seed in range(12)],
        [_utterance(100 + seed, 110 + 35 * (seed % 4), 0.5 + 0.2 * seed) for seed in range(10)],
    )


def _utterance(seed: int, pitch_hz: float, seconds: float) -> Wave:
    chance = np.random.default_rng(seed)
    sounds = []
    while sum(map(len, sounds)) < seconds * RATE_HZ:
        count = int(chance.uniform(0.08, 0.22) * RATE_HZ)
        t = np.arange(count) / RATE_HZ
        if chance.random() < 0.25:  # a fricative
            excitation = chance.standard_normal(count) * 0.15
            formants = [chance.uniform(3000, 6000)]
        else:
            hz = pitch_hz * chance.uniform(0.85, 1.2) * (1 + 0.1 * np.sin(2 * np.pi * 3 * t))
            phase = np.cumsum(hz) / RATE_HZ
            excitation = np.diff(np.floor(phase), prepend=0.0) * 4
            formants = [chance.uniform(*span) for span in ((300, 800), (900, 2200), (2300, 3300))]
        spectrum, hz_of = (
            np.fft.rfft(excitation, 2 * count),
            np.fft.rfftfreq(2 * count, 1 / RATE_HZ),
        )
        shape = sum(0.6**n / (1 + ((hz_of - f) / 90) ** 2) for n, f in enumerate(formants))
        sound = np.fft.irfft(spectrum * shape)[:count]
        sounds.append(sound * np.sin(np.pi * np.arange(count) / count) ** 0.5)
        sounds.append(np.zeros(int(chance.uniform(0.0, 0.08) * RATE_HZ)))
    return _at_level(np.concatenate(sounds), REPLY_DBFS)


def flite_missing() -> bool:
    """Whether flite's voices cannot be had here."""
    return shutil.which("flite") is None


@functools.cache
def flite_voices(folder: Path, count: int = len(FLITE_VOICES)) -> Voices:
    """`count` voices of flite, which is run for each sentence; its WAV files are in `folder`."""
    voices = FLITE_VOICES[:count]
    return Voices(
        [_flite(folder, v, n, text) for v in voices for n, text in enumerate(REPLIES)],
        [_flite(folder, v, 100 + n, text) for v in voices for n, text in enumerate(INTERRUPTIONS)],
    )


def _flite(folder: Path, voice: str, number: int, text: str) -> Wave:
    path = folder / f"{voice}-{number}.wav"
    if not path.exists():
        argv = ["flite", "-voice", voice, "-t", text, "-o", str(path)]
        subprocess.run(argv, check=True, timeout=20)
    return recording(path)


def recordings(folder: Path) -> Voices:
    """People: the long recordings are the replies, the short ones interrupt."""
    sounds = [recording(path) for path in sorted(folder.glob("*.wav"))]
    longest = [sound for sound in sounds if len(sound) > 3.2 * RATE_HZ]
    return Voices(longest, [sound for sound in sounds if len(sound) <= 3.2 * RATE_HZ])


def recording(path: Path) -> Wave:
    """The first channel of a 16-bit WAV, without the silence around it, at `REPLY_DBFS`."""
    with wave.open(str(path)) as reader:
        raw = np.frombuffer(reader.readframes(reader.getnframes()), dtype="<i2")
        raw = np.ascontiguousarray(raw.reshape(-1, reader.getnchannels())[:, 0])
        rate_hz = reader.getframerate()
    if rate_hz != RATE_HZ:
        resampler = Resampler(rate_hz, RATE_HZ)
        raw = np.concatenate([resampler.receive(raw), resampler.end()])
    samples = raw.astype(np.float64)
    loud = np.flatnonzero(np.abs(samples) > 0.1 * np.abs(samples).max())
    return _at_level(samples[loud[0] : loud[-1] + 1], REPLY_DBFS)


def _at_level(samples: Wave, dbfs: float) -> Wave:
    return samples * (32768 * 10 ** (dbfs / 20) / _active_rms(samples))


def _active_rms(samples: Wave) -> float:
    """Root mean square of what is within 25 dB of the loudest 20 ms."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    power = np.mean(frames**2, axis=1)
    return math.sqrt(float(np.mean(power[power > power.max() * 10**-2.5])))


# What is played, and what is heard


@dataclass(frozen=True)
class Evening:
    """Replies one after the other, and a person who may interrupt them.

    Attributes:
        far: What is played.
        near: What the person says, as loud as the replies are played.
        interruptions: First and last sample of each interruption.
    """

    far: Wave
    near: Wave
    interruptions: Sequence[tuple[int, int]]


def replies(
    voices: Voices, seconds: float, seed: int, *, interruptions: int = 0, learning_s: float = 10.0
) -> Evening:
    """Replies of one to three sentences, for so long, or until there were so many interruptions."""
    chance = np.random.default_rng(seed)
    pieces: list[Wave] = []
    spans: list[tuple[int, int]] = []
    speech: list[Wave] = []
    end = 0
    while end < seconds * RATE_HZ or len(spans) < interruptions:
        begin = end
        first = int(chance.integers(len(voices.replies)))
        for sentence in range(int(chance.integers(1, 4))):
            sound = voices.replies[(first + sentence) % len(voices.replies)]
            pieces += [sound, np.zeros(int(chance.uniform(0.1, 0.4) * RATE_HZ))]
            end += len(pieces[-1]) + len(sound)
        pieces.append(np.zeros(int(1.5 * RATE_HZ)))
        words = voices.interruptions[int(chance.integers(len(voices.interruptions)))]
        slack = end - begin - len(words) - RATE_HZ
        if len(spans) < interruptions and slack > 0 and begin > learning_s * RATE_HZ:
            at = begin + RATE_HZ // 2 + int(chance.uniform(0, slack))
            spans.append((at, at + len(words)))
            speech.append(words)
        end += len(pieces[-1])
    far = np.concatenate(pieces)
    near = np.zeros(len(far))
    for (at, stop), words in zip(spans, speech, strict=True):
        near[at:stop] = words
    return Evening(far, near, spans)


@dataclass(frozen=True)
class Room:
    """One loudspeaker and one microphone.

    Attributes:
        coupling_db: Level of the echo in the microphone against that of what is played.
        delay_ms: From a sample's playing to its being heard.
        reverberation_s: Until the room's answer has fallen by 60 dB.
        direct_db: Level of the direct sound against all that the walls send back.
        noise_dbfs: Level of the room's own noise.
        clipping: Share of full scale at which the loudspeaker is at its limit.
    """

    coupling_db: float = -10.0
    delay_ms: float = 80.0
    reverberation_s: float = 0.35
    direct_db: float = 3.0
    noise_dbfs: float = -60.0
    clipping: float = 1.0
    seed: int = 1

    def echo(self, far: Wave) -> Wave:
        """What comes back of `far`."""
        limit = self.clipping * 32768
        played = limit * np.tanh(far / limit)
        heard = _convolved(played, self._response())
        return heard * (_active_rms(far) / _active_rms(heard) * 10 ** (self.coupling_db / 20))

    def hear(self, evening: Evening, loudness_db: float = 0.0) -> NDArray[np.int16]:
        """What the microphone gives; the person is `loudness_db` louder there than the echo."""
        near = evening.near * 10 ** ((self.coupling_db + loudness_db) / 20)
        noise = np.random.default_rng(self.seed).standard_normal(len(near))
        noise *= 32768 * 10 ** (self.noise_dbfs / 20)
        heard = self.echo(evening.far) + near + noise
        return np.clip(np.rint(heard), -32768, 32767).astype(np.int16)

    def _response(self) -> Wave:
        count = int(self.reverberation_s * RATE_HZ)
        t = np.arange(count) / RATE_HZ
        walls = np.random.default_rng(self.seed + 1000).standard_normal(count)
        walls *= 10 ** (-3 * t / self.reverberation_s)
        walls[: RATE_HZ // 500] = 0
        walls *= 10 ** (-self.direct_db / 20) / math.sqrt(float(np.sum(walls**2)))
        walls[0] = 1
        # A small loudspeaker gives nothing below some 300 Hz.
        hz = np.fft.rfftfreq(2 * count, 1 / RATE_HZ)
        cut = (hz / 300) ** 2 / (1 + (hz / 300) ** 2)
        response = np.fft.irfft(np.fft.rfft(walls, 2 * count) * cut)[:count]
        return np.concatenate([np.zeros(int(self.delay_ms * RATE_HZ / 1000)), response])


def _convolved(samples: Wave, response: Wave) -> Wave:
    size = 1 << (len(samples) + len(response) - 1).bit_length()
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(samples)]


# Who listens


@dataclass
class Heard:
    """What the gate made of it.

    Attributes:
        own_openings_s: When it opened though nobody spoke.
        waits_ms: From each interruption's first sample to the gate's opening; None where it
            stayed shut.
        own_held_ms: How long after the end of an interruption it was still speech, at most.
    """

    own_openings_s: list[float] = field(default_factory=list)
    waits_ms: list[int | None] = field(default_factory=list)
    own_held_ms: int = 0

    def own_after(self, learning_s: float) -> int:
        """Own openings after the learning time."""
        return sum(at > learning_s for at in self.own_openings_s)

    @property
    def caught(self) -> list[int]:
        """The waits of those interruptions that were noticed."""
        return [wait for wait in self.waits_ms if wait is not None]


class Ear:
    """Gate, coupling and far end as in the loop, over a simulated room.

    Args:
        frame_ms: Length of the frames.
        onset: What it takes while a reply sounds.
        echo_aware: Without it the gate knows nothing of what is played.
        jitter_ms: Frames and blocks come so much earlier or later than they should.
        stalls: Share of the frames that come up to 200 ms late, and those after them in a burst.
    """

    def __init__(
        self,
        *,
        frame_ms: int = 20,
        onset: Onset | None = None,
        echo_aware: bool = True,
        jitter_ms: float = 5.0,
        stalls: float = 0.0,
    ) -> None:
        self.coupling = EchoCoupling(RATE_HZ, frame_ms, RATE_HZ)
        self.far_end = FarEnd(RATE_HZ, frame_ms)
        self.gate = VadGate(
            rate_hz=RATE_HZ,
            frame_ms=frame_ms,
            start_ms=60,
            stop_ms=600,
            preroll_ms=300,
            max_utterance_s=30,
            detector=VoiceDetector(2, RATE_HZ),
        )
        self._frame_ms = frame_ms
        self._onset = onset
        self._echo_aware = echo_aware
        self._jitter_s = jitter_ms / 1000
        self._stalls = stalls
        self._stalled_until_s = 0.0
        self._chance = np.random.default_rng(3)
        self._at_s = 0.0
        self.excesses_db: list[float] = []

    def hear(self, evening: Evening, microphone: NDArray[np.int16]) -> Heard:
        """Listen to all of it; what it opens for by itself is told to the coupling."""
        heard = Heard(waits_ms=[None] * len(evening.interruptions))
        size = RATE_HZ * self._frame_ms // 1000
        far = np.clip(np.rint(evening.far), -32768, 32767).astype(np.int16)
        waiting = list(enumerate(evening.interruptions))
        far = np.concatenate([far, np.zeros(STANDING_FRAMES * size, dtype=np.int16)])
        for start in range(0, len(microphone) - size + 1, size):
            end = start + size
            written = far[start + STANDING_FRAMES * size : end + STANDING_FRAMES * size]
            over_db = self._over_echo_db(written, microphone[start:end])
            self.excesses_db.append(over_db)
            while waiting and start > waiting[0][1][1] + RATE_HZ:
                waiting.pop(0)
            spoken = waiting and waiting[0][1][0] < end and start < waiting[0][1][1] + RATE_HZ // 5
            events = self.gate.receive_frame(microphone[start:end], self._onset, over_db)
            if any(isinstance(event, SpeechBegan) for event in events):
                if spoken:
                    if heard.waits_ms[waiting[0][0]] is None:
                        wait = (end - waiting[0][1][0]) * 1000 // RATE_HZ
                        heard.waits_ms[waiting[0][0]] = wait
                else:
                    heard.own_openings_s.append(end / RATE_HZ)
                    self.gate.end_input()
                    self.coupling.receive_own_interruption()
            if self.gate.speaking and waiting and end > waiting[0][1][1]:
                after_ms = (end - waiting[0][1][1]) * 1000 // RATE_HZ - self.gate.silent_ms
                heard.own_held_ms = max(heard.own_held_ms, after_ms)
            if not self.gate.speaking:
                self.coupling.learn()
        return heard

    def _over_echo_db(self, far: NDArray[np.int16], near: NDArray[np.int16]) -> float:
        if not self._echo_aware:
            return NO_ECHO
        standing_s = STANDING_FRAMES * self._frame_ms / 1000
        self.far_end.receive_block(far, self._at_s + standing_s + self._jitter())
        self._at_s += self._frame_ms / 1000
        now = self._at_s + self._jitter()
        if self._stalls and self._chance.random() < self._stalls:
            self._stalled_until_s = max(self._stalled_until_s, now + self._chance.uniform(0, 0.2))
        now = max(now, self._stalled_until_s)
        return self.coupling.receive_frame(near, self.far_end.powers(now))

    def _jitter(self) -> float:
        return float(self._chance.uniform(-self._jitter_s, self._jitter_s))
