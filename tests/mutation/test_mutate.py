"""scripts/mutate on one small module: that it runs, and judges."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACK_OFF = "slng_edge/connecting/back_off.py"


def cache_folder() -> Path:
    """Where the script has mutmut's environment."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("SLNG_EDGE_MUTATION") or base / "slng-edge-mutation")


def mutate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The script, to its end."""
    command = [sys.executable, str(ROOT / "scripts" / "mutate"), *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )


needs_mutmut = pytest.mark.skipif(
    not (cache_folder() / "made-for").exists(),
    reason=f"no {cache_folder() / 'made-for'}: scripts/mutate has not made mutmut's environment",
)


@needs_mutmut
@pytest.mark.parametrize(
    ("tests", "status", "found"),
    [
        ("tests/connecting/test_back_off.py", 0, ["19", "19", "0", "0", "0", "0", "100.0"]),
        ("tests/connecting/test_model_choice.py", 1, ["19", "0", "0", "0", "19", "0", "0.0"]),
    ],
)
def test_each_wrong_line_is_found_or_told(tests: str, status: int, found: list[str]) -> None:
    """The module's own tests notice every change; those of another module run none of it."""
    done = mutate(BACK_OFF, "--tests", tests)
    assert done.returncode == status, done.stdout + done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert rows[BACK_OFF] == [*found, "%"]


@needs_mutmut
def test_tests_that_fail_without_a_mutant_are_told() -> None:
    """They would kill everything."""
    done = mutate(BACK_OFF, "--tests", "tests/mutation/test_of_nobody.py")
    assert done.returncode == 2
    assert "the tests do not pass unchanged" in done.stderr


def test_what_is_no_pure_layer_is_refused() -> None:
    """With the layers that there are."""
    done = mutate("slng_edge/gateway")
    assert done.returncode == 2
    assert "protocol, connecting, listening, dialogue" in done.stderr
