"""`slng-edge support-bundle`: one file with all that somebody needs who helps from afar."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import socket
import sys
import tarfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from slng_edge.cli import PROGRAM, tell
from slng_edge.cli.as_service import UNIT
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.cli.numbers import between
from slng_edge.errors import SlngEdgeError

ABOUT = """\
What `slng-edge support-bundle` found on {host} at {at}.
Keys and passwords are masked, what people said is left out of the log{recordings}.
Names of this device, its network and its sessions are in here: read it before you send it on.
"""

NOT_ROOT = """\
not made as root: the service's log, its key and who holds a device may be missing; \
sudo slng-edge support-bundle has all of it
"""

MOST_LINES = 100_000


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "file", nargs="?", metavar="FILE.tar.gz", help="what to write, - for standard output"
    )
    parser.add_argument(
        "--with-recordings",
        action="store_true",
        help="with the utterances of debug.record_dir: the voices of your users",
    )
    parser.add_argument(
        "--no-doctor", action="store_true", help="without the checks, which take up to 40 s"
    )
    parser.add_argument("--unit", default=UNIT, help=f"whose log is taken ({UNIT})")
    parser.add_argument(
        "--lines",
        type=between(int, 1, MOST_LINES),
        default=5000,
        metavar="N",
        help="of the log, at most (5000)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the bundle; prints its path.

    Takes some seconds, and at most two minutes where parts of the system hang.

    Raises:
        SlngEdgeError: it cannot be written, or there is such a file already.
    """
    from slng_edge.cli import support_parts

    at = datetime.now(UTC)
    host = socket.gethostname()
    stem = f"slng-edge-support-{host}-{at:%Y%m%dT%H%M%SZ}"
    about = ABOUT.format(
        host=host,
        at=at.isoformat(timespec="seconds"),
        recordings="; there are recordings of people" if args.with_recordings else "",
    )
    if os.geteuid() != 0:
        about += NOT_ROOT
        tell(f"{PROGRAM}: {NOT_ROOT.strip()}")
    path = args.file or f"{stem}.tar.gz"
    with _output(path) as output, tarfile.open(fileobj=output, mode="w|gz") as bundle:
        _add(bundle, f"{stem}/README.txt", about.encode())
        for name, data in support_parts.gathered(args):
            _add(bundle, f"{stem}/{name}", data)
    if path != "-":
        print(path)
    tell("read it before you send it on: tar tzf shows what is in it")
    return ExitStatus.DONE


def _add(bundle: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
    bundle.addfile(entry, io.BytesIO(data))


@contextlib.contextmanager
def _output(path: str) -> Iterator[BinaryIO]:
    """Where the bundle goes; a file that is not whole is removed."""
    if path == "-":
        if sys.stdout is None:
            raise SlngEdgeError("standard output is closed: name a file")
        if sys.stdout.isatty():
            raise SlngEdgeError("standard output is a terminal: name a file")
        yield sys.stdout.buffer
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise SlngEdgeError(f"{path} exists and is left as it is") from error
    except OSError as error:
        raise SlngEdgeError(f"cannot write {path}: {error.strerror}; name another file") from error
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
    except BaseException as error:
        with contextlib.suppress(OSError):
            Path(path).unlink()
        if isinstance(error, OSError):
            raise SlngEdgeError(f"cannot write {path}: {error.strerror}") from error
        raise
