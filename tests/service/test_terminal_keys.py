"""Keys of a terminal, with real ones: pseudoterminals, and a shell that has jobs."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slng_edge.service import terminal_keys
from slng_edge.service.terminal_keys import HELP, TerminalKeys, is_terminal


class Noted:
    """Controls that note what they are asked for."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[str] = queue.SimpleQueue()

    def talk_or_stop(self) -> None:
        self.calls.put("talk or stop")

    def toggle_mute(self) -> None:
        self.calls.put("mute")

    def change_volume(self, step: float) -> None:
        self.calls.put(f"volume {step:+g}")

    def quit(self) -> None:
        self.calls.put("quit")

    def next(self) -> str:
        return self.calls.get(timeout=5)


class Terminal:
    """A pseudoterminal: what somebody types, and how the terminal is set."""

    def __init__(self) -> None:
        self.keyboard, self.descriptor = os.openpty()

    def type(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self.descriptor)

    def is_ours(self) -> bool:
        """Whether keys are given at once and unseen."""
        return not self.mode()[3] & (termios.ICANON | termios.ECHO)

    def unplug(self) -> None:
        os.close(self.keyboard)
        self.keyboard = -1

    def close(self) -> None:
        for descriptor in (self.keyboard, self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal of nobody's."""
    made = Terminal()
    yield made
    made.close()


@pytest.fixture
def noted(terminal: Terminal) -> Iterator[Noted]:
    """What the keys of the terminal did; they are taken from the start of the test on."""
    controls = Noted()
    keys = TerminalKeys(controls, descriptor=terminal.descriptor, say=lambda line: None)
    keys.start()
    wait_until(terminal.is_ours)
    yield controls
    keys.stop(timeout_s=2)


@pytest.mark.parametrize(
    ("typed", "does"),
    [
        (b"\n", "talk or stop"),
        (b"\r", "talk or stop"),
        (b" ", "talk or stop"),
        (b"m", "mute"),
        (b"M", "mute"),
        (b"+", "volume +0.1"),
        (b"=", "volume +0.1"),
        (b"-", "volume -0.1"),
        (b"_", "volume -0.1"),
        (b"q", "quit"),
    ],
)
def test_what_the_keys_do(terminal: Terminal, noted: Noted, typed: bytes, does: str) -> None:
    """Each at once, without Enter."""
    terminal.type(typed)
    assert noted.next() == does


@pytest.mark.parametrize(
    "typed",
    [b"x", b"\x1b", b"\x1b[A", b"\x1bOP", b"\xc3\xa4", b"\0", b"\x7f", b"quit, m - q +\n"],
    ids=["a letter", "Esc", "an arrow", "F1", "ä", "NUL", "backspace", "a paste"],
)
def test_other_keys_do_nothing(terminal: Terminal, noted: Noted, typed: bytes) -> None:
    """Neither does what a key sends besides letters, or what is pasted by mistake."""
    terminal.type(typed)
    time.sleep(0.02)
    terminal.type(b"m")
    assert noted.next() == "mute"


def test_the_terminal_is_as_it_was_afterwards(terminal: Terminal) -> None:
    """One line says which keys there are; stopping may be done twice."""
    before, said = terminal.mode(), []
    keys = TerminalKeys(Noted(), descriptor=terminal.descriptor, say=said.append)
    keys.start()
    wait_until(terminal.is_ours)
    keys.stop(timeout_s=2)
    keys.stop(timeout_s=2)
    assert terminal.mode() == before
    assert said == [HELP]
    assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL


def test_stopping_what_never_started_does_nothing(terminal: Terminal) -> None:
    """Whoever built it may always stop it."""
    before = terminal.mode()
    TerminalKeys(Noted(), descriptor=terminal.descriptor).stop(timeout_s=1)
    assert terminal.mode() == before


def test_the_key_that_quits_may_stop_the_keys(terminal: Terminal) -> None:
    """In the thread of the keys themselves."""

    class Quits(Noted):
        def quit(self) -> None:
            keys.stop(timeout_s=1)
            super().quit()

    before, controls = terminal.mode(), Quits()
    keys = TerminalKeys(controls, descriptor=terminal.descriptor, say=lambda line: None)
    keys.start()
    wait_until(terminal.is_ours)
    terminal.type(b"qm")
    assert controls.next() == "quit"
    keys.stop(timeout_s=2)
    assert terminal.mode() == before
    assert controls.calls.empty()


def test_a_key_that_fails_gives_the_terminal_back(terminal: Terminal) -> None:
    """The death of the thread is told, and the terminal is as it was."""

    class Fails(Noted):
        def toggle_mute(self) -> None:
            raise RuntimeError("a bug")

    before, deaths = terminal.mode(), queue.SimpleQueue[tuple[str, BaseException]]()
    keys = TerminalKeys(
        Fails(),
        descriptor=terminal.descriptor,
        say=lambda line: None,
        on_death=lambda name, error: deaths.put((name, error)),
    )
    keys.start()
    wait_until(terminal.is_ours)
    terminal.type(b"m")
    name, error = deaths.get(timeout=5)
    assert (name, str(error)) == ("keys", "a bug")
    assert terminal.mode() == before
    keys.stop(timeout_s=2)


def test_a_mode_that_another_program_sets_is_set_again(
    terminal: Terminal, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a shell does that brings a job back."""
    monkeypatch.setattr(terminal_keys, "FOREGROUND_POLL_S", 0.05)
    terminal.type(b"m")
    assert noted.next() == "mute"
    mode = terminal.mode()
    mode[3] |= termios.ICANON | termios.ECHO
    termios.tcsetattr(terminal.descriptor, termios.TCSANOW, mode)
    wait_until(terminal.is_ours)
    terminal.type(b"m")
    assert noted.next() == "mute"


def test_a_terminal_that_goes_ends_the_keys_alone(terminal: Terminal) -> None:
    """A window closed, a line dropped: no error, and no loop that spins."""
    keys = TerminalKeys(Noted(), descriptor=terminal.descriptor, say=lambda line: None)
    keys.start()
    wait_until(terminal.is_ours)
    terminal.unplug()
    wait_until(lambda: "keys" not in {thread.name for thread in threading.enumerate()})
    keys.stop(timeout_s=2)


def test_waiting_costs_nothing(noted: Noted) -> None:
    """Twice a second it is looked whether the terminal is still ours."""
    began = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - began < 0.05


def test_what_is_a_terminal(terminal: Terminal) -> None:
    """A pipe, /dev/null and a closed descriptor are none."""
    assert is_terminal(terminal.descriptor)
    with open(os.devnull) as null:
        assert not is_terminal(null.fileno())
    assert not is_terminal(9999)


# Jobs of a shell.

PROGRAM = """
import signal, sys, threading
from slng_edge.service import terminal_keys
terminal_keys.FOREGROUND_POLL_S = 0.05

class Said:
    def talk_or_stop(self): print("<TALK>", flush=True)
    def toggle_mute(self): print("<MUTE>", flush=True)
    def change_volume(self, step): print("<VOLUME>", flush=True)
    def quit(self): over.set()

over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
keys = terminal_keys.TerminalKeys(Said())
keys.start()
if "fail" in sys.argv:
    over.wait()
    raise SystemExit(3)
while not over.wait(0.02): pass
keys.stop(2)
print("<OVER>", flush=True)
"""


class Shell:
    """A shell in a terminal of its own."""

    def __init__(self, program: str) -> None:
        self.keyboard, terminal = os.openpty()
        self.seen = b""
        bash = shutil.which("bash")
        assert bash is not None
        take_terminal = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-S",
                "-c",
                take_terminal,
                bash,
                "--norc",
                "--noprofile",
                "--noediting",
                "-i",
            ],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            env={**os.environ, "PS1": "$ ", "TERM": "dumb", "P": program, "PY": sys.executable},
        )
        os.close(terminal)
        self.until(b"$ ")

    def type(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    def until(self, text: bytes) -> None:
        """Wait for `text`; what comes up to its end is forgotten."""
        deadline = time.monotonic() + 10
        while text not in self.seen:
            ready, _, _ = select.select([self.keyboard], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} did not come, but {self.seen!r}"
            self.seen += os.read(self.keyboard, 4096)
        self.seen = self.seen.partition(text)[2]

    def shows_what_is_typed(self) -> bool:
        mode = termios.tcgetattr(self.keyboard)
        return bool(mode[3] & termios.ICANON and mode[3] & termios.ECHO)

    def children(self) -> list[int]:
        """The processes that the shell has started."""
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGHUP)
        os.close(self.keyboard)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A shell that has typed nothing yet."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    made = Shell(PROGRAM)
    yield made
    made.close()


START = b'"$PY" -c "$P"'
SHOW_MODE = b"echo mode:$(stty -a | grep -ow -e -icanon -e icanon)"


def started(shell: Shell, arguments: bytes = b"") -> None:
    """Start the program in the foreground, and wait until its keys are taken."""
    shell.type(START + arguments + b"; " + SHOW_MODE + b"\n")
    shell.until(HELP.encode())
    wait_until(lambda: not shell.shows_what_is_typed())


def test_a_job_is_stopped_sent_to_the_background_and_brought_back(shell: Shell) -> None:
    """Ctrl-Z gives the terminal back; in the background nothing is read, and nothing hangs."""
    shell.type(START + b"\n")
    shell.until(HELP.encode())
    wait_until(lambda: not shell.shows_what_is_typed())
    shell.type(b"m")
    shell.until(b"<MUTE>")

    shell.type(b"\x1a")
    shell.until(b"Stopped")
    shell.type(SHOW_MODE + b"\n")
    shell.until(b"mode:icanon")

    shell.type(b"bg; echo 'back'ground\n")
    shell.until(b"background")
    shell.type(b"sleep 0.2; jobs\n")
    shell.until(b"Running")
    shell.type(b"m\n")  # To the shell, which says what it thinks of it.
    shell.until(b"m: command not found")

    shell.type(b"fg\n")
    wait_until(lambda: not shell.shows_what_is_typed())
    shell.type(b" ")
    shell.until(b"<TALK>")
    shell.type(b"q")
    shell.until(b"<OVER>")


def test_a_job_that_starts_in_the_background_waits(shell: Shell) -> None:
    """It runs, without keys, until it is brought to the foreground."""
    shell.type(START + b" & sleep 0.2; jobs\n")
    shell.until(b"Running")
    shell.type(b"fg\n")
    wait_until(lambda: not shell.shows_what_is_typed())
    shell.type(b"q")
    shell.until(b"<OVER>")


def test_the_end_of_the_process_gives_the_terminal_back(shell: Shell) -> None:
    """After SIGTERM, and after an exit that forgot to stop the keys."""
    for arguments in (b"", b" fail"):
        started(shell, arguments)
        shell.type(b"m")
        shell.until(b"<MUTE>")
        [job] = shell.children()
        os.kill(job, signal.SIGTERM)
        shell.until(b"mode:icanon")


def test_ctrl_c_still_ends_it(shell: Shell) -> None:
    """The terminal goes on to make a signal of it."""
    started(shell)
    shell.type(b"\x03")
    shell.until(b"KeyboardInterrupt")
    wait_until(shell.shows_what_is_typed)
