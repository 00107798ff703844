"""What a check has found: how bad it is, and what to do."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import asdict, dataclass


class Verdict(enum.StrEnum):
    """How bad it is: FAIL keeps the voice loop from working, WARN may do so later or at times."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        name: What was looked at: "clock".
        verdict: How bad it is.
        what: What was seen; more lines where there is more than one problem. Never a key.
        what_to_do: The next step; a hint where all is well, and empty where there is none.
    """

    name: str
    verdict: Verdict
    what: str
    what_to_do: str = ""

    def as_json(self) -> dict[str, str]:
        """As an object for `--json`."""
        return asdict(self)


def ok(name: str, what: str, hint: str = "") -> Finding:
    """All is well."""
    return Finding(name, Verdict.OK, what, hint)


def warn(name: str, what: str, what_to_do: str) -> Finding:
    """It works, but not always or not for ever."""
    return Finding(name, Verdict.WARN, what, what_to_do)


def fail(name: str, what: str, what_to_do: str) -> Finding:
    """It does not work."""
    return Finding(name, Verdict.FAIL, what, what_to_do)


def worst(findings: Iterable[Finding]) -> Verdict:
    """The worst verdict; OK where there is nothing."""
    severity = list(Verdict)
    return max((finding.verdict for finding in findings), key=severity.index, default=Verdict.OK)
