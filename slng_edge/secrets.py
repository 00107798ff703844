"""Keys: where they are read from, and how they are kept out of everything that is written.

Whatever is read here is remembered as a secret of this process, so that `mask` and
`SecretFilter` know it wherever it may turn up: in a library's exception, a URL, a header.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from slng_edge.config import GatewayConfig
from slng_edge.errors import ConfigError

KEY_VARIABLE = "SLNG_API_KEY"
BROKER_PASSWORD_VARIABLE = "SLNG_MQTT_PASSWORD"
CREDENTIAL = "slng-api-key"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what `LoadCredential=` names: systemd.exec(5)."""

SECRET_FILE_LIMIT_BYTES = 16384
MASK = "***"
SHORTEST_MASKED = 4
"""Masking a shorter "key" would only shred what is written."""
SHORTEST_DISGUISED = 12
"""Of a shorter one Base64 leaves so little that other text has it by chance."""
ESCAPES_LIMIT = 65536
"""Characters of a text that is looked through for escapes, which takes 0.3 s a million. An error
that repeats a request is shorter."""

_known: set[str] = set()
_keys: set[str] = set()
"""Those of `_known` that a peer was told, and may repeat."""
_withheld: dict[str, str] = {}


def register_secret(secret: str) -> None:
    """Remember `secret` as one that `mask` and `SecretFilter` hide. Any thread."""
    if len(secret) >= SHORTEST_MASKED:
        _known.add(secret)


def register_key(key: str) -> None:
    """As `register_secret`; what peers say is looked through for it as well. Any thread."""
    register_secret(key)
    _keys.add(key)


def hide_known(text: str) -> str:
    """`text` of a peer without the keys: it may repeat what it was told.

    Other secrets stay. One may be a word ("english", of `responder.url`), and people say words.
    """
    # A placeholder ("test") is short, and a word.
    keys = {key for key in _keys & _known if len(key) >= SHORTEST_DISGUISED}
    if keys and "\\u00" in text and len(text) <= ESCAPES_LIMIT:
        # JSON that is the same, but for us to see what it says: keys, however they are written.
        text = re.sub(r"\\(?:u00([2-7][0-9a-fA-F])|.)", _without_need, text, flags=re.DOTALL)
    return _hidden(text, keys)


def _without_need(escape: re.Match[str]) -> str:
    """An escape of JSON, as a number only where that is needed."""
    character = chr(int(escape[1], 16)) if escape[1] else "\x7f"
    if not character.isprintable():
        return escape[0]
    return f"\\{character}" if character in '"\\' else character


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without any of `secrets`, of the registered ones, or of what follows "Bearer"."""
    known = {*_known.copy(), *(each for each in secrets if len(each) >= SHORTEST_MASKED)}
    text = _hidden(text, known)
    if "u00" in text and len(text) <= ESCAPES_LIMIT:
        # What a peer sent as JSON, in a traceback: written otherwise only where that hides a key.
        plain = re.sub(r"\\+u00([2-7][0-9a-fA-F])", lambda found: chr(int(found[1], 16)), text)
        hidden = _hidden(plain, known)
        text = text if hidden == plain else hidden
    return re.sub(r"(?i)\b(bearer\s+)[^\s'\",]{8,}", rf"\1{MASK}", text)


def _hidden(text: str, secrets: Iterable[str]) -> str:
    # The longest first: one secret may be the beginning of another.
    longest_first = sorted(secrets, key=len, reverse=True)
    for secret in longest_first:
        text = text.replace(secret, MASK)
    disguised = [each for each in longest_first if len(each) >= SHORTEST_DISGUISED]
    if disguised:
        folded = _folded(text)
        escapes = len(text) <= ESCAPES_LIMIT and any(sign in folded for sign in _ESCAPES)
        if escapes:  # what a peer sends in words has many: a look without them is cheap
            folded = f"{folded}\n{_folded(_without_escapes(text))}"
        for secret in disguised:
            needles, pattern = _disguises(secret)
            unclear = escapes and any(sign in secret for sign in "\\%&")
            if unclear or any(needle in folded for needle in needles):
                text = pattern.sub(MASK, text)
    return text


_ESCAPES = ("\\u00", "\\x", "%", "&#")
"""What begins a character that is written as a number: of JSON, an address, HTML."""

_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


_ESCAPED = re.compile(
    r"\\{1,4}(?:u00|x)([0-7][0-9a-f])|%(?:25)?([0-7][0-9a-f])|&#x0*([0-7][0-9a-f]);?|&#0*(\d{2,3});?",
    re.IGNORECASE,
)


def _without_escapes(text: str) -> str:
    """What is written as a number as the character that it is, and no backslashes."""

    def character(found: re.Match[str]) -> str:
        digits = found[1] or found[2] or found[3]
        return chr(int(digits, 16)) if digits else chr(int(found[4]))

    return _ESCAPED.sub(character, text).replace("\\", "")


def _folded(text: str) -> str:
    """Without what differs between ways of writing the same: capitals, the two Base64s."""
    return text.lower().replace("\\/", "/").replace("-", "+").replace("_", "/")


@functools.lru_cache(maxsize=64)
def _disguises(secret: str) -> tuple[tuple[str, ...], re.Pattern[str]]:
    """Other ways in which software writes `secret`: what to look for, and what to take out.

    In capitals; in hexadecimal digits; in Base64 at any place of a longer text; with any of its
    characters escaped. Somebody who hides it on purpose has more ways than can be listed.
    """
    raw = secret.encode("utf-8")
    forms = [secret, json.dumps(secret)[1:-1], secret.translate(_HTML), raw.hex()]
    for shift in range(3):
        # Of the first and last characters some bits belong to what stands around it.
        first, last = -(-shift * 8 // 6), (shift + len(raw)) * 8 // 6
        forms.append(base64.b64encode(bytes(shift) + raw).decode("ascii")[first:last])
    needles = tuple(dict.fromkeys(map(_folded, forms)))
    folds = {"+": "[-+]", "/": r"\\?[/_]"}
    ways = ["".join(folds.get(each, re.escape(each)) for each in needle) for needle in needles]
    ways.append(
        "".join(
            rf"(?:(?:\\{{1,4}}(?:u00|x)|%|%25|&\#x0*){ord(each):02x};?"
            rf"|&\#0*{ord(each)};?|\\{{0,2}}{re.escape(each)})"
            for each in secret
        )
    )
    return needles, re.compile("|".join(ways), re.IGNORECASE)


@contextlib.contextmanager
def withheld_from_children(*variables: str) -> Iterator[None]:
    """Take secrets out of the environment, for what is started in here not to inherit them.

    That is also what a library starts: libpulse starts a sound server where there is none.
    `secret_variable` still has them. The main thread, before others are started.
    """
    taken = {name: os.environ.pop(name) for name in variables if name in os.environ}
    _withheld.update(taken)
    try:
        yield
    finally:
        for name, value in taken.items():
            os.environ.setdefault(name, value)
            _withheld.pop(name, None)


def secret_variable(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The variable `name`, also where it was taken out of our own environment; else ""."""
    return environ.get(name) or (_withheld.get(name, "") if environ is os.environ else "")


class SecretFilter(logging.Filter):
    """Masks the registered secrets in message, arguments, exception and stack of every record.

    It belongs on a handler: a filter of a logger does not see what comes from loggers below it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask `record` in place; lets every record pass."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError) as error:
            # A filter that raises would throw into whoever logs.
            message = f"{record.msg!r} with arguments that do not fit ({error})"
        record.msg, record.args = mask(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = mask(record.exc_text)
        if record.stack_info:
            record.stack_info = mask(record.stack_info)
        return True


def read_api_key(gateway: GatewayConfig, environ: Mapping[str, str] = os.environ) -> str:
    """The key: `$SLNG_API_KEY`, else the systemd credential, else `api_key_file`, else "".

    Raises:
        ConfigError: The first of them that is there holds no key, or its file may not be
            used (see `read_secret_file`). The key is not in the message.
    """
    return find_api_key(gateway, environ)[0]


def find_api_key(
    gateway: GatewayConfig, environ: Mapping[str, str] = os.environ
) -> tuple[str, str]:
    """As `read_api_key`, with where the key was found, in words; ("", "") where there is none.

    Raises:
        ConfigError: As `read_api_key`.
    """
    from_variable = secret_variable(KEY_VARIABLE, environ).strip()
    if from_variable:
        return _approved(from_variable, f"${KEY_VARIABLE}"), f"${KEY_VARIABLE}"
    if environ.get(CREDENTIALS_VARIABLE):
        credential = Path(environ[CREDENTIALS_VARIABLE], CREDENTIAL)
        if credential.exists():
            # systemd guards its directory itself, and shows odd modes where ACLs are used.
            what = f"the systemd credential {CREDENTIAL}"
            return _read(credential, what, guarded=True), what
    if gateway.api_key_file:
        what = "gateway.api_key_file"
        return read_secret_file(gateway.api_key_file, what), f"{what} {gateway.api_key_file}"
    return "", ""


def read_secret_file(path: str | Path, what: str) -> str:
    """What stands in the file `path`, without white space around it; it is registered.

    Args:
        path: The file; a leading "~" is the home directory.
        what: What names the file, for messages: "gateway.provider_key_file".

    Raises:
        ConfigError: The file is missing, not a regular file, readable or writable by group
            or others, empty, or holds anything but printable ASCII without spaces.
    """
    return _read(Path(os.path.expanduser(path)), what, guarded=False)


def _read(file: Path, what: str, *, guarded: bool) -> str:
    try:
        # Non-blocking: opening a named pipe would wait for its writer.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{what}: cannot read {file}: {reason}") from error
    try:
        _refuse_unguarded(file, os.fstat(descriptor).st_mode, what, guarded=guarded)
        with open(descriptor, "rb", closefd=False) as opened:
            data = opened.read(SECRET_FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{what}: cannot read {file}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > SECRET_FILE_LIMIT_BYTES:
        raise ConfigError(f"{what}: {file} is too long to hold a key")
    return _approved(data.decode("latin-1").strip(), f"{what}: {file}")


def _refuse_unguarded(file: Path, mode: int, what: str, *, guarded: bool) -> None:
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{what}: {file} is not a regular file")
    if not guarded and mode & 0o066:
        raise ConfigError(
            f"{what}: {file} can be read or written by others (mode {stat.S_IMODE(mode):04o}); "
            f"run: chmod 600 {file}"
        )


def _approved(secret: str, where: str) -> str:
    """`secret` where it can stand in an HTTP header; registered before anything can fail."""
    register_key(secret)
    if not secret:
        raise ConfigError(f"{where} is empty; it must hold the key and nothing else")
    if not all("!" <= character <= "~" for character in secret):
        raise ConfigError(
            f"{where} does not hold a key: it has spaces, line breaks or other characters "
            "that no key has"
        )
    return secret
