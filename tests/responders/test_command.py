"""A program that answers, with real programs."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slng_edge.errors import ConfigError, ResponderError
from slng_edge.responders import command
from slng_edge.responders.command import CommandResponder
from slng_edge.responders.reply_text import MAX_CHARS
from slng_edge.secrets import register_secret


def python(code: str, *args: str, timeout_s: float = 20.0) -> CommandResponder:
    """A responder that is a Python program; its standard input is `text`."""
    head = "import os, signal, subprocess, sys, time\ndef say(x): print(x, flush=True)\n"
    argv = [sys.executable, "-S", "-c", head + code, *args]
    return CommandResponder(argv, timeout_s=timeout_s)


def answer(responder: CommandResponder, text: str = "Hello") -> list[str]:
    return list(responder.respond(text, threading.Event()))


def is_running(pid: int) -> bool:
    """Whether that process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def children() -> set[str]:
    """The processes that this one has started and that are not reaped, zombies included."""
    lists = Path("/proc/self/task").glob("*/children")
    return {child for path in lists for child in path.read_text().split()}


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No test may leave a file open, or a child to be reaped."""
    before, children_before = set(os.listdir("/proc/self/fd")), children()
    yield
    assert len(os.listdir("/proc/self/fd")) <= len(before)
    assert children() <= children_before


def test_the_text_goes_in_and_the_reply_comes_out() -> None:
    """The text is one line of UTF-8 on standard input, which then ends."""
    responder = python("print(repr(sys.stdin.buffer.read().decode('utf-8')))")
    assert answer(responder, "Grüß Gott, 世界") == ["'Grüß Gott, 世界\\n'\n"]


def test_an_argument_that_cannot_be_passed_on_is_said() -> None:
    """As one that the locale cannot encode: it does not end the thread that starts programs."""
    with pytest.raises(ResponderError, match="could not be started: embedded null byte"):
        answer(CommandResponder(["true", "a\0b"]))


def test_lines_come_as_they_are_written() -> None:
    """The first line is there while the program still works on the second."""
    responder = python("say('one'); time.sleep(0.4); say('two')")
    began = time.monotonic()
    pieces = [(piece, time.monotonic() - began) for piece in answer_slowly(responder)]
    assert [piece for piece, _ in pieces] == ["one\n", "two\n"]
    assert pieces[1][1] - pieces[0][1] > 0.3


def answer_slowly(responder: CommandResponder) -> Iterator[str]:
    yield from responder.respond("Hello", threading.Event())


def test_a_last_line_needs_no_line_break() -> None:
    """`printf` is as good as `echo`."""
    assert answer(python("sys.stdout.write('a\\nb')")) == ["a\n", "b"]


def test_no_reply_is_no_error() -> None:
    """A program that has nothing to say says nothing."""
    assert answer(python("pass")) == []


def test_it_answers_again_and_again() -> None:
    """Each turn is a new process."""
    responder = python("say(os.getpid())")
    assert answer(responder) != answer(responder)


def test_no_shell_reads_the_arguments() -> None:
    """What would be special to a shell is not."""
    tricky = "$(touch x); `id` * | & 'q'"
    assert answer(python("say(sys.argv[1])", tricky)) == [tricky + "\n"]


def test_the_environment_is_small_and_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH, HOME, LANG and SLNG_EDGE_* go on; the key and all else do not."""
    for name in ("SLNG_API_KEY", "OTHER", "LD_PRELOAD_X"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("SLNG_EDGE_TTS__VOICE", "v")
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("LANG", "C.UTF-8")
    [line] = answer(CommandResponder(["sh", "-c", "env | cut -d= -f1 | tr '\\n' ' '"]))
    assert set(line.split()) - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        *("PATH", "HOME", "LANG", "SLNG_EDGE_TTS__VOICE"),
        *(name for name in os.environ if name.startswith("SLNG_EDGE_")),
    }


def test_a_setting_with_a_secret_in_it_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the key in the address of a server."""
    register_secret("key-4711-0815")
    monkeypatch.setenv("SLNG_EDGE_RESPONDER__URL", "https://x/?key=key-4711-0815")
    [line] = answer(CommandResponder(["sh", "-c", "env | tr '\\n' ' '"]))
    assert "RESPONDER__URL" not in line
    assert "4711" not in line


def test_a_program_that_does_not_read_is_no_error() -> None:
    """The question is longer than the pipe, and the program ends without a look at it."""
    assert answer(python("say('no')"), "x" * 300_000) == ["no\n"]


def test_a_long_question_and_a_long_reply_pass_each_other() -> None:
    """Reading and writing go on side by side, whichever pipe is full."""
    code = "import shutil; n = 0\nfor line in sys.stdin: n += len(line)\nsay('y' * 3000); say(n)"
    assert answer(python(code), "x" * 300_000) == ["y" * 3000 + "\n", "300001\n"]


def test_a_few_bytes_that_are_no_text_are_left_out() -> None:
    """Such as half a character at the end."""
    code = r"sys.stdout.buffer.write(b'a\xff\xfebc\nd\xc3')"
    assert answer(python(code)) == ["abc\n", "d"]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (bytes(range(256)), r"wrote what is no text \(binary\?\) and was stopped: .* U\+0000"),
        (b"Yes.\n\x1b[1mNo.", r"no text .* U\+001B"),
        ("Grüße, schöne Äpfel.\n".encode("latin-1") * 2, "no text .* it is not UTF-8"),
        (b"\xc3", "no text .* it is not UTF-8"),
        (b"\n<!doctype html>\n<p>Yes.", "wrote a web page; it has to write text alone"),
        (b"<html>", "wrote a web page"),
        (b"word\n" * 2_000_000, "wrote more than 4000 characters and was stopped"),
    ],
)
def test_what_is_no_reply_is_an_error_and_nothing_of_it_is_said(
    written: bytes, says: str, tmp_path: Path
) -> None:
    """At once, and the program is stopped."""
    (tmp_path / "reply").write_bytes(written)
    replies = CommandResponder(["cat", str(tmp_path / "reply")]).respond("x", threading.Event())
    began = time.monotonic()
    with pytest.raises(ResponderError, match=says):
        next(replies)
    assert time.monotonic() - began < 2


def test_a_character_in_two_reads_is_one_character() -> None:
    """A pause within a character of UTF-8 does not break it."""
    code = (
        "b = sys.stdout.buffer\n"
        r"b.write(b'\xc3'); b.flush(); time.sleep(0.3); b.write(b'\xa4\n')"
    )
    assert answer(python(code)) == ["ä\n"]


def test_a_failure_is_an_error_with_status_and_last_words() -> None:
    """What was said before stands; the error says how it ended and what it complained of."""
    code = "say('so far'); print('boo\\nthe end', file=sys.stderr); sys.exit(3)"
    replies = python(code).respond("Hello", threading.Event())
    assert next(replies) == "so far\n"
    with pytest.raises(ResponderError, match=r"ended with status 3: the end$"):
        next(replies)


def test_a_crash_is_an_error_that_names_the_signal() -> None:
    """Killed from outside, it did not answer."""
    with pytest.raises(ResponderError, match=r"ended by signal 9 \(Killed\)"):
        answer(python("os.kill(os.getpid(), signal.SIGKILL)"))


def test_standard_error_is_logged_within_bounds(caplog: pytest.LogCaptureFixture) -> None:
    """Ten lines and a count, however much the program complains; long lines are cut."""
    caplog.set_level(logging.WARNING)
    code = "for k in range(500): print('oh', k, 'x' * 1000, '\\0', file=sys.stderr)"
    assert answer(python(code)) == []
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 11
    assert lines[0].startswith("python")
    assert ": oh 0 xxx" in lines[0]
    assert max(len(line) for line in lines) < 350
    assert lines[-1].endswith("490 more lines")


def test_too_long_a_reply_is_an_error_and_its_end() -> None:
    """A program that never stops writing is stopped."""
    responder = python("say(os.getpid()); time.sleep(0.1)\nwhile True: say('x' * 99)")
    replies = responder.respond("Hello", threading.Event())
    lines = [next(replies)]
    with pytest.raises(ResponderError, match=f"more than {MAX_CHARS} characters"):
        lines.extend(replies)
    assert not is_running(int(lines[0]))
    assert sum(len(line) for line in lines) <= MAX_CHARS


def test_too_slow_a_reply_is_an_error_and_its_end() -> None:
    """A program that hangs is stopped when its time is over."""
    replies = python("say(os.getpid()); time.sleep(60)", timeout_s=0.4).respond(
        "Hello", threading.Event()
    )
    pid = int(next(replies))
    with pytest.raises(ResponderError, match=r"did not end within 0\.4 s"):
        next(replies)
    assert not is_running(pid)


STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); say(os.getpid()); time.sleep(60)"


@pytest.mark.parametrize("by_event_alone", [False, True])
@pytest.mark.parametrize("code", ["say(os.getpid()); time.sleep(60)", STUBBORN])
def test_cancelling_ends_it_from_another_thread(code: str, by_event_alone: bool) -> None:
    """Within a second the iterator has ended without an error and the program is gone."""
    responder = python(code)
    cancelled = threading.Event()
    replies = responder.respond("Hello", cancelled)
    pid = int(next(replies))

    def cancel() -> None:
        cancelled.set()
        if not by_event_alone:
            responder.cancel()

    timer = threading.Timer(0.2, cancel)
    timer.start()
    began = time.monotonic()
    assert list(replies) == []
    assert time.monotonic() - began < 0.2 + 1.0
    assert not is_running(pid)
    timer.join()


def test_cancelling_ends_what_the_program_started() -> None:
    """The whole process group goes, also a child that ignores TERM."""
    code = (
        "p = subprocess.Popen([sys.executable, '-S', '-c', sys.argv[1]])\n"
        "say(p.pid); time.sleep(60)"
    )
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    responder = python(code, child)
    replies = responder.respond("Hello", threading.Event())
    pid = int(next(replies))
    assert is_running(pid)
    responder.cancel()
    assert list(replies) == []
    wait_until_gone(pid)


def test_closing_the_iterator_ends_it() -> None:
    """A caller that walks away leaves nothing running."""
    replies = python("say(os.getpid()); time.sleep(60)").respond("Hello", threading.Event())
    pid = int(next(replies))
    replies.close()  # type: ignore[attr-defined]
    assert not is_running(pid)


def test_a_cancelled_turn_starts_nothing() -> None:
    """Cancelled before it began, the program is not run."""
    cancelled = threading.Event()
    cancelled.set()
    assert list(python("say('x')").respond("Hello", cancelled)) == []


def test_cancelling_does_not_reach_the_next_turn() -> None:
    """After a cancelled turn the next one is answered."""
    responder = python("say('one'); time.sleep(float(sys.stdin.read()))")
    replies = responder.respond("60", threading.Event())
    assert next(replies) == "one\n"
    responder.cancel()
    responder.cancel()
    assert list(replies) == []
    assert answer(responder, "0") == ["one\n"]


def test_a_child_that_holds_the_output_open_does_not_hold_up_the_end() -> None:
    """The reply is over when the program is, whatever it left in the background."""
    code = (
        "p = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        "print(p.pid, end='', flush=True)"
    )
    began = time.monotonic()
    [pid] = answer(python(code))
    assert time.monotonic() - began < 5
    os.kill(int(pid), signal.SIGKILL)
    wait_until_gone(int(pid))


def test_a_program_that_closes_its_output_is_waited_for() -> None:
    """Its exit status still counts."""
    code = "say('x'); os.close(1); os.close(2); time.sleep(0.3); os._exit(4)"
    replies = python(code).respond("Hello", threading.Event())
    assert next(replies) == "x\n"
    with pytest.raises(ResponderError, match=r"status 4$"):
        next(replies)


def test_a_program_that_closes_its_output_and_lives_on_is_stopped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The reply is complete, so it is no error; the log tells of it."""
    monkeypatch.setattr(command, "_ENDING_S", 0.1)
    pid, *rest = answer(python("say(os.getpid()); os.close(1); time.sleep(60)"))
    assert rest == []
    assert not is_running(int(pid))
    assert "closed its output and did not end" in caplog.text


def test_ten_megabytes_without_a_line_break_are_an_error() -> None:
    """Stopped early on, and nothing of it is a line."""
    with pytest.raises(ResponderError, match=f"more than {MAX_CHARS} characters"):
        answer(python("os.write(1, b'x' * 10_000_000); time.sleep(60)"))


def test_a_closed_responder_stops_and_does_not_start_again() -> None:
    """Close is cancel, for good, any number of times."""
    responder = python("say('one'); time.sleep(60)")
    replies = responder.respond("Hello", threading.Event())
    next(replies)
    responder.close()
    responder.close()
    assert list(replies) == []
    with pytest.raises(ResponderError, match="closed"):
        answer(responder)


def test_a_program_that_vanished_is_a_responder_error(tmp_path: Path) -> None:
    """It was there when the loop began and is not any more."""
    program = tmp_path / "answer"
    program.write_text("#!/bin/sh\necho yes\n")
    program.chmod(0o755)
    responder = CommandResponder([str(program)])
    assert answer(responder) == ["yes\n"]
    program.unlink()
    with pytest.raises(ResponderError, match="could not be started: No such file"):
        answer(responder)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "is empty"),
        ([""], "is empty"),
        (["nowhere-to-be-found"], "no program nowhere-to-be-found"),
        (["/nowhere/x"], "no program /nowhere/x"),
        (["/etc/passwd"], r"/etc/passwd is not executable; run: chmod \+x /etc/passwd"),
        (["/etc"], "no program /etc"),
    ],
)
def test_what_cannot_run_is_a_config_error_at_once(argv: list[str], says: str) -> None:
    """A missing or unrunnable program is found when the responder is made."""
    with pytest.raises(ConfigError, match=says):
        CommandResponder(argv)
