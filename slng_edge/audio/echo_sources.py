"""Whether a microphone is one from which the sound server has taken the echo already.

PipeWire and PulseAudio name the sources of `module-echo-cancel` after it unless they are told
otherwise, and the documented configuration keeps that. Behind the names "default", "pulse" and
"pipewire" stands the server's default source, which `pactl` knows.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess

log = logging.getLogger(__name__)

_NAMES = re.compile(r"echo[-_ ]?cancel", re.IGNORECASE)
_OF_THE_SERVER = ("default", "pulse", "pipewire")
_TIMEOUT_S = 1.0


def is_echo_cancelled(name: str) -> bool:
    """Whether `name`, a value of `audio.input`, is an echo-cancelled source.

    Waits at most a second for the sound server, where one has to be asked; False where it
    does not say.
    """
    if _NAMES.search(name):
        return True
    return name in _OF_THE_SERVER and _NAMES.search(default_source()) is not None


def default_source() -> str:
    """The sound server's default source; empty where there is no server, or no `pactl`.

    Waits at most a second.
    """
    try:
        asked = subprocess.run(
            ["pactl", "info"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.debug("no default source to be had: %s", error)
        return ""
    return default_source_in(asked.stdout) if asked.returncode == 0 else ""


def default_source_in(text: str) -> str:
    """The default source in what `pactl info` prints in English; empty where it is not named."""
    found = re.search(r"^Default Source: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
