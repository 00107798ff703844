"""Inputs that look like what the decoders read, for hypothesis: JSON that is odd in many ways."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fuzz.target import SEPARATOR
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

DEEP = st.sampled_from([2, 40, 400, 990, 1200])
ODD_TEXT = (
    *("", " ", "true", "false", "1", "nan", "-1", "\ud83d", "a\ud800b", "\udc00", "😀", "\x00"),
    *("\u2028", "e\u0301", "Bearer sk-0123456789abcdef", '{"type":"close"}', "9" * 400),
)
texts = st.one_of(
    st.sampled_from(ODD_TEXT),
    st.text(max_size=20),
    # As JSON may write them: half a surrogate pair is a character there.
    st.text(st.characters(exclude_categories=()), max_size=8),
)
numbers = st.one_of(
    st.integers(-3, 70000),
    st.floats(),
    st.sampled_from([2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, 5e-324, -0.0, 4294967295]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
sounds = st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode())


@st.composite
def json_text(draw: st.DrawFn, objects: SearchStrategy[Any]) -> bytes:
    """An object as JSON; now and then deep, cut off, or with a byte in it that is none of it."""
    data = json.dumps(draw(objects), ensure_ascii=draw(st.booleans()))
    encoded = data.encode("utf-8", "surrogatepass").replace(SEPARATOR, b"")
    if draw(st.booleans()):
        encoded = encoded.replace(b"Infinity", b"1e999")  # which is JSON
    match draw(st.integers(0, 19)):
        case 0:
            cut = draw(st.integers(0, len(encoded)))
            encoded = encoded[:cut] + draw(st.binary(max_size=4)) + encoded[cut + 1 :]
        case 1:
            encoded = encoded[: draw(st.integers(0, len(encoded)))]
        case 2:
            depth = draw(DEEP)
            opening, closing = draw(st.sampled_from([(b"[", b"]"), (b'{"error":', b"}")]))
            encoded = opening * depth + (encoded + closing * depth if draw(st.booleans()) else b"")
    return encoded


@st.composite
def mostly(draw: st.DrawFn, usual: SearchStrategy[Any], odd: SearchStrategy[Any]) -> Any:
    """`usual` seven times in eight; `one_of` would weigh by how many kinds each has."""
    return draw(usual if draw(st.integers(0, 7)) else odd)


def objects(fields: Mapping[str, SearchStrategy[Any]]) -> SearchStrategy[dict[str, Any]]:
    """Objects with some of `fields`, each with a value of its own or of any other kind."""
    optional = {name: mostly(own, values) for name, own in fields.items()}
    return st.fixed_dictionaries({}, optional=optional)


def messages(
    types: Sequence[str], fields: Mapping[str, SearchStrategy[Any]]
) -> SearchStrategy[bytes]:
    """A message of the gateway as text, with one of `types` most of the time."""
    named = st.sampled_from(types)
    kinds = mostly(mostly(named, named.map(str.swapcase)), st.one_of(texts, st.integers(0, 9)))
    optional = {name: mostly(own, values) for name, own in fields.items()}
    return json_text(st.fixed_dictionaries({"type": kinds}, optional=optional))


def joined(*parts: SearchStrategy[bytes], most: int = 12) -> SearchStrategy[bytes]:
    """Several of `parts`, in any order, with the separator between them."""
    return st.lists(st.one_of(*parts), max_size=most).map(SEPARATOR.join)


def marked(mark: bytes, parts: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """`parts`, each behind `mark`."""
    return parts.map(lambda part: mark + part)


def one_of(*choices: bytes) -> SearchStrategy[bytes]:
    """One of `choices` as it is."""
    return st.sampled_from(choices)


def lines(
    *parts: SearchStrategy[bytes], end: bytes = b"\r\n", most: int = 8
) -> SearchStrategy[bytes]:
    """Lines, now and then with another end."""
    ends: Callable[[int], bytes] = lambda odd: (end, b"\n", b"", b"\r", b"\n\n")[odd]  # noqa: E731
    line = st.tuples(st.one_of(*parts), st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3, 4]).map(ends))
    return st.lists(line.map(b"".join), max_size=most).map(b"".join)


utf8 = texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
raw = st.binary(max_size=40)
