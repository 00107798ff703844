"""`slng-edge doctor`: what it prints, and its exit status."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import KEY, SlngEdge
from controllable import Service

from slng_edge.cli import main
from slng_edge.cli.doctor import _Report
from slng_edge.diagnostics.finding import Finding, warn
from slng_edge.simulator import LocalGateway

NULL = ("-s", "audio.input=null", "-s", "audio.output=null")
NAMES = [
    *("config", "service", "user", "key", "clock", "cpu", "memory", "disk", "dns", "tls"),
    *("stt", "tts", "responder", "wake words", "sound server", "microphone", "speaker"),
]

Doctor = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of this machine's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLNG_EDGE_CONFIG", os.devnull)
    monkeypatch.setenv("SLNG_EDGE_CONTROL__SOCKET", "")
    monkeypatch.setenv("SLNG_API_KEY", KEY)


@pytest.fixture
def doctor(gateway: LocalGateway, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs `doctor` against the gateway, without sound devices; exit status and output."""

    def run(*options: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
        status = main(["-s", f"gateway.url={gateway.url}", *NULL, *before, "doctor", *options])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert KEY not in out + err
        return status, out

    return run


def test_all_is_looked_at_and_nothing_fails(doctor: Doctor) -> None:
    """In one object: verdict, user, time and a finding for each thing."""
    status, out = doctor("--json")
    said = json.loads(out)
    assert status == 0
    assert said["verdict"] in ("OK", "WARN")  # a machine may have no time server
    assert list(dict.fromkeys(finding["name"] for finding in said["findings"])) == NAMES
    assert all(list(f) == ["name", "verdict", "what", "what_to_do"] for f in said["findings"])


def test_a_refused_key_fails(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do in the next line, and the sum in the last; no colour in a file."""
    monkeypatch.setenv("SLNG_API_KEY", f"{KEY}-wrong")
    status, out = doctor()
    assert status == 1
    lines = out.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("FAIL   stt  ")]
    advice = next(line for line in lines[at + 1 :] if "→" in line)
    assert advice.strip().startswith("→ key refused")
    assert " 2 FAIL in " in lines[-1]
    assert "\x1b" not in out


def test_a_wrong_configuration_is_told_and_the_rest_looked_at(doctor: Doctor) -> None:
    """All problems, and what could not be looked at because of them."""
    status, out = doctor("--json", before=("-s", "stt.modle=x", "-s", "tts.speed=9"))
    found = {finding["name"]: finding for finding in json.loads(out)["findings"]}
    assert status == 1
    assert found["config"]["what"].count("\n") == 1
    assert {"clock", "user", "disk", "sound server"} <= found.keys()
    assert "gateway" in found["the rest"]["what"]


def test_what_run_would_refuse_fails(doctor: Doctor) -> None:
    """Though the file can be read."""
    status, out = doctor("--json", before=("-s", "gateway.url=ws://gateway.example:1"))
    assert status == 1
    first, *others = json.loads(out)["findings"]
    assert (first["verdict"], "unencrypted" in first["what"]) == ("FAIL", True)
    assert all("unencrypted" not in finding["what"] for finding in others)


@pytest.mark.parametrize(("state", "verdict"), [("open", "OK"), ("lost", "FAIL")])
def test_the_running_service_is_asked(
    doctor: Doctor, tmp_path: Path, state: str, verdict: str
) -> None:
    """Its devices are its own: they are busy because they work."""
    device = {"state": state, "name": "USB"}
    with Service(tmp_path / "c.sock") as service:
        service.status |= {"devices": {"input": device, "output": device}}
        real = ("-s", "audio.input=USB", "-s", "audio.output=USB")
        socket = ("-s", f"control.socket={service.path}")
        _, out = doctor("--json", before=(*real, *socket))
    found = {finding["name"]: finding for finding in json.loads(out)["findings"]}
    assert found["service"]["what"].endswith(": idle")
    assert (found["microphone"]["verdict"], found["speaker"]["verdict"]) == (verdict, verdict)


def test_a_socket_left_over_is_no_service(doctor: Doctor, tmp_path: Path) -> None:
    """And a file in its place is told, not taken for one."""
    (tmp_path / "c.sock").write_text("")
    _, out = doctor("--json", before=("-s", f"control.socket={tmp_path}/c.sock"))
    found = {finding["name"]: finding for finding in json.loads(out)["findings"]}
    assert "is not a socket" in found["service"]["what"]
    _, out = doctor("--json", before=("-s", f"control.socket={tmp_path}/none.sock"))
    found = {finding["name"]: finding for finding in json.loads(out)["findings"]}
    assert found["service"]["verdict"] == "OK"


def test_on_a_terminal_there_is_colour(slng_edge: SlngEdge) -> None:
    """One for each verdict."""
    command = f"$slng_edge {' '.join(NULL)} doctor"
    ended = slng_edge.shell(f'TERM=xterm script -qec "{command}" /dev/null')
    assert "\x1b[32mOK   \x1b[0m  config" in ended.out


def found(what: str = "seen", what_to_do: str = "do that") -> Finding:
    """A line of the doctor's."""
    return warn("clock", what, what_to_do)


class Terminal(io.TextIOWrapper):
    """A terminal of this encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> str:
        """All that was written."""
        data = self.buffer.getvalue()  # type: ignore[attr-defined]
        return str(data.decode(self.encoding))


def test_on_a_narrow_terminal_the_name_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen has room below it, and nothing is cut."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal("utf-8")
    _Report(out).show(found("no time server is followed: it will drift", "sudo timedatectl x"))
    assert out.shown.splitlines() == [
        "WARN   clock",
        "       no time server is followed: it",
        "       will drift",
        "       → sudo timedatectl x",
    ]


def test_without_utf_8_the_arrow_is_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locale of C or Latin-1 is no reason for a traceback."""
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal("ascii")
    _Report(out).show(found())
    assert "-> do that" in out.shown


@pytest.mark.parametrize(
    ("term", "no_color", "coloured"),
    [("xterm", "", True), ("dumb", "", False), ("xterm", "1", False)],
)
def test_colour_is_for_terminals_that_have_it(
    monkeypatch: pytest.MonkeyPatch, term: str, no_color: str, coloured: bool
) -> None:
    """NO_COLOR is heard."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", no_color)
    out = Terminal("utf-8")
    _Report(out).show(found())
    assert ("\x1b" in out.shown) == coloured


def test_a_closed_standard_output_is_no_bug() -> None:
    """The status says what there is to say."""
    command = [sys.executable, "-m", "slng_edge", *NULL, "-s", "control.socket=", "doctor"]
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], capture_output=True, timeout=60
    )
    assert b"Traceback" not in ended.stderr
