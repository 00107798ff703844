"""What a program that we start gets of us: no descriptor, no signal, no terminal, no key."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conversation_scripts import wait_until

from slng_edge.events import Stamped, StateChanged
from slng_edge.responders.command import CommandResponder
from slng_edge.responders.kept_command import KeptCommandResponder
from slng_edge.service.hooks import StateHook

SHOW = f"""#!{sys.executable}
import json, os, sys
held = {{}}
for name in os.listdir("/proc/self/fd"):
    try:
        held[name] = os.readlink("/proc/self/fd/" + name)
    except OSError:
        pass  # of the listing
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
try:
    os.close(os.open("/dev/tty", os.O_RDWR))
    terminal = True
except OSError:
    terminal = False
told = {{"held": held, "environment": dict(os.environ), "folder": os.getcwd(), "terminal": terminal,
        "blocked": status["SigBlk"].strip(), "ignored": status["SigIgn"].strip(),
        "umask": status["Umask"].strip(), "session": os.getsid(0) == os.getpid()}}
with open(sys.argv[1] + ".new", "w") as out:
    json.dump(told, out)
os.rename(sys.argv[1] + ".new", sys.argv[1])
print("shown", flush=True)
if sys.argv[2:]:
    print(flush=True)
    sys.stdin.readlines()
"""


@pytest.fixture
def secrets_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a service has open, all of it inheritable; and a key in its environment."""
    key = tmp_path / "api-key"
    key.write_text("sk-of-this-test")
    with ExitStack() as stack:
        control = stack.enter_context(socket.socket(socket.AF_UNIX))
        control.bind(str(tmp_path / "control.sock"))
        control.listen()
        gateway = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(gateway.getsockname()))
        opened = stack.enter_context(open(key, encoding="utf-8"))
        for each in (control, gateway, client, opened):
            os.set_inheritable(each.fileno(), True)
        monkeypatch.setenv("SLNG_API_KEY", "sk-of-this-test")
        monkeypatch.setenv("SLNG_MQTT_PASSWORD", "pw-of-this-test")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
        monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
        yield


def shown(kind: str, folder: Path) -> dict[str, Any]:
    """What a program that is started as `kind` says it has."""
    program, told = folder / "show", folder / "told"
    program.write_text(SHOW)
    program.chmod(0o755)
    if kind == "hook":
        hook = StateHook([str(program), str(told)])
        hook.start()
        hook.receive(Stamped(1.0, datetime.now(UTC), StateChanged("idle")))
        assert wait_until(told.exists)
        hook.stop(3)
    else:
        responder: Any = (
            CommandResponder([str(program), str(told)])
            if kind == "command"
            else KeptCommandResponder([str(program), str(told), "stay"])
        )
        assert "shown" in "".join(responder.respond("hello", threading.Event()))
        responder.close()
    found: dict[str, Any] = json.loads(told.read_text())
    return found


@pytest.mark.parametrize("kind", ["hook", "command", "kept command"])
def test_it_gets_nothing_of_ours(kind: str, tmp_path: Path, secrets_open: None) -> None:
    """Three descriptors of its own, no key, signals as a program expects them, no terminal."""
    found = shown(kind, tmp_path)
    held = found["held"]
    assert set(held) <= {"0", "1", "2", "3"}
    assert held.get("3", "/fd").endswith("/fd")  # of its own listing
    allowed = ("pipe:", "/dev/null")
    assert all(held[name].startswith(allowed) for name in ("0", "1", "2"))
    assert not any("of-this-test" in value for value in found["environment"].values())
    assert not {"CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"} & set(found["environment"])
    assert int(found["blocked"], 16) == 0
    pipe = 1 << (signal.SIGPIPE - 1)
    assert int(_ours("SigIgn"), 16) & pipe  # it is ignored here, so this can fail
    # Python, which it is written in, ignores this one by itself; what else is ignored is inherited.
    assert int(found["ignored"], 16) & ~int(_ours("SigIgn"), 16) == 0
    assert found["umask"] == _ours("Umask")
    assert found["folder"] == os.getcwd()
    assert found["session"] is True
    assert found["terminal"] is False


def test_a_broken_pipe_ends_it_as_it_should(tmp_path: Path) -> None:
    """SIGPIPE, which we ignore, is not ignored in it: `yes | head` ends."""
    told = tmp_path / "told"
    script = f"grep SigIgn /proc/self/status > {told}.new; mv {told}.new {told}"
    hook = StateHook(["/bin/sh", "-c", script])
    hook.start()
    hook.receive(Stamped(1.0, datetime.now(UTC), StateChanged("idle")))
    assert wait_until(told.exists)
    hook.stop(3)
    assert not int(told.read_text().split()[1], 16) & 1 << (signal.SIGPIPE - 1)


def _ours(name: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split()[1]
    raise AssertionError(name)
