"""The real command, in a process of its own, as a user would run it."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slng_edge.pcm import Samples

KEY = "sk-test-4711-0815-never-shown"
RATE_HZ = 16000


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit status and what it wrote."""

    status: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.raw.decode()


def may_be_read_by_all(path: Path) -> bool:
    """Whether a user who is not root may read what lies at `path`, links followed."""
    path = path.resolve()
    needed = 0o005 if path.is_dir() else 0o004
    return path.stat().st_mode & needed == needed and all(
        folder.stat().st_mode & 0o001 for folder in path.parents
    )


class SlngEdge:
    """Runs `slng-edge` in `folder` against the gateway at `url`, with a key in its environment.

    Whatever it ends with, it shows neither a traceback nor the key.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def __call__(self, *argv: str, stdin: bytes = b"", timeout_s: float = 30.0) -> Ended:
        """Run to the end."""
        process = self.start(*argv)
        out, err = process.communicate(stdin, timeout=timeout_s)
        return self.checked(process.returncode, out, err)

    def start(self, *argv: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Begin; with pipes for all three streams, or another `stdout`."""
        command = [sys.executable, "-m", "slng_edge", *self._to_gateway(), *argv]
        return self._start(command, stdout)

    def without(self, library: str, *argv: str) -> Ended:
        """Run to the end where `library` is not installed."""
        program = (
            "import sys\n"
            "class Missing:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name.partition('.')[0] == {library!r}:\n"
            "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
            "sys.meta_path.insert(0, Missing())\n"
            "from slng_edge.cli import main\n"
            "sys.exit(main(sys.argv[1:]))\n"
        )
        process = self._start([sys.executable, "-c", program, *self._to_gateway(), *argv])
        out, err = process.communicate(timeout=30)
        return self.checked(process.returncode, out, err)

    def shell(self, script: str) -> Ended:
        """Run `script` in a shell where `$slng_edge` is the command."""
        command = " ".join([sys.executable, "-m", "slng_edge", *self._to_gateway()])
        process = self._start(["sh", "-c", f"slng_edge='{command}'\n{script}"])
        out, err = process.communicate(timeout=30)
        return self.checked(process.returncode, out, err)

    def checked(self, status: int, out: bytes, err: bytes) -> Ended:
        """What a process left, after a look at what it must never show."""
        ended = Ended(status, out, err.decode())
        assert "Traceback" not in ended.err
        assert "this is a bug" not in ended.err
        assert KEY.encode() not in out + err
        return ended

    def _to_gateway(self) -> list[str]:
        return ["-s", f"gateway.url={self.url}"] if self.url else []

    def _start(self, command: list[str], stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in os.environ if "SLNG" not in name}
        environment |= {
            "SLNG_API_KEY": KEY,
            "SLNG_EDGE_CONFIG": os.devnull,
            "SLNG_EDGE_CONTROL__SOCKET": "",
            "HOME": str(self.folder),
        }
        for name in ("ALSA_CONFIG_PATH", "PULSE_SERVER"):  # the virtual sound of other tests
            environment.pop(name, None)
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=environment,
        )


def speech_like(seconds: float, rate_hz: int = RATE_HZ) -> Samples:
    """A vowel, to the ear of a voice detector: harmonics of 120 Hz."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    sound = sum(np.sin(2 * np.pi * 120 * n * t) / n for n in range(1, 12))
    return np.asarray(sound / np.max(np.abs(sound)) * 12000).astype(np.int16)


def write_wav(
    path: Path,
    samples: Samples | bytes,
    *,
    rate_hz: int = RATE_HZ,
    channels: int = 1,
    bits: int = 16,
) -> Path:
    """A PCM WAV file."""
    data = samples if isinstance(samples, bytes) else samples.tobytes()
    with open(path, "wb") as file, wave.open(file) as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(bits // 8)
        writer.setframerate(rate_hz)
        writer.writeframes(data)
    return path


def read_wav_file(path: Path) -> tuple[int, Samples]:
    """Rate and samples of a 16-bit mono WAV file."""
    with open(path, "rb") as file, wave.open(file) as reader:
        assert (reader.getnchannels(), reader.getsampwidth()) == (1, 2)
        frames = reader.readframes(reader.getnframes())
        return reader.getframerate(), np.frombuffer(frames, dtype="<i2").astype(np.int16)
