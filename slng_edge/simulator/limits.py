"""What a plan allows (protocol.md, section 6), as the local gateway enforces it.

The figures are here, and the bookkeeping of one connection, which is pure: `now` is handed in.
A minute is any 60 s, not one of the clock, so that a client that stays inside here stays inside
however a gateway counts. What is refused or ended for a limit's sake is noted in `Violations`.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from dataclasses import dataclass, field

from slng_edge.errors import ConfigError

IDLE_S = 300.0
"""A connection without a message of the client for so long is ended, on every tier."""

MINUTE_S = 60.0

TOO_LARGE, RATE_LIMIT, GOING_AWAY = 4002, 4001, 1001
"""Close codes. For duration and idleness the page names none: 1001 is its "server going away"."""


class Violations:
    """What was refused or ended because of a limit, a line each. Any thread.

    Args:
        changed: Notified at each.
    """

    def __init__(self, changed: threading.Condition | None = None) -> None:
        self._changed = changed or threading.Condition()
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Note one."""
        with self._changed:
            self._lines.append(line)
            self._changed.notify_all()

    def lines(self) -> list[str]:
        """All so far, in order."""
        with self._changed:
            return list(self._lines)


@dataclass(frozen=True)
class TierLimits:
    """What a client must stay inside of at one gateway.

    Attributes:
        connections: Open at the same time, both kinds together.
        connection_s: Age at which a connection is ended.
        message_bytes: Of one message, as it comes.
        messages_a_minute: JSON messages of a connection in any 60 s; audio is not counted.
        text_characters: Of one text message.
        audio_bytes: Of one piece of audio, before base64.
        idle_s: Time without a message after which a connection is ended.
        violations: Where it is noted when a client does not.
    """

    connections: int
    connection_s: float
    message_bytes: int
    messages_a_minute: int
    text_characters: int
    audio_bytes: int
    idle_s: float = IDLE_S
    violations: Violations = field(default_factory=Violations, compare=False, repr=False)

    def at_a_gateway(
        self, changed: threading.Condition, connection_s: float | None, idle_s: float | None
    ) -> TierLimits:
        """These with violations of their own, and other times where some are given."""
        return dataclasses.replace(
            self,
            connection_s=self.connection_s if connection_s is None else connection_s,
            idle_s=self.idle_s if idle_s is None else idle_s,
            violations=Violations(changed),
        )


_KB = 1024

TIERS = {
    "free": TierLimits(1, 300.0, 16 * _KB, 20, 500, 16 * _KB),
    "pro": TierLimits(5, 1800.0, 32 * _KB, 60, 2_000, 32 * _KB),
    "enterprise": TierLimits(50, 7200.0, 128 * _KB, 120, 10_000, 64 * _KB),
}


def limits_of(tier: str) -> TierLimits:
    """The limits of a tier by its name.

    Raises:
        ConfigError: there is no such tier.
    """
    try:
        return TIERS[tier]
    except KeyError:
        raise ConfigError(f"tier {tier!r}: one of {', '.join(TIERS)}") from None


@dataclass(frozen=True)
class Breach:
    """A limit that was not kept: an `error` event with `code` ("" for none), then the close."""

    code: str
    message: str
    close_code: int


class MinuteWindow:
    """How much came within the last minute. One thread.

    Args:
        limit: What may come in any 60 s.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._came: deque[tuple[float, int]] = deque()

    def take(self, amount: int, now: float) -> bool:
        """Whether `amount` is still within the limit; otherwise it does not count."""
        while self._came and self._came[0][0] <= now - MINUTE_S:
            self._came.popleft()
        if sum(earlier for _, earlier in self._came) + amount > self._limit:
            return False
        self._came.append((now, amount))
        return True


class Allowance:
    """What one connection may still send, and until when. One thread.

    Args:
        limits: Those of the gateway.
        opened_at: When the connection was made, in seconds of the clock that `now` is of.
    """

    def __init__(self, limits: TierLimits, opened_at: float) -> None:
        self._limits = limits
        self._ends_at = opened_at + limits.connection_s
        self._idle_at = opened_at + limits.idle_s
        self._messages = MinuteWindow(limits.messages_a_minute)

    def receive(self, size: int, *, audio: bool, binary: bool, now: float) -> Breach | None:
        """Take note of a message of `size` bytes; what it breaks, or None.

        Args:
            size: As it came.
            audio: Whether it is audio, in either form.
            binary: Whether it is a binary message.
            now: When it came.
        """
        limits = self._limits
        self._idle_at = now + limits.idle_s
        if size > limits.message_bytes:
            problem = f"message of {size} bytes: {limits.message_bytes} at most"
            return Breach("", problem, TOO_LARGE)
        if binary:
            return self.receive_audio(size)
        if audio:
            return None
        if self._messages.take(1, now):
            return None
        problem = f"more than {limits.messages_a_minute} messages in a minute"
        return Breach("rate_limit_exceeded", problem, RATE_LIMIT)

    def receive_audio(self, size: int) -> Breach | None:
        """Whether a piece of audio of `size` bytes is too large."""
        if size <= self._limits.audio_bytes:
            return None
        problem = f"audio of {size} bytes: {self._limits.audio_bytes} at most"
        return Breach("", problem, TOO_LARGE)

    def expired(self, now: float) -> Breach | None:
        """Whether its time is up, as a whole or for want of messages."""
        if now >= self._ends_at:
            problem = f"open for {self._limits.connection_s:g} s"
            return Breach("max_connection_duration_exceeded", problem, GOING_AWAY)
        if now >= self._idle_at:
            problem = f"no message for {self._limits.idle_s:g} s"
            return Breach("idle_timeout_exceeded", problem, GOING_AWAY)
        return None

    def seconds_left(self, now: float) -> float:
        """Until `expired` has to be asked again."""
        return max(0.0, min(self._ends_at, self._idle_at) - now)
