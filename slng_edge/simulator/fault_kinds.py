"""The table of the faults that can be had on demand."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True)
class FaultKind:
    """One row of the table: `form` is a regular expression that the value has to match."""

    name: str
    value: str
    form: str
    default: str
    description: str


_COUNT, _FLAG = r"[1-9]\d*|all", ""
_NUMBER, _POSITIVE = r"\d+", r"[1-9]\d*"
_STATUS = "|".join(str(status.value) for status in HTTPStatus if status >= 400)
_POINT = r"(?:\d+(?:ms)?|[a-z_]+)"
_CODE, _CLOSE = r"\w+", r"(?::[1-4]\d{3})?"
_CODES = r"\w+(?::[1-9]\d*)?"
_RANDOM = r"\d+(?::(?:\d{1,2}|100))?"

FAULTS: tuple[FaultKind, ...] = tuple(
    FaultKind(*row)
    for row in (
        # the way in
        ("refuse", "STATUS", _STATUS, "503", "refuse the upgrade with this HTTP status"),
        ("refuse_body", "TEXT", r".*", "not today", "the body of a refusal, JSON by default"),
        ("retry_after", "S", _NUMBER, "1", "send Retry-After with a refusal"),
        (
            "tls",
            "CERTIFICATE",
            r"good|wrong_name|expired|not_yet_valid|unknown_authority",
            "good",
            "wss with a certificate that is so",
        ),
        # the connection
        ("never_ready", "", _FLAG, "", "take `init` and never say `ready`"),
        ("ready_delay", "MS", _NUMBER, "500", "say `ready` this much later"),
        ("ready_then_error", "CODE", _CODE, "provider_error", "`error` after `ready`, close 1011"),
        ("close_after", "POINT[:CODE]", _POINT + _CLOSE, "1:1011", "close at a point, see below"),
        (
            "close_after_audio",
            "MS[:CODE]",
            r"\d+" + _CLOSE,
            "500:1011",
            "close after so much audio",
        ),
        ("reset_after", "POINT", _POINT, "1", "TCP reset at a point"),
        ("reset_after_bytes", "N", _NUMBER, "16000", "TCP reset after N bytes of audio, in or out"),
        ("stall", "POINT", _POINT, "1", "a frozen process: nothing is read, TCP fills"),
        ("half_open", "POINT", _POINT, "1", "a dead peer: all is swallowed, nothing answered"),
        ("slow_reading", "BYTES_PER_S", _POSITIVE, "16000", "read no faster than that"),
        ("message_limit", "BYTES", _POSITIVE, "4096", "close 4002 at a message of more than that"),
        # how messages look
        ("malformed_json", "N", r"[1-9]\d*", "2", "a broken message before every Nth message"),
        ("huge_message", "KB", _POSITIVE, "256", "a valid message of that size before every event"),
        ("truncated_frame", "N", _POSITIVE, "2", "end in the middle of the Nth message's frame"),
        ("wrong_case", "", _FLAG, "", "types in another case (`Final_Transcript`)"),
        ("nested_error", "", _FLAG, "", "errors as {type, data: {code, message}}"),
        ("numeric_error", "", _FLAG, "", "errors with a number as their code"),
        # speech-to-text
        ("no_final", "N", _COUNT, "all", "stt: swallow the first N finals"),
        ("final_delay", "MS", _NUMBER, "1000", "stt: finals come this much later"),
        ("several_finals", "N", r"[2-9]", "2", "stt: N finals an utterance, the last on finalize"),
        (
            "late_final",
            "TEXT",
            r".+",
            "and so",
            "stt: a final of the server's own before the answer",
        ),
        ("duplicate_final", "", _FLAG, "", "stt: `transcript` with is_final before each final"),
        ("from_finalize", "", _FLAG, "", "stt: mark the final that answers `finalize`"),
        ("deepgram_results", "", _FLAG, "", "stt: transcripts in Deepgram's `Results` form"),
        (
            "error_on_finalize",
            "CODE[:N]",
            _CODES,
            "provider_error:1",
            "stt: `error` instead of the first N finals",
        ),
        # text-to-speech
        ("terminal", "NAME", r"flushed|audio_end|both", "both", "tts: what ends an utterance"),
        ("no_terminal", "N", _COUNT, "all", "tts: swallow the end of the first N utterances"),
        ("per_utterance_close", "", _FLAG, "", "tts: close with 1000 after each utterance"),
        ("no_cleared", "N", _COUNT, "all", "tts: swallow the first N `cleared`"),
        ("late_audio_after_clear", "MS", _NUMBER, "300", "tts: audio between `clear`, `cleared`"),
        ("first_audio_delay", "MS", _NUMBER, "500", "tts: first audio comes this much later"),
        ("pace", "FACTOR", r"realtime|\d+(\.\d+)?", "realtime", "tts: audio in real time × FACTOR"),
        ("odd_frames", "", _FLAG, "", "tts: audio messages that split samples"),
        ("base64_audio", "", _FLAG, "", "tts: audio as `audio_chunk` messages"),
        ("wav_header", "HZ", _NUMBER, "0", "tts: a WAV header first; HZ: the rate it says and has"),
        ("repeat_sequence", "N", r"[1-9]\d*", "3", "tts: every Nth chunk twice (implies base64)"),
        ("skip_sequence", "N", r"[1-9]\d*", "3", "tts: every Nth number left out (implies base64)"),
        (
            "error_on_text",
            "CODE[:N]",
            _CODES,
            "provider_error:1",
            "tts: `error` instead of the first N utterances",
        ),
        ("characters_a_minute", "N", _POSITIVE, "2400", "tts: refuse texts over that, as Deepgram"),
        # any of them
        ("random", "SEED[:PERCENT]", _RANDOM, "1:30", "draw a fault for so many connections"),
    )
)
"""The table that `--list-faults` prints."""

POINTS = """\
A POINT is N, after N messages of the client (and after `ready`, where that is on its way); or
TYPE, at the first message of that type, which is not answered (`audio` for binary); or MSms, after
so much audio: the client's for speech-to-text, the gateway's for text-to-speech."""
"""What `--list-faults` says under the table."""


def fault_table() -> str:
    """The table of all faults as text, one line each."""
    heads = [f"{kind.name}={kind.value}" if kind.value else kind.name for kind in FAULTS]
    width = max(map(len, heads)) + 2
    return "\n".join(
        f"{head:<{width}}{kind.description}" + (f" (default {kind.default})" if kind.value else "")
        for head, kind in zip(heads, FAULTS, strict=True)
    )
