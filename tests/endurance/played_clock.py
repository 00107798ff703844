"""The clocks of a program, played by us: faster, stepped, slewed, or stopped as in a suspend.

`played_clock.c` is built with tcc or cc, and preloaded into programs that shall live by a
`PlayedClock`; the product is not touched. What the kernel and the C library time by themselves
(TCP, the resolver) stays in real time.

libfaketime will not do: 0.9.10 (Debian 12) has no `sem_clockwait`, on which every lock with a
timeout waits in Python 3.11, and its monotonic clock jumps when the rate changes.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "SLNG_EDGE_TEST_CLOCK"
SOURCE = Path(__file__).with_name("played_clock.c")
COMPILERS = ("tcc", "cc")

REAL, MONOTONIC, BOOT, MEDIA = range(4)

_HEAD = struct.Struct("=II")
_LINES = struct.Struct("=5q4d2q")
_NS = 1_000_000_000


def missing_for_played_clocks() -> str:
    """Why no program's clocks can be played here; "" where they can."""
    if sys.platform != "linux":
        return "LD_PRELOAD of clocks is Linux's"
    if not any(shutil.which(compiler) for compiler in COMPILERS):
        return "neither tcc nor cc is installed (Debian packages tcc, libc6-dev)"
    return ""


def build(folder: Path) -> Path:
    """The library to preload, built in `folder`.

    Raises:
        RuntimeError: there is no compiler, or it refuses.
    """
    compiler = next(filter(shutil.which, COMPILERS), None)
    if compiler is None:
        raise RuntimeError(missing_for_played_clocks())
    library = folder / "played_clock.so"
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{compiler} does not build {SOURCE.name}: {done.stderr.strip()}")
    return library


class PlayedClock:
    """What time it is for the programs that were started with `environment`; one thread.

    It begins at the host's own time, and as fast. Each program needs one of its own.

    Attributes:
        left_out_s: Of the host's time; see `run`.

    Args:
        page: The file that the programs map; made here.
    """

    def __init__(self, page: Path) -> None:
        page.write_bytes(bytes(_HEAD.size + 2 * _LINES.size))
        self._page = page
        with page.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        now_ns = time.monotonic_ns()
        self._current = 0
        self._host_ns = now_ns
        self._ns = [time.time_ns(), now_ns, time.clock_gettime_ns(time.CLOCK_BOOTTIME), 0]
        self._rates = [1.0] * 4
        self._forgiving = False
        self.left_out_s = 0.0
        self._publish()

    def environment(self, library: Path, environ: Mapping[str, str]) -> dict[str, str]:
        """`environ`, and what lets a program live by this clock."""
        return {**environ, "LD_PRELOAD": str(library), VARIABLE: str(self._page)}

    def now_s(self, which: int = MONOTONIC) -> float:
        """What one of the clocks shows."""
        return self.at_s(time.monotonic_ns(), which)

    def at_s(self, host_ns: int, which: int = MONOTONIC) -> float:
        """What it showed when the host's monotonic clock showed `host_ns`, not long ago."""
        passed_ns = max(0, host_ns - self._host_ns - self._left_out_ns())
        return (self._ns[which] + passed_ns * self._rates[which]) / _NS

    def run(
        self, rate: float, *, media: float = 1.0, slew: float = 0.0, forgiving: bool = False
    ) -> None:
        """Let all clocks go on at `rate` seconds in a second.

        Args:
            rate: Of the clocks; each goes on from where it is.
            media: Seconds of sound in a second of theirs.
            slew: What the time of day goes faster than the others, as a share.
            forgiving: Leave out moments in which the program is given no processor.
        """
        self._fix()
        self._forgiving = forgiving
        self._rates = [rate * (1 + slew), rate, rate, rate * media]
        self._publish()

    def suspend(self) -> None:
        """CLOCK_MONOTONIC and sound stand still; the time of day and CLOCK_BOOTTIME go on."""
        self._fix()
        self._forgiving = False
        self._rates[MONOTONIC] = self._rates[MEDIA] = 0.0
        self._publish()

    def step(self, seconds: float) -> None:
        """The time of day jumps, as by `settimeofday`."""
        self._fix()
        self._ns[REAL] += round(seconds * _NS)
        self._publish()

    def set_day(self, unix_s: float) -> None:
        """The time of day jumps to `unix_s`."""
        self.step(unix_s - self.now_s(REAL))

    def close(self) -> None:
        """Give the page back; programs that run keep it."""
        self._map.close()

    def _left_out_ns(self) -> int:
        at = _HEAD.size + self._current * _LINES.size
        return int(_LINES.unpack_from(self._map, at)[-1])

    def _fix(self) -> None:
        now_ns = time.monotonic_ns()
        left_out_ns = self._left_out_ns()
        self.left_out_s += left_out_ns / _NS
        passed_ns = now_ns - self._host_ns - left_out_ns
        self._ns = [
            ns + int(passed_ns * rate) for ns, rate in zip(self._ns, self._rates, strict=True)
        ]
        self._host_ns = now_ns

    def _publish(self) -> None:
        """Into the lines that nobody reads; then they are the ones that are read."""
        self._current ^= 1
        at = _HEAD.size + self._current * _LINES.size
        lines = (self._host_ns, *self._ns, *self._rates, self._forgiving, 0)
        _LINES.pack_into(self._map, at, *lines)
        _HEAD.pack_into(self._map, 0, self._current, 0)


def played_media() -> tuple[float, float]:
    """Seconds of sound so far, and how fast they pass, in a program that lives by such a clock.

    The second is in seconds of sound in a second of its `time.monotonic()`.
    """
    if not _opened:
        with Path(os.environ[VARIABLE]).open("rb") as file:
            _opened.append(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    current, _ = _HEAD.unpack_from(_opened[0], 0)
    lines = _LINES.unpack_from(_opened[0], _HEAD.size + (current & 1) * _LINES.size)
    ns, rates = lines[1:5], lines[5:9]
    # Both lines begin at one instant; a clock that stands still gives no time since then.
    if not rates[MONOTONIC]:
        return ns[MEDIA] / _NS, 1.0
    speed = rates[MEDIA] / rates[MONOTONIC]
    return (ns[MEDIA] + (time.monotonic_ns() - ns[MONOTONIC]) * speed) / _NS, speed


_opened: list[mmap.mmap] = []
