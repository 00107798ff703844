"""What the kernel and the sound servers have, as far as it can be seen without PortAudio.

PortAudio lists the devices once. One that somebody else had open then, or whose server was not
there, is not in its list. What is seen here says when it is time for a new one. The unit's
`ProcSubset=pid` hides /proc/asound: then /sys tells the cards.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

PROC_CARDS = Path("/proc/asound/cards")
SYS_CARDS = Path("/sys/class/sound")
NODES = Path("/dev/snd")
_PCM = re.compile(r"pcmC(\d+)D(\d+)([pc])$")


def sound_cards(proc: Path = PROC_CARDS, sys: Path = SYS_CARDS) -> frozenset[str]:
    """The cards that the kernel knows, a line each; empty where there are none."""
    lines = _read(proc).splitlines()
    return frozenset(
        lines or (f"{path.parent.name} {_read(path)}" for path in sys.glob("card*/id"))
    )


def open_ways(
    known: Collection[str] = (),
    *,
    nodes: Path = NODES,
    environment: Mapping[str, str] = os.environ,
) -> frozenset[str]:
    """What can be opened: a name for each free device of the kernel and for each sound server.

    A server that was started anew has another name. Those that are `known` are left in peace.
    """
    ways = {str(path) for path in _pcms(nodes) if str(path) not in known and not _open(path)}
    return frozenset(ways | set(_servers(environment)))


def busy_words(*, output: bool, nodes: Path = NODES) -> str:
    """Which devices of one direction another program has open; "" where none."""
    busy = [
        "hw:{},{}".format(*found.groups())
        for path in _pcms(nodes)
        if (found := _PCM.match(path.name))
        and (found[3] == "p") == output
        and _open(path) == errno.EBUSY
    ]
    return f"in use: {', '.join(busy)}" if busy else ""


def _pcms(nodes: Path) -> list[Path]:
    return sorted(path for path in nodes.glob("pcmC*") if _PCM.match(path.name))


def _open(path: Path) -> int:
    """0 where it can be opened, else why not; the kernel does not let us wait."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _servers(environment: Mapping[str, str]) -> Iterator[str]:
    paths = [environment.get("PULSE_SERVER", "").removeprefix("unix:")]
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if runtime:
        paths += [f"{runtime}/pulse/native", f"{runtime}/pipewire-0"]
    for path in paths:
        if path.startswith("/"):
            try:
                seen = os.stat(path)
            except OSError:
                continue  # It is not there.
            yield f"{path} {seen.st_ino} {seen.st_ctime_ns}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # No sound card, or none any more.
