"""The log goes to stderr, in the form that was asked for, and without secrets."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slng_edge import secrets
from slng_edge.cli.logs import printable, set_up_logging, to_journal

log = logging.getLogger("slng_edge.tests")


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    """Leave the process's logging and its secrets as they were."""
    root, ours = logging.getLogger(), logging.getLogger("slng_edge")
    handlers, level, known = root.handlers.copy(), ours.level, secrets._known.copy()
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)
    secrets._known.clear()
    secrets._known.update(known)


def test_text_has_time_level_thread_and_logger(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a record, on stderr."""
    set_up_logging("info", "text", environ={})
    thread = threading.Thread(target=log.info, args=("hello %s", "you"), name="stt-send")
    thread.start()
    thread.join(5)
    out, err = capsys.readouterr()
    assert out == ""
    assert err[:4].isdigit()
    assert err.endswith("INFO    [stt-send] slng_edge.tests: hello you\n")


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback does not break the line."""
    set_up_logging("info", "json", environ={})
    log.info("two\nlines")
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("failed", stack_info=True)
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["message"], first["level"], first["thread"], first["logger"]) == (
        "two\nlines",
        "info",
        "MainThread",
        "slng_edge.tests",
    )
    assert "exception" not in first
    assert "ValueError: why" in second["exception"]
    assert "Stack" in second["stack"]


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_is_that_of_our_own_loggers(
    capsys: pytest.CaptureFixture[str], level: str, seen: list[str]
) -> None:
    """Libraries do not get more talkative with it."""
    set_up_logging(level, "json", environ={})
    for name in ("debug", "info", "warning", "error"):
        log.log(logging.getLevelName(name.upper()), name)
    logging.getLogger("some.library").info("not heard")
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["message"] for line in lines] == seen


def test_setting_it_up_again_replaces_the_handler(capsys: pytest.CaptureFixture[str]) -> None:
    """No line is written twice."""
    set_up_logging("info", "text", environ={})
    set_up_logging("info", "text", environ={})
    log.info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_secret_is_masked_in_every_form(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Those that were handed in, and in tracebacks as well."""
    set_up_logging("info", form, ["s3cret-key"], environ={})
    try:
        raise ValueError("s3cret-key")
    except ValueError:
        log.exception("failed with %s", "s3cret-key")
    err = capsys.readouterr().err
    assert "s3cret-key" not in err
    assert "failed with ***" in err


JOURNAL_SCRIPT = """
import logging, os, sys
from slng_edge.cli.logs import set_up_logging
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
set_up_logging("debug", sys.argv[1])
log = logging.getLogger("slng_edge.x")
log.debug("a"); log.info("b"); log.warning("c"); log.error("d\\ne")
"""


def stderr_of(*argv: str) -> list[str]:
    """The stderr of a Python of its own, whose JOURNAL_STREAM is what the script makes it."""
    done = subprocess.run([sys.executable, "-c", *argv], capture_output=True, text=True, timeout=30)
    return done.stderr.splitlines()


def test_under_systemd_each_line_has_its_priority_and_no_time() -> None:
    """The journal adds the time; the second line of a message keeps the priority of the first."""
    assert stderr_of(JOURNAL_SCRIPT, "text") == [
        "<7>DEBUG   [MainThread] slng_edge.x: a",
        "<6>INFO    [MainThread] slng_edge.x: b",
        "<4>WARNING [MainThread] slng_edge.x: c",
        "<3>ERROR   [MainThread] slng_edge.x: d",
        "<3>e",
    ]


def test_json_under_systemd_stays_json() -> None:
    """Whoever asked for JSON parses whole lines."""
    lines = stderr_of(JOURNAL_SCRIPT, "json")
    assert [json.loads(line)["level"] for line in lines] == ["debug", "info", "warning", "error"]


def test_a_redirected_stderr_is_not_the_journal(tmp_path: Path) -> None:
    """The variable is inherited by what a service starts; the stream may be another."""
    other = os.stat(tmp_path)
    assert not to_journal({"JOURNAL_STREAM": f"{other.st_dev}:{other.st_ino}"})
    assert not to_journal({})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tab\tline\nend", "tab\tline\nend"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("ä€\x9b", "ä€\\x9b"),
    ],
)
def test_a_servers_words_cannot_steer_the_terminal(text: str, shown: str) -> None:
    """Control characters are written as escapes."""
    assert printable(text) == shown


def test_a_line_is_not_held_up_while_standard_error_is_led_away() -> None:
    """As it is while a sound device is being opened."""
    script = (
        "import logging, os\n"
        "from slng_edge.audio.bounded_calls import quiet_stderr\n"
        "from slng_edge.cli.logs import set_up_logging\n"
        "set_up_logging('info', 'text')\n"
        "with quiet_stderr():\n"
        "    logging.getLogger('slng_edge.x').info('at once')\n"
        "    os.write(2, b'ALSA lib chatter\\n')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, check=False)
    assert b"at once" in done.stderr
    assert b"chatter" not in done.stderr
