"""Workers: threads with a name, that stop when they are told to and do not die in silence."""

from __future__ import annotations

import logging
import threading

import pytest

from slng_edge.errors import StuckThread
from slng_edge.threads import Worker


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
