"""`--as-service`: a command run as the service would be, to see what it sees."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from slng_edge.errors import SlngEdgeError, UsageError

if TYPE_CHECKING:
    from slng_edge.diagnostics.service_unit import ServiceUnit

UNIT = "slng-edge.service"
_RUN = Path("/run")
"""In memory: what is copied there is on no card."""


def add_as_service(parser: argparse.ArgumentParser) -> None:
    """The option, for a command."""
    parser.add_argument(
        "--as-service",
        nargs="?",
        const=UNIT,
        metavar="UNIT",
        help=f"look as the service's user, with its groups, key and environment (as root; {UNIT})",
    )


def run_as_service(args: argparse.Namespace, *command: str) -> int:
    """Run `command` of ours as the user of the unit `args.as_service`; its exit status.

    Raises:
        UsageError: this is not root.
        SlngEdgeError: there is no such unit or user, or that user may not run the program.
    """
    if os.geteuid() != 0:
        raise UsageError(
            f"--as-service needs root: sudo slng-edge {' '.join(command)} --as-service"
        )
    from slng_edge.diagnostics.service_unit import service_unit

    unit: str = args.as_service
    return run_as(service_unit(unit, named=unit != UNIT), args, *command)


def run_as(unit: ServiceUnit, args: argparse.Namespace, *command: str) -> int:
    """Run `command` of ours as `unit` would; its exit status. As root.

    Raises:
        SlngEdgeError: its user may not run the program.
    """
    with _credentials(unit) as folder:
        environment = {**environment_of(unit, os.environ)}
        if folder is not None:
            environment["CREDENTIALS_DIRECTORY"] = str(folder)
        try:
            return subprocess.run(
                [sys.executable, "-m", "slng_edge", *_options(args, unit), *command],
                user=unit.uid,
                group=unit.gid,
                extra_groups=list(unit.groups),
                env=environment,
                cwd="/",
                check=False,
            ).returncode
        except OSError as error:
            raise SlngEdgeError(
                f"{unit.user} may not run {sys.executable}: {error.strerror}; install slng-edge "
                "where every user may read it (/opt/slng-edge)"
            ) from error


def environment_of(unit: ServiceUnit, environ: Mapping[str, str]) -> dict[str, str]:
    """What the service finds in its environment; of ours the terminal alone."""
    kept = ("TERM", "LANG", "LC_ALL", "COLUMNS", "NO_COLOR", "PATH")
    return {
        **{name: environ[name] for name in kept if name in environ},
        "HOME": unit.home,
        "USER": unit.user,
        "LOGNAME": unit.user,
        **({"STATE_DIRECTORY": unit.state_directory} if unit.state_directory else {}),
        **unit.environment,
    }


def _options(args: argparse.Namespace, unit: ServiceUnit) -> list[str]:
    """The options of every command, for the inner one."""
    file = args.config_file or unit.config_file
    options = ["--config", os.path.abspath(file)] if file else []
    for override in args.overrides:
        options += ["-s", override]
    return [*options, "--log-level", args.log_level, "--log-format", args.log_format]


@contextlib.contextmanager
def _credentials(unit: ServiceUnit) -> Iterator[Path | None]:
    """The unit's credentials where its user may read them, as systemd would put them there.

    They are gone afterwards, also where a signal ends it all.
    """
    if not unit.credentials:
        yield None
        return
    # Its name first: whenever a signal comes, it is known what to remove.
    folder = _RUN / f"slng-edge-{secrets.token_hex(8)}"
    with _ended_by_signals():
        try:
            try:
                _copy_credentials(unit, folder)
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            # For the signal that comes as the first removal begins: a second is not heard.
            shutil.rmtree(folder, ignore_errors=True)


def _copy_credentials(unit: ServiceUnit, folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
        for name, source in unit.credentials.items():
            try:
                data = Path(source).read_bytes()
            except OSError:
                continue  # then the service has none either
            file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
            with open(file, "wb") as copy:
                copy.write(data)
            os.chown(folder / name, unit.uid, unit.gid)
        os.chown(folder, unit.uid, unit.gid)
    except OSError as error:
        raise SlngEdgeError(
            f"the service's key cannot be copied for its user: {folder}: {error.strerror}; make "
            f"room: df {folder.parent}"
        ) from error


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """The first SIGTERM, or SIGHUP of an SSH session that broke off, ends it by `SystemExit`."""
    ended = False

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal ended
        if not ended:
            ended = True
            raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    # What is ignored stays so: nohup.
    heard = {number: old for number, old in before.items() if old is not signal.SIG_IGN}
    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, old in heard.items():
            signal.signal(number, old)
