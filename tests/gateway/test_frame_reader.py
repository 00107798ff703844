"""Frames, read out of any bytes: what is a message, and what is refused by its head."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hostile_acts import BINARY, CLOSE, PING, PONG, TEXT, frame
from hypothesis import given
from hypothesis import strategies as st

from slng_edge.gateway.frame_reader import (
    FRAGMENTS,
    FrameReader,
    Message,
    RuleBroken,
    StreamEnded,
)

LIMIT = 100_000


def in_pieces(data: bytes, size: int = 10**9) -> Callable[[int], bytes]:
    """Gives `data`, at most `size` bytes at a time; `left` of it is how many are left."""
    left = memoryview(data)

    def receive(wanted: int) -> bytes:
        nonlocal left
        piece = bytes(left[: min(wanted, size)])
        left = left[len(piece) :]
        receive.left = len(left)  # type: ignore[attr-defined]
        return piece

    return receive


def read_all(data: bytes, size: int = 10**9) -> list[Message]:
    """Every message of `data`, to its end."""
    reader = FrameReader(in_pieces(data, size), message_bytes=LIMIT)
    messages = []
    while True:
        try:
            messages.append(reader.read())
        except StreamEnded:
            return messages


def read_three(reader: FrameReader) -> None:
    """Control frames may come before what is meant."""
    for _ in range(3):
        reader.read()


@pytest.mark.parametrize("size", [1, 3, 10**9])
@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, LIMIT])
def test_a_message_of_any_length_is_read(length: int, size: int) -> None:
    """Whatever the pieces are that the network gives."""
    if length > 200 and size < 10:
        size = 997
    data = bytes(length)
    assert read_all(frame(BINARY, data) + frame(TEXT, b"x"), size) == [
        Message(BINARY, data),
        Message(TEXT, b"x"),
    ]


def test_pieces_are_put_together_with_control_frames_between_them() -> None:
    """They come before the message that they interrupt; a piece may be empty."""
    sent = (
        frame(TEXT, b"a", final=False)
        + frame(PING, b"?")
        + frame(0, final=False)
        + frame(PONG)
        + frame(0, b"b")
        + frame(CLOSE, b"\x03\xe8bye")
    )
    assert read_all(sent) == [
        Message(PING, b"?"),
        Message(PONG, b""),
        Message(TEXT, b"ab", frames=3),
        Message(CLOSE, b"\x03\xe8bye"),
    ]


@pytest.mark.parametrize(
    ("sent", "why", "code"),
    [
        (frame(BINARY, length=LIMIT + 1), "a message of more than", 1009),
        (frame(BINARY, length=2**63), "a message of more than", 1009),
        (
            frame(BINARY, bytes(LIMIT), final=False) + frame(0, length=1),
            "a message of more than",
            1009,
        ),
        (
            frame(BINARY, final=False) + frame(0, final=False) * FRAGMENTS,
            f"more than {FRAGMENTS} pieces",
            1009,
        ),
        (frame(TEXT, bits=0x40), "compressed", 1002),
        (frame(TEXT, bits=0x20), "compressed", 1002),
        (frame(PING, bits=0x10), "compressed", 1002),
        (b"\x81\x81\0\0\0\0a", "masked", 1002),
        (frame(PING, length=126), "control frame", 1002),
        (frame(CLOSE, length=2**40), "control frame", 1002),
        (frame(PONG, b"a", final=False), "control frame", 1002),
        (frame(0, b"a"), "mixed up", 1002),
        (frame(TEXT, b"a", final=False) + frame(TEXT, b"b"), "mixed up", 1002),
        *((frame(kind, length=2**30), "does not exist", 1002) for kind in (3, 4, 5, 6, 7)),
        *((frame(kind), "does not exist", 1002) for kind in range(0xB, 0x10)),
        (frame(CLOSE, b"\x03"), "a code that", 1002),
        *(
            (frame(CLOSE, code.to_bytes(2, "big")), "a code that", 1002)
            for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
        ),
    ],
)
def test_what_breaks_a_rule_is_refused(sent: bytes, why: str, code: int) -> None:
    """By its head: of the data nothing is read."""
    receive = in_pieces(sent + bytes(1000))
    reader = FrameReader(receive, message_bytes=LIMIT)
    with pytest.raises(RuleBroken, match=why) as info:
        read_three(reader)
    assert info.value.code == code
    assert info.value.retryable
    if "code" not in why and not sent.endswith(b"a"):
        assert receive.left >= 1000  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1014, 3000, 4001, 4999])
def test_codes_that_exist_are_given(code: int) -> None:
    """Those of RFC 6455, of libraries and of applications; and a close that says nothing."""
    data = code.to_bytes(2, "big") + b"\xff\xfe"
    assert read_all(frame(CLOSE, data) + frame(CLOSE)) == [
        Message(CLOSE, data),
        Message(CLOSE, b""),
    ]


@pytest.mark.parametrize("sent", [b"", b"\x81", b"\x81\x7e\x00", b"\x81\x05abc"])
def test_a_stream_that_ends_is_told(sent: bytes) -> None:
    """Between two messages, in a head, in a message."""
    assert read_all(sent) == []


def test_what_is_announced_takes_no_room() -> None:
    """Only what came is kept: 4 GB that are announced are not asked for."""
    asked: list[int] = []

    def receive(wanted: int) -> bytes:
        asked.append(wanted)
        return {1: frame(BINARY, length=2**32)[:2], 2: (2**32).to_bytes(8, "big")}.get(
            len(asked), bytes(10) if len(asked) < 6 else b""
        )

    with pytest.raises(StreamEnded):
        FrameReader(receive, message_bytes=2**40).read()
    assert max(asked[3:]) <= 65536


@given(st.binary(max_size=300))
def test_any_bytes_end_in_one_of_three_ways(data: bytes) -> None:
    """Messages, a broken rule, or the end of the stream; nothing else is raised."""
    read: list[Message] = []
    with contextlib.suppress(RuleBroken):
        read = read_all(data)
    assert sum(len(message.data) for message in read) <= len(data)
