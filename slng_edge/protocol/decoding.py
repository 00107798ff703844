"""JSON messages, read and written without ever trusting them.

What comes from a gateway may be anything: a reader here answers None or a
`NotUnderstood` where others would raise. What goes out is always well-formed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from slng_edge.errors import ConfigError
from slng_edge.protocol.vocabulary import NotUnderstood

Fields: TypeAlias = Mapping[str, Any]
"""A decoded JSON object."""

_TYPE_CHARS = 64
_EXCERPT_CHARS = 40
_WORDS_CHARS = 300
_READ_CHARS = 4096
_NOTHING: Fields = {}

VALUES = 100_000
"""In one message. An hour of words with their times has some 50,000; each takes up to 25 times the
memory of its text, so that 4 MB of them would be 100 MB."""
IDENTIFIER_CHARS = 128
_HIGHEST_INTEGER = 2**63 - 1


def parse_object(message: str) -> dict[str, Any] | NotUnderstood:
    """The JSON object in `message`, or why it is none; never raises."""
    if len(message) > VALUES and sum(map(message.count, ",:[{")) > VALUES:
        return NotUnderstood("", f"JSON of more than {VALUES} values: {excerpt(message)}")
    try:
        parsed = json.loads(message)
    except (ValueError, RecursionError):
        # ValueError covers malformed JSON and integers past Python's digit limit.
        return NotUnderstood("", f"not JSON: {excerpt(message)}")
    if not isinstance(parsed, dict):
        return NotUnderstood("", f"JSON, but no object: {excerpt(message)}")
    return parsed


def type_of(fields: Fields) -> str:
    """The message's type in lower case, because routes differ in it; "" where there is none.

    An object without a type that says `error` is an error: gateways and their
    providers answer so before a session exists.
    """
    value = fields.get("type")
    if value is None and fields.get("error"):
        return "error"
    return well_formed(value).strip().lower()[:_TYPE_CHARS] if isinstance(value, str) else ""


def unknown(kind: str) -> NotUnderstood:
    """What to say of a message whose type no dialect knows."""
    return NotUnderstood(kind, f"unknown type {kind!r}" if kind else "no type")


def nested(fields: Fields, name: str) -> Fields:
    """The object under `name`; an empty one where there is no object."""
    value = fields.get(name)
    return value if isinstance(value, dict) else _NOTHING


def text_in(fields: Fields, *names: str) -> str:
    """The first text under `names` that is not empty, stripped; "" where there is none."""
    return next(filter(None, _texts(fields, names)), "")


def _texts(fields: Fields, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str):
            yield well_formed(value).strip()


def identifier_in(fields: Fields, name: str) -> str:
    """The identifier under `name`, which some routes number; "" where there is none.

    It is shown to people, so it is one line, and cut where it is longer than any is.
    """
    number = integer_in(fields, name)
    return excerpt(text_in(fields, name) if number is None else str(number), IDENTIFIER_CHARS)


def number_in(fields: Fields, *names: str, highest: float = math.inf) -> float | None:
    """The first finite number from 0 to `highest` under `names`; None where there is none."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        try:
            number = float(value)
        except OverflowError:
            continue
        if 0.0 <= number <= highest and math.isfinite(number):
            return number
    return None


def integer_in(fields: Fields, name: str) -> int | None:
    """The integer under `name`; None where there is none that 64 bits hold."""
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if abs(value) <= _HIGHEST_INTEGER else None


def truth_in(fields: Fields, name: str) -> bool | None:
    """The truth value under `name`, which some routes write as a string; None where unclear."""
    value = fields.get(name)
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, int) else None


def well_formed(text: str) -> str:
    """`text` with lone surrogates replaced: JSON can carry them, UTF-8 cannot."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def excerpt(message: str, chars: int = _EXCERPT_CHARS) -> str:
    """The first characters of `message`, on one line, for a log."""
    shown = "".join(char if char.isprintable() else "?" for char in message[:chars])
    return f"{shown}…" if len(message) > chars else shown


def server_words(text: str) -> str:
    """`text` of a server for a log: one line, at most 300 characters, without keys.

    Servers and proxies echo requests: what follows "Bearer", and what looks like a key
    beside the word, is replaced by ``***``.
    """
    # Cut twice: the patterns are quadratic at worst, and half a key looks like none.
    shown = "".join(char if char.isprintable() else " " for char in text[:_READ_CHARS])
    shown = " ".join(shown.split())
    for pattern in _SECRETS:
        shown = pattern.sub(r"\1***", shown)
    return shown if len(shown) <= _WORDS_CHARS else f"{shown[: _WORDS_CHARS - 1]}…"


_SECRETS = (
    # "bearer token" and its kin are words, not a key.
    re.compile(
        r"(bearer(?:[\s:=\"']|%20)+)"
        r"(?!(?:tokens?|auth|authentication|authorization|scheme|format)(?:[\s.,;:!?\"']|$))"
        r"[^\s\"',;]+",
        re.IGNORECASE,
    ),
    re.compile(
        r"((?:key|token|secret|authorization)(?:[\"']?\s*(?:[:=]|\bis\b)\s*[\"']?|\s+[\"']?))"
        r"(?=[^\s\"',;]*\d)[A-Za-z0-9_\-.+/=]{8,}",
        re.IGNORECASE,
    ),
)


def encode_message(kind: str, **fields: Any) -> str:
    """A JSON message of type `kind`, without characters that UTF-8 cannot carry."""
    # Not escaped to ASCII: the plan counts bytes, and Devanagari would take twice as many.
    message = {"type": kind, **fields}
    return well_formed(json.dumps(message, ensure_ascii=False, separators=(",", ":")))


def merge_options(section: str, config: Fields, options: Fields) -> dict[str, Any]:
    """`config` of an `init` with `options` over it; `section` ("stt", "tts") names the keys.

    Raises:
        ConfigError: an option asks for another encoding than linear16 or for another
            sample rate than the section's, which audio here cannot follow, or holds
            what JSON cannot say (a date, inf).
    """
    problems = []
    encoding = options.get("encoding", "linear16")
    if encoding != "linear16":
        problems.append(
            f"{section}.options.encoding: {encoding!r} is not supported, audio is always "
            f'linear16. Remove it, or set it to "linear16".'
        )
    rate_hz = config["sample_rate"]
    if options.get("sample_rate", rate_hz) != rate_hz:
        problems.append(
            f"{section}.options.sample_rate: {options['sample_rate']!r} differs from "
            f"{section}.sample_rate, {rate_hz}. Set {section}.sample_rate instead."
        )
    for name, value in options.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            problems.append(
                f"{section}.options.{name}: cannot be sent as JSON. Use text, a finite number, "
                f"true, false, a list or a table."
            )
    if problems:
        raise ConfigError(*problems)
    return {**config, **options}
