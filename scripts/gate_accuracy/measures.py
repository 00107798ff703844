"""The gate on a sound, and what of it was given out and when."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from gate_accuracy.noises import noise_of
from gate_accuracy.recordings import RATE_HZ, Marks, Recording, Wave, stretches_of, utterances_of

from slng_edge.listening import noise_floor
from slng_edge.listening.noise_floor import NoiseFloor
from slng_edge.listening.vad_gate import Onset, SpeechBegan, SpeechContinued, SpeechStopped, VadGate
from slng_edge.listening.voice_detector import VoiceDetector
from slng_edge.pcm import FULL_SCALE, PcmFormat, Samples

LEARNING_S = 4.0
BEFORE_S = 6.0
AFTER_S = 3.0


@dataclass(frozen=True)
class GateSettings:
    """What the gate is made with; the defaults are those of `[vad]` and `audio.frame_ms`."""

    aggressiveness: int = 2
    start_ms: int = 60
    stop_ms: int = 600
    preroll_ms: int = 300
    frame_ms: int = 20
    floor_window_ms: int = noise_floor.WINDOW_MS

    def gate(self) -> VadGate:
        return VadGate(
            rate_hz=RATE_HZ,
            frame_ms=self.frame_ms,
            start_ms=self.start_ms,
            stop_ms=self.stop_ms,
            preroll_ms=self.preroll_ms,
            max_utterance_s=30,
            detector=VoiceDetector(self.aggressiveness, RATE_HZ),
            noise_floor=NoiseFloor(self.frame_ms, window_ms=self.floor_window_ms),
        )


@dataclass(frozen=True)
class GivenOut:
    """Which samples the gate gave out, and the ends of the frames where it opened and closed."""

    sent: Marks
    opened: list[int]
    closed: list[int]

    def open_at(self, sample: int) -> bool:
        """Whether the gate was open when that sample came."""
        return sum(at <= sample for at in self.opened) > sum(at <= sample for at in self.closed)


def frames_of(samples: Wave, frame_ms: int) -> Iterator[Samples]:
    size = PcmFormat(RATE_HZ).samples(frame_ms)
    whole = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    for start in range(0, len(whole) - size + 1, size):
        yield whole[start : start + size]


def given_out(samples: Wave, settings: GateSettings, onset: Onset | None = None) -> GivenOut:
    """What a new gate gives out of `samples`."""
    gate = settings.gate()
    size = PcmFormat(RATE_HZ).samples(settings.frame_ms)
    result = GivenOut(np.zeros(len(samples), dtype=np.bool_), [], [])
    end = 0
    for frame in frames_of(samples, settings.frame_ms):
        end += size
        for event in gate.receive_frame(frame, onset):
            if isinstance(event, SpeechBegan):
                result.sent[end - len(event.frames) * size : end] = True
                result.opened.append(end)
            elif isinstance(event, SpeechContinued):
                result.sent[end - size : end] = True
            elif isinstance(event, SpeechStopped):
                result.closed.append(end)
    return result


def mixed(
    recording: Recording,
    kind: str,
    snr_db: float | None,
    seed: int,
    gain_db: float,
    talkers: Sequence[Recording] = (),
) -> Recording:
    """The recording between pauses, in noise; None: the recording's own noise in the pauses."""
    before, after = int(BEFORE_S * RATE_HZ), int(AFTER_S * RATE_HZ)
    said = recording.samples * 10 ** (gain_db / 20)
    samples = np.pad(said, (before, after))
    speech = np.pad(recording.speech, (before, after))
    if snr_db is None:
        block = RATE_HZ // 50
        count = len(said) // block
        power = np.mean(said[: count * block].reshape(count, block) ** 2, axis=1)
        own = math.sqrt(float(np.percentile(power, 3))) + 1.0
        noise = noise_of("white", len(samples), own, seed)
        noise[before:-after] = 0
    else:
        rms = math.sqrt(float(np.mean(said[recording.speech] ** 2)))
        rms /= 10 ** (snr_db / 20)
        noise = noise_of(kind, len(samples), rms, seed, talkers)
    return Recording(recording.name, recording.speaker, recording.people, samples + noise, speech)


@dataclass
class Tally:
    """Sums over recordings in one noise; times in milliseconds."""

    speech: int = 0
    kept: int = 0
    people_speech: int = 0
    people_kept: int = 0
    silence: int = 0
    other: int = 0
    far: int = 0
    excess: int = 0
    utterances: int = 0
    missed: int = 0
    split: int = 0
    held: int = 0
    clipped_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    decided_ms: list[float] = field(default_factory=list)
    least: tuple[float, str] = (2.0, "")

    def add(self, heard: Recording, settings: GateSettings) -> None:
        """Sends one recording through a new gate."""
        result = given_out(heard.samples, settings)
        # The pauses count from where the room is known.
        counts = np.arange(len(heard.samples)) >= int(LEARNING_S * RATE_HZ)
        sent, speech = result.sent & counts, heard.speech
        kept = int(sent[speech].sum())
        self.speech += int(speech.sum())
        self.kept += kept
        if heard.people:
            self.people_speech += int(speech.sum())
            self.people_kept += kept
        self.least = min(self.least, (kept / int(speech.sum()), heard.name))
        self.silence += int((counts & ~speech).sum())
        self.other += int(sent[~speech].sum())
        pcm = PcmFormat(RATE_HZ)
        before = pcm.samples(settings.preroll_ms)
        after = pcm.samples(settings.stop_ms + settings.frame_ms)
        wanted = speech.copy()
        for left, right in stretches_of(speech):
            wanted[max(0, left - before) : right + after] = True
        self.far += int((counts & ~wanted).sum())
        self.excess += int(sent[~wanted].sum())
        self._add_utterances(heard, result, settings)

    def _add_utterances(self, heard: Recording, result: GivenOut, settings: GateSettings) -> None:
        utterances = utterances_of(heard.speech)
        ends = [*(left for left, _ in utterances[1:]), len(heard.samples)]
        ms = 1000 / RATE_HZ
        for (left, right), next_left in zip(utterances, ends, strict=True):
            self.utterances += 1
            inside = np.flatnonzero(result.sent[left:right])
            if not len(inside):
                self.missed += 1
                self.clipped_ms.append((right - left) * ms)
                continue
            self.clipped_ms.append(int(inside[0]) * ms)
            closed = [at for at in result.closed if left < at < next_left]
            opened = [at for at in result.opened if left < at < right]
            if opened and not result.open_at(left):
                self.decided_ms.append((opened[0] - left) * ms)
            # Cut in two, though the pre-roll may well have given out what was between.
            self.split += any(at < again for at in closed for again in opened)
            if not result.sent[right - 1]:
                closed = [at for at in closed if at < right]
            else:
                closed = [at for at in closed if at >= right][:1]
            if closed:
                self.late_ms.append((closed[-1] - right) * ms - settings.stop_ms)
            else:
                self.held += 1

    def include(self, other: Tally) -> None:
        """Adds the sums of another noise."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            total = min(mine, theirs) if each.name == "least" else mine + theirs
            setattr(self, each.name, total)

    def row(self) -> dict[str, object]:
        """Shares as fractions, times in ms."""
        return {
            "kept": self.kept / max(1, self.speech),
            "kept_people": self.people_kept / self.people_speech if self.people_speech else None,
            "other": self.other / max(1, self.silence),
            "excess": self.excess / max(1, self.far),
            "clipped_ms": spread_of(self.clipped_ms),
            "late_ms": spread_of(self.late_ms),
            "decided_ms": spread_of(self.decided_ms),
            "utterances": self.utterances,
            "missed": self.missed,
            "split": self.split,
            "held": self.held,
            "least_kept": self.least[0],
            "least_kept_name": self.least[1],
        }


def spread_of(values: list[float]) -> dict[str, float] | None:
    """Median, 95 % and the largest."""
    if not values:
        return None
    median, high = np.percentile(values, (50, 95))
    return {"median": float(median), "p95": float(high), "worst": max(values)}


def false_openings(
    kind: str,
    level_dbfs: float,
    settings: GateSettings,
    seconds: float,
    talkers: Sequence[Recording],
) -> tuple[float, float]:
    """Openings a minute, and the share given out, of a noise alone that the gate knows."""
    learning = int(10 * RATE_HZ)
    rms = FULL_SCALE * 10 ** (level_dbfs / 20)
    noise = noise_of(kind, learning + int(seconds * RATE_HZ), rms, 11, talkers)
    result = given_out(noise, settings)
    count = sum(at > learning for at in result.opened)
    return count * 60 / seconds, float(result.sent[learning:].mean())


def noise_that_begins(
    kind: str, settings: GateSettings, seconds: float, talkers: Sequence[Recording]
) -> tuple[float, float]:
    """Seconds given out of a noise that begins in a quiet room 30 dB below it, and the last."""
    lead = 5 * RATE_HZ
    quiet_rms = FULL_SCALE * 10 ** (-65 / 20)
    sound = noise_of("white", lead + int(seconds * RATE_HZ), quiet_rms, 3)
    rms = quiet_rms * 10 ** (30 / 20)
    sound[lead:] += noise_of(kind, len(sound) - lead, rms, 1, talkers)
    sent = given_out(sound, settings).sent[lead:]
    last_s = float(np.flatnonzero(sent)[-1] + 1) / RATE_HZ if sent.any() else 0.0
    return float(sent.sum()) / RATE_HZ, last_s
