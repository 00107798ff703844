"""Which process has a sound device open, as /proc shows it."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SOUND = Path("/dev/snd")

_PCM = re.compile(r"pcmC(\d+)D(\d+)([cp])")


@dataclass(frozen=True)
class Holder:
    """A process that has a device open.

    Attributes:
        device: The file's name: "pcmC1D0c".
        pid: Its number.
        program: What it calls itself, as `ps` shows it.
        user: Whose it is.
    """

    device: str
    pid: int
    program: str
    user: str

    def __str__(self) -> str:
        return f"{self.program} (process {self.pid} of {self.user})"

    @property
    def output(self) -> bool | None:
        """Whether it plays; None where that is no device for sound."""
        found = _PCM.fullmatch(self.device)
        return None if found is None else found[3] == "p"

    @property
    def hardware(self) -> str:
        """ALSA's name for it: "hw:1,0"; "" where that is no device for sound."""
        found = _PCM.fullmatch(self.device)
        return f"hw:{int(found[1])},{int(found[2])}" if found else ""


def sound_holders(folder: Path = SOUND, processes: Path = Path("/proc")) -> list[Holder]:
    """Who has a file of `folder` open, ourselves not counted.

    Only root sees the descriptors of other users' processes; those of others are left out.
    """
    holders = []
    for process in processes.iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            for device in sorted(set(_open_in(process, folder))):
                holders.append(_holder(process, device))
    return holders


def words_of(holders: Iterable[Holder], *, output: bool) -> str:
    """Who keeps a device for playing or recording busy; "" where nobody is seen to."""
    found = sorted({str(holder) for holder in holders if holder.output is output})
    return ", ".join(found)


def _open_in(process: Path, folder: Path) -> Iterator[str]:
    try:
        descriptors = os.listdir(process / "fd")
    except OSError:
        return  # it has ended, or is another user's
    for descriptor in descriptors:
        try:
            target = os.readlink(process / "fd" / descriptor)
        except OSError:
            continue  # closed meanwhile
        path = Path(target)
        if path.parent == folder:
            yield path.name


def _holder(process: Path, device: str) -> Holder:
    program, user = "?", "?"
    try:
        program = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
        uid = process.stat().st_uid
    except OSError:
        return Holder(device, int(process.name), program, user)
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = f"user {uid}"
    return Holder(device, int(process.name), program, user)
