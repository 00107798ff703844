"""What all tests share: nothing is left behind, and virtual sound devices."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from virtual_sound import VirtualSound, missing_for_virtual_sound

from slng_edge import secrets

_GRACE_S = 2.0
_NOT_OURS = ("/dev/", "/proc/", "/sys/", "pipe:", "anon_inode:")
"""Descriptors that libraries keep for good; what we must close is files and sockets."""


def _open_descriptors() -> set[tuple[int, str]]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # Closed meanwhile: the listing's own, for one.
        if not target.startswith(_NOT_OURS):
            found.add((int(name), target))
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread running, or a file or socket open.

    What session and module fixtures hold was there before and does not count.
    """
    threads = set(threading.enumerate())
    descriptors = _open_descriptors()
    yield
    deadline = time.monotonic() + _GRACE_S
    while True:
        left_threads = {thread for thread in threading.enumerate() if thread not in threads}
        left_open = _open_descriptors() - descriptors
        if not left_threads and not left_open:
            return
        if time.monotonic() > deadline:
            break
        # An exception that a test caught may hold the last reference to an open file.
        gc.collect()
        time.sleep(0.02)
    names = sorted(thread.name for thread in left_threads)
    targets = sorted(target for _, target in left_open)
    pytest.fail(f"left behind: threads {names}, open {targets}")


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
