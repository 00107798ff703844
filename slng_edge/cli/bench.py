"""`slng-edge bench`: latencies and load, measured on this machine."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from slng_edge.cli.exit_status import ExitStatus
from slng_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 8.0
REPEAT = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", default=[], help="measure these figures alone"
    )
    parser.add_argument("--list", action="store_true", help="print the figures' names and end")
    parser.add_argument(
        "--device",
        action="store_true",
        help="measure on the default sound devices, too (scripts/bench provides virtual ones)",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=SECONDS,
        metavar="N",
        help=f"length of a window in which load is measured (default {SECONDS:g})",
    )
    parser.add_argument(
        "--repeat",
        type=_repeat,
        default=REPEAT,
        metavar="N",
        help=f"how often the same is measured (default {REPEAT})",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; a figure short of its goal is no failure, one not measured is."""
    from slng_edge.benchmarks import catalogue, report
    from slng_edge.benchmarks.figures import UNMEASURED

    names = catalogue.row_names()
    if args.list:
        print("\n".join(names))
        return ExitStatus.DONE
    _check_names(args.only, names)
    measured = report.conditions(report.command_line())
    progress = _Progress()
    figures = list(
        catalogue.figures(
            args.only,
            device=args.device,
            seconds=args.seconds,
            repeat=args.repeat,
            progress=progress.show,
        )
    )
    progress.show("")
    print((report.as_json if args.json else report.as_table)(figures, measured))
    missing = any(figure.verdict == UNMEASURED for figure in figures)
    return ExitStatus.FAILED if missing else ExitStatus.DONE


class _Progress:
    """One line on the terminal that says what is being done; nothing elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self._terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _check_names(asked: Sequence[str], names: Sequence[str]) -> None:
    from slng_edge.config_checks import nearest

    for name in asked:
        if name not in names:
            near = nearest(name, list(names))
            hint = f"did you mean {near}?" if near else "--list names them all"
            raise UsageError(f"there is no figure {name!r}; {hint}")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.5 <= value <= 600:
        raise ValueError(text)
    return value


def _repeat(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise ValueError(text)
    return value
