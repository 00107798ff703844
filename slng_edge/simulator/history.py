"""What the gateway remembers of its connections, for tests and logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from slng_edge.simulator.recording import Message, Tape


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


class History:
    """The connections so far, and a way to wait for what happens on them. Any thread.

    Args:
        keep: Whether messages and ended connections are kept.
    """

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        self.changed = threading.Condition()
        self._records: list[ConnectionRecord] = []

    def connections(self) -> list[ConnectionRecord]:
        """In order of their upgrades."""
        with self.changed:
            return list(self._records)

    def add(self, record: ConnectionRecord) -> None:
        """A connection was made."""
        with self.changed:
            self._records.append(record)
            self.changed.notify_all()

    def end(self, record: ConnectionRecord, close_code: int) -> None:
        """A connection is over."""
        if not self.keep:
            with self.changed:
                self._records.remove(record)
        record.end(close_code)

    def wait_for(self, predicate: Callable[[], object], timeout_s: float) -> bool:
        """Wait until `predicate()` holds; it is asked at every message and connection."""
        with self.changed:
            return bool(self.changed.wait_for(predicate, timeout_s))
