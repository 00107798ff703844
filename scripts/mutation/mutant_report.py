"""What is made of the verdicts: a table, and what survived."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from explanations import Explanation

COLUMNS = ("mutants", "killed", "timeout", "explained", "no test", "survived", "score")


class Changed(Protocol):
    """A mutant, as far as it is judged."""

    key: str
    file: str
    function: str
    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass
class Judged:
    """What came of it.

    Attributes:
        verdicts: Each mutant with what became of it.
        stale: Explanations of these modules that fit no survivor.
    """

    verdicts: list[tuple[Changed, str]]
    stale: list[Explanation] = field(default_factory=list)

    @property
    def survivors(self) -> list[tuple[Changed, str]]:
        """Those which nobody has explained, and those which no test runs."""
        return [each for each in self.verdicts if each[1] in ("survived", "no test")]

    @property
    def holds(self) -> bool:
        """Whether nothing survived that is not explained."""
        return not self.survivors and not self.stale


def judge(
    mutants: list[Changed], verdicts: dict[str, str], explanations: list[Explanation]
) -> Judged:
    """Count the explained apart, and find the explanations that explain nothing."""
    by_change = {each.change: each for each in explanations}
    fitting = set()
    judged: list[tuple[Changed, str]] = []
    for mutant in mutants:
        verdict = verdicts[mutant.key]
        change = (mutant.file, mutant.function, mutant.removed, mutant.added)
        if verdict == "survived" and change in by_change:
            fitting.add(change)
            verdict = "explained"
        judged.append((mutant, verdict))
    files = {mutant.file for mutant in mutants}
    stale = [each for each in explanations if each.file in files and each.change not in fitting]
    return Judged(judged, stale)


def table(judged: Judged, *, survivors: bool) -> str:
    """A row for each module, layer, and all."""
    files: dict[str, Counter[str]] = {}
    for mutant, verdict in judged.verdicts:
        folder = mutant.file.rpartition("/")[0]
        for row in (mutant.file, f"{folder}/", "all"):
            files.setdefault(row, Counter())[verdict] += 1
    width = max(map(len, files))
    lines = [" ".join(["module".ljust(width), *(name.rjust(9) for name in COLUMNS)])]
    for name in sorted(
        files, key=lambda row: (row == "all", row.rpartition("/")[0], row[-1] == "/", row)
    ):
        lines.append(" ".join([name.ljust(width), *_cells(files[name])]))
    if survivors:
        for mutant, verdict in judged.survivors:
            lines += [
                "",
                f"{mutant.file} {mutant.function}" + " (no test)" * (verdict == "no test"),
            ]
            lines += [f"- {line}" for line in mutant.removed]
            lines += [f"+ {line}" for line in mutant.added]
    for each in judged.stale:
        lines += ["", f"equivalent.txt, line {each.line}: fits no survivor; remove or renew it"]
        lines += [f"{each.file} {each.function}"]
        lines += [f"- {line}" for line in each.removed] + [f"+ {line}" for line in each.added]
    return "\n".join(lines)


def write_json(path: Path, judged: Judged) -> None:
    """Every mutant with its verdict."""
    rows = [
        {
            "file": mutant.file,
            "function": mutant.function,
            "removed": mutant.removed,
            "added": mutant.added,
            "verdict": verdict,
        }
        for mutant, verdict in judged.verdicts
    ]
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _cells(counts: Counter[str]) -> list[str]:
    total = counts.total()
    judged = total - counts["explained"]
    found = counts["killed"] + counts["timeout"]
    score = f"{100 * found / judged:.1f} %" if judged else "-"
    cells = [str(total), *(str(counts[name]) for name in COLUMNS[1:-1]), score]
    return [cell.rjust(9) for cell in cells]
