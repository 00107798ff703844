"""`slng-edge bench`: latencies and load, measured on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slng_edge.cli.exit_status import INTERRUPTED, ExitStatus
from slng_edge.cli.numbers import between
from slng_edge.cli.terminal import can_show, columns_of, takes_escapes
from slng_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slng_edge.benchmarks.catalogue import Step

SECONDS = 8.0
REPEAT = 5
BAR_CELLS = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        metavar="NAME",
        default=[],
        help="measure these figures alone",
    )
    parser.add_argument("--list", action="store_true", help="print the figures' names and end")
    parser.add_argument(
        "--device",
        action="store_true",
        help="measure on the default sound devices, too (scripts/bench provides virtual ones)",
    )
    parser.add_argument(
        "--seconds",
        type=between(float, 0.5, 600.0, "a number of seconds"),
        default=SECONDS,
        metavar="N",
        help=f"length of a window in which load is measured (default {SECONDS:g})",
    )
    parser.add_argument(
        "--repeat",
        type=between(int, 1, 100),
        default=REPEAT,
        metavar="N",
        help=f"how often the same is measured (default {REPEAT})",
    )
    parser.add_argument(
        "--turns",
        type=between(int, 240, 100_000),
        metavar="N",
        help="after how many turns growth is looked at (default 400)",
    )
    parser.add_argument(
        "--speech",
        type=Path,
        metavar="DIR",
        help="a folder of WAV recordings for the accuracy of the gate, instead of synthetic "
        "voices; lines of 'time time label' in a .lab file beside one say what is speech",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; a figure short of its goal is no failure, one not measured is.

    Ctrl-C ends the measuring; what has been measured is printed.
    """
    from slng_edge.benchmarks import catalogue, report
    from slng_edge.benchmarks.figures import TURNS, UNMEASURED, Plan

    names = catalogue.row_names()
    if args.list:
        print("\n".join(names))
        return ExitStatus.DONE
    _check_names(args.only, names)
    if args.speech is not None and not args.speech.is_dir():
        raise UsageError(f"--speech: there is no folder {args.speech}")
    measured = report.conditions(report.command_line())
    progress = _Progress()
    plan = Plan(args.seconds, args.repeat, turns=args.turns or TURNS, speech=args.speech)
    figures, interrupted = [], False
    try:
        for figure in catalogue.figures(
            args.only, plan, device=args.device, progress=progress.show
        ):
            figures.append(figure)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        progress.clear()
    measured["load_at_end"] = report.load_now()
    not_asked = [] if args.device or args.only else catalogue.rows_on_devices()
    if interrupted:
        asked = args.only or [name for name in names if name not in not_asked]
        measured["interrupted"] = f"{len(figures)} of {len(set(asked))} figures were measured"
    print((report.as_json if args.json else report.as_table)(figures, measured, not_asked))
    if interrupted:
        return INTERRUPTED
    missing = any(figure.verdict == UNMEASURED for figure in figures)
    return ExitStatus.FAILED if missing else ExitStatus.DONE


class _Progress:
    """One line on the terminal that says how far it is; nothing elsewhere."""

    def __init__(self) -> None:
        self._terminal = takes_escapes(sys.stderr)
        self._cells = "█░" if can_show(sys.stderr, "█░") else "#."

    def show(self, step: Step) -> None:
        done = round(step.done * BAR_CELLS)
        bar = self._cells[0] * done + self._cells[1] * (BAR_CELLS - done)
        left = f"{step.left_s / 60:.0f} min" if step.left_s >= 90 else f"{step.left_s:.0f} s"
        self._write(f"{bar} {step.number}/{step.count}, about {left} left: {step.text}")

    def clear(self) -> None:
        self._write("")

    def _write(self, text: str) -> None:
        if self._terminal:
            # The last column stays free: a line that fills it may go on in the next.
            text = text[: (columns_of(sys.stderr) or 80) - 1]
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _check_names(asked: Sequence[str], names: Sequence[str]) -> None:
    from slng_edge.config_checks import nearest

    for name in asked:
        if name not in names:
            near = nearest(name, list(names))
            hint = f"did you mean {near}?" if near else "--list names them all"
            raise UsageError(f"there is no figure {name!r}; {hint}")
