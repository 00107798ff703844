"""The local gateway's connections: who is let in, how they end, what is remembered."""

from __future__ import annotations

import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
import wave

import pytest
import trustme
import websocket

from slng_edge.errors import ConfigError, SlngEdgeError
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

STT = "/v1/stt/slng/deepgram/nova:3-en"
TTS = "/v1/tts/slng/deepgram/aura:2-en"


def refusal(gateway, path, *headers):
    """Status, decoded body and headers of a refused upgrade."""
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(gateway.url + path, header=list(headers), timeout=5)
    error = caught.value
    return error.status_code, json.loads(error.resp_body)["error"], error.resp_headers


@pytest.mark.parametrize(
    ("path", "kind", "model"),
    [
        (STT, "stt", "slng/deepgram/nova:3-en"),
        (TTS, "tts", "slng/deepgram/aura:2-en"),
        ("/v1/bridges/unmute/tts/rime/arcana:3", "tts", "rime/arcana:3"),
        ("/v1/bridges/unmute/stt/nova%3A3?region=eu-north-1", "stt", "nova:3"),
    ],
)
def test_both_unified_paths_are_served(start, connect, path, kind, model):
    """The record names kind and model, percent-decoded."""
    gateway = start()
    connect(gateway, path).init()
    assert [(c.kind, c.model) for c in gateway.connections] == [(kind, model)]


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/stt", "/v1/stt/", "/v2/stt/x", "/v1/llm/x", "/v1/tts/nobody-websocket-stream"],
)
def test_an_unknown_path_is_404_with_a_reason(start, path):
    """No session is spoken there."""
    status, error, headers = refusal(start(), path)
    assert (status, error["code"]) == (404, "not_found")
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "headers", [(), ("Authorization: Bearer wrong",), ("Authorization: right",)]
)
def test_a_wrong_key_is_401(start, headers):
    """Missing, wrong, or not a bearer."""
    status, error, _ = refusal(start(key="right"), STT, *headers)
    assert (status, error["code"]) == (401, "auth_error")


def test_the_right_key_is_let_in(start, connect):
    """And its header is in the record, whatever its case."""
    gateway = start(key="right")
    connect(gateway, STT, "authorization: Bearer right").init()
    assert gateway.connections[0].headers["AUTHORIZATION"] == "Bearer right"


@pytest.mark.parametrize(
    ("path", "header"),
    [
        (STT, "X-Slng-Provider-Key: mine"),
        (STT, "X-Region-Override: mars"),
        (STT, "X-Region-Override: us-east-1, mars"),
        (STT + "?region=mars", "X-Nothing: x"),
        (STT, "X-World-Part-Override: us-east"),
        (STT + "?world-part=us", "X-Nothing: x"),
        (STT, "X-SLNG-Agent-Id: a,b"),
        (STT, "X-SLNG-Session-Id: " + "x" * 129),
    ],
)
def test_a_wrong_header_is_400(start, path, header):
    """Routing headers and queries, tracking ids, a provider key on a slng model."""
    status, error, _ = refusal(start(), path, header)
    assert (status, error["code"]) == (400, "invalid_request")


def test_the_byok_refusal_uses_the_fields_words(start):
    """Clients show this sentence to people."""
    _, error, _ = refusal(start(), STT, "X-Slng-Provider-Key: mine")
    assert error["message"] == "BYOK is only supported for external STT/TTS routes"


def test_right_headers_are_let_in(start, connect):
    """A list of regions, a header that wins over a wrong query, BYOK on an external route."""
    connect(
        start(),
        "/v1/stt/deepgram/nova:3?region=mars",
        "X-Region-Override: us-east-1, eu-north-1",
        "X-World-Part-Override: na",
        "X-Slng-Provider-Key: mine",
        "X-SLNG-Agent-Id: kitchen 1",
    ).init()


def test_refusals_count_attempts_of_their_kind(start, connect):
    """The first two speech-to-text attempts are refused, the third and text-to-speech are not."""
    gateway = start("stt:refuse=429@1-2", "retry_after=7")
    connect(gateway, TTS).init()
    for _ in range(2):
        status, _, headers = refusal(gateway, STT)
        assert (status, headers["retry-after"]) == (429, "7")
    connect(gateway, STT).init()
    assert [(c.kind, c.number) for c in gateway.connections] == [("tts", 1), ("stt", 3)]


def test_refuse_new_can_be_switched(start, connect):
    """A gateway that is down, and up again."""
    gateway = start()
    gateway.refuse_new = 503
    assert refusal(gateway, STT)[0] == 503
    gateway.refuse_new = None
    connect(gateway, STT).init()


def test_compression_is_not_offered(start, connect):
    """It breaks some routes in the field, so nobody gets used to it here."""
    client = connect(start(), STT, "Sec-WebSocket-Extensions: permessage-deflate")
    assert "sec-websocket-extensions" not in client.socket.getheaders()


def test_drop_all_resets_every_connection(start, connect):
    """The clients see a reset, not an end of stream; new connections are welcome."""
    gateway = start()
    clients = [connect(gateway, STT), connect(gateway, TTS)]
    for client in clients:
        client.init()
    gateway.drop_all()
    for client in clients:
        with pytest.raises(ConnectionResetError):
            client.receive()
    assert gateway.wait_for(lambda: all(c.close_code == 1006 for c in gateway.connections), 5)
    connect(gateway, STT).init()


def test_drop_all_works_while_the_peer_does_not_read(start, connect):
    """The speaking thread is stuck in a send; the connection goes all the same."""
    gateway = start()
    client = connect(gateway, TTS)
    client.init(sample_rate=48000)
    for _ in range(4):
        client.send({"type": "text", "text": "x" * 1900, "flush": True})
    record = gateway.connections[0]
    assert gateway.wait_for(lambda: record.audio_bytes > 0, 10)
    sent = -1
    while record.audio_bytes != sent:
        sent = record.audio_bytes
        gateway.wait_for(lambda before=sent: record.audio_bytes > before, 0.5)
    assert 0 < sent < 40_000_000
    gateway.drop_all()
    assert gateway.wait_for(lambda: record.close_code == 1006, 5)


def test_reset_after_bytes_cuts_exactly_there(start, connect):
    """1000 bytes of audio come, then the reset; nothing of it is a close frame."""
    client = connect(start("reset_after_bytes=1000"), TTS)
    client.init()
    client.send({"type": "text", "text": "Hello", "flush": True})
    client.until("segment_start")
    assert len(client.receive()) == 1000
    with pytest.raises(ConnectionResetError):
        client.receive()


def test_close_after_counts_messages_and_says_the_code(start, connect):
    """The second message is answered with the close."""
    gateway = start("close_after=2:1012")
    client = connect(gateway, STT)
    client.init()
    client.send({"type": "keepalive"})
    client.until_closed()
    assert client.close_code == 1012
    assert gateway.wait_for(lambda: gateway.connections[0].close_code == 1012, 5)


def test_wrong_case_nested_and_numeric_errors(start, connect):
    """The forms that the field has seen."""
    client = connect(start("wrong_case", "nested_error", "numeric_error"), STT)
    assert client.init()["type"] == "Ready"
    client.send("no json")
    error = client.receive()
    assert error["type"] == "Error"
    assert error["data"]["code"] == 400


def test_malformed_messages_come_between_the_good_ones(start, connect):
    """Every second message has a broken one before it."""
    client = connect(start("malformed_json=2"), STT)
    client.init(enable_partials=True)
    for _ in range(20):
        client.send(bytes(640))
    client.send({"type": "finalize"})
    messages = client.until("final_transcript")
    broken = [m for m in messages if not isinstance(m, dict) or "type" not in m]
    assert len(broken) == 2
    assert messages[-1]["transcript"] == "hello big world"


def test_faults_can_be_replaced_while_it_runs(start, connect):
    """New connections get the new ones."""
    from slng_edge.simulator import Faults

    gateway = start("wrong_case")
    assert connect(gateway, STT).init()["type"] == "Ready"
    gateway.faults = Faults()
    assert connect(gateway, STT).init()["type"] == "ready"


def test_the_record_has_both_directions_in_order(start, connect):
    """Times do not go back; audio is bytes, JSON is decoded, the rest is text."""
    gateway = start()
    client = connect(gateway, STT)
    client.init()
    client.send(b"ab")
    client.send("no json")
    client.receive()
    record = gateway.connections[0]
    seen = [(who, m if isinstance(m, bytes | str) else m["type"]) for _, who, m in record.messages]
    assert seen == [
        ("client", "init"),
        ("server", "ready"),
        ("client", b"ab"),
        ("client", "no json"),
        ("server", "error"),
    ]
    times = [t for t, _, _ in record.messages]
    assert times == sorted(times)
    assert times[0] >= record.opened_at


def test_wait_for_sees_what_happens_and_gives_up_in_time(start, connect):
    """True as soon as it holds, False after the time."""
    gateway = start()
    assert not gateway.wait_for(lambda: gateway.connections, 0.05)
    connect(gateway, STT)
    assert gateway.wait_for(lambda: gateway.connections, 5)


def test_the_clients_close_code_is_remembered(start, connect):
    """1001 from the client stays 1001."""
    gateway = start()
    client = connect(gateway, STT)
    client.socket.close(1001)
    assert gateway.wait_for(lambda: gateway.connections[0].close_code == 1001, 5)


def test_close_says_going_away(start, connect):
    """A client that reads sees 1001."""
    gateway = start()
    client = connect(gateway, STT)
    client.init()
    codes = []
    reader = threading.Thread(target=lambda: codes.append((client.receive(), client.close_code)))
    reader.start()
    gateway.close()
    reader.join(5)
    assert codes == [(None, 1001)]


def test_close_does_not_wait_for_silent_clients(start):
    """Neither one that never asks for its upgrade nor one that does not answer."""
    gateway = start()
    host, port = gateway.url.removeprefix("ws://").split(":")
    silent = socket.create_connection((host, int(port)))
    deaf = websocket.create_connection(gateway.url + TTS)
    began = time.monotonic()
    gateway.close()
    assert time.monotonic() - began < 2.0
    silent.close()
    deaf.shutdown()


def test_a_client_that_speaks_no_http_does_no_harm(start, connect):
    """Noise on the port is dropped; the next client is served."""
    gateway = start()
    host, port = gateway.url.removeprefix("ws://").split(":")
    with socket.create_connection((host, int(port))) as noise:
        noise.sendall(b"\x16\x03\x01 what\r\n\r\n")
        noise.settimeout(5)
        assert noise.recv(100) is not None
    connect(gateway, STT).init()


def test_a_port_in_use_is_named(start):
    """The message says which, and what to do."""
    gateway = start()
    port = int(gateway.url.rpartition(":")[2])
    second = LocalGateway(port=port, stt=ScriptRecognizer(["x"]), tts=ToneSynthesizer())
    with pytest.raises(SlngEdgeError, match=rf"127\.0\.0\.1:{port}: address already in use"):
        second.start()


def test_an_unknown_tier_is_refused():
    """The known ones are named."""
    with pytest.raises(ConfigError, match="free, pro, enterprise"):
        LocalGateway(stt=ScriptRecognizer(["x"]), tts=ToneSynthesizer(), tier="gold")


def test_tls_serves_and_resets(start, connect):
    """`wss` with an own authority: speech both ways, and a reset is a reset."""
    ca = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    gateway = start(ssl_context=server)
    assert gateway.url.startswith("wss://127.0.0.1:")
    client = connect(gateway, TTS, ssl_context=trusting)
    client.init()
    client.send({"type": "text", "text": "Hello", "flush": True})
    sound = b"".join(m for m in client.until("flushed") if isinstance(m, bytes))
    assert sound == ToneSynthesizer().synthesize("Hello", 24000).tobytes()
    gateway.drop_all()
    with pytest.raises((ConnectionResetError, websocket.WebSocketConnectionClosedException)):
        client.receive()


def test_a_client_that_does_not_trust_the_certificate_leaves_nothing(start, connect):
    """Its TLS alert ends that connection, and only that."""
    ca = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    gateway = start(ssl_context=server)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(gateway, STT, ssl_context=ssl.create_default_context())
    assert gateway.connections == []


def test_recording_keeps_audio_and_messages_but_no_key(start, connect, tmp_path):
    """The client's speech and the gateway's voice as WAV, messages as JSON lines, for us alone."""
    folder = tmp_path / "tapes"
    gateway = start(record_dir=folder, key="do-not-write-me")
    authorization = "Authorization: Bearer do-not-write-me"
    listener, speaker = connect(gateway, STT, authorization), connect(gateway, TTS, authorization)
    listener.init(sample_rate=16000)
    listener.send(b"\x01\x02" * 320)
    listener.send({"type": "close"})
    listener.until_closed()
    speaker.init()
    speaker.send({"type": "text", "text": "Hello", "flush": True})
    speaker.until("flushed")
    gateway.close()
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    files = sorted(folder.iterdir(), key=lambda path: path.suffix)
    assert [path.suffix for path in files] == [".jsonl", ".jsonl", ".wav", ".wav"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert all(b"do-not-write-me" not in path.read_bytes() for path in files)
    sounds = {}
    for path in files[2:]:
        with wave.open(str(path)) as reader:
            sounds["stt" if "-stt-" in path.name else "tts"] = (
                reader.getframerate(),
                reader.readframes(reader.getnframes()),
            )
    assert sounds["stt"] == (16000, b"\x01\x02" * 320)
    assert sounds["tts"] == (24000, ToneSynthesizer().synthesize("Hello", 24000).tobytes())
    lines = [json.loads(line) for path in files[:2] for line in path.read_text().splitlines()]
    assert {"init", "ready", "final_transcript", "flushed"} <= {
        line["message"]["type"] for line in lines if "message" in line
    }


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """A file stands in the way."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="cannot record to"):
        LocalGateway(
            stt=ScriptRecognizer(["x"]), tts=ToneSynthesizer(), record_dir=tmp_path / "taken"
        )


def test_without_history_ended_connections_are_forgotten(start, connect):
    """A service that runs for weeks does not grow."""
    gateway = start(keep_history=False)
    client = connect(gateway, STT)
    client.init()
    client.send(bytes(640))
    client.send({"type": "close"})
    assert gateway.connections[0].messages == []
    client.until_closed()
    assert gateway.wait_for(lambda: gateway.connections == [], 5)


def test_without_websockets_the_line_that_installs_it_is_said():
    """In a process where the library cannot be imported."""
    code = (
        "import sys; sys.modules['websockets'] = None\n"
        "from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer\n"
        "from slng_edge.errors import MissingLibrary\n"
        "try: LocalGateway(stt=ScriptRecognizer(['x']), tts=ToneSynthesizer())\n"
        "except MissingLibrary as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'slng-edge[gateway]'" in done.stdout


def test_a_stuck_peer_does_not_hold_up_close(start, connect):
    """A speaking thread in the middle of a send ends with the gateway."""
    gateway = start()
    client = connect(gateway, TTS)
    client.init(sample_rate=48000)
    client.send({"type": "text", "text": "x" * 1900, "flush": True})
    client.send({"type": "text", "text": "x" * 1900, "flush": True})
    assert gateway.wait_for(lambda: gateway.connections[0].audio_bytes > 1_000_000, 10)
    began = time.monotonic()
    gateway.close()
    assert time.monotonic() - began < 4.0


def test_an_engine_that_breaks_closes_with_1011(start, connect, caplog):
    """The connection ends, the gateway does not, and the log has the reason."""

    class Broken(ScriptRecognizer):
        def open(self, rate_hz, language):
            raise RuntimeError("the model is gone")

    gateway = start(stt=Broken(["x"]))
    client = connect(gateway, STT)
    client.send({"type": "init", "config": {}})
    client.until_closed()
    assert client.close_code == 1011
    assert "the model is gone" in caplog.text
    connect(gateway, TTS).init()


def test_a_voice_that_breaks_closes_with_1011(start, connect, caplog):
    """The same for what the speaking thread calls."""

    class Broken(ToneSynthesizer):
        def synthesize(self, text, rate_hz, *, speed=1.0, language=""):
            raise RuntimeError("the voice is gone")

    client = connect(start(tts=Broken()), TTS)
    client.init()
    client.send({"type": "text", "text": "Hello", "flush": True})
    client.until_closed()
    assert client.close_code == 1011
    assert "the voice is gone" in caplog.text


def test_a_voice_that_fails_on_one_text_is_an_error_event(start, connect):
    """`provider_error`, and the utterance ends; the session lives on."""
    from slng_edge.simulator.synthesizers import SynthesisFailed

    class Picky(ToneSynthesizer):
        def synthesize(self, text, rate_hz, *, speed=1.0, language=""):
            if "42" in text:
                raise SynthesisFailed("cannot say 42")
            return super().synthesize(text, rate_hz)

    client = connect(start(tts=Picky()), TTS)
    client.init()
    client.send({"type": "text", "text": "42", "flush": True})
    error = client.until("flushed")[0]
    assert (error["type"], error["code"]) == ("error", "provider_error")
    client.send({"type": "text", "text": "Hello", "flush": True})
    assert any(isinstance(message, bytes) for message in client.until("flushed"))


def test_a_full_disk_ends_the_recording_and_not_the_conversation(start, connect, tmp_path, caplog):
    """The device that is always full stands in the tape's place; the log says it once."""
    from slng_edge.simulator.recording import Tape

    tape = Tape(tmp_path, "x")
    tape._lines.close()
    tape._lines = open("/dev/full", "w", buffering=1)  # noqa: SIM115
    for _ in range(3):
        tape.add(0.0, "client", {"type": "keepalive"})
    warnings = [r for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0].getMessage()
