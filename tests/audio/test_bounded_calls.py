"""Calls that may hang, and a standard error that stays clean."""

from __future__ import annotations

import os
import threading
import time

import pytest

from slng_edge.audio.bounded_calls import BoundedCalls, quiet_stderr
from slng_edge.errors import DeviceLost


def test_what_a_call_returns_and_raises_is_passed_on() -> None:
    """As if it had been called here."""
    calls = BoundedCalls("test-call")
    assert calls.run(lambda: 42, what="asking", timeout_s=1) == 42
    with pytest.raises(ZeroDivisionError):
        calls.run(lambda: 1 // 0, what="asking", timeout_s=1)


def test_a_call_that_hangs_is_given_up_and_later_undone() -> None:
    """The next calls are refused as long as it hangs, and work again when it has ended."""
    calls = BoundedCalls("test-call")
    release, undone = threading.Event(), threading.Event()

    def hang() -> str:
        release.wait(10)
        return "too late"

    start = time.monotonic()
    with pytest.raises(DeviceLost, match=r"opening: .* has not answered for 0\.1 s"):
        calls.run(
            hang,
            what="opening",
            timeout_s=0.1,
            undo=lambda value: undone.set() if value == "too late" else None,
        )
    with pytest.raises(DeviceLost, match=r"closing: .* still owes an answer"):
        calls.run(lambda: 1, what="closing", timeout_s=0.1)
    assert time.monotonic() - start < 1
    release.set()
    assert undone.wait(2)
    assert calls.run(lambda: 2, what="closing", timeout_s=1) == 2


def test_calls_are_made_one_at_a_time() -> None:
    """PortAudio is not safe to enter twice."""
    calls = BoundedCalls("test-call")
    inside: list[int] = []
    most: list[int] = []

    def call() -> None:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()

    threads = [
        threading.Thread(target=lambda: calls.run(call, what="calling", timeout_s=5))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


CHATTER = """\
ALSA lib confmisc.c:855:(parse_card) cannot find card '0'
Expression 'alsa_snd_pcm_open( &pcm )' failed in 'src/hostapi/alsa/pa_linux_alsa.c', line: 1
Cannot connect to server socket err = No such file or directory
jack server is not running or cannot be started
JackShmReadWritePtr::~JackShmReadWritePtr - Init not done for -1, skipping unlock

"""


def test_chatter_is_dropped_and_the_rest_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Other threads log to the same descriptor meanwhile."""
    with quiet_stderr():
        os.write(2, CHATTER.encode())
        os.write(2, b'{"level": "info", "message": "ours"}\n')
    os.write(2, b"after\n")
    assert capfd.readouterr().err == '{"level": "info", "message": "ours"}\nafter\n'


def test_an_error_inside_is_passed_on_and_stderr_is_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever happens while it is quiet."""
    with pytest.raises(ValueError, match="inside"), quiet_stderr():
        raise ValueError("inside")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
