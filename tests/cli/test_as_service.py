"""`--as-service`: whose eyes it looks with, and what is left of the key it was given."""

from __future__ import annotations

import argparse
import grp
import json
import os
import pwd
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import KEY
from public_copy import public_python

from slng_edge.cli import as_service, main
from slng_edge.cli.as_service import environment_of, run_as
from slng_edge.diagnostics.environment_files import EnvironmentFile, read_environment_files
from slng_edge.diagnostics.service_unit import service_unit, unit_of
from slng_edge.errors import SlngEdgeError
from slng_edge.simulator import LocalGateway

__all__ = ["public_python"]

UNIT = {"LoadState": "loaded", "User": "nobody", "SupplementaryGroups": "audio"}
NULL = ("audio.input=null", "audio.output=null", "control.socket=")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="to become another user takes root")


@pytest.fixture
def run_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In the place of /run, where others may be at work; all may pass through it."""
    with tempfile.TemporaryDirectory(prefix="slng-edge-run-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        monkeypatch.setattr(as_service, "_RUN", folder)
        yield folder


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The key, for root alone."""
    file = tmp_path / "api-key"
    file.write_text(KEY)
    file.chmod(0o600)
    return file


def arguments(url: str) -> argparse.Namespace:
    """As the command line gives them, without sound devices."""
    return argparse.Namespace(
        config_file="/dev/null",
        overrides=[f"gateway.url={url}", *NULL],
        log_level="error",
        log_format="text",
    )


@needs_root
def test_it_is_that_user_with_those_groups_and_that_key(
    gateway: LocalGateway,
    public_python: Path,
    run_folder: Path,
    key_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As its unit gives them; the copy of the key is gone afterwards."""
    monkeypatch.setattr(sys, "executable", str(public_python))
    monkeypatch.setenv("SLNG_API_KEY", "another-key-of-the-caller")
    unit = unit_of(UNIT, {"slng-api-key": str(key_file)})
    status = run_as(unit, arguments(gateway.url), "doctor", "--json")
    out, err = capfd.readouterr()
    assert status == 0, out + err
    said = json.loads(out)
    found = {finding["name"]: finding for finding in said["findings"]}
    assert said["user"] == "nobody"
    assert "audio" in found["user"]["what"]
    assert found["key"]["what"] == "in the systemd credential slng-api-key"
    assert KEY not in out + err
    assert not list(run_folder.iterdir())


@needs_root
def test_nothing_of_root_s_is_left_to_it(
    run_folder: Path,
    key_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither user nor group, and the key's folder and file are its own."""
    program = run_folder / "python"
    program.write_text(
        "#!/bin/sh\nid -u; id -g; id -G | tr ' ' '\\n' | sort -n | xargs\n"
        'cd "$CREDENTIALS_DIRECTORY" && stat -c "%n %a %U" . * && cat *\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    unit = unit_of(UNIT, {"slng-api-key": str(key_file)})
    assert run_as(unit, arguments(""), "doctor") == 0
    nobody, audio = pwd.getpwnam("nobody"), grp.getgrnam("audio")
    groups = " ".join(map(str, sorted({nobody.pw_gid, audio.gr_gid})))
    assert capfd.readouterr().out.splitlines() == [
        *(str(nobody.pw_uid), str(nobody.pw_gid), groups),
        *(". 700 nobody", "slng-api-key 400 nobody", KEY),
    ]
    assert list(run_folder.iterdir()) == [program]


@needs_root
def test_a_copy_that_cannot_be_written_is_said(run_folder: Path, key_file: Path) -> None:
    """Rather than that the service has no key; half of a copy does not stay."""
    unit = unit_of(UNIT, {"slng-api-key": str(key_file)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))
    try:
        with pytest.raises(SlngEdgeError, match=r"key cannot be .*: File too large; make room"):
            run_as(unit, arguments(""), "doctor")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(run_folder.iterdir())


@needs_root
@pytest.mark.parametrize("command", ["doctor", "devices"])
def test_to_look_as_the_service_takes_root(public_python: Path, command: str) -> None:
    """The message is the command to run."""
    done = subprocess.run(
        [public_python, "-m", "slng_edge", command, "--as-service"],
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
def test_a_program_that_its_user_may_not_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With where it would be to be installed."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\n")
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(SlngEdgeError, match=r"nobody may not run .*/opt/slng-edge"):
        run_as(unit_of(UNIT, {}), arguments("ws://127.0.0.1:9"), "doctor")


@needs_root
def test_a_service_without_its_user_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With the line that makes one."""
    try:
        pwd.getpwnam("slng-edge")
    except KeyError:
        assert main(["doctor", "--as-service"]) == 1
        assert "sudo useradd --system --groups audio slng-edge" in capsys.readouterr().err
    else:
        pytest.skip("slng-edge is installed here")


def test_a_unit_that_was_named_has_to_be_there() -> None:
    """Ours as it would be installed is no answer to that."""
    with pytest.raises(SlngEdgeError, match=r"(there is no|look up the) unit no-such"):
        service_unit("no-such.service", named=True)


def test_the_service_s_environment_is_not_ours(tmp_path: Path) -> None:
    """Of the caller's only what the terminal needs: no key, no sound server."""
    file = tmp_path / "proxy"
    file.write_text("HTTPS_PROXY=http://ann:pass@p\n")
    unit = unit_of(
        {**UNIT, "Environment": "HTTPS_PROXY=http://p TWO=2", "StateDirectory": "slng-edge"},
        {},
        read_environment_files([EnvironmentFile(str(file), optional=False)]),
    )
    ours = {"SLNG_API_KEY": KEY, "PULSE_SERVER": "unix:/x", "TERM": "xterm", "HOME": "/root"}
    assert environment_of(unit, ours) == {
        "TERM": "xterm",
        "HOME": unit.home,
        "USER": "nobody",
        "LOGNAME": "nobody",
        "STATE_DIRECTORY": "/var/lib/slng-edge",
        "HTTPS_PROXY": "http://ann:pass@p",
        "TWO": "2",
    }


# What ends it before it is done

PROGRAM = """
import signal, sys
from argparse import Namespace
from pathlib import Path
from slng_edge.cli import as_service
from slng_edge.diagnostics.service_unit import unit_of
folder, key, url, ignored, *overrides = sys.argv[1:]
if ignored:
    signal.signal(int(ignored), signal.SIG_IGN)
as_service._RUN = Path(folder)
unit = unit_of({"LoadState": "loaded", "User": "root"}, {"slng-api-key": key})
overrides = [f"gateway.url={url}", *overrides]
args = Namespace(
    config_file="/dev/null", overrides=overrides, log_level="error", log_format="text"
)
sys.exit(as_service.run_as(unit, args, "doctor"))
"""


@pytest.fixture
def silent_gateway() -> Iterator[socket.socket]:
    """It takes connections and never says a word: `doctor` waits for it for long."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(run_folder: Path, key_file: Path, silent_gateway: socket.socket) -> Iterator[Start]:
    """Begins a `doctor` as root's service, and returns while it looks, the key in its folder."""
    url = f"ws://127.0.0.1:{silent_gateway.getsockname()[1]}"
    started = []

    def begin(ignored: str = "") -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(run_folder), str(key_file), url, ignored, *NULL],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        silent_gateway.accept()[0].close()
        (folder,) = run_folder.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (folder / "slng-api-key").read_text() == KEY
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that it has started and that have not ended."""
    try:
        text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(word) for word in text.split()]


@needs_root
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_no_key_is_left_by_a_session_that_breaks_off(
    start: Start, run_folder: Path, number: signal.Signals
) -> None:
    """Nor what was started with it; the status says which signal it was."""
    process = start()
    (child,) = children_of(process)
    process.send_signal(number)
    assert process.wait(10) == 128 + number
    assert not list(run_folder.iterdir())
    assert not Path(f"/proc/{child}").exists()


@needs_root
def test_under_nohup_it_goes_on(start: Start, run_folder: Path) -> None:
    """What is ignored stays ignored."""
    process = start(str(int(signal.SIGHUP)))
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    assert not list(run_folder.iterdir())


def test_a_second_signal_keeps_nothing_from_being_removed() -> None:
    """The first ends it; afterwards signals do what they did before."""
    before = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)
    undone = []

    def ended_twice() -> None:
        with as_service._ended_by_signals():
            assert signal.getsignal(signal.SIGHUP) is not before[0]  # it would end the tests
            try:
                os.kill(os.getpid(), signal.SIGHUP)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                undone.append(True)

    with pytest.raises(SystemExit) as ended:
        ended_twice()
    assert undone
    assert ended.value.code == 128 + signal.SIGHUP
    assert (signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)) == before
