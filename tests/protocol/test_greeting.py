"""The beginning of a connection, and its life until it is used."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from slng_edge.errors import RemoteProtocolError
from slng_edge.protocol.classic_stt import ClassicStt
from slng_edge.protocol.classic_tts import ClassicContext, ClassicTts
from slng_edge.protocol.greeting import Greeting, Greets
from slng_edge.protocol.session_events import Broken, Odd, SessionReady
from slng_edge.protocol.unified_stt import UnifiedStt
from slng_edge.protocol.unified_tts import UnifiedTts

READY = json.dumps({"type": "ready", "session_id": "s1"})

DIALECTS: dict[str, Callable[[], Greets]] = {
    "unified stt": lambda: UnifiedStt(sample_rate_hz=16000),
    "unified tts": lambda: UnifiedTts(model=None, voice="", sample_rate_hz=24000),
    "classic stt": lambda: ClassicStt(model="whisper", sample_rate_hz=16000),
    "classic tts": lambda: ClassicTts(model="orpheus", voice="", context=ClassicContext("c")),
}


def greeting(dialect: Greets | None = None) -> Greeting:
    """A connection that stands since 0."""
    return Greeting(
        dialect or UnifiedStt(sample_rate_hz=16000), ready_s=10.0, keepalive_s=5.0, now=0.0
    )


def greeted(dialect: Greets | None = None) -> Greeting:
    """A connection that is ready since 1."""
    begun = greeting(dialect)
    assert begun.next_message(0.0) is not None
    assert begun.receive(READY, 1.0) == [SessionReady("s1")]
    return begun


def sent(begun: Greeting, now: float) -> list[str]:
    """The types of all that is due now."""
    types = []
    while (message := begun.next_message(now)) is not None:
        types.append(json.loads(message)["type"])
    return types


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("unified stt", "init"),
        ("unified tts", "init"),
        ("classic stt", "start"),
        ("classic tts", "init"),
    ],
)
def test_nothing_but_init_is_sent_before_ready(name: str, first: str) -> None:
    """Audio before `ready` gets close 1008; not even a keepalive goes out."""
    begun = greeting(DIALECTS[name]())
    assert sent(begun, 0.0) == [first]
    assert sent(begun, 9.9) == []
    assert (begun.ready, begun.deadline(), begun.farewell()) == (False, 10.0, None)


def test_ready_is_told_once() -> None:
    """With the gateway's name for the session; a second one means nothing."""
    begun = greeted()
    assert begun.ready
    assert begun.receive(READY, 2.0) == []
    assert begun.expire(100.0) == []


def test_a_gateway_that_is_not_ready_in_time_is_given_up_once() -> None:
    """The deadline is told once; nothing is due afterwards."""
    begun = greeting()
    sent(begun, 0.0)
    assert begun.expire(9.9) == []
    (broken,) = begun.expire(10.0)
    assert isinstance(broken.error, RemoteProtocolError)
    assert "`ready` within 10 s" in str(broken.error)
    assert (begun.expire(10.0), begun.deadline()) == ([], None)


def test_a_connection_that_waits_to_be_used_is_kept_alive() -> None:
    """From `ready` on, by its interval."""
    begun = greeted()
    assert (begun.deadline(), sent(begun, 5.9)) == (6.0, [])
    assert (sent(begun, 6.0), begun.deadline()) == (["keepalive"], 11.0)


def test_a_dialect_without_a_keepalive_sends_none() -> None:
    """And is not asked again and again."""
    begun = greeted(DIALECTS["classic stt"]())
    assert (sent(begun, 6.0), begun.deadline()) == ([], None)


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("unified stt", "close"),
        ("unified tts", "close"),
        ("classic stt", None),
        ("classic tts", None),
    ],
)
def test_the_last_message_is_the_dialects(name: str, last: str | None) -> None:
    """Where it has one."""
    farewell = greeted(DIALECTS[name]()).farewell()
    assert (farewell and json.loads(farewell)["type"]) == last


@pytest.mark.parametrize("ready", [False, True])
def test_an_error_ends_the_connection(ready: bool) -> None:
    """Before `ready` and while it waits to be used."""
    begun = greeted() if ready else greeting()
    (broken,) = begun.receive('{"type": "error", "code": "backend_error"}', 2.0)
    assert isinstance(broken, Broken)
    assert broken.error.retryable


def test_other_messages_change_nothing() -> None:
    """What only an exchange would understand is passed over; what nobody does is told."""
    begun = greeting()
    assert begun.receive('{"type": "Metadata"}', 0.0) == []
    assert begun.receive('{"type": "final_transcript", "transcript": "early"}', 0.0) == []
    (odd,) = begun.receive("{", 0.0)
    assert isinstance(odd, Odd)
    assert "not JSON" in odd.why
    assert not begun.ready
