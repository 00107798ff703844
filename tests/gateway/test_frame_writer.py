"""What a frame for the gateway looks like on the wire, read by another library's reader."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from websockets.frames import Frame, Opcode

from slng_edge.gateway.frame_reader import BINARY, CLOSE, PING, PONG, TEXT
from slng_edge.gateway.frame_writer import encode_frame


def read_by_another(data: bytes) -> Frame:
    """The one frame in `data`, by the websockets library as a server."""
    place = 0

    def read_exact(size: int) -> Generator[None, None, bytes]:
        nonlocal place
        yield from ()
        place += size
        return data[place - size : place]

    parsing = Frame.parse(read_exact, mask=True, max_size=2**24)
    with pytest.raises(StopIteration) as over:
        next(parsing)
    assert place == len(data)
    frame: Frame = over.value.value
    return frame


@pytest.mark.parametrize("size", [0, 1, 3, 125, 126, 640, 65535, 65536, 1_000_001])
def test_a_message_arrives_as_it_was_given(size: int) -> None:
    """At the sizes where the length takes another form, too; in one frame."""
    data = bytes(number % 251 for number in range(size))
    frame = read_by_another(encode_frame(BINARY, data))
    assert (frame.opcode, frame.data, frame.fin) == (Opcode.BINARY, data, True)


@pytest.mark.parametrize(
    ("opcode", "name"),
    [(TEXT, Opcode.TEXT), (CLOSE, Opcode.CLOSE), (PING, Opcode.PING), (PONG, Opcode.PONG)],
)
def test_every_kind_of_frame_is_told_apart(opcode: int, name: Opcode) -> None:
    """A ping is no text."""
    assert read_by_another(encode_frame(opcode, b"\x03\xe8")).opcode is name


def test_no_two_frames_are_masked_alike() -> None:
    """RFC 6455, 10.3: what is on the wire cannot be chosen by who speaks."""
    assert len({encode_frame(BINARY, bytes(64)) for _ in range(100)}) == 100
