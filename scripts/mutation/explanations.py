"""Mutants that no test can kill, and why: what tests/mutation/equivalent.txt says.

An entry is a file with a function, the changed lines as `--survivors` shows them, and a reason:

    slng_edge/protocol/token_bucket.py TokenBucket.take
    - if wait_s <= 0.0:
    + if wait_s < 0.0:
    To wait for no time is the same as not to wait.

Several changes with the same reason stand in one entry, each its `-` lines before its `+` lines.
Line numbers do not count, nor does indentation. Lines that begin with `#` are comments.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class WrongExplanation(Exception):
    """The file cannot be read; says where."""


@dataclass(frozen=True)
class Explanation:
    """One change that changes nothing.

    Attributes:
        file: The module, relative to the tree.
        function: `function` or `Class.method`.
        removed: Lines that are changed.
        added: What they are changed to.
        reason: Why no test can tell.
        line: Of the entry, in equivalent.txt.
    """

    file: str
    function: str
    removed: tuple[str, ...]
    added: tuple[str, ...]
    reason: str
    line: int

    @property
    def change(self) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
        """What a mutant must be to be this one."""
        return self.file, self.function, self.removed, self.added


def read_explanations(path: Path) -> list[Explanation]:
    """Raises WrongExplanation: an entry lacks its function, its change or its reason."""
    found: list[Explanation] = []
    entry: list[str] = []
    begins = 1
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate([*lines, ""], 1):
        if line.startswith("#"):
            continue
        if line.strip():
            if not entry:
                begins = number
            entry.append(line.strip())
        elif entry:
            found += _read_entry(entry, begins, path.name)
            entry = []
    return found


def _read_entry(entry: list[str], begins: int, name: str) -> list[Explanation]:
    where = entry[0].split()
    changes: list[tuple[list[str], list[str]]] = []
    reason = []
    for line in entry[1:]:
        if line.startswith("- "):
            if not changes or changes[-1][1]:
                changes.append(([], []))
            changes[-1][0].append(line[2:].strip())
        elif line.startswith("+ "):
            if not changes:
                changes.append(([], []))
            changes[-1][1].append(line[2:].strip())
        else:
            reason.append(line)
    if len(where) != 2 or not changes or not reason:
        raise WrongExplanation(
            f"{name}, line {begins}: an entry is `FILE FUNCTION`, `- ` and `+ ` lines, a reason"
        )
    return [
        Explanation(where[0], where[1], tuple(old), tuple(new), " ".join(reason), begins)
        for old, new in changes
    ]
