"""Speech to measure with: many voices of the synthesizers that are here, or a signal like a voice.

Every clip begins with its first audible sample and is checked to open the gate.
"""

from __future__ import annotations

import io
import itertools
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from slng_edge.audio.wav_files import WavWriter
from slng_edge.benchmarks.figures import MeasurementFailed
from slng_edge.config import Config
from slng_edge.listening.vad_gate import SpeechBegan, VadGate
from slng_edge.listening.voice_detector import VoiceDetector
from slng_edge.pcm import FrameSplitter, PcmFormat, Samples, samples_of
from slng_edge.simulator.rate_conversion import convert_rate

RATE_HZ = 16000
SPEECH_PEAK = 12000
ROOM_DEVIATION = 15.0
"""Noise of a quiet room: -67 dBFS. Digital silence would spare the gate its work."""

FIRST_AUDIBLE = 0.03
"""Share of the peak at which a clip begins: 30 dB below it."""

PROGRAM_TIMEOUT_S = 20.0

SENTENCES = (
    "Stop, I want to ask something else.",
    "Wait a moment, that is not what I meant.",
    "Never mind, tell me about tomorrow.",
    "Okay thanks, and turn off the light.",
    "No, please play the other song.",
    "Hold on, when does the train leave?",
    "Actually, make that seven o'clock.",
)
ESPEAK_VOICES = tuple(
    f"{accent}+{variant}"
    for variant in ("f1", "m1", "f2", "m3", "f4", "m5", "f5", "m7")
    for accent in ("en-us", "en-gb", "en-gb-scotland")
)
FLITE_VOICES = ("slt", "awb", "kal16", "rms")


def clips(count: int, longest_s: float = 10.0) -> list[Samples]:
    """`count` utterances of different voices, 16 kHz mono, each of which opens the gate.

    Args:
        count: How many.
        longest_s: Where they are cut off.

    Raises:
        MeasurementFailed: fewer than half of those tried open the gate.
    """
    made: list[Samples] = []
    for tried, spoken in enumerate(_speakers(), start=1):
        clip = spoken[: round(longest_s * RATE_HZ)]
        if opens_gate(clip):
            made.append(clip)
        if len(made) == count:
            return made
        if tried > 2 * count:
            break
    raise MeasurementFailed("the speech that is made here does not open the gate")


def opens_gate(clip: Samples) -> bool:
    """Whether the gate, as configured by default, takes `clip` for speech."""
    gate = new_gate(VadGate, Config())
    frames = FrameSplitter(PcmFormat(RATE_HZ).samples(Config().audio.frame_ms))
    heard = np.concatenate((room(1.0), clip))
    return any(
        isinstance(event, SpeechBegan)
        for frame in frames.receive(heard)
        for event in gate.receive_frame(frame)
    )


def new_gate(kind: type[VadGate], config: Config) -> VadGate:
    """A gate of `kind` as the loop would build it from `config`."""
    vad = config.vad
    return kind(
        rate_hz=config.stt.sample_rate,
        frame_ms=config.audio.frame_ms,
        start_ms=vad.start_ms,
        stop_ms=vad.stop_ms,
        preroll_ms=vad.preroll_ms,
        max_utterance_s=vad.max_utterance_s,
        detector=VoiceDetector(vad.aggressiveness, config.stt.sample_rate),
    )


def room(seconds: float, seed: int = 1) -> Samples:
    """The noise of a quiet room."""
    noise = np.random.default_rng(seed).normal(0, ROOM_DEVIATION, round(seconds * RATE_HZ))
    return noise.astype(np.int16)


def running_speech(seconds: float) -> Samples:
    """Speech without a pause that would close the gate, at least so long."""
    parts: list[Samples] = []
    pause = room(0.15)
    for clip in itertools.cycle(clips(6)):
        parts += [clip, pause]
        if sum(map(len, parts)) >= seconds * RATE_HZ:
            return np.concatenate(parts)
    raise AssertionError("a cycle does not end")


def write_wav(path: Path, *parts: Samples, rate_hz: int = RATE_HZ) -> Path:
    """`parts`, one after the other, as a file; returns its path."""
    writer = WavWriter(str(path), rate_hz)
    writer.write(np.concatenate(parts))
    writer.close()
    return path


def _speakers() -> Iterator[Samples]:
    sentences = itertools.cycle(SENTENCES)
    voices: list[tuple[str, str]] = []
    if shutil.which("flite"):
        voices += [("flite", voice) for voice in FLITE_VOICES]
    if shutil.which("espeak-ng"):
        voices += [("espeak-ng", voice) for voice in ESPEAK_VOICES]
    for number in itertools.count():
        if voices:
            program, voice = voices[number % len(voices)]
            yield _trimmed(_spoken(program, voice, next(sentences)))
        else:
            yield _trimmed(_voiced(number))


def _spoken(program: str, voice: str, text: str) -> Samples:
    try:
        if program == "espeak-ng":
            command = ["espeak-ng", "--stdout", "-v", voice, "-s", "165", text]
            data = subprocess.run(
                command, capture_output=True, timeout=PROGRAM_TIMEOUT_S, check=True
            ).stdout
        else:
            # flite seeks back to fill in its header, so it cannot write into a pipe.
            with tempfile.TemporaryDirectory(prefix="slng-edge-") as folder:
                target = Path(folder) / "speech.wav"
                subprocess.run(
                    ["flite", "-voice", voice, "-t", text, "-o", str(target)],
                    capture_output=True,
                    timeout=PROGRAM_TIMEOUT_S,
                    check=True,
                )
                data = target.read_bytes()
        with wave.open(io.BytesIO(data)) as reader:
            own_hz = reader.getframerate()
            # espeak-ng does not know the length when it writes the header.
            pcm = reader.readframes(len(data) // 2)
    except (OSError, subprocess.SubprocessError, wave.Error, EOFError) as error:
        raise MeasurementFailed(f"{program} made no speech: {error}") from error
    return convert_rate(samples_of(pcm[: len(pcm) & ~1]), own_hz, RATE_HZ)


def _voiced(number: int) -> Samples:
    """1.5 s like a voice: harmonics of a gliding pitch under two formants, in syllables."""
    t = np.arange(round(1.5 * RATE_HZ)) / RATE_HZ
    pitch_hz = (90 + 15 * (number % 10)) * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * t))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    sound = np.zeros_like(t)
    for harmonic in range(1, 25):
        hz = harmonic * (90 + 15 * (number % 10))
        gain = np.exp(-(((hz - 600) / 300) ** 2)) + 0.5 * np.exp(-(((hz - 1500) / 400) ** 2))
        sound += gain * np.sin(harmonic * phase)
    sound *= 0.3 + 0.7 * np.abs(np.sin(2 * np.pi * 2.0 * t + 0.5))
    samples: Samples = (sound / np.abs(sound).max() * SPEECH_PEAK).astype(np.int16)
    return samples


def _trimmed(samples: Samples) -> Samples:
    """From the first to the last audible sample, at `SPEECH_PEAK`, in the room."""
    peak = int(np.abs(samples.astype(np.int32)).max())
    if not peak:
        raise MeasurementFailed("the synthesizer gave silence")
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) >= FIRST_AUDIBLE * peak)
    cut = samples[loud[0] : loud[-1] + 1]
    louder: Samples = (cut * (SPEECH_PEAK / peak)).astype(np.int16)
    # The room is there while somebody speaks, too; without it the noise floor would fall.
    return louder + room(len(louder) / RATE_HZ, seed=2)
