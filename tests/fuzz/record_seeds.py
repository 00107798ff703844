"""Writes the seeds that are real messages: what the local gateway says, with each of its faults.

    PYTHONPATH=tests .venv/bin/python -m fuzz.record_seeds

A conversation of one utterance and one reply in each protocol; its audio is cut down. The seeds of
what is no message of the gateway's are in `written_seeds`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import websocket
from fuzz.gateway_messages import BINARY
from fuzz.target import SEPARATOR
from fuzz.targets import SEEDS, TARGETS
from fuzz.written_seeds import WRITTEN

from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

SILENCE_S = 0.4
"""Without a message for so long, the gateway has said what it has to say."""
AUDIO_BYTES = 32
MOST_MESSAGES = 14

_STT = {"init": {"type": "init", "config": {"sample_rate": 16000, "encoding": "linear16"}}}
_STT_ASKED = (bytes(9600), {"type": "finalize"})
_STT_START = {"type": "start", "sample_rate": 16000, "encoding": "pcm16", "language": "en"}
_TTS = {"type": "init", "model": "aura:2-en", "config": {"sample_rate": 24000}}
_TTS_ASKED = (
    {"type": "text", "text": "Good morning to you."},
    {"type": "flush"},
    {"type": "clear"},
)
_TTS_CLASSIC = {"type": "init", "voice_id": "tara", "context_id": "ctx"}
_TTS_CLASSIC_ASKED = ({"type": "input_text", "text": "Good morning."}, {"type": "flush"})
SESSIONS: Sequence[tuple[str, str, Any, Sequence[Any]]] = (
    ("stt", "/v1/stt/slng/deepgram/nova:3-en", _STT["init"], _STT_ASKED),
    ("stt", "/v1/stt/whisper-websocket-stream?language=en", _STT_START, _STT_ASKED),
    ("tts", "/v1/tts/slng/deepgram/aura:2-en", _TTS, _TTS_ASKED),
    ("tts", "/v1/tts/orpheus-websocket-stream", _TTS_CLASSIC, _TTS_CLASSIC_ASKED),
    ("tts", "/v1/tts/elevenlabs-websocket-stream", _TTS_CLASSIC, _TTS_CLASSIC_ASKED),
)
STT_FAULTS = (
    *("", "wrong_case", "nested_error,error_on_finalize=backpressure", "several_finals=3"),
    *("numeric_error,error_on_finalize=rate_limit", "malformed_json=1", "deepgram_results"),
    *("duplicate_final", "from_finalize,late_final=and so", "huge_message=1"),
)
TTS_FAULTS = (
    *("", "wrong_case", "nested_error,error_on_text=auth_error", "malformed_json=1"),
    *("numeric_error,error_on_text=payload_too_large", "base64_audio", "wav_header=16000"),
    *("base64_audio,wav_header=8000", "repeat_sequence=2", "skip_sequence=2", "odd_frames"),
    *("terminal=audio_end", "terminal=flushed", "late_audio_after_clear=50"),
)


def said_by_the_gateway() -> Iterator[tuple[str, str, list[str | bytes]]]:
    """Kind of session, path and what the gateway said, for each protocol and fault."""
    for kind, path, first, asked in SESSIONS:
        for faults in STT_FAULTS if kind == "stt" else TTS_FAULTS:
            with LocalGateway(
                stt=ScriptRecognizer(["what time is it"]),
                tts=ToneSynthesizer(),
                faults=[fault for fault in faults.split(",") if fault],
            ) as gateway:
                yield kind, path, _converse(gateway.url + path, first, asked)


def _converse(url: str, first: Any, asked: Sequence[Any]) -> list[str | bytes]:
    peer = websocket.create_connection(url, timeout=SILENCE_S)
    heard: list[str | bytes] = []
    try:
        for message in (first, *asked):
            if isinstance(message, bytes):
                peer.send_binary(message)
            else:
                peer.send(json.dumps(message))
            _listen(peer, heard)
    except websocket.WebSocketConnectionClosedException:
        pass  # an error is the last that it says
    finally:
        peer.close()
    return _shortened(heard)


def _listen(peer: websocket.WebSocket, heard: list[str | bytes]) -> None:
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        try:
            message = peer.recv()
        except websocket.WebSocketTimeoutException:
            return
        if message:
            heard.append(message)


def _shortened(heard: Sequence[str | bytes]) -> list[str | bytes]:
    """Less audio, and few messages of it."""
    short: list[str | bytes] = []
    for message in heard:
        if isinstance(message, bytes):
            message = message[: 48 + AUDIO_BYTES if message[:4] == b"RIFF" else AUDIO_BYTES + 1]
        elif '"data":"' in message.replace(" ", ""):
            fields = json.loads(message)
            sound = base64.b64decode(fields["data"])
            keep = 48 + AUDIO_BYTES if sound[:4] == b"RIFF" else AUDIO_BYTES
            fields["data"] = base64.b64encode(sound[:keep]).decode()
            message = json.dumps(fields)
        elif len(message) > 600:
            message = message[:300]
        alike = sum(type(message) is type(each) and message[:16] == each[:16] for each in short)
        if alike < 4:
            short.append(message)
    return short[:MOST_MESSAGES]


def _part(message: str | bytes) -> bytes:
    return BINARY + message if isinstance(message, bytes) else message.encode()


def _step(message: str | bytes) -> bytes:
    return b"b" + message if isinstance(message, bytes) else b"r" + message.encode()


def inputs_of(kind: str, path: str, heard: Sequence[str | bytes]) -> Iterator[tuple[str, bytes]]:
    """The inputs that a conversation makes, each with its target."""
    parts = SEPARATOR.join(map(_part, heard))
    steps = SEPARATOR.join(map(_step, heard[1:]))
    classic = "-websocket-stream" in path
    if kind == "stt":
        yield (
            ("classic_stt" if classic else "unified_stt"),
            parts.replace(SEPARATOR, SEPARATOR + b"!" + SEPARATOR, 1),
        )
        yield "greeting", parts
        connect = b"cw" if classic else b"cu"
        for begin in (b"C", b"R"):
            before = (begin, connect, b"o", b"a300", b"n", b"e", b"n")
            after = (b"n", b"t700", b"d1000", b"cu", b"n", b"t60000")
            yield "stt_exchange", SEPARATOR.join((*before, steps, *after))
        return
    text = b"Good morning." + SEPARATOR
    if "elevenlabs" in path:
        yield "native_elevenlabs", text + parts
    elif classic:
        yield "classic_tts", text + parts + SEPARATOR + b"!" + SEPARATOR + parts
        yield "native_orpheus", text + parts
    else:
        yield "unified_tts", text + parts
    connect = b"ce" if "elevenlabs" in path else b"co" if classic else b"cu"
    before = (connect, b"o", b"sGood morning. ", b"sHow are you?", b"n", b"n", b"n")
    after = (b"n", b"e", b"i", b"n", b"d1000", b"cu", b"o", b"sOnce more.", b"n", b"e", b"t11000")
    yield "tts_exchange", SEPARATOR.join((*before, steps, *after))


def write(name: str, data: bytes) -> Path:
    """Keep an input as a seed of a target, under a name that is its content's."""
    assert len(data) <= TARGETS[name].longest_bytes, f"a seed of {name} has {len(data)} bytes"
    seed = SEEDS / name / hashlib.sha256(data).hexdigest()[:12]
    seed.parent.mkdir(parents=True, exist_ok=True)
    seed.write_bytes(data)
    return seed


def main() -> None:
    """Write all seeds; those that are there stay."""
    for conversation in said_by_the_gateway():
        for name, data in inputs_of(*conversation):
            write(name, data)
    for name, inputs in WRITTEN.items():
        for data in inputs:
            write(name, data)


if __name__ == "__main__":
    main()
