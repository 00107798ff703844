"""What slng-edge tells the outside: one vocabulary, one bus.

The control socket, `--events`, the status page, hooks and the log all read these.
Each event is a frozen dataclass; `as_json` gives the line that `contract.md` promises:
``{"t": seconds since start, "at": ISO 8601, "type": …}`` and the fields that have a value.
"""

from __future__ import annotations

import collections
import threading
import time
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Base of all events; `type` is the name on the wire."""

    type: ClassVar[str] = ""

    def payload(self) -> dict[str, Any]:
        """The fields that carry a value; `None` means that the value is not known."""
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True)
class StateChanged(Event):
    """The loop is in another state (starting, idle, listening, thinking, speaking, …)."""

    type: ClassVar[str] = "state"
    state: str


@dataclass(frozen=True)
class Woken(Event):
    """It listens now: a wake word was said, or `word` is "button" or "command"."""

    type: ClassVar[str] = "wake"
    word: str
    score: float


@dataclass(frozen=True)
class SpeechStarted(Event):
    """The gate opened; `preroll_ms` of sound before the onset is sent as well."""

    type: ClassVar[str] = "speech_start"
    preroll_ms: int


@dataclass(frozen=True)
class SpeechEnded(Event):
    """The gate closed; `duration_ms` from the first sample sent to the last."""

    type: ClassVar[str] = "speech_end"
    duration_ms: int


@dataclass(frozen=True)
class PartialHeard(Event):
    """What the recognizer understood so far of the utterance being spoken."""

    type: ClassVar[str] = "partial"
    text: str


@dataclass(frozen=True)
class FinalHeard(Event):
    """The words of one utterance; `latency_ms` from `finalize` to the last of its finals."""

    type: ClassVar[str] = "final"
    text: str
    latency_ms: int
    confidence: float | None = None
    language: str | None = None
    duration_s: float | None = None
    words: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class ReplyWritten(Event):
    """The whole text of a reply, once the responder has ended."""

    type: ClassVar[str] = "reply"
    text: str


@dataclass(frozen=True)
class ReplyAudioStarted(Event):
    """The first sound of a reply came in; `latency_ms` from its first text on the wire."""

    type: ClassVar[str] = "reply_audio_first"
    latency_ms: int


@dataclass(frozen=True)
class PlaybackStarted(Event):
    """The first sample of a reply was handed to the device."""

    type: ClassVar[str] = "playback_start"


@dataclass(frozen=True)
class PlaybackEnded(Event):
    """The reply has sounded; `played_ms` of it were heard."""

    type: ClassVar[str] = "playback_end"
    played_ms: int


@dataclass(frozen=True)
class Interrupted(Event):
    """A reply was cut off.

    `silence_ms` is from the decision to the last non-silent sample handed to the device.
    """

    type: ClassVar[str] = "interrupted"
    by: str
    heard_text: str
    played_ms: int
    silence_ms: float


@dataclass(frozen=True)
class ConnectionChanged(Event):
    """A session's connection is in another state: connecting, ready, closed, failed."""

    type: ClassVar[str] = "connection"
    session: str
    state: str
    model: str
    session_id: str | None = None
    code: int | str | None = None
    reason: str | None = None
    retry_in_s: float | None = None


@dataclass(frozen=True)
class DeviceChanged(Event):
    """A sound device is open, lost or reopened; `which` is input or output."""

    type: ClassVar[str] = "device"
    which: str
    state: str
    name: str


@dataclass(frozen=True)
class Lost(Event):
    """Something could not be kept; nothing is ever lost without this event."""

    type: ClassVar[str] = "lost"
    what: str
    ms: int
    why: str


@dataclass(frozen=True)
class TurnMeasured(Event):
    """The latencies of one turn in milliseconds, from the end of speech to the first sound."""

    type: ClassVar[str] = "turn"
    speech_end_to_final: int
    final_to_reply: int
    reply_to_audio: int
    audio_to_sound: int
    total: int


@dataclass(frozen=True)
class Stamped:
    """An event with its times: `t` seconds since the bus began, `at` the wall clock."""

    t: float
    at: datetime
    event: Event

    def as_json(self) -> dict[str, Any]:
        """The event as the JSON object of `contract.md`."""
        at = self.at.isoformat(timespec="milliseconds")
        return {"t": round(self.t, 3), "at": at, "type": self.event.type, **self.event.payload()}


class Subscription:
    """A bounded queue of events; a slow reader loses the oldest and is told how many."""

    def __init__(self, bus: EventBus, limit: int) -> None:
        self._bus = bus
        self._limit = limit
        self._events: collections.deque[Stamped] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def get(self, timeout_s: float) -> Stamped | None:
        """The next event; None when `timeout_s` has passed or the subscription is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._closed, timeout_s)
            return self._events.popleft() if self._events else None

    @property
    def closed(self) -> bool:
        """Whether no event will come any more and all have been read."""
        with self._changed:
            return self._closed and not self._events

    def close(self) -> None:
        """End the subscription; events already queued can still be read."""
        self._bus.unsubscribe(self)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def offer(self, stamped: Stamped) -> None:
        """Queue an event; never waits. Called by the bus."""
        with self._changed:
            if len(self._events) >= self._limit:
                self._events.popleft()
                self.dropped += 1
            self._events.append(stamped)
            self._changed.notify_all()


class EventBus:
    """Hands every event to every subscriber; any thread may publish, none is kept waiting."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._subscriptions: list[Subscription] = []

    def publish(self, event: Event) -> None:
        """Stamp `event` and queue it for every subscriber."""
        with self._lock:
            stamped = Stamped(time.monotonic() - self._started, datetime.now(UTC), event)
            for subscription in self._subscriptions:
                subscription.offer(stamped)

    def subscribe(self, limit: int = 1000) -> Subscription:
        """A subscription that keeps at most `limit` unread events."""
        subscription = Subscription(self, limit)
        with self._lock:
            self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget `subscription`; one that is not known is ignored."""
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)

    def close(self) -> None:
        """Close every subscription."""
        with self._lock:
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.close()
