"""`slng-edge doctor`: looks at everything that a voice loop needs, and says what to do."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from slng_edge.cli.as_service import add_as_service, run_as_service
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.cli.terminal import can_show, columns_of, print_json, takes_colours, wrapped
from slng_edge.errors import ConfigError, ControlError, UsageError

if TYPE_CHECKING:
    from slng_edge.diagnostics.finding import Finding, Verdict
    from slng_edge.diagnostics.inspection import Check
    from slng_edge.diagnostics.running_service import RunningService

STATUS_TIMEOUT_S = 3.0

_COLOURS = {"OK": "32", "WARN": "33", "FAIL": "1;31"}
_NAME_WIDTH = 13
_VERDICT_WIDTH = 7
_NARROW = 60
_MOST_COLUMNS = 110


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_as_service(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was found; FAILED where something keeps the voice loop from working.

    Takes 2 s where all is well, and at most 40.

    Raises:
        SlngEdgeError: as `run_as_service`.
    """
    if args.as_service is not None:
        return run_as_service(args, "doctor", *(["--json"] if args.json else []))
    from slng_edge.diagnostics.finding import Verdict, worst

    report = _Json() if args.json else _Report(sys.stdout)
    began_s = time.monotonic()
    findings = []
    for finding in _findings(args):
        findings.append(finding)
        report.show(finding)
    verdict = worst(findings)
    report.end(findings, verdict, time.monotonic() - began_s)
    return ExitStatus.FAILED if verdict is Verdict.FAIL else ExitStatus.DONE


def _findings(args: argparse.Namespace) -> Iterator[Finding]:
    from slng_edge.cli import loaded_config_of
    from slng_edge.config import Config
    from slng_edge.diagnostics.catalogue import CHECKS
    from slng_edge.diagnostics.config_problems import problems_of
    from slng_edge.diagnostics.configuration import judge_configuration
    from slng_edge.diagnostics.inspection import Subject, inspect

    problems: Sequence[str] = ()
    config, file = Config(), _file_of(args)
    usable = True
    try:
        config = loaded_config_of(args).config
        problems = problems_of(config)
    except ConfigError as error:
        problems, usable = error.problems, False
    yield judge_configuration(problems, file)
    checks = [check for check in CHECKS if usable or not check.of_config]
    yield from inspect(checks, Subject(config, ask_service(config.control.socket)))
    if not usable:
        yield _left_out([check for check in CHECKS if check.of_config])


def _left_out(checks: Sequence[Check]) -> Finding:
    from slng_edge.diagnostics.finding import warn

    names = ", ".join(check.name for check in checks)
    return warn("the rest", f"not looked at: {names}", "correct the configuration first")


def _file_of(args: argparse.Namespace) -> Path | None:
    from slng_edge.config_sources import file_to_read

    return file_to_read(args.config_file, os.environ)


def ask_service(path: str) -> RunningService:
    """What the service at the socket `path` says of itself; waits at most `STATUS_TIMEOUT_S`."""
    from slng_edge.cli.control_connection import ControlConnection, ServiceUnreachable
    from slng_edge.diagnostics.running_service import RunningService

    if not path:
        return RunningService()
    try:
        with ControlConnection(path) as connection:
            return RunningService(connection.ask("status", timeout_s=STATUS_TIMEOUT_S))
    except ServiceUnreachable as error:
        # Nobody is there, or somebody hangs.
        there = "does not answer" in str(error)
        return RunningService(problem=str(error).splitlines()[0], reachable=not there)
    except (ControlError, UsageError) as error:
        return RunningService(problem=str(error).splitlines()[0], reachable=False)


class _Report:
    """A line or more for each finding, as soon as it is there."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out
        self._colours = takes_colours(out)
        self._arrow = "→ " if can_show(out, "→") else "-> "
        columns = min(columns_of(out) or _MOST_COLUMNS, _MOST_COLUMNS)
        # On a narrow terminal the name has a line of its own, and more room below it.
        self._narrow = columns < _NARROW
        self._margin = _VERDICT_WIDTH + (0 if self._narrow else _NAME_WIDTH)
        self._columns = max(30, columns) - self._margin

    def show(self, finding: Finding) -> None:
        """Print it."""
        from slng_edge.cli.logs import printable

        verdict = f"{finding.verdict.value:<{_VERDICT_WIDTH - 2}}"
        if self._colours:
            verdict = f"\x1b[{_COLOURS[finding.verdict.value]}m{verdict}\x1b[0m"
        lines = wrapped(printable(finding.what), self._columns)
        if finding.what_to_do:
            lines += wrapped(
                printable(finding.what_to_do), self._columns, begin=self._arrow, indent="  "
            )
        first = finding.name
        if not self._narrow:
            first = f"{first:<{_NAME_WIDTH}}{lines.pop(0)}"
        print(f"{verdict}  {first}", file=self._out)
        for line in lines:
            print(f"{'':<{self._margin}}{line}", file=self._out)
        if self._out is not None:
            self._out.flush()

    def end(self, findings: Sequence[Finding], verdict: Verdict, took_s: float) -> None:
        """Print the sum of it."""
        counts = [
            f"{sum(finding.verdict.value == name for finding in findings)} {name}"
            for name in _COLOURS
        ]
        print(f"\n{', '.join(counts)} in {took_s:.1f} s", file=self._out)


class _Json:
    """One object at the end."""

    def show(self, finding: Finding) -> None:
        """Wait for the others."""

    def end(self, findings: Sequence[Finding], verdict: Verdict, took_s: float) -> None:
        """Print all of them."""
        from slng_edge.diagnostics.user import user_name

        whole = {
            "verdict": verdict.value,
            "user": user_name(os.geteuid()),
            "seconds": round(took_s, 2),
            "findings": [finding.as_json() for finding in findings],
        }
        print_json(whole, indent=2)
