"""What a unit's EnvironmentFile= puts into the service's environment."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from slng_edge.diagnostics.unit_credentials import service_property
from slng_edge.errors import SlngEdgeError

_ASSIGNMENT = re.compile(
    r"""
    ^[ \t]*([^\s\#;][^=\n]*)=              # a name, or what is none
    ((?:[ \t]*(?:'[^']*(?:'|\Z)             # quoted parts, each over several lines if need be
             |"(?:\\.|[^"\\])*(?:"|\\?\Z)))*)
    [ \t]*((?:\\(?:.|\Z)|[^\\\n])*?)        # and what follows them: quotes in it are characters
    [ \t]*$
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_QUOTED = re.compile(r"""'([^']*)'?|"((?:\\.|[^"\\])*)\\?"?""", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class EnvironmentFile(NamedTuple):
    """A path, or a pattern for several; where it is optional, nothing need be there."""

    path: str
    optional: bool


def environment_files(unit: str) -> list[EnvironmentFile]:
    """Those of `unit` in their order; empty where there are none, or no systemd. At most 3 s."""
    return [
        EnvironmentFile(str(path), bool(optional))
        for path, optional in service_property(unit, "EnvironmentFiles")
    ]


def read_environment_files(files: Iterable[EnvironmentFile]) -> Mapping[str, str]:
    """The variables in `files`; of one that is set twice the later value.

    Raises:
        SlngEdgeError: one that is not optional is missing or cannot be read, or is no text:
            the service does not start either.
    """
    environment: dict[str, str] = {}
    for file in files:
        found = sorted(glob.glob(file.path))
        for path in found or [file.path]:
            try:
                environment |= environment_in(Path(path).read_bytes().decode())
            except OSError as error:
                if not file.optional:
                    raise SlngEdgeError(_unreadable(path, error.strerror or str(error))) from error
            except UnicodeDecodeError as error:
                # What is in it may be a password: no byte of it is told.
                raise SlngEdgeError(_unreadable(path, "it is not UTF-8 text")) from error
    return environment


def environment_in(text: str) -> dict[str, str]:
    r"""The variables that `text` sets, read as systemd reads it (systemd.exec(5)).

    A line is NAME=VALUE, empty, or a comment behind "#" or ";". A backslash at the end of a line
    joins it with the next, before any other character it stands for that one. In '…' everything
    is as it stands; in "…" a backslash means something before " \ $ ` and a line's end only.
    Nothing is put in for $NAME. What is no name ("export A") is passed over.

    A comment that ends with a backslash is one line, as from systemd 254; 252 takes the next
    line for a part of it.
    """
    found = {}
    for name, quoted, plain in _ASSIGNMENT.findall(re.sub(r"\r\n?", "\n", text)):
        if _VARIABLE.fullmatch(name.rstrip()):
            found[name.rstrip()] = _unquoted(quoted) + re.sub(
                r"\\(.?)", lambda escape: escape[1].strip("\n"), plain, flags=re.DOTALL
            )
    return found


def _unquoted(text: str) -> str:
    parts = []
    for part in _QUOTED.finditer(text):
        if part[1] is not None:
            parts.append(part[1])
        else:
            parts.append(re.sub(r'\\(["\\$`\n])', lambda escape: escape[1].strip("\n"), part[2]))
    return "".join(parts)


def _unreadable(path: str, why: str) -> str:
    return (
        f"cannot read {path}: {why}; the unit's EnvironmentFile= names it, and the service does "
        "not start without it: write it, or put a - before its name"
    )
