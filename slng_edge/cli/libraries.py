"""Libraries without which nothing works: what to say where one of them is missing."""

from __future__ import annotations

from slng_edge.errors import MissingLibrary

_INSTALL = {
    "numpy": ("numpy", "pip install numpy"),
    "websocket": ("websocket-client", "pip install 'websocket-client>=1.8,<2'"),
    "soxr": ("soxr", "pip install soxr"),
}
"""Name that is imported: name that is installed, and the line that does it."""


def missing_library(error: Exception) -> MissingLibrary | None:
    """What to tell the user of a failed import; None where it is something else."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    found = _INSTALL.get((error.name or "").partition(".")[0])
    return MissingLibrary(found[0], "this command", found[1]) if found else None
