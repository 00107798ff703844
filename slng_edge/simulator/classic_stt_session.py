"""The speech-to-text side of the gateway, classic dialect (protocol.md, section 5).

A classic session is a unified session behind a link that translates both ways, so that every
fault strikes both dialects alike. Finals of the server's own become `transcript` with `is_final`,
and the `final_transcript` that answers `finalize` is complete: it says them again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from slng_edge.simulator.faults import ActiveFaults
from slng_edge.simulator.history import ConnectionRecord
from slng_edge.simulator.limits import TierLimits
from slng_edge.simulator.link import Link
from slng_edge.simulator.stt_session import DEFAULT_RATE_HZ
from slng_edge.simulator.wire import Wire

ENCODING = "pcm16"

DEFAULT_CONFIDENCE = 1.0
"""Where the recognizer gives none, because the words may still change; the dialect has one."""


class ClassicSttLink(Link):
    """The connection of a classic speech-to-text session, as `SttSession` understands it.

    Args:
        wire: See `Link`.
        record: See `Link`; what it notes is the classic dialect.
        faults: See `Link`.
        limits: See `Link`.
        language: What the request's query asked for; the one in `start` wins.
    """

    def __init__(
        self,
        wire: Wire,
        record: ConnectionRecord,
        faults: ActiveFaults,
        limits: TierLimits,
        language: str,
    ) -> None:
        super().__init__(wire, record, faults, limits)
        self._language = language
        self._started = False
        self._rate_hz = DEFAULT_RATE_HZ
        self._said: list[str] = []

    def messages(self) -> Iterator[dict[str, Any] | bytes]:
        """What the client says, as unified messages; see `Link.messages`."""
        for message in super().messages():
            type_ = "" if isinstance(message, bytes) else message["type"]
            if isinstance(message, bytes) or type_ == "finalize":
                yield message
            elif type_ == "start":
                if (init := self._start(message)) is not None:
                    yield init
            elif type_ == "ping":
                self.send_event("pong")
            else:
                self.send_error("invalid_request", f"unknown message type {type_!r}")

    def _start(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The `init` that a `start` stands for; None where it cannot be had (an error goes out)."""
        if self._started:
            self.send_error("invalid_request", "start was sent already")
            return None
        encoding, language = message.get("encoding", ENCODING), message.get("language")
        if encoding != ENCODING:
            self.refuse("config_error", f"encoding {encoding!r}: only {ENCODING} is spoken here")
            return None
        if not isinstance(language, str | None):
            self.refuse("config_error", f"language {language!r}: a language code")
            return None
        self._started = True
        self._rate_hz = message.get("sample_rate", DEFAULT_RATE_HZ)
        config = {
            "sample_rate": self._rate_hz,
            "encoding": "linear16",
            "language": language or self._language,
            "enable_partials": True,
        }
        return {"type": "init", "config": config}

    def send_event(self, type_: str, **fields: Any) -> None:
        """Send an event of the unified session in the classic dialect. Any thread."""
        if type_ == "ready":
            fields = {
                "model_id": self.record.model,
                "sample_rate": self._rate_hz,
                "encoding": ENCODING,
            }
        elif type_ in ("partial_transcript", "transcript"):
            fields = _transcript(fields, is_final=type_ == "transcript")
            type_ = "transcript"
        elif type_ == "final_transcript" and fields.get("duration") is None:
            # only the answer to `finalize` has a duration: this is a final of the server's own
            self._said.append(fields["transcript"])
            if "duplicate_final" in self.faults:
                return  # its twin has said it
            fields, type_ = _transcript(fields, is_final=True), "transcript"
        elif type_ == "final_transcript":
            said, self._said = self._said, []
            fields = {
                "text": " ".join(filter(None, (*said, fields["transcript"]))),
                "audio_duration_seconds": fields["duration"],
                "timestamp": _unix_time_s(),
                "from_finalize": fields.get("from_finalize"),
            }
        super().send_event(type_, **fields)


def _transcript(fields: dict[str, Any], *, is_final: bool) -> dict[str, Any]:
    confidence = fields.get("confidence")
    return {
        "text": fields["transcript"],
        "is_final": is_final,
        "confidence": DEFAULT_CONFIDENCE if confidence is None else confidence,
        "timestamp": _unix_time_s(),
    }


def _unix_time_s() -> float:
    return round(time.time(), 3)
