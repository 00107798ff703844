"""The tiers' limits: the bookkeeping as tables, and what clients see of it over real sockets."""

from __future__ import annotations

import base64
import json
import time

import pytest
import websocket

from slng_edge.simulator.limits import (
    GOING_AWAY,
    RATE_LIMIT,
    TIERS,
    TOO_LARGE,
    Allowance,
    TierLimits,
    limits_of,
)

STT = "/v1/stt/slng/deepgram/nova:3-en"
TTS = "/v1/tts/slng/deepgram/aura:2-en"
KEEPALIVE = {"type": "keepalive"}


def close_code(breach):
    """The close code of a breach, None where there is none."""
    return breach and breach.close_code


def message(allowance, now, size=20):
    """A JSON message at a time."""
    return allowance.receive(size, audio=False, binary=False, now=now)


# ---- the bookkeeping ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tier", "connections", "connection_s", "message", "messages", "text", "audio"),
    [
        ("free", 1, 5 * 60, 16, 20, 500, 16),
        ("pro", 5, 30 * 60, 32, 60, 2_000, 32),
        ("enterprise", 50, 120 * 60, 128, 120, 10_000, 64),
    ],
)
def test_the_figures_are_the_pages(tier, connections, connection_s, message, messages, text, audio):
    """protocol.md, section 6; all tiers are idle for 5 minutes at most."""
    assert limits_of(tier) == TierLimits(
        connections, connection_s, message * 1024, messages, text, audio * 1024, 300
    )


@pytest.mark.parametrize(
    ("size", "audio", "binary", "code"),
    [
        (64 * 1024, True, True, None),
        (64 * 1024 + 1, True, True, TOO_LARGE),
        (64 * 1024 + 1, True, False, None),
        (128 * 1024, False, False, None),
        (128 * 1024 + 1, False, False, TOO_LARGE),
        (128 * 1024 + 1, True, True, TOO_LARGE),
    ],
)
def test_sizes(size, audio, binary, code):
    """Binary audio has a limit of its own, which is the lower one on enterprise."""
    allowance = Allowance(TIERS["enterprise"], 0.0)
    assert close_code(allowance.receive(size, audio=audio, binary=binary, now=1.0)) == code


def test_base64_audio_is_measured_decoded():
    """Its message has the message's limit, the sound in it that of audio."""
    allowance = Allowance(TIERS["free"], 0.0)
    assert allowance.receive_audio(16 * 1024) is None
    assert close_code(allowance.receive_audio(16 * 1024 + 1)) == TOO_LARGE


def test_no_minute_holds_more_messages_than_the_limit():
    """The 21st within any 60 s breaks it; after 60 s a message is forgotten."""
    allowance = Allowance(TIERS["free"], 0.0)
    assert [message(allowance, 30.0 + index) for index in range(20)] == [None] * 20
    assert message(allowance, 90.0) is None
    breach = message(allowance, 90.5)
    assert (breach.code, breach.close_code) == ("rate_limit_exceeded", RATE_LIMIT)


def test_audio_is_no_message_in_either_form():
    """Otherwise no stream could exist."""
    allowance = Allowance(TIERS["free"], 0.0)
    for binary in (True, False) * 50:
        assert allowance.receive(100, audio=True, binary=binary, now=1.0) is None
    assert [message(allowance, 2.0) for _ in range(21)].count(None) == 20


def test_time_is_up_at_the_tiers_age_however_busy():
    """The event's code is the page's, the close says "going away"."""
    allowance = Allowance(TIERS["free"], 100.0)
    for now in (300.0, 399.0):
        message(allowance, now)
    assert allowance.expired(399.9) is None
    assert allowance.seconds_left(399.0) == 1.0
    breach = allowance.expired(400.0)
    assert (breach.code, breach.close_code) == ("max_connection_duration_exceeded", GOING_AWAY)
    assert allowance.seconds_left(401.0) == 0.0


def test_any_message_ends_idleness():
    """Five minutes count from the last one."""
    allowance = Allowance(TIERS["pro"], 0.0)
    message(allowance, 299.0)
    assert allowance.expired(598.9) is None
    assert allowance.expired(599.0).code == "idle_timeout_exceeded"


# ---- over sockets -------------------------------------------------------------------------


def refused(gateway, path):
    """Status and decoded body of an upgrade that is refused."""
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(gateway.url + path, timeout=5)
    return caught.value.status_code, json.loads(caught.value.resp_body)["error"]


@pytest.mark.parametrize(("tier", "count"), [("free", 1), ("pro", 5)])
def test_the_connection_over_the_limit_is_refused(start, connect, tier, count):
    """429 with a JSON body, both kinds counted together; the others are not touched."""
    gateway = start(tier=tier)
    clients = [connect(gateway, TTS if index % 2 else STT) for index in range(count)]
    status, error = refused(gateway, TTS)
    assert (status, error["code"]) == (429, "rate_limit_exceeded")
    assert len(gateway.violations) == 1
    assert gateway.violations[0].startswith("tts ")
    for client in clients:
        client.init()


@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_a_place_is_free_as_soon_as_the_client_has_hung_up(start, connect, how):
    """Fifty times in a row on the free tier, with the closing handshake and without."""
    gateway = start(tier="free")
    for _ in range(50):
        client = connect(gateway, STT)
        getattr(client.socket, how)()
    assert gateway.violations == []


def test_a_place_is_free_as_soon_as_the_gateway_has_closed(start, connect):
    """A client that reconnects at the close frame is let in."""
    gateway = start("per_utterance_close", tier="free")
    for _ in range(10):
        client = connect(gateway, TTS)
        client.init()
        client.send({"type": "text", "text": "Hi", "flush": True})
        client.until_closed()
    assert gateway.violations == []


def test_a_refused_connection_takes_no_place(start, connect):
    """Neither one without a key nor one over the limit."""
    gateway = start(tier="free", key="right")
    assert refused(gateway, STT)[0] == 401
    first = connect(gateway, STT, "Authorization: Bearer right")
    with pytest.raises(websocket.WebSocketBadStatusException, match="429"):
        connect(gateway, STT, "Authorization: Bearer right")
    first.socket.close()
    connect(gateway, STT, "Authorization: Bearer right").init()


@pytest.mark.parametrize("path", [STT, TTS])
@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"connection_s": 0.3}, "max_connection_duration_exceeded"),
        ({"idle_s": 0.3}, "idle_timeout_exceeded"),
    ],
)
def test_a_connection_ends_when_its_time_is_up(start, connect, path, options, code):
    """An error event with the page's code, then 1001; it is noted."""
    gateway = start(**options)
    client = connect(gateway, path)
    began = time.monotonic()
    client.init()
    (error,) = client.until_closed()
    assert (error["type"], error["code"]) == ("error", code)
    assert client.close_code == 1001
    assert 0.2 < time.monotonic() - began < 2.0
    assert [line.split(": ")[1] for line in gateway.violations] == [code]


def test_a_client_that_says_something_is_not_idle(start, connect):
    """Keepalives keep it for three times the limit."""
    gateway = start(idle_s=0.3)
    client = connect(gateway, STT)
    client.init()
    for _ in range(9):
        client.send(KEEPALIVE)
        time.sleep(0.1)
    client.send({"type": "surprise"})
    assert client.receive()["code"] == "invalid_request"


@pytest.mark.parametrize("path", [STT, TTS])
def test_too_many_messages_are_an_error_and_4001(start, connect, path):
    """`init` is the first of 20, keepalives are the others; the 21st is one too many."""
    gateway = start(tier="free")
    client = connect(gateway, path)
    client.init()
    for _ in range(20):
        client.send(KEEPALIVE)
    (error,) = client.until_closed()
    assert error["code"] == "rate_limit_exceeded"
    assert client.close_code == 4001
    assert len(gateway.violations) == 1


def test_a_stream_of_audio_is_not_counted(start, connect):
    """A hundred pieces in each form on the free tier."""
    gateway = start(tier="free")
    client = connect(gateway, STT)
    client.init()
    for _ in range(100):
        client.send(bytes(640))
        client.send({"type": "audio", "data": base64.b64encode(bytes(640)).decode()})
    client.send({"type": "finalize"})
    assert client.until("final_transcript")[-1]["duration"] == 4.0
    assert gateway.violations == []


@pytest.mark.parametrize(
    "oversized",
    [
        bytes(64 * 1024 + 2),
        {"type": "audio", "data": base64.b64encode(bytes(64 * 1024 + 2)).decode()},
        {"type": "finalize", "padding": "x" * 128 * 1024},
    ],
    ids=["binary", "base64", "json"],
)
def test_what_is_too_large_is_closed_with_4002(start, connect, oversized):
    """On enterprise, where audio's limit is not the message's."""
    gateway = start(tier="enterprise")
    client = connect(gateway, STT)
    client.init()
    client.send(oversized)
    client.until_closed()
    assert client.close_code == 4002
    assert gateway.connections[0].audio == b""
    assert len(gateway.violations) == 1


def test_a_text_that_is_too_long_is_noted(start, connect):
    """The error event is `payload_too_large`, and the session lives on."""
    gateway = start(tier="free")
    client = connect(gateway, TTS)
    client.init()
    client.send({"type": "text", "text": "x" * 501})
    assert client.receive()["code"] == "payload_too_large"
    assert gateway.violations == ["tts 1: payload_too_large: text of 501 characters: 500 at most"]
    client.send({"type": "text", "text": "Hello", "flush": True})
    client.until("flushed")


def test_a_lower_limit_can_be_had_on_demand(start, connect):
    """`message_limit` closes with 4002, as a gateway that allows less than its page says."""
    gateway = start("message_limit=1000")
    client = connect(gateway, STT)
    client.init()
    client.send(bytes(1000))
    client.send(bytes(1002))
    client.until_closed()
    assert client.close_code == 4002
    assert len(gateway.connections[0].audio) == 1000
    assert gateway.violations == []


def test_characters_a_minute_can_be_limited(start, connect):
    """As Deepgram does: the text over it is an error, and shorter ones still pass."""
    gateway = start("characters_a_minute=20")
    client = connect(gateway, TTS)
    client.init()
    client.send({"type": "text", "text": "fifteen of them"})
    client.send({"type": "text", "text": "six of", "flush": False})
    assert client.receive()["code"] == "rate_limit_exceeded"
    client.send({"type": "text", "text": "five.", "flush": True})
    client.until("flushed")
    assert len(gateway.violations) == 1


def test_wait_for_is_asked_at_a_violation(start, connect):
    """So a test can wait for one."""
    gateway = start(tier="free", idle_s=0.2)
    connect(gateway, STT)
    assert gateway.wait_for(lambda: gateway.violations, 5)
