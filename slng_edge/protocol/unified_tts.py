"""The unified text-to-speech dialect: what we send, and what the gateway's messages mean.

Facts of the wire are protocol.md, section 4. Audio carries no label here: to whom
it belongs is decided above.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from slng_edge.protocol.decoding import (
    Fields,
    encode_message,
    identifier_in,
    integer_in,
    merge_options,
    nested,
    number_in,
    parse_object,
    text_in,
    truth_in,
    type_of,
    unknown,
)
from slng_edge.protocol.failures import failure_in
from slng_edge.protocol.vocabulary import (
    Audio,
    Cleared,
    Ignored,
    NotUnderstood,
    Ready,
    SegmentEnded,
    SegmentStarted,
    SynthesisEnded,
    TtsServerEvent,
)

IGNORED_TYPES = frozenset(
    {"metadata", "open", "warning", "control_ack", "keepalive", "ping", "pong"}
)
"""Types seen in the field that ask nothing of us, in lower case."""

_ENDING_EVENTS = frozenset({"complete", "completed", "done", "end", "final"})
_FAILING_EVENTS = frozenset({"error", "failed"})


class UnifiedTts:
    """Encodes and decodes the messages of one text-to-speech connection; keeps no state.

    Args:
        model: what `init.model` says, None to leave it out (see `model_name_for_init`).
        voice: voice name; "" takes the model's default.
        sample_rate_hz: rate of the audio asked for, s16le mono.
        language: language code; "" takes the model's default.
        speed: 1.0 is the voice's own, and is not sent: some routes refuse the key.
        options: passed through into `init.config`, over all of the above.

    Raises:
        ConfigError: see `merge_options`.
    """

    def __init__(
        self,
        *,
        model: str | None,
        voice: str,
        sample_rate_hz: int,
        language: str = "",
        speed: float = 1.0,
        options: Mapping[str, Any] = {},
    ) -> None:
        config: dict[str, Any] = {"sample_rate": sample_rate_hz, "encoding": "linear16"}
        if language:
            config["language"] = language
        if speed != 1.0:
            config["speed"] = speed
        self._init: dict[str, Any] = {}
        if model is not None:
            self._init["model"] = model
        if voice:
            self._init["voice"] = voice
        self._init["config"] = merge_options("tts", config, options)

    def init(self) -> str:
        """The first message of the connection."""
        return encode_message("init", **self._init)

    def text(
        self, text: str, *, flush: bool = False, pronunciation: Mapping[str, Any] | None = None
    ) -> str:
        """Text to speak; `flush` finishes the segment at once.

        `pronunciation` names a dictionary for this text alone:
        ``{"mode": "rewrite", "name": …}`` or ``{"mode": "rewrite", "dictionary_id": …}``.
        """
        extras: dict[str, Any] = {"flush": True} if flush else {}
        if pronunciation:
            extras["pronunciation"] = dict(pronunciation)
        return encode_message("text", text=text, **extras)

    def flush(self) -> str:
        """Ask for the audio of all text sent so far."""
        return encode_message("flush")

    def clear(self) -> str:
        """Drop queued text and audio; `Cleared` follows."""
        return encode_message("clear")

    def keepalive(self) -> str:
        """What to send while nothing is to be spoken."""
        return encode_message("keepalive")

    @property
    def acknowledges_clear(self) -> bool:
        """`cleared` follows `clear`."""
        return True

    def configure(self, voice: str) -> str | None:
        """None: the voice is named in `init`, and stays for the connection."""
        return None

    def close(self) -> str:
        """End the session."""
        return encode_message("close")

    def receive(self, message: str | bytes) -> list[TtsServerEvent]:
        """What `message` says; never raises, whatever it holds. One event, rarely two.

        Audio without a byte in it is `Ignored`: it must not pass for the first sound.
        """
        if isinstance(message, bytes):
            return [Audio(message) if message else Ignored("binary")]
        fields = parse_object(message)
        if isinstance(fields, NotUnderstood):
            return [fields]
        kind = type_of(fields)
        match kind:
            case "audio_chunk" | "audio" | "chunk":
                return [_audio(kind, fields)]
            case "ready":
                return [Ready(identifier_in(fields, "session_id"))]
            case "segment_start":
                return [SegmentStarted(identifier_in(fields, "segment_id"))]
            case "segment_end":
                return [SegmentEnded(identifier_in(fields, "segment_id"))]
            case "flushed":
                return [SynthesisEnded("flushed", _duration_s(fields))]
            case "audio_end" | "done" | "end":
                return [SynthesisEnded("audio_end", _duration_s(fields))]
            case "event":
                return [_event(fields)]
            case "cleared":
                return [Cleared()]
            case "error":
                return [failure_in(fields)]
            case "":
                return _untyped(fields)
        return [Ignored(kind) if kind in IGNORED_TYPES else unknown(kind)]


def _duration_s(fields: Fields) -> float | None:
    return number_in(fields, "duration")


def _audio(kind: str, fields: Fields) -> TtsServerEvent:
    """The audio of a chunk, whose base64 stands under `data`, `data.audio` or `audio`."""
    places = (fields.get("data"), nested(fields, "data").get("audio"), fields.get("audio"))
    texts = [place for place in places if isinstance(place, str)]
    if not texts:
        return NotUnderstood(kind, f"{kind} without audio")
    try:
        data = base64.b64decode(next(filter(None, texts), ""), validate=True)
    except ValueError:
        return NotUnderstood(kind, f"{kind} whose audio is not base64")
    return Audio(data, integer_in(fields, "sequence")) if data else Ignored(kind)


def _event(fields: Fields) -> TtsServerEvent:
    """`event {data: {event: "complete"}}` and its kin."""
    name = text_in(nested(fields, "data"), "event", "event_type").lower()
    if name in _ENDING_EVENTS:
        return SynthesisEnded("audio_end")
    return failure_in(fields) if name in _FAILING_EVENTS else Ignored("event")


def _untyped(fields: Fields) -> list[TtsServerEvent]:
    """`{audio, isFinal}` as ElevenLabs sends it, passed through by some routes."""
    events: list[TtsServerEvent] = []
    if fields.get("audio"):
        events.append(_audio("audio", fields))
    if truth_in(fields, "isFinal"):
        events.append(SynthesisEnded("audio_end"))
    return events or [unknown("")]
