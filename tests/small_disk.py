"""A disk of a few KiB, in a mount namespace of the program that is run on it."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest


@cache
def mount_rights() -> tuple[str, ...]:
    """What begins a command that may mount in a namespace of its own; empty where nothing does."""
    for rights in ((), ("--user", "--map-root-user")):
        begin = ("unshare", *rights, "--mount", "--propagation", "private")
        probe = [*begin, "mount", "-t", "tmpfs", "x", "/mnt"]
        if shutil.which("unshare") and not subprocess.run(probe, stderr=-3).returncode:
            return begin
    return ()


needs_mounts = pytest.mark.skipif(
    not mount_rights(), reason="this user may mount nothing, not even in a namespace of its own"
)
NO_ROOM = "No space left on device"


class SmallDisk:
    """A file system of `kib` at `path`, for whoever is started behind `before`.

    From outside it is reached through `inside`, the root of a process that has it.
    """

    def __init__(self, path: Path, kib: int = 16) -> None:
        path.mkdir()
        self.path = path
        self.inside = Path("/")
        mount = f'mount -t tmpfs -o size={kib}k,mode=700 x "{path}" && exec "$@"'
        self.before = (*mount_rights(), "sh", "-c", mount, "sh")

    def seen_by(self, pid: int) -> SmallDisk:
        """As the process sees it, from now on."""
        self.inside = Path(f"/proc/{pid}/root")
        return self

    def file(self, name: str) -> Path:
        """One of its files, from outside; "" is the disk itself."""
        return Path(f"{self.inside}{self.path}") / name

    def fill(self) -> None:
        """Leave no room on it."""
        with open(self.file("filler"), "ab", buffering=0) as file:
            for piece in (bytes(512), b"x"):
                try:
                    while True:
                        file.write(piece)
                except OSError:
                    continue

    def make_room(self) -> None:
        """Take `fill` back."""
        self.file("filler").unlink()
