"""Options that are numbers: within bounds, and with words where they are not."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

N = TypeVar("N", int, float)


def between(kind: type[N], least: N, most: N, what: str = "a number") -> Callable[[str], N]:
    """What `argparse` reads an option with: a `kind` from `least` to `most`.

    Args:
        kind: `int` or `float`.
        least: The smallest that may be given.
        most: The largest.
        what: What it is, with an article: "a number of seconds".
    """
    wanted = f"{what} from {_shown(least)} to {_shown(most)}"

    def read(text: str) -> N:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:  # nor is nan between any two
            raise argparse.ArgumentTypeError(f"{wanted}, and not {text!r}")
        return value

    return read


def _shown(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"
