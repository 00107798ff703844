"""The log: to stderr, as text with the thread's name or as JSON, and never with a key in it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TextIO

from slng_edge.secrets import SecretFilter, register_secret

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

STDERR_FD = 2

_TEXT = "%(levelname)-7s [%(threadName)s] %(name)s: %(message)s"


class TextFormatter(logging.Formatter):
    """A line a record, with the time in front; more lines for a traceback."""

    def __init__(self) -> None:
        super().__init__(f"%(asctime)s {_TEXT}")

    def format(self, record: logging.LogRecord) -> str:
        """The record as text that cannot steer a terminal."""
        return printable(super().format(record))


class JournalFormatter(logging.Formatter):
    """Lines for systemd's journal: it adds the time, and reads the priority from "<N>"."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, each line with its priority (sd-daemon(3))."""
        prefix = f"<{_priority(record.levelno)}>"
        # Not splitlines(): the journal ends a line at a line feed alone, and what follows another
        # separator would stand there without its logger.
        lines = printable(super().format(record)).rstrip("\n").split("\n")
        return "\n".join(f"{prefix}{line}" for line in lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a record, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON: at (ISO 8601), level, thread, logger, message, exception?."""
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "thread": record.threadName,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            entry["exception"] = record.exc_text
        if record.stack_info:
            entry["stack"] = record.stack_info
        return json.dumps(entry)


class _OurHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """The handler that `set_up_logging` replaces when it is called again.

    It writes to a duplicate of standard error: while a sound device is being opened, which may
    take seconds, the descriptor itself is led away to keep the libraries' chatter off it.
    """

    def __init__(self) -> None:
        self._own: TextIO | None = None
        try:
            if sys.stderr is not None and sys.stderr.fileno() == STDERR_FD:
                self._own = open(  # noqa: SIM115 - closed by `close`
                    os.dup(STDERR_FD), "w", encoding=sys.stderr.encoding, errors="backslashreplace"
                )
        except OSError:
            self._own = None  # it is none of the system's, or closed
        super().__init__(self._own)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - of `logging`
        """A line that cannot be written, on a full disk or to nobody, is lost.

        There is nowhere to tell of it; what the base class leaves in standard error would make the
        interpreter end with 120.
        """
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        super().close()
        if self._own is not None:
            with contextlib.suppress(OSError):
                self._own.close()


def set_up_logging(
    level: str,
    format: str,
    secrets: Iterable[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send the log to stderr; calling it again replaces what the last call set up.

    Args:
        level: One of `LEVELS`, for our own loggers; others are heard from "warning" up.
        format: "text" or "json".
        secrets: More secrets to mask, besides those that `slng_edge.secrets` has read.
        environ: Where `JOURNAL_STREAM` is looked for.
    """
    for secret in secrets:
        register_secret(secret)
    handler = _OurHandler()
    handler.addFilter(SecretFilter())
    if format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(JournalFormatter() if to_journal(environ) else TextFormatter())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _OurHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    logging.getLogger("slng_edge").setLevel(level.upper())


def to_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether stderr is the journal's own stream, and not redirected since (systemd.exec(5))."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False  # closed, or replaced by something without a file
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def printable(text: str) -> str:
    """`text` with its control characters, line breaks and tabs excepted, written as escapes."""
    return re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def _priority(level: int) -> int:
    """The syslog priority: err 3, warning 4, info 6, debug 7 (sd-daemon(3))."""
    for lowest, priority in ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if level >= lowest:
            return priority
    return 7
