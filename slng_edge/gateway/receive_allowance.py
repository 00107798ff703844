"""How much a gateway may send before it is taken for one that floods; pure: `now` is handed in.

What a session asks for is answered by so much and not more: words by the second of speech, sound
by the character. A gateway that sends more keeps the processor busy, which on a device is what
hears. So there is an allowance, of messages and of bytes. It is full at the start, grows with the
time and with what we send, and is never more than full, or than what our last message allows.

Frames cost by their number far more than by their bytes (30 µs each here, ten times that on
a small device), so both are counted, pings as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from slng_edge.gateway.frame_reader import RuleBroken

CLOSE_FLOODED = 1008


@dataclass(frozen=True)
class ReceiveLimits:
    """What one connection may send.

    Attributes:
        messages, size_bytes: At once. A message in pieces counts as so many.
        messages_a_second, bytes_a_second: In the long run.
        messages_a_byte, bytes_a_byte: More, for each byte of a message of ours.
    """

    messages: int
    messages_a_second: float
    messages_a_byte: float
    size_bytes: int
    bytes_a_second: float
    bytes_a_byte: float


STT_LIMITS = ReceiveLimits(
    messages=1000,
    messages_a_second=50,
    messages_a_byte=1 / 320,
    size_bytes=8 * 1024**2,
    bytes_a_second=128 * 1024,
    bytes_a_byte=10,
)
"""Live speech makes 10 to 20 messages a second, of some 100 bytes. A recording is sent as fast as
it goes, and answered as fast: a message for each 10 ms of it would still be no flood."""

TTS_LIMITS = ReceiveLimits(
    messages=10_000,
    messages_a_second=250,
    messages_a_byte=20,
    size_bytes=32 * 1024**2,
    bytes_a_second=512 * 1024,
    bytes_a_byte=16 * 1024,
)
"""100 s at once in frames of 10 ms, and three times as long as a text takes, 67 ms a character.
48 kHz as base64 is 128 KB/s. Where the reply buffer is full, nothing is read, and so nothing
counted."""


class ReceiveAllowance:
    """Counts what comes on one connection; the owner serializes all calls.

    Args:
        limits: What may come.
        now: The time, seconds of a monotonic clock.
    """

    def __init__(self, limits: ReceiveLimits, now: float) -> None:
        self._limits = limits
        self._messages = float(limits.messages)
        self._bytes = float(limits.size_bytes)
        self._counted_at = now

    def sent(self, size: int) -> None:
        """A message of ours of `size` bytes went out: it may be answered."""
        messages = size * self._limits.messages_a_byte
        size_bytes = size * self._limits.bytes_a_byte
        self._grow(messages, size_bytes, up_to=(messages, size_bytes))

    def received(self, frames: int, size_bytes: int, now: float) -> None:
        """A message in so many frames, or a control frame, has come.

        Raises:
            RuleBroken: it is more than may come.
        """
        passed_s = max(0.0, now - self._counted_at)
        self._counted_at = now
        limits = self._limits
        self._grow(passed_s * limits.messages_a_second, passed_s * limits.bytes_a_second)
        self._messages -= frames
        self._bytes -= size_bytes
        if self._messages < 0 or self._bytes < 0:
            what = "messages" if self._messages < 0 else "bytes"
            raise RuleBroken(
                f"the gateway sends far more {what} than it was asked for", CLOSE_FLOODED
            )

    def _grow(
        self, messages: float, size_bytes: float, up_to: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        full = max(self._messages, up_to[0], self._limits.messages)
        self._messages = min(self._messages + messages, full)
        full = max(self._bytes, up_to[1], self._limits.size_bytes)
        self._bytes = min(self._bytes + size_bytes, full)
