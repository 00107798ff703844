"""What counts the instructions of a program: valgrind, or an emulator with a plugin."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from slng_edge.benchmarks.figures import MeasurementFailed

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
WHEELS = ("numpy", "webrtcvad_wheels", "websocket_client", "soxr")
STACK_BYTES = 64 << 20
"""The emulator's own choice for a main thread is small."""


@dataclass(frozen=True)
class Counter:
    """How `run` is run.

    Attributes:
        machine, tool: As the report names them.
        command: The words before `python`, `{count}` in them is the file with the count; none
            where nothing is counted.
        python: That of the machine.
        preload: For `LD_PRELOAD`; empty where the command sees to it.
    """

    machine: str
    tool: str
    command: tuple[str, ...]
    python: str
    preload: str


def uncounted(folder: Path) -> Counter:
    """Nothing counts, in slowed time."""
    library = folder / "slow_time.so"
    if not library.exists():
        _compile("gcc", library)
    return Counter("", "", (), sys.executable, str(library))


def valgrind(folder: Path) -> Counter:
    """Valgrind's counter of basic blocks, the fastest of its tools that count.

    Raises:
        MeasurementFailed: it, or a compiler, is missing.
    """
    if shutil.which("valgrind") is None:
        raise MeasurementFailed("valgrind is missing: apt-get install valgrind")
    return Counter(
        "x86-64",
        "valgrind --tool=exp-bbv",
        (
            *("valgrind", "--tool=exp-bbv", "--instr-count-only=yes", "--bb-out-file=/dev/null"),
            *("--fair-sched=yes", "--log-file={count}"),
        ),
        sys.executable,
        uncounted(folder).preload,
    )


def emulator(qemu: Path, plugin: Path, root: Path, wheels: Path, folder: Path) -> Counter:
    """An emulated Cortex-A53 with the Python of an arm64 Debian and what a device would install.

    Args:
        qemu: A `qemu-aarch64` that takes plugins.
        plugin: `count_plugin.c`, compiled.
        root: The Debian, as `scripts/test-arm64` makes it.
        wheels: A folder of wheels for it.
        folder: For what is compiled and unpacked; kept until the counting is over.

    Raises:
        MeasurementFailed: something is missing.
    """
    for path, what in ((qemu, "--qemu"), (plugin, "--plugin"), (root / "usr/bin/python3", "root")):
        if not path.exists():
            raise MeasurementFailed(f"{what}: there is no {path}; see --help")
    for name in WHEELS:
        found = sorted(wheels.glob(f"{name}-*.whl"))
        if not found:
            raise MeasurementFailed(f"no wheel of {name} in {wheels}: run scripts/test-arm64")
        with zipfile.ZipFile(found[-1]) as wheel:
            wheel.extractall(folder / "arm64")
    library = folder / "slow_time_arm64.so"
    _compile("aarch64-linux-gnu-gcc", library)
    return Counter(
        "aarch64",
        f"{qemu.name} -cpu cortex-a53 with a plugin",
        (
            *(str(qemu), "-cpu", "cortex-a53", "-s", str(STACK_BYTES), "-L", str(root)),
            *("-E", f"LD_PRELOAD={library}"),
            *("-E", f"PYTHONPATH={folder / 'arm64'}:{REPOSITORY}"),
            *("-plugin", f"{plugin.resolve()},count={{count}}"),
        ),
        str(root / "usr/bin/python3"),
        "",
    )


def _compile(compiler: str, target: Path) -> None:
    source = HERE / "slow_time.c"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(target), str(source), "-lm", "-ldl"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        package = "gcc" if compiler == "gcc" else "gcc-aarch64-linux-gnu"
        raise MeasurementFailed(f"{compiler} is missing: apt-get install {package}") from None
    if done.returncode:
        raise MeasurementFailed(f"{compiler} failed: {done.stderr.strip()}")
