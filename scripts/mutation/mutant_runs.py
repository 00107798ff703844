"""A plugin of pytest that runs the collected tests once for each mutant.

First all tests run unchanged, and what functions each reaches is noted. Then each mutant is forked
off with those that reach its function: first those that killed others of the same function, then
those of the module's own file, then the rest, each time the quickest first. It reads mutants.json
and writes verdicts.json, in the folder that pytest is started in.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import hypothesis
import pytest
from _pytest.runner import runtestprotocol
from mutmut.mutation import trampoline

MEMORY_BYTES = 3 << 30
"""A mutant that collects without end fails a test with MemoryError."""

LONGEST = "SLNG_EDGE_MUTATION_LONGEST_S"
"""Tests that take longer run no mutants; all do where it is not set."""

SPARE_CPU_S = 1.0
LONGER_BY = 5.0

hypothesis.settings.register_profile(
    "mutants",
    # The same examples each time, and no search for the smallest one that fails.
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("mutants")

_active = ""
_reached: set[str] = set()
trampoline.get_mutant_under_test = lambda: _active
trampoline.record_trampoline_hit = lambda name, caller=None: _reached.add(name)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Instead of pytest's own loop."""
    if session.testsfailed:
        return False
    keys = json.loads(Path("mutants.json").read_text(encoding="utf-8"))
    tests, took_s = _run_unchanged(session.items)
    if session.testsfailed:
        return True
    verdicts = {}
    killers: dict[str, Counter[pytest.Item]] = defaultdict(Counter)
    gc.freeze()  # else each child copies what it looks through
    began, shown = time.monotonic(), 0.0
    for number, key in enumerate(keys):
        function = key.partition("__mutmut_")[0]
        module = function.rpartition(".")[0].rpartition(".")[2]
        order = [
            (-killers[function][each], each.path.stem != f"test_{module}", took_s[each], place)
            for place, each in enumerate(tests[function])
        ]
        reaching = [tests[function][rank[-1]] for rank in sorted(order)]
        verdicts[key], killer = _verdict(key, reaching, took_s)
        if killer is not None:
            killers[function][killer] += 1
        if time.monotonic() - shown > 60:
            shown = time.monotonic()
            done = f"{number + 1} of {len(keys)} mutants, {shown - began:.0f} s"
            print(f"scripts/mutate: {done}", file=sys.stderr, flush=True)
            Path("verdicts.json").write_text(json.dumps(verdicts), encoding="utf-8")
    Path("verdicts.json").write_text(json.dumps(verdicts), encoding="utf-8")
    return True


def _run_unchanged(
    items: list[pytest.Item],
) -> tuple[dict[str, list[pytest.Item]], dict[pytest.Item, float]]:
    """Which tests reach a function, and the processor time of each."""
    global _active
    _active = "stats"
    longest_s = float(os.environ.get(LONGEST, "inf"))
    tests: dict[str, list[pytest.Item]] = defaultdict(list)
    took_s = {}
    for item, following in zip(items, [*items[1:], None], strict=True):
        _reached.clear()
        began = time.process_time()
        runtestprotocol(item, nextitem=following)
        took_s[item] = time.process_time() - began
        if took_s[item] <= longest_s:
            for name in _reached:
                tests[name].append(item)
    _active = ""
    return tests, took_s


def _verdict(
    key: str, items: list[pytest.Item], took_s: dict[pytest.Item, float]
) -> tuple[str, pytest.Item | None]:
    """What becomes of it, and the test that failed."""
    if not items:
        return "no test", None
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _run_and_exit(key, items, took_s, writing)
    os.close(writing)
    with open(reading, encoding="ascii") as told:
        failed = told.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return "timeout", None
    if status == 0:
        return "survived", None
    return "killed", items[int(failed)] if failed else None


def _run_and_exit(
    key: str, items: list[pytest.Item], took_s: dict[pytest.Item, float], writing: int
) -> None:
    """In the child: exit with 0 where all tests pass."""
    global _active
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        _active = key
        for number, item in enumerate(items):
            limit_s = int(time.process_time() + SPARE_CPU_S + LONGER_BY * took_s[item]) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (limit_s, resource.RLIM_INFINITY))
            following = items[number + 1] if number + 1 < len(items) else None
            reports = runtestprotocol(item, log=False, nextitem=following)
            if any(report.failed for report in reports):
                os.write(writing, str(number).encode())
                return
        status = 0
    finally:
        os._exit(status)
