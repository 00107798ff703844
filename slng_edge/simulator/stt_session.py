"""The speech-to-text side of the gateway, unified dialect (protocol.md, section 3)."""

from __future__ import annotations

from typing import Any

from slng_edge.pcm import SAMPLE_BYTES
from slng_edge.simulator.link import Link
from slng_edge.simulator.recognition import (
    RateNotSupported,
    Recognition,
    Recognizer,
    RecognizerStream,
)

DEFAULT_RATE_HZ = 16000


class SttSession:
    """One client that wants its speech transcribed; runs in the connection's thread.

    Args:
        link: The connection.
        recognizer: Turns speech into words.
        session_id: What `ready` says.
    """

    def __init__(self, link: Link, recognizer: Recognizer, session_id: str) -> None:
        self._link, self._recognizer, self._session_id = link, recognizer, session_id
        self._config: dict[str, Any] = {}
        self._stream: RecognizerStream | None = None
        self._rate_hz = DEFAULT_RATE_HZ
        self._ready = False
        self._pending_bytes = 0
        self._finals_of_own = 0
        self._words_given = 0
        self._last_partial = ""

    def run(self) -> None:
        """Serve until the connection ends."""
        for message in self._link.messages():
            if isinstance(message, bytes):
                self._receive_audio(message)
            else:
                self._receive(message)
        self._link.end()
        if self._stream is not None:
            self._stream.close()

    def _receive(self, message: dict[str, Any]) -> None:
        type_ = message["type"]
        if type_ == "init":
            self._init(message.get("config", {}))
        elif type_ == "audio":
            audio = self._link.decode_audio(message)
            if audio is not None:
                self._receive_audio(audio)
        elif type_ == "finalize":
            if self._ready:
                self._finalize()
            else:
                self._link.refuse("not_ready", "finalize before ready")
        elif type_ == "close":
            if self._pending_bytes:
                self._finalize()
            self._link.wait_for_delayed()
            self._link.close(1000)
        elif type_ != "keepalive":
            self._link.send_error("invalid_request", f"unknown message type {type_!r}")

    def _init(self, config: object) -> None:
        if self._stream is not None:
            self._link.send_error("invalid_request", "init was sent already")
            return
        if not isinstance(config, dict):
            self._link.refuse("config_error", "init.config must be an object")
            return
        rate_hz = self._link.checked_rate(config, DEFAULT_RATE_HZ)
        if rate_hz is None:
            return
        self._config, self._rate_hz = config, rate_hz
        try:
            self._stream = self._recognizer.open(rate_hz, str(config.get("language") or ""))
        except RateNotSupported as error:
            self._link.refuse("config_error", str(error))
            return
        if "never_ready" not in self._link.faults:
            self._link.later(self._link.faults.number("ready_delay"), self._become_ready)

    def _become_ready(self) -> None:
        self._ready = True
        self._link.send_event("ready", session_id=self._session_id)

    def _receive_audio(self, pcm: bytes) -> None:
        if not self._ready or self._stream is None:
            self._link.close(1008, "audio before ready")
            return
        if not self._link.receive_audio(pcm, self._rate_hz) or self._link.ended.is_set():
            return
        self._pending_bytes += len(pcm)
        partial = self._stream.receive(pcm)
        if partial is None or partial == self._last_partial:
            return
        self._last_partial = partial
        self._send_final_of_own(partial)
        rest = " ".join(partial.split()[self._words_given :])
        wanted = self._config.get("enable_partials", self._config.get("enable_partial_transcripts"))
        if wanted and rest:
            self._send_transcript("partial_transcript", Recognition(rest), is_final=False)

    def _send_final_of_own(self, partial: str) -> None:
        """With `several_finals`: what the server's own voice detection would call final."""
        pieces = self._link.faults.number("several_finals")
        words = partial.split()
        fresh = words[self._words_given :]
        if self._finals_of_own >= pieces - 1 or len(fresh) < 2:
            return
        self._finals_of_own += 1
        self._words_given += 1
        self._send_final(Recognition(fresh[0]))

    def _finalize(self) -> None:
        stream, faults = self._stream, self._link.faults
        if stream is None:
            return
        spoken, self._pending_bytes = self._pending_bytes, 0
        given, self._words_given = self._words_given, 0
        self._finals_of_own, self._last_partial = 0, ""
        result = stream.finish() if spoken else Recognition("")
        result.duration_s = spoken / SAMPLE_BYTES / self._rate_hz
        if spoken and (faults.spend("no_final") or self._link.fails("error_on_finalize")):
            stream.take_back(result)
            return
        whole = result.text
        shown = Recognition(
            " ".join(whole.split()[given:]),
            result.confidence,
            result.words[given:],
            result.duration_s,
        )

        def deliver() -> None:
            if self._link.ended.is_set():
                stream.take_back(result)
                return
            if "late_final" in faults:
                self._send_final(Recognition(faults.text("late_final")))
            self._send_final(shown, answers=True)
            if self._link.cut:
                stream.take_back(result)

        self._link.later(faults.number("final_delay"), deliver)

    def _send_final(self, result: Recognition, *, answers: bool = False) -> None:
        if "duplicate_final" in self._link.faults:
            self._link.send_event("transcript", transcript=result.text, is_final=True)
        self._send_transcript("final_transcript", result, is_final=True, answers=answers)

    def _send_transcript(
        self, type_: str, result: Recognition, *, is_final: bool, answers: bool = False
    ) -> None:
        marked = True if answers and "from_finalize" in self._link.faults else None
        words = result.words if is_final and self._config.get("enable_word_timestamps") else None
        if "deepgram_results" in self._link.faults:
            alternative: dict[str, Any] = {"transcript": result.text, "words": words or []}
            if result.confidence is not None:
                alternative["confidence"] = result.confidence
            self._link.send_event(
                "Results",
                is_final=is_final,
                duration=result.duration_s,
                channel={"alternatives": [alternative]},
                from_finalize=marked,
            )
            return
        self._link.send_event(
            type_,
            transcript=result.text,
            confidence=result.confidence,
            language=(self._config.get("language") or "en") if is_final else None,
            duration=result.duration_s,
            words=words,
            from_finalize=marked,
        )
