"""What finds what tests leave behind or change has to be able to find it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conversation_scripts import wait_until
from left_behind import Held, ProcessState

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_thread_and_a_socket_that_are_left_are_told(tmp_path: Path) -> None:
    """By name; and what was there before is not."""
    before = Held.now()
    over = threading.Event()
    thread = threading.Thread(target=over.wait, args=(10,), name="forgotten")
    thread.start()
    with open(tmp_path / "forgotten.txt", "w"), socket.socket():
        told = str(Held.now().since(before))
    assert "forgotten.txt" in told
    assert "socket:" in told
    assert "threads ['forgotten']" in told
    over.set()
    thread.join()
    assert not Held.now().since(before)


def test_a_process_that_is_left_is_told_until_it_was_waited_for() -> None:
    """One that has ended and was not waited for is left, too; so is that of another thread."""
    before = Held.now()
    processes: list[subprocess.Popen[bytes]] = []
    starter = threading.Thread(target=lambda: processes.append(subprocess.Popen(SLEEPS)))
    starter.start()
    starter.join()
    [process] = processes
    assert wait_until(lambda: "time.sleep" in str(Held.now().since(before)))
    assert str(process.pid) in str(Held.now().since(before))
    process.kill()
    assert wait_until(lambda: "not waited for" in str(Held.now().since(before)))
    process.wait(10)
    assert not Held.now().since(before)


def test_one_that_takes_the_place_of_another_of_the_same_command_is_not_left() -> None:
    """As where a test makes the server anew that its module's fixture holds."""
    first = subprocess.Popen(SLEEPS)
    wait_until(lambda: any("sleep(60)" in child.command for child in Held.now().children))
    before = Held.now()
    first.kill()
    first.wait(10)
    second = subprocess.Popen(SLEEPS)
    assert wait_until(lambda: not Held.now().since(before))
    third = subprocess.Popen(SLEEPS)
    assert wait_until(lambda: str(Held.now().since(before)).count("sleep(60)") == 1)
    for process in (second, third):
        process.kill()
        process.wait(10)


def ignore_hangups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def block_a_signal() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])


CHANGES: dict[str, Callable[[], object]] = {
    "signal handlers": ignore_hangups,
    "blocked signals": block_a_signal,
    "umask": lambda: os.umask(0o077),
    "working directory": lambda: os.chdir("/"),
    "environment": lambda: os.environ.update(FORGOTTEN="a value that may be a key"),
    "switch interval": lambda: sys.setswitchinterval(0.001),
    "sys.excepthook": lambda: setattr(sys, "excepthook", print),
    "threading.excepthook": lambda: setattr(threading, "excepthook", print),
    "sys.path": lambda: sys.path.append("/nowhere"),
    "socket timeout": lambda: socket.setdefaulttimeout(3.0),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_test_changes_is_told_and_set_back(what: str) -> None:
    """Of the environment the names alone; a value may be a key."""
    before = ProcessState.now()
    CHANGES[what]()
    changed = before.changed_to(ProcessState.now())
    before.restore()
    assert [line.partition(":")[0] for line in changed] == [what]
    assert "may be a key" not in str(changed)
    assert before.changed_to(ProcessState.now()) == []


FORGETFUL = """
import os, subprocess, sys

def test_leaves_a_process():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(4)"])

def test_leaves_a_variable():
    os.environ["FORGOTTEN"] = "1"

def test_leaves_nothing():
    assert "FORGOTTEN" not in os.environ
"""


def test_the_suite_fails_a_test_that_forgets(tmp_path: Path) -> None:
    """With what it forgot; the one after it begins as if it had not."""
    tests = Path(__file__).parent
    (tmp_path / "test_forgetful.py").write_text(FORGETFUL)
    ours = (tests / "conftest.py").read_text()
    assert "_GRACE_S = 2.0" in ours
    (tmp_path / "conftest.py").write_text(ours.replace("_GRACE_S = 2.0", "_GRACE_S = 0.1"))
    options = ["-q", "-p", "no:cacheprovider", "-o", f"pythonpath={tests} {tests.parent}"]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert "3 passed, 2 errors" in done.stdout, done.stdout
    assert "left behind: processes ['" in done.stdout
    assert "left changed: environment: FORGOTTEN" in done.stdout
    assert time.monotonic() - began < 60
