"""Whether an emulator runs this program (qemu-user): then counts hold, and times do not."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

PATIENCE = 12
"""So many times as long may take there what has a limit: about as slow is an emulated program."""

_KERNEL_MACHINE = Path("/proc/sys/kernel/arch")
_FAMILIES = {"arm": ("aarch64", "arm"), "x86": ("x86_64", "i386", "i486", "i586", "i686")}


@cache
def emulating_host() -> str:
    """The machine that emulates this one; empty where none does.

    The emulator tells a program the machine of the program, and lets the kernel's own files speak
    of theirs.
    """
    try:
        host = _KERNEL_MACHINE.read_text(encoding="ascii").strip()
    except OSError:  # before Linux 6.1; on an ARM there is no such line
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        host = "x86_64" if "\nvendor_id" in told else platform.machine()
    return "" if _family(host) == _family(platform.machine()) else host


def _family(machine: str) -> str:
    """Machines of one family run each other's programs, as a 64-bit ARM those of 32 bits."""
    for family, names in _FAMILIES.items():
        if machine.startswith(names):
            return family
    return machine
