"""What a hostile gateway does, as a table: bytes that it sends at one moment of a session.

An act gives pieces of bytes; one without an end is sent until the client has gone. What is to be
heard of it is in the table as well: words of the reason that a person reads, or nothing where the
session bears it.
"""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA

UPGRADE, CONNECTED, READY, SPEECH, FINALIZE, REPLY, CLEAR, GOODBYE = (
    "upgrade",
    "connected",
    "ready",
    "speech",
    "finalize",
    "reply",
    "clear",
    "goodbye",
)
"""Moments: instead of the answer to the upgrade; before and after `ready`; at the first speech;
before the final; before the end of a reply; before `cleared`; before the close."""

IN_STT = (CONNECTED, READY, SPEECH, FINALIZE, GOODBYE)
IN_TTS = (CONNECTED, READY, REPLY, CLEAR, GOODBYE)
ANY = (CONNECTED, READY, SPEECH, FINALIZE, REPLY, CLEAR, GOODBYE)

PIECE = bytes(65536)
MB = 1024 * 1024


@dataclass(frozen=True)
class Told:
    """What an act may use: the client's key, and a port where nobody should come to."""

    key: str = ""
    elsewhere: int = 0


Pieces = Iterable[bytes]


@dataclass(frozen=True)
class Act:
    """One thing that no gateway should do.

    Attributes:
        pieces: What is sent.
        moments: When it can be.
        why: Words of the reason that is told; "" where the connection is kept.
        then: "hold" the connection, "cut" it, or "go on" as a good gateway; "drip" sends the pieces
            slowly.
    """

    pieces: Callable[[Told], Pieces]
    moments: tuple[str, ...] = ANY
    why: str = ""
    then: str = "go on"


def frame(
    opcode: int, data: bytes = b"", *, final: bool = True, bits: int = 0, length: int | None = None
) -> bytes:
    """A frame as a server sends it; `length` is what its head says, right or not."""
    size = len(data) if length is None else length
    head = bytes([(0x80 if final else 0) | bits | opcode])
    if size < 126:
        head += bytes([size])
    elif size < 65536:
        head += b"\x7e" + struct.pack("!H", size)
    else:
        head += b"\x7f" + struct.pack("!Q", size)
    return head + data


def says(**fields: Any) -> bytes:
    """A JSON message; what Python's own encoder writes is let through (NaN, lone surrogates)."""
    return frame(TEXT, json.dumps(fields).encode())


def text(words: str | bytes) -> bytes:
    """A text message of these very bytes."""
    return frame(TEXT, words.encode() if isinstance(words, str) else words)


def for_ever(*pieces: bytes) -> Pieces:
    """The same again and again, many at a time."""
    each = b"".join(pieces)
    return itertools.repeat(each * max(1, 65536 // len(each)))


def counted(make: Callable[[int], bytes], at_a_time: int = 100) -> Iterator[bytes]:
    """One after the other without end, each another one."""
    for start in itertools.count(0, at_a_time):
        yield b"".join(make(number) for number in range(start, start + at_a_time))


def large(head: bytes, size: int, body: bytes = PIECE) -> Iterator[bytes]:
    """A head, and so many bytes."""
    yield head
    for _ in range(size // len(body)):
        yield body


def audio(number: int, size: int = 960, rate_hz: int = 0) -> bytes:
    """A chunk of sound as JSON."""
    pcm = (number % 100 + 1).to_bytes(2, "little") * (size // 2)
    if rate_hz:
        pcm = wav_head(rate_hz) + pcm
    return says(type="audio_chunk", data=base64.b64encode(pcm).decode(), sequence=number)


def wav_head(rate_hz: int, channels: int = 1, bits: int = 16) -> bytes:
    """The header of a WAV file of unknown length."""
    align = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * align, align, bits)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 16) + fmt + b"data\xff\xff\xff\xff"


FIELDS = """
session_id transcript text confidence language duration words channel is_final from_finalize
segments last_word_end data audio sequence code message retryable context_id
"""
KINDS = """
ready partial_transcript final_transcript transcript Results utterance_end audio_chunk
segment_start segment_end cleared metadata event
"""


def of_every_type(value: str) -> bytes:
    """Each message that there is, with `value`, which is JSON, in each of its fields."""
    inside = ",".join(f'"{name}":{value}' for name in FIELDS.split())
    whole = [text(f'{{"type":"{kind}",{inside}}}') for kind in KINDS.split()]
    return b"".join([*whole, text(f'{{"type":{value}}}'), text(value)])


def reported(told: Told) -> Pieces:
    """The key, wherever a gateway may repeat what it was sent."""
    key = told.key
    yield says(type="metadata", key=key)
    yield says(type=f"type {key}", message=key)
    yield text(f"no JSON: {key}")
    yield says(type="error", code=key, message=f"Authorization: Bearer {key}")


# Frames

OVERLONG = b"\x81\xff"
FRAMES = {
    "2^63 bytes announced": Act(
        lambda _: large(frame(BINARY, length=2**63), 30 * MB), why="more than 4 MB"
    ),
    "2^40 bytes announced": Act(
        lambda _: large(frame(TEXT, length=2**40), 30 * MB), why="more than 4 MB"
    ),
    "20 MB binary": Act(
        lambda _: large(frame(BINARY, length=20 * MB), 20 * MB), why="more than 4 MB"
    ),
    "20 MB text": Act(
        lambda _: large(frame(TEXT, length=20 * MB), 20 * MB, b"a" * 65536), why="more than 4 MB"
    ),
    "4 MB text": Act(lambda _: large(frame(TEXT, length=4 * MB), 4 * MB, b"a" * 65536)),
    "4 MB of wide characters": Act(
        lambda _: large(frame(TEXT, length=4 * MB), 4 * MB, "🙂abc ".encode() * 8192),
        why="more than",
    ),
    "4 MB in fragments for ever": Act(
        lambda _: itertools.chain(
            [frame(TEXT, b"a", final=False)], for_ever(frame(0, PIECE, final=False))
        ),
        why="more than 4 MB",
    ),
    "tiny fragments for ever": Act(
        lambda _: itertools.chain(
            [frame(TEXT, b"a", final=False)], for_ever(frame(0, b"a", final=False))
        ),
        why="pieces",
    ),
    "empty fragments for ever": Act(
        lambda _: itertools.chain([frame(BINARY, final=False)], for_ever(frame(0, final=False))),
        why="pieces",
    ),
    "empty messages for ever": Act(lambda _: for_ever(frame(BINARY)), why="far more"),
    "empty texts for ever": Act(lambda _: for_ever(frame(TEXT)), why="far more"),
    "pings for ever": Act(lambda _: for_ever(frame(PING, b"x" * 125)), why="far more"),
    "pongs for ever": Act(lambda _: for_ever(frame(PONG, b"?")), why="far more"),
    "ping of 126 bytes": Act(lambda _: [frame(PING, bytes(126))], why="control frame"),
    "ping of 10 MB": Act(
        lambda _: large(frame(PING, length=10 * MB), 10 * MB), why="control frame"
    ),
    "ping in pieces": Act(lambda _: [frame(PING, b"x", final=False)], why="control frame"),
    "continuation of nothing": Act(lambda _: [frame(0, b"x")], why="pieces of its messages"),
    "message in a message": Act(
        lambda _: [frame(TEXT, b"{", final=False), text("{}")], why="pieces of its messages"
    ),
    "compressed": Act(lambda _: [frame(TEXT, b"\xaa\x56", bits=0x40)], why="compressed"),
    "reserved bits": Act(lambda _: [frame(BINARY, b"xx", bits=0x30)], why="compressed"),
    "unknown kind": Act(lambda _: large(frame(0x3, length=16 * MB), 16 * MB), why="does not exist"),
    "unknown control frame": Act(lambda _: [frame(0xB, b"x")], why="does not exist"),
    "masked": Act(lambda _: [OVERLONG + bytes(4) + b"{}"], why="masked"),
    "close of 1 byte": Act(lambda _: [frame(CLOSE, b"\x03")], why="code that does not exist"),
    "close 999": Act(lambda _: [frame(CLOSE, b"\x03\xe7")], why="code that does not exist"),
    "close 1005": Act(lambda _: [frame(CLOSE, b"\x03\xed")], why="code that does not exist"),
    "close 65535": Act(lambda _: [frame(CLOSE, b"\xff\xff")], why="code that does not exist"),
    "close with no UTF-8": Act(
        lambda _: [frame(CLOSE, b"\x03\xf3\xff\xfe\x1b[2J")], why="1011", then="hold"
    ),
    "close, and on for ever": Act(
        lambda _: itertools.chain([frame(CLOSE, b"\x03\xf3")], for_ever(frame(BINARY, bytes(100)))),
        why="1011",
    ),
    "half a frame": Act(lambda _: [frame(TEXT, b'{"type":', length=900)], why="", then="hold"),
    "half a head": Act(lambda _: [b"\x82\x7f\x00"], why="", then="hold"),
    "half a frame, gone": Act(lambda _: [frame(TEXT, b"{", length=9)], why="ended", then="cut"),
    "noise": Act(lambda _: [bytes(range(7, 256)) * 40], why="connection was closed"),
}

# What is in messages

PLAIN_JSON = {
    "100,000 brackets": Act(lambda _: [text("[" * 100_000), text('{"a":' * 100_000)]),
    "100,000 brackets in a field": Act(
        lambda _: [text('{"type":"ready","session_id":' + "[" * 100_000 + "]" * 100_000 + "}")]
    ),
    "a million values": Act(
        lambda _: [text('{"type":"metadata","a":[' + "{}," * 1_000_000 + "0]}")]
    ),
    "integer of 5,000 digits": Act(lambda _: [of_every_type("9" * 5000)]),
    "integer of 4,000 digits": Act(lambda _: [of_every_type("9" * 4000)]),
    "NaN": Act(lambda _: [of_every_type("NaN")]),
    "Infinity": Act(lambda _: [of_every_type("-Infinity")]),
    "1e999": Act(lambda _: [of_every_type("1e999")]),
    "lone surrogates": Act(lambda _: [of_every_type(r'"\ud800 \udfff"')]),
    "NUL and escapes": Act(lambda _: [of_every_type(r'"\u0000\u001b[2J\u202e"')]),
    "lists": Act(lambda _: [of_every_type("[[{}]]")]),
    "objects": Act(lambda _: [of_every_type('{"type":"ready","data":{"audio":[]}}')]),
    "null": Act(lambda _: [of_every_type("null")]),
    "no UTF-8": Act(lambda _: [text(b'{"type":"\xff\xfe"}'), text(b"\xc3\x28" * 500)]),
    "types without end": Act(
        lambda _: counted(lambda number: says(type=f"kind {number}")), why="far more"
    ),
    "no JSON without end": Act(lambda _: for_ever(text("hello")), why="far more"),
    "ready without end": Act(
        lambda _: for_ever(says(type="ready", session_id="s" * 300)), why="far more"
    ),
    "ready with an id of 3 MB": Act(
        lambda _: [says(type="ready", session_id="s" * 3 * MB)], moments=(CONNECTED,)
    ),
    "key repeated": Act(reported, why="Bearer ***"),
    "error of 3 MB": Act(
        lambda _: [says(type="error", code="e" * MB, message="m" * 2 * MB)], why="eeee"
    ),
}
SPEECH_JSON = {
    "partials without end": Act(
        lambda _: counted(
            lambda number: says(type="partial_transcript", transcript=f"so {number}")
        ),
        moments=(READY, SPEECH, FINALIZE),
        why="far more",
    ),
    "finals without end": Act(
        lambda _: counted(lambda number: says(type="final_transcript", transcript=f"so {number}")),
        moments=(READY, SPEECH),
        why="",
    ),
    "partials of 100,000 characters": Act(
        lambda _: for_ever(says(type="partial_transcript", transcript="so " * 33_333)),
        moments=(SPEECH, FINALIZE),
        why="far more",
    ),
    "ends of words without end": Act(
        lambda _: itertools.chain(
            [says(type="partial_transcript", transcript="so")],
            for_ever(says(type="utterance_end", last_word_end=1)),
        ),
        moments=(SPEECH, FINALIZE),
        why="far more",
    ),
    "words that nobody said": Act(
        lambda _: counted(
            lambda number: says(type="final_transcript", transcript=f"so {number}"), 1
        ),
        moments=(READY,),
        why="",
    ),
}
SOUND = {
    "an hour at once": Act(
        lambda _: itertools.repeat(frame(BINARY, b"\x10\x20" * 12_000), 7200),
        moments=(REPLY,),
        why="",
    ),
    "sound without end": Act(lambda _: for_ever(frame(BINARY, b"\x10\x20" * 480)), (REPLY,)),
    "chunks without end": Act(lambda _: counted(audio), (REPLY,)),
    "chunks of a sample without end": Act(
        lambda _: counted(lambda number: audio(number, 2)), (REPLY,), why="far more"
    ),
    "chunks that skip": Act(
        lambda _: [audio(number) for number in range(0, 30_000, 100)], (REPLY,)
    ),
    "4 MB at 4,000 Hz": Act(
        lambda _: large(frame(BINARY, wav_head(4000), length=44 + 60 * 65536), 60 * 65536),
        (REPLY,),
    ),
    "two channels": Act(
        lambda _: [frame(BINARY, wav_head(24000, channels=2) + bytes(9600))], (REPLY,)
    ),
    "a header that does not end": Act(
        lambda _: [
            frame(BINARY, b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\x00\xff\x00\x00" + bytes(90_000))
        ],
        (REPLY,),
    ),
    "sound that nobody asked for": Act(
        lambda _: for_ever(frame(BINARY, b"\x10\x20" * 2000)), (READY, CLEAR), why="far more"
    ),
    "ends without end": Act(
        lambda _: for_ever(says(type="flushed"), says(type="audio_end", duration=1)),
        (READY, REPLY, CLEAR),
        why="far more",
    ),
    "cleared without end": Act(
        lambda _: for_ever(says(type="cleared")), (READY, REPLY, CLEAR), why="far more"
    ),
}

# The answer to the upgrade

ENDLESS_HEAD = b"HTTP/1.1 101 Switching Protocols\r\n"


def _answer(status: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"", body])


def _refused(told: Told) -> Pieces:
    key = told.key.encode()
    return [_answer(b"503 No", b"Content-Length: %d" % len(key), body=key)]


def _at(answer: bytes, why: str, then: str = "hold") -> Act:
    return Act(lambda _: [answer], (UPGRADE,), why, then)


ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%s\r\n\r\n"
)
"""With what stands for `Sec-WebSocket-Accept` the right one is put in."""

UPGRADES = {
    "headers without end": Act(
        lambda _: itertools.chain([ENDLESS_HEAD], for_ever(b"A: b\r\n")),
        (UPGRADE,),
        "more than any gateway",
    ),
    "a header without end": Act(
        lambda _: itertools.chain([ENDLESS_HEAD + b"A: "], for_ever(b"b")),
        (UPGRADE,),
        "more than any gateway",
    ),
    "100 Continue without end": Act(
        lambda _: for_ever(b"HTTP/1.1 100 Continue\r\n\r\n"), (UPGRADE,), "HTTP 100"
    ),
    "byte by byte": Act(
        lambda _: (b"HTTP/1.1 101 S"[n : n + 1] or b"s" for n in itertools.count()),
        (UPGRADE,),
        "within",
        "drip",
    ),
    "wrong accept": _at(
        ACCEPTED % b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "Invalid"
    ),
    "no accept": _at(ACCEPTED % b"A: b", "Invalid"),
    "deflate": _at(
        ACCEPTED % b"ACCEPT\r\nSec-WebSocket-Extensions: permessage-deflate", "was not offered"
    ),
    "subprotocol": _at(ACCEPTED % b"ACCEPT\r\nSec-WebSocket-Protocol: chat", "was not offered"),
    "cookie with another header in it": _at(
        ACCEPTED % b'ACCEPT\r\nSet-Cookie: a="\\015\\012X-Evil: 1"; Domain=127.0.0.1', "", "cut"
    ),
    "cookies": _at(
        ACCEPTED
        % b"\r\n".join([b"ACCEPT", *[b"Set-Cookie: a%d=1; Domain=.0.1" % n for n in range(400)]]),
        "",
        "cut",
    ),
    **{
        f"redirect {status}": Act(
            lambda told, status=status: [  # type: ignore[misc]
                _answer(
                    b"%d Elsewhere" % status,
                    b"Location: ws://127.0.0.1:%d/" % told.elsewhere,
                    b"Content-Length: 0",
                )
            ],
            (UPGRADE,),
            f"HTTP {status} instead",
        )
        for status in (301, 302, 303, 307, 308)
    },
    "200 without end": Act(
        lambda _: itertools.chain([_answer(b"200 OK")], for_ever(b"<p>Hello</p>")),
        (UPGRADE,),
        "HTTP 200 instead",
    ),
    "404 of a petabyte": Act(
        lambda _: itertools.chain(
            [_answer(b"503 No", b"Content-Length: 1000000000000000")], for_ever(b"<p>Hello</p>")
        ),
        (UPGRADE,),
        "HTTP 503",
    ),
    "length of 5,000 digits": _at(_answer(b"503 No", b"Content-Length: " + b"9" * 5000), "", "cut"),
    "length below zero": _at(_answer(b"503 No", b"Content-Length: -5"), "HTTP 503"),
    "no HTTP": _at(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "as an HTTP server does"),
    "status without a number": _at(b"HTTP/1.1\r\n\r\n", "as an HTTP server does"),
    "status of many digits": _at(
        b"HTTP/1.1 " + b"9" * 6000 + b"\r\n\r\n", "as an HTTP server does"
    ),
    "head of noise": _at(
        b"HTTP/1.1 101 \xff\xfe\r\n\xff\xfe: \x00\x80\r\nhello\r\n\r\n", "as an HTTP"
    ),
    "nothing but line ends": _at(b"\r\n\r\n" * 100, "as an HTTP server does"),
    "TLS alert": _at(b"\x15\x03\x03\x00\x02\x02\x28\r\n\r\n", "as an HTTP server does"),
    "hangs up": _at(b"", "no connection", "cut"),
    "key in a refusal": Act(_refused, (UPGRADE,), "HTTP 503", "cut"),
    "key in a status": Act(
        lambda told: [_answer(b"503 " + told.key.encode(), b"X: " + told.key.encode())],
        (UPGRADE,),
        "HTTP 503",
        "cut",
    ),
    "key in no HTTP": Act(
        lambda told: [told.key.encode() + b" is the key\r\n\r\n"], (UPGRADE,), "as an HTTP", "cut"
    ),
    "retry after infinity": _at(_answer(b"503 No", b"Retry-After: inf"), "HTTP 503", "cut"),
    "retry after a date": _at(
        _answer(b"503 No", b"Retry-After: Fri, 99 Xxx 99999 99:99:99 +9999"), "HTTP 503", "cut"
    ),
}

STT_ACTS = {**FRAMES, **PLAIN_JSON, **SPEECH_JSON}
TTS_ACTS = {**FRAMES, **PLAIN_JSON, **SOUND}
ACTS: dict[str, Act] = {**UPGRADES, **FRAMES, **PLAIN_JSON, **SPEECH_JSON, **SOUND}
