"""The keys of a service with everything on, whose peers repeat them in all ways, are nowhere.

`slng-edge run` at level debug, in a terminal, with events, recordings, hook, a responder's program
that is kept, control socket, status page and MQTT; a gateway, an answering server and their errors
that are made of the keys. Then every byte that was written, sent, answered, or handed to a program
is searched. The header to the gateway and to the server, and MQTT's CONNECT, are the only places.
"""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import pty
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import termios
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np
import pytest
from conversation_scripts import silence, voice, wait_until, write_wav
from raw_server import http_proxy
from telling_peers import TellingGateway, telling_server, ways_to_say, writing_broker

from slng_edge.errors import RequestRejected
from slng_edge.gateway.connection import Connection, DialSettings
from slng_edge.protocol.routes import Endpoint

KEY = "sk-Live/4711+Never_shown&0815~x"
PROVIDER_KEY = "prov-Key+2342/Never.shown=y"
RESPONDER_KEY = "resp-Key+1701/Never.shown=z"
MQTT_PASSWORD = "mqtt-Word+9001/Never.shown=w"
SECRETS = (KEY, PROVIDER_KEY, RESPONDER_KEY, MQTT_PASSWORD)

BUNDLE = "support-bundle"
COMMANDS = (
    ("doctor", "--json"),
    ("config", "show", "--json"),
    (BUNDLE, "--with-recordings", "--no-doctor", "-"),
)
"""Beside the service, of its user."""

ESCAPE = re.compile(rb"(?i)(?:\\+u00|\\+x|%|&#x0*)([0-9a-f]{2});?|&#0*(\d{2,3});")

NOTES = "{ tr '\\0' '\\n' </proc/$$/environ; tr '\\0' ' ' </proc/$$/cmdline; } >>$HOME/told"
PROGRAM = f"""{NOTES}; env >&2; cat $HOME/provider-key >&2
while read -r line; do echo "$line" >>$HOME/told; echo "So ${{line%% and *}}."; echo; done"""


def found_in(data: bytes) -> list[str]:
    """Which secrets are in `data`: plain, in any capitals, hexadecimal, Base64, and escaped."""
    once = ESCAPE.sub(lambda m: bytes([int(m[1], 16) if m[1] else int(m[2]) & 255]), data)
    twice = ESCAPE.sub(lambda m: bytes([int(m[1], 16) if m[1] else int(m[2]) & 255]), once)
    folded = b"\n".join((data, once, twice)).lower().replace(b"\\/", b"/")
    return [secret for secret in SECRETS if any(each in folded for each in needles(secret))]


def needles(secret: str) -> Iterator[bytes]:
    """What is looked for, in small letters."""
    raw = secret.encode()
    yield raw.lower()
    yield raw.hex().encode()
    yield json.dumps(secret)[1:-1].lower().encode()
    for shift in range(3):
        whole = base64.b64encode(b"?" * shift + raw + b"?")[4 : (shift + len(raw)) * 8 // 6]
        yield whole.lower()
        yield whole.lower().translate(bytes.maketrans(b"+/", b"-_"))


@pytest.mark.parametrize("way", range(len(ways_to_say(KEY))))
def test_the_search_finds_every_way_to_say_it(way: int) -> None:
    """Or nothing below shows anything."""
    for secret in SECRETS:
        said = ways_to_say(secret)[way]
        assert found_in(json.dumps({"a": said}).encode()) == [secret]
        assert found_in(quote(said).encode()) == [secret]
    assert found_in(b"sk-Live/4711 prov-Key resp-Key mqtt-Word") == []


@dataclass
class Searched:
    """What there is of everything by name, and what the peers were told in confidence."""

    data: Mapping[str, bytes]
    told_gateway: list[str]
    told_server: list[str]
    told_broker: bytes
    status: int
    modes: Mapping[str, int]


class Terminal:
    """A terminal of its own for a process; all that it shows is kept."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
        self.shown = bytearray()
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=environ,
            start_new_session=True,
            preexec_fn=_owns_terminal_and_may_dump,
        )
        os.close(slave)
        self._thread = threading.Thread(target=self._read, name="terminal")
        self._thread.start()

    def close(self) -> None:
        """End it, and read what is left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._thread.join(10)
        os.close(self._master)

    def _read(self) -> None:
        with suppress(OSError):  # the other end is closed
            while data := os.read(self._master, 65536):
                self.shown += data


def _owns_terminal_and_may_dump() -> None:
    os.umask(0)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


@dataclass
class Family:
    """Command lines of a process and all below it, and the environments of those below."""

    pid: int
    seen: dict[str, bytes]

    def look(self) -> None:
        """Who is there now."""
        left = [self.pid]
        while left:
            pid = left.pop()
            with suppress(OSError):
                children = Path(f"/proc/{pid}/task").glob("*/children")
                left += [int(child) for file in children for child in file.read_text().split()]
                self.seen[f"command line of {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
                if pid != self.pid:
                    environ = Path(f"/proc/{pid}/environ").read_bytes()
                    # Between fork and exec a child still has its parent's.
                    if b"SLNG_KEYS_OF_THE_PARENT" not in environ:
                        self.seen[f"environment of {pid}"] = environ


def config_text(url: str, folder: Path, broker: int, server: str) -> str:
    """A configuration with everything on; `server` "" has a program answer."""
    responder = (
        f'kind = "http"\nurl = "{server}?token={RESPONDER_KEY}"'
        if server
        else (f"kind = \"command\"\ncommand = ['sh', '-c', '''{PROGRAM}''']\nkeep_running = true")
    )
    return f"""
[gateway]
url = "{url}"
provider_key_file = "{folder}/provider-key"
[stt]
model = "deepgram/nova:3"
[tts]
model = "deepgram/aura:2"
[audio]
input = "file:{folder}/question.wav"
output = "null"
echo_cancel = "off"
[vad]
stop_ms = 200
[responder]
{responder}
api_key_file = "{folder}/responder-key"
[hooks]
state = ['sh', '-c', '''{NOTES}''']
[control]
socket = "{folder}/control.sock"
[status_page]
listen = "127.0.0.1:0"
[mqtt]
url = "mqtt://somebody@127.0.0.1:{broker}/hall"
[debug]
record_dir = "{folder}/recordings"
log_transcripts = true
"""


@contextmanager
def listened_to(path: Path) -> Iterator[bytearray]:
    """All events of a control socket."""
    got = bytearray()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b'{"id": 1, "command": "events"}\n')

        def read() -> None:
            with suppress(OSError):
                while data := client.recv(65536):
                    got.extend(data)

        thread = threading.Thread(target=read, name="listener")
        thread.start()
        yield got
        client.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def accepts(path: Path) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def asked(path: Path, *requests: str) -> bytes:
    """What the control socket answers."""
    answers = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        for request in requests:
            client.sendall(request.encode() + b"\n")
            answers += client.recv(65536)
    return answers


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """One life of a service: refused, broken off, asked, reloaded, looked at, aborted."""
    folder = tmp_path_factory.mktemp("keys")
    for name, secret in (("provider-key", PROVIDER_KEY), ("responder-key", RESPONDER_KEY)):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)
    config = folder / "config.toml"
    config.touch()
    kept = {*folder.iterdir(), folder / "question.wav"}
    question = np.concatenate([silence(400), voice(400), silence(700)])
    write_wav(
        folder / "question.wav", np.concatenate([question, question, question, silence(60000)])
    )
    environ = {
        **{name: value for name, value in os.environ.items() if "SLNG" not in name},
        "SLNG_API_KEY": KEY,
        "SLNG_MQTT_PASSWORD": MQTT_PASSWORD,
        "SLNG_KEYS_OF_THE_PARENT": "1",
        "HOME": str(folder),
        "STATE_DIRECTORY": str(folder / "state"),
        "SSLKEYLOGFILE": str(folder / "tls-secrets"),
    }
    data: dict[str, bytes] = {}
    with ExitStack() as stack:
        gateway = stack.enter_context(TellingGateway(KEY, PROVIDER_KEY))
        server, told_server = stack.enter_context(telling_server(RESPONDER_KEY))
        port, broker = stack.enter_context(writing_broker())
        config.write_text(config_text(gateway.url, folder, port, ""))
        ours = [sys.executable, "-m", "slng_edge", "--config", str(config), "--log-level", "debug"]
        events = folder / "events.jsonl"
        terminal = Terminal([*ours, "run", "--events", str(events)], folder, environ)
        stack.callback(terminal.close)
        family = Family(terminal.process.pid, data)
        control = folder / "control.sock"

        def happened(pattern: str, source: Path | bytearray, count: int = 1) -> bool:
            """Whether it happens; the family is looked at meanwhile."""

            def holds() -> bool:
                family.look()
                there = (
                    source
                    if isinstance(source, bytearray)
                    else (source.read_bytes() if source.exists() else b"")
                )
                return len(re.findall(pattern.encode(), bytes(there))) >= count

            assert wait_until(holds, 15), f"no {pattern}:\n{terminal.shown.decode()[-3000:]}"
            return True

        happened(r"status page is at http://\S+/", terminal.shown)
        [page] = re.findall(rb"status page is at (http://\S+/)", terminal.shown)
        assert wait_until(lambda: accepts(control))
        listening = stack.enter_context(listened_to(control))
        stream = stack.enter_context(urlopen(f"{page.decode()}events", timeout=10))
        happened('"type": ?"turn"', events)
        commands = {
            words[0]: subprocess.Popen(
                [*ours, *words], env=environ, cwd=folder, stdout=PIPE, stderr=PIPE
            )
            for words in COMMANDS
        }
        terminal.process.send_signal(signal.SIGUSR1)
        # What the answering server repeats; and a reload that fails, with a key in the file.
        config.write_text(f'{config.read_text()}\n[nonsense]\napi_key = "{KEY}"\n')
        data["answer to a bad reload"] = asked(control, '{"id": 2, "command": "reload"}')
        config.write_text(config_text(gateway.url, folder, port, server))
        data["answers"] = asked(
            control,
            '{"id": 3, "command": "reload"}',
            '{"id": 4, "command": "status"}',
            '{"id": 7, "command": "volume", "percent": 80}',
            '{"id": 5, "command": "no such"}',
            "no JSON",
            '{"id": 6, "command": "ask", "text": "who are you"}',
        )
        assert wait_until(lambda: told_server, 15)
        happened(r"HTTP 500|\b500\b", terminal.shown)
        for place in ("", "status.json", "metrics", "healthz"):
            with urlopen(f"{page.decode()}{place}", timeout=10) as answer:
                data[f"page /{place}"] = bytes(str(answer.headers), "utf-8") + answer.read()
        for name, command in commands.items():
            data[name], data[f"{name}, standard error"] = command.communicate(timeout=60)
        data[BUNDLE] = unpacked(data[BUNDLE])
        terminal.process.send_signal(signal.SIGABRT)
        status = terminal.process.wait(10)
        data["events of the control socket"] = bytes(listening)
        data["events of the page"] = stream.read(1 << 20)
    config.write_text("")  # what a user put there
    modes = {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in folder.rglob("*")
        if path not in kept and not path.is_socket() and not path.is_symlink()
    }
    data["terminal"] = bytes(terminal.shown)
    data["published"] = b"".join(broker[1:])
    data["heard by the gateway"] = b"\n".join(
        each if isinstance(each, bytes) else each.encode() for each in gateway.heard
    )
    for file in folder.rglob("*"):
        if file.is_file() and file not in kept:
            data[f"file {file.relative_to(folder)}"] = file.read_bytes()
    return Searched(data, gateway.told, told_server, broker[0], status, modes)


def unpacked(bundle: bytes) -> bytes:
    """All files of it."""
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r|gz") as archive:
        files = ((each.name, archive.extractfile(each)) for each in archive)
        return b"\n".join(name.encode() + b"\n" + file.read() for name, file in files if file)


def test_the_peers_were_told_in_confidence(searched: Searched) -> None:
    """By a header to the gateway and to the server, and by MQTT's first packet."""
    assert set(searched.told_gateway) == {f"Bearer {KEY}"}
    assert set(searched.told_server) == {f"Bearer {RESPONDER_KEY}"}
    assert MQTT_PASSWORD.encode() in searched.told_broker


def test_all_of_it_was_on(searched: Searched) -> None:
    """What is searched was there: words, answers, recordings, programs, a crash."""
    data = searched.data
    for name, words in {
        "terminal": b"reply_lines: sh: ***",
        "file events.jsonl": b'"type": "reply"',
        "events of the control socket": b'"type": "final"',
        "events of the page": b"data:",
        "page /status.json": b'"version"',
        "page /metrics": b"slng_edge_turn",
        "answer to a bad reload": b"nonsense",
        "answers": b"the configuration was reloaded",
        "published": b'"type": "final"',
        "heard by the gateway": b"So the key is ***",
        "file told": b"SLNG_EDGE_STATE=",
        "doctor": b'"verdict"',
        "config": b'"origins"',
        BUNDLE: b"/recordings/",
    }.items():
        assert words in data[name], (name, data[name][-2000:])
    assert b"the key is ***" in data["file told"]
    assert any(name.endswith(".wav") for name in data)
    assert searched.status == -signal.SIGABRT


def test_what_was_started_has_next_to_nothing_in_its_environment(searched: Searched) -> None:
    """Hook and program, and whatever else was a child: no key, no address, no path of ours."""
    texts = [data for name, data in searched.data.items() if name.startswith("environment of")]
    names = {entry.partition(b"=")[0] for text in texts for entry in text.split(b"\0") if entry}
    by_shell = {b"PWD", b"OLDPWD", b"SHLVL", b"_"}
    allowed = {b"PATH", b"HOME", b"LANG", b"TZ", b"SLNG_EDGE_STATE", b"SLNG_EDGE_EVENT"}
    assert b"PATH" in names
    assert names <= allowed | by_shell


def test_nothing_is_left_that_opens_the_rest(searched: Searched) -> None:
    """No dump of the memory, and no file of TLS secrets, which both were asked for."""
    left = {name for name in searched.data if name.startswith("file ")}
    assert not {name for name in left if "core" in name or "tls" in name}


def test_files_are_for_this_user_alone(searched: Searched) -> None:
    """All that the service wrote, under a umask that lets everybody in."""
    assert {name: oct(mode) for name, mode in searched.modes.items() if mode & 0o077} == {}
    assert {"events.jsonl", "recordings", "state", "state/settings.json"} <= set(searched.modes)


@pytest.mark.parametrize("more", [[], ["-s", f"gateway.api_key={KEY}"]])
def test_a_refusal_that_repeats_the_key_is_said_without_it(more: list[str]) -> None:
    """HTTP 401 with it in the reason, headers and body; and a key where none belongs."""
    with TellingGateway(KEY, status=401) as gateway:
        done = subprocess.run(
            [*(sys.executable, "-m", "slng_edge", "--log-level", "debug", *more), "tts", "hello"],
            env={**os.environ, "SLNG_API_KEY": KEY, "SLNG_EDGE_GATEWAY__URL": gateway.url},
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == (78 if more else 77)
    assert found_in(done.stdout + done.stderr) == []
    assert (b"***" in done.stderr) == (not more)


@pytest.mark.parametrize("way", range(2))
def test_a_proxy_that_repeats_its_password_is_quoted_without_it(
    way: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its reason and in the schemes that it offers; as Base64, as it was sent, as well."""
    token = base64.b64encode(f"us:{MQTT_PASSWORD}".encode()).decode()
    said = (MQTT_PASSWORD, token)[way].encode()
    answer = b"HTTP/1.1 407 No %s\r\nProxy-Authenticate: %s\r\n\r\n" % (said, said)
    with http_proxy(answer=answer) as (port, asked_for):
        password = quote(MQTT_PASSWORD, safe="")
        monkeypatch.setenv("HTTPS_PROXY", f"http://us:{password}@127.0.0.1:{port}")
        connection = Connection()
        with pytest.raises(RequestRejected, match=r"407: No \*\*\*") as refused:
            connection.dial(Endpoint("wss://gateway.example/v1", ()), DialSettings(5.0))
        connection.close()
    assert token.encode() in asked_for[0]
    assert found_in(str(refused.value).encode()) == []


def test_no_key_is_anywhere(searched: Searched) -> None:
    """Every byte that left or was written, by where it was found."""
    found = {name: found_in(data) for name, data in searched.data.items()}
    assert {name: secrets for name, secrets in found.items() if secrets} == {}
