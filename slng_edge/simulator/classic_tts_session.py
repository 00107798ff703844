"""The text-to-speech side of the gateway, classic dialect (protocol.md, section 5).

A classic session is a unified session behind a link that translates both ways, so that every
fault strikes both dialects alike: `stop` becomes `clear` and `flush`, whose end is `audio_end`.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from slng_edge.pcm import SAMPLE_BYTES
from slng_edge.simulator.faults import ActiveFaults
from slng_edge.simulator.handshake import EXTERNAL_CLASSIC_NAMES
from slng_edge.simulator.history import ConnectionRecord
from slng_edge.simulator.limits import TierLimits
from slng_edge.simulator.link import Link
from slng_edge.simulator.wire import Wire

INDIC_LANGUAGES = ("hi", "bn", "ta", "te", "mr", "gu", "kn", "ml")
CONFIGURABLE = frozenset({"elevenlabs", "cartesia"})

_COMMANDS = ("input_text", "flush", "clear", "stop", "configure")

_FINAL_CODES = frozenset(
    {"config_error", "invalid_request", "payload_too_large", "auth_error"}
    | {"pronunciation_not_found", "400", "401", "413"}
)
"""Errors that trying again does not heal (protocol.md, section 7), by word and by number."""


class ClassicTtsLink(Link):
    """The connection of a classic text-to-speech session, as `TtsSession` understands it.

    Args:
        wire: See `Link`.
        record: See `Link`; what it notes is the classic dialect.
        faults: See `Link`.
        limits: See `Link`.
    """

    def __init__(
        self, wire: Wire, record: ConnectionRecord, faults: ActiveFaults, limits: TierLimits
    ) -> None:
        super().__init__(wire, record, faults, limits)
        self._model = record.model
        self._context_id = str(uuid.uuid4())
        # of the reading thread
        self._started = self._native = self._pending = False
        self._characters = 0
        # of the speaking thread
        self._sequence = self._utterances = 0
        self._chunk_ms = self._utterance_ms = self._spoken_ms = 0.0
        # of any
        self._ending_lock = threading.Lock()
        self._ending = False

    # ---- in -------------------------------------------------------------------------------

    def messages(self) -> Iterator[dict[str, Any] | bytes]:
        """What the client says, as unified messages; see `Link.messages`."""
        for message in super().messages():
            if isinstance(message, bytes):
                yield message  # the session refuses it
            else:
                yield from self._translate(message)

    def native_message(self, text: str) -> dict[str, Any] | None:
        """A provider's own frame as a command; a client that sends one needs no `init`."""
        try:
            frame = json.loads(text)
        except ValueError:
            frame = None
        meant: dict[str, Any] | None = None
        if self._model == "orpheus" and not isinstance(frame, dict):
            meant = {"type": "input_text", "text": text}
        elif self._model == "elevenlabs" and isinstance(frame, dict) and "text" in frame:
            # an empty text is how its own protocol ends the input
            meant = {"type": "input_text" if frame["text"] else "flush", "text": frame["text"]}
        self._native = self._native or meant is not None
        return meant

    def _translate(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        type_ = message["type"]
        if type_ == "control" and self._model == "orpheus" and message.get("action") == "flush":
            type_ = "flush"
        if type_ == "init":
            yield from self._init(message)
        elif type_ == "ping":
            self.send_event("pong")
        elif type_ not in _COMMANDS:
            self.send_error("invalid_request", f"unknown message type {type_!r}")
        elif not self._started and not self._native:
            self.send_error("not_ready", f"{type_} before init")
        else:
            if not self._started:
                self._started = True
                yield {"type": "init"}
            yield from self._carry_out(type_, message)

    def _init(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._started:
            self.send_error("invalid_request", "init was sent already")
            return
        if problem := self._problem_of_init(message):
            self.refuse("config_error", problem)
            return
        self._context_id = message.get("context_id") or self._context_id
        self._started = True
        yield {"type": "init", "config": {"language": message.get("language")}}

    def _problem_of_init(self, message: dict[str, Any]) -> str:
        """What is wrong with an `init`, "" for nothing; every field may be left out."""
        for name in ("voice_id", "context_id", "language"):
            if not isinstance(message.get(name), str | None):
                return f"{name} must be a string"
        for name in ("voice_settings", "generation_config"):
            if not isinstance(message.get(name), dict | None):
                return f"{name} must be an object"
        language = message.get("language")
        if self._model == "orpheus-indic" and language not in (None, *INDIC_LANGUAGES):
            return f"language {language!r}: one of {', '.join(INDIC_LANGUAGES)}"
        return ""

    def _carry_out(self, type_: str, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if type_ == "configure":
            self._configure(message)
        elif type_ == "input_text":
            text = message.get("text")
            self._characters += len(text) if isinstance(text, str) else 0
            self._pending = True
            yield {"type": "text", "text": text}
        elif type_ == "flush":
            self._pending = True
            yield {"type": "flush"}
        elif type_ == "clear" or self._model not in EXTERNAL_CLASSIC_NAMES:
            # A `clear` after a `stop` has nothing to drop but the `audio_end` that is due.
            if self._pending:
                self._pending = False
                yield {"type": "clear"}
            if type_ == "stop":
                yield {"type": "flush"}

    def _configure(self, message: dict[str, Any]) -> None:
        voice_id = message.get("voice_id")
        if self._model not in CONFIGURABLE:
            self.send_error("invalid_request", f"configure is not supported by {self._model}")
        elif not isinstance(voice_id, str) or not voice_id:
            self.send_error("invalid_request", "configure: voice_id must be a string")

    # ---- out ------------------------------------------------------------------------------

    def send_event(self, type_: str, **fields: Any) -> None:
        """Send an event of the unified session in the classic dialect. Any thread."""
        if type_ == "segment_start":
            self._utterance_ms = 0.0
        elif type_ == "flushed" and self.faults.text("terminal") == "both":
            pass  # the dialect has one terminal; `audio_end` follows
        elif type_ in ("flushed", "audio_end"):
            self._send_classic("audio_end", **self._end_of_utterance())
        elif type_ == "ready":
            self._send_classic(
                "ready", session=fields.get("session_id"), capabilities=self._capabilities()
            )
        elif type_ == "audio_chunk":
            self._send_classic(type_, **fields, duration_ms=round(self._chunk_ms, 3))
        elif type_ == "error":
            error = fields.get("data", fields)
            error["retryable"] = str(error.get("code")) not in _FINAL_CODES
            self._send_classic(type_, **fields)
        elif type_ not in ("segment_end", "cleared"):
            self._send_classic(type_, **fields)

    def send_audio(
        self, pcm: bytes, rate_hz: int, sequence: int | None = None, *, header: bytes = b""
    ) -> None:
        """Send audio as `audio_chunk`; numbered here where no fault has numbered it."""
        if sequence is None:
            sequence = self._sequence + 1
        self._chunk_ms = len(pcm) / SAMPLE_BYTES * 1000 / rate_hz
        if sequence != self._sequence:
            self._utterance_ms += self._chunk_ms
            self._spoken_ms += self._chunk_ms
        self._sequence = sequence
        super().send_audio(pcm, rate_hz, sequence, header=header)

    def _send_classic(self, type_: str, **fields: Any) -> None:
        if not self._ending:
            super().send_event(type_, **fields, context_id=self._context_id)

    def _end_of_utterance(self) -> dict[str, Any]:
        self._utterances += 1
        total_ms, self._utterance_ms = self._utterance_ms, 0.0
        return {"id": f"utt_{self._utterances:03d}", "total_duration_ms": round(total_ms, 3)}

    def _capabilities(self) -> list[str]:
        left_out = set()
        if self._model in EXTERNAL_CLASSIC_NAMES:
            left_out.add("stop")
        if self._model not in CONFIGURABLE:
            left_out.add("configure")
        return [name for name in (*_COMMANDS, "ping") if name not in left_out]

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say `session_ended`, then close; see `Link.close`."""
        with self._ending_lock:
            first, self._ending = not self._ending, True
        if first:
            usage = {"characters": self._characters, "audio_ms": round(self._spoken_ms, 3)}
            super().send_event(
                "session_ended",
                reason=reason or "completed",
                usage=usage,
                context_id=self._context_id,
            )
        super().close(code, reason)
