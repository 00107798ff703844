"""The figures as a table and as JSON, with what is needed to measure them again."""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slng_edge import __version__
from slng_edge.benchmarks.emulation import emulating_host
from slng_edge.benchmarks.figures import UNMEASURED, Figure

HEADINGS = ("figure", "value", "median", "from … to", "n", "goal", "")
NOT_ASKED = (
    "need a sound server or sound cards (--device); scripts/bench, in a checkout, starts a server "
    "with virtual devices"
)


def conditions(argv: Sequence[str]) -> dict[str, Any]:
    """The machine and its load, the commit, Python and the command line."""
    host = emulating_host()
    emulated = {"emulated": f"on {host}: counts hold, times do not"} if host else {}
    return {
        "machine": f"{_processor()}, {os.cpu_count()} CPUs, {platform.machine()}",
        **emulated,
        "system": f"{platform.system()} {platform.release()}",
        "load": load_now(),
        "python": platform.python_version(),
        "version": __version__,
        "commit": _commit(),
        "command": shlex.join(argv),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def load_now() -> float:
    """The machine's load, averaged over a minute."""
    return round(os.getloadavg()[0], 2)


def as_json(
    figures: Sequence[Figure], measured: dict[str, Any], not_asked: Sequence[str] = ()
) -> str:
    """One JSON object: what `conditions` gave, `figures`, and rows that were not asked for."""
    rows = [
        {
            "name": row.name,
            "how": row.how,
            "unit": row.unit,
            "statistic": row.statistic,
            "value": None if math.isnan(row.value) else _rounded(row.value),
            "median": _rounded(row.median) if row.samples else None,
            "spread": [_rounded(each) for each in row.spread] if row.samples else None,
            "samples": len(row.samples),
            "goal": row.goal,
            "verdict": row.verdict,
            "load": round(row.load, 2),
            "loaded": is_loaded(row),
            "note": row.note,
        }
        for row in figures
    ]
    answer = {**measured, "figures": rows, "not_asked": list(not_asked)}
    return json.dumps(answer, ensure_ascii=False, indent=2)


def as_table(
    figures: Sequence[Figure], measured: dict[str, Any], not_asked: Sequence[str] = ()
) -> str:
    """The same for people."""
    lines = [_cells(row) for row in figures]
    widths = [max(map(len, column)) for column in zip(HEADINGS, *lines, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (HEADINGS, *lines)
    ]
    wide = max(map(len, measured))
    told = [f"{name:<{wide}} {value}" for name, value in measured.items()]
    hows = [f"{row.name}: {'. '.join(filter(None, (row.how, row.note)))}" for row in figures]
    rest = [f"not asked for: {', '.join(not_asked)}, which {NOT_ASKED}"] if not_asked else []
    return "\n".join([*told, "", *table, "", *hows, *rest])


def is_loaded(row: Figure) -> bool:
    """Whether the machine had more to do than it has processors while `row` was measured."""
    return row.load > (os.cpu_count() or 1)


def _cells(row: Figure) -> tuple[str, ...]:
    if row.verdict == UNMEASURED:
        return (row.name, "", "", "", "", "", UNMEASURED)
    low, high = row.spread
    return (
        row.name,
        f"{_rounded(row.value):g} {row.unit}"
        + ("" if row.statistic == "median" else f" ({row.statistic})"),
        f"{_rounded(row.median):g}",
        f"{_rounded(low):g} … {_rounded(high):g}",
        str(len(row.samples)),
        row.goal,
        row.verdict
        + (f", load {row.load:.1f}" if is_loaded(row) else "")
        + (", emulated" if emulating_host() else ""),
    )


def _rounded(value: float) -> float:
    """Three digits that mean something."""
    if not value or not math.isfinite(value):
        return value
    return round(value, max(0, 2 - math.floor(math.log10(abs(value)))))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or "unknown processor"


def _commit() -> str:
    """The commit this file is of, with "+changes" where the tree has some."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+changes"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "not in a repository"
    return done.stdout.strip()


def command_line() -> list[str]:
    """How this process was called."""
    name = Path(sys.argv[0]).name
    return [*(("python", "-m", "slng_edge") if name == "__main__.py" else (name,)), *sys.argv[1:]]
