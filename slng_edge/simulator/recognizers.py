"""Speech recognizers of the local gateway: pocketsphinx, and the choice by name."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

from slng_edge.errors import ConfigError, MissingLibrary
from slng_edge.pcm import SAMPLE_BYTES, PcmFormat
from slng_edge.simulator.recognition import (
    RateNotSupported,
    Recognition,
    Recognizer,
    RecognizerStream,
)
from slng_edge.simulator.script_recognizer import ScriptRecognizer

SPHINX_PARTIAL_MS = 200
"""How often pocketsphinx is asked for its hypothesis."""

SPHINX_SLICE_MS = 40
"""Audio goes to pocketsphinx in such slices: it holds the interpreter lock while it works."""

SPHINX_FRAMES_PER_S = 100


class PocketsphinxRecognizer:
    """Recognizes US English with pocketsphinx and the model it carries.

    A decoder (0.3 s to load, about 100 MB) is kept for the next connection of the same rate.

    Raises:
        MissingLibrary: pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise MissingLibrary(
                "pocketsphinx", "--stt pocketsphinx", "pip install 'slng-edge[gateway]'"
            ) from error
        self._new_decoder: Callable[..., Any] = Decoder
        self._lock = threading.Lock()
        self._idle: list[tuple[int, Any]] = []

    def open(self, rate_hz: int, language: str) -> RecognizerStream:
        """A stream; rates under 16 kHz are refused, the model needs 6.8 kHz of bandwidth."""
        if rate_hz < 16000:
            raise RateNotSupported(f"sample_rate {rate_hz}: pocketsphinx needs 16000 or more")
        return _SphinxStream(self, rate_hz, self._decoder(rate_hz))

    def give_back(self, rate_hz: int, decoder: Any) -> None:
        """Keep a decoder for the next stream."""
        with self._lock:
            self._idle.append((rate_hz, decoder))

    def _decoder(self, rate_hz: int) -> Any:
        with self._lock:
            for index, (rate, _) in enumerate(self._idle):
                if rate == rate_hz:
                    return self._idle.pop(index)[1]
        return self._new_decoder(samprate=rate_hz, loglevel="FATAL")


class _SphinxStream:
    def __init__(self, owner: PocketsphinxRecognizer, rate_hz: int, decoder: Any) -> None:
        self._owner, self._format, self._decoder = owner, PcmFormat(rate_hz), decoder
        self._started = False
        self._before = self._samples = self._asked = 0

    def receive(self, pcm: bytes) -> str | None:
        if not self._started:
            self._decoder.start_utt()
            self._started = True
        step = self._format.bytes(SPHINX_SLICE_MS)
        for start in range(0, len(pcm), step):
            self._decoder.process_raw(pcm[start : start + step])
        self._samples += len(pcm) // SAMPLE_BYTES
        if self._samples - self._asked < self._format.samples(SPHINX_PARTIAL_MS):
            return None
        self._asked = self._samples
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else None

    def finish(self) -> Recognition:
        if not self._started:
            return Recognition("")
        self._decoder.end_utt()
        self._started = False
        hypothesis = self._decoder.hyp()
        text = hypothesis.hypstr if hypothesis else ""
        start_s = self._before / self._format.rate_hz
        words = [
            {
                "word": re.sub(r"\(\d+\)$", "", segment.word),
                "start": round(start_s + segment.start_frame / SPHINX_FRAMES_PER_S, 3),
                "end": round(start_s + (segment.end_frame + 1) / SPHINX_FRAMES_PER_S, 3),
                "confidence": round(min(1.0, segment.prob), 3),
            }
            for segment in (self._decoder.seg() or () if text else ())
            if not segment.word.startswith(("<", "["))
        ]
        self._before, self._samples, self._asked = self._before + self._samples, 0, 0
        # the decoder's own posterior is a product over the whole utterance, far from 0..1 as
        # clients read it
        confidence = sum(word["confidence"] for word in words) / len(words) if words else None
        return Recognition(text, round(confidence, 3) if confidence is not None else None, words)

    def take_back(self, result: Recognition) -> None:
        pass

    def close(self) -> None:
        if self._started:
            self._decoder.end_utt()
            self._started = False
        self._owner.give_back(self._format.rate_hz, self._decoder)


def recognizer_named(name: str) -> Recognizer:
    """The recognizer of a name as `--stt` takes it: `pocketsphinx` or `script:FILE`.

    Raises:
        ConfigError: there is no such recognizer.
        InputFileError: the script cannot be read.
        MissingLibrary: pocketsphinx is not installed.
    """
    if name == "pocketsphinx":
        return PocketsphinxRecognizer()
    kind, _, path = name.partition(":")
    if kind == "script" and path:
        return ScriptRecognizer.from_file(path)
    raise ConfigError(f"no speech recognizer {name!r}: pocketsphinx or script:FILE")
