"""What is taken out of a support bundle: keys, passwords, and what people said."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from slng_edge.config import Config
from slng_edge.config_text import without_password
from slng_edge.errors import SlngEdgeError
from slng_edge.secrets import SECRET_FILE_LIMIT_BYTES, find_api_key, mask, register_secret

SETTINGS_FOLDER = Path("/etc/slng-edge")

_SECRET_NAME = re.compile(r"(?i)key|token|password|passwd|secret")

_TO_END = r'.*?(?="?\}?,?$)'
"""To the end of a line; what ends an entry of JSON stays."""

_RESPONDER_LINES = (
    re.compile(r"(slng_edge\.responders\.reply_lines: ).*"),
    re.compile(rf'(?m)("slng_edge\.responders\.reply_lines", "message": "){_TO_END}'),
)
"""What a program of the owner's that answers wrote to standard error."""

_SAID = (
    re.compile(r"(slng_edge\.conversation: final: ).*"),
    re.compile(r'("message": "final: )(?:[^"\\]|\\.)*'),
    *_RESPONDER_LINES,
    re.compile(
        r"(?m)( (?:ended with status \d+|was ended by signal \d+(?: \([^)\n]*\))?)"
        rf"(?: before its reply was complete)?: ){_TO_END}"
    ),
    re.compile(rf"(?m)( sent what is no JSON: ){_TO_END}"),
)
"""Lines that `debug.log_transcripts` makes, and those that quote a responder."""

_LOGIN = r"(?<![\w-])(?:-[A-Za-z]*[uU]|--(?:proxy-)?user)(?:[\\\"',= \t]+|(?<=[uU]))"

_LOOKS_SECRET = (
    re.compile(r"(?i)(authorization[\"']?\s*[=:]\s*[\"']?)[^\"'\n]{4,}"),
    re.compile(
        r"(?i)((?:api[-_]?key|token|password|passwd|secret|[?&]key)[\"']?\s*[=:]\s*[\"']?)"
        r"[^\s\"',&;]{4,}"
    ),
    re.compile(
        r"(?i)(--?[a-z-]*(?:key|token|password|secret)[\"']?[ ,]+[\"']?)[^\s\"',-][^\s\"',]{3,}"
    ),
    # USER:PASSWORD of curl and its like; in quotes the password may have spaces.
    re.compile(rf"({_LOGIN}(?<=[\"'])[^\s\"':\\]+:)(?:\\[^\"']|[^\"'\\\n])+"),
    re.compile(rf"({_LOGIN}[^\s\"':\\]+:)(?:\\[^\s\"']|[^\s\"'\\])+"),
)
"""Settings and arguments by whose names a secret stands that was never read as one."""


def without_secrets(text: str) -> str:
    """`text` without keys, passwords of addresses, and what people said."""
    # What is known first: a guess that masks a part of it would hide it from that.
    text = mask(text)
    for hidden in (*_SAID, *_LOOKS_SECRET):
        text = hidden.sub(r"\1***", text)
    return str(without_password(text))


def responder_lines_in(log: str) -> int:
    """How many lines of a responder's standard error `without_secrets` masks in `log`."""
    return sum(len(lines.findall(log)) for lines in _RESPONDER_LINES)


def know_secrets(config: Config, unit: str) -> None:
    """Read all that is secret, for `mask` to know it: ours, and what `unit` gives its service.

    Waits for systemd, at most 9 s.
    """
    from slng_edge.service.mqtt_address import broker_password

    of_unit = _environment_of(unit)
    for name, value in of_unit.items():
        if _SECRET_NAME.search(name):
            register_secret(value)
        with contextlib.suppress(ValueError):
            register_secret(urlsplit(value).password or "")
    for environ in (os.environ, of_unit):
        with contextlib.suppress(SlngEdgeError):
            find_api_key(config.gateway, environ)
        with contextlib.suppress(SlngEdgeError):
            broker_password(environ)
    for file in _secret_files(config, unit):
        _know_content(file)


def _environment_of(unit: str) -> Mapping[str, str]:
    from slng_edge.diagnostics.environment_files import environment_files, read_environment_files
    from slng_edge.diagnostics.running_service import unit_properties
    from slng_edge.diagnostics.service_unit import environment_in_unit

    environment = environment_in_unit(unit_properties(unit, "Environment"))
    for file in environment_files(unit):
        # Each by itself: one that is missing says nothing of the others.
        with contextlib.suppress(SlngEdgeError):
            environment |= read_environment_files([file])
    return environment


def _secret_files(config: Config, unit: str) -> Iterator[Path]:
    from slng_edge.diagnostics.unit_credentials import credential_files

    for file in (
        config.gateway.api_key_file,
        config.gateway.provider_key_file,
        config.responder.api_key_file,
        config.status_page.token_file,
        *credential_files(unit).values(),
    ):
        if file:
            yield Path(os.path.expanduser(file))
    # Also where systemd does not answer, or the configuration is broken and names nothing.
    with contextlib.suppress(OSError):
        for path in SETTINGS_FOLDER.iterdir():
            if _SECRET_NAME.search(path.name):
                yield path


def _know_content(file: Path) -> None:
    """Register what stands in `file`, whoever else may read it; a service would refuse that."""
    with contextlib.suppress(OSError):
        # Non-blocking: opening a named pipe would wait for its writer.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                text = opened.read(SECRET_FILE_LIMIT_BYTES).decode("utf-8", "replace")
                register_secret(text.strip())
