"""What the gateway remembers of its connections, in memory and on disk."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
import wave
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from slng_edge.errors import ConfigError
from slng_edge.pcm import SAMPLE_BYTES

log = logging.getLogger(__name__)

Message: TypeAlias = dict[str, Any] | str | bytes
"""A decoded JSON object, audio, or the text itself where it was no JSON object."""


class HeaderMap(Mapping[str, str]):
    """The headers of a request; names compare without case."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values = {name.lower(): value for name, value in pairs}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Tape:
    """One connection on disk: its messages as JSON lines, its audio as WAV.

    The audio is the client's on speech-to-text and the gateway's on text-to-speech. Keys are
    never written: headers are not part of it. A disk that fails is reported once and ends the
    recording, not the connection.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self._lock = threading.Lock()
        self._path = folder / stem
        self._wave: wave.Wave_write | None = None
        self._lines = open(_new_file(self._path.with_suffix(".jsonl")), "w", encoding="utf-8")

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
                target = os.fdopen(_new_file(self._path.with_suffix(".wav")), "wb")
                self._wave = wave.open(target, "wb")
                self._wave.setnchannels(1)
                self._wave.setsampwidth(SAMPLE_BYTES)
                self._wave.setframerate(rate_hz)
            self._wave.writeframes(pcm)

        self._write(write)

    def close(self) -> None:
        """Finish both files."""
        with self._lock:
            if self._wave is not None:
                # wave leaves a file open that it did not open itself
                target = self._wave.getfp() if hasattr(self._wave, "getfp") else None
                self._wave.close()
                if target is not None:
                    target.close()
            self._lines.close()

    def _write(self, action: Any) -> None:
        with self._lock:
            if self._lines.closed:
                return
            try:
                action()
            except OSError as error:
                log.warning("recording %s ends: %s", self._path, error)
                self._lines.close()


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


class ConnectionRecord:
    """One connection as the gateway saw it; tests read it, the session writes it.

    Attributes:
        kind: "stt" or "tts".
        number: The connection attempt among those of its kind, from 1.
        path: The request's path, percent-decoded, without the query.
        model: The model part of the path.
        headers: The request's headers; names compare without case.
        opened_at: `time.monotonic()` of the upgrade.
        messages: Every message in order, as (`time.monotonic()`, "client" or "server",
            message); a message of the gateway is noted just before it is sent.
        close_code: The WebSocket close code, 1006 for a reset; None while it is open.
    """

    def __init__(
        self,
        kind: str,
        number: int,
        path: str,
        model: str,
        headers: HeaderMap,
        *,
        changed: threading.Condition,
        keep: bool = True,
        tape: Tape | None = None,
    ) -> None:
        self.kind, self.number, self.path, self.model = kind, number, path, model
        self.headers = headers
        self.opened_at = time.monotonic()
        self.messages: list[tuple[float, str, Message]] = []
        self.close_code: int | None = None
        self.message_count = 0
        self.audio_bytes = 0
        self._audio = bytearray()
        self._changed = changed
        self._keep = keep
        self._tape = tape

    @property
    def audio(self) -> bytes:
        """All audio that the client sent, joined (binary and base64), s16le mono."""
        return bytes(self._audio)

    def of_type(self, direction: str, type_: str) -> list[dict[str, Any]]:
        """The JSON messages of one direction and type (any case), in order."""
        return [
            message
            for _, sender, message in list(self.messages)
            if sender == direction
            and isinstance(message, dict)
            and str(message.get("type", "")).lower() == type_
        ]

    def add(self, direction: str, message: Message) -> None:
        """Note a message and wake those who wait for it. Any thread."""
        now = time.monotonic()
        if self._tape is not None:
            self._tape.add(now - self.opened_at, direction, message)
        with self._changed:
            self.message_count += 1
            if self._keep:
                self.messages.append((now, direction, message))
            self._changed.notify_all()

    def add_audio(self, direction: str, pcm: bytes, rate_hz: int) -> None:
        """Note audio of the side that this kind of session is about. Any thread."""
        if self._tape is not None and (direction == "client") == (self.kind == "stt"):
            self._tape.add_audio(pcm, rate_hz)
        with self._changed:
            self.audio_bytes += len(pcm)
            if self._keep and direction == "client":
                self._audio += pcm
            self._changed.notify_all()

    def end(self, close_code: int) -> None:
        """The connection is over."""
        if self._tape is not None:
            self._tape.close()
        with self._changed:
            self.close_code = close_code
            self._changed.notify_all()


def _new_file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
