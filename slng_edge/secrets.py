"""Keys: where they are read from, and how they are kept out of everything that is written.

Whatever is read here is remembered as a secret of this process, so that `mask` and
`SecretFilter` know it wherever it may turn up: in a library's exception, a URL, a header.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from slng_edge.config import GatewayConfig
from slng_edge.errors import ConfigError

KEY_VARIABLE = "SLNG_API_KEY"
CREDENTIAL = "slng-api-key"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what `LoadCredential=` names: systemd.exec(5)."""

SECRET_FILE_LIMIT_BYTES = 16384
MASK = "***"
SHORTEST_MASKED = 4
"""Masking a shorter "key" would only shred what is written."""

_known: set[str] = set()


def register_secret(secret: str) -> None:
    """Remember `secret` as one that `mask` and `SecretFilter` hide. Any thread."""
    if len(secret) >= SHORTEST_MASKED:
        _known.add(secret)


def hide_known(text: str) -> str:
    """`text` without the registered secrets: what a peer says may repeat what it was told."""
    for secret in sorted(_known.copy(), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without any of `secrets`, of the registered ones, or of what follows "Bearer"."""
    more = (secret for secret in secrets if len(secret) >= SHORTEST_MASKED)
    # The longest first: one secret may be the beginning of another.
    for secret in sorted({*_known.copy(), *more}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return re.sub(r"(?i)\b(bearer\s+)[^\s'\",]{8,}", rf"\1{MASK}", text)


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
    from_variable = environ.get(KEY_VARIABLE, "").strip()
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
    register_secret(secret)
    if not secret:
        raise ConfigError(f"{where} is empty; it must hold the key and nothing else")
    if not all("!" <= character <= "~" for character in secret):
        raise ConfigError(
            f"{where} does not hold a key: it has spaces, line breaks or other characters "
            "that no key has"
        )
    return secret
