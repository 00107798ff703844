"""The text-to-speech side of the gateway, unified dialect (protocol.md, section 4).

The connection's thread reads, so that `clear` is seen while audio goes out; a second thread
speaks (`tts_speaker`).
"""

from __future__ import annotations

import re
from typing import Any

from slng_edge.simulator.link import Link
from slng_edge.simulator.synthesizers import Synthesizer
from slng_edge.simulator.tts_speaker import TtsSpeaker, Voice

DEFAULT_RATE_HZ = 24000

_SENTENCE = re.compile(r".*?[.!?…](?=\s|$)", re.DOTALL)
"""A sentence that may be spoken before the flush; a message's end counts as its end."""


class TtsSession:
    """One client that wants text spoken; `run` is the connection's thread.

    Args:
        link: The connection.
        synthesizer: Turns text into sound.
        session_id: What `ready` says.
    """

    def __init__(self, link: Link, synthesizer: Synthesizer, session_id: str) -> None:
        self._link = link
        self._speaker = TtsSpeaker(link, synthesizer, session_id)
        self._started = False
        self._text = ""
        self._utterance_begun = self._failed = False

    def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            StuckThread: the speaking thread does not stop.
        """
        try:
            for message in self._link.messages():
                if isinstance(message, bytes):
                    self._link.send_error("invalid_request", "audio is not taken here")
                else:
                    self._receive(message)
        finally:
            self._link.end()
            self._speaker.stop()

    def _receive(self, message: dict[str, Any]) -> None:
        type_ = message["type"]
        if type_ == "init":
            self._init(message)
        elif type_ == "close":
            self._link.close(1000)
        elif type_ == "keepalive":
            pass
        elif type_ not in ("text", "flush", "clear"):
            self._link.send_error("invalid_request", f"unknown message type {type_!r}")
        elif not self._started:
            self._link.send_error("not_ready", f"{type_} before init")
        elif type_ == "clear":
            self._begin_utterance()
            self._speaker.clear()
        elif type_ == "flush":
            self._flush()
        else:
            self._receive_text(message)

    def _init(self, message: dict[str, Any]) -> None:
        if self._started:
            self._link.send_error("invalid_request", "init was sent already")
            return
        config = message.get("config", {})
        if not isinstance(config, dict):
            self._link.refuse("config_error", "init.config must be an object")
            return
        speed = config.get("speed", 1.0)
        if not isinstance(speed, int | float) or not 0.25 <= speed <= 4.0:
            self._link.refuse("config_error", f"speed {speed!r}: a number from 0.25 to 4")
            return
        rate_hz = self._link.checked_rate(config, DEFAULT_RATE_HZ)
        if rate_hz is None:
            return
        self._started = True
        rate_hz = self._link.faults.number("wav_header") or rate_hz
        self._speaker.start(Voice(rate_hz, float(speed), str(config.get("language") or "")))

    def _receive_text(self, message: dict[str, Any]) -> None:
        text = self._link.checked_text(message)
        if text is None:
            return
        if not self._failed and not self._utterance_begun:
            self._failed = self._link.fails("error_on_text")
        self._utterance_begun = True
        self._text += "" if self._failed else text
        while match := _SENTENCE.match(self._text):
            self._speaker.say(match[0])
            self._text = self._text[match.end() :]
        if message.get("flush") is True:
            self._flush()

    def _flush(self) -> None:
        if not self._failed:
            self._speaker.say(self._text)
            self._speaker.end_utterance()
        self._begin_utterance()

    def _begin_utterance(self) -> None:
        self._text = ""
        self._utterance_begun = self._failed = False
