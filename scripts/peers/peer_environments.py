"""The clients that are compared, and the virtual environment of each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from slng_edge.config import Config

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKED = ("slng_edge", "pyproject.toml", "setup.cfg", "README.md", "LICENSE")
VAD = "webrtcvad-wheels==2.0.14.post1"
INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
OURS = "ours"


class EnvironmentFailed(Exception):
    """A virtual environment could not be made."""


@dataclass(frozen=True)
class ClientKind:
    """A client.

    Attributes:
        name: As `--only` takes it.
        requirements: What `pip install` is given; ours is packed from the tree.
        script: The client's file in this folder; empty for ours.
        libraries: Distributions whose versions are told.
        waits_ms: Silence after which the client takes a question for ended.
        about: What the table says of it.
    """

    name: str
    requirements: tuple[str, ...]
    script: str
    libraries: tuple[str, ...]
    waits_ms: int
    about: str

    def command(self, python: Path, url: str) -> list[str]:
        """The client's command line."""
        if self.script:
            return [str(python), str(HERE / self.script), url]
        settings = (
            f"gateway.url={url}",
            "gateway.tier=enterprise",
            "audio.input=default",
            "audio.output=default",
            "control.socket=",
            "audio.echo_cancel=off",  # as where no extra is installed
        )
        overrides = [word for setting in settings for word in ("-s", setting)]
        program = [str(python.with_name("slng-edge")), "--config", os.devnull]
        return [*program, "--log-level", "warning", *overrides, "run"]


KINDS = (
    ClientKind(
        OURS,
        (),
        "",
        ("slng-edge", "websocket-client", "PyAudio", "webrtcvad-wheels", "numpy", "soxr"),
        Config().vad.stop_ms,
        "`slng-edge run` with its defaults",
    ),
    ClientKind(
        "asyncio",
        ("websockets==17.4", "sounddevice==0.5.6", VAD),
        "asyncio_echo.py",
        ("websockets", "sounddevice", "webrtcvad-wheels"),
        600,
        "websockets + sounddevice, blocks of 20 ms, WebRTC's VAD; streams everything",
    ),
    ClientKind(
        "elevenlabs",
        ("elevenlabs==2.78.0", "pyaudio==0.2.14", VAD),
        "elevenlabs_echo.py",
        ("elevenlabs", "PyAudio", "websockets", "webrtcvad-wheels"),
        600,
        "the package's DefaultAudioInterface, blocks of 250 ms, WebRTC's VAD; streams everything; "
        "a pause of 600 ms is three such blocks",
    ),
    ClientKind(
        "pipecat",
        ("pipecat-slng==0.7.0", "pipecat-ai[local,silero]==1.14.0"),
        "pipecat_echo.py",
        ("pipecat-ai", "pipecat-slng", "PyAudio", "onnxruntime", "websockets"),
        200,
        "local transport, Silero VAD with its defaults; streams everything",
    ),
)


@dataclass(frozen=True)
class Environment:
    """A virtual environment that is ready.

    Attributes:
        python: Its interpreter.
        installed_mb: What it takes on the disk, in 10^6 bytes.
        without_installers_mb: The same without pip and setuptools.
        versions: Of the client's libraries.
    """

    python: Path
    installed_mb: float
    without_installers_mb: float
    versions: dict[str, str]


def cache_folder() -> Path:
    """Where the environments are kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("SLNG_EDGE_PEERS") or base / "slng-edge-peers")


def prepare(kind: ClientKind, cache: Path) -> Environment:
    """Make the client's environment where it is missing; ours gets the tree's code anew.

    All are of the interpreter that this program's own environment was made with.

    Raises:
        EnvironmentFailed: venv or pip failed.
    """
    folder = cache / f"bench-{kind.name}"
    python, made_for = folder / "bin" / "python", folder / "made-for"
    interpreter = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    wanted = "\n".join([interpreter, *kind.requirements])
    if not made_for.exists() or made_for.read_text(encoding="utf-8") != wanted:
        cache.mkdir(parents=True, exist_ok=True)
        _do([interpreter, "-m", "venv", "--clear", str(folder)])
        if kind.requirements:
            _do([str(python), "-m", "pip", "install", "--quiet", *kind.requirements])
        else:
            _install_ours(python)
        made_for.write_text(wanted, encoding="utf-8")
    elif not kind.requirements:
        _install_ours(python, "--no-deps", "--force-reinstall")
    total, installers = _size_mb(folder)
    return Environment(python, total, total - installers, _versions(python, kind.libraries))


def _install_ours(python: Path, *options: str) -> None:
    """From a copy: setuptools builds within the tree it is given."""
    with tempfile.TemporaryDirectory(prefix="slng-edge-tree-") as copy:
        for name in PACKED:
            source, target = ROOT / name, Path(copy) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
        _do([str(python), "-m", "pip", "install", "--quiet", *options, copy])


def _do(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise EnvironmentFailed(f"{' '.join(command)} failed:\n{said}")


def _size_mb(folder: Path) -> tuple[float, float]:
    """All of a virtual environment, and pip and setuptools in it; as on the disk."""
    total = installers = 0
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        size = path.stat().st_blocks * 512
        total += size
        parts = path.relative_to(folder).parts
        if "site-packages" in parts:
            package = parts[parts.index("site-packages") + 1]
            if package.split("-")[0].removesuffix(".pth") in (*INSTALLERS, "distutils"):
                installers += size
    return total / 1e6, installers / 1e6


def _versions(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    script = (
        "import importlib.metadata as m, json, sys;"
        "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
    )
    done = subprocess.run([str(python), "-c", script, *names], capture_output=True, check=False)
    if done.returncode:
        raise EnvironmentFailed(f"{python}: {done.stderr.decode(errors='replace').strip()}")
    found: dict[str, str] = json.loads(done.stdout)
    return found
