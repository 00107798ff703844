"""The two engines that think inputs up, and what they tell of a target."""

from __future__ import annotations

import re
import time
import traceback
from dataclasses import dataclass

from fuzz.target import Target
from hypothesis import HealthCheck, Phase, given, seed, settings

SLOWEST_S = 1.0
"""CPU time of one input: a decoder that needs more can be kept busy from outside."""

BATCH = 200
"""Inputs between two looks at the clock."""


class TooSlow(AssertionError):
    """An input took longer than any may."""


@dataclass(frozen=True)
class Outcome:
    """What an engine did.

    Attributes:
        inputs: Tried.
        finding: The input that a target could not stand, None where there was none.
        trace: What it raised.
        coverage: Branches that libFuzzer saw.
        features: What libFuzzer tells inputs apart by.
    """

    inputs: int
    finding: bytes | None = None
    trace: str = ""
    coverage: int | None = None
    features: int | None = None


def try_input(target: Target, data: bytes) -> None:
    """Give `data` to `target`.

    Raises:
        TooSlow: it took more than `SLOWEST_S` of CPU time.
        BaseException: whatever the target found.
    """
    began_s = time.thread_time()
    target.run(data)
    took_s = time.thread_time() - began_s
    if took_s > SLOWEST_S:
        raise TooSlow(f"an input of {len(data)} bytes took {took_s:.1f} s")


def by_hypothesis(
    target: Target, *, first_seed: int, inputs: int | None = None, seconds: float = 0.0
) -> Outcome:
    """Try `inputs` inputs of the target's shape, or as many as `seconds` allow; stop at a finding,
    which is made as small as it gets."""
    tried = 0
    failing: bytes | None = None

    def look(data: bytes) -> None:
        nonlocal tried, failing
        tried += 1
        try:
            try_input(target, data)
        except BaseException:
            failing = data  # the last one of them is the smallest
            raise

    ends_at = time.monotonic() + seconds
    batch = 0
    while tried < inputs if inputs is not None else time.monotonic() < ends_at:
        wanted = BATCH if inputs is None else min(BATCH, inputs - tried)
        try:
            seed(first_seed + batch)(_settings(wanted)(given(target.shape)(look)))()
        except BaseException as error:
            if failing is None or isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return Outcome(tried, failing, _trace(error))
        batch += 1
    return Outcome(tried)


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def _trace(error: BaseException) -> str:
    lines = traceback.format_exception(error)
    return "".join(lines[-6:]).rstrip()


def read_libfuzzer(told: str) -> tuple[int, int | None, int | None]:
    """Inputs, coverage and features that libFuzzer's standard error tells of at last."""
    inputs = [int(count) for count in re.findall(r"stat::number_of_executed_units: (\d+)", told)]
    inputs += [int(count) for count in re.findall(r"^#(\d+)\t", told, re.MULTILINE)]
    reached = re.findall(r"cov: (\d+) ft: (\d+)", told)
    coverage, features = map(int, reached[-1]) if reached else (None, None)
    return max(inputs, default=0), coverage, features
