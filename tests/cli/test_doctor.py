"""`slng-edge doctor`: what it prints, its exit status, and whose eyes it looks with."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import KEY, SlngEdge, may_be_read_by_all
from controllable import Service

from slng_edge.cli import main
from slng_edge.cli.as_service import environment_of, run_as
from slng_edge.cli.doctor import _Report
from slng_edge.diagnostics.finding import Finding, warn
from slng_edge.diagnostics.service_unit import service_unit, unit_of
from slng_edge.errors import SlngEdgeError
from slng_edge.simulator import LocalGateway

NULL = ("-s", "audio.input=null", "-s", "audio.output=null")
NAMES = [
    *("config", "service", "user", "key", "clock", "cpu", "memory", "disk", "dns", "tls"),
    *("stt", "tts", "responder", "wake words", "sound server", "microphone", "speaker"),
]

Doctor = Callable[..., tuple[int, str]]

needs_public_checkout = pytest.mark.skipif(
    not may_be_read_by_all(Path(__file__)), reason="only root may read this checkout"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="to become another user takes root")


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
    ended = slng_edge.shell(f'script -qec "{command}" /dev/null')
    assert "\x1b[32mOK   \x1b[0m  config" in ended.out


UNIT = {"LoadState": "loaded", "User": "nobody", "SupplementaryGroups": "audio"}


@needs_root
@needs_public_checkout
def test_as_the_service_it_is_that_user_with_that_key(
    gateway: LocalGateway, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Groups and key as its unit gives them; the copy of the key is gone afterwards."""
    key = tmp_path / "api-key"
    key.write_text(KEY)
    key.chmod(0o600)
    unit = unit_of(UNIT, {"slng-api-key": str(key)})
    args = argparse.Namespace(
        config_file="/dev/null",
        overrides=[f"gateway.url={gateway.url}", *NULL[1::2], "control.socket="],
        log_level="error",
        log_format="text",
    )
    before = set(os.listdir("/run"))
    assert run_as(unit, args, "doctor", "--json") == 0
    said = json.loads(capfd.readouterr().out)
    found = {finding["name"]: finding for finding in said["findings"]}
    assert said["user"] == "nobody"
    assert "audio" in found["user"]["what"]
    assert found["key"]["what"] == "in the systemd credential slng-api-key"
    assert set(os.listdir("/run")) == before


def test_the_service_s_environment_is_not_ours() -> None:
    """Of the caller's only what the terminal needs: no key, no sound server."""
    unit = unit_of(
        {**UNIT, "Environment": "HTTPS_PROXY=http://p", "StateDirectory": "slng-edge"}, {}
    )
    ours = {"SLNG_API_KEY": KEY, "PULSE_SERVER": "unix:/x", "TERM": "xterm", "HOME": "/root"}
    assert environment_of(unit, ours) == {
        "TERM": "xterm",
        "HOME": unit.home,
        "USER": "nobody",
        "LOGNAME": "nobody",
        "STATE_DIRECTORY": "/var/lib/slng-edge",
        "HTTPS_PROXY": "http://p",
    }


@needs_root
@needs_public_checkout
@pytest.mark.parametrize("command", ["doctor", "devices"])
def test_to_look_as_the_service_takes_root(command: str) -> None:
    """The message is the command to run."""
    done = subprocess.run(
        [sys.executable, "-m", "slng_edge", command, "--as-service"],
        capture_output=True,
        text=True,
        timeout=30,
        user="nobody",
        cwd="/",
        check=False,
    )
    assert done.returncode == 2
    assert f"--as-service needs root: sudo slng-edge {command} --as-service" in done.stderr


@needs_root
def test_a_service_without_its_user_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With the line that makes one."""
    try:
        import pwd

        pwd.getpwnam("slng-edge")
    except KeyError:
        assert main(["doctor", "--as-service"]) == 1
        assert "sudo useradd --system --groups audio slng-edge" in capsys.readouterr().err
    else:
        pytest.skip("slng-edge is installed here")


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


def test_a_unit_that_was_named_has_to_be_there() -> None:
    """Ours as it would be installed is no answer to that."""
    with pytest.raises(SlngEdgeError, match=r"(there is no|look up the) unit no-such"):
        service_unit("no-such.service", named=True)
