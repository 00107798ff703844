"""A program that answers and lives over turns, with real programs."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conversation_scripts import wait_until

from slng_edge.errors import ConfigError, ResponderError
from slng_edge.responders import kept_command
from slng_edge.responders.interface import ResponderUnreachable
from slng_edge.responders.kept_command import KeptCommandResponder

HEAD = """
import os, signal, subprocess, sys, time
def say(*lines):
    for line in lines: print(line, flush=True)
"""
"""`say("a", "")` is a whole reply."""

PID_AND_TEXT = "for line in sys.stdin: say(os.getpid(), line.strip(), '')"


Make = Callable[..., KeptCommandResponder]


@pytest.fixture
def made() -> Iterator[list[KeptCommandResponder]]:
    """What a test has made is closed after it."""
    responders: list[KeptCommandResponder] = []
    yield responders
    for responder in responders:
        responder.close()


@pytest.fixture(autouse=True)
def _nothing_is_left(made: list[KeptCommandResponder]) -> Iterator[None]:
    """No test may leave a file open, or a child to be reaped."""
    before, children_before = set(os.listdir("/proc/self/fd")), children()
    yield
    for responder in made:
        responder.close()
    assert len(os.listdir("/proc/self/fd")) <= len(before)
    assert children() <= children_before


@pytest.fixture
def kept(made: list[KeptCommandResponder]) -> Make:
    """Makes a responder out of a Python program."""

    def make(code: str, *args: str, timeout_s: float = 20.0) -> KeptCommandResponder:
        argv = [sys.executable, "-S", "-c", HEAD + code, *args]
        made.append(KeptCommandResponder(argv, timeout_s=timeout_s))
        return made[-1]

    return make


def all_children() -> set[str]:
    """The processes that this one has started and that are not reaped, zombies included."""
    lists = Path("/proc/self/task").glob("*/children")
    return {child for path in lists for child in path.read_text().split()}


OTHERS: set[str] = set()
"""Those of before the test: a sound server that other tests of this process share, say."""


@pytest.fixture(autouse=True)
def only_ours_count() -> None:
    """Whatever runs beside the tests of this file."""
    OTHERS.clear()
    OTHERS.update(all_children())


def children() -> set[str]:
    """The processes that this test has started and that are not reaped."""
    return all_children() - OTHERS


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


def answer(responder: KeptCommandResponder, text: str = "Hello") -> list[str]:
    return list(responder.respond(text, threading.Event()))


def test_one_process_answers_again_and_again(kept: Make) -> None:
    """The process of the first question answers the second as well."""
    responder = kept(PID_AND_TEXT)
    first, second = answer(responder, "one"), answer(responder, "two")
    assert (first[1], second[1]) == ("one\n", "two\n")
    assert first[0] == second[0]


def test_line_breaks_in_the_text_become_spaces(kept: Make) -> None:
    """A question is one line, whatever kind of line break was in it."""
    assert answer(kept(PID_AND_TEXT), "a\nb\r\nc\rd\u2028e")[1] == "a b c d e\n"


def test_lines_come_as_they_are_written(kept: Make) -> None:
    """The first line is there while the program still works on the second."""
    responder = kept("for line in sys.stdin: say('one'); time.sleep(0.3); say('two', '')")
    began = time.monotonic()
    came = [(time.monotonic() - began, line) for line in responder.respond("x", threading.Event())]
    assert [line for _, line in came] == ["one\n", "two\n"]
    assert came[1][0] - came[0][0] > 0.2


@pytest.mark.parametrize("end", ["", " ", "\\r"])
def test_a_line_with_nothing_but_blanks_is_empty(kept: Make, end: str) -> None:
    """The reply ends with it, and the next one is the next one."""
    responder = kept(f"for line in sys.stdin: say(line.strip(), '{end}')")
    assert [answer(responder, text) for text in "ab"] == [["a\n"], ["b\n"]]


def test_no_reply_is_no_error(kept: Make) -> None:
    """A program that has nothing to say says an empty line."""
    assert answer(kept("for line in sys.stdin: say('')")) == []


def test_it_can_be_started_before_the_first_question(kept: Make, tmp_path: Path) -> None:
    """What takes long to load has loaded when somebody asks."""
    loaded = tmp_path / "loaded"
    responder = kept(f"open({str(loaded)!r}, 'w').close()\n" + PID_AND_TEXT)
    responder.start()
    responder.start()
    while not loaded.exists():
        time.sleep(0.01)
    assert len(children()) == 1
    assert answer(responder)[1] == "Hello\n"


def test_a_long_question_and_a_long_reply_pass_each_other(kept: Make) -> None:
    """Reading and writing go on side by side, whichever pipe is full."""
    code = (
        "n = 0\n"
        "while not (got := os.read(0, 999)).endswith(b'\\n'): os.write(1, b'y\\n'); n += len(got)\n"
        "say(n + len(got), '')"
    )
    lines = answer(kept(code), "x" * 300_000)
    assert lines[-1] == "300001\n"
    assert lines.count("y\n") == len(lines) - 1 >= 300


# Being cancelled.


def cancel_later(responder: KeptCommandResponder, cancelled: threading.Event) -> threading.Timer:
    def cancel() -> None:
        cancelled.set()
        responder.cancel()

    timer = threading.Timer(0.05, cancel)
    timer.start()
    return timer


@pytest.mark.parametrize(
    "code",
    [
        "for line in sys.stdin:\n say(os.getpid())\n if '1' in line: time.sleep(60)\n say('')",
        "for line in sys.stdin:\n say(os.getpid())\n"
        " while '1' in line: say('old'); time.sleep(0.01)\n"
        " say('')",
    ],
    ids=["hangs", "goes on writing"],
)
def test_a_cancelled_reply_that_does_not_end_costs_the_process(kept: Make, code: str) -> None:
    """It is killed within 0.6 s, and a new one answers, without a word of the old reply."""
    responder = kept(code)
    cancelled = threading.Event()
    replies = responder.respond("1", cancelled)
    pid = int(next(replies))
    timer = cancel_later(responder, cancelled)
    for _ in replies:
        pass
    assert cancelled.is_set()
    began = time.monotonic()
    timer.join()
    assert not is_running(pid)
    [new] = answer(responder, "2")
    assert int(new) != pid
    assert time.monotonic() - began < 1.0


def test_cancelling_returns_in_time(kept: Make) -> None:
    """To the end of the iterator, with a program that ignores TERM: 0.4 s on an idle machine."""
    responder = kept("signal.signal(15, signal.SIG_IGN); say('x'); time.sleep(60)")
    cancelled = threading.Event()
    replies = responder.respond("1", cancelled)
    next(replies)
    cancelled.set()
    began = time.monotonic()
    assert list(replies) == []
    assert time.monotonic() - began < 0.8


def test_a_cancelled_reply_that_ends_soon_keeps_the_process(kept: Make) -> None:
    """What was left of it is thrown away, and the same process answers the next question."""
    code = (
        "for line in sys.stdin:\n say(os.getpid())\n"
        " if '1' in line: say('old'); time.sleep(0.1); say('older', '')\n"
        " else: say('new', '')"
    )
    responder = kept(code)
    cancelled = threading.Event()
    replies = responder.respond("1", cancelled)
    pid = next(replies)
    cancelled.set()
    assert list(replies) in ([], ["old\n"])
    assert answer(responder, "2") == [pid, "new\n"]


def test_walking_away_leaves_nothing_of_the_reply(kept: Make) -> None:
    """Closing the iterator is cancelling; lines that had been read already are gone too."""
    responder = kept("for line in sys.stdin: print(line + 'b\\nc\\n', flush=True)")
    replies = responder.respond("1", threading.Event())
    assert next(replies) == "1\n"
    replies.close()  # type: ignore[attr-defined]
    assert answer(responder, "2") == ["2\n", "b\n", "c\n"]


def test_text_after_the_empty_line_does_not_reach_the_next_turn(
    kept: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that is out of step is started anew, and the log says why."""
    responder = kept("for line in sys.stdin: print('a\\n\\nb\\n', flush=True)")
    assert [answer(responder) for _ in range(3)] == [["a\n"]] * 3
    assert "wrote text after the empty line" in caplog.text


def test_text_that_nobody_asked_for_does_not_reach_the_next_turn(
    kept: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A greeting, or a thought that came late: the program is started anew."""
    responder = kept("for line in sys.stdin: say('a', ''); time.sleep(0.05); say('late')")
    assert answer(responder) == ["a\n"]
    time.sleep(0.2)
    assert answer(responder) == ["a\n"]
    assert "wrote text that nobody asked for" in caplog.text


def test_a_cancelled_turn_starts_nothing(kept: Make) -> None:
    """Cancelled before it began, the program is not run."""
    cancelled = threading.Event()
    cancelled.set()
    assert list(kept(PID_AND_TEXT).respond("Hello", cancelled)) == []
    assert children() == set()


# Failing.


def test_an_end_within_a_reply_is_an_error_and_a_new_start(kept: Make) -> None:
    """Even with status 0; what was said before stands, and the next question is answered."""
    code = (
        "for line in sys.stdin:\n"
        " if 'die' in line: say('so far'); print('oh', file=sys.stderr); sys.exit(3)\n"
        " say(line.strip(), '')"
    )
    responder = kept(code)
    replies = responder.respond("die", threading.Event())
    assert next(replies) == "so far\n"
    with pytest.raises(ResponderError, match=r"ended with status 3 before .* complete: oh$"):
        next(replies)
    assert answer(responder) == ["Hello\n"]


def test_an_end_between_two_questions_is_no_error(
    kept: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """It is noticed, and the next question goes to a new process."""
    responder = kept("say(sys.stdin.readline().strip(), '')")
    assert answer(responder, "1") == ["1\n"]
    time.sleep(0.1)
    assert answer(responder, "2") == ["2\n"]
    assert "has ended between two questions" in caplog.text


def test_a_program_that_dies_again_and_again_is_given_a_rest(
    kept: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Longer each time; a question meanwhile is refused at once, and after it all is well."""
    monkeypatch.setattr(kept_command, "FIRST_PAUSE_S", 0.3)
    well = tmp_path / "well"
    responder = kept(f"if not os.path.exists({str(well)!r}): sys.exit(1)\n" + PID_AND_TEXT)
    with pytest.raises(ResponderError, match="ended with status 1"):
        answer(responder)
    life = responder._life
    assert life is not None
    assert wait_until(life.group.has_ended)  # started anew, it died
    began = time.monotonic()
    with pytest.raises(ResponderUnreachable, match="ended 2 times without a reply"):
        answer(responder)
    assert time.monotonic() - began < 0.2
    assert children() == set()
    well.touch()
    assert wait_until(lambda: time.monotonic() > responder._rests_until_s)
    assert answer(responder)[1] == "Hello\n"


def test_a_reply_without_an_end_is_an_error(kept: Make) -> None:
    """A program that never writes the empty line is stopped when its time is over."""
    replies = kept("say(os.getpid()); time.sleep(60)", timeout_s=0.2).respond(
        "Hello", threading.Event()
    )
    pid = int(next(replies))
    with pytest.raises(ResponderError, match=r"did not write the empty line .* within 0\.2 s"):
        next(replies)
    assert not is_running(pid)


def test_ten_megabytes_without_a_line_break_are_an_error(kept: Make) -> None:
    """Stopped early on, and nothing of it is a line."""
    responder = kept("for line in sys.stdin: os.write(1, b'x' * 10_000_000); say('', '')")
    with pytest.raises(ResponderError, match="more than 4000 characters"):
        answer(responder)


def test_a_binary_reply_is_an_error_and_the_next_is_answered(kept: Make) -> None:
    """Nothing of it is said; the program is started anew."""
    code = (
        "for line in sys.stdin:\n"
        " if 'bad' in line: os.write(1, b'Well\\n' + bytes(range(99)) + b'\\n\\n')\n"
        " else: say('well', '')"
    )
    responder = kept(code)
    with pytest.raises(ResponderError, match=r"wrote what is no text \(binary\?\)"):
        next(responder.respond("bad", threading.Event()))
    assert answer(responder) == ["well\n"]


def test_a_cancelled_reply_that_turns_binary_is_no_error(kept: Make) -> None:
    """Nobody waits for it any more; the program is started anew."""
    code = (
        "for line in sys.stdin:\n"
        " say('well')\n"
        " if 'bad' in line: time.sleep(0.1); os.write(1, bytes(99))\n"
        " say('')"
    )
    responder = kept(code)
    cancelled = threading.Event()
    replies = responder.respond("bad", cancelled)
    assert next(replies) == "well\n"
    cancelled.set()
    assert list(replies) == []
    assert answer(responder) == ["well\n"]


def test_a_few_bytes_that_are_no_text_are_left_out(kept: Make) -> None:
    """They do no harm; a character is not broken by a pause within it."""
    code = (
        "b = sys.stdout.buffer\n"
        "for line in sys.stdin:\n"
        r" b.write(b'a\xffb\xc3'); b.flush(); time.sleep(0.1)"
        "\n"
        r" b.write(b'\xa4\xc3\n\n'); b.flush()"
    )
    responder = kept(code)
    assert [answer(responder) for _ in range(2)] == [["abä\n"]] * 2


def test_closing_the_output_and_living_on_is_an_error(kept: Make) -> None:
    """It can never answer again: stopped, and started anew for the next question."""
    code = (
        "for line in sys.stdin:\n"
        " if 'shut' in line: say(os.getpid()); os.close(1); time.sleep(60)\n"
        " say('well', '')"
    )
    responder = kept(code)
    replies = responder.respond("shut", threading.Event())
    pid = int(next(replies))
    with pytest.raises(ResponderError, match="closed its output and was stopped"):
        next(replies)
    assert not is_running(pid)
    assert answer(responder) == ["well\n"]


def test_what_the_program_started_goes_with_it(kept: Make) -> None:
    """The whole group is killed, also a child that ignores TERM and holds the output open."""
    code = (
        "p = subprocess.Popen([sys.executable, '-S', '-c', sys.argv[1]])\n"
        "for line in sys.stdin: say(p.pid); sys.exit(2)"
    )
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    replies = kept(code, child).respond("Hello", threading.Event())
    pid = int(next(replies))
    with pytest.raises(ResponderError, match="status 2"):
        next(replies)
    wait_until_gone(pid)


def test_standard_error_is_logged_within_bounds(
    kept: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten lines and a count for each turn."""
    caplog.set_level(logging.WARNING)
    code = (
        "for line in sys.stdin:\n"
        " for k in range(50): print('oh', k, file=sys.stderr, flush=True)\n"
        " time.sleep(0.05); say('')"
    )
    responder = kept(code)
    for _ in range(2):
        assert answer(responder) == []
    responder.close()
    assert [r.getMessage().endswith("40 more lines") for r in caplog.records].count(True) == 2
    assert len(caplog.records) == 22


def test_a_program_that_vanished_cannot_be_reached(
    tmp_path: Path, made: list[KeptCommandResponder]
) -> None:
    """It was there when the loop began and is not any more."""
    program = tmp_path / "answer"
    program.write_text("#!/bin/sh\nread x; echo yes; echo\n")
    program.chmod(0o755)
    responder = KeptCommandResponder([str(program)])
    made.append(responder)
    assert answer(responder) == ["yes\n"]
    program.unlink()
    time.sleep(0.1)
    with pytest.raises(ResponderUnreachable, match="could not be started: No such file"):
        answer(responder)


def test_what_cannot_run_is_a_config_error_at_once() -> None:
    """As in the form that is run for each turn."""
    with pytest.raises(ConfigError, match="no program nowhere-to-be-found"):
        KeptCommandResponder(["nowhere-to-be-found"])


# Being closed.


def test_closing_ends_the_program(kept: Make) -> None:
    """Between two questions, any number of times; no question is taken after it."""
    responder = kept(PID_AND_TEXT)
    pid = int(answer(responder)[0])
    responder.close()
    responder.close()
    assert not is_running(pid)
    with pytest.raises(ResponderError, match="closed"):
        answer(responder)
    responder.start()
    assert children() == set()


def test_closing_ends_a_reply(kept: Make) -> None:
    """From another thread: the iterator ends without an error, and nothing is started anew."""
    responder = kept("say(os.getpid()); time.sleep(60)")
    replies = responder.respond("Hello", threading.Event())
    pid = int(next(replies))
    timer = threading.Timer(0.05, responder.close)
    timer.start()
    assert list(replies) == []
    timer.join()
    assert not is_running(pid)
    assert children() == set()


def test_killed_from_outside_it_is_named(kept: Make) -> None:
    """The error names the signal."""
    with pytest.raises(ResponderError, match=r"ended by signal 9 \(Killed\) before"):
        answer(kept(f"os.kill(os.getpid(), {int(signal.SIGKILL)})"))
