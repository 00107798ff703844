"""Disk and memory: what is left of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slng_edge.diagnostics.finding import Finding, ok, warn
from slng_edge.diagnostics.inspection import Subject
from slng_edge.service.kept_settings import state_file

MIB = 1024 * 1024
LITTLE_DISK_MIB = 200
"""An upgrade keeps the version before it: both need about so much."""
FULL_DISK_MIB = 5
LITTLE_MEMORY_MIB = 80
"""The voice loop takes 60 to 100."""


@dataclass(frozen=True)
class Folder:
    """A folder that is written to: where it is (or will be made), and what its disk has left."""

    what: str
    path: str
    free_mib: float
    read_only: bool
    writable: bool


def check_disk(subject: Subject) -> list[Finding]:
    """The state's folder, and the one of recordings where there are to be any."""
    folders = [look_at("mute and volume", state_file().parent)]
    if subject.config.debug.record_dir:
        folders.append(look_at("recordings", Path(subject.config.debug.record_dir).expanduser()))
    return [judge_folder(folder) for folder in folders]


def look_at(what: str, path: Path) -> Folder:
    """`path`, or the nearest folder above it that there is."""
    there = next(folder for folder in (path, *path.absolute().parents) if os.path.isdir(folder))
    disk = os.statvfs(there)
    return Folder(
        what,
        str(path),
        disk.f_bavail * disk.f_frsize / MIB,
        bool(disk.f_flag & os.ST_RDONLY),
        os.access(there, os.W_OK | os.X_OK),
    )


def judge_folder(folder: Folder) -> Finding:
    """Whether there can be written, and for how long."""
    name, kept = "disk", f"{folder.what} in {folder.path}"
    if folder.read_only:
        return warn(
            name,
            f"{kept}: the disk is read-only, so they are not kept over a restart",
            "keep /var/lib writable (an overlay forgets), or live without",
        )
    if not folder.writable:
        return warn(
            name,
            f"{kept}: this user may not write there, so they are not kept",
            "run it as the service's user (--as-service), or give it the folder",
        )
    free = f"{folder.free_mib:.0f} MiB free"
    if folder.free_mib < FULL_DISK_MIB:
        return warn(
            name,
            f"{kept}: the disk is full ({free}), so they are not kept, and logs get lost",
            "sudo journalctl --vacuum-size=50M; sudo apt-get clean",
        )
    if folder.free_mib < LITTLE_DISK_MIB:
        return warn(
            name,
            f"{kept}: {free}, too little for an upgrade",
            "sudo journalctl --vacuum-size=50M; sudo apt-get clean",
        )
    return ok(name, f"{kept}: {free}")


def check_memory(subject: Subject) -> list[Finding]:
    """What could be had without swapping."""
    text = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace")
    return [judge_memory(*memory_in(text), running=subject.service.answers)]


def memory_in(text: str) -> tuple[float | None, float | None]:
    """Available and total memory in MiB of what /proc/meminfo says; None where it does not."""
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    found = (values.get(name) for name in ("MemAvailable", "MemTotal"))
    available, total = (float(each.split()[0]) / 1024 if each else None for each in found)
    return available, total


def judge_memory(available_mib: float | None, total_mib: float | None, *, running: bool) -> Finding:
    """Whether a voice loop has room; one that `running` has it already."""
    if available_mib is None or total_mib is None:
        return ok("memory", "the kernel does not say what is available")
    words = f"{available_mib:.0f} of {total_mib:.0f} MiB available"
    if available_mib < LITTLE_MEMORY_MIB and not running:
        return warn("memory", words, "end other programs: ps aux --sort=-rss | head")
    return ok("memory", words)
