"""A conversation of `slng-edge run` with a local gateway, to be looked at on the status page."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from conversation_scripts import RATE_HZ, wait_until, write_wav
from headless_browser import Browser

from slng_edge.audio.wav_files import read_wav
from slng_edge.cli import demo
from slng_edge.pcm import Samples

WORD = "document.getElementById('state')?.textContent"
PARTIAL = "document.getElementById('partial')?.textContent || ''"
REPLY = "document.querySelector('.reply')?.textContent || ''"

QUESTION = "Where is the nearest train station?"
ANSWER = "Two streets north."
LEAD_S, TAIL_S = 3.0, 60.0
"""Silence before the question, in which the page is opened, and after it, for what follows."""


class ShownConversation:
    """A service that is asked `QUESTION` once, three seconds after its start.

    The voice is real; the gateway is told what it says, and answers with tones.

    Args:
        folder: An empty one, for what both programs write.
        settings: More of the configuration, as `-s` takes it.
    """

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        self._folder = folder
        self._log = folder / "run.log"
        self._socket = folder / "control.sock"
        question = write_wav(folder / "question.wav", _asked_once())
        environ = {key: value for key, value in os.environ.items() if not key.startswith("SLNG_")}
        # Mute and volume are kept: not over runs of this.
        self._environ = {**environ, "STATE_DIRECTORY": str(folder)}
        script = folder / "script.txt"
        script.write_text(QUESTION)
        self._gateway = self._start(
            "gateway.log",
            *("gateway", "--listen", "127.0.0.1:0", "--stt", f"script:{script}", "--tts", "tone"),
        )
        try:
            gateway_url = self._said("gateway.log", r"ws://[\d.]+:\d+")
            answer = f"cat >/dev/null; echo '{ANSWER}'"
            self.process = self._start(
                "run.log",
                "run",
                *(f"--set=gateway.url={gateway_url}", f"--set=audio.input=file:{question}"),
                *("--set=audio.output=null", "--set=status_page.listen=127.0.0.1:0"),
                *('--set=responder.kind="command"',),
                f'--set=responder.command=["sh", "-c", "{answer}"]',
                *(f"--set=control.socket={self._socket}", "--set=sounds.offline=off"),
                *(f"--set={setting}" for setting in settings),
            )
        except BaseException:
            _end(self._gateway)
            raise

    def __enter__(self) -> Self:
        try:
            self.url = self._said("run.log", r"(?<=status page is at )http://\S+")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        _end(self.process)
        _end(self._gateway)

    @property
    def log(self) -> str:
        """What the service has logged."""
        return self._log.read_text()

    def control(self, *words: str) -> None:
        """Have `ctl` ask for something."""
        command = [sys.executable, "-m", "slng_edge", "ctl", "--socket", self._socket, *words]
        subprocess.run(command, check=True, timeout=20, env=self._environ, capture_output=True)

    def end_gateway(self) -> None:
        """Nobody answers any more."""
        _end(self._gateway)

    def vanish(self) -> None:
        """The service is gone at once, as without power."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def _start(self, log: str, *words: str) -> subprocess.Popen[bytes]:
        with open(self._folder / log, "wb") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "slng_edge", *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environ,
                cwd=self._folder,
            )

    def _said(self, log: str, pattern: str) -> str:
        file = self._folder / log
        wait_until(lambda: re.search(pattern, file.read_text()), 20)
        found = re.search(pattern, file.read_text())
        assert found, f"{log} does not say {pattern}:\n{file.read_text()}"
        return found[0]


def follow(
    conversation: ShownConversation, browser: Browser, took: Callable[[str], None]
) -> dict[str, str]:
    """Look at it from the question to the end of its gateway.

    Args:
        conversation: At its beginning.
        browser: Has any page open.
        took: Is called with "listening", "speaking", "muted" and "offline" while that is shown.

    Returns:
        What was read at those times: what was said for the first two, why for the others.
    """
    seen = {}
    browser.open(conversation.url)
    for name, word, text, enough in (
        ("listening", "Listening", PARTIAL, 15),
        ("speaking", "Speaking", REPLY, 1),
    ):
        assert wait_until(
            lambda text=text, enough=enough: len(browser.value(text)) >= enough, 20
        ), (name, browser.value("document.body.innerText"), conversation.log)
        browser.shows(WORD, word)
        seen[name] = browser.value(text)
        took(name)
    browser.shows(WORD, "Ready")
    conversation.control("mute")
    browser.shows(WORD, "Muted")
    took("muted")
    conversation.control("unmute")
    browser.shows(WORD, "Ready")
    conversation.end_gateway()
    browser.shows(WORD, "Offline")
    browser.shows("document.getElementById('stt').className", "bad")
    took("offline")
    return seen


def _asked_once() -> Samples:
    """The question among the noise of a quiet room."""
    rate_hz, _, question = read_wav(str(demo.QUESTION))
    assert rate_hz == RATE_HZ
    start = round(LEAD_S * RATE_HZ)
    samples = np.random.default_rng(1).integers(
        -60, 61, start + len(question) + round(TAIL_S * RATE_HZ), np.int16
    )
    samples[start : start + len(question)] += question[:, 0]
    return samples


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(10)
