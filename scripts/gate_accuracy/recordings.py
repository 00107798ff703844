"""Speech with labels: recordings of people, and voices of flite and espeak-ng in a quiet room."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slng_edge.benchmarks.gate_accuracy import (
    RATE_HZ,
    Marks,
    Wave,
    read_recording,
    speech_by_level,
    stretches_of,
)

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
        read = read_recording(path)
        speaker = path.stem.split("-")[0]
        found.append(Recording(path.stem, speaker, True, read.samples, read.speech))
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
                said += [read_recording(target).samples, np.zeros(int(PAUSE_S * RATE_HZ))]
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


def utterances_of(marks: Marks, gap_s: float = 1.0) -> list[tuple[int, int]]:
    """The stretches of speech, those less than `gap_s` apart as one."""
    joined: list[tuple[int, int]] = []
    for left, right in stretches_of(marks):
        if joined and left - joined[-1][1] < gap_s * RATE_HZ:
            joined[-1] = (joined[-1][0], right)
        else:
            joined.append((left, right))
    return joined
