"""`slng-edge key`: replace the key, without it ever being shown or standing in a command line."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from slng_edge.cli import PROGRAM, config_of
from slng_edge.cli.as_service import UNIT
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.errors import ConfigError, ControlError, SlngEdgeError, UsageError
from slng_edge.secrets import CREDENTIAL, SECRET_FILE_LIMIT_BYTES, register_secret

SERVICE_KEY_FILE = Path("/etc/slng-edge/api-key")
"""What the unit's LoadCredential= names."""

RESTART_TIMEOUT_S = 75.0
"""The unit may take 10 s to stop and 60 s until it is ready."""

_RESTARTED = ("active", "activating", "reloading", "failed")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `key`."""
    parser.add_argument(
        "action",
        choices=("set",),
        help="set: ask for the key without echo, or read it from standard input; keep it; "
        "let the running service use it",
    )
    parser.add_argument(
        "--file",
        metavar="FILE",
        help=f"where it is kept (default: gateway.api_key_file, else {SERVICE_KEY_FILE})",
    )
    parser.add_argument(
        "--unit", default=UNIT, metavar="UNIT", help=f"the service that uses it (default {UNIT})"
    )
    parser.add_argument(
        "--no-apply", action="store_true", help="leave the running service as it is"
    )


def run(args: argparse.Namespace) -> int:
    """Carry out `key set`; waits for whoever types, and at most `RESTART_TIMEOUT_S` for systemd.

    Raises:
        ConfigError: the configuration does not say where the key is kept.
        UsageError: what was given is no key.
        SlngEdgeError: the key cannot be kept, or the service does not take it.
    """
    file = _file_of(args)
    _refuse_unwritable(file)  # before anybody types
    keep_secret(file, _read_key())
    print(f"the key is in {file}")
    if not args.no_apply:
        print(_apply(file, args))
    return ExitStatus.DONE


def keep_secret(file: Path, secret: str) -> None:
    """Put `secret` into `file`, 0600, at once or not at all; who owned the file still does.

    Raises:
        SlngEdgeError: it cannot be written.
    """
    temporary = ""
    try:
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with open(descriptor, "w", encoding="ascii") as written:
            os.fchmod(descriptor, 0o600)
            with contextlib.suppress(FileNotFoundError):
                before = os.stat(file)
                os.fchown(descriptor, before.st_uid, before.st_gid)
            written.write(secret + "\n")
            written.flush()
            os.fsync(descriptor)
        os.replace(temporary, file)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise SlngEdgeError(_not_kept(file, error)) from error


def _file_of(args: argparse.Namespace) -> Path:
    named = args.file or config_of(args).gateway.api_key_file or str(SERVICE_KEY_FILE)
    # What a link leads to is replaced, and not the link.
    file = Path(os.path.realpath(os.path.expanduser(named)))
    if file.exists() and not file.is_file():
        raise UsageError(f"{file} is not a regular file")
    return file


def _refuse_unwritable(file: Path) -> None:
    folder = next(folder for folder in file.parents if folder.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            error = OSError(0, "read-only file system: sudo mount -o remount,rw / first")
            raise SlngEdgeError(_not_kept(file, error))
        raise SlngEdgeError(_not_kept(file, PermissionError(0, "permission denied")))


def _not_kept(file: Path, error: OSError) -> str:
    sudo = " (as root: sudo slng-edge key set)" if os.geteuid() != 0 else ""
    return f"the key was not changed: cannot write {file}: {error.strerror}{sudo}"


def _read_key() -> str:
    """The key from the terminal, without echo, or from standard input.

    Raises:
        UsageError: there is none, or what there is cannot be a key; it is not in the message.
    """
    if sys.stdin is None:
        raise UsageError("standard input is closed: there is no key to read")
    try:
        if sys.stdin.isatty():
            import getpass

            key = getpass.getpass("SLNG key (it is not shown): ")
        else:
            key = sys.stdin.buffer.read(SECRET_FILE_LIMIT_BYTES + 1).decode("latin-1")
    except EOFError:
        key = ""
    key = key.strip()
    register_secret(key)
    if not key:
        raise UsageError("no key was given, and nothing was changed")
    if len(key) > SECRET_FILE_LIMIT_BYTES:
        raise UsageError("what was given is too long to be a key; nothing was changed")
    if not all("!" <= character <= "~" for character in key):
        raise UsageError(
            "what was given is no key: it has spaces, line breaks or other characters that no key "
            "has; nothing was changed"
        )
    return key


def _apply(file: Path, args: argparse.Namespace) -> str:
    """Let the service use it; what became of that.

    Raises:
        SlngEdgeError: the service does not start, or refuses to reload.
    """
    from slng_edge.diagnostics.running_service import unit_properties
    from slng_edge.diagnostics.unit_credentials import credential_files

    said = unit_properties(args.unit, "LoadState", "ActiveState")
    loaded = said.get("LoadState") == "loaded"
    source = credential_files(args.unit).get(CREDENTIAL, "") if loaded else ""
    if not source:
        return _reloaded(args)
    if os.path.realpath(source) != str(file):
        return f"the service {args.unit} does not use it: its key is in {source}"
    if said.get("ActiveState") not in _RESTARTED:
        return f"{args.unit} is not running; it will use the key when it starts"
    # systemd hands out a copy, made when the service starts: a reload would read the old one.
    return _restarted(args.unit)


def _restarted(unit: str) -> str:
    for command in ("reset-failed", "restart"):
        try:
            ended = subprocess.run(
                ["systemctl", command, unit],
                capture_output=True,
                text=True,
                timeout=RESTART_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SlngEdgeError(f"the key is kept; systemctl {command} {unit}: {error}") from error
    if ended.returncode != 0:
        why = (ended.stderr.strip().splitlines() or ["it failed"])[0]
        raise SlngEdgeError(f"the key is kept, but {unit} does not start: {why}")
    return f"{unit} was started anew with it; {PROGRAM} ctl status says whether it was accepted"


def _reloaded(args: argparse.Namespace) -> str:
    from slng_edge.cli.control_connection import (
        RELOAD_TIMEOUT_S,
        ControlConnection,
        ServiceUnreachable,
    )

    try:
        socket = config_of(args).control.socket
        if not socket:
            return 'control.socket = "": restart the service yourself'
        with ControlConnection(socket) as connection:
            connection.ask("reload", timeout_s=RELOAD_TIMEOUT_S)
    except ServiceUnreachable:
        return "no service is running; it will use the key when it starts"
    except (ConfigError, ControlError) as error:
        raise SlngEdgeError(f"the key is kept, but the service was not told: {error}") from error
    return f"the service connects with it; {PROGRAM} ctl status says whether it was accepted"
