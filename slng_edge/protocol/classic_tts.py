"""The classic text-to-speech dialect: what we send, and what the gateway's messages mean.

Facts of the wire are protocol.md, section 5. The server's messages are read as those of the
unified dialect, whose names they may have as well.

An interruption. Models of SLNG's own take `stop`, and nothing but the next `audio_end` answers
it: that one is `Cleared`. The natural end of the speech may have been on its way when we
stopped; then two come with no audio between them, and the second one is of nothing. The
providers' models ignore `stop` and take `clear`, which nothing answers: their connection is
to be replaced, which `acknowledges_clear` tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slng_edge.config import CLASSIC_TTS_RATE_HZ
from slng_edge.errors import ConfigError, RateLimited, SessionClosed
from slng_edge.protocol.classic_models import (
    CONFIGURABLE_MODELS,
    DEFAULT_VOICES,
    INDIC_LANGUAGES,
    SLNG_TTS_MODELS,
    model_problem,
)
from slng_edge.protocol.classic_options import encode_top_level, provider_fields
from slng_edge.protocol.decoding import (
    Fields,
    encode_message,
    identifier_in,
    nested,
    number_in,
    parse_object,
    server_words,
    text_in,
    truth_in,
    type_of,
)
from slng_edge.protocol.failures import error_for_code
from slng_edge.protocol.unified_tts import UnifiedTts
from slng_edge.protocol.vocabulary import (
    Audio,
    Cleared,
    Failed,
    Ignored,
    NotUnderstood,
    Ready,
    SynthesisEnded,
    TtsServerEvent,
)

_OWN_OPTIONS = frozenset({"voice_id", "context_id"})


@dataclass
class ClassicContext:
    """What a session keeps over its connections; all its dialects share one.

    Attributes:
        context_id: sent in each `init`; the gateway's own where `ready` named another.
        voice: what `configure` has asked for; None: what the dialect was made with.
    """

    context_id: str
    voice: str | None = None


class ClassicTts:
    """Encodes and decodes the messages of one classic text-to-speech connection.

    Not to be used by two threads at once; dialects that share a context neither.

    Args:
        model: a classic name, such as "orpheus".
        voice: voice name; "" takes the model's default. `options.voice_id` wins.
        context: shared with the other connections of the session. Its `context_id` is
            what is sent, not `options.context_id`.
        sample_rate_hz: of the audio expected; the protocol sends 24000 Hz and no other.
        language: language code; "" takes the model's default, which orpheus-indic has not.
        speed: 1.0, because the protocol has no field for it.
        options: provider fields, passed through beside `type`, over all of the above.

    Raises:
        ConfigError: one line for each of these that cannot be; see also `provider_fields`.
    """

    def __init__(
        self,
        *,
        model: str,
        voice: str,
        context: ClassicContext,
        sample_rate_hz: int = CLASSIC_TTS_RATE_HZ,
        language: str = "",
        speed: float = 1.0,
        options: Mapping[str, Any] = {},
    ) -> None:
        language = options.get("language", language)
        problems = _problems(model, sample_rate_hz, language, speed, options)
        try:
            fields = provider_fields("tts", sample_rate_hz, options)
        except ConfigError as error:
            raise ConfigError(*problems, *error.problems) from None
        if problems:
            raise ConfigError(*problems)
        if language:
            fields["language"] = language
        self._fields = {name: fields[name] for name in fields if name not in _OWN_OPTIONS}
        self._voice = options.get("voice_id", voice) or DEFAULT_VOICES.get(model)
        self._stops = model in SLNG_TTS_MODELS
        self._configures = model in CONFIGURABLE_MODELS
        self._context = context
        self._own_ids: frozenset[str] = frozenset()
        self._ready = False
        self._stop_open = False
        self._end_crosses = False
        self._reader = UnifiedTts(model=None, voice="", sample_rate_hz=sample_rate_hz)

    @property
    def acknowledges_clear(self) -> bool:
        """Whether `Cleared` follows `clear()`; where not, the connection is to be replaced."""
        return self._stops

    def provider_field(self, name: str) -> Any:
        """What `options` hold under `name`; None where they do not."""
        return self._fields.get(name)

    def init(self) -> str:
        """The first message of the connection."""
        self._own_ids = frozenset({self._context.context_id})
        self._ready = self._stop_open = self._end_crosses = False
        voice = self._context.voice or self._voice
        named = {"voice_id": voice} if voice else {}
        context = {"context_id": self._context.context_id}
        return encode_top_level("init", {**named, **context, **self._fields})

    def text(self, text: str) -> str:
        """Text to speak."""
        return encode_message("input_text", text=text)

    def flush(self) -> str:
        """Ask for the audio of all text sent so far."""
        return encode_message("flush")

    def clear(self) -> str:
        """Drop queued text and audio."""
        if not self._stops:
            return encode_message("clear")
        self._stop_open = True
        return encode_message("stop")

    def keepalive(self) -> str:
        """What to send while nothing is to be spoken."""
        return encode_message("ping")

    def close(self) -> None:
        """None: this dialect has no such message; the connection itself is closed."""

    def configure(self, voice: str) -> str | None:
        """Speak with `voice` from now on, after a reconnect too; None where the model cannot."""
        if not self._configures:
            return None
        self._context.voice = voice
        return encode_message("configure", voice_id=voice)

    def receive(self, message: str | bytes) -> list[TtsServerEvent]:
        """What `message` says; never raises, whatever it holds. One event, rarely two.

        What carries the `context_id` of another session is `Ignored`.
        """
        fields: Fields | NotUnderstood = {} if isinstance(message, bytes) else parse_object(message)
        if isinstance(fields, NotUnderstood):
            return [fields]
        kind = type_of(fields)
        match kind:
            case "ready":
                return [self._receive_ready(fields)]
            case _ if self._ready and self._is_foreign(fields):
                return [Ignored(kind)]
            case "session_ended":
                return [_session_ended(fields)]
        return [self._in_order(event, fields) for event in self._reader.receive(message)]

    def _receive_ready(self, fields: Fields) -> Ready:
        self._ready = True
        if named := _context_id(fields):
            self._own_ids |= {named}
            self._context.context_id = named
        session_id = identifier_in(fields, "session_id") or identifier_in(fields, "session")
        return Ready(session_id or identifier_in(nested(fields, "session"), "id"))

    def _is_foreign(self, fields: Fields) -> bool:
        context_id = _context_id(fields)
        return bool(context_id) and context_id not in self._own_ids

    def _in_order(self, event: TtsServerEvent, fields: Fields) -> TtsServerEvent:
        """`event` as it is to be understood after what was sent and heard before it."""
        match event:
            case Audio():
                self._end_crosses = False
            case Cleared():
                self._stop_open = False
            case SynthesisEnded("audio_end") if self._stop_open:
                self._stop_open, self._end_crosses = False, True
                return Cleared()
            case SynthesisEnded("audio_end") if self._end_crosses:
                self._end_crosses = False
                return Ignored("audio_end")
            case SynthesisEnded(kind, None):
                total_ms = number_in(fields, "total_duration_ms")
                return SynthesisEnded(kind, None if total_ms is None else total_ms / 1000)
        return event


def _context_id(fields: Fields) -> str:
    return identifier_in(fields, "context_id") or identifier_in(
        nested(fields, "data"), "context_id"
    )


def _session_ended(fields: Fields) -> Failed:
    """The gateway ended the session: for a reason the tables know, or as it closes any other."""
    reason = text_in(fields, "reason", "code")
    retryable = truth_in(fields, "retryable")
    what = "the gateway ended the session"
    error = error_for_code(reason or "session_ended", what, retryable)
    if isinstance(error, RateLimited) or not error.retryable:
        return Failed(error)
    words = server_words(reason) or "no reason given"
    return Failed(SessionClosed(f"{what}: {words}", code=1000, reason=words))


def _problems(
    model: str, sample_rate_hz: int, language: Any, speed: float, options: Fields
) -> list[str]:
    problems = [model_problem("tts", model)]
    if sample_rate_hz != CLASSIC_TTS_RATE_HZ:
        problems.append(
            f"tts.sample_rate: the classic protocol sends {CLASSIC_TTS_RATE_HZ} Hz, not "
            f"{sample_rate_hz}. Set tts.sample_rate = {CLASSIC_TTS_RATE_HZ}; the device may "
            f"run at any rate."
        )
    if speed != 1.0:
        problems.append(
            f"tts.speed: the classic protocol has no speed, {speed:g} cannot be asked for. "
            f"Set tts.speed = 1.0."
        )
    if model == "orpheus-indic" and language not in INDIC_LANGUAGES:
        problems.append(
            f"tts.language: {language!r} is none that orpheus-indic speaks. "
            f"Use one of: {', '.join(INDIC_LANGUAGES)}."
        )
    problems += [
        f"tts.options.{name}: must be text that is not empty."
        for name in sorted(_OWN_OPTIONS & options.keys())
        if not isinstance(options[name], str) or not options[name].strip()
    ]
    return [problem for problem in problems if problem]
