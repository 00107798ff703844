"""`hooks.state`: a program that is told of each state, and cannot hold anything up."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conversation_scripts import wait_until

from slng_edge.events import PartialHeard, Stamped, StateChanged
from slng_edge.service import hooks
from slng_edge.service.hooks import StateHook, small_environment


def stamped(state: str) -> Stamped:
    """The change to `state`."""
    return Stamped(1.5, datetime(2026, 1, 2, tzinfo=UTC), StateChanged(state))


Starts = Callable[..., StateHook]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starts]:
    """Starts a hook that is a shell script; `$OUT` of it is a file to write to."""
    started = []

    def start_one(script: str, **environ: str) -> StateHook:
        file = tmp_path / f"hook{len(started)}"
        file.write_text(f"#!/bin/sh\nOUT={tmp_path}/out\n{script}\n")
        file.chmod(0o755)
        hook = StateHook([str(file)], environ={"PATH": os.environ["PATH"], **environ})
        hook.start()
        started.append(hook)
        return hook

    yield start_one
    for hook in started:
        hook.stop(3)


def lines(tmp_path: Path) -> list[str]:
    """What the scripts have written so far."""
    out = tmp_path / "out"
    return out.read_text().splitlines() if out.exists() else []


def test_it_gets_the_state_and_the_event(start: Starts, tmp_path: Path) -> None:
    """In two variables; the second is the event as everybody gets it."""
    hook = start('echo "$SLNG_EDGE_STATE" >> $OUT; echo "$SLNG_EDGE_EVENT" >> $OUT')
    hook.receive(stamped("listening"))
    assert wait_until(lambda: len(lines(tmp_path)) == 2)
    assert lines(tmp_path)[0] == "listening"
    assert json.loads(lines(tmp_path)[1]) == stamped("listening").as_json()


def test_what_is_no_change_of_state_is_not_told(start: Starts, tmp_path: Path) -> None:
    """Words least of all."""
    hook = start('echo "$SLNG_EDGE_STATE" >> $OUT')
    hook.receive(Stamped(0.0, datetime.now(UTC), PartialHeard("my secret")))
    hook.receive(stamped("idle"))
    assert wait_until(lambda: lines(tmp_path))
    assert lines(tmp_path) == ["idle"]


def test_while_one_runs_only_the_newest_is_kept(start: Starts, tmp_path: Path) -> None:
    """Two runs for five changes, never two at once."""
    hook = start(
        'mkdir $OUT.lock || echo twice >> $OUT; echo "$SLNG_EDGE_STATE" >> $OUT\n'
        "while [ ! -e $OUT.go ]; do sleep 0.01; done; rmdir $OUT.lock"
    )
    hook.receive(stamped("starting"))
    assert wait_until(lambda: lines(tmp_path) == ["starting"])
    for state in ("idle", "listening", "thinking", "speaking"):
        hook.receive(stamped(state))
    (tmp_path / "out.go").touch()
    assert wait_until(lambda: len(lines(tmp_path)) == 2)
    hook.stop(3)
    assert lines(tmp_path) == ["starting", "speaking"]


def test_a_slow_one_is_killed_with_what_it_started(
    start: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The next state is told all the same."""
    monkeypatch.setattr(hooks, "LIMIT_S", 0.3)
    hook = start(
        'trap "" TERM; echo "$SLNG_EDGE_STATE" >> $OUT\n'
        '[ "$SLNG_EDGE_STATE" = idle ] || exit 0\nsleep 60 & echo $! > $OUT.child; wait; sleep 60'
    )
    hook.receive(stamped("idle"))
    assert wait_until(lambda: hook.problem)
    assert hook.problem == "took longer than 0.3 s and was killed"
    child = int((tmp_path / "out.child").read_text())
    assert wait_until(lambda: not _lives(child))
    hook.receive(stamped("thinking"))
    assert wait_until(lambda: lines(tmp_path) == ["idle", "thinking"])
    assert wait_until(lambda: not hook.problem)


def test_a_failing_one_is_told_once_for_each_outcome(
    start: Starts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the last line of its complaints; and once more when it works again."""
    caplog.set_level(logging.INFO)
    hook = start('echo "$SLNG_EDGE_STATE" >> $OUT; [ $SLNG_EDGE_STATE = idle ] || { echo a; '
                 'echo no such pin >&2; exit 3; }')  # fmt: skip
    for number, state in enumerate(("listening", "thinking", "speaking", "idle", "idle"), 1):
        hook.receive(stamped(state))
        assert wait_until(lambda wanted=number: len(lines(tmp_path)) == wanted)
    assert wait_until(lambda: len(caplog.records) == 2)
    hook.stop(3)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.endswith("ended with status 3: no such pin")
    assert second.endswith("works again")


def test_a_missing_program_is_said_and_harmless(caplog: pytest.LogCaptureFixture) -> None:
    """The service goes on."""
    hook = StateHook(["/nowhere/at/all"])
    hook.start()
    hook.receive(stamped("idle"))
    assert wait_until(lambda: caplog.records)
    hook.stop(3)
    assert "could not be started: No such file or directory" in caplog.text


def test_stopping_does_not_wait_for_a_slow_one(start: Starts, tmp_path: Path) -> None:
    """It is killed, and nothing is said of it."""
    hook = start("echo $$ >> $OUT; sleep 60")
    hook.receive(stamped("idle"))
    assert wait_until(lambda: lines(tmp_path))
    began = time.monotonic()
    hook.stop(3)
    assert time.monotonic() - began < 2
    assert not _lives(int(lines(tmp_path)[0]))
    assert not hook.problem


def test_a_hook_that_says_much_does_not_hang(start: Starts) -> None:
    """More than a pipe holds."""
    hook = start("head -c 300000 /dev/zero | tr '\\0' x >&2; exit 1")
    hook.receive(stamped("idle"))
    assert wait_until(lambda: hook.problem == "ended with status 1")


def test_a_hook_that_never_stops_saying_things_is_not_read_for_ever(start: Starts) -> None:
    """It ends of a broken pipe after a megabyte, long before its time is over."""
    hook = start("exec yes no such pin >&2")
    began = time.monotonic()
    hook.receive(stamped("idle"))
    assert wait_until(lambda: hook.problem)
    assert hook.problem in ("ended with status 1", "was ended by signal 13 (Broken pipe)")
    assert time.monotonic() - began < hooks.LIMIT_S - 1


def test_a_hook_that_forks_without_end_is_killed_with_all_of_them(
    start: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of its children is left."""
    monkeypatch.setattr(hooks, "LIMIT_S", 0.3)
    hook = start("while :; do sleep 60 & echo $! >> $OUT; sleep 0.01; done")
    hook.receive(stamped("idle"))
    assert wait_until(lambda: hook.problem == "took longer than 0.3 s and was killed")
    children = [int(line) for line in lines(tmp_path)]
    assert len(children) > 3
    assert wait_until(lambda: not any(map(_lives, children)))


def test_what_runs_on_in_the_background_is_left_alone(start: Starts, tmp_path: Path) -> None:
    """A script may leave a blinking light behind, and holds nothing up by it."""
    hook = start("sleep 20 & echo $! >> $OUT")
    hook.receive(stamped("idle"))
    hook.receive(stamped("idle"))
    assert wait_until(lambda: lines(tmp_path))
    hook.stop(1)
    child = int(lines(tmp_path)[0])
    assert _lives(child)
    os.kill(child, 9)


def test_it_gets_little_of_the_environment() -> None:
    """Neither the key nor a setting with a password in it."""
    environ = {
        "PATH": "/bin",
        "HOME": "/root",
        "SLNG_API_KEY": "sk-secret",
        "SLNG_EDGE_MQTT__URL": "mqtt://u:p@b",
        "NOTIFY_SOCKET": "/run/x",
        "CREDENTIALS_DIRECTORY": "/run/c",
    }
    assert small_environment(environ) == {"PATH": "/bin", "HOME": "/root"}
    assert small_environment({})["PATH"]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
