"""`slng-edge run` in which memory runs out when it is told to.

    python hungry_service.py [run's options]

On standard input `all 0.5`: the process may not grow from now on, and for half a second every byte
that is free within it is taken, and taken again when somebody gives it back; whatever asks for
memory meanwhile is told that there is none, in whatever thread that is. `in capture`: the thread of
that name is told so wherever it is, as by an allocation that was too large.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time

from slng_edge.cli import main

SIZES = (1 << 20, 1 << 16, 1 << 12, 512, 128, 33)


def take_all(seconds: float) -> None:
    """Hold all memory there is, for so long."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1, limits[1]))
    held: object = None  # a chain, and no list: that would need one large piece
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for size in SIZES:
            try:
                while True:
                    held = (held, bytes(size))
            except MemoryError:
                continue
        time.sleep(0.0005)
    while isinstance(held, tuple):  # piece by piece: all at once would be a deep recursion
        held = held[0]
    resource.setrlimit(resource.RLIMIT_AS, limits)


def strike(name: str) -> None:
    """Raise MemoryError in a thread; one that waits gets it when it wakes up."""
    for thread in threading.enumerate():
        if thread.name == name and thread.ident is not None:
            ident = ctypes.c_ulong(thread.ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(MemoryError))


def listen() -> None:
    """Do as standard input says."""
    for line in sys.stdin:
        what, _, value = line.strip().partition(" ")
        try:
            if what == "all":
                take_all(float(value))
            else:
                strike(value)
        except MemoryError:
            continue
    os.kill(os.getpid(), signal.SIGTERM)  # whoever asked has gone


if __name__ == "__main__":
    threading.Thread(target=listen, name="hunger", daemon=True).start()
    sys.exit(main(["run", "--events", "-", *sys.argv[1:]]))
