"""`slng-edge run`: the voice loop."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from slng_edge.cli import config_of
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.config import Config
from slng_edge.config_rules import unavailable
from slng_edge.errors import ConfigError, SlngEdgeError, UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "--events", metavar="FILE", help="write events as JSON lines to FILE, - for standard output"
    )


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, SIGINT, or the end of a file input."""
    config = _runnable(args)

    from slng_edge.service.supervisor import Supervisor

    with _private_files(), _events_stream(args.events) as events:
        Supervisor(config, reload=lambda: _runnable(args), events=events).run()
    return ExitStatus.DONE


def _runnable(args: argparse.Namespace) -> Config:
    config = config_of(args)
    missing = unavailable(config)
    if missing:
        raise ConfigError(*missing)
    return config


@contextlib.contextmanager
def _private_files() -> Iterator[None]:
    """What is written is for this user alone, as with the unit's UMask=: it is what people say."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def _events_stream(name: str | None) -> Iterator[TextIO | None]:
    if name is None:
        yield None
    elif name == "-":
        if sys.stdout is None:
            raise UsageError("--events -: standard output is closed")
        sys.stdout.flush()
        stream = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
        try:
            yield stream
        finally:
            # What is left is for `main` to write, or to complain of; stdout stays open.
            with contextlib.suppress(OSError):
                stream.detach()
    else:
        try:
            stream = open(name, "a", encoding="utf-8")  # noqa: SIM115 - closed below
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(f"--events {name}: {why}") from error
        try:
            yield stream
        finally:
            try:
                stream.close()
            except OSError as error:
                raise SlngEdgeError(f"--events {name}: {error.strerror}") from error
