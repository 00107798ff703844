"""Puts the delayed and watched primitives where the product looks for `threading` and `queue`.

Before anything of `slng_edge` is imported, in a process that does nothing else. The product is not
changed: its own `import threading` finds another module. The other side, the local gateway, stays
as it is.
"""

from __future__ import annotations

import builtins
import queue
import sys
import threading
from types import ModuleType
from typing import Any

from stress import primitives
from stress.delays import Delays
from stress.primitives import Shown
from stress.watch import Watch

_PRODUCT, _OTHER_SIDE = "slng_edge", "slng_edge.simulator"


def install(delays: Delays) -> Watch:
    """From now on the product gets them; returns what watches its locks.

    Raises:
        RuntimeError: something of the product was imported before.
    """
    early = [name for name in sys.modules if name.split(".")[0] == _PRODUCT]
    if early:
        raise RuntimeError(f"imported before it could be watched: {early}")
    primitives.DELAYS, primitives.WATCH = delays, Watch(delays)
    shown: dict[str, ModuleType] = {
        "threading": Shown(
            threading,
            **{
                name: getattr(primitives, name)
                for name in ("Lock", "RLock", "Condition", "Event", "Thread")
            },
        ),
        "queue": Shown(queue, Queue=primitives.Queue, SimpleQueue=primitives.SimpleQueue),
    }
    given = builtins.__import__

    def imports(
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        if name in shown and level == 0 and globals is not None:
            importer = str(globals.get("__name__"))
            if importer.split(".")[0] == _PRODUCT and not importer.startswith(_OTHER_SIDE):
                return shown[name]
        return given(name, globals, locals, fromlist, level)

    builtins.__import__ = imports
    return primitives.WATCH
