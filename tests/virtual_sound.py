"""A private sound server with a virtual microphone and a virtual speaker, for tests.

PyAudio sees real ALSA devices with real pacing; no sound card, no session and no privileges are
needed. What a test says into the microphone and hears from the speaker goes through `paplay` and
`parec`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np

SPEAKER_RATE_HZ = 48000
MICROPHONE_NAME = "Test Microphone"
SPEAKER_NAME = "Test Speaker"

_PROGRAMS = ("pulseaudio", "pactl", "paplay", "parec")
ALSA_CONFIG = Path("/usr/share/alsa/alsa.conf")

# norewinds: without it the start of what is said is lost.
_SINKS = {
    "vmic": ("rate=48000", "channels=1", "channel_map=mono", "norewinds=1"),
    "vspk": ("rate=48000", "channels=2", "norewinds=1"),
}

_ASOUND_CONFIG = """\
<{alsa}>
pcm.!default {{ type pulse server "unix:{socket}" hint {{ show on description "Default" }} }}
ctl.!default {{ type pulse server "unix:{socket}" }}
pcm."{microphone}" {{
    type pulse server "unix:{socket}" device "vmic.monitor"
    hint {{ show on description "Virtual microphone" }}
}}
pcm."{speaker}" {{
    type pulse server "unix:{socket}" device "vspk"
    hint {{ show on description "Virtual speaker" }}
}}
"""


def missing_for_virtual_sound() -> str:
    """Why no virtual sound can be had here; empty where it can."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (apt install pulseaudio pulseaudio-utils)"
    if not ALSA_CONFIG.exists():
        return f"{ALSA_CONFIG} is missing (apt install libasound2-data libasound2-plugins)"
    return ""


class SpeakerRecording:
    """What the virtual speaker sounds, from `start` on: int16 mono at 48 kHz.

    Attributes:
        started_at: The `time.monotonic()` at which sample 0 sounded; known once sound came.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._chunks: list[np.ndarray] = []
        self._lock = threading.Lock()
        self._offset_s = float("inf")
        self._count = 0

    def __enter__(self) -> SpeakerRecording:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._thread = threading.Thread(target=self._read, name="speaker-recording")
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._count and time.monotonic() < deadline:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)
        self._process.stdout.close()

    @property
    def samples(self) -> np.ndarray:
        """Everything so far."""
        with self._lock:
            return np.concatenate(self._chunks or [np.empty(0, dtype=np.int16)])

    @property
    def started_at(self) -> float:
        """The earliest that any chunk allows: a chunk may come late, never early."""
        return self._offset_s

    def time_of(self, sample: int) -> float:
        """The `time.monotonic()` at which `sample` sounded, to about 10 ms."""
        return self.started_at + sample / SPEAKER_RATE_HZ

    def loud(self, above: int = 200) -> np.ndarray:
        """Indices of the samples that are louder than `above`."""
        return np.flatnonzero(np.abs(self.samples.astype(np.int32)) > above)

    def _read(self) -> None:
        odd = b""
        while data := self._process.stdout.read(4096):
            now = time.monotonic()
            data = odd + data
            cut = len(data) & ~1
            odd = data[cut:]
            chunk = np.frombuffer(data[:cut], dtype="<i2")
            with self._lock:
                self._chunks.append(chunk)
                self._count += len(chunk)
                self._offset_s = min(self._offset_s, now - self._count / SPEAKER_RATE_HZ)


class VirtualSound:
    """A PulseAudio of our own, in a folder of its own.

    Args:
        folder: Where its socket and its configuration go.
        sinks: `vmic` or `vspk` alone has nothing that a stream could be moved to when it is
            unplugged; both make a whole set of devices.
    """

    def __init__(self, folder: Path, sinks: tuple[str, ...] = tuple(_SINKS)) -> None:
        self.folder = folder
        self._sinks = sinks
        self.socket = folder / "native"
        self.alsa_config = folder / "asound.conf"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead a program to this server's devices."""
        return {
            "ALSA_CONFIG_PATH": str(self.alsa_config),
            "PULSE_SERVER": f"unix:{self.socket}",
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder),
        }

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pulse_config = self.folder / "default.pa"
        lines = [f"load-module {line}" for line in self._modules()]
        pulse_config.write_text("\n".join([*lines, *self._defaults(), ""]))
        self.alsa_config.write_text(
            _ASOUND_CONFIG.format(
                alsa=ALSA_CONFIG,
                socket=self.socket,
                microphone=MICROPHONE_NAME,
                speaker=SPEAKER_NAME,
            )
        )
        arguments = ["-n", "-F", str(pulse_config), "--daemonize=no", "--exit-idle-time=-1"]
        arguments += ["--use-pid-file=no", "--realtime=no"]
        with (self.folder / "pulseaudio.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["pulseaudio", *arguments], env=self._full_environment(), stdout=log, stderr=log
            )
        deadline = time.monotonic() + 15
        while self._pactl("info", check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = (self.folder / "pulseaudio.log").read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"pulseaudio did not start:\n{text}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server as a crash would: at once; idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
        self.socket.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop the server without ending it: devices hang, as a stuck driver does."""
        assert self._process is not None
        os.kill(self._process.pid, 19)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        assert self._process is not None
        os.kill(self._process.pid, 18)

    def suspend(self, *sinks: str) -> None:
        """Stop devices, or all, while the server goes on: nothing moves and nothing fails."""
        for sink in sinks or self._sinks:
            self._pactl("suspend-sink", sink, "1")

    def resume(self, *sinks: str) -> None:
        """Let devices that were suspended, or all, go on."""
        for sink in sinks or self._sinks:
            self._pactl("suspend-sink", sink, "0")

    def speak_into_microphone(self, wav: Path | str) -> subprocess.Popen[bytes]:
        """Play a WAV file into the virtual microphone; returns at once, `wait()` for its end."""
        command = ["paplay", "-d", "vmic", "--latency-msec=20", str(wav)]
        return subprocess.Popen(command, env=self._full_environment(), stderr=subprocess.DEVNULL)

    def record_speaker(self) -> SpeakerRecording:
        """A context manager that records what the virtual speaker sounds."""
        return self._record("vspk")

    def record_microphone(self) -> SpeakerRecording:
        """A context manager that records what is said into the virtual microphone."""
        return self._record("vmic")

    def _record(self, sink: str) -> SpeakerRecording:
        command = ["parec", "-d", f"{sink}.monitor", "--raw", f"--rate={SPEAKER_RATE_HZ}"]
        command += ["--channels=1", "--format=s16le", "--latency-msec=5"]
        return SpeakerRecording(command, self._full_environment())

    def connect_echo(self, latency_ms: int = 80) -> str:
        """Lead the speaker back into the microphone; returns the module, for `unload`."""
        arguments = ["source=vspk.monitor", "sink=vmic", f"latency_msec={latency_ms}"]
        return self._pactl("load-module", "module-loopback", *arguments).stdout.strip()

    def unplug(self, sink: str) -> None:
        """Remove the device `vmic` or `vspk`."""
        for line in self._pactl("list", "short", "modules").stdout.splitlines():
            if f"sink_name={sink} " in line:
                self.unload(line.split("\t")[0])

    def plug(self, sink: str) -> None:
        """Put back a device that was unplugged."""
        self._pactl("load-module", "module-null-sink", f"sink_name={sink}", *_SINKS[sink])
        for line in self._defaults():
            self._pactl(*line.split())

    def unload(self, module: str) -> None:
        """Remove a module by its number."""
        self._pactl("unload-module", module)

    def listed(self, what: str) -> list[str]:
        """A line for each that the server has: "source-outputs" are those who read microphones."""
        return self._pactl("list", "short", what).stdout.splitlines()

    def _modules(self) -> list[str]:
        protocol = f"module-native-protocol-unix socket={self.socket} auth-anonymous=1"
        sinks = [
            f"module-null-sink sink_name={sink} {' '.join(_SINKS[sink])}" for sink in self._sinks
        ]
        return [protocol, *sinks]

    def _defaults(self) -> list[str]:
        commands = {"vmic": "set-default-source vmic.monitor", "vspk": "set-default-sink vspk"}
        return [command for sink, command in commands.items() if sink in self._sinks]

    def _pactl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pactl", *arguments],
            env=self._full_environment(),
            capture_output=True,
            text=True,
            timeout=15,
            check=check,
        )

    def _full_environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}
