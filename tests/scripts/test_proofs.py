"""The proofs under real systemd can fail: what they negate, and what they pipe, is looked at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PROOFS = ("test-install", "test-systemd", "test-remote", "test-deb", "test-ansible", "box")
# `set -e` does not end a shell for a command with a ! before it. Behind `if`, && and the like,
# before || and as the last command it says something all the same; those that are last are in LAST.
NEGATED = re.compile(r"(?:^|[;{(]|\$\(|['\"])\s*! (?!-)(?P<command>[^;|&\n]*)(?!.*\|\|)", re.M)
LAST = {
    "test-ansible": {"ls -d /var/tmp/slng-edge* 2>/dev/null'", "grep -rFl '$each' /tmp"},
}
LOST = re.compile(
    r"^\s*(?:scripts/wheelhouse|scripts/deb|pip|mmdebstrap)\b[^|\n]*(?<!\|)\|(?!\|)", re.M
)


def negated(script: str) -> list[str]:
    """Commands of a script that are negated where nothing looks at it."""
    found = [each["command"] for each in NEGATED.finditer((SCRIPTS / script).read_text())]
    last = LAST.get(script, set())
    return [each for each in found if not any(each.startswith(known) for known in last)]


@pytest.mark.parametrize("script", PROOFS)
def test_no_check_negates_a_command_that_nothing_looks_at(script: str) -> None:
    """`! command` in the middle of a list is passed over; `not` and `fails` are not."""
    assert negated(script) == []


def test_such_a_command_would_be_found() -> None:
    """At the start of a line, behind a semicolon, and at the start of a quoted text."""
    text = "! get a.deb\nfirst; ! getent passwd; last\ncheck 'x' '! systemctl stop y; z'\n"
    assert [each["command"].strip() for each in NEGATED.finditer(text)] == [
        "get a.deb",
        "getent passwd",
        "systemctl stop y",
    ]
    fine = "if ! a; then b; fi\na && ! b\n! a || b\n[ ! -e c ]\nuntil ! d; do e; done\n"
    assert NEGATED.findall(fine) == []


@pytest.mark.parametrize("script", PROOFS)
def test_what_makes_wheels_or_a_root_is_in_no_pipe(script: str) -> None:
    """Its failure would be lost, and the wheels of before would be proven."""
    assert LOST.findall((SCRIPTS / script).read_text()) == []
