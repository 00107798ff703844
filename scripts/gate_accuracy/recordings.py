"""Speech with labels: recordings of people, and voices of flite and espeak-ng in a quiet room."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16000
Wave: TypeAlias = NDArray[np.float64]
Marks: TypeAlias = NDArray[np.bool_]

SENTENCES = (
    "turn on the light in the kitchen",
    "what time does the next bus leave, and how long does it take?",
    "stop",
    "she sells fresh fish in the shop by the sea",
    "no, thanks",
    "please set a timer for fifteen minutes, then call my sister",
)
FLITE = ("awb", "kal16", "rms", "slt")
ESPEAK = (
    *("en-us", "en-us+f2", "en-us+m7", "en-gb", "en-gb+f4", "en-gb-scotland+m3"),
    *("en-gb-x-rp+f1", "en-us+klatt2", "en-029+m5", "en-us+Annie"),
)
PAUSE_S = 2.0
ROOM_RMS = 26.0
"""-62 dBFS: about 40 dB below the voices, as a recording in a quiet room has it."""


@dataclass(frozen=True)
class Recording:
    """Mono samples at 16 kHz, and which of them are speech.

    `speaker` decides in which half of the recordings it is; `people`: not synthesized.
    """

    name: str
    speaker: str
    people: bool
    samples: Wave
    speech: Marks


def recordings_of_people(folder: Path) -> list[Recording]:
    """Every WAV in `folder`; what stands before the first `-` of a name is the speaker's."""
    found = []
    for path in sorted(folder.glob("*.wav")):
        samples = read_wave(path)
        lab = path.with_suffix(".lab")
        speech = labels_of(lab, len(samples)) if lab.exists() else speech_by_level(samples)
        found.append(Recording(path.stem, path.stem.split("-")[0], True, samples, speech))
    return found


def synthesized_recordings() -> list[Recording]:
    """Three of the sentences by each voice, with pauses of two seconds in a quiet room."""
    voices = [("flite", name) for name in FLITE] + [("espeak-ng", name) for name in ESPEAK]
    for program in ("flite", "espeak-ng"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is missing: apt-get install {program}, or --voices people")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "said.wav"
        for index, (program, voice) in enumerate(voices):
            said: list[Wave] = []
            for number in range(3):
                text = SENTENCES[(2 * index + number) % len(SENTENCES)]
                if program == "flite":
                    argv = ["flite", "-voice", voice, "-t", text, "-o", str(target)]
                else:
                    argv = ["espeak-ng", "-v", voice, "-s", str(145 + 15 * (index % 4))]
                    argv += ["-w", str(target), text]
                subprocess.run(argv, check=True, capture_output=True)
                said += [read_wave(target), np.zeros(int(PAUSE_S * RATE_HZ))]
            samples = np.concatenate(said[:-1])
            # The labels are those of the voice alone; the room comes after.
            speech = speech_by_level(samples)
            room = np.random.default_rng(index).standard_normal(len(samples)) * ROOM_RMS
            found.append(Recording(f"{program} {voice}", voice, False, samples + room, speech))
    return found


def half_of(recordings: list[Recording], half: str) -> list[Recording]:
    """The recordings of every second speaker: `choose` the first, third ..., `report` the others.

    People and synthesized voices are divided each by themselves, by the speakers' names.
    """
    if half == "all":
        return recordings
    kept: set[tuple[bool, str]] = set()
    for people in (True, False):
        speakers = sorted({r.speaker for r in recordings if r.people == people})
        kept.update((people, name) for name in speakers[0 if half == "choose" else 1 :: 2])
    return [r for r in recordings if (r.people, r.speaker) in kept]


def read_wave(path: Path) -> Wave:
    """The first channel of a 16-bit WAV at 16 kHz."""
    with wave.open(str(path)) as reader:
        if reader.getsampwidth() != 2:
            raise SystemExit(f"{path} is not of 16 bits; sox {path} -b 16 OTHER.wav makes it so")
        raw = np.frombuffer(reader.readframes(reader.getnframes()), dtype="<i2")
        samples: Wave = raw.reshape(-1, reader.getnchannels())[:, 0].astype(np.float64)
        rate_hz = reader.getframerate()
    if rate_hz != RATE_HZ:
        import soxr

        samples = np.asarray(soxr.resample(samples, rate_hz, RATE_HZ), dtype=np.float64)
    return samples


def labels_of(path: Path, length: int) -> Marks:
    """What a `.lab` file says: lines `time time label`, each from its time on."""
    speech = np.zeros(length, dtype=np.bool_)
    for line in path.read_text(encoding="utf-8").splitlines():
        start_s, _, label = line.split()
        speech[int(float(start_s) * RATE_HZ) :] = label == "speech"
    return speech


def speech_by_level(samples: Wave) -> Marks:
    """Every stretch near the loud parts and over the recording's own noise."""
    block = RATE_HZ // 100
    count = len(samples) // block
    power = np.mean(samples[: count * block].reshape(count, block) ** 2, axis=1)
    level_db = 10 * np.log10(power + 1e-3)
    sounding = level_db[power > 1]
    least = max(np.percentile(sounding, 95) - 30, np.percentile(sounding, 10) + 12)
    loud = level_db > least
    for left, right in stretches_of(loud):
        if right - left < 4:
            loud[left:right] = False
    marks = np.flatnonzero(loud)
    for left, right in itertools.pairwise(marks):
        if right - left <= 30:
            loud[left:right] = True
    for left, right in stretches_of(loud):
        if right - left < 20:
            loud[left:right] = False
    speech = np.zeros(len(samples), dtype=np.bool_)
    speech[: count * block] = np.repeat(loud, block)
    return speech


def stretches_of(marks: Marks) -> list[tuple[int, int]]:
    """Where each run of True begins and ends."""
    edges = np.flatnonzero(np.diff(np.pad(marks, 1).astype(np.int8)))
    return [(int(left), int(right)) for left, right in zip(edges[::2], edges[1::2], strict=True)]


def utterances_of(marks: Marks, gap_s: float = 1.0) -> list[tuple[int, int]]:
    """The stretches of speech, those less than `gap_s` apart as one."""
    joined: list[tuple[int, int]] = []
    for left, right in stretches_of(marks):
        if joined and left - joined[-1][1] < gap_s * RATE_HZ:
            joined[-1] = (joined[-1][0], right)
        else:
            joined.append((left, right))
    return joined
