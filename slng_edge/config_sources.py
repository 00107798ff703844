"""Where configuration values come from: one file, the environment, the command line.

Whatever comes in is brought to one shape, `Given`, and not judged here.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slng_edge.errors import ConfigError

SYSTEM_FILE = Path("/etc/slng-edge/config.toml")
VARIABLE_PREFIX = "SLNG_EDGE_"
FILE_VARIABLE = "SLNG_EDGE_CONFIG"


@dataclass(frozen=True)
class Given:
    """One value from outside.

    Attributes:
        path: Section and key; more parts inside of an options table, or one part where
            something stands outside of every section.
        value: What was given: a TOML value, or text that `read_text` still has to read.
        origin: "file PATH", "environment NAME" or "-s".
        as_text: Whether `value` is such text; it is None where there was no "=".
    """

    path: tuple[str, ...]
    value: Any
    origin: str
    as_text: bool

    @property
    def name(self) -> str:
        """The path as it is written: "section.key"."""
        return ".".join(self.path)


def search_path(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that are looked for where none is named, in order."""
    home = environ.get("HOME")
    personal = (Path(home, ".config", "slng-edge", "config.toml"),) if home else ()
    return (*personal, SYSTEM_FILE)


def file_to_read(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file that is named or, where none is, found; None where there is none."""
    if path is not None:
        return Path(os.path.expanduser(path))
    if environ.get(FILE_VARIABLE):
        return Path(os.path.expanduser(environ[FILE_VARIABLE]))
    # os.path.exists is False where a directory may not be entered: a service that was
    # given another user's HOME has no file there.
    return next((file for file in search_path(environ) if os.path.exists(file)), None)


def from_file(file: Path) -> Iterator[Given]:
    """What stands in `file`, in its order.

    Raises:
        ConfigError: The file is missing, may not be read, or is not TOML in UTF-8.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}, line {line}: this is not UTF-8 text") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the configuration file {file}: {reason}") from error
    try:
        tables = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{file}: nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError, and int() of thousands of digits
        raise ConfigError(f"{file}: {_syntax_problem(str(error), text)}") from error
    for section, table in tables.items():
        if isinstance(table, dict):
            for key, value in table.items():
                yield Given((section, key), value, f"file {file}", as_text=False)
        else:
            yield Given((section,), table, f"file {file}", as_text=False)


def _syntax_problem(message: str, text: str) -> str:
    """The parser's words with the line in front; the line itself may hold a key, so not that."""
    message = message.replace(
        "(at end of document)", f"(at line {len(text.splitlines()) or 1}, the end)"
    )
    found = re.search(r" \(at line (\d+)(?:, (column \d+|the end))?\)$", message)
    if found is None:
        return f"not TOML: {message}"
    return f"line {found[1]}, {found[2]}: not TOML: {message[: found.start()]}"


def from_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    """What `SLNG_EDGE_SECTION__KEY` variables say, in the order of their names."""
    for name in sorted(environ):
        # Hooks are run with SLNG_EDGE_STATE and the like, which are no settings.
        if name.startswith(VARIABLE_PREFIX) and "__" in name:
            path = tuple(name.removeprefix(VARIABLE_PREFIX).lower().split("__"))
            yield Given(path, environ[name], f"environment {name}", as_text=True)


def from_overrides(overrides: Sequence[str]) -> Iterator[Given]:
    """What `-s section.key=value` says, in the order of the command line."""
    for override in overrides:
        name, equals, text = override.partition("=")
        value = text if equals else None
        yield Given(tuple(name.strip().split(".")), value, "-s", as_text=True)


def read_text(text: str, *, as_string: bool) -> Any:
    """`text` read as TOML, and as a string where it is not or where a string is wanted."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = parsed.get("value")
    # A line break in the text could begin another key.
    if len(parsed) != 1 or (as_string and not isinstance(value, str)):
        return text
    return value
