"""Lines of text out of bytes as they come from a network; pure.

Bytes are cut at line ends before they are decoded, so that a character that is spread over two
chunks is whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from slng_edge.errors import ResponderError

MAX_LINE_BYTES = 262_144
"""Longer than any piece of a reply: a whole one of 4,000 characters has 96,000 as JSON escapes."""


class TextLines:
    """Cuts at LF, CR LF and CR, and leaves out empty lines.

    Args:
        name: Who writes, for the error.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._unfinished = bytearray()

    def receive(self, data: bytes) -> Iterator[str]:
        """The lines that are complete with `data`, without their line ends.

        Raises:
            ResponderError: a line is longer than `MAX_LINE_BYTES`.
        """
        *lines, rest = data.replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            yield from self._finished(line)
        self._extend(rest)

    def end(self) -> Iterator[str]:
        """A last line without an end."""
        yield from self._finished(b"")

    def _finished(self, line: bytes) -> Iterator[str]:
        self._extend(line)
        text = self._unfinished.decode("utf-8", "replace")
        self._unfinished.clear()
        if text.strip():
            yield text

    def _extend(self, data: bytes) -> None:
        self._unfinished += data
        if len(self._unfinished) > MAX_LINE_BYTES:
            raise ResponderError(
                f"{self._name} sent a line of more than {MAX_LINE_BYTES} bytes and was stopped"
            )


def event_data(line: str) -> str | None:
    """What a line of a stream of server-sent events brings; None for comments and other fields.

    Each `data` line is taken for a message of its own: the values here are JSON on one line, and
    not every server writes the empty line that ends an event.
    """
    name, colon, value = line.partition(":")
    return value.removeprefix(" ") if colon and name.strip("\ufeff ") == "data" else None
