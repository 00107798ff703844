"""How much of people's speech the gate lets through, and how much else.

Every recording is put between six seconds of noise before and two after it, and mixed with noise
over its whole length. What is labelled as speech is counted apart from the rest. The first four
seconds, in which the gate learns the room, do not count.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slng_edge.audio.resampling import STORED, Resampler
from slng_edge.audio.wav_files import read_wav
from slng_edge.benchmarks import speech
from slng_edge.benchmarks.figures import Figure, MeasurementFailed, Plan, figure
from slng_edge.benchmarks.microphone_path import local_config
from slng_edge.listening.vad_gate import SpeechBegan, SpeechContinued, VadGate
from slng_edge.pcm import PcmFormat, Samples

ROWS = ("speech_kept", "speech_kept_5db", "other_sent")

RATE_HZ = speech.RATE_HZ
LEARNING_S = 4.0
BEFORE_S = 6.0
AFTER_S = 2.0
VOICES = 12
NOISES = ("white", "pink")
MOST_SEEDS = 3

Wave = NDArray[np.float64]
Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class Recording:
    """Mono samples at 16 kHz, and which of them are speech."""

    name: str
    samples: Wave
    speech: Marks


@dataclass
class Counted:
    """Samples of recordings, and how many of them were given out."""

    speech: int = 0
    speech_sent: int = 0
    other: int = 0
    other_sent: int = 0

    def add(self, recording: Recording, sent: Marks) -> None:
        """Count `recording` in, of which the gate gave out `sent`."""
        counts = slice(round(LEARNING_S * RATE_HZ), None)
        spoken, sent = recording.speech[counts], sent[counts]
        self.speech += int(spoken.sum())
        self.speech_sent += int((sent & spoken).sum())
        self.other += int((~spoken).sum())
        self.other_sent += int((sent & ~spoken).sum())

    @property
    def kept(self) -> float:
        """Percent of the speech that was given out."""
        return 100 * self.speech_sent / self.speech

    @property
    def other_share(self) -> float:
        """Percent of all else that was."""
        return 100 * self.other_sent / self.other


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return 3.0 * min(plan.repeat, MOST_SEEDS) + 3


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """Shares of speech and of all else that are sent, at 20, 10 and 5 dB."""
    recordings, whose = _recordings(plan.speech)
    counted: dict[tuple[str, float], Counted] = {}
    for snr_db, kind in itertools.product((20.0, 10.0, 5.0), NOISES):
        plan.progress(f"speech in {kind} noise, {snr_db:g} dB")
        case = counted[kind, snr_db] = Counted()
        for recording, seed in itertools.product(recordings, range(min(plan.repeat, MOST_SEEDS))):
            noisy = mixed(recording, kind, snr_db, seed)
            case.add(noisy, sent_of(noisy, speech.new_gate(VadGate, local_config())))
    loud = [case.kept for (_, snr_db), case in counted.items() if snr_db >= 10]
    faint = [case.kept for (_, snr_db), case in counted.items() if snr_db < 10]
    method = f"{whose}, in white and pink noise"
    figures = {
        "speech_kept": figure(
            "speech_kept",
            f"labelled speech samples that the gate gives out: {method} at 20 and 10 dB; the "
            "worst of the four",
            "%",
            loud,
            at_least=99.5,
            statistic="min",
            note="; ".join(
                f"{kind} {snr_db:g} dB {case.kept:.2f} %"
                for (kind, snr_db), case in counted.items()
            ),
        ),
        "speech_kept_5db": figure(
            "speech_kept_5db", f"the same at 5 dB: {method}", "%", faint, statistic="min"
        ),
        "other_sent": figure(
            "other_sent",
            "samples that are no speech and are given out, pre-roll and the wait for its end "
            f"included: {method} at 20, 10 and 5 dB",
            "%",
            [case.other_share for case in counted.values()],
        ),
    }
    return [figures[name] for name in ROWS if name in wanted]


def read_recording(path: Path) -> Recording:
    """A WAV file's first channel; its speech is what the `.lab` file beside it says, or the level.

    Raises:
        InputFileError: it cannot be read.
    """
    rate_hz, _, read = read_wav(str(path))
    resampler = Resampler(rate_hz, RATE_HZ, STORED)
    mono = np.ascontiguousarray(read[:, 0])
    samples = np.concatenate((resampler.receive(mono), resampler.end())).astype(np.float64)
    lab = path.with_suffix(".lab")
    marks = labels_of(lab, len(samples)) if lab.exists() else speech_by_level(samples)
    return Recording(path.stem, samples, marks)


def labels_of(path: Path, length: int) -> Marks:
    """What lines of `time time label` say: from that time (seconds) on it is `label`."""
    marks = np.zeros(length, dtype=np.bool_)
    for line in path.read_text(encoding="utf-8").splitlines():
        start_s, _, label = line.split()
        marks[int(float(start_s) * RATE_HZ) :] = label == "speech"
    return marks


def speech_by_level(samples: Wave) -> Marks:
    """Every stretch within 30 dB of the loud parts and 12 dB over the recording's own noise.

    Gaps of up to 300 ms are closed; what is then shorter than 200 ms does not count.
    """
    block = RATE_HZ // 100
    count = len(samples) // block
    power = np.mean(samples[: count * block].reshape(count, block) ** 2, axis=1)
    level_db = 10 * np.log10(power + 1e-3)
    sounding = level_db[power > 1]
    marks = np.zeros(len(samples), dtype=np.bool_)
    if not len(sounding):
        return marks
    loud = level_db > max(np.percentile(sounding, 95) - 30, np.percentile(sounding, 10) + 12)
    for left, right in stretches_of(loud):
        if right - left < 4:
            loud[left:right] = False
    for left, right in itertools.pairwise(np.flatnonzero(loud).tolist()):
        if right - left <= 30:
            loud[left:right] = True
    for left, right in stretches_of(loud):
        if right - left < 20:
            loud[left:right] = False
    marks[: count * block] = np.repeat(loud, block)
    return marks


def stretches_of(marks: Marks) -> list[tuple[int, int]]:
    """Where each run of True begins and ends."""
    edges = np.flatnonzero(np.diff(np.pad(marks, 1).astype(np.int8)))
    return [(int(left), int(right)) for left, right in zip(edges[::2], edges[1::2], strict=True)]


def noise_of(kind: str, length: int, rms: float, seed: int) -> Wave:
    """`white` or `pink` noise; pink without what is below 50 Hz, which no microphone hears."""
    noise = np.random.default_rng(seed).standard_normal(length)
    if kind == "pink":
        spectrum = np.fft.rfft(noise)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        spectrum[: int(50 * length / RATE_HZ)] = 0
        noise = np.fft.irfft(spectrum, length)
    return noise * (rms / math.sqrt(float(np.mean(noise**2))))


def mixed(recording: Recording, kind: str, snr_db: float, seed: int) -> Recording:
    """`recording` in noise, `snr_db` below its labelled speech; noise alone before and after."""
    before, after = int(BEFORE_S * RATE_HZ), int(AFTER_S * RATE_HZ)
    samples = np.pad(recording.samples, (before, after))
    rms = math.sqrt(float(np.mean(recording.samples[recording.speech] ** 2)))
    noise = noise_of(kind, len(samples), rms / 10 ** (snr_db / 20), seed)
    return Recording(recording.name, samples + noise, np.pad(recording.speech, (before, after)))


def sent_of(recording: Recording, gate: VadGate, frame_ms: int = 20) -> Marks:
    """Which samples `gate`, made for frames of `frame_ms`, gives out."""
    size = PcmFormat(RATE_HZ).samples(frame_ms)
    sent = np.zeros(len(recording.samples), dtype=np.bool_)
    end = 0
    for frame in frames_of(recording.samples, size):
        end += size
        for event in gate.receive_frame(frame):
            if isinstance(event, SpeechBegan):
                sent[end - len(event.frames) * size : end] = True
            elif isinstance(event, SpeechContinued):
                sent[end - size : end] = True
    return sent


def frames_of(samples: Wave, size: int) -> Iterator[Samples]:
    """Frames of `size` samples, as a microphone would give them; no part of one at the end."""
    whole = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    for start in range(0, len(whole) - size + 1, size):
        yield whole[start : start + size]


def _recordings(folder: Path | None) -> tuple[list[Recording], str]:
    """Those with speech in them, and whose they are."""
    if folder is None:
        voices = [clip.astype(np.float64) for clip in speech.clips(VOICES)]
        made = [
            Recording(f"voice {number}", voice, speech_by_level(voice))
            for number, voice in enumerate(voices)
        ]
        return made, f"{len(made)} synthetic voices (`--speech DIR` takes recordings)"
    read = [read_recording(path) for path in sorted(folder.glob("*.wav"))]
    spoken = [recording for recording in read if recording.speech.any()]
    if not spoken:
        raise MeasurementFailed(f"no WAV file with speech in {folder}")
    return spoken, f"{len(spoken)} recordings of --speech {folder.name}"
