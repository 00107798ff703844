"""Speech synthesizers of the local gateway, behind one small interface."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
import wave
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np

from slng_edge.errors import ConfigError, MissingLibrary, SlngEdgeError
from slng_edge.pcm import PcmFormat, Samples, samples_of
from slng_edge.simulator.rate_conversion import convert_rate

PROGRAM_TIMEOUT_S = 30.0
"""For one sentence; flite takes 44 ms, espeak-ng less."""

ESPEAK_WORDS_PER_MINUTE = 175

TONE_MS_PER_CHARACTER = 60
TONE_LEVEL = 0.3
TONE_EDGE_MS = 4
TONE_LOWEST_HZ = 300
TONE_STEP_HZ = 20
TONE_STEPS = 80


class SynthesisFailed(SlngEdgeError):
    """The program that speaks has failed on a text."""


class Synthesizer(Protocol):
    """Speaks one sentence at a time. Any thread."""

    def synthesize(
        self, text: str, rate_hz: int, *, speed: float = 1.0, language: str = ""
    ) -> Samples:
        """The sound of `text`, mono at `rate_hz`; none for a text with nothing to say.

        Raises:
            SynthesisFailed: the program failed.
        """


class ToneSynthesizer:
    """Sounds a tone for each word; no program is needed.

    Every character lasts 60 ms, spaces are silent, and the tone's frequency follows from the
    text alone (`frequency_hz`), so that a recording tells which text was heard, and how much.
    Speed and language change nothing.
    """

    @staticmethod
    def duration_ms(text: str) -> int:
        """How long `text` sounds, without spaces at its ends."""
        return TONE_MS_PER_CHARACTER * len(text.strip())

    @staticmethod
    def frequency_hz(text: str) -> int:
        """The tone of `text`: one of 80 from 300 to 1880 Hz."""
        return TONE_LOWEST_HZ + TONE_STEP_HZ * (zlib.crc32(text.strip().encode()) % TONE_STEPS)

    def synthesize(
        self, text: str, rate_hz: int, *, speed: float = 1.0, language: str = ""
    ) -> Samples:
        """See `Synthesizer`."""
        text = text.strip()
        pcm_format = PcmFormat(rate_hz)
        edge = np.sin(np.linspace(0, np.pi / 2, pcm_format.samples(TONE_EDGE_MS)))
        sound = np.zeros(pcm_format.samples(self.duration_ms(text)), dtype=np.float64)
        position = 0
        for word in text.split(" "):
            start = pcm_format.samples(TONE_MS_PER_CHARACTER * position)
            end = pcm_format.samples(TONE_MS_PER_CHARACTER * (position + len(word)))
            position += len(word) + 1
            if start == end:
                continue
            wave_ = np.sin(2 * np.pi * self.frequency_hz(text) * np.arange(end - start) / rate_hz)
            wave_[: len(edge)] *= edge
            wave_[-len(edge) :] *= edge[::-1]
            sound[start:end] = wave_
        return (sound * TONE_LEVEL * 32767).astype(np.int16)


class FliteSynthesizer:
    """Speaks with flite, 16 kHz of its own, which speech recognizers understand.

    Args:
        voice: A voice of flite's; slt, awb and kal16 are understood best.

    Raises:
        MissingLibrary: flite is not installed.
    """

    def __init__(self, voice: str = "slt") -> None:
        self._program = _program("flite", "--tts flite")
        self._voice = voice

    def synthesize(
        self, text: str, rate_hz: int, *, speed: float = 1.0, language: str = ""
    ) -> Samples:
        """See `Synthesizer`."""
        if not any(map(str.isalnum, text)):
            return np.empty(0, dtype=np.int16)
        # flite seeks back to fill in its WAV header, so it cannot write into a pipe
        try:
            with tempfile.TemporaryDirectory(prefix="slng-edge-") as folder:
                target = Path(folder) / "speech.wav"
                command = [self._program, "-voice", self._voice, "-o", str(target)]
                command += ["--setf", f"duration_stretch={1 / speed:.3f}"]
                _run(command, text)
                data = target.read_bytes()
        except OSError as error:
            raise SynthesisFailed(f"flite has no place for its sound: {error}") from error
        return _wav_samples(data, rate_hz)


class EspeakSynthesizer:
    """Speaks with espeak-ng: small and quick, for the ear rather than for recognizers.

    Raises:
        MissingLibrary: espeak-ng is not installed.
    """

    def __init__(self) -> None:
        self._program = _program("espeak-ng", "--tts espeak")

    def synthesize(
        self, text: str, rate_hz: int, *, speed: float = 1.0, language: str = ""
    ) -> Samples:
        """See `Synthesizer`."""
        if not any(map(str.isalnum, text)):
            return np.empty(0, dtype=np.int16)
        pace = str(round(ESPEAK_WORDS_PER_MINUTE * speed))
        command = [self._program, "--stdout", "--stdin", "-s", pace]
        if language.replace("-", "").isalnum():
            command += ["-v", language]
        return _wav_samples(_run(command, text), rate_hz)


def synthesizer_named(name: str) -> Synthesizer:
    """The synthesizer of a name as `--tts` takes it: `flite`, `espeak` or `tone`.

    Raises:
        ConfigError: there is no such synthesizer.
        MissingLibrary: its program is not installed.
    """
    if name == "flite":
        return FliteSynthesizer()
    if name == "espeak":
        return EspeakSynthesizer()
    if name == "tone":
        return ToneSynthesizer()
    raise ConfigError(f"no speech synthesizer {name!r}: flite, espeak or tone")


def _program(name: str, needed_for: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise MissingLibrary(name, needed_for, f"sudo apt-get install {name}")
    return path


def _run(command: list[str], text: str) -> bytes:
    try:
        done = subprocess.run(
            command,
            input=text.encode(),
            capture_output=True,
            timeout=PROGRAM_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SynthesisFailed(f"{Path(command[0]).name} failed on a text: {error}") from error
    return done.stdout


def _wav_samples(data: bytes, rate_hz: int) -> Samples:
    """The samples of a 16-bit mono WAV, whose header may say a length that is not true."""
    try:
        with wave.open(io.BytesIO(data)) as reader:
            own_hz = reader.getframerate()
            # espeak-ng does not know the length when it writes the header
            pcm = reader.readframes(len(data) // 2)
    except (wave.Error, EOFError) as error:
        raise SynthesisFailed(f"the program gave no WAV: {error}") from error
    return convert_rate(samples_of(pcm[: len(pcm) & ~1]), own_hz, rate_hz)
