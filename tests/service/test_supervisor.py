"""`slng-edge run` as systemd runs it: a process of its own, signals, exit statuses, events."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversation_scripts import (
    PATIENCE_S,
    find_in,
    gateway,
    read_wav,
    silence,
    spoken,
    voice,
    wait_until,
    write_wav,
)

from slng_edge.service.supervisor import UNCHANGED

QUESTION = np.concatenate([silence(600), voice(400), silence(400)])


class Process:
    """A running `slng-edge run`; its events go to a file, its log to another."""

    def __init__(self, folder: Path, url: str, *overrides: str, **environment: str) -> None:
        self.events_path = folder / "events.jsonl"
        self.log_path = folder / "log.txt"
        values = (f"gateway.url={url}", "audio.input=null", "audio.output=null")
        options = [part for value in (*values, *overrides) for part in ("-s", value)]
        with open(self.log_path, "wb") as log:
            self.popen = subprocess.Popen(
                [
                    *(sys.executable, "-m", "slng_edge", *options),
                    *("-s", "control.socket=", "-s", "vad.stop_ms=200"),
                    *("run", "--events", str(self.events_path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def events(self, type_: str = "") -> list[dict[str, Any]]:
        """What the events file holds so far."""
        if not self.events_path.exists():
            return []
        lines = self.events_path.read_text().splitlines(keepends=True)
        decoded = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in decoded if not type_ or event["type"] == type_]

    def wait_for(self, type_: str, **fields: Any) -> dict[str, Any]:
        """The first event with these fields."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events(type_) if fields.items() <= event.items()]

        wait_until(lambda: found() or self.popen.poll() is not None)
        assert found(), f"no {type_} {fields}: {self.events()}\n{self.log}"
        return found()[0]

    def ended(self, timeout_s: float = 20.0) -> int:
        """Its exit status."""
        return self.popen.wait(timeout_s)


@contextmanager
def process(folder: Path, url: str, *overrides: str, **environment: str) -> Iterator[Process]:
    running = Process(folder, url, *overrides, **environment)
    try:
        yield running
    finally:
        if running.popen.poll() is None:
            running.popen.kill()
            running.popen.wait(10)


def files(folder: Path) -> tuple[str, str]:
    """A question as input, and an output."""
    question = write_wav(folder / "in.wav", QUESTION)
    return f"audio.input=file:{question}", f"audio.output=file:{folder / 'out.wav'}"


def test_a_file_that_ends_is_exit_0(tmp_path: Path) -> None:
    """The question is answered first; the events and the recording are complete."""
    with gateway("what it says") as served, process(tmp_path, served.url, *files(tmp_path)) as run:
        assert run.ended() == 0, run.log
        types = [event["type"] for event in run.events()]
        assert types.index("final") < types.index("reply") < types.index("playback_end")
        assert run.events("state")[-1]["state"] == "idle"
        assert find_in(read_wav(tmp_path / "out.wav"), spoken("what it says")) > 0
        assert all({"t", "at", "type"} <= event.keys() for event in run.events())
        assert "Traceback" not in run.log


def test_events_go_to_standard_output(tmp_path: Path) -> None:
    """`--events -`: nothing but JSON lines on stdout."""
    with gateway("hello") as served:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "slng_edge", "-s", f"gateway.url={served.url}"),
                *(part for value in files(tmp_path) for part in ("-s", value)),
                *("-s", "control.socket=", "run", "--events", "-"),
            ],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            timeout=20,
            check=True,
        )
    types = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert "playback_end" in types


def test_a_gateway_that_was_never_reached_is_exit_69(tmp_path: Path) -> None:
    """When the file has ended and no session was ever ready."""
    overrides = (*files(tmp_path), "stt.offline_keep_s=0.2")
    with process(tmp_path, "ws://127.0.0.1:1", *overrides) as run:
        assert run.ended() == 69
        assert run.log.splitlines()[-1].startswith("slng-edge: ")
        assert run.events("lost")
        assert "Traceback" not in run.log


def test_a_refused_key_is_exit_77(tmp_path: Path) -> None:
    """Refused before any session was ever ready; the key is in no output."""
    with gateway(key="right") as served:
        key = "wrong-key-12345"
        with process(tmp_path, served.url, SLNG_API_KEY=key) as run:
            assert run.ended() == 77
            assert "Invalid or missing API key" in run.log
            assert key not in run.log + run.events_path.read_text()
            assert "Traceback" not in run.log


@pytest.mark.parametrize(
    "override", ["gateway.url=ftp://x", "vad.stop_ms=soon", "audio.nonsense=1", "tts.voice="]
)
def test_a_wrong_config_is_exit_78(tmp_path: Path, override: str) -> None:
    """One message, no traceback; the voice that is empty is the gateway's to judge."""
    if override == "tts.voice=":
        with gateway(faults=["refuse=404"]) as served, process(tmp_path, served.url) as run:
            assert run.ended() == 78
    else:
        with process(tmp_path, "ws://127.0.0.1:1", override) as run:
            assert run.ended() == 78
    assert "Traceback" not in run.log


def test_a_missing_input_file_is_exit_66(tmp_path: Path) -> None:
    """The file is named."""
    with (
        gateway() as served,
        process(tmp_path, served.url, f"audio.input=file:{tmp_path}/none.wav") as run,
    ):
        assert run.ended() == 66
        assert "none.wav" in run.log
        assert "Traceback" not in run.log


def test_a_key_refused_later_is_shown_and_the_process_goes_on(tmp_path: Path) -> None:
    """After a session was ready the state is "error", also when the config is reloaded."""
    with gateway(key="right") as served, process(tmp_path, served.url, SLNG_API_KEY="right") as run:
        run.wait_for("state", state="idle")
        served.refuse_new = 401
        served.drop_all()
        run.wait_for("state", state="error")
        before = len(run.events())
        run.popen.send_signal(signal.SIGHUP)
        for session in ("stt", "tts"):
            assert wait_until(lambda session=session: _refused(run.events()[before:], session))
        served.refuse_new = None
        run.popen.send_signal(signal.SIGHUP)
        before = len(run.events("connection"))
        assert wait_until(
            lambda: any(e["state"] == "ready" for e in run.events("connection")[before:])
        )
        assert run.popen.poll() is None
        run.popen.terminate()
        assert run.ended(5) == 0


def _refused(events: list[dict[str, Any]], session: str) -> bool:
    return any(
        event["session"] == session and event.get("retry_in_s", 0) >= 600
        for event in events
        if event["type"] == "connection"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_while_a_reply_sounds(tmp_path: Path, number: int) -> None:
    """Exit 0 within five seconds, a valid recording, the connection closed with 1000."""
    text = "an answer that takes its time and is not heard to its end by anybody"
    inputs = files(tmp_path)
    write_wav(tmp_path / "in.wav", np.concatenate([QUESTION, silence(20000)]))
    with gateway(text) as served, process(tmp_path, served.url, *inputs) as run:
        run.wait_for("playback_start")
        began = time.monotonic()
        run.popen.send_signal(number)
        assert run.ended(6) == 0
        assert time.monotonic() - began < 5
        recording = read_wav(tmp_path / "out.wav")
        assert find_in(recording, spoken(text)[:240]) > 0
        assert served.wait_for(
            lambda: all(record.close_code is not None for record in served.connections), 3
        )
        assert {record.close_code for record in served.connections} == {1000}
        assert "Traceback" not in run.log


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_signal_ends_it_while_it_dials(tmp_path: Path, scheme: str) -> None:
    """A gateway that accepts and never answers does not hold it up."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listening:
        url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
        with process(tmp_path, url, SLNG_API_KEY="k") as run:
            run.wait_for("connection", state="connecting", session="tts")
            began = time.monotonic()
            run.popen.terminate()
            assert run.ended(6) == 0
            assert time.monotonic() - began < 5


def test_without_a_gateway_it_waits(tmp_path: Path) -> None:
    """It starts without one, shows that it is offline, and finds it when it is there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with process(tmp_path, f"ws://127.0.0.1:{port}") as run:
        run.wait_for("state", state="offline")
        with gateway(port=port):
            run.wait_for("state", state="idle")
            run.popen.terminate()
            assert run.ended(6) == 0


def test_a_missing_device_is_waited_for(tmp_path: Path) -> None:
    """Shown as lost and as an error, and no reason to exit."""
    with (
        gateway() as served,
        process(tmp_path, served.url, "audio.input=no such microphone") as run,
    ):
        lost = run.wait_for("device", which="input", state="lost")
        assert lost["name"] == "no such microphone"
        run.wait_for("state", state="error")
        run.popen.terminate()
        assert run.ended(6) == 0
        assert "Traceback" not in run.log


def test_a_reload_takes_the_new_config(tmp_path: Path) -> None:
    """SIGHUP: the file is read again, and the next session speaks with the new voice."""
    file = tmp_path / "config.toml"
    file.write_text('[tts]\nvoice = "first"\n')
    with gateway() as served, process(tmp_path, served.url, SLNG_EDGE_CONFIG=str(file)) as run:
        run.wait_for("state", state="idle")
        file.write_text('[tts]\nvoice = "second"\n')
        run.popen.send_signal(signal.SIGHUP)

        def voices() -> list[str]:
            inits = (record.of_type("client", "init") for record in served.connections)
            return [init[0]["voice"] for init in inits if init and "voice" in init[0]]

        assert served.wait_for(lambda: voices() == ["first", "second"], PATIENCE_S)
        run.popen.terminate()
        assert run.ended(6) == 0


def test_a_reload_of_the_same_config_drops_nothing(tmp_path: Path) -> None:
    """SIGHUP while somebody speaks: the same loop, the same connections, and the words come."""
    question = np.concatenate([silence(600), voice(2000), silence(400)])
    source = f"audio.input=file:{write_wav(tmp_path / 'in.wav', question)}"
    with gateway("all of it") as served, process(tmp_path, served.url, source) as run:
        run.wait_for("speech_start")
        run.popen.send_signal(signal.SIGHUP)
        assert run.ended() == 0, run.log
        assert "the config has not changed" in run.log
        assert len(served.connections) == 2
        assert [event["text"] for event in run.events("final")] == ["all of it"]
        assert (len(run.events("speech_start")), run.events("lost")) == (1, [])


@pytest.mark.parametrize(
    ("moment", "what", "voiced_ms"),
    [("speech_start", "speech", 4000), ("playback_start", "reply", 400)],
)
def test_a_reload_tells_what_is_lost_by_it(
    tmp_path: Path, moment: str, what: str, voiced_ms: float
) -> None:
    """A changed config needs another loop: speech and reply under way are not dropped unsaid."""
    question = np.concatenate([silence(600), voice(voiced_ms), silence(4000)])
    source = f"audio.input=file:{write_wav(tmp_path / 'in.wav', question)}"
    file = tmp_path / "config.toml"
    file.write_text('[tts]\nvoice = "first"\n')
    environment = {"SLNG_EDGE_CONFIG": str(file)}
    words = "a long story " * 8
    with (
        gateway(words, words) as served,
        process(tmp_path, served.url, source, **environment) as run,
    ):
        run.wait_for(moment)
        file.write_text('[tts]\nvoice = "second"\n')
        run.popen.send_signal(signal.SIGHUP)
        lost = run.wait_for("lost")
        assert (lost["what"], lost["why"]) == (what, "the configuration was reloaded")
        run.popen.terminate()
        assert run.ended(6) == 0
        assert len(run.events("lost")) == 1


def test_a_reload_of_a_wrong_config_keeps_the_old_one(tmp_path: Path) -> None:
    """The problem is logged; the sessions are not even touched."""
    file = tmp_path / "config.toml"
    file.write_text('[tts]\nvoice = "first"\n')
    with gateway() as served, process(tmp_path, served.url, SLNG_EDGE_CONFIG=str(file)) as run:
        run.wait_for("state", state="idle")
        file.write_text('[tts]\nvoise = "second"\n')
        run.popen.send_signal(signal.SIGHUP)
        assert wait_until(lambda: "the config was not reloaded" in run.log)
        assert "voise" in run.log
        assert len(served.connections) == 2
        run.popen.terminate()
        assert run.ended(6) == 0


def test_sigusr1_prints_every_threads_stack(tmp_path: Path) -> None:
    """To standard error, and it goes on."""
    with gateway() as served, process(tmp_path, served.url) as run:
        run.wait_for("state", state="idle")
        run.popen.send_signal(signal.SIGUSR1)
        assert wait_until(lambda: run.log.count("hread 0x") >= 8), run.log
        for place in ("capture.py", "playback.py", "session_link.py", "conversation.py"):
            assert place in run.log
        run.popen.terminate()
        assert run.ended(6) == 0


def told(notify: socket.socket) -> bytes:
    """What systemd is told next, its status line left out."""
    while (message := notify.recv(1000)).startswith(b"STATUS="):
        pass
    return message


def test_systemd_is_told(tmp_path: Path) -> None:
    """READY=1 once it is up, WATCHDOG=1 as frames pass, STOPPING=1 at the end and not before."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, gateway() as served:
        notify.bind(address)
        notify.settimeout(PATIENCE_S)
        file = tmp_path / "config.toml"
        file.write_text('[tts]\nvoice = "first"\n')
        environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"}
        with process(tmp_path, served.url, SLNG_EDGE_CONFIG=str(file), **environment) as run:
            assert told(notify) == b"READY=1"
            assert [told(notify) for _ in range(2)] == [b"WATCHDOG=1"] * 2
            file.write_text('[tts]\nvoice = "second"\n')
            run.popen.send_signal(signal.SIGHUP)
            after = [told(notify) for _ in range(3)]
            assert b"STOPPING=1" not in after
            assert b"READY=1" in after
            run.popen.terminate()
            assert run.ended(6) == 0
            notify.setblocking(False)
            last = b""
            while last != b"STOPPING=1":
                last = told(notify)


def test_a_missing_device_feeds_the_watchdog(tmp_path: Path) -> None:
    """A loop that looks for its microphone is not deaf by mistake."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, gateway() as served:
        notify.bind(address)
        notify.settimeout(PATIENCE_S)
        with process(
            tmp_path, served.url, "audio.input=no such microphone", NOTIFY_SOCKET=address
        ) as run:
            assert told(notify) == b"READY=1"
            assert told(notify) == b"WATCHDOG=1"
            run.popen.terminate()
            assert run.ended(6) == 0


def test_a_reader_of_events_that_stands_still_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """`--events -` into a pipe that nobody empties: SIGTERM still ends it, with 0, in time."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"\n" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    with gateway() as served:
        popen = subprocess.Popen(
            [
                *(sys.executable, "-m", "slng_edge", "-s", f"gateway.url={served.url}"),
                *("-s", "audio.input=null", "-s", "audio.output=null", "-s", "control.socket="),
                *("run", "--events", "-"),
            ],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            stdout=writing,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert served.wait_for(lambda: len(served.connections) == 2, PATIENCE_S)
            began = time.monotonic()
            popen.terminate()
            assert popen.wait(8) == 0
            assert time.monotonic() - began < 5
        finally:
            if popen.poll() is None:
                popen.kill()
                popen.wait(10)
            os.close(reading)
            os.close(writing)


SLEEPS = """
import sys
from slng_edge.service import supervisor

supervisor.POLL_S = supervisor.DEAF_S = 60.0


class Silent(supervisor.VoiceLoop):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._conversation._on_flow = lambda: None


supervisor.VoiceLoop = Silent
from slng_edge.cli import main
sys.exit(main())
"""


def test_signals_wake_the_main_thread(tmp_path: Path) -> None:
    """It sleeps for a minute here, with nothing that would wake it: each is noticed at once."""
    with gateway("hello") as served, open(tmp_path / "log.txt", "wb") as log:
        run = subprocess.Popen(
            [
                *(sys.executable, "-c", SLEEPS, "-s", f"gateway.url={served.url}"),
                *("-s", "audio.input=null", "-s", "audio.output=null", "-s", "control.socket="),
                *("run", "--events", str(tmp_path / "events.jsonl")),
            ],
            stderr=log,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )
        try:
            events = tmp_path / "events.jsonl"
            assert wait_until(
                lambda: events.exists() and events.read_text().count('"state": "ready"') == 2
            )
            time.sleep(0.5)  # until nothing is left to be noticed
            run.send_signal(signal.SIGHUP)
            assert wait_until(lambda: UNCHANGED in (tmp_path / "log.txt").read_text())
            run.terminate()
            assert run.wait(10) == 0
        finally:
            run.kill()
            run.wait(10)
