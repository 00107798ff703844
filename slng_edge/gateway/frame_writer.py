"""What is sent to a gateway, as one frame each: RFC 6455, section 5.

Why not websocket-client's own writer: a frame of speech passes fifty times a second, and its layers
cost more than the frame itself and the system call (10 µs of CPU for 640 bytes; 6.5 so).
"""

from __future__ import annotations

import os

_FINAL, _MASKED = 0x80, 0x80
_LENGTH_OF_2, _LENGTH_OF_8 = 126, 127
_KEY_BYTES = 4


def encode_frame(opcode: int, data: bytes) -> bytes:
    """A final frame, masked with a key that nobody can foresee (section 10.3). Any thread."""
    size = len(data)
    if size < _LENGTH_OF_2:
        head = bytes((_FINAL | opcode, _MASKED | size))
    elif size < 1 << 16:
        head = bytes((_FINAL | opcode, _MASKED | _LENGTH_OF_2)) + size.to_bytes(2)
    else:
        head = bytes((_FINAL | opcode, _MASKED | _LENGTH_OF_8)) + size.to_bytes(8)
    key = os.urandom(_KEY_BYTES)
    # As one large number: Python has no other XOR of bytes, and this one is quick.
    mask = int.from_bytes((key * (size // _KEY_BYTES + 1))[:size])
    return head + key + (int.from_bytes(data) ^ mask).to_bytes(size)
