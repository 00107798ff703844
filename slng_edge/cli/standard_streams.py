"""Standard input and output as commands use them: raw audio, text as it comes."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from slng_edge.errors import InputFileError, SlngEdgeError, UsageError

_READ_BYTES = 65536


def read_bytes(size: int) -> Iterator[bytes]:
    """What standard input gives, at most `size` bytes at a time, as soon as there is any.

    The descriptor is read without a buffer of Python's: a thread that waits in one would keep
    the interpreter from ending after Ctrl-C.

    Raises:
        InputFileError: it is closed, or cannot be read.
    """
    if sys.stdin is None:
        raise InputFileError("cannot read standard input: it is closed")
    try:
        while data := os.read(sys.stdin.fileno(), size):
            yield data
    except OSError as error:
        raise InputFileError(f"cannot read standard input: {error.strerror}") from error


def raw_audio(size: int) -> Iterator[bytes]:
    """Raw s16le from standard input.

    Raises:
        UsageError: it is a terminal.
        InputFileError: it cannot be read, has no audio, or is a WAV file.
    """
    if sys.stdin is not None and sys.stdin.isatty():
        raise UsageError("standard input is a terminal: - reads raw audio from a pipe or a file")
    start, begun = b"", False
    for data in read_bytes(size):
        if not begun:
            start += data
            if len(start) < 4:
                continue
            if start.startswith(b"RIFF"):
                raise InputFileError(
                    "standard input is a WAV file, and - reads raw s16le: name the file instead"
                )
            data, begun = start, True
        yield data
    if not begun:
        if len(start) < 2:
            raise InputFileError("standard input has no audio")
        yield start


def text_pieces() -> Iterator[str]:
    """Text from standard input, in pieces as it comes.

    Raises:
        InputFileError: it cannot be read, or is not UTF-8 text.
        UsageError: there is nothing in it to speak.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
    any_text = False
    try:
        for data in read_bytes(_READ_BYTES):
            piece = decoder.decode(data)
            if "\0" in piece:
                raise InputFileError("standard input is not text: it has zero bytes in it")
            any_text = any_text or bool(piece.strip())
            yield piece
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise InputFileError("standard input is not UTF-8 text") from error
    if not any_text:
        raise UsageError("there is nothing to speak: standard input is empty")


def raw_output() -> BinaryIO:
    """Standard output for raw audio.

    Raises:
        UsageError: it is a terminal.
        SlngEdgeError: it is closed.
    """
    if sys.stdout is None:
        raise SlngEdgeError("cannot write to standard output: it is closed")
    if sys.stdout.isatty():
        raise UsageError("standard output is a terminal: send raw audio to a file or a program")
    return sys.stdout.buffer


@contextlib.contextmanager
def writing_output() -> Iterator[None]:
    """Say of what is written to standard output here that it cannot be.

    Raises:
        SlngEdgeError: the disk is full, for one. A reader that has gone is left to `main`.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SlngEdgeError(f"cannot write to standard output: {error.strerror}") from error
