"""What is said of mutants that no test kills fits the code, and what is made of verdicts."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    """A part of scripts/mutate."""
    spec = spec_from_file_location(name, ROOT / "scripts" / "mutation" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


explanations = load("explanations")
mutant_report = load("mutant_report")
ENTRIES = explanations.read_explanations(Path(__file__).parent / "equivalent.txt")

ENTRY = """\
# A comment.

a/b.py Class.method
- if wait_s <= 0.0:
+ if wait_s < 0.0:
-     return one
+     return two
No time is
no time.
"""


def lines_of(file: str, function: str) -> list[str]:
    """The lines of a function, without indentation; none where there is no such function."""
    source = (ROOT / file).read_text(encoding="utf-8")
    body: list[ast.stmt] = ast.parse(source).body
    *owners, name = function.split(".")
    for owner in owners:
        body = [
            each
            for found in body
            if isinstance(found, ast.ClassDef) and found.name == owner
            for each in found.body
        ]
    for found in body:
        if isinstance(found, ast.FunctionDef) and found.name == name:
            return [
                line.strip() for line in source.splitlines()[found.lineno - 1 : found.end_lineno]
            ]
    return []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.function}, {entry.line}")
def test_what_is_explained_is_in_the_code(entry: explanations.Explanation) -> None:
    """Each line that an entry changes stands in its function."""
    assert set(entry.removed) <= set(lines_of(entry.file, entry.function))


def test_no_change_is_explained_twice() -> None:
    """The second explanation would hide that the first is out of date."""
    changes = [entry.change for entry in ENTRIES]
    assert [change for change in changes if changes.count(change) > 1] == []


def test_an_entry_may_hold_several_changes(tmp_path: Path) -> None:
    """With the same reason; each has its own lines."""
    path = tmp_path / "equivalent.txt"
    path.write_text(ENTRY, encoding="utf-8")
    first, second = explanations.read_explanations(path)
    assert first.change == (
        "a/b.py",
        "Class.method",
        ("if wait_s <= 0.0:",),
        ("if wait_s < 0.0:",),
    )
    assert (second.removed, second.added) == (("return one",), ("return two",))
    assert first.reason == second.reason == "No time is no time."
    assert first.line == 3


@pytest.mark.parametrize(
    "entry",
    ["a/b.py\n- x\n+ y\nWhy.", "a/b.py f\n- x\n+ y", "a/b.py f\nWhy."],
    ids=["no function", "no reason", "no change"],
)
def test_an_entry_that_lacks_something_is_refused(entry: str, tmp_path: Path) -> None:
    """The line where it begins is told."""
    path = tmp_path / "equivalent.txt"
    path.write_text(f"# Of nothing.\n\n{entry}\n", encoding="utf-8")
    with pytest.raises(explanations.WrongExplanation, match=r"equivalent\.txt, line 3"):
        explanations.read_explanations(path)


@dataclass
class Mutant:
    """A change, as far as it is judged."""

    key: str
    file: str = "a/b.py"
    function: str = "f"
    removed: tuple[str, ...] = ("return 1",)
    added: tuple[str, ...] = ("return 2",)


def explanation(added: str, file: str = "a/b.py") -> explanations.Explanation:
    """Of a mutant of `f`."""
    return explanations.Explanation(file, "f", ("return 1",), (added,), "Why.", 7)


def test_what_is_explained_counts_apart() -> None:
    """It is no survivor, and not in the score."""
    mutants = [Mutant("1"), Mutant("2", added=("return 3",))]
    verdicts = {"1": "survived", "2": "killed"}
    judged = mutant_report.judge(mutants, verdicts, [explanation("return 2")])
    assert judged.holds
    told = mutant_report.table(judged, survivors=True).splitlines()
    assert told[1].split() == ["a/b.py", "2", "1", "0", "1", "0", "0", "100.0", "%"]
    assert [line.split()[0] for line in told] == ["module", "a/b.py", "a/", "all"]


@pytest.mark.parametrize("verdict", ["survived", "no test"])
def test_what_survives_is_shown_and_does_not_hold(verdict: str) -> None:
    """A function that no test runs is no better than one whose tests notice nothing."""
    judged = mutant_report.judge([Mutant("1")], {"1": verdict}, [])
    assert not judged.holds
    told = mutant_report.table(judged, survivors=True)
    assert "0.0 %" in told
    assert told.endswith("- return 1\n+ return 2")


@pytest.mark.parametrize("verdict", ["killed", "timeout"])
def test_an_explanation_of_what_was_killed_does_not_hold(verdict: str) -> None:
    """Nor one of a change that is made no more."""
    stale = [explanation("return 2"), explanation("return 9")]
    judged = mutant_report.judge([Mutant("1")], {"1": verdict}, stale)
    assert not judged.holds
    assert "equivalent.txt, line 7: fits no survivor" in mutant_report.table(
        judged, survivors=False
    )
    assert judged.stale == stale


def test_explanations_of_modules_that_were_left_out_are_left_alone() -> None:
    """Where some modules alone are mutated."""
    other = explanation("return 2", file="a/c.py")
    assert mutant_report.judge([Mutant("1")], {"1": "killed"}, [other]).holds
