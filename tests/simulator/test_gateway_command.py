"""`slng-edge gateway` as a process."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys

import pytest
import websocket

COMMAND = [sys.executable, "-m", "slng_edge", "gateway"]
STT = "/v1/stt/slng/deepgram/nova:3-en"


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.txt"
    path.write_text("turn on the light\n")
    return f"script:{path}"


def run(*options):
    return subprocess.run(
        [*COMMAND, *options], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_where_it_listens_serves_and_ends_with_0(script, number):
    """Port 0 is printed as the port that was found; a signal ends it cleanly."""
    environment = os.environ | {"SLNG_GATEWAY_KEY": "a-key-for-this-test"}
    options = ["--listen", "127.0.0.1:0", "--stt", script, "--tts", "tone"]
    process = subprocess.Popen(
        [*COMMAND, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on ws://127.0.0.1:")
        url = line.split()[-1]
        with pytest.raises(websocket.WebSocketBadStatusException, match="401"):
            websocket.create_connection(url + STT, timeout=5)
        header = ["Authorization: Bearer a-key-for-this-test"]
        client = websocket.create_connection(url + STT, header=header, timeout=5)
        client.send(json.dumps({"type": "init", "config": {}}))
        assert json.loads(client.recv())["type"] == "ready"
        client.send_binary(bytes(640))
        client.send(json.dumps({"type": "close"}))
        assert json.loads(client.recv())["transcript"] == "turn on the light"
        client.recv()
        client.shutdown()
        process.send_signal(number)
        out, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert out == ""
    assert "stt connection 2: slng/deepgram/nova:3-en" in errors
    assert "closed with 1000" in errors
    assert "a-key-for-this-test" not in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--listen", "0.0.0.0:0"], 2, "--allow-remote"),
        (["--listen", "nonsense"], 2, "HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], 2, "HOST:PORT"),
        (["--fault", "no_finl"], 2, "did you mean 'no_final'"),
        (["--fault", "pace=fast"], 2, "'pace' takes FACTOR, not 'fast'"),
        (["--fault", "tls=good@2"], 2, "'tls' is the whole gateway's"),
        (["--connection-s", "-3"], 2, "a number of seconds above 0, not '-3'"),
        (["--idle-s", "soon"], 2, "a number of seconds above 0, not 'soon'"),
        (["--fault", "tls", "--tls-dir", "/dev/null/x"], 78, "cannot write /dev/null/x"),
        (["--stt", "script:/nowhere/at/all"], 66, "/nowhere/at/all"),
        (["--stt", "magic"], 78, "pocketsphinx or script:FILE"),
        (["--tts", "magic"], 78, "flite, espeak or tone"),
        (["--key-file", "/nowhere/at/all"], 78, "--key-file"),
        (["--tier", "gold"], 2, "invalid choice"),
    ],
)
def test_a_mistake_is_one_clear_message(script, options, status, words):
    """The right exit status, and no traceback."""
    base = ["--tts", "tone"] if "--tts" not in options else []
    base += ["--stt", script] if "--stt" not in options else []
    done = run(*base, *options)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_key_file_that_others_can_read_is_refused(script, tmp_path):
    """Its mode is what is wrong."""
    key = tmp_path / "key"
    key.write_text("a-key-for-this-test")
    key.chmod(0o644)
    done = run("--stt", script, "--tts", "tone", "--key-file", str(key))
    assert done.returncode == 78
    assert "chmod 600" in done.stderr


def test_a_missing_program_names_what_installs_it_and_what_needs_nothing(script, tmp_path):
    """Without flite the tones are at hand."""
    done = subprocess.run(
        [*COMMAND, "--stt", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "sudo apt-get install flite" in done.stderr
    assert "--tts tone" in done.stderr


def test_list_faults_prints_the_table():
    """And ends."""
    done = run("--list-faults")
    assert done.returncode == 0
    assert "late_audio_after_clear=MS" in done.stdout
    assert "A POINT is" in done.stdout


def test_with_tls_it_prints_where_the_authority_lies(script, tmp_path):
    """A client that trusts that file is served, also where a connection may live for 0.3 s only."""
    options = ["--listen", "127.0.0.1:0", "--stt", script, "--tts", "tone", "--fault", "tls=good"]
    options += ["--tls-dir", str(tmp_path / "tls"), "--connection-s", "0.3", "--idle-s", "60"]
    process = subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url = process.stdout.readline().split()[-1]
        assert url.startswith("wss://127.0.0.1:")
        words = process.stdout.readline().split()
        assert words == ["certificate", "authority", "in", str(tmp_path / "tls" / "authority.pem")]
        trusting = ssl.create_default_context(cafile=words[-1])
        client = websocket.create_connection(url + STT, timeout=5, sslopt={"context": trusting})
        assert json.loads(client.recv())["code"] == "max_connection_duration_exceeded"
        client.recv()
        client.shutdown()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, errors
