"""The unified speech-to-text dialect: what we send, and what the gateway's messages mean.

Facts of the wire are protocol.md, section 3.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from slng_edge.errors import LocalProtocolError
from slng_edge.pcm import SAMPLE_BYTES
from slng_edge.protocol.decoding import (
    Fields,
    encode_message,
    identifier_in,
    merge_options,
    nested,
    number_in,
    parse_object,
    text_in,
    truth_in,
    type_of,
    unknown,
    well_formed,
)
from slng_edge.protocol.failures import failure_in
from slng_edge.protocol.vocabulary import (
    FinalTranscript,
    Ignored,
    NotUnderstood,
    PartialTranscript,
    Ready,
    SttServerEvent,
    UtteranceEnd,
)

IGNORED_TYPES = frozenset(
    {"metadata", "open", "speechstarted", "speech_started", "warning", "control_ack"}
    | {"keepalive", "ping", "pong"}
)
"""Types seen in the field that ask nothing of us, in lower case."""


_WORD_NUMBERS = frozenset({"start", "end", "confidence"})


class UnifiedStt:
    """Encodes and decodes the messages of one speech-to-text connection.

    It remembers the last `transcript {is_final: true}`, which the `final_transcript`
    after it may repeat; `init` begins anew. Not to be used by two threads at once.

    Args:
        sample_rate_hz: rate of the audio that will be sent, s16le mono.
        language: language code; "" takes the model's default.
        partials: ask for partial transcripts.
        words: ask for the times of words.
        binary_audio: send audio as binary messages, else as base64 in JSON.
        options: passed through into `init.config`, over all of the above.

    Raises:
        ConfigError: see `merge_options`.
    """

    def __init__(
        self,
        *,
        sample_rate_hz: int,
        language: str = "",
        partials: bool = True,
        words: bool = False,
        binary_audio: bool = True,
        options: Mapping[str, Any] = {},
    ) -> None:
        config: dict[str, Any] = {
            "sample_rate": sample_rate_hz,
            "encoding": "linear16",
            "enable_partials": partials,
        }
        if language:
            config["language"] = language
        if words:
            config["enable_word_timestamps"] = True
        self._config = merge_options("stt", config, options)
        self._binary_audio = binary_audio
        self._repeatable: str | None = None
        self._finalized_since = False

    def init(self) -> str:
        """The first message of the connection; audio must wait for `Ready`."""
        self._repeatable = None
        self._finalized_since = False
        return encode_message("init", config=self._config)

    def audio(self, pcm: bytes) -> str | bytes:
        """A message with `pcm`, s16le mono.

        Raises:
            LocalProtocolError: `pcm` ends in the middle of a sample.
        """
        if len(pcm) % SAMPLE_BYTES:
            raise LocalProtocolError(
                f"audio of {len(pcm)} bytes ends in the middle of a sample: send whole samples"
            )
        if self._binary_audio:
            return pcm
        return encode_message("audio", data=base64.b64encode(pcm).decode("ascii"))

    def finalize(self) -> str:
        """Ask for the finals of what was sent; the connection stays."""
        self._finalized_since = True
        return encode_message("finalize")

    def keepalive(self) -> str:
        """What to send while nobody speaks."""
        return encode_message("keepalive")

    def close(self) -> str:
        """No more audio: the last finals follow, then the gateway closes."""
        return encode_message("close")

    def receive(self, message: str | bytes) -> list[SttServerEvent]:
        """What `message` says; never raises, whatever it holds.

        The list is empty only for a final that repeats the one just before it.
        """
        if isinstance(message, bytes):
            return [NotUnderstood("", f"binary message of {len(message)} bytes")]
        fields = parse_object(message)
        if isinstance(fields, NotUnderstood):
            return [fields]
        kind = type_of(fields)
        match kind:
            case "partial_transcript" | "final_transcript" | "transcript" | "results":
                return self._receive_transcript(kind, fields)
            case "ready":
                return [Ready(identifier_in(fields, "session_id"))]
            case "utterance_end" | "utteranceend":
                return [UtteranceEnd(number_in(fields, "last_word_end"))]
            case "error":
                return [failure_in(fields)]
        return [Ignored(kind) if kind in IGNORED_TYPES else unknown(kind)]

    def _receive_transcript(self, kind: str, fields: Fields) -> list[SttServerEvent]:
        alternative = _first_alternative(fields)
        text = _text(fields, alternative)
        if text is None:
            return [NotUnderstood(kind, f"{kind} whose transcript is no text")]
        repeatable, self._repeatable = self._repeatable, None
        confidence = _confidence(fields, alternative)
        if kind == "partial_transcript" or (
            kind != "final_transcript" and not truth_in(fields, "is_final")
        ):
            return [PartialTranscript(text, confidence)]
        final = FinalTranscript(
            text,
            confidence,
            language=text_in(fields, "language") or text_in(alternative, "language") or None,
            duration_s=number_in(fields, "duration", "audio_duration", "audio_duration_seconds"),
            words=_timed_words(fields, alternative),
            answers_finalize=truth_in(fields, "from_finalize") is True,
        )
        if kind == "transcript":
            self._repeatable = text
            self._finalized_since = False
        elif kind == "final_transcript" and text == repeatable:
            return self._repeated(final)
        return [final]

    def _repeated(self, final: FinalTranscript) -> list[SttServerEvent]:
        """`transcript {is_final: true}` and the `final_transcript` after it are one, not two.

        Where it may be the answer to a `finalize` it still has to end the wait: then it
        says that nothing more was said.
        """
        if final.answers_finalize or self._finalized_since:
            return [FinalTranscript("", answers_finalize=final.answers_finalize)]
        return []


def _first_alternative(fields: Fields) -> Fields:
    """The best alternative of a message passed through from Deepgram, empty elsewhere."""
    alternatives = nested(fields, "channel").get("alternatives")
    if isinstance(alternatives, list) and alternatives and isinstance(alternatives[0], dict):
        return alternatives[0]
    return {}


def _text(fields: Fields, alternative: Fields) -> str | None:
    """The transcript, None where what stands in its place is no text.

    A field that is missing or null is an empty transcript: encoders leave out empty
    strings, and an empty final is an answer that must not be waited for.
    """
    places = (fields.get("transcript"), fields.get("text"), alternative.get("transcript"))
    given = [value for value in places if value is not None]
    texts = [well_formed(value).strip() for value in given if isinstance(value, str)]
    if given and not texts:
        return None
    return next(filter(None, texts), "")


def _confidence(fields: Fields, alternative: Fields) -> float | None:
    confidence = number_in(fields, "confidence", highest=1.0)
    return number_in(alternative, "confidence", highest=1.0) if confidence is None else confidence


def _timed_words(fields: Fields, alternative: Fields) -> tuple[dict[str, Any], ...]:
    """The words with their times; Whisper's segments, which are phrases, where it gives no words.

    Every entry has a `word`, and `start` and `end` in seconds where the route gives them.
    """
    for entries in (fields.get("words"), alternative.get("words"), fields.get("segments")):
        if isinstance(entries, list):
            words = (*filter(None, map(_timed_word, entries)),)
            if words:
                return words
    return ()


def _timed_word(entry: object) -> dict[str, Any]:
    """`entry` with a `word`, numbers for times, and scalars for all else; {} where it has no word.

    Nothing nested is kept, so that no JSON encoder behind this can run out of stack.
    """
    word = text_in(entry, "word", "text") if isinstance(entry, dict) else ""
    if not isinstance(entry, dict) or not word:
        return {}
    kept: dict[str, Any] = {"word": word}
    for name, value in entry.items():
        if name in _WORD_NUMBERS:
            value = number_in(entry, name)
        if name in ("word", "text"):
            continue
        if isinstance(value, str):
            kept[well_formed(name)] = well_formed(value)
        elif isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            kept[well_formed(name)] = value
    return kept
