"""Building blocks of the tests of what a session does with its connections."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from conversation_scripts import Heard, config_for

from slng_edge import SttSession, TtsSession
from slng_edge.events import ConnectionChanged
from slng_edge.pcm import Samples, samples_of
from slng_edge.protocol.session_events import Final, Partial, ReplyAudio
from slng_edge.protocol.tier_limits import TIER_LIMITS, TierLimits
from slng_edge.simulator import ConnectionRecord, LocalGateway

FRAME = 320
UNCOUNTED = "tts.model=slng/rime/arcana:3-en"
"""A model whose characters are not counted by the minute."""


def plan(tier: str = "pro", **changes: Any) -> TierLimits:
    """The limits of a tier, scaled down to the length of a test."""
    return dataclasses.replace(TIER_LIMITS[tier], **changes)


@contextmanager
def listening(
    url: str,
    heard: Callable[[Any], None],
    *overrides: str,
    start: bool = True,
    **more: Any,
) -> Iterator[SttSession]:
    """A speech-to-text session, running where it is not to be started later."""
    stt = SttSession(config_for(url, *overrides), on_event=heard, **{"api_key": "", **more})
    if start:
        stt.start()
    try:
        yield stt
    finally:
        stt.stop()


@contextmanager
def speaking(
    url: str,
    heard: Callable[[Any], None],
    *overrides: str,
    start: bool = True,
    **more: Any,
) -> Iterator[TtsSession]:
    """A text-to-speech session, running where it is not to be started later."""
    tts = TtsSession(config_for(url, *overrides), on_event=heard, **{"api_key": "", **more})
    if start:
        tts.start()
    try:
        yield tts
    finally:
        tts.stop()


# Speech


def utter(stt: SttSession, samples: Samples) -> int:
    """One whole utterance, in frames of 20 ms, all at once; returns its number."""
    utterance = stt.open_utterance()
    for start in range(0, len(samples), FRAME):
        stt.add_audio(utterance, samples[start : start + FRAME])
    stt.end_utterance(utterance, time.monotonic())
    return utterance


def utter_live(stt: SttSession, samples: Samples) -> int:
    """One whole utterance, as fast as somebody speaks; returns its number."""
    utterance = stt.open_utterance()
    began = time.monotonic()
    for start in range(0, len(samples), FRAME):
        time.sleep(max(0.0, began + start / 16000 - time.monotonic()))
        stt.add_audio(utterance, samples[start : start + FRAME])
    stt.end_utterance(utterance, time.monotonic())
    return utterance


def finals(heard: Heard) -> list[str]:
    """The words so far, in order."""
    return [event.text for event in list(heard.events) if isinstance(event, Final)]


# Replies


def say(tts: TtsSession, number: int, *texts: str) -> None:
    """A whole reply."""
    tts.open_reply(number)
    for text in texts:
        tts.add_text(number, text)
    tts.end_reply(number)


def sound_of(heard: Heard, number: int) -> Samples:
    """All audio of a reply that came."""
    parts = [
        samples_of(event.pcm)
        for event in list(heard.events)
        if isinstance(event, ReplyAudio) and event.reply == number
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int16)


# Connections


def changes(heard: Heard) -> list[ConnectionChanged]:
    """What was told of connections, in order."""
    return [event for event in list(heard.events) if isinstance(event, ConnectionChanged)]


def states(heard: Heard) -> list[str]:
    """The states of connections that were told, in order."""
    return [change.state for change in changes(heard)]


def time_of(record: ConnectionRecord, direction: str, type_: str) -> float:
    """When the first message of a type went, in `time.monotonic()`; infinite where none did."""
    for at, sender, message in list(record.messages):
        if sender == direction and isinstance(message, dict) and message.get("type") == type_:
            return at
    return float("inf")


def ready_at(record: ConnectionRecord) -> float:
    """When the gateway said `ready`."""
    return time_of(record, "server", "ready")


def left_at(record: ConnectionRecord) -> float:
    """When the client took leave."""
    return time_of(record, "client", "close")


def is_ready(served: LocalGateway, kind: str, number: int) -> bool:
    """Whether the connection `number` of a kind, from 1, has been greeted."""
    records = [record for record in served.connections if record.kind == kind]
    return len(records) >= number and ready_at(records[number - 1]) < float("inf")


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the sessions logged as a warning, or worse."""
    return [
        record.getMessage()
        for record in list(caplog.records)
        if record.levelno >= logging.WARNING and not record.name.startswith("slng_edge.simulator")
    ]


def assert_in_order(heard: Heard) -> None:
    """`connecting`, `ready`, then an end, again and again; words and sound only while ready."""
    after = {
        None: {"connecting"},
        "connecting": {"ready", "failed", "closed"},
        "ready": {"closed", "failed"},
        "closed": {"connecting"},
        "failed": {"connecting"},
    }
    state: str | None = None
    for event in list(heard.events):
        if isinstance(event, ConnectionChanged):
            assert event.state in after[state], f"{event.state} after {state}: {changes(heard)}"
            state = event.state
        elif isinstance(event, Partial | Final | ReplyAudio):
            assert state == "ready", f"{type(event).__name__} while {state}: {changes(heard)}"
