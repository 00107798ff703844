"""One target and one engine in a process of its own, for `scripts/fuzz`.

    python -m fuzz.child hypothesis NAME SEED INPUTS|- SECONDS FINDING
    python -m fuzz.child atheris NAME [option of libFuzzer]... CORPUS SEEDS
    python -m fuzz.child replay NAME FILE

The process may take `MEMORY_BYTES` of address space: an input that has a decoder reserve more than
that is a finding (MemoryError), as it would be on a small board.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from pathlib import Path

MEMORY_BYTES = 2 * 1024**3
INSTRUMENTED = ["slng_edge", "http.client", "websocket", "tomllib", "json.decoder"]


def main() -> int:
    """Run the engine; 0 where nothing was found."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    engine, name, *rest = sys.argv[1:]
    if engine == "atheris":
        return _atheris(name, rest)
    if engine == "replay":
        return _replay(name, Path(rest[0]))
    return _hypothesis(name, *rest)


def _hypothesis(name: str, seed: str, inputs: str, seconds: str, finding: str) -> int:
    from fuzz.engines import by_hypothesis
    from fuzz.targets import TARGETS

    outcome = by_hypothesis(
        TARGETS[name],
        first_seed=int(seed),
        inputs=None if inputs == "-" else int(inputs),
        seconds=float(seconds),
    )
    print(json.dumps({"inputs": outcome.inputs, "trace": outcome.trace}))
    if outcome.finding is None:
        return 0
    Path(finding).write_bytes(outcome.finding)
    return 1


def _replay(name: str, file: Path) -> int:
    from fuzz.engines import try_input
    from fuzz.targets import TARGETS

    try_input(TARGETS[name], file.read_bytes())
    return 0


def _atheris(name: str, options: list[str]) -> int:
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.targets import TARGETS
    from fuzz.engines import try_input

    target = TARGETS[name]
    atheris.Setup([sys.argv[0], *options], lambda data: try_input(target, data))
    atheris.Fuzz()  # ends the process
    return 0


if __name__ == "__main__":
    sys.exit(main())
