"""What ALSA says comes into the log, once in a while, and not onto standard error."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from slng_edge.audio.device_messages import REPEAT_S, Messages

PLACE = ("snd_pcm_recover", 8570)


def test_a_repeated_message_is_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """With how often it came meanwhile; another place in ALSA counts by itself."""
    caplog.set_level(logging.DEBUG)
    messages = Messages()
    for second in range(5):
        messages.receive(PLACE, "prepare failed", float(second))
    messages.receive(("snd_pcm_open", 1), "no such card", 5.0)
    messages.receive(PLACE, "prepare failed", REPEAT_S)
    assert [record.getMessage() for record in caplog.records] == [
        "ALSA: prepare failed",
        "ALSA: no such card",
        "ALSA: prepare failed (4 more since the last time)",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_what_is_counted_elsewhere_or_expected_is_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A device that ran dry is an underflow; devices that are tried need not be there."""
    caplog.set_level(logging.DEBUG)
    messages = Messages()
    messages.receive(PLACE, "underrun occurred", 0.0)
    with messages.expected():
        messages.receive(("snd_pcm_open", 1), "no such card", 1.0)
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]
    assert messages.ran_dry == 1


def test_alsa_calls_us_with_its_values() -> None:
    """Words and numbers are filled in; a thread that is not Python's may call."""
    pytest.importorskip("pyaudio")
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "import ctypes, logging, sys, threading\n"
            "logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format='%(message)s')\n"
            "from slng_edge.audio.device_messages import redirect\n"
            "redirect(); redirect()\n"
            "alsa = ctypes.CDLL('libasound.so.2')\n"
            "pcm = ctypes.c_void_p()\n"
            "opens = lambda: alsa.snd_pcm_open(ctypes.byref(pcm), b'nowhere%s', 0, 0)\n"
            "thread = threading.Thread(target=opens); thread.start(); thread.join()\n",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Unknown PCM nowhere%s" in ended.stdout
    assert "No such file" in ended.stdout or "snd_pcm_open" in ended.stdout
