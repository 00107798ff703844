"""One seeded run under delays, with every lock watched; a process of its own.

    python child.py SCENARIO --seed N [--amount N]

Prints one JSON object. `scripts/stress` plays many; the suite plays a few.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import logging
import random
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

SCENARIOS = {
    "faults": ("stress.talk", "faults", 6),
    "talk": ("stress.talk", "talk", 6),
    "service": ("stress.service", "service", 8),
    "calls": ("stress.calls", "calls", 12),
    "sound": ("stress.sound", "sound", 2),
    "closing": ("stress.closing", "closing", 99),
}
"""Where each is, and how much of it makes a run of some 10 s."""


def main() -> int:
    """Play it; the exit status is 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--amount", type=int, default=0, help="turns, tenths, states")
    parser.add_argument(
        "--limit", type=float, default=150.0, help="seconds until it counts as hung"
    )
    parser.add_argument("--only", default="", help="of the scenario, what has this in its name")
    parser.add_argument("--lines", help="modules, a comma between; without it the seed chooses")
    args = parser.parse_args()
    faulthandler.dump_traceback_later(args.limit, exit=True)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from stress.delays import Delays
    from stress.installing import install
    from stress.lines import chosen, trace

    delays = Delays(args.seed)
    watch = install(delays)
    module, name, amount = SCENARIOS[args.scenario]
    scenario = getattr(importlib.import_module(module), name)
    from stress.outcome import Outcome

    outcome = Outcome()
    threading.excepthook = lambda hook: outcome.violations.append(
        f"thread {hook.thread.name if hook.thread else '?'} died of {hook.exc_value!r}: "
        + "".join(traceback.format_tb(hook.exc_traceback)[-3:])
    )
    sys.unraisablehook = lambda hook: outcome.violations.append(
        f"not raised: {hook.exc_value!r} in {hook.object!r}"
    )
    began = time.monotonic()
    sys.setswitchinterval(random.Random(args.seed).choice((1e-6, 3e-6, 1e-5)))
    more: dict[str, Any] = {"only": args.only} if args.only else {}
    with tempfile.TemporaryDirectory(prefix="slng-edge-stress-") as folder:
        # Whatever is logged under a lock is written under it.
        logging.basicConfig(filename=Path(folder) / "log.txt", level=logging.DEBUG)
        logging.getLogger("websockets").setLevel(logging.WARNING)
        delays.active = True
        modules = chosen(args.seed) if args.lines is None else args.lines.split(",")
        trace(delays, modules)
        try:
            scenario(outcome, Path(folder), args.seed, args.amount or amount, **more)
        except BaseException:  # noqa: BLE001 - it is told, with all else
            outcome.violations.append(traceback.format_exc())
        delays.active = False
        sys.settrace(None)
        logged = (Path(folder) / "log.txt").read_text(errors="replace")
        for line in logged.splitlines():
            if line.startswith("Traceback") or " died" in line or "this is a bug" in line:
                outcome.violations.append(f"logged: {line}: {_after(logged, line)}")
        logging.shutdown()
    print(json.dumps(_report(outcome, watch, delays, time.monotonic() - began)))
    faulthandler.cancel_dump_traceback_later()
    return 1 if outcome.violations or watch.violations else 0


def _after(logged: str, line: str) -> str:
    return logged[logged.index(line) :][:2000]


def _report(outcome: Any, watch: Any, delays: Any, seconds: float) -> dict[str, Any]:
    return {
        "violations": outcome.violations,
        "locks wrong": watch.violations,
        "counts": outcome.counts,
        "seconds": seconds,
        "delays": delays.totals(),
        "strained": delays.strained(),
        "pairs": [[first, then, told] for (first, then), told in watch.pairs.items()],
        "excused": sorted(watch.excused),
        "locks": {
            name: [use.taken, use.longest_s, use.longest_cpu_s, use.longest_by]
            for name, use in watch.uses.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
