"""Mute and volume over restarts: a small file, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

FILE_NAME = "settings.json"
FILE_LIMIT_BYTES = 4096
VOLUME_LIMIT = 2.0

AGAIN_S = 30.0
"""What could not be written, on a full disk for one, is tried again after so long: each attempt
may write to the card."""


@dataclass(frozen=True)
class Kept:
    """What is kept.

    `volume` is None where it is the configuration's; `volume_of_config` is what that was when
    `volume` was set: where the configuration says something else now, it was changed since, and
    counts.
    """

    muted: bool = False
    volume: float | None = None
    volume_of_config: float | None = None


class KeptSettings:
    """Mute and volume, read once and written when they change; never raises.

    It belongs to one thread, which may have to wait for the disk.

    Args:
        file: Where they are kept; a file that is not there yet says nothing.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._told = ""
        self._again_at = math.inf
        self._kept = self._read()

    @property
    def muted(self) -> bool:
        """Whether it was muted."""
        return self._kept.muted

    def volume(self, volume_of_config: float) -> float:
        """The volume to start with, where the configuration says `volume_of_config`."""
        kept = self._kept
        if kept.volume is None or kept.volume_of_config != volume_of_config:
            return volume_of_config
        return kept.volume

    def keep(self, *, muted: bool, volume: float, volume_of_config: float) -> None:
        """Write what is so now, where that is not what is kept already.

        Where it cannot be written a warning says so once, and it is tried again every
        `AGAIN_S` and on the next change.
        """
        kept = Kept(muted)
        if volume != volume_of_config:
            kept = Kept(muted, volume, volume_of_config)
        if kept == self._kept and time.monotonic() < self._again_at:
            return
        self._kept = kept
        try:
            _write_whole(self._file, json.dumps(asdict(kept)) + "\n")
        except OSError as error:
            self._again_at = time.monotonic() + AGAIN_S
            self._warn(f"mute and volume are not kept over restarts: {self._file}", error)
        else:
            if self._again_at < math.inf:
                log.info("mute and volume are kept again: %s", self._file)
            self._again_at = math.inf
            self._told = ""

    def _read(self) -> Kept:
        try:
            return _kept_in(_read_regular(self._file))
        except FileNotFoundError:
            return Kept()
        except (OSError, ValueError, RecursionError) as error:
            self._warn(f"mute and volume begin as configured: {self._file}", error)
            return Kept()

    def _warn(self, what: str, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        if reason != self._told:
            self._told = reason
            log.warning("%s: %s", what, reason)


def state_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where mute and volume are kept: systemd's StateDirectory=, else the user's own."""
    folder = environ.get("STATE_DIRECTORY", "").split(":")[0]  # systemd may name several
    if folder:
        return Path(folder, FILE_NAME)
    base = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: then it is to be ignored
        home = environ.get("HOME") or os.path.expanduser("~")
        # A user whom no list knows has no home: "~" would be a folder here.
        base = os.path.join(home if os.path.isabs(home) else "/", ".local", "state")
    return Path(base, "slng-edge", FILE_NAME)


def _kept_in(data: bytes) -> Kept:
    found = json.loads(data)
    if not isinstance(found, dict) or not isinstance(found.get("muted", False), bool):
        raise ValueError("it is not what was written there")
    volume, of_config = (_gain(found.get(name)) for name in ("volume", "volume_of_config"))
    return Kept(found.get("muted", False), volume, of_config)


def _gain(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("the volume in it is no number")
    if not 0 <= value <= VOLUME_LIMIT:
        raise ValueError("the volume in it is out of range")
    return float(value)


def _read_regular(file: Path) -> bytes:
    # Non-blocking: opening a named pipe would wait for its writer, and nothing would start.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no regular file")
        return os.read(descriptor, FILE_LIMIT_BYTES)
    finally:
        os.close(descriptor)


def _write_whole(file: Path, text: str) -> None:
    """Replace `file` by one with `text`, so that a power cut leaves the old one or the new one."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Always the same name: what a power cut leaves behind makes room next time.
    unfinished = file.with_name(f".{file.name}.new")
    unfinished.unlink(missing_ok=True)
    # New, and no link: not another file that somebody named for us.
    created = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(unfinished, created, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
