"""What a process that holds a key does first, for nothing of it to get out by the side.

The log masks what goes through it (`logs`). This is for what does not: tracebacks that Python
itself prints, dumps of the memory, a file of TLS secrets, the environment of what is started.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
import threading
from collections.abc import Iterator
from typing import Any

from slng_edge.secrets import (
    BROKER_PASSWORD_VARIABLE,
    KEY_VARIABLE,
    withheld_from_children,
)

log = logging.getLogger(__name__)

CORE_LIMIT_BYTES = 1
"""Smaller than any dump, so that no file is written. And the one value with which Linux does not
hand the memory to a program either, such as systemd-coredump (fs/coredump.c): 0 does not stop that,
says core(5).
"""

KEYLOG_VARIABLE = "SSLKEYLOGFILE"
"""Names a file into which `ssl` writes what opens every connection, the key's included."""


@contextlib.contextmanager
def private_process() -> Iterator[None]:
    """Keep what this process knows in it; the main thread, with the log set up.

    Why not also PR_SET_DUMPABLE: /proc/PID would be root's, by which sound servers and rtkit see
    whose process it is, and a user could no longer look into a service of theirs that hangs.
    """
    secrets = withheld_from_children(KEY_VARIABLE, BROKER_PASSWORD_VARIABLE)
    with _no_core_dump(), _logged_tracebacks(), secrets:
        if os.environ.pop(KEYLOG_VARIABLE, None) is not None:
            log.warning("$%s is not heeded: it would open what is encrypted", KEYLOG_VARIABLE)
        yield


@contextlib.contextmanager
def _no_core_dump() -> Iterator[None]:
    """The soft limit alone: a program of the user's that is started may raise it again."""
    before = soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if soft != 0 or hard != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (CORE_LIMIT_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


@contextlib.contextmanager
def _logged_tracebacks() -> Iterator[None]:
    """What Python prints to standard error by itself goes into the log, which masks it."""
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    sys.excepthook, threading.excepthook, sys.unraisablehook = _ended, _thread_ended, _not_raised
    logging.captureWarnings(True)
    try:
        yield
    finally:
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        logging.captureWarnings(False)


def _ended(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    log.critical("ended by %s", kind.__name__, exc_info=(kind, error, trace))


def _thread_ended(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None and what.exc_type is not SystemExit:
        name = what.thread.name if what.thread is not None else "?"
        trace = what.exc_traceback
        log.error("thread %s died", name, exc_info=(what.exc_type, what.exc_value, trace))


def _not_raised(what: Any) -> None:
    # Not `what.object`: whatever it is, its text is nobody's business.
    words = what.err_msg or "exception that cannot be raised"
    kind, error, trace = what.exc_type, what.exc_value, what.exc_traceback
    log.error("%s", words, exc_info=(kind, error, trace) if error is not None else None)
