"""What every fuzz target is, and what they all ask of what comes out of a decoder."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hypothesis.strategies import SearchStrategy

from slng_edge.errors import ConfigError, GatewayError
from slng_edge.protocol.failures import RETRY_AFTER_LIMIT_S

SEPARATOR = b"\x1e"
"""Between the parts of an input that has several: JSON, TOML and text have no use for it."""

LONGEST_ERROR = 1000
"""Characters of an error of the gateway's: 300 of its own words, a code of 64, and advice."""

LONGEST_ODDITY = 700
"""Characters of why a message is skipped: a type of 64 that are all written as escapes."""


@dataclass(frozen=True)
class Target:
    """One decoder, or one that puts several together.

    Attributes:
        name: The name of its folder of seeds.
        run: Decodes an input and asserts what holds for any; whatever it raises is a finding.
        shape: Inputs that look like what the decoder reads.
        words: What libFuzzer puts into inputs, beside what it finds out by itself.
        longest_bytes: No input is longer.
    """

    name: str
    run: Callable[[bytes], None]
    shape: SearchStrategy[bytes]
    words: tuple[bytes, ...] = ()
    longest_bytes: int = 4096


def check_text(text: object, longest: int) -> None:
    """`text` is one that every surface can carry: UTF-8, and no longer than `longest`."""
    assert isinstance(text, str), f"{text!r} is no text"
    assert len(text) <= longest, f"{len(text)} characters, and {longest} are expected at most"
    text.encode("utf-8")


def check_line(text: str, longest: int) -> None:
    """`text` is one line that may stand in a log."""
    check_text(text, longest)
    assert text.isprintable(), f"{text!r} is not one printable line"


def check_number(value: object, highest: float = math.inf) -> None:
    """None, or a finite number from 0 to `highest`."""
    if value is not None:
        assert isinstance(value, float), f"{value!r} is no number"
        assert math.isfinite(value), f"{value!r} is not finite"
        assert 0.0 <= value <= highest, f"{value!r} is out of range"


def check_error(error: GatewayError) -> None:
    """An error of the gateway's may be logged, and says when to come back in finite time."""
    check_line(str(error), LONGEST_ERROR)
    assert isinstance(error.retryable, bool)
    check_number(getattr(error, "retry_after_s", None), RETRY_AFTER_LIMIT_S)


def check_problems(error: ConfigError, longest: int) -> None:
    """What is wrong with a configuration: a line for each thing, none without end."""
    assert error.problems
    for problem in error.problems:
        assert problem
        assert len(problem) <= longest


def check_hides(error: Exception, secret: str) -> None:
    """An error does not repeat a secret."""
    assert secret not in str(error), "a secret is in an error"


@contextlib.contextmanager
def file_with(data: bytes) -> Iterator[str]:
    """The path of a file in memory with `data` in it, mode 0600."""
    descriptor = os.memfd_create("fuzz", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        os.fchmod(descriptor, 0o600)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def cut_at(data: bytes, size: int) -> Iterator[bytes]:
    """`data` as a network may deliver it, in pieces of `size` bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
