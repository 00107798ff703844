"""What a process that holds a key does first: nothing of it gets out by the side."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import KEY

from slng_edge.cli.logs import set_up_logging
from slng_edge.cli.private_process import CORE_LIMIT_BYTES, private_process
from slng_edge.secrets import register_key
from slng_edge.service.mqtt_address import broker_password


def with_core_dumps() -> None:
    """As a machine is where somebody looks for faults: whatever is aborted leaves its memory."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def within(first: str, action: str) -> str:
    """A program that does `first` and then `action`."""
    return (
        "import contextlib, os\n"
        "from slng_edge.cli.private_process import private_process\n"
        f"with {first}():\n    {action}\n"
    )


def in_the_log(action: Callable[[], None], capfd: pytest.CaptureFixture[str]) -> str:
    """What `action` leaves on standard error in a process with a log."""
    register_key(KEY)
    set_up_logging("debug", "text")
    with private_process():
        action()
    return capfd.readouterr().err


def raise_with_the_key() -> None:
    key = KEY
    raise RuntimeError(f"refused: {key}")


def in_a_thread() -> None:
    thread = threading.Thread(target=raise_with_the_key, name="fated")
    thread.start()
    thread.join()


def where_nothing_can_be_raised() -> None:
    class Kept:
        def __del__(self) -> None:
            raise_with_the_key()

    Kept()
    gc.collect()


def at_the_top() -> None:
    try:
        raise_with_the_key()
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)


@pytest.mark.filterwarnings("always::UserWarning")
@pytest.mark.parametrize(
    ("action", "words"),
    [
        (in_a_thread, "thread fated died"),
        (where_nothing_can_be_raised, "in __del__"),
        (at_the_top, "ended by RuntimeError"),
        (lambda: warnings.warn(f"of {KEY}", stacklevel=1), "UserWarning: of ***"),
    ],
    ids=["thread", "unraisable", "main", "warning"],
)
def test_what_python_prints_by_itself_is_masked(
    action: Callable[[], None], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """An exception that nobody caught is said with its traceback, and without the key."""
    said = in_the_log(action, capfd)
    assert words in said
    assert "***" in said
    assert KEY not in said


def test_a_thread_that_ends_itself_is_nothing_to_tell(capfd: pytest.CaptureFixture[str]) -> None:
    """As Python has it."""

    def end() -> None:
        thread = threading.Thread(target=sys.exit)
        thread.start()
        thread.join()

    assert in_the_log(end, capfd) == ""


def test_a_process_is_afterwards_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """For whoever calls a command from a program of theirs."""
    monkeypatch.setenv("SLNG_API_KEY", KEY)
    monkeypatch.setenv("SLNG_MQTT_PASSWORD", "of the broker")
    before = sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    with private_process():
        assert not {"SLNG_API_KEY", "SLNG_MQTT_PASSWORD"} & set(os.environ)
        assert broker_password() == "of the broker"
        assert resource.getrlimit(resource.RLIMIT_CORE)[0] in (0, CORE_LIMIT_BYTES)
    after = sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning
    assert (after, resource.getrlimit(resource.RLIMIT_CORE)) == (before, limits)
    assert os.environ["SLNG_API_KEY"] == KEY
    assert os.environ["SLNG_MQTT_PASSWORD"] == "of the broker"


def test_a_file_of_tls_secrets_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`SSLKEYLOGFILE` would open every connection to who has recorded it; it is said, once."""
    file = tmp_path / "tls-secrets"
    monkeypatch.setenv("SSLKEYLOGFILE", str(file))

    def make() -> None:
        import ssl

        assert ssl.create_default_context().keylog_filename is None

    assert "$SSLKEYLOGFILE is not heeded" in in_the_log(make, capfd)
    assert not file.exists()


def test_what_is_aborted_leaves_no_memory_behind(tmp_path: Path) -> None:
    """Not even where dumps are asked for; a careless program shows that one is made here."""
    left = {}
    for name, first in (("careless", "contextlib.nullcontext"), ("private", "private_process")):
        folder = tmp_path / name
        folder.mkdir()
        ended = subprocess.run(
            [sys.executable, "-c", within(first, "os.abort()")],
            cwd=folder,
            preexec_fn=with_core_dumps,
            check=False,
        )
        assert ended.returncode == -signal.SIGABRT
        left[name] = [file.name for file in folder.iterdir()]
    assert left["private"] == []
    if not left["careless"]:
        pytest.skip("core dumps are not put into the working directory here (core_pattern, limits)")


def test_no_program_is_handed_the_memory_either(tmp_path: Path) -> None:
    """At a limit of 1, and at no other, Linux does not start what core_pattern names."""
    show = "print(open('/proc/self/limits').read())"
    limits = subprocess.check_output(
        [sys.executable, "-c", within("private_process", show)],
        preexec_fn=with_core_dumps,
        text=True,
    )
    soft = next(line for line in limits.splitlines() if "core file" in line).split()[4]
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("core dumps cannot be asked for here: the hard limit is 0")
    assert soft == "1"
