"""One client's connection as the sessions see it: decoded messages in, events and audio out.

Everything that any session has to do with a message is here: sizes, JSON, the record, the plan's
limits, and the faults that concern the connection or the look of messages. What messages mean is
the sessions'.
"""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from slng_edge.pcm import SAMPLE_BYTES
from slng_edge.simulator.delayed import JOIN_S, DelayedActions
from slng_edge.simulator.faults import ActiveFaults
from slng_edge.simulator.faulty_wire import FaultyWire
from slng_edge.simulator.history import ConnectionRecord
from slng_edge.simulator.limits import TOO_LARGE, Allowance, Breach, MinuteWindow, TierLimits
from slng_edge.simulator.message_forms import BROKEN, decode_message, huge_message, numeric_code
from slng_edge.simulator.wire import Wire, WireClosed

__all__ = ["JOIN_S", "Link"]


class Link:
    """The connection of one session.

    Attributes:
        record: What is remembered of it.
        faults: Those that apply to it.
        limits: What the client has to stay inside of.
        ended: Set when it is over, or frozen on demand; waits of the session look at it.
    """

    def __init__(
        self, wire: Wire, record: ConnectionRecord, faults: ActiveFaults, limits: TierLimits
    ) -> None:
        self.record, self.faults, self.limits = record, faults, limits
        self._wire = FaultyWire(wire, record, faults, self.close)
        self.ended = self._wire.ended
        self._lock = threading.Lock()
        self._events = 0
        self._allowance = Allowance(limits, record.opened_at)
        characters = faults.number("characters_a_minute")
        self._text_window = MinuteWindow(characters) if characters else None
        self._delayed = DelayedActions(f"gateway-{record.kind}-{record.number}-later", self.ended)

    @property
    def cut(self) -> bool:
        """Whether its last message was cut in the middle, on demand."""
        return self._wire.cut

    # ---- in -------------------------------------------------------------------------------

    def messages(self) -> Iterator[dict[str, Any] | bytes]:
        """JSON objects with a type, and binary messages, until the connection ends.

        What is neither is answered with an `error` event and not given out. A connection that
        froze on demand gives out nothing, and ends when its client hangs up.
        """
        self._wire.opened()
        while True:
            try:
                message = self._wire.receive(self._allowance.seconds_left(time.monotonic()))
            except WireClosed:
                return
            if self._breaks(self._allowance.expired(time.monotonic())) or message is None:
                continue
            decoded = decode_message(message)
            self.record.add("client", decoded)
            meant = self.native_message(decoded) if isinstance(decoded, str) else decoded
            type_ = meant["type"] if isinstance(meant, dict) else "audio" if meant else ""
            if self._is_too_much(message, type_):
                continue
            if self._wire.message_came(type_):
                continue
            if meant is None:
                self.send_error("invalid_request", "a message must be a JSON object with a type")
            else:
                yield meant
            self._wire.message_done()

    def native_message(self, text: str) -> dict[str, Any] | None:
        """The message that a provider's own frame stands for, a JSON object with a type.

        None where it stands for none, as here; dialects with native frames know better.
        """
        return None

    def receive_audio(self, pcm: bytes, rate_hz: int) -> bool:
        """Take note of audio of the client; False where it splits a sample (an error goes out)."""
        if len(pcm) % SAMPLE_BYTES:
            self.send_error("invalid_request", "audio must be whole 16-bit samples")
            return False
        self.record.add_audio("client", pcm, rate_hz)
        if self._wire.spend_audio(len(pcm)) < len(pcm):
            self.reset()
        if self.record.kind == "stt":
            self._wire.audio_passed(pcm, rate_hz)
        return True

    def decode_audio(self, message: dict[str, Any]) -> bytes | None:
        """The audio of a base64 `audio` message; None where it has none (an error goes out)."""
        try:
            pcm = base64.b64decode(message["data"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            self.send_error("invalid_request", "audio: data must be base64")
            return None
        return None if self._breaks(self._allowance.receive_audio(len(pcm))) else pcm

    def checked_text(self, message: dict[str, Any]) -> str | None:
        """The text of a `text` message; None where it has none or too much (an error goes out)."""
        text, allowed = message.get("text"), self.limits.text_characters
        if not isinstance(text, str):
            self.send_error("invalid_request", "text must be a string")
            return None
        if len(text) > allowed:
            problem = f"text of {len(text)} characters: {allowed} at most"
            self._note_violation("payload_too_large", problem)
            self.send_error("payload_too_large", problem)
            return None
        if self._text_window and not self._text_window.take(len(text), time.monotonic()):
            problem = f"{self.faults.text('characters_a_minute')} characters a minute at most"
            self._note_violation("rate_limit_exceeded", problem)
            self.send_error("rate_limit_exceeded", problem)
            return None
        return text

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
                self._events += 1
                turn, rest = divmod(self._events, self.faults.number("malformed_json"))
            if not rest:
                self._wire.send(BROKEN[turn % len(BROKEN)])
        if "huge_message" in self.faults and type_ != "audio_chunk":
            self._wire.send(huge_message(self.faults.number("huge_message")))
        if "wrong_case" in self.faults:
            event["type"] = type_.title()
        self._wire.send(event)
        if type_ == "ready":
            self._ready_said()

    def send_error(self, code: str, message: str) -> None:
        """Send an `error` event in the form that the faults ask for."""
        shown = numeric_code(code) if "numeric_error" in self.faults else code
        if "nested_error" in self.faults:
            self.send_event("error", data={"code": shown, "message": message})
        else:
            self.send_event("error", code=shown, message=message)

    def fails(self, fault: str) -> bool:
        """Whether a fault of the form `CODE[:N]` strikes now; then its `error` has gone out."""
        if not self.faults.spend(fault):
            return False
        self.send_error(self.faults.code(fault), f"fault: {fault}")
        return True

    def send_audio(
        self, pcm: bytes, rate_hz: int, sequence: int | None = None, *, header: bytes = b""
    ) -> None:
        """Send audio, as binary, or as `audio_chunk` where a sequence is given.

        `header` goes before it in the same message and does not count as audio.
        """
        if self.ended.is_set():
            return
        allowed = self._wire.spend_audio(len(pcm))
        cut, pcm = allowed < len(pcm), pcm[:allowed]
        self.record.add_audio("server", pcm, rate_hz)
        if sequence is None:
            self._wire.send(header + pcm)
        else:
            data = base64.b64encode(header + pcm).decode()
            self.send_event("audio_chunk", data=data, sequence=sequence)
        if cut:
            self.reset()
        self._wire.audio_passed(pcm, rate_hz)

    def refuse(self, code: str, message: str) -> None:
        """Send an `error` event, and close with 1008."""
        self.send_error(code, message)
        self.close(1008, message)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a handshake. Any thread, not while it is needed to read."""
        self._wire.close(code, reason)

    def reset(self) -> None:
        """Cut it."""
        self._wire.reset()

    # ---- later ----------------------------------------------------------------------------

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do it after `delay_ms` in a thread of its own, or at once and here for 0.

        At the end of the connection it is done too; `action` looks at `ended`.
        """
        if delay_ms:
            self._delayed.add(delay_ms, action)
        else:
            action()

    def wait_for_delayed(self) -> None:
        """Wait until all that was put off is done; the end of the connection hastens it."""
        self._delayed.wait()

    def end(self) -> None:
        """The connection is over: hasten and join what was put off."""
        self.ended.set()
        self._delayed.join()

    # ---- limits ---------------------------------------------------------------------------

    def _is_too_much(self, message: str | bytes, type_: str) -> bool:
        """Whether a message breaks a limit; then the connection is closed."""
        size = len(message.encode()) if isinstance(message, str) else len(message)
        own = self.faults.number("message_limit")
        if 0 < own < size:
            self.close(TOO_LARGE, f"message of {size} bytes: {own} at most")
            return True
        binary, now = isinstance(message, bytes), time.monotonic()
        audio = binary or type_ == "audio"
        return self._breaks(self._allowance.receive(size, audio=audio, binary=binary, now=now))

    def _breaks(self, breach: Breach | None) -> bool:
        if breach is None:
            return False
        self._note_violation(breach.code, breach.message)
        if breach.code:
            self.send_error(breach.code, breach.message)
        self.close(breach.close_code, breach.message)
        return True

    def _note_violation(self, code: str, message: str) -> None:
        who = f"{self.record.kind} {self.record.number}"
        self.limits.violations.add(": ".join(filter(None, (who, code, message))))

    # ---- faults ---------------------------------------------------------------------------

    def _ready_said(self) -> None:
        if "ready_then_error" in self.faults:
            self.send_error(self.faults.text("ready_then_error"), "fault: ready_then_error")
            self.close(1011, "fault: ready_then_error")
        self._wire.ready_said()
