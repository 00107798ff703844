"""What the process uses, as the kernel counts it."""

from __future__ import annotations

import os
from pathlib import Path


def process_figures(folder: Path = Path("/proc/self")) -> dict[str, int | float]:
    """Its id, its resident memory in MiB and the number of its threads, those of libraries too.

    What the kernel does not say is left out.
    """
    figures: dict[str, int | float] = {"pid": os.getpid()}
    try:
        lines = (folder / "status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return figures
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    if "VmRSS" in values:
        figures["rss_mib"] = round(int(values["VmRSS"].split()[0]) / 1024, 1)
    if "Threads" in values:
        figures["threads"] = int(values["Threads"])
    return figures
