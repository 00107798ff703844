"""ALSA's AC-3 encoder costs memory and is left out, unless somebody plays through it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from virtual_sound import VirtualSound

ENCODER = 'pcm.a52 { type a52 hint { description "AC3" } }\n'
OTHER = "pcm.other { type null }\n"

LOOK = """
import ctypes, sys
from slng_edge.audio.alsa_encoder import leave_out
leave_out()
leave_out()  # as for a second start of PortAudio
try:
    alsa = ctypes.CDLL("libasound.so.2")
except OSError:
    sys.exit("no ALSA")
root, found = ctypes.c_void_p.in_dll(alsa, "snd_config"), ctypes.c_void_p()
if not root:
    sys.exit(print("nothing"))
for name in ("a52", "other"):
    if alsa.snd_config_search(root, f"pcm.{name}".encode(), ctypes.byref(found)) >= 0:
        print(name)
"""

OPEN = """
from slng_edge.audio.pyaudio_backend import HOST
audio = HOST._start()  # what is loaded now stays as long as a stream is open
names = [audio.get_device_info_by_index(at)["name"] for at in range(audio.get_device_count())]
print("default" in names, "a52" in names, "libavcodec" in open("/proc/self/maps").read())
"""


def run(code: str, **environment: str) -> list[str]:
    """The words that a process of its own prints: ALSA's configuration is the process's."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "no ALSA" in done.stderr:
        pytest.skip("libasound.so.2 is not installed")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_an_encoder_that_nobody_uses_is_left_out(tmp_path: Path) -> None:
    """The other devices of the configuration stay."""
    config = tmp_path / "asound.conf"
    config.write_text(ENCODER + OTHER)
    assert run(LOOK, ALSA_CONFIG_PATH=str(config)) == ["other"]


@pytest.mark.parametrize(
    "use",
    [
        'pcm.surround { type plug slave.pcm "a52:0" }\n',
        "pcm.!default a52\n",
        "pcm.surround { type plug slave { pcm { type a52 card 0 } } }\n",
    ],
)
def test_an_encoder_that_is_played_through_stays(tmp_path: Path, use: str) -> None:
    """Somebody has a receiver on S/PDIF: as one slave, as the default, in a slave of its own."""
    config = tmp_path / "asound.conf"
    config.write_text(ENCODER + OTHER + use)
    assert run(LOOK, ALSA_CONFIG_PATH=str(config)) == ["a52", "other"]


def test_without_an_encoder_nothing_changes(tmp_path: Path) -> None:
    """As on a device without ALSA's plugins."""
    config = tmp_path / "asound.conf"
    config.write_text(OTHER)
    assert run(LOOK, ALSA_CONFIG_PATH=str(config)) == ["other"]


def test_a_configuration_that_cannot_be_read_is_left_to_alsa(tmp_path: Path) -> None:
    """It says what is wrong with it when a device is opened."""
    config = tmp_path / "asound.conf"
    config.write_text("pcm.a52 { type a52\n")
    assert run(LOOK, ALSA_CONFIG_PATH=str(config)) in (["nothing"], [])


@pytest.mark.sound
def test_no_device_that_is_listed_loads_ffmpeg(virtual_sound: VirtualSound) -> None:
    """With all of the system's own configuration, encoder included, where it is installed."""
    if not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_a52.so")):
        pytest.skip("ALSA's encoder is not installed (libasound2-plugins)")
    assert run(OPEN, **virtual_sound.environment) == ["True", "False", "False"]
