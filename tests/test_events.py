"""The events that the outside sees, and the bus that hands them out."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime

import pytest

from slng_edge.events import (
    ConnectionChanged,
    DeviceChanged,
    Event,
    EventBus,
    FinalHeard,
    Interrupted,
    Lost,
    PartialHeard,
    PlaybackEnded,
    PlaybackStarted,
    ReplyAudioStarted,
    ReplyWritten,
    SpeechEnded,
    SpeechStarted,
    Stamped,
    StateChanged,
    TurnMeasured,
)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (StateChanged("idle"), {"type": "state", "state": "idle"}),
        (SpeechStarted(300), {"type": "speech_start", "preroll_ms": 300}),
        (SpeechEnded(1200), {"type": "speech_end", "duration_ms": 1200}),
        (PartialHeard("he"), {"type": "partial", "text": "he"}),
        (FinalHeard("hi", 80), {"type": "final", "text": "hi", "latency_ms": 80}),
        (
            FinalHeard("", 80, 0.0, "en", 0.0, [{"word": "hi"}]),
            {
                "type": "final",
                "text": "",
                "latency_ms": 80,
                "confidence": 0.0,
                "language": "en",
                "duration_s": 0.0,
                "words": [{"word": "hi"}],
            },
        ),
        (ReplyWritten("Hello."), {"type": "reply", "text": "Hello."}),
        (ReplyAudioStarted(90), {"type": "reply_audio_first", "latency_ms": 90}),
        (PlaybackStarted(), {"type": "playback_start"}),
        (PlaybackEnded(900), {"type": "playback_end", "played_ms": 900}),
        (
            Interrupted("speech", "Hel", 400, 12.5),
            {
                "type": "interrupted",
                "by": "speech",
                "heard_text": "Hel",
                "played_ms": 400,
                "silence_ms": 12.5,
            },
        ),
        (
            ConnectionChanged("stt", "ready", "m", session_id="s"),
            {
                "type": "connection",
                "session": "stt",
                "state": "ready",
                "model": "m",
                "session_id": "s",
            },
        ),
        (
            ConnectionChanged("tts", "failed", "m", code=1006, reason="gone", retry_in_s=1.5),
            {
                "type": "connection",
                "session": "tts",
                "state": "failed",
                "model": "m",
                "code": 1006,
                "reason": "gone",
                "retry_in_s": 1.5,
            },
        ),
        (
            DeviceChanged("input", "lost", "hw:1"),
            {"type": "device", "which": "input", "state": "lost", "name": "hw:1"},
        ),
        (
            Lost("speech", 700, "offline"),
            {"type": "lost", "what": "speech", "ms": 700, "why": "offline"},
        ),
        (
            TurnMeasured(1, 2, 3, 4, 10),
            {
                "type": "turn",
                "speech_end_to_final": 1,
                "final_to_reply": 2,
                "reply_to_audio": 3,
                "audio_to_sound": 4,
                "total": 10,
            },
        ),
    ],
)
def test_an_event_is_the_line_of_the_contract(event: Event, line: dict[str, object]) -> None:
    """With both times first, the type, and the fields that have a value."""
    at = datetime(2025, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    shown = Stamped(1.23456, at, event).as_json()
    assert list(shown)[:3] == ["t", "at", "type"]
    stamp = {"t": 1.235, "at": "2025-01-02T03:04:05.678+00:00"}
    assert json.loads(json.dumps(shown)) == {**stamp, **line}


def test_every_subscriber_gets_every_event_in_order() -> None:
    """With the time since the bus began, which only rises."""
    bus = EventBus()
    subscriptions = [bus.subscribe(), bus.subscribe()]
    for text in ("a", "b"):
        bus.publish(PartialHeard(text))
    for subscription in subscriptions:
        stamped = [subscription.get(0.0), subscription.get(0.0)]
        assert [one.event for one in stamped if one] == [PartialHeard("a"), PartialHeard("b")]
        assert [one.t for one in stamped if one] == sorted(one.t for one in stamped if one)
        assert all(one.t >= 0 for one in stamped if one)
        assert subscription.get(0.0) is None


def test_a_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    """Nobody who publishes is kept waiting, and the others lose nothing."""
    bus = EventBus()
    slow, other = bus.subscribe(limit=2), bus.subscribe()
    for number in range(5):
        bus.publish(SpeechStarted(number))
    assert slow.dropped == 3
    assert [slow.get(0.0), slow.get(0.0), slow.get(0.0)].count(None) == 1
    assert other.dropped == 0
    first = other.get(0.0)
    assert first is not None
    assert first.event == SpeechStarted(0)


def test_a_closed_subscription_gives_what_it_has_and_then_nothing() -> None:
    """It gets no more; to close it again, or the bus after it, does no harm."""
    bus = EventBus()
    subscription = bus.subscribe()
    bus.publish(PlaybackStarted())
    subscription.close()
    bus.publish(PlaybackStarted())
    assert not subscription.closed
    assert subscription.get(0.0) is not None
    assert subscription.closed
    assert subscription.get(60.0) is None
    subscription.close()
    bus.close()


def test_an_event_wakes_who_waits() -> None:
    """A reader need not poll."""
    bus = EventBus()
    subscription = bus.subscribe()
    got: list[Stamped | None] = []
    reader = threading.Thread(target=lambda: got.append(subscription.get(60.0)))
    reader.start()
    bus.publish(PlaybackStarted())
    reader.join(10.0)
    assert [one.event for one in got if one] == [PlaybackStarted()]


def test_the_end_of_the_bus_wakes_who_waits() -> None:
    """Every subscription ends with it."""
    bus = EventBus()
    subscription = bus.subscribe()
    got: list[Stamped | None] = []
    reader = threading.Thread(target=lambda: got.append(subscription.get(60.0)))
    reader.start()
    bus.close()
    reader.join(10.0)
    assert got == [None]
    assert subscription.closed


def test_a_reader_waits_no_longer_than_it_says() -> None:
    """Without an event the time passes and nothing comes."""
    began = time.monotonic()
    assert EventBus().subscribe().get(0.05) is None
    assert 0.05 <= time.monotonic() - began < 5.0
