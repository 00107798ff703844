"""One client's connection as the sessions see it: decoded messages in, events and audio out.

Everything that any session has to do with a message is here: sizes, JSON, the record, and the
faults that concern the connection or the look of messages. What messages mean is the sessions'.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from slng_edge.pcm import SAMPLE_BYTES
from slng_edge.simulator.faults import ActiveFaults
from slng_edge.simulator.history import ConnectionRecord
from slng_edge.simulator.limits import TierLimits
from slng_edge.simulator.wire import Wire, WireClosed

_BROKEN = (
    '{"type":"final_tran',
    "[1, 2, 3]",
    '{"transcript":"a message without a type"}',
    '{"type":"surprise","data":null}',
    '{"type":42}',
)

_NUMERIC_CODES = {"config_error": 400, "invalid_request": 400, "payload_too_large": 413}

JOIN_S = 2.0
"""How long the end of a connection waits for its delayed messages' threads."""


class Link:
    """The connection of one session.

    Attributes:
        record: What is remembered of it.
        faults: Those that apply to it.
        ended: Set when it is over; waits of the session look at it.
    """

    def __init__(
        self, wire: Wire, record: ConnectionRecord, faults: ActiveFaults, limits: TierLimits
    ) -> None:
        self.record, self.faults, self.limits = record, faults, limits
        self.ended = threading.Event()
        self._wire = wire
        self._lock = threading.Lock()
        self._sent = self._received = 0
        self._audio_left = faults.number("reset_after_bytes") if self._resets else -1
        self._delayed: list[threading.Thread] = []

    @property
    def _resets(self) -> bool:
        return "reset_after_bytes" in self.faults

    # ---- in -------------------------------------------------------------------------------

    def messages(self) -> Iterator[dict[str, Any] | bytes]:
        """JSON objects with a type, and binary messages, until the connection ends.

        What is neither is answered with an `error` event and not given out.
        """
        while True:
            try:
                message = self._wire.receive()
            except WireClosed:
                return
            if self.ended.is_set():
                return  # we closed it; what was still on its way is not for the session
            size = len(message.encode()) if isinstance(message, str) else len(message)
            decoded = _decode(message)
            self.record.add("client", decoded)
            self._received += 1
            if size > self.limits.message_bytes:
                self.close(4002, f"message of {size} bytes: {self.limits.message_bytes} at most")
            elif isinstance(decoded, str):
                self.send_error("invalid_request", "a message must be a JSON object with a type")
            else:
                yield decoded
            self._close_after()

    def receive_audio(self, pcm: bytes, rate_hz: int) -> bool:
        """Take note of audio of the client; False where it splits a sample (an error goes out)."""
        if len(pcm) % SAMPLE_BYTES:
            self.send_error("invalid_request", "audio must be whole 16-bit samples")
            return False
        self.record.add_audio("client", pcm, rate_hz)
        if self._spend_audio(len(pcm)) < len(pcm):
            self.reset()
        return True

    def decode_audio(self, message: dict[str, Any]) -> bytes | None:
        """The audio of a base64 `audio` message; None where it has none (an error goes out)."""
        try:
            return base64.b64decode(message["data"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            self.send_error("invalid_request", "audio: data must be base64")
            return None

    def checked_rate(self, config: dict[str, Any], default_hz: int) -> int | None:
        """The rate of an `init`, None where its audio format cannot be had: error, close 1008."""
        encoding = config.get("encoding", "linear16")
        rate_hz = config.get("sample_rate", default_hz)
        if encoding != "linear16":
            problem = f"encoding {encoding!r}: only linear16 is spoken here"
        elif not isinstance(rate_hz, int) or not 8000 <= rate_hz <= 48000:
            problem = f"sample_rate {rate_hz!r}: a whole number from 8000 to 48000"
        else:
            return rate_hz
        self.refuse("config_error", problem)
        return None

    # ---- out ------------------------------------------------------------------------------

    def send_event(self, type_: str, **fields: Any) -> None:
        """Send a JSON message; fields that are None are left out. Any thread."""
        event = {"type": type_} | {name: v for name, v in fields.items() if v is not None}
        if "malformed_json" in self.faults:
            with self._lock:
                self._sent += 1
                turn, rest = divmod(self._sent, self.faults.number("malformed_json"))
            if not rest:
                self._send(_BROKEN[turn % len(_BROKEN)])
        if "wrong_case" in self.faults:
            event["type"] = type_.title()
        self._send(event)

    def send_error(self, code: str, message: str) -> None:
        """Send an `error` event in the form that the faults ask for."""
        shown: str | int = code
        if "numeric_error" in self.faults:
            shown = _NUMERIC_CODES.get(code, 500)
        if "nested_error" in self.faults:
            self.send_event("error", data={"code": shown, "message": message})
        else:
            self.send_event("error", code=shown, message=message)

    def send_audio(
        self, pcm: bytes, rate_hz: int, sequence: int | None = None, *, header: bytes = b""
    ) -> None:
        """Send audio, as binary, or as `audio_chunk` where a sequence is given.

        `header` goes before it in the same message and does not count as audio.
        """
        allowed = self._spend_audio(len(pcm))
        cut, pcm = allowed < len(pcm), pcm[:allowed]
        self.record.add_audio("server", pcm, rate_hz)
        if sequence is None:
            self._send(header + pcm)
        else:
            data = base64.b64encode(header + pcm).decode()
            self.send_event("audio_chunk", data=data, sequence=sequence)
        if cut:
            self.reset()

    def refuse(self, code: str, message: str) -> None:
        """Send an `error` event and close with 1008."""
        self.send_error(code, message)
        self.close(1008, message)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a handshake. Any thread, not while it is needed to read."""
        self.ended.set()
        self._wire.close(code, reason[:120])

    def reset(self) -> None:
        """Cut it."""
        self.ended.set()
        self._wire.reset()

    # ---- later ----------------------------------------------------------------------------

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do it after `delay_ms` in a thread of its own, or at once and here for 0.

        At the end of the connection it is done too; `action` looks at `ended`.
        """
        if not delay_ms:
            action()
            return

        def wait_and_act() -> None:
            self.ended.wait(delay_ms / 1000)
            action()

        name = f"gateway-{self.record.kind}-{self.record.number}-later"
        thread = threading.Thread(target=wait_and_act, name=name, daemon=True)
        thread.start()
        self._delayed.append(thread)

    def wait_for_delayed(self) -> None:
        """Wait until all that was put off is done; the end of the connection hastens it."""
        for thread in self._delayed:
            thread.join()

    def end(self) -> None:
        """The connection is over: hasten and join what was put off."""
        self.ended.set()
        deadline = time.monotonic() + JOIN_S
        for thread in self._delayed:
            thread.join(max(0.0, deadline - time.monotonic()))

    # ---- inside ---------------------------------------------------------------------------

    def _send(self, message: dict[str, Any] | str | bytes) -> None:
        if self.ended.is_set():
            return
        self.record.add("server", message)
        text = json.dumps(message) if isinstance(message, dict) else message
        try:
            self._wire.send(text)
        except WireClosed:
            self.ended.set()

    def _spend_audio(self, count: int) -> int:
        """How many of `count` bytes may still pass before `reset_after_bytes` strikes."""
        if self._audio_left < 0:
            return count
        with self._lock:
            allowed = min(count, self._audio_left)
            self._audio_left -= allowed
        return allowed

    def _close_after(self) -> None:
        if "close_after" not in self.faults:
            return
        count, _, code = self.faults.text("close_after").partition(":")
        if self._received >= int(count):
            self.close(int(code or 1011), "fault: close_after")


def _decode(message: str | bytes) -> dict[str, Any] | str | bytes:
    if isinstance(message, bytes):
        return message
    try:
        decoded = json.loads(message)
    except ValueError:
        return message
    if isinstance(decoded, dict) and isinstance(decoded.get("type"), str):
        return decoded
    return message
