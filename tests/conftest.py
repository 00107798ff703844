"""What all tests share: nothing is left behind or changed, and virtual sound devices."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from left_behind import Held, ProcessState
from virtual_sound import VirtualSound, missing_for_virtual_sound

from slng_edge import secrets
from slng_edge.benchmarks.emulation import emulating_host

_GRACE_S = 2.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what an emulator's speed decides (`scripts/test-arm64`)."""
    host = emulating_host()
    for item in items:
        if host and item.get_closest_marker("timed"):
            item.add_marker(pytest.mark.skip(f"its times are those of an emulator on {host}"))


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread or process running, or a file or socket open.

    What session and module fixtures hold was there before and does not count. A process that has
    ended and was not waited for is left, too.
    """
    before = Held.now()
    yield
    deadline = time.monotonic() + _GRACE_S
    while left := Held.now().since(before):
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {left}")
        # An exception that a test caught may hold the last reference to an open file.
        gc.collect()
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def nothing_changed() -> Iterator[None]:
    """Fail a test that leaves the process otherwise than it was, and make it so again."""
    before = ProcessState.now()
    yield
    changed = before.changed_to(ProcessState.now())
    if changed:
        before.restore()
        pytest.fail(f"left changed: {'; '.join(changed)}")


@pytest.fixture(autouse=True)
def as_a_process_begins() -> Iterator[None]:
    """Undo what a command run in this process sets up for all of it: the log, and known keys."""
    root, known = logging.getLogger(), set(secrets._known)
    handlers, level = list(root.handlers), logging.getLogger("slng_edge").level
    yield
    secrets._known.clear()
    secrets._known.update(known)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    logging.getLogger("slng_edge").setLevel(level)


@pytest.fixture(scope="session")
def virtual_sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualSound]:
    """A sound server of our own, and the environment that leads PyAudio and ALSA to it."""
    yield from _server_in(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def own_virtual_sound(tmp_path: Path) -> Iterator[VirtualSound]:
    """As `virtual_sound`, for one test that breaks it."""
    yield from _server_in(tmp_path / "sound")


def _server_in(folder: Path) -> Iterator[VirtualSound]:
    missing = missing_for_virtual_sound()
    if missing:
        pytest.skip(f"no virtual sound: {missing}")
    server = VirtualSound(folder)
    server.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("ALSA_CONFIG_PATH", "PULSE_SERVER"):
                patch.setenv(name, server.environment[name])
            yield server
    finally:
        server.stop()
