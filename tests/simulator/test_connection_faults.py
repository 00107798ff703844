"""Faults of the connection itself, over real sockets, with a client that is not ours."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time

import pytest
import websocket

from slng_edge.simulator import ToneSynthesizer

STT = "/v1/stt/slng/deepgram/nova:3-en"
TTS = "/v1/tts/slng/deepgram/aura:2-en"
SPEECH_20_MS = b"\x01\x02" * 320
SECOND_LINE = ("first words", "second words")


def text(words, *, flush=True):
    """A text message."""
    return {"type": "text", "text": words, "flush": flush}


def silence_for(client, seconds):
    """Whether nothing comes in that time, not even the end of the connection."""
    return not select.select([client.socket.sock], [], [], seconds)[0]


def pinged(client):
    """Whether a ping is answered within half a second."""
    client.socket.ping("there?")
    client.socket.sock.settimeout(0.5)
    try:
        return client.socket.recv_data(control_frame=True)[0] == websocket.ABNF.OPCODE_PONG
    except websocket.WebSocketTimeoutException:
        return False


# ---- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("no more today = none at all", "text/plain"),
        ('{"error": {"code": "maintenance"}}', "application/json"),
    ],
)
def test_a_refusal_has_the_body_asked_for(start, body, content_type):
    """Any text, with the status and Retry-After that were asked for too."""
    gateway = start("refuse=400", f"refuse_body={body}", "retry_after=7")
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(gateway.url + STT, timeout=5)
    assert caught.value.status_code == 400
    assert caught.value.resp_body.decode() == body
    assert caught.value.resp_headers["content-type"].startswith(content_type)
    assert caught.value.resp_headers["retry-after"] == "7"


# ---- frozen -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STT, TTS])
@pytest.mark.parametrize("fault", ["half_open", "stall"])
def test_a_frozen_gateway_says_nothing_any_more(start, connect, path, fault):
    """After `ready` neither messages nor pings are answered, and no FIN comes."""
    gateway = start(fault)
    client = connect(gateway, path)
    client.init()
    assert not pinged(client)
    client.send({"type": "surprise"})
    client.socket.send_close()
    assert silence_for(client, 0.5)
    record = gateway.connections[0]
    assert [m["type"] for _, who, m in record.messages if who == "client"] == ["init"]
    assert record.close_code is None


def test_without_the_fault_a_ping_is_answered(start, connect):
    """What the test above relies on."""
    client = connect(start(), STT)
    client.init()
    assert pinged(client)


@pytest.mark.parametrize("fault", ["half_open", "stall"])
@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_frozen_connection_ends_when_its_client_hangs_up(start, connect, fault, how):
    """With a FIN or a reset; nothing is left of it."""
    gateway = start(fault)
    client = connect(gateway, STT)
    client.init()
    if how == "reset":
        linger = struct.pack("ii", 1, 0)
        client.socket.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.socket.shutdown()
    assert gateway.wait_for(lambda: gateway.connections[0].close_code == 1006, 3)


@pytest.mark.parametrize("fault", ["half_open", "stall"])
def test_the_gateway_stops_in_time_with_frozen_connections(start, connect, fault):
    """They are cut."""
    gateway = start(fault)
    for path in (STT, TTS):
        connect(gateway, path).init()
    began = time.monotonic()
    gateway.close()
    assert time.monotonic() - began < 2.5


@pytest.mark.parametrize("fault", ["half_open", "stall"])
def test_drop_all_resets_frozen_connections_too(start, connect, fault):
    """So a test can end the freeze."""
    gateway = start(fault)
    client = connect(gateway, STT)
    client.init()
    gateway.drop_all()
    with pytest.raises(ConnectionResetError):
        client.receive()


@pytest.mark.parametrize("path", [STT, TTS])
def test_drop_all_is_a_reset_in_the_middle_of_messages_too(start, connect, path):
    """A session that is at work when it strikes does not close with a handshake, ever."""
    gateway = start()
    for number in range(100):
        client = connect(gateway, path)
        client.init()
        for _ in range(number % 20 + 1):
            client.send({"type": "keepalive"})
        gateway.drop_all()
        with pytest.raises(ConnectionResetError):
            client.until_closed()
        assert client.close_code is None
        record = gateway.connections[-1]
        assert gateway.wait_for(lambda record=record: record.close_code is not None, 3)
        assert record.close_code == 1006


def test_drop_all_is_a_reset_while_the_recognizer_thinks(start, connect):
    """Nobody reads the socket then, for longer than `drop_all` waits, and no FIN comes either."""
    begun, thought = threading.Event(), threading.Event()

    class SlowStream:
        def receive(self, pcm):
            begun.set()
            thought.wait(5)

        def close(self):
            pass

    class SlowRecognizer:
        def open(self, rate_hz, language):
            return SlowStream()

    gateway = start(stt=SlowRecognizer())
    client = connect(gateway, STT)
    client.init()
    for _ in range(200):
        client.send(SPEECH_20_MS)
    assert begun.wait(3)
    gateway.drop_all()
    assert silence_for(client, 0.1)
    thought.set()
    with pytest.raises(ConnectionResetError):
        client.receive()
    assert gateway.wait_for(lambda: gateway.connections[0].close_code == 1006, 3)


def test_half_open_takes_whatever_is_sent(start, connect):
    """Ten megabytes go out without an answer."""
    client = connect(start("half_open"), STT)
    client.init()
    for _ in range(10):
        client.send(bytes(1_000_000))
    assert silence_for(client, 0.2)


def test_stall_lets_the_clients_tcp_fill(start, connect):
    """Less than a megabyte goes out, then a send does not come back."""
    client = connect(start("stall"), STT)
    client.init()
    client.socket.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
    client.socket.sock.settimeout(0.5)

    def send_a_megabyte():
        for _ in range(100):
            client.send(bytes(10_000))

    with pytest.raises((websocket.WebSocketTimeoutException, TimeoutError)):
        send_a_megabyte()


def test_a_frozen_connection_takes_no_place(start, connect):
    """On the free tier the next one is let in: the gateway that froze counts nothing."""
    gateway = start("half_open@1", tier="free")
    frozen = connect(gateway, STT)
    frozen.init()
    assert gateway.wait_for(lambda: not pinged(frozen), 3)
    connect(gateway, STT).init()
    assert gateway.violations == []


def test_half_open_works_over_tls(start, connect):
    """What is swallowed is not even decrypted."""
    import ssl

    gateway = start("half_open", "tls=good")
    trusting = ssl.create_default_context(cafile=gateway.ca_file)
    client = connect(gateway, STT, ssl_context=trusting)
    client.init()
    for _ in range(10):
        client.send(bytes(100_000))
    assert silence_for(client, 0.3)


def test_slow_reading_holds_the_client_back(start, connect):
    """20,000 bytes at 40,000 a second take about half a second to arrive."""
    gateway = start("slow_reading=40000")
    client = connect(gateway, STT)
    client.init()
    began = time.monotonic()
    for _ in range(10):
        client.send(bytes(2000))
    record = gateway.connections[0]
    assert gateway.wait_for(lambda: len(record.audio) == 20_000, 10)
    assert 0.35 < time.monotonic() - began < 2.0


# ---- points -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STT, TTS])
def test_after_one_message_is_after_ready(start, connect, path):
    """However long `ready` takes, a client sees it, and then the close."""
    client = connect(start("close_after=1:1012", "ready_delay=100"), path)
    client.init()
    client.until_closed()
    assert client.close_code == 1012


def test_after_no_message_is_at_once(start, connect):
    """Nobody has to say anything."""
    client = connect(start("close_after=0:1001"), STT)
    client.until_closed()
    assert client.close_code == 1001


@pytest.mark.parametrize(
    ("path", "type_", "messages"),
    [
        (STT, "finalize", [SPEECH_20_MS, {"type": "finalize"}]),
        (STT, "audio", [{"type": "keepalive"}, SPEECH_20_MS]),
        (TTS, "text", [text("Hello")]),
        (TTS, "flush", [text("Hello", flush=False), {"type": "flush"}]),
        (TTS, "clear", [{"type": "clear"}]),
    ],
)
def test_at_a_type_the_message_is_not_answered(start, connect, path, type_, messages):
    """The first of that type is noted, and the reset comes instead of its answer."""
    gateway = start(f"reset_after={type_}")
    client = connect(gateway, path)
    client.init()
    for message in messages:
        client.send(message)
    with pytest.raises(ConnectionResetError):
        client.receive()
    assert gateway.wait_for(lambda: gateway.connections[0].close_code == 1006, 3)
    _, _, last = gateway.connections[0].messages[-1]
    assert last == messages[-1]


def test_half_open_at_finalize_uses_up_no_line_of_the_script(start, connect):
    """The next connection that sends the speech again gets the words that were due."""
    gateway = start("half_open=finalize@1", lines=SECOND_LINE)
    for _ in range(2):
        client = connect(gateway, STT)
        client.init()
        client.send(SPEECH_20_MS)
        client.send({"type": "finalize"})
    assert client.until("final_transcript")[-1]["transcript"] == "first words"


def test_close_after_audio_counts_what_is_received(start, connect):
    """Speech-to-text: at the message that makes it 100 ms, whose audio is noted."""
    gateway = start("close_after_audio=100:1012")
    client = connect(gateway, STT)
    client.init()
    for _ in range(4):
        client.send(SPEECH_20_MS)
    assert silence_for(client, 0.2)
    client.send(SPEECH_20_MS)
    client.until_closed()
    assert client.close_code == 1012
    assert len(gateway.connections[0].audio) == 5 * len(SPEECH_20_MS)


def test_close_after_audio_counts_what_is_sent(start, connect):
    """Text-to-speech: 100 ms are three messages of 40 ms."""
    client = connect(start("close_after_audio=100:1012"), TTS)
    client.init()
    client.send(text("A sentence of some length."))
    sound = b"".join(m for m in client.until_closed() if isinstance(m, bytes))
    assert client.close_code == 1012
    assert len(sound) == 3 * 40 * 24 * 2


@pytest.mark.parametrize("fault", ["half_open=100ms", "stall=100ms"])
def test_a_reply_can_stop_in_the_middle(start, connect, fault):
    """After 120 ms of sound nothing comes any more, and no end either."""
    client = connect(start(fault), TTS)
    client.init()
    client.send(text("A sentence of some length."))
    client.until("segment_start")
    assert [len(client.receive()) for _ in range(3)] == [40 * 24 * 2] * 3
    assert silence_for(client, 0.4)


def test_reset_after_bytes_counts_what_is_received(start, connect):
    """The other direction is in test_server."""
    gateway = start("reset_after_bytes=1000")
    client = connect(gateway, STT)
    client.init()
    client.send(SPEECH_20_MS)
    client.send(SPEECH_20_MS)
    with pytest.raises(ConnectionResetError):
        client.receive()


# ---- errors -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STT, TTS])
def test_ready_then_error(start, connect, path):
    """`ready`, an `error` with the code, the close."""
    client = connect(start("ready_then_error=backend_error"), path)
    client.init()
    (error,) = client.until_closed()
    assert (error["type"], error["code"]) == ("error", "backend_error")
    assert client.close_code == 1011


def test_error_on_finalize_comes_instead_of_the_final(start, connect):
    """Once; the words come when the speech is sent again."""
    client = connect(start("error_on_finalize=provider_error:1", lines=SECOND_LINE), STT)
    client.init()
    for _ in range(2):
        client.send(SPEECH_20_MS)
        client.send({"type": "finalize"})
    error, final = client.until("final_transcript")
    assert (error["type"], error["code"]) == ("error", "provider_error")
    assert final["transcript"] == "first words"


@pytest.mark.parametrize("pieces", [["One. Two."], ["One. ", "Two."]])
def test_error_on_text_comes_instead_of_the_utterance(start, connect, pieces):
    """Once for all texts up to the flush, which is not answered either."""
    client = connect(start("error_on_text=backpressure:1"), TTS)
    client.init()
    for piece in pieces:
        client.send(text(piece, flush=False))
    client.send({"type": "flush"})
    client.send(text("Hello"))
    messages = client.until("flushed")
    assert messages[0]["code"] == "backpressure"
    sound = b"".join(m for m in messages if isinstance(m, bytes))
    assert sound == ToneSynthesizer().synthesize("Hello", 24000).tobytes()


def test_a_numeric_error_is_the_pages_number(start, connect):
    """protocol.md, section 7."""
    client = connect(start("error_on_text=rate_limit_exceeded", "numeric_error"), TTS)
    client.init()
    client.send(text("Hello"))
    assert client.receive()["code"] == 429


# ---- frames -------------------------------------------------------------------------------


def test_a_truncated_frame_stops_in_the_middle(start, connect):
    """The second message announces more bytes than come before the connection ends."""
    client = connect(start("truncated_frame=2"), TTS)
    client.init()
    client.send(text("Hello"))
    raw = b""
    while piece := client.socket.sock.recv(65536):
        raw += piece
    assert raw[0] == 0x81
    announced = raw[1] & 0x7F
    assert 0 < len(raw) - 2 < announced
    assert raw[2:].startswith(b'{"type": "segm')


def test_a_final_that_was_cut_gives_its_line_back(start, connect):
    """The client did not get it, and sends the speech again."""
    gateway = start("truncated_frame=2@1", lines=SECOND_LINE)
    for _ in range(2):
        client = connect(gateway, STT)
        client.init()
        client.send(SPEECH_20_MS)
        client.send({"type": "finalize"})
        gateway.wait_for(lambda: gateway.connections[-1].of_type("server", "final_transcript"), 3)
    assert client.until("final_transcript")[-1]["transcript"] == "first words"


def test_a_huge_message_comes_before_every_event(start, connect):
    """It is valid JSON of an unknown type, of 300 KB."""
    client = connect(start("huge_message=300"), STT)
    client.send({"type": "init", "config": {}})
    huge, ready = client.receive(), client.receive()
    assert huge["type"] == "metadata"
    assert len(huge["padding"]) == 300 * 1024
    assert ready["type"] == "ready"
