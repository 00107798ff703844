"""`scripts/audit`: what the tools say is judged, and what they do not say is not taken for good."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "audit"
PINS = ("numpy==2.4.6", "numpy==2.5.5", "soxr==1.1.0")
CONSTRAINTS = """\
# Every library
numpy==2.4.6 ; python_version == "3.11" \\
    --hash=sha256:00
numpy==2.5.5 ; python_version == "3.13" \\
    --hash=sha256:01
soxr==1.1.0 \\
    --hash=sha256:02
"""


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    """The script as a module."""
    loader = SourceFileLoader("audit_script", str(SCRIPT))
    spec = spec_from_loader("audit_script", loader)
    assert spec is not None
    module = module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def finding(test_id: str, file: str) -> dict[str, Any]:
    """As bandit says it."""
    said = {"issue_severity": "HIGH", "issue_text": "it is bad", "line_number": 7}
    return {"test_id": test_id, "filename": file, **said}


def code(*more: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What bandit says of a product that needs every exception, and `more`."""
    excepted = [
        finding(test_id, file.replace("*", "slng_edge/x.py") if file == "*" else file)
        for test_id, file in AUDIT_EXCEPTED
    ]
    return {"errors": [], "results": [*excepted, *more], "metrics": METRICS, **changes}


METRICS = {"_totals": {"loc": 36000}}
AUDIT_EXCEPTED: list[tuple[str, str]] = []


def libraries(*pins: str, vulns: tuple[str, ...] = (), skipped: bool = False) -> dict[str, Any]:
    """What pip-audit says of `pins`."""
    known = [{"id": each, "fix_versions": ["9.9"]} for each in vulns]
    named = [dict(zip(("name", "version"), pin.split("=="), strict=True)) for pin in pins]
    if skipped:
        return {"dependencies": [{"name": n["name"], "skip_reason": "not on PyPI"} for n in named]}
    return {"dependencies": [{**each, "vulns": known} for each in named]}


def run(
    audit: ModuleType, folder: Path, bandit: Any, pip_audit: Any, *more: str
) -> tuple[int, str]:
    """The script with tools that print what is given; (exit status of a tool, what it prints)."""
    (folder / "bin").mkdir(parents=True)
    for name, (status, printed) in {"bandit": bandit, "pip-audit": pip_audit}.items():
        text = printed if isinstance(printed, str) else json.dumps(printed)
        (folder / "said").mkdir(exist_ok=True)
        (folder / "said" / name).write_text(text)
        tool = folder / "bin" / name
        tool.write_text(f"#!/bin/sh\ncat {folder}/said/{name}\nexit {status}\n")
        tool.chmod(0o755)
    (folder / "constraints.txt").write_text(CONSTRAINTS)
    arguments = ["--tools", folder, "--constraints", folder / "constraints.txt", *more]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        status: int = audit.main()
    return status, printed.getvalue()


@pytest.fixture(autouse=True)
def exceptions(audit: ModuleType) -> None:
    AUDIT_EXCEPTED[:] = list(audit.EXCEPTED)


@pytest.mark.parametrize(
    ("bandit", "pip_audit", "status", "words"),
    [
        ("good", (0, libraries(*PINS)), 0, "3 versions, 0 known vulnerabilities"),
        ("bad", (0, libraries(*PINS)), 1, "slng_edge/new.py:7: B602 (high): it is bad"),
        ("stale", (0, libraries(*PINS)), 1, "nothing needs the exception"),
        ("unread", (0, libraries(*PINS)), 3, "code: COULD NOT ASK"),
        ((2, "usage"), (0, libraries(*PINS)), 3, "bandit ended with 2: usage"),
        ("good", (1, libraries(*PINS, vulns=("CVE-1",))), 1, "soxr 1.1.0: CVE-1, mended in 9.9"),
        ("good", (0, libraries(*PINS, skipped=True)), 3, "nothing of 2 of 2 versions"),
        ("good", (0, libraries(*PINS[:2])), 3, "nothing of 1 of 2 versions"),
        ("good", (1, libraries(PINS[2], vulns=("CVE-1",))), 1, "COULD NOT ASK of all"),
        ("good", (1, "Max retries exceeded"), 3, "pip-audit printed no JSON"),
        ("good", (3, "Max retries exceeded"), 3, "pip-audit ended with 3: Max retries exceeded"),
        ("bad", (3, "Max retries exceeded"), 1, "libraries: COULD NOT ASK, nothing is known"),
    ],
)
def test_what_the_tools_say_is_judged(
    audit: ModuleType, tmp_path: Path, bandit: Any, pip_audit: Any, status: int, words: str
) -> None:
    """Silence of the service is a status of its own, and a finding wins over it."""
    said = {
        "good": (0, code()),
        "bad": (1, code(finding("B602", "slng_edge/new.py"))),
        "stale": (1, code(results=[])),
        "unread": (0, code(errors=[{"filename": "a"}])),
    }
    tool = said[bandit] if isinstance(bandit, str) else bandit
    ended, printed = run(audit, tmp_path / "tools", tool, pip_audit)
    assert (ended, words in printed) == (status, True), printed
    if "libraries: COULD NOT ASK" in printed:
        assert "0 known" not in printed


def test_every_python_s_versions_are_asked_for(audit: ModuleType) -> None:
    """One list for each, as they exclude each other."""
    assert audit.pinned(CONSTRAINTS) == [[PINS[0], PINS[2]], [PINS[1], PINS[2]]]
    assert audit.pinned("soxr==1.1.0 \\\n    --hash=sha256:02\n") == [["soxr==1.1.0"]]
    assert audit.pinned("# nothing\n") == []


def test_constraints_that_are_not_there_are_no_good_news(tmp_path: Path, audit: ModuleType) -> None:
    """They are written by another script."""
    ended, printed = run(
        audit, tmp_path / "tools", (0, code()), (0, {}), "--constraints", str(tmp_path / "none")
    )
    assert (ended, "scripts/pin writes it" in printed) == (3, True)


def test_it_says_how_it_is_used() -> None:
    """With an example, and what each exit status means."""
    done = subprocess.run(
        [SCRIPT, "--help"], capture_output=True, text=True, check=True, timeout=20
    )
    assert "example:\n    scripts/audit" in done.stdout
    assert "3 the tools or the vulnerability" in done.stdout


def test_every_exception_says_why(audit: ModuleType) -> None:
    """In words, for a file that is there."""
    root = SCRIPT.parent.parent
    for (_, file), reason in audit.EXCEPTED.items():
        assert len(reason.split()) >= 4
        assert file == "*" or list(root.glob(file)), file
