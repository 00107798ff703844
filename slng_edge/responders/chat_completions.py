"""What an answer of a chat-completions API says; pure.

Servers differ: some leave out the event stream and send one JSON document, some do not end with
`[DONE]`, some put an error into the stream. What the body begins with says what it is, since
content types are often wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from slng_edge.errors import ResponderError
from slng_edge.responders.http_failures import error_message, words
from slng_edge.responders.text_lines import TextLines, event_data

MAX_DOCUMENT_BYTES = 1_048_576
"""Of an answer that is no stream."""

_ENDINGS = {
    "tool_calls": "it asked for a tool, and it was offered none",
    "function_call": "it asked for a function, and it was offered none",
    "content_filter": "its content filter withheld the reply",
    "length": "its limit of tokens was used up before the reply began",
}


def request_body(model: str, messages: Sequence[dict[str, str]]) -> bytes:
    """The request for a streamed reply, without tools."""
    body = {"model": model, "messages": list(messages), "stream": True}
    return json.dumps(body).encode("ascii")


class ChatAnswer:
    """One answer; one thread.

    Args:
        name: Who answers, for errors.

    Attributes:
        is_over: The server has said that the reply is complete.
    """

    def __init__(self, name: str) -> None:
        self.is_over = False
        self._name = name
        self._lines = TextLines(name)
        self._document: bytearray | None = None
        self._is_stream = False
        self._ending = ""

    def receive(self, data: bytes) -> Iterator[str]:
        """The text in the next bytes of the body.

        Raises:
            ResponderError: it holds an error, or is no such answer.
        """
        if not self._is_stream:
            data = self._begin(data)
        if self._is_stream:
            yield from self._texts(self._lines.receive(data))

    def end(self) -> Iterator[str]:
        """The text in what is left of the body.

        Raises:
            ResponderError: as `receive`.
        """
        if self._is_stream:
            yield from self._texts(self._lines.end())
        elif self._document:
            yield from self._text_of(self._parsed(self._document.decode("utf-8", "replace")))
            self.is_over = True

    @property
    def began(self) -> bool:
        """Whether there was anything of a body."""
        return bool(self._document)

    def nothing(self) -> ResponderError:
        """The error that there was nothing to say in it, and why."""
        why = _ENDINGS.get(self._ending, "")
        return ResponderError(f"{self._name} returned nothing" + (f": {why}" if why else ""))

    def _begin(self, data: bytes) -> bytes:
        """Find out what it is; returns what belongs to the stream."""
        document = self._document = (self._document or bytearray()) + data
        begin = bytes(document[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")
        if begin[:1] == b"<":
            raise ResponderError(
                f"{self._name} sent a web page; check responder.url (most end in /v1)"
            )
        if begin and begin[:1] not in b"{[":
            self._is_stream = True
            return bytes(document)
        if len(document) > MAX_DOCUMENT_BYTES:
            raise ResponderError(
                f"{self._name} sent more than {MAX_DOCUMENT_BYTES} bytes that are no stream"
            )
        return b""

    def _texts(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            data = event_data(line)
            if data is None:
                continue
            if data.strip() == "[DONE]":
                self.is_over = True
                return
            yield from self._text_of(self._parsed(data))

    def _parsed(self, text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ResponderError(
                f"{self._name} sent what is no JSON: {words(text[:80])}"
            ) from error

    def _text_of(self, value: Any) -> Iterator[str]:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = value[0]  # Gemini wraps its errors
        if not isinstance(value, dict):
            raise ResponderError(f"{self._name} did not answer as a chat-completions API does")
        if value.get("error") or value.get("type") == "error":
            raise ResponderError(f"{self._name} failed: {error_message(value)}")
        choices = value.get("choices")
        if choices is None and not self._is_stream:
            raise ResponderError(
                f"{self._name} did not answer as a chat-completions API does: there are no "
                "choices; check responder.url"
            )
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return  # figures of use or of a content filter, a sign of life
        if isinstance(choice.get("finish_reason"), str):
            self._ending = choice["finish_reason"]
            self.is_over = True
        said = choice.get("delta") or choice.get("message")
        if isinstance(said, dict):
            text = _content(said.get("content")) or _content(said.get("refusal"))
            if text:
                yield text


def _content(content: Any) -> str:
    """Text, or a list of parts of which some are text."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""
