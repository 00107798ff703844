"""What a gateway sends, through each dialect: unified, classic, native frames; and the greeting."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from fuzz.shapes import (
    joined,
    json_text,
    marked,
    messages,
    numbers,
    objects,
    one_of,
    raw,
    sounds,
    texts,
    values,
)
from fuzz.target import (
    LONGEST_ODDITY,
    SEPARATOR,
    Target,
    check_error,
    check_line,
    check_number,
    check_text,
)
from hypothesis import strategies as st

from slng_edge.protocol.decoding import well_formed
from slng_edge.protocol.dialects import stt_dialect_factory, tts_dialect_factory
from slng_edge.protocol.failures import error_for_close, error_for_status
from slng_edge.protocol.greeting import Greeting
from slng_edge.protocol.session_events import Broken, Odd, SessionReady
from slng_edge.protocol.vocabulary import (
    Audio,
    Cleared,
    Failed,
    FinalTranscript,
    Ignored,
    NotUnderstood,
    PartialTranscript,
    Ready,
    SegmentEnded,
    SegmentStarted,
    SynthesisEnded,
    UtteranceEnd,
)

STT_TYPES = (
    *("ready", "partial_transcript", "final_transcript", "transcript", "Results"),
    *("utterance_end", "UtteranceEnd", "error", "Metadata", "pong", "SpeechStarted"),
)
TTS_TYPES = (
    *("ready", "audio_chunk", "audio", "chunk", "segment_start", "segment_end", "flushed"),
    *("audio_end", "done", "end", "event", "cleared", "error", "session_ended", "pong"),
)
_ALTERNATIVE = objects({"transcript": texts, "confidence": numbers, "words": values})
_WORD = objects(
    {
        "word": texts,
        "text": texts,
        "start": numbers,
        "end": numbers,
        "punctuated_word": texts,
        "speaker": values,
    }
)
_ERROR = objects({"code": st.one_of(texts, numbers), "message": texts, "retryable": values})
STT_FIELDS = {
    "transcript": texts,
    "text": texts,
    "is_final": st.sampled_from([True, False, "true", 1]),
    "confidence": numbers,
    "language": texts,
    "duration": numbers,
    "session_id": texts,
    "from_finalize": st.booleans(),
    "last_word_end": numbers,
    "code": texts,
    "message": texts,
    "channel": objects({"alternatives": st.lists(_ALTERNATIVE, max_size=2)}),
    "words": st.lists(_WORD, max_size=3),
    "segments": st.lists(_WORD, max_size=3),
    "data": _ERROR,
    "error": st.one_of(_ERROR, texts),
}
TTS_FIELDS = {
    "data": st.one_of(sounds, objects({"audio": sounds, "event": texts}), _ERROR),
    "audio": sounds,
    "sequence": numbers,
    "segment_id": st.one_of(texts, numbers),
    "duration": numbers,
    "total_duration_ms": numbers,
    "isFinal": st.booleans(),
    "context_id": st.sampled_from(["ctx", "other", ""]),
    "session": values,
    "reason": texts,
    "code": st.one_of(texts, numbers),
    "message": texts,
    "retryable": st.booleans(),
    "error": st.one_of(_ERROR, texts),
    "event": texts,
}
BINARY = b"\x00"
"""The first byte of a message that is not text."""

_JSON_WORDS = (
    *(b'"type":"', b"NaN", b"-Infinity", b"1e999", b"\\ud800", b"\\udc00", b"null", b"true"),
    *(b'{"', b'":', b'":"', b"[[[[", b'{"a":{"a":', b"\xed\xa0\x80", SEPARATOR, SEPARATOR + BINARY),
)


def _words(types: Sequence[str], fields: Any) -> tuple[bytes, ...]:
    kinds = (f'{{"type":"{kind}"'.encode() for kind in types)
    return (*kinds, *(f',"{name}":'.encode() for name in fields), *_JSON_WORDS)


STT_WORDS = _words(STT_TYPES, STT_FIELDS)
TTS_WORDS = _words(TTS_TYPES, TTS_FIELDS)


def message_in(part: bytes) -> str | bytes:
    """A message as the connection gives it: text is never anything but Unicode."""
    return part[1:] if part[:1] == BINARY else part.decode("utf-8", "replace")


def check_server_event(event: object, size: int) -> None:
    """What a dialect made of a message of `size` characters may go on to anybody."""
    match event:
        case Ready(name) | SegmentStarted(name) | SegmentEnded(name):
            check_text(name, size)
        case PartialTranscript(text, confidence):
            check_text(text, size)
            check_number(confidence, 1.0)
        case FinalTranscript():
            check_text(event.text, size)
            check_text(event.language or "", size)
            check_number(event.confidence, 1.0)
            check_number(event.duration_s)
            assert len(event.words) <= size
            assert all(word["word"] for word in event.words)
            json.dumps(event.words, allow_nan=False, ensure_ascii=False).encode("utf-8")
        case UtteranceEnd(seconds):
            check_number(seconds)
        case Audio(data, sequence):
            assert data
            assert len(data) <= size
            assert sequence is None or type(sequence) is int
        case SynthesisEnded(kind, seconds):
            assert kind in ("flushed", "audio_end")
            check_number(seconds)
        case Failed(error):
            check_error(error)
        case NotUnderstood(kind, why):
            check_text(kind, 64)
            check_line(why, LONGEST_ODDITY)
        case Ignored(kind):
            check_text(kind, 64)
        case Cleared():
            pass
        case _:
            raise AssertionError(f"{event!r} is no event of a dialect")


def _stt(**options: Any) -> Callable[[bytes], None]:
    make = stt_dialect_factory(sample_rate_hz=16000, words=True, **options)

    def run(data: bytes) -> None:
        dialect = make()
        dialect.init()
        for part in data.split(SEPARATOR):
            if part == b"!":
                dialect.finalize()
                continue
            message = message_in(part)
            events = dialect.receive(message)
            repeats = not events
            assert len(events) <= 1
            for event in events:
                check_server_event(event, len(message))
            if repeats:
                # Only a final that says again what was out already may say nothing.
                fresh = make()
                fresh.init()
                assert isinstance(fresh.receive(message)[0], FinalTranscript)

    return run


def _tts(**options: Any) -> Callable[[bytes], None]:
    make = tts_dialect_factory(voice="", context_id="ctx", **options)
    keeps_nothing = options["protocol"] != "classic"

    def run(data: bytes) -> None:
        dialect = make()
        dialect.init()
        spoken, *parts = data.split(SEPARATOR)
        _check_text_message(dialect.text(spoken.decode("utf-8", "surrogateescape")), spoken)
        for part in parts:
            if part == b"!":
                dialect.clear()
                continue
            message = message_in(part)
            events = dialect.receive(message)
            assert 1 <= len(events) <= 2
            for event in events:
                check_server_event(event, len(message))
            if keeps_nothing:
                assert repr(dialect.receive(message)) == repr(events)

    return run


def _check_text_message(message: str, spoken: bytes) -> None:
    """What is sent carries the text, as it is or in an object."""
    message.encode("utf-8")
    text = well_formed(spoken.decode("utf-8", "surrogateescape"))
    if message != text or not text.strip():
        assert json.loads(message)["text"].removesuffix(" ") == text.removesuffix(" ")


def greeting(data: bytes) -> None:
    """Any messages before and after `ready`: one `ready`, errors and oddities, nothing else."""
    make = stt_dialect_factory(protocol="bridge", model="a/b", sample_rate_hz=16000)
    greeted = Greeting(make(), ready_s=5.0, keepalive_s=5.0, now=0.0)
    now, readies = 0.0, 0
    assert greeted.next_message(now) is not None
    for part in data.split(SEPARATOR):
        now += 1.0
        message = message_in(part)
        for event in greeted.receive(message, now):
            match event:
                case SessionReady(name):
                    readies += 1
                    check_text(name, len(message))
                case Broken(error):
                    check_error(error)
                case Odd(why):
                    check_line(why, LONGEST_ODDITY)
        sent = greeted.next_message(now)
        assert greeted.ready or sent is None, "something was sent before `ready`"
        greeted.expire(now)
        deadline = greeted.deadline()
        assert deadline is None or (math.isfinite(deadline) and deadline > now)
    assert readies == greeted.ready


def refusal(data: bytes) -> None:
    """The answer to an upgrade that was refused, and a close frame: status, headers, body."""
    head, _, body = data.partition(SEPARATOR)
    status = int.from_bytes(head[:2], "big") % 1000
    retry, _, date = head[2:].decode("latin-1").partition("\n")
    headers = {"Retry-After": retry, "date": date, "X-Slng-Auth-Source": date}
    text = body.decode("utf-8", "replace")
    check_error(error_for_status(status, text, headers, now=1.7e9))
    check_error(error_for_close(int.from_bytes(head[:2], "big"), text[:123]))


_stt_messages = messages(STT_TYPES, STT_FIELDS)
_tts_messages = messages(TTS_TYPES, TTS_FIELDS)
_stt_inputs = joined(_stt_messages, _stt_messages, _stt_messages, one_of(b"!"), marked(BINARY, raw))
_tts_inputs = joined(_tts_messages, _tts_messages, _tts_messages, one_of(b"!"), marked(BINARY, raw))
_heads = st.tuples(
    st.integers(0, 65535).map(lambda code: code.to_bytes(2, "big")),
    one_of(
        b"",
        b"5",
        b"99999",
        b"1e9",
        b"Wed, 21 Oct 2026 07:28:00 GMT",
        b"Mon, 99 Foo 0000 -9999",
        b"\xb2",
    ),
    one_of(b"", b"\nclient_key", b"\nWed, 21 Oct 2026 07:28:00 GMT"),
    one_of(SEPARATOR),
    st.one_of(json_text(objects(STT_FIELDS)), raw, marked(b"<html>", raw)),
).map(b"".join)

TARGETS = (
    Target(
        "unified_stt", _stt(protocol="bridge", model="a/b"), _stt_inputs, (*STT_WORDS, b"\x1e!\x1e")
    ),
    Target(
        "classic_stt",
        _stt(protocol="classic", model="whisper"),
        _stt_inputs,
        (*STT_WORDS, b"\x1e!"),
    ),
    Target("unified_tts", _tts(protocol="unified", model="a/b:c"), _tts_inputs, TTS_WORDS),
    Target("classic_tts", _tts(protocol="classic", model="orpheus"), _tts_inputs, TTS_WORDS),
    Target(
        "native_orpheus",
        _tts(protocol="classic", model="orpheus", native_frames=True),
        _tts_inputs,
        TTS_WORDS,
    ),
    Target(
        "native_elevenlabs",
        _tts(protocol="classic", model="elevenlabs", native_frames=True),
        _tts_inputs,
        TTS_WORDS,
    ),
    Target("greeting", greeting, _stt_inputs, STT_WORDS),
    Target("refusal", refusal, _heads, (*STT_WORDS, b"<html>", b"Bearer ", b"Retry-After")),
)
