"""What a configuration value may be: one small function a rule.

A `Check` takes a value of the right type and returns "" where it is fine, else the rest
of the sentence "section.key = value …": what is allowed. No check opens a file or a socket.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

Check: TypeAlias = Callable[[Any], str]

SOCKET_PATH_LIMIT_BYTES = 107
"""`sun_path` holds 108 bytes with its closing zero: unix(7)."""

TRACKING_ID_LIMIT = 128
"""Characters in a tracking id: protocol.md, 2."""

DEEPEST = 32
"""Tables and lists in each other: no route's options come near."""

_WHOLE_NUMBERS = range(-(2**63), 2**63)
"""What TOML 1.0 has to take; a longer one is an error there."""

_SECRET_NAMES = {"key", "token", "secret", "auth", "authorization", "bearer", "passphrase"}
_SECRET_PARTS = ("api_key", "apikey", "provider_key", "access_key", "password", "secret")
_SECRET_ENDINGS = ("_token",)


def looks_like_a_secret(key: str) -> bool:
    """Whether `key` names something that is secret, as opposed to a file that holds it."""
    name = key.lower().replace("-", "_")
    if name.endswith(("_file", "_path")):
        return False
    return (
        name in _SECRET_NAMES
        or any(part in name for part in _SECRET_PARTS)
        or name.endswith(_SECRET_ENDINGS)
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """The one of `known` that `word` was most likely meant to be, "" where none comes near."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), by_lower, n=1)
    return by_lower[found[0]] if found else ""


def out_of_bounds(value: Any, levels: int = DEEPEST) -> str:
    """Why `value`, of any type, is not even looked at or repeated; "" where it is.

    A few kilobytes can nest a thousand levels, or write a number that cannot be written out.
    """
    if isinstance(value, Mapping | list):
        if not levels:
            return f"is nested more than {DEEPEST} levels deep"
        inner = value.values() if isinstance(value, Mapping) else value
        return next(filter(None, (out_of_bounds(each, levels - 1) for each in inner)), "")
    if isinstance(value, int) and value not in _WHOLE_NUMBERS:
        return "holds a whole number of more than 64 bits"
    return ""


def anything(_: Any) -> str:
    """No rule beyond the type."""
    return ""


def one_of(*choices: Any) -> Check:
    """One of `choices`, strings or numbers."""

    def check(value: Any) -> str:
        if value in choices:
            return ""
        listed = ", ".join(_quoted(choice) for choice in choices)
        near = nearest(value, map(str, choices)) if isinstance(value, str) else ""
        return f"must be one of {listed}" + (f"; did you mean {_quoted(near)}?" if near else "")

    return check


def between(low: float, high: float, unit: str = "") -> Check:
    """A finite number, `low` and `high` included."""

    def check(value: Any) -> str:
        if low <= value <= high:
            return ""
        return f"must be from {low:g} to {high:g}" + (f" {unit}" if unit else "")

    return check


def model(value: str) -> str:
    """A model name, which becomes part of a URL's path."""
    if value and not re.search(r"[\s?#\\]", value) and not value.startswith("/"):
        return ""
    return 'must be a model such as "slng/deepgram/nova:3-en"'


def models(value: tuple[str, ...]) -> str:
    """A list of model names."""
    return next(filter(None, map(model, value)), "")


def words(value: tuple[str, ...]) -> str:
    """A list without empty strings."""
    return "" if all(word.strip() for word in value) else "must not hold an empty string"


def not_empty(value: str) -> str:
    """A string with something in it."""
    return "" if value.strip() else "must not be empty"


def device(value: str) -> str:
    """A device's name, "null", or a file."""
    if value.startswith("file:") and not value.removeprefix("file:").strip():
        return 'needs a path after "file:"'
    return (
        "" if value.strip() else 'must be a name from `slng-edge devices`, "file:PATH.wav", "null"'
    )


def sound(value: str) -> str:
    """A sound of ours, none, or a WAV file."""
    if value in ("built-in", "off") or value.lower().endswith(".wav"):
        return ""
    return 'must be "built-in", "off" or a path that ends in .wav'


def secret_file(value: str) -> str:
    """A path to a file that holds a secret; a secret put there by mistake is noticed."""
    mistaken = len(value) >= 16 and not re.search(r"[/.~\s]", value)
    return "must be a path to a file that holds the key, not the key itself" if mistaken else ""


def socket_path(value: str) -> str:
    """A path that fits into a Unix socket's address."""
    if len(value.encode("utf-8", "replace")) <= SOCKET_PATH_LIMIT_BYTES:
        return ""
    return f"must be at most {SOCKET_PATH_LIMIT_BYTES} bytes long, as a Unix socket's path"


def tracking_id(value: str) -> str:
    """A tracking id as the gateway takes it (protocol.md, 2)."""
    if len(value) <= TRACKING_ID_LIMIT and "," not in value and value.isascii():
        return ""
    return f"must be at most {TRACKING_ID_LIMIT} ASCII characters without a comma"


def regions(*known: str) -> Check:
    """Region names out of `known`, comma separated, or nothing."""

    def check(value: str) -> str:
        if not value or all(part.strip().lower() in known for part in value.split(",")):
            return ""
        return f"must be empty or, separated by commas, some of {', '.join(known)}"

    return check


def url(*schemes: str, bare: bool = False) -> Check:
    """An address with one of `schemes` and a host, or nothing; `bare`: nothing after the port."""
    shape = f"must be empty or {' or '.join(f'{scheme}://HOST:PORT' for scheme in schemes)}"
    if bare:
        shape += " without user, path or query"

    def check(value: str) -> str:
        if not value:
            return ""
        try:
            parts = urlsplit(value)
            good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            return shape
        rest = "@" in parts.netloc or parts.path not in ("", "/") or "?" in value or "#" in value
        return "" if good and not re.search(r"\s", value) and not (bare and rest) else shape

    return check


def listen_address(value: str) -> str:
    """HOST:PORT, or nothing."""
    host, colon, port = value.rpartition(":")
    if not value or (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        return ""
    return 'must be empty or HOST:PORT such as "127.0.0.1:8990"'


def options(value: Mapping[str, Any]) -> str:
    """Fields that are passed on in `init.config`: what JSON can carry, in linear16 (contract)."""
    if value.get("encoding", "linear16") != "linear16":
        return 'may not ask for another encoding than "linear16"'
    return _json_problem(value)


def _json_problem(value: Any) -> str:
    if isinstance(value, Mapping):
        secret = next((key for key in value if looks_like_a_secret(key)), None)
        if secret is not None:
            return f"holds {secret!r}: a secret never stands in the configuration"
        return next(filter(None, map(_json_problem, (*value, *value.values()))), "")
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        return "may not hold bytes that are no text"
    if isinstance(value, list):
        return next(filter(None, map(_json_problem, value)), "")
    if isinstance(value, float) and not math.isfinite(value):
        return "may not hold inf or nan"
    if not isinstance(value, str | int | float):
        return "may not hold dates or times: they are passed on as JSON"
    return ""


def _quoted(choice: Any) -> str:
    return f'"{choice}"' if isinstance(choice, str) else str(choice)
