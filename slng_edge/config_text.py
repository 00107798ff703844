"""Configuration as TOML text: the effective values with their origins, and a file to start from."""

from __future__ import annotations

import datetime
import json
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from slng_edge.config import Config, each_value

WIDTH = 100
COMMENT_COLUMN = 34

_STARTER_HEAD = """\
# Configuration of slng-edge. Every key is here with its built-in value; keep what you change.
# Searched: --config, $SLNG_EDGE_CONFIG, ~/.config/slng-edge/config.toml,
# /etc/slng-edge/config.toml. $SLNG_EDGE_SECTION__KEY and -s section.key=value win over a file.
"""


def toml_value(value: Any) -> str:
    """`value` as TOML on one line.

    Raises:
        TypeError: `value` is of no type that TOML has.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON escapes what a basic string must escape in TOML, save DEL and surrogates.
        text = json.dumps(value, ensure_ascii=False)
        return re.sub("[\x7f-\x9f\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_toml_key(key)} = {toml_value(value[key])}" for key in value)
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    raise TypeError(f"TOML has no {type(value).__name__}")


def without_password(value: Any) -> Any:
    """`value`, with the password and the query's values of an address in it masked."""
    if isinstance(value, list | tuple):
        return type(value)(map(without_password, value))
    if not isinstance(value, str):
        return value
    masked = re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", value)
    address, mark, query = masked.partition("?")
    if not (mark and "://" in address):
        return masked
    return f"{address}?" + re.sub(r"=[^&\s]+", "=***", query)


def effective_text(config: Config, origins: Mapping[str, str]) -> str:
    """Every value with where it came from, as TOML that loads again; passwords are masked."""
    return _written(
        config, lambda section, key: origins.get(f"{section}.{key}", "built-in"), masked=True
    )


def starter_text() -> str:
    """The file that `config init` writes: all keys, their built-in values and comments."""
    config = Config()
    about = {
        f"{section.name}.{key.name}": str(key.metadata["about"])
        for section in fields(config)
        for key in fields(getattr(config, section.name))
    }
    written = _written(config, lambda section, key: about[f"{section}.{key}"], masked=False)
    return f"{_STARTER_HEAD}\n{written}"


def _written(config: Config, comment: Callable[[str, str], str], *, masked: bool) -> str:
    lines: list[str] = []
    current = ""
    for section, key, value in each_value(config):
        if section != current:
            lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
            current = section
        shown = toml_value(without_password(value) if masked else value)
        lines += _commented(f"{key} = {shown}", comment(section, key))
    return "\n".join(lines) + "\n"


def _commented(line: str, comment: str) -> list[str]:
    if not comment:
        return [line]
    column = max(COMMENT_COLUMN, len(line) + 1)
    width = max(WIDTH - column - len("# "), WIDTH // 4)
    # TOML refuses control characters in a comment, and a path may hold some.
    comment = re.sub("[\x00-\x1f\x7f]", "?", comment)
    parts = textwrap.wrap(comment, width, break_long_words=False, break_on_hyphens=False)
    first = f"{line:<{column}}# {parts[0]}"
    return [first, *(" " * column + f"# {part}" for part in parts[1:])]


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)
