"""Connections on disk: messages as JSON lines, audio as WAV."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import wave
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeAlias

from slng_edge.errors import ConfigError
from slng_edge.pcm import SAMPLE_BYTES

log = logging.getLogger(__name__)

Message: TypeAlias = dict[str, Any] | str | bytes
"""A decoded JSON object, audio, or the text itself where it was no JSON object."""


class Tape:
    """One connection on disk: its messages as JSON lines, its audio as WAV.

    The audio is the client's on speech-to-text and the gateway's on text-to-speech. Keys are
    never written: headers are not part of it. A disk that fails is reported once and ends the
    recording, not the connection.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self._lock = threading.Lock()
        self._path = folder / stem
        self._lines: IO[str] = _private(self._path.with_suffix(".jsonl"), "w")
        self._sound: IO[bytes] | None = None
        self._wave: wave.Wave_write | None = None

    def add(self, t_s: float, direction: str, message: Message) -> None:
        """Write one message; audio as its length. Any thread."""
        line: dict[str, Any] = {
            "t": round(t_s, 4),
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "direction": direction,
        }
        if isinstance(message, bytes):
            line["audio_bytes"] = len(message)
        elif isinstance(message, str):
            line["text"] = message
        else:
            shown = {
                k: f"{len(str(v))} characters" if k == "data" else v for k, v in message.items()
            }
            line["message"] = shown
        self._write(lambda: self._lines.write(json.dumps(line, ensure_ascii=False) + "\n"))

    def add_audio(self, pcm: bytes, rate_hz: int) -> None:
        """Append s16le mono samples at `rate_hz`; the rate of the first call stands."""

        def write() -> None:
            if self._wave is None:
                self._sound = _private(self._path.with_suffix(".wav"), "wb")
                self._wave = wave.Wave_write(self._sound)
                self._wave.setnchannels(1)
                self._wave.setsampwidth(SAMPLE_BYTES)
                self._wave.setframerate(rate_hz)
            self._wave.writeframes(pcm)

        self._write(write)

    def close(self) -> None:
        """Finish both files."""
        with self._lock:
            self._finish()

    def _write(self, action: Callable[[], object]) -> None:
        with self._lock:
            if self._lines.closed:
                return
            try:
                action()
            except OSError as error:
                log.warning("recording %s ends: %s", self._path, error)
                self._finish()

    def _finish(self) -> None:
        # wave does not close what it did not open; on a full disk every one of these can fail,
        # and the file is closed all the same
        for file in (self._wave, self._sound, self._lines):
            try:
                if file is not None:
                    file.close()
            except OSError as error:
                log.debug("recording %s is not complete: %s", self._path, error)


class RecordFolder:
    """The directory of `--record`, mode 0700, made when it is missing.

    Raises:
        ConfigError: it cannot be made or written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._count = 0
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise ConfigError(f"cannot record to {self.path}: {error.strerror}") from error

    def tape(self, kind: str, model: str) -> Tape:
        """A new tape; file names begin with the time, so that they sort and never collide."""
        self._count += 1
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        model = re.sub(r"[^\w-]+", "-", model)[:60].strip("-")
        return Tape(self.path, f"{stamp}-{os.getpid()}-{self._count:04d}-{kind}-{model}")


def _private(path: Path, mode: str) -> IO[Any]:
    """A new file that only its owner can read."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), mode)
