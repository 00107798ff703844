"""The classic speech-to-text dialect: what we send, and what the gateway's messages mean.

Facts of the wire are protocol.md, section 5. The server's messages are read as those of the
unified dialect, whose names they may have as well.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slng_edge.errors import ConfigError, LocalProtocolError
from slng_edge.pcm import SAMPLE_BYTES
from slng_edge.protocol.classic_models import model_problem
from slng_edge.protocol.classic_options import encode_top_level, provider_fields
from slng_edge.protocol.decoding import encode_message, type_of
from slng_edge.protocol.unified_stt import UnifiedStt
from slng_edge.protocol.vocabulary import FinalTranscript, PartialTranscript, SttServerEvent

_SOUNDED = frozenset("LMN")
"""Unicode categories of letters, marks and digits."""


class ClassicStt:
    """Encodes and decodes the messages of one classic speech-to-text connection.

    A `final_transcript` is the complete transcription: it says again what the
    `transcript {is_final: true}` before it said. What they said is remembered here and
    counted once. Not to be used by two threads at once.

    Args:
        model: "kyutai" or "whisper".
        sample_rate_hz: rate of the audio that will be sent, s16le mono.
        language: language code; "" takes the model's default.
        options: passed through into `start`, over all of the above.

    Raises:
        ConfigError: the model is no classic one, or see `provider_fields`.
    """

    def __init__(
        self,
        *,
        model: str,
        sample_rate_hz: int,
        language: str = "",
        options: Mapping[str, Any] = {},
    ) -> None:
        if problem := model_problem("stt", model):
            raise ConfigError(problem)
        self._start: dict[str, Any] = {"sample_rate": sample_rate_hz, "encoding": "pcm16"}
        if language:
            self._start["language"] = language
        self._start.update(provider_fields("stt", sample_rate_hz, options))
        self._reader = UnifiedStt(sample_rate_hz=sample_rate_hz)
        self._said: list[str] = []
        # Since the last of `_said`.
        self._speech_since = False
        self._finalized_since = False

    def init(self) -> str:
        """The first message of the connection; audio must wait for `Ready`."""
        self._said.clear()
        return encode_top_level("start", self._start)

    def audio(self, pcm: bytes) -> bytes:
        """A message with `pcm`, s16le mono: always binary.

        Raises:
            LocalProtocolError: `pcm` ends in the middle of a sample.
        """
        if len(pcm) % SAMPLE_BYTES:
            raise LocalProtocolError(
                f"audio of {len(pcm)} bytes ends in the middle of a sample: send whole samples"
            )
        return pcm

    def finalize(self) -> str:
        """Ask for the finals of what was sent; the connection stays."""
        self._finalized_since = True
        return encode_message("finalize")

    def keepalive(self) -> None:
        """None: this dialect has no such message."""

    def close(self) -> None:
        """None: this dialect has no such message; the connection itself is closed."""

    def receive(self, message: str | bytes) -> list[SttServerEvent]:
        """What `message` says; never raises, whatever it holds.

        The list is empty only for a final that repeats what is out already.
        """
        # It must remember nothing: what is said twice is counted here, over several finals.
        self._reader.init()
        events = self._reader.receive(message)
        match events:
            case [PartialTranscript(text)]:
                self._speech_since |= bool(text)
            case [FinalTranscript() as final]:
                # The reader has found an object in it: this reads the same text.
                kind = type_of(json.loads(message))
                return self._counted(final, complete=kind == "final_transcript")
        return events

    def _counted(self, final: FinalTranscript, *, complete: bool) -> list[SttServerEvent]:
        """`final` without the words that are out already.

        Where it may be the answer to a `finalize` it still has to end the wait: then it
        says that nothing more was said.
        """
        if not complete:
            self._said.append(final.text)
            self._speech_since = self._finalized_since = False
            return [final]
        rest = _rest(final.text, self._said)
        self._said.clear()
        if rest is None or (not rest and self._speech_since):
            return [final]
        if rest or final.answers_finalize or self._finalized_since:
            return [replace(final, text=rest, words=())]
        return []


def _rest(text: str, said: list[str]) -> str | None:
    """What `text` says after the words of `said`, or of its last; None where it says others.

    Case and punctuation may differ: models write a sentence anew when they know its end.
    """
    heard = _sounds(text)
    sounds = _sounds("".join(said))
    if not sounds:
        return None
    if heard in (sounds, _sounds(said[-1])):
        return ""
    words = text.split()
    position = 0
    for count, word in enumerate(words, start=1):
        if position == len(sounds):
            return " ".join(words[count - 1 :])
        sound = _sounds(word)
        if not sounds.startswith(sound, position):
            return None
        position += len(sound)
    return None


def _sounds(text: str) -> str:
    """The letters, marks and digits of `text`, without case."""
    return "".join(char for char in text.casefold() if unicodedata.category(char)[0] in _SOUNDED)
