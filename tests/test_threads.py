"""Workers: threads with a name, that stop when they are told to and do not die in silence."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from slng_edge.errors import StuckThread
from slng_edge.threads import Doorbell, Worker


def test_a_worker_runs_under_its_name_until_it_is_stopped() -> None:
    """`wake` ends what it blocks on, after `stopping` is set; to stop it again does no harm."""
    began, woken = threading.Event(), threading.Event()
    seen: list[str] = []

    def run() -> None:
        seen.append(threading.current_thread().name)
        began.set()
        woken.wait(60.0)
        seen.append("stopping" if worker.stopping.is_set() else "not stopping")

    worker = Worker("stt-send", run, wake=woken.set)
    assert not worker.alive
    worker.start()
    assert began.wait(10.0)
    assert worker.alive
    worker.stop(10.0)
    worker.stop(0.0)
    assert not worker.alive
    assert seen == ["stt-send", "stopping"]


def test_a_worker_that_was_never_started_can_be_stopped() -> None:
    """Start may have failed before it was its turn."""
    Worker("never", lambda: None).stop(0.0)


def test_a_worker_that_does_not_stop_is_named() -> None:
    """The caller learns which thread is stuck, and has waited no longer than it said."""
    release = threading.Event()
    worker = Worker("deaf", lambda: release.wait(60.0) and None)
    worker.start()
    with pytest.raises(StuckThread, match=r"thread deaf did not stop within 0\.1 s"):
        worker.stop(0.05)
    release.set()
    worker.join(10.0)
    assert not worker.alive


def test_a_worker_may_stop_itself() -> None:
    """From its own thread the stop asks and does not wait: it would wait for itself."""
    errors: list[BaseException] = []
    worker = Worker(
        "own", lambda: worker.stop(60.0), on_death=lambda _name, error: errors.append(error)
    )
    worker.start()
    worker.join(10.0)
    assert worker.stopping.is_set()
    assert errors == []


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(1)])
def test_a_death_is_told(error: BaseException) -> None:
    """With the name and the exception, whatever kind it is of, from the dying thread."""
    told: list[tuple[str, BaseException, str]] = []

    def run() -> None:
        raise error

    def on_death(name: str, died_of: BaseException) -> None:
        told.append((name, died_of, threading.current_thread().name))

    worker = Worker("mortal", run, on_death=on_death)
    worker.start()
    worker.join(10.0)
    assert told == [("mortal", error, "mortal")]


def test_a_death_that_nobody_asked_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback."""

    def run() -> None:
        raise ValueError("broken")

    with caplog.at_level(logging.ERROR):
        worker = Worker("mortal", run)
        worker.start()
        worker.join(10.0)
    assert "thread mortal died" in caplog.text
    assert "ValueError: broken" in caplog.text


@pytest.mark.parametrize("timeout_s", [60.0, 0.0001])
def test_whoever_sleeps_misses_nothing(timeout_s: float) -> None:
    """Also where the time is over in the moment of the ring: a ring is never left over, or lost."""
    lock = threading.Lock()
    bell = Doorbell(lock)
    made, taken, times = 0, 0, 2000

    def make() -> None:
        nonlocal made
        for _ in range(times):
            with lock:
                made += 1
                bell.ring()
            while taken < made and maker.is_alive():
                time.sleep(0)

    maker = threading.Thread(target=make, daemon=True)
    maker.start()
    deadline = time.monotonic() + 20.0
    with lock:
        while taken < times and time.monotonic() < deadline:
            if taken == made:
                bell.wait(timeout_s)
            taken = made
    maker.join(10.0)
    assert taken == times


def test_a_ring_wakes_at_once_and_is_not_kept_for_later() -> None:
    """Nobody sleeps: nothing. Who sleeps next sleeps for as long as it said, or until it rings."""
    lock = threading.Lock()
    bell = Doorbell(lock)
    with lock:
        bell.ring()
        began = time.monotonic()
        bell.wait(0.05)
        assert time.monotonic() - began >= 0.05
        bell.wait(-1.0)  # a deadline that has passed

    def ring() -> None:
        with lock:
            bell.ring()

    ringer = threading.Timer(0.05, ring)
    ringer.start()
    with lock:
        bell.wait(60.0)
    ringer.join(10.0)
    assert time.monotonic() - began < 30.0


def test_a_ring_that_comes_when_the_time_is_just_over_is_not_left_for_the_next_sleep() -> None:
    """The lock was held by the one who rang; left over, the next ring would raise."""
    lock = threading.Lock()
    bell = Doorbell(lock)
    sleeps, slept_s = threading.Event(), []

    def sleep() -> None:
        with lock:
            sleeps.set()
            bell.wait(0.01)
            began = time.monotonic()
            bell.wait(0.05)
            slept_s.append(time.monotonic() - began)

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    assert sleeps.wait(10.0)
    with lock:
        time.sleep(0.2)
        bell.ring()
    sleeper.join(10.0)
    assert slept_s[0] >= 0.05


class LockWithVisitor:
    """A lock that another thread has the moment it is given up."""

    def __init__(self) -> None:
        self.visit: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def acquire(self) -> bool:
        return self._lock.acquire()

    def release(self) -> None:
        self._lock.release()
        visit, self.visit = self.visit, None
        if visit is not None:
            with self._lock:
                visit()


def test_a_ring_between_the_last_look_and_the_sleep_is_heard() -> None:
    """What is due then would wait for a keepalive."""
    lock = LockWithVisitor()
    bell = Doorbell(lock)  # type: ignore[arg-type]
    lock.acquire()
    lock.visit = bell.ring
    began = time.monotonic()
    bell.wait(10.0)
    assert time.monotonic() - began < 5.0


def test_a_worker_may_end_at_any_moment_while_it_is_asked_to_stop() -> None:
    """Between any two instructions of whoever asks."""
    asked = Worker.ask_to_stop.__code__
    for moment in range(60):
        over = threading.Event()
        worker = Worker("ends", lambda over=over: over.wait(60.0) and None, wake=lambda: None)
        worker.start()
        passed = 0

        def trace(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal passed
            if frame.f_code is not asked:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                passed += 1
                if passed == moment:  # noqa: B023 - called in this pass of the loop alone
                    over.set()  # noqa: B023
                    worker.join(10.0)  # noqa: B023
            return trace

        given = sys.gettrace()
        sys.settrace(trace)
        try:
            worker.ask_to_stop()
        finally:
            sys.settrace(given)
            over.set()
            worker.join(10.0)
        if passed < moment:
            assert moment > 10, "nothing was traced"
            return
    raise AssertionError("it has more instructions than that")
