"""No thread, no memory for one, and a user without a home: what waits, and who ends."""

from __future__ import annotations

import os
import pwd
import random
import resource
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import may_be_read_by_all
from conversation_scripts import wait_until
from memory_hunger import starve
from starved_service import StarvedService

import slng_edge
from slng_edge import threads
from slng_edge.audio.bounded_calls import BoundedCalls
from slng_edge.errors import DeviceLost
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer
from slng_edge.threads import Worker, vanished_threads


@pytest.fixture
def gateway() -> Iterator[LocalGateway]:
    """Understands two words, and speaks in tones."""
    with LocalGateway(stt=ScriptRecognizer(["one two"]), tts=ToneSynthesizer()) as gateway:
        yield gateway


def _may_be_another_user() -> str:
    places = (Path(sys.executable), Path(slng_edge.__file__).parent)
    if os.geteuid() == 0 and not all(may_be_read_by_all(place) for place in places):
        return "another user may not read the program"
    return ""


def _unknown_user() -> dict[str, Any]:
    """Root has no limit of processes: then it is a user whose processes nobody else counts."""
    if os.geteuid() != 0:
        return {}
    known = {each.pw_uid for each in pwd.getpwall()}
    number = next(number for number in range(54321, 65000) if number not in known)
    return {"user": number, "group": number, "extra_groups": []}


needs_user = pytest.mark.skipif(bool(_may_be_another_user()), reason=_may_be_another_user())


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of theirs; those of pytest may be entered by one user alone."""
    with tempfile.TemporaryDirectory(prefix="slng-edge-") as name:
        who = _unknown_user()
        if who:
            os.chown(name, who["user"], who["group"])
        yield Path(name)


@needs_user
def test_a_connection_waits_for_a_thread(folder: Path, gateway: LocalGateway) -> None:
    """TasksMax or RLIMIT_NPROC: as when the network is away."""
    with StarvedService(folder, gateway.url, **_unknown_user()) as service:
        service.ready()
        before = service.limit(resource.RLIMIT_NPROC, 1)
        gateway.drop_all()
        service.await_(lambda: service.failed("can't start new thread"), "failures")
        service.limit(resource.RLIMIT_NPROC, before)
        service.ask()
        assert service.end() == 0


def _refuse_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_a_sound_system_without_a_thread_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is lost for now; the next call is not told that an earlier one hangs."""
    calls = BoundedCalls("portaudio")
    with monkeypatch.context() as patch:
        _refuse_threads(patch)
        with pytest.raises(DeviceLost, match="opening: can't start new thread"):
            calls.run(lambda: 1, what="opening", timeout_s=1)
    assert calls.run(lambda: 2, what="opening", timeout_s=1) == 2


def test_when_all_memory_is_gone_for_a_moment_it_works_or_has_ended(
    tmp_path: Path, gateway: LocalGateway
) -> None:
    """Whatever thread meets it, at whatever place: nothing between the two."""
    assert starve(tmp_path, gateway, random.Random(1)) in ("works", "ended with 1")


def test_a_thread_that_never_begins_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Thread.start` waits for it without an end, where memory runs out as it begins."""
    monkeypatch.setattr(threads, "BEGIN_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda thread: None)
        Worker("lost", lambda: None).start()
    assert wait_until(lambda: vanished_threads() == ["lost"])
    threads._awaited.clear()


def test_a_thread_that_dies_and_cannot_say_so_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Telling takes memory, too."""
    monkeypatch.setattr(threads, "BEGIN_S", 0.0)
    monkeypatch.setattr(threading, "excepthook", lambda what: None)

    def no_memory(*_: object) -> None:
        raise MemoryError

    worker = Worker("mute", no_memory, on_death=no_memory)
    worker.start()
    assert wait_until(lambda: vanished_threads() == ["mute"])
    threads._awaited.clear()


@pytest.mark.parametrize("run", [lambda: None, lambda: 1 / 0], ids=("ends", "dies"))
def test_a_thread_that_ended_and_said_so_is_not_missed(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]
) -> None:
    """By itself, or with its death told."""
    monkeypatch.setattr(threads, "BEGIN_S", 0.0)
    worker = Worker("told", run, on_death=lambda *_: None)  # type: ignore[arg-type]
    worker.start()
    worker.join(2)
    assert vanished_threads() == []


@needs_user
def test_a_user_without_a_home_gets_no_folder_of_that_name(
    folder: Path, gateway: LocalGateway
) -> None:
    """A user that no list knows, and no $HOME: `~` would be a folder in the working directory."""
    if os.geteuid() != 0:
        pytest.skip("another user takes root")
    homeless = ("sh", "-c", 'unset HOME XDG_STATE_HOME && exec "$@"', "sh")
    with StarvedService(folder, gateway.url, before=homeless, **_unknown_user()) as service:
        service.ready()
        service.request(command="mute")
        service.await_(lambda: service.warnings("not kept"), "warning")
        assert not (folder / "~").exists()
        assert service.end() == 0
