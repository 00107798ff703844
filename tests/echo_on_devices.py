"""The loudspeaker of a private sound server led back into its microphone, and people before it.

The whole loop runs as a process of its own on these devices. What it says into the speaker comes
back through `module-loopback`; who interrupts it is played into the same microphone, as loud as a
test wants against that echo. Both ends are recorded, so that what the loop says of itself is not
what is believed.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from conversation_scripts import write_wav
from numpy.typing import NDArray
from simulated_room import RATE_HZ, REPLY_DBFS, Wave
from virtual_sound import SPEAKER_RATE_HZ, SpeakerRecording, VirtualSound

from slng_edge.audio.resampling import Resampler

STEP = SPEAKER_RATE_HZ // RATE_HZ
LATENCY_MS = 80
AUDIBLE = 60
"""A sample of the speaker's that is louder than this sounds: -55 dBFS, 30 dB below a reply."""
GAP_S = 0.3
"""A reply sounds that did within so long before: longer than the pauses of its words."""
SILENT_S = 0.05
"""What is silent for so long before it may sound again is silent."""
FOUND_CORRELATION = 0.2
"""Of what was played into the microphone with what is heard there, echo and all."""


@dataclass(frozen=True)
class Interruption:
    """Somebody who speaks: a WAV file for the server, and the same at 16 kHz."""

    wav: Path
    samples: Wave


class EchoRoom:
    """The way from speaker to microphone; a context manager.

    Args:
        sound: The server, started.
        coupling_db: Level of the echo against what is played.
        noise_dbfs: Level of the room's own noise; None for none at all.
        latency_ms: Of the loopback.
    """

    def __init__(
        self,
        sound: VirtualSound,
        coupling_db: float,
        *,
        noise_dbfs: float | None = -60.0,
        latency_ms: int = LATENCY_MS,
    ) -> None:
        self._sound = sound
        self._coupling_db = coupling_db
        self._noise_dbfs = noise_dbfs
        self._latency_ms = latency_ms
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> EchoRoom:
        # Without its own rate adjustment: speaker and microphone of one card have one clock.
        module = self._pactl(
            *("load-module", "module-loopback", "source=vspk.monitor", "sink=vmic"),
            *(f"latency_msec={self._latency_ms}", "adjust_time=0"),
        ).strip()
        self._stack.callback(self._sound.unload, module)
        playing = self._pactl("list", "short", "sink-inputs").splitlines()
        (number,) = [line.split("\t")[0] for line in playing if "module-loopback" in line]
        self._pactl("set-sink-input-volume", number, f"{self._coupling_db:g}dB")
        if self._noise_dbfs is not None:
            self._stack.enter_context(self._noise(self._noise_dbfs))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def record_microphone(self) -> SpeakerRecording:
        """What the microphone hears, as `VirtualSound.record_speaker`."""
        command = ["parec", "-d", "vmic.monitor", "--raw", f"--rate={SPEAKER_RATE_HZ}"]
        command += ["--channels=1", "--format=s16le", "--latency-msec=5"]
        return SpeakerRecording(command, self._sound._full_environment())

    @contextlib.contextmanager
    def _noise(self, dbfs: float) -> Iterator[None]:
        noise = np.random.default_rng(5).normal(0, 32768 * 10 ** (dbfs / 20), 10 * RATE_HZ)
        pcm = np.rint(noise).astype("<i2").tobytes()
        command = ["pacat", "-d", "vmic", "--raw", f"--rate={RATE_HZ}", "--channels=1"]
        command += ["--format=s16le", "--latency-msec=100"]
        process = subprocess.Popen(
            command, env=self._sound._full_environment(), stdin=subprocess.PIPE
        )

        def feed() -> None:
            assert process.stdin is not None
            with contextlib.suppress(OSError, ValueError):
                while True:
                    process.stdin.write(pcm)

        thread = threading.Thread(target=feed, name="room-noise")
        thread.start()
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)
            thread.join(10)
            with contextlib.suppress(OSError):
                process.stdin.close()

    def _pactl(self, *arguments: str) -> str:
        return self._sound._pactl(*arguments).stdout


def interruptions(
    folder: Path, sounds: Sequence[Wave], dbfs: float, *, rate_hz: int = SPEAKER_RATE_HZ
) -> list[Interruption]:
    """`sounds` (at `REPLY_DBFS`) at another level, as files at the server's own rate."""
    made = []
    for number, sound in enumerate(sounds):
        louder = np.clip(np.rint(sound * 10 ** ((dbfs - REPLY_DBFS) / 20)), -32768, 32767)
        samples = louder.astype(np.int16)
        resampler = Resampler(RATE_HZ, rate_hz)
        wide = np.concatenate([resampler.receive(samples), resampler.end()])
        path = folder / f"interruption-{dbfs:.1f}-{number}.wav"
        made.append(Interruption(write_wav(path, wide, rate_hz), louder))
    return made


def spoken_at(
    microphone: SpeakerRecording, said: Interruption, from_s: float, to_s: float
) -> float | None:
    """When `said` began in the microphone, `time.monotonic()`; None where it is not found."""
    first = max(0, round((from_s - microphone.started_at) * SPEAKER_RATE_HZ))
    end = max(first, round((to_s - microphone.started_at) * SPEAKER_RATE_HZ))
    heard = microphone.samples[first:end].astype(np.float64)
    heard = heard[: len(heard) // STEP * STEP].reshape(-1, STEP).mean(axis=1)
    # The beginning is enough to find it by: what follows is the same in the next moment.
    part = said.samples[: RATE_HZ * 3 // 2]
    if len(heard) <= len(part):
        return None
    size = 1 << (len(heard) + len(part)).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(part, size))
    match = np.fft.irfft(spectrum, size)[: len(heard) - len(part)]
    at = int(np.argmax(match))
    power = float(np.sum(part**2)) * float(np.sum(heard[at : at + len(part)] ** 2))
    if match[at] < FOUND_CORRELATION * power**0.5:
        return None
    return microphone.started_at + first / SPEAKER_RATE_HZ + at / RATE_HZ


def silent_from(speaker: SpeakerRecording, sounding_s: float, silent_by_s: float) -> float | None:
    """When the speaker fell silent: its last audible sample before `silent_by_s`.

    Returns:
        None where nothing sounded at `sounding_s`, or the speaker is not silent in the end.
    """
    loud = loud_times(speaker, sounding_s - GAP_S, silent_by_s)
    if not len(loud) or loud[0] > sounding_s or loud[-1] > silent_by_s - SILENT_S:
        return None
    return float(loud[-1])


def loud_times(recording: SpeakerRecording, from_s: float, to_s: float) -> NDArray[np.float64]:
    """The times (`time.monotonic()`) of the audible samples in a stretch."""
    first = max(0, round((from_s - recording.started_at) * SPEAKER_RATE_HZ))
    end = max(first, round((to_s - recording.started_at) * SPEAKER_RATE_HZ))
    cut = recording.samples[first:end].astype(np.int32)
    return recording.started_at + (first + np.flatnonzero(np.abs(cut) > AUDIBLE)) / SPEAKER_RATE_HZ


def wait_until_recorded(recording: SpeakerRecording, at_s: float, timeout_s: float = 3.0) -> None:
    """Wait until `recording` has come as far as `at_s`."""
    deadline = time.monotonic() + timeout_s
    while (
        recording.started_at + recording._count / SPEAKER_RATE_HZ < at_s
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
