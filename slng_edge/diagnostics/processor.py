"""The processor: does it run at full speed, and how hot is it?"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from slng_edge.diagnostics.finding import Finding, ok, warn
from slng_edge.diagnostics.inspection import Subject

HOT_C = 80.0
"""A Raspberry Pi slows down from here on (Raspberry Pi documentation, "Frequency management")."""
TIMEOUT_S = 2.0

_SELF_DRIVEN = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")
"""Drivers whose "powersave" is no fixed lowest speed."""

_NOW = {
    0: "the voltage is too low",
    1: "the speed is capped",
    2: "it is throttled",
    3: "it has reached its soft temperature limit",
}
_BEFORE = 16
"""Bits of `vcgencmd get_throttled`; the same 16 places higher say that it was so since boot."""


@dataclass(frozen=True)
class Processor:
    """What the kernel and the firmware say; None or empty where they do not.

    Attributes:
        governor: How its speed follows the load ("ondemand").
        driver: What carries that out.
        hottest_c: The warmest of its sensors.
        throttled: The firmware's bits.
    """

    governor: str = ""
    driver: str = ""
    hottest_c: float | None = None
    throttled: int | None = None


def check_processor(subject: Subject) -> list[Finding]:
    """Governor, temperature, and what the firmware of a Raspberry Pi says."""
    return judge_processor(
        Processor(
            _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
            _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver")),
            hottest(Path("/sys/class/thermal")),
            _firmware(),
        )
    )


def judge_processor(seen: Processor) -> list[Finding]:
    """One finding for speed and temperature, and one for each that is wrong."""
    findings = []
    bits = seen.throttled or 0
    now = [words for bit, words in _NOW.items() if bits >> bit & 1]
    before = [words for bit, words in _NOW.items() if bits >> (bit + _BEFORE) & 1]
    power = "use the power supply and cable that the board asks for, and cool it"
    if now:
        findings.append(warn("cpu", f"now: {', '.join(now)}", power))
    elif before:
        findings.append(warn("cpu", f"since it was started, at times: {', '.join(before)}", power))
    if seen.hottest_c is not None and seen.hottest_c >= HOT_C:
        findings.append(
            warn(
                "temperature",
                f"{seen.hottest_c:.0f} °C: it slows down, and sound may break up",
                "give it air, or a heat sink and a fan",
            )
        )
    if seen.governor == "powersave" and seen.driver not in _SELF_DRIVEN:
        findings.append(
            warn(
                "cpu",
                'governor "powersave": it always runs at its lowest speed',
                "echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
            )
        )
    return findings or [ok("cpu", _all_well(seen))]


def hottest(folder: Path) -> float | None:
    """The warmest thermal zone in °C; None where there is none that can be read."""
    found = (_read(zone / "temp") for zone in folder.glob("thermal_zone*"))
    return max((int(text) / 1000 for text in found if text.lstrip("-").isdigit()), default=None)


def throttled_in(text: str) -> int | None:
    """The bits in "throttled=0x50000"; None in anything else."""
    name, _, bits = text.strip().partition("=")
    try:
        return int(bits, 16) if name == "throttled" else None
    except ValueError:
        return None


def _firmware() -> int | None:
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        asked = subprocess.run(
            [program, "get_throttled"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return throttled_in(asked.stdout)


def _all_well(seen: Processor) -> str:
    parts = [f"governor {seen.governor}"] if seen.governor else []
    if seen.hottest_c is not None:
        parts.append(f"{seen.hottest_c:.0f} °C")
    if seen.throttled is not None:
        parts.append("never throttled")
    return ", ".join(parts) or "neither governor nor temperature to be seen here"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
