"""What standard output can show: escapes and colours, signs, columns, JSON in any locale."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from typing import Any, TextIO


def takes_escapes(out: TextIO | None) -> bool:
    """Whether `out` is a terminal that understands more than lines."""
    return out is not None and out.isatty() and os.environ.get("TERM") != "dumb"


def takes_colours(out: TextIO | None) -> bool:
    """Whether `out` may be coloured (no-color.org)."""
    return takes_escapes(out) and not os.environ.get("NO_COLOR")


def can_show(out: TextIO | None, signs: str) -> bool:
    """Whether the encoding of `out` has `signs`: that of a locale without UTF-8 has not."""
    try:
        signs.encode(getattr(out, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def columns_of(out: TextIO | None) -> int | None:
    """How wide the terminal `out` is; None for what is none."""
    if out is None or not out.isatty():
        return None
    return shutil.get_terminal_size().columns


def wrapped(text: str, columns: int, *, begin: str = "", indent: str = "") -> list[str]:
    """`text` in lines of at most `columns`, cut between words alone; at least one line.

    Args:
        text: Its own line breaks are kept.
        columns: As many; a longer word stands out.
        begin: Before the first line.
        indent: Before all others.
    """
    lines: list[str] = []
    for line in text.splitlines():
        lines += textwrap.wrap(
            line,
            columns,
            initial_indent=indent if lines else begin,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        ) or [""]
    return lines or [""]


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print `value` at once; what the encoding of standard output lacks, as escapes of JSON."""
    lasting = can_show(sys.stdout, "ä→😀")
    print(json.dumps(value, indent=indent, ensure_ascii=not lasting), flush=True)
