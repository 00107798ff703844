"""The comparison as a table and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from peer_environments import OURS, ClientKind, Environment
from peer_rows import ROWS, Measured, Row


def as_table(
    kinds: Sequence[ClientKind],
    environments: Mapping[str, Environment],
    measured: Mapping[str, Measured],
    conditions: Mapping[str, Any],
) -> str:
    """Medians, least and greatest, and how many times ours each is."""
    heading = ["", *(kind.name for kind in kinds)]
    lines = [[row.title, *(_cell(row, kind.name, measured) for kind in kinds)] for row in ROWS]
    widths = [max(map(len, column)) for column in zip(heading, *lines, strict=True)]
    ruled = [heading, ["-" * width for width in widths], *lines]
    table = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in ruled
    ]
    about = []
    for kind in kinds:
        environment = environments[kind.name]
        versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
        about.append(f"{kind.name}: {kind.about}; a question ends after {kind.waits_ms} ms")
        about.append(f"    {versions}; {environment.installed_mb:.0f} MB with pip, setuptools")
        about += [f"    {note}" for note in measured[kind.name].notes]
    hows = [f"{row.title}: {row.how}" for row in ROWS]
    told = [f"{name:<10} {value}" for name, value in conditions.items()]
    legend = "median (least … greatest) ×times ours; - where it could not be measured"
    return "\n".join([*told, "", *table, "", legend, "", *about, "", *hows])


def as_json(
    kinds: Sequence[ClientKind],
    environments: Mapping[str, Environment],
    measured: Mapping[str, Measured],
    conditions: Mapping[str, Any],
) -> str:
    """The same with every sample."""
    clients = [
        {
            "name": kind.name,
            "about": kind.about,
            "waits_ms": kind.waits_ms,
            "versions": environments[kind.name].versions,
            "environment_mb": round(environments[kind.name].installed_mb, 1),
            "notes": measured[kind.name].notes,
            "rows": {row.name: _row(row, kind.name, measured) for row in ROWS},
        }
        for kind in kinds
    ]
    rows = [{"name": row.name, "unit": row.unit, "how": row.how} for row in ROWS]
    whole = {**conditions, "rows": rows, "clients": clients}
    return json.dumps(whole, ensure_ascii=False, indent=2)


def _row(row: Row, name: str, measured: Mapping[str, Measured]) -> dict[str, Any]:
    return {
        "value": measured[name].value(row),
        "ratio": _ratio(row, name, measured),
        "samples": [round(value, 4) for value in measured[name].samples.get(row.name, [])],
    }


def _ratio(row: Row, name: str, measured: Mapping[str, Measured]) -> float | None:
    ours, theirs = measured[OURS].value(row), measured[name].value(row)
    if ours is None or theirs is None or ours <= 0:
        return None
    return theirs / ours


def _cell(row: Row, name: str, measured: Mapping[str, Measured]) -> str:
    value = measured[name].value(row)
    if value is None:
        return "-"
    values = measured[name].samples[row.name]
    unit = f" {row.unit}" if row.unit else ""
    spread = f" ({_short(min(values))} … {_short(max(values))})" if len(values) > 1 else ""
    ratio = _ratio(row, name, measured)
    times = "" if name == OURS or ratio is None else f" ×{_short(ratio)}"
    return f"{_short(value)}{unit}{spread}{times}"


def _short(value: float) -> str:
    """Three digits that mean something."""
    if not value:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}" if digits < 3 else f"{value:.3f}"
