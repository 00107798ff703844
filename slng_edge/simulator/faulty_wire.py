"""A connection's WebSocket, with the faults that concern the connection itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from slng_edge.pcm import SAMPLE_BYTES
from slng_edge.simulator.fault_points import Act, FaultPoints
from slng_edge.simulator.faults import ActiveFaults
from slng_edge.simulator.history import ConnectionRecord
from slng_edge.simulator.wire import Wire, WireClosed


class FaultyWire:
    """Receives and sends, until something strikes. Any thread.

    Args:
        wire: What works.
        record: Where messages are noted as they are sent.
        faults: What does not.
        close: How the session closes, for the faults that do.

    Attributes:
        ended: Set when it is over, or frozen.
        cut: Whether its last message was cut in the middle.
    """

    def __init__(
        self,
        wire: Wire,
        record: ConnectionRecord,
        faults: ActiveFaults,
        close: Callable[[int, str], None],
    ) -> None:
        self.ended = threading.Event()
        self.cut = False
        self._wire, self._record, self._faults = wire, record, faults
        self._close = close
        self._lock = threading.Lock()
        self._sent = 0
        self._frozen = False
        self._points = FaultPoints(faults)
        self._audio_left = -1
        if "reset_after_bytes" in faults:
            self._audio_left = faults.number("reset_after_bytes")
        if "slow_reading" in faults:
            wire.slow_down(faults.number("slow_reading"))

    def receive(self, timeout_s: float) -> str | bytes | None:
        """The next message, None after `timeout_s`; frozen, it waits for the end.

        Raises:
            WireClosed: it is over; what was still on its way is for nobody.
        """
        message = self._wire.receive(timeout_s)
        while self._frozen:
            self._wire.receive()
        if self.ended.is_set():
            raise WireClosed
        return message

    def send(self, message: dict[str, Any] | str | bytes) -> None:
        """Note and send a message; nothing when it is over."""
        if self.ended.is_set():
            return
        with self._lock:
            self._sent += 1
            cut = self._sent == self._faults.number("truncated_frame")
        self._record.add("server", message)
        text = json.dumps(message) if isinstance(message, dict) else message
        try:
            if cut:
                self.cut = True
                self._wire.send_cut(text)
            else:
                self._wire.send(text)
        except WireClosed:
            self.ended.set()

    def close(self, code: int, reason: str) -> None:
        """Close with a handshake."""
        self.ended.set()
        self._wire.close(code, reason[:120])

    def reset(self) -> None:
        """Cut it."""
        # Once `ended` is set the session's thread closes, and a close sent now is no reset.
        self._wire.mute()
        self.ended.set()
        self._wire.reset()

    def spend_audio(self, count: int) -> int:
        """How many of `count` bytes may still pass before `reset_after_bytes` strikes."""
        if self._audio_left < 0:
            return count
        with self._lock:
            allowed = min(count, self._audio_left)
            self._audio_left -= allowed
        return allowed

    # ---- what strikes at a point ----------------------------------------------------------

    def opened(self) -> None:
        """Nothing came yet."""
        self._strike(self._points.opened)

    def message_came(self, type_: str) -> bool:
        """A message is here; whether something strikes instead of its answer."""
        return self._strike(lambda: self._points.message_came(type_))

    def message_done(self) -> None:
        """A message has been carried out."""
        self._strike(self._points.message_done)

    def ready_said(self) -> None:
        """`ready` has gone out."""
        self._strike(self._points.ready_said)

    def audio_passed(self, pcm: bytes, rate_hz: int) -> None:
        """Audio that this kind of session is about was received or sent."""
        ms = len(pcm) / SAMPLE_BYTES * 1000 / rate_hz
        self._strike(lambda: self._points.audio_passed(ms))

    def _strike(self, due: Callable[[], list[Act]]) -> bool:
        if not self._points or self.ended.is_set():
            return False
        with self._lock:
            acts = due()
        for act in acts:
            if act.name == "close":
                self._close(act.close_code, "fault: close_after")
            elif act.name == "reset":
                self.reset()
            else:
                self._frozen = True
                self.ended.set()
                self._wire.freeze(swallow=act.name == "half_open")
        return bool(acts)
