"""`slng-edge ctl`: what it asks, what it prints, and how it says that something is in the way."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from command_line import SlngEdge
from controllable import Service
from conversation_scripts import wait_until

from slng_edge.cli import control_connection, main
from slng_edge.events import Stamped, StateChanged
from slng_edge.simulator import LocalGateway


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of this machine's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLNG_EDGE_CONFIG", os.devnull)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of which only the socket is real."""
    with Service(tmp_path / "c.sock") as service:
        yield service


Ctl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ctl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ctl:
    """Runs `ctl`; exit status, standard output, standard error."""

    def run(*argv: str) -> tuple[int, str, str]:
        status = main(["ctl", "--socket", str(tmp_path / "c.sock"), *argv])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return run


@pytest.mark.parametrize(
    ("argv", "call"),
    [
        (["wake"], ("wake",)),
        (["stop"], ("interrupt",)),
        (["mute"], ("mute", True)),
        (["unmute"], ("mute", False)),
        (["volume", "80"], ("set_volume", 0.8)),
        (["volume", "12.5%"], ("set_volume", 0.125)),
        (["say", "Hello."], ("say", "Hello.", False)),
        (["say", "--now", "Hello."], ("say", "Hello.", True)),
        (["say", "Hello.", "--now"], ("say", "Hello.", True)),
        (["say", "--", "-5 degrees"], ("say", "-5 degrees", False)),
        (["ask", "¿Qué hora es?"], ("ask", "¿Qué hora es?")),
    ],
)
def test_an_action_is_asked_for(
    service: Service, ctl: Ctl, argv: list[str], call: tuple[Any, ...]
) -> None:
    """And where there is nothing to say nothing is printed."""
    assert ctl(*argv) == (0, "", "")
    assert service.loop.calls == [call]


def test_the_volume_is_printed(service: Service, ctl: Ctl) -> None:
    """As it can be given back."""
    service.loop.volume = 0.35
    assert ctl("volume") == (0, "35\n", "")


def test_the_status_begins_with_the_one_line(service: Service, ctl: Ctl) -> None:
    """For people, and as JSON for programs."""
    service.status |= {"uptime_s": 61}
    status, out, _ = ctl("status")
    assert (status, out.splitlines()[0]) == (
        0,
        "idle  up 1 min 1 s  stt none  tts none  mic none  speaker none",
    )
    assert json.loads(ctl("status", "--json")[1]) == service.status


@pytest.mark.parametrize("action", ["say", "ask"])
def test_a_text_comes_from_standard_input(
    service: Service, ctl: Ctl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, action: str
) -> None:
    """With `-`."""
    (tmp_path / "text").write_text("From a\nfile.\n")
    with open(tmp_path / "text", encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert ctl(action, "-")[0] == 0
    assert service.loop.calls[0][:2] == (action, "From a\nfile.\n")


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["say", ""], 2, "the text is empty"),
        (["ask", " \n"], 2, "the text is empty"),
        (["say", "x" * 60001], 2, "at most 60000 bytes"),
        (["say", "\udcff"], 2, "not UTF-8"),
        (["say"], 2, "required: TEXT"),
        (["volume", "201"], 2, "from 0 to 200"),
        (["volume", "loud"], 2, "from 0 to 200"),
        (["volume", "nan"], 2, "from 0 to 200"),
        (["dance"], 2, "there is no action 'dance'; it is one of status"),
        (["unmut"], 2, "did you mean unmute?"),
        (["wake", "up"], 2, "unrecognized arguments: up"),
        ([], 2, "required: ACTION"),
    ],
)
def test_a_wrong_command_line_is_not_sent(
    service: Service, ctl: Ctl, argv: list[str], status: int, said: str
) -> None:
    """It is said what is wrong."""
    ended, _, err = ctl(*argv)
    assert ended == status
    assert said in err
    assert service.loop.calls == []


def test_options_stand_where_they_are_written(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before `ctl`, before the action, after it; none is forgotten for another."""
    path = f"control.socket={service.path}"
    for argv in (
        ["-s", path, "ctl", "-s", "vad.stop_ms=500", "status", "-s", "vad.start_ms=50"],
        ["ctl", "-s", path, "status", "--log-level", "error"],
        ["ctl", "status", "--socket", str(service.path)],
        ["-s", "vad.nonsense=1", "ctl", "--socket", str(service.path), "status"],
    ):
        assert main(argv) == 0
        assert capsys.readouterr().out.startswith("idle")


def test_help_has_every_action_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """Also the help of an action."""
    assert main(["ctl", "--help"]) == 0
    out = capsys.readouterr().out
    for action in ("status", "wake", "stop", "mute", "unmute", "volume", "say", "ask", "reload"):
        assert f"\n  {action}" in out
    assert "slng-edge ctl say" in out
    assert main(["ctl", "volume", "--help"]) == 0
    assert "slng-edge ctl volume 80" in capsys.readouterr().out


# What the service says


def test_what_the_service_refuses_is_said(service: Service, ctl: Ctl) -> None:
    """Exit 1 and its words."""
    service.loop.refuses = "20 texts wait to be said already"
    status, _, err = ctl("say", "one more")
    assert (status, err) == (1, "slng-edge: 20 texts wait to be said already\n")


def test_a_reload_says_what_became_of_it(service: Service, ctl: Ctl) -> None:
    """When it is done."""

    def reload() -> None:
        assert wait_until(lambda: service.reloads)
        service.reloads[0].set_result("the configuration was reloaded")

    thread = threading.Thread(target=reload)
    thread.start()
    assert ctl("reload") == (0, "the configuration was reloaded\n", "")
    thread.join()


def test_events_are_printed_until_the_service_ends(service: Service, ctl: Ctl) -> None:
    """One JSON object a line, and 69 when there is nobody any more."""

    def live() -> None:
        assert wait_until(lambda: service.control._streams)
        for state in ("idle", "listening"):
            service.control.stream(Stamped(1.0, datetime.now(UTC), StateChanged(state)))
        service.control.stop(2)

    thread = threading.Thread(target=live)
    thread.start()
    status, out, err = ctl("events")
    thread.join()
    assert status == 69
    assert [json.loads(line)["state"] for line in out.splitlines()] == ["idle", "listening"]
    assert "the service has ended" in err


def test_a_reader_that_goes_away_ends_events(service: Service, tmp_path: Path) -> None:
    """`ctl events | head -1` ends with head, also when nothing happens any more."""
    command = [sys.executable, "-m", "slng_edge", "ctl", "--socket", str(service.path), "events"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert wait_until(lambda: service.control._streams)
        service.control.stream(Stamped(1.0, datetime.now(UTC), StateChanged("idle")))
        process.stdout.readline()
        process.stdout.close()
        process.wait(10)
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_ctrl_c_is_how_events_end(service: Service) -> None:
    """No error."""
    command = [sys.executable, "-m", "slng_edge", "ctl", "--socket", str(service.path), "events"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        assert wait_until(lambda: service.control._streams)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


class _Peer:
    """Something that listens at `path` and answers with `answer`, or not at all."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._answer = answer
        self.heard = b""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        peer, _ = self._listening.accept()
        with peer:
            self.heard = peer.recv(65536)
            if self._answer is not None:
                peer.sendall(self._answer)
            else:
                peer.recv(1)

    def close(self) -> None:
        self._thread.join(5)
        self._listening.close()


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (b"", 69, "ended before it answered"),
        (b'{"id": 1, "ok": tr', 69, "ended before it answered"),
        (None, 69, "does not answer"),
        (b"SSH-2.0-OpenSSH\r\n", 1, "is not slng-edge"),
        (b"[1]\n", 1, "is not slng-edge"),
        (
            b'{"id": null, "ok": false, "error": "busy: there are 16 clients"}\n',
            1,
            "busy: there are 16 clients",
        ),
        (
            b'{"id": 1, "ok": false, "error": "unknown command \'wake\': slng-edge 0.1 knows x"}\n',
            1,
            "slng-edge 0.1 knows x",
        ),
    ],
)
def test_a_strange_answer_is_said(
    ctl: Ctl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | None,
    status: int,
    said: str,
) -> None:
    """None, half of one, one of another program, of an older service."""
    monkeypatch.setattr(control_connection, "ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(
        control_connection.ControlConnection.ask,
        "__kwdefaults__",
        {"timeout_s": 0.2},
    )
    peer = _Peer(tmp_path / "c.sock", answer)
    try:
        ended, out, err = ctl("wake")
    finally:
        peer.close()
    assert (ended, out) == (status, "")
    assert said in err


# No service


def test_without_a_service_it_is_69(ctl: Ctl, tmp_path: Path) -> None:
    """With what to do."""
    status, _, err = ctl("status")
    assert status == 69
    assert f"the service is not running: there is no such socket: {tmp_path}/c.sock" in err
    assert "systemctl start slng-edge" in err


def test_a_socket_of_a_dead_service_is_69(ctl: Ctl, tmp_path: Path) -> None:
    """It was killed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "c.sock"))
    status, _, err = ctl("status")
    assert status == 69
    assert "has ended" in err


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text(""), "is not a socket"),
        (lambda path: path.mkdir(), "is not a socket"),
    ],
)
def test_what_is_no_socket_is_said(
    ctl: Ctl, tmp_path: Path, make: Callable[[Path], Any], said: str
) -> None:
    """A wrong path."""
    make(tmp_path / "c.sock")
    status, _, err = ctl("status")
    assert status == 2
    assert said in err


def test_a_path_that_is_too_long_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Not a traceback."""
    assert main(["ctl", "--socket", "/" + "x" * 200, "status"]) == 2
    assert "too long" in capsys.readouterr().err


def test_a_service_without_a_socket_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """It was configured so."""
    assert main(["-s", "control.socket=", "ctl", "status"]) == 2
    assert "has no control socket" in capsys.readouterr().err


@contextlib.contextmanager
def _nobody() -> Iterator[None]:
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_who_may_not_is_told_whom_to_join(capsys: pytest.CaptureFixture[str]) -> None:
    """The group of the socket; or that its folder is closed."""
    main(["ctl", "--socket", "/nowhere", "status"])  # everything is loaded now
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        with Service(folder / "c.sock"):
            with _nobody():
                closed = main(["ctl", "--socket", str(folder / "c.sock"), "status"])
            assert "folder of" in capsys.readouterr().err
            folder.chmod(0o755)
            with _nobody():
                refused = main(["ctl", "--socket", str(folder / "c.sock"), "status"])
            err = capsys.readouterr().err
    finally:
        shutil.rmtree(folder)
    assert (closed, refused) == (1, 1)
    assert "is for root, root and the group root" in err
    assert "sudo usermod -aG root nobody" in err


@pytest.fixture(params=["/tmp", "/run"])
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """One in which everybody may make files, and one in which only root may."""
    if os.geteuid() != 0 or not os.access(request.param, os.W_OK):
        pytest.skip("only root may become another user, and write there")
    folder = Path(tempfile.mkdtemp(dir=request.param))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("owner", "mode", "link", "at_home"),
    [
        ((65534, 65534), 0o755, "", True),
        ((0, 65534), 0o770, "", True),
        ((0, 65534), 0o777, "", False),
        ((0, 0), 0o1777, "", False),
        ((65534, 65534), 0o755, "/tmp", False),
    ],
    ids=["its folder", "its group's folder", "all may write", "sticky", "led to from /tmp"],
)
def test_nothing_is_said_to_a_stranger_who_was_there_first(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    owner: tuple[int, int],
    mode: int,
    link: str,
    at_home: bool,
) -> None:
    """Who listens is root, this user or whose folder it is; in /tmp anybody may own one."""
    heard = at_home and folder.parent == Path("/run")
    theirs = folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, *owner)
    theirs.chmod(mode)
    with _nobody():
        peer = _Peer(theirs / "c.sock", b'{"id": 1, "ok": true}\n' if heard else None)
    with contextlib.ExitStack() as closing:
        closing.callback(peer.close)
        path = theirs / "c.sock"
        if link:
            path = Path(tempfile.mkdtemp(dir=link)) / "link"
            closing.callback(shutil.rmtree, path.parent)
            path.symlink_to(theirs / "c.sock")
        status = main(["ctl", "--socket", str(path), "say", "what nobody is to know"])
    err = capsys.readouterr().err
    if heard:
        assert (status, err) == (0, "")
        assert b"what nobody is to know" in peer.heard
    else:
        assert status == 69
        assert f"nobody listens at {path}, where others may make files too; nothing was sent" in err
        assert "sudo -u USER" in err
        assert peer.heard == b""


# The configuration


def test_a_config_that_is_broken_meanwhile_does_not_hide_the_service(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The socket is found as far as the file can be read."""
    file = tmp_path / "config.toml"
    file.write_text(f'[vad]\nnonsense = 1\n[control]\nsocket = "{service.path}"\n')
    assert main(["--config", str(file), "ctl", "status"]) == 0
    file.write_text("[vad\n")
    assert main(["--config", str(file), "ctl", "status"]) == 78
    err = capsys.readouterr().err
    assert "config.toml" in err
    assert "--socket PATH" in err


def test_it_loads_nothing_heavy(service: Service) -> None:
    """It answers at once on a small device."""
    script = (
        "import sys; from slng_edge.cli import main;"
        f"status = main(['-s', 'control.socket={service.path}', 'ctl', 'status']);"
        "print(status, *sorted({'numpy', 'pyaudio', 'websocket', 'soxr', 'webrtcvad', 'asyncio',"
        " 'ssl', 'concurrent.futures'} & set(sys.modules)))"
    )
    environment = {**os.environ, "SLNG_EDGE_CONFIG": os.devnull}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0"


# The real service


def test_the_running_service_is_controlled_and_remembers(
    slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path
) -> None:
    """Status, mute and volume, reload under an open stream of events, and a restart."""
    config = tmp_path / "config.toml"
    config.write_text("[audio]\nvolume = 0.9\n")
    path = tmp_path / "real.sock"
    options = ("--config", str(config), "-s", f"control.socket={path}")
    devices = ("-s", "audio.input=null", "-s", "audio.output=null")

    def answers() -> bool:
        # The file is there a moment before anybody listens at it.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return path.exists() and main([*options, "ctl", "status"]) == 0

    def ctl(*argv: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main([*options, "ctl", *argv]) == 0
        return out.getvalue()

    def status() -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(ctl("status", "--json"))
        return decoded

    process = slng_edge.start(*options, *devices, "run")
    assert wait_until(answers)
    assert wait_until(lambda: status()["state"] == "idle")
    assert status()["sessions"]["stt"]["state"] == "ready"
    assert ctl("volume") == "90\n"
    ctl("volume", "40")
    ctl("mute")
    assert wait_until(lambda: status()["state"] == "muted")
    with socket.socket(socket.AF_UNIX) as listener, listener.makefile("r") as lines:
        listener.settimeout(10)
        listener.connect(str(path))
        listener.sendall(b'{"id": 1, "command": "events"}\n')
        assert "has not changed" in ctl("reload")
        config.write_text('[audio]\nvolume = 0.9\n[tts]\nvoice = "other"\n')
        assert ctl("reload") == "the configuration was reloaded\n"
        assert wait_until(lambda: status()["sessions"]["tts"]["state"] == "ready")
        events = [json.loads(lines.readline()) for _ in range(4)]
        assert events[0]["ok"] is True
        assert "connection" in {event.get("type") for event in events}
    assert (status()["muted"], status()["volume"]) == (True, 40)
    process.terminate()
    out, err = process.communicate(timeout=10)
    assert slng_edge.checked(process.returncode, out, err).status == 0
    assert not path.exists()

    process = slng_edge.start(*options, *devices, "run")
    try:
        assert wait_until(answers)
        assert wait_until(lambda: status()["state"] == "muted")
        assert status()["volume"] == 40
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (["volume", "--json"], {"percent": 100}),
        (["volume", "80", "--json"], {"percent": 80}),
        (["--json", "mute"], {"muted": True}),
        (["wake", "--json"], {}),
        (["say", "--json", "Hello."], {}),
    ],
)
def test_every_answer_may_be_json(
    service: Service, ctl: Ctl, argv: list[str], answer: dict[str, Any]
) -> None:
    """For who looks after many: wherever the option stands."""
    status, out, err = ctl(*argv)
    assert (status, json.loads(out), err) == (0, answer, "")


def test_a_closed_folder_says_whose_it_is() -> None:
    """With the unit it is the folder that keeps others out, and its group that lets them in."""
    folder = Path(tempfile.mkdtemp(prefix="closed-", dir="/tmp"))
    try:
        folder.chmod(0o750)
        said = control_connection._not_permitted(f"{folder}/c.sock")
        assert said.startswith(f"permission denied: {folder} is for root, ")
        assert "sudo usermod -aG " in said
    finally:
        folder.rmdir()
