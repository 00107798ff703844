"""A device that another program has for itself: what ALSA and PortAudio make of EBUSY.

Sound cards do that and sound servers do not, so a plugin of ALSA stands in for the card: it leads
to the virtual device and lets one open it at a time.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from virtual_sound import VirtualSound

from slng_edge.audio.capture import Capture
from slng_edge.audio.device_source import PyAudioSource
from slng_edge.errors import DeviceLost, DeviceNotFound

pytestmark = pytest.mark.sound

_PLUGIN = r"""
#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

SND_PCM_PLUGIN_DEFINE_FUNC(exclusive) {
    int file = open(getenv("EXCLUSIVE_LOCK"), O_RDWR | O_CLOEXEC);
    if (file < 0) return -errno;
    if (flock(file, LOCK_EX | LOCK_NB) < 0) { close(file); return -EBUSY; }
    close(file);  /* whoever else holds it, holds it */
    return snd_pcm_open(pcmp, "default", stream, mode);
}
SND_PCM_PLUGIN_SYMBOL(exclusive);
"""

_ASOUND = """
pcm_type.exclusive {{ lib "{library}" }}
pcm."Card" {{ type exclusive hint {{ show on description "One at a time" }} }}
"""


@pytest.fixture
def card(own_virtual_sound: VirtualSound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The device "Card"; who holds a lock on the file that is returned has it for himself."""
    compiler = shutil.which("tcc") or shutil.which("gcc")
    if compiler is None or not Path("/usr/include/alsa/pcm_external.h").exists():
        pytest.skip("no compiler or ALSA headers (apt install tcc libasound2-dev)")
    source, library = tmp_path / "exclusive.c", tmp_path / "exclusive.so"
    source.write_text(_PLUGIN)
    build = [compiler, "-shared", "-fPIC", "-DPIC", str(source), "-o", str(library), "-lasound"]
    subprocess.run(build, check=True, timeout=60)
    config = own_virtual_sound.alsa_config
    config.write_text(config.read_text() + _ASOUND.format(library=library))
    lock = tmp_path / "lock"
    lock.touch()
    monkeypatch.setenv("EXCLUSIVE_LOCK", str(lock))
    return lock


@contextmanager
def another_program(lock: Path) -> Iterator[None]:
    """It has the card for itself."""
    with open(lock) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_card_that_somebody_has_is_busy_and_then_is_not(card: Path) -> None:
    """PortAudio listed it when it was free: its own words; else it is not there at all."""
    microphone = PyAudioSource("Card", rate_hz=16000, frame_ms=20)
    other = PyAudioSource("default", rate_hz=16000, frame_ms=20)
    with another_program(card), pytest.raises(DeviceNotFound, match='no input device "Card"'):
        microphone.open()
    other.open()  # and keeps PortAudio's list, in which it is free
    with another_program(card), pytest.raises(DeviceLost, match=r"cannot be opened: .*unavail"):
        microphone.open()
    microphone.open()
    assert microphone.read() is not None
    microphone.close()
    other.close()


def test_a_microphone_that_is_busy_is_told_and_taken_when_it_is_free(card: Path) -> None:
    """By the loop that looks for it every second, which feeds the watchdog meanwhile."""
    told: list[str] = []
    opened, waited, heard = threading.Event(), threading.Event(), threading.Event()

    def tell(state: str, name: str, why: str) -> None:
        told.append(state)
        if state == "open":
            opened.set()

    capture = Capture(
        lambda: PyAudioSource("Card", rate_hz=16000, frame_ms=20),
        on_frame=lambda frame: heard.set(),
        idle=lambda: True,
        on_gap=lambda: None,
        on_end=lambda: None,
        on_wait=waited.set,
        on_device=tell,
    )
    with another_program(card):
        capture.start()
        assert waited.wait(5)
        assert told == ["lost"]
    assert opened.wait(2)
    assert heard.wait(1)
    capture.stop(5)
    assert told == ["lost", "open"]
