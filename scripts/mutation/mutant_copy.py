"""A copy of the tree in which every function has its mutants beside it, and the run of these."""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mutmut.mutation import mutators
from mutmut.mutation.data import LineSpan
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.utils.format_utils import get_mutant_name, orig_function_and_class_names_from_key

HERE = Path(__file__).resolve().parent
COPIED = ("slng_edge", "tests", "setup.cfg", "pyproject.toml")
SETTINGS = "\n[mutmut]\nsource_paths = slng_edge\n"


class MutantsFailed(Exception):
    """The mutants could not be made or run."""


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        key: What mutmut's trampoline calls it.
        file: The module, relative to the tree.
        function: `function` or `Class.method`.
        removed: Lines of the function that are changed, without their indentation.
        added: What they are changed to.
        digest: Of the function as it is without the change, and of the change.
    """

    key: str
    file: str
    function: str
    removed: tuple[str, ...]
    added: tuple[str, ...]
    digest: str


def make_copy(root: Path, copy: Path, files: list[Path]) -> list[Mutant]:
    """Copy the tree of `root` to `copy` and put the mutants of `files` into it.

    Raises:
        MutantsFailed: mutmut made none.
    """
    ignored = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name, ignore=ignored)
        else:
            shutil.copy2(root / name, copy / name)
    with (copy / "setup.cfg").open("a", encoding="utf-8") as out:
        out.write(SETTINGS)
    os.chdir(copy)  # where mutmut looks for its settings
    _spare_sentences()
    mutants = [mutant for file in files for mutant in _mutate(file)]
    if not mutants:
        raise MutantsFailed("nothing in there can be mutated; name a module with functions")
    return mutants


def run_mutants(
    copy: Path, mutants: list[Mutant], tests: list[str], *, known: Path, again: bool, quick: bool
) -> dict[str, str]:
    """The verdict on each mutant, by its key: killed, timeout, no test or survived.

    Args:
        copy: As `make_copy` left it.
        mutants: What it gave.
        tests: What is given to pytest.
        known: Digests of what was killed before; kept up to date.
        again: Whether these count as killed now.
        quick: Whether tests that take longer than 0.1 s are left out.

    Raises:
        MutantsFailed: The tests fail without any mutant, or could not be run.
    """
    killed = set(json.loads(known.read_text(encoding="utf-8"))) if known.exists() else set()
    verdicts = {each.key: "killed" for each in mutants if again and each.digest in killed}
    left = [each.key for each in mutants if each.key not in verdicts]
    (copy / "mutants.json").write_text(json.dumps(left), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "mutant_runs"]
    # Nobody reads what a failing test would say.
    command += ["--assert=plain", "--tb=native", "--noconftest"]
    command += ["--ignore=tests/listening/test_speech_kept.py", *tests]
    limit = {"SLNG_EDGE_MUTATION_LONGEST_S": "0.1"} if quick else {}
    paths = os.pathsep.join([str(copy), str(HERE)])
    done = subprocess.run(
        command,
        cwd=copy,
        env={
            **os.environ,
            "PYTHONPATH": paths,
            "PYTHONHASHSEED": "0",
            "MUTANT_UNDER_TEST": "",
            **limit,
        },
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MutantsFailed(f"the tests do not pass unchanged:\n{done.stdout[-3000:]}")
    verdicts |= json.loads((copy / "verdicts.json").read_text(encoding="utf-8"))
    killed.update(each.digest for each in mutants if verdicts[each.key] == "killed")
    known.write_text(json.dumps(sorted(killed)), encoding="utf-8")
    return verdicts


def as_json(mutant: Mutant) -> dict[str, object]:
    """What `--json` says of it."""
    return {name: value for name, value in asdict(mutant).items() if name != "digest"}


def _spare_sentences() -> None:
    """Words for people are not mutated: a string with a space in it."""
    plain = mutators.operator_string

    def operator_string(node: object) -> object:
        return () if " " in getattr(node, "value", "") else plain(node)

    operators = mutators.mutation_operators
    operators[:] = [(kind, operator_string if each is plain else each) for kind, each in operators]


def _mutate(file: Path) -> list[Mutant]:
    source = _without_property_decorators(file.read_text(encoding="utf-8"))
    mutated = mutate_file_contents(str(file), source)
    file.write_text(mutated.code, encoding="utf-8")
    lines = mutated.code.splitlines()
    at_import = _only_at_import(source)
    mutants = []
    for name in mutated.mutant_names:
        function, owner = orig_function_and_class_names_from_key(name)
        if not owner and function in at_import:
            continue
        stem = name.rpartition("__mutmut_")[0]
        spans = mutated.line_span_by_function_name
        original = _lines_of(lines, spans, f"{stem}__mutmut_orig", function)
        changed = _lines_of(lines, spans, name, function)
        difference = list(difflib.ndiff(original, changed))
        removed = tuple(line[2:].strip() for line in difference if line.startswith("- "))
        added = tuple(line[2:].strip() for line in difference if line.startswith("+ "))
        digest = hashlib.sha256(repr((str(file), original, changed)).encode()).hexdigest()
        full = f"{owner}.{function}" if owner else function
        key = get_mutant_name(file, name)
        mutants.append(Mutant(key, str(file), full, removed, added, digest))
    return mutants


def _lines_of(
    lines: list[str], spans: Mapping[str, LineSpan], name: str, function: str
) -> list[str]:
    span = spans[name]
    return [line.replace(name, function) for line in lines[span.start - 1 : span.end]]


def _only_at_import(source: str) -> set[str]:
    """Functions that the module calls once, while it is imported: no test can reach a mutant."""
    module = ast.parse(source)
    called = {
        each.func.id: each.func
        for statement in module.body
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
        for each in ast.walk(statement)
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
    }
    named = [each.id for each in ast.walk(module) if isinstance(each, ast.Name)]
    return {name for name in called if name.startswith("_") and named.count(name) == 1}


def _without_property_decorators(source: str) -> str:
    """The same, written `x = property(x)`: mutmut leaves alone what has a decorator."""
    lines = source.splitlines(keepends=True)
    found = [
        each
        for owner in ast.walk(ast.parse(source))
        if isinstance(owner, ast.ClassDef)
        for each in owner.body
        if isinstance(each, ast.FunctionDef)
        and [ast.unparse(decorator) for decorator in each.decorator_list] == ["property"]
    ]
    for each in sorted(found, key=lambda each: -each.lineno):
        assert each.end_lineno is not None
        indent = " " * each.col_offset
        lines.insert(each.end_lineno, f"{indent}{each.name} = property({each.name})\n")
        del lines[each.decorator_list[0].lineno - 1]
    return "".join(lines)
