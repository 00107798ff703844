"""What goes into a support bundle: each part a file, and none that can keep the others out."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

from slng_edge import __version__
from slng_edge.cli import loaded_config_of
from slng_edge.cli.control_connection import ControlConnection
from slng_edge.cli.program_output import output_of
from slng_edge.cli.support_secrets import know_secrets, responder_lines_in, without_secrets
from slng_edge.config import Config
from slng_edge.config_loading import LoadedConfig
from slng_edge.config_text import effective_text
from slng_edge.errors import ConfigError, SlngEdgeError
from slng_edge.secrets import KEY_VARIABLE, secret_variable

PROGRAM_TIMEOUT_S = 20.0
DOCTOR_TIMEOUT_S = 60.0
RECORDINGS_LIMIT_BYTES = 500 * 1024 * 1024

_SYSTEM_FILES = (
    "/etc/os-release",
    "/proc/device-tree/model",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/asound/cards",
    "/proc/asound/pcm",
    "/proc/pressure/cpu",
    "/proc/pressure/memory",
)
_PROGRAMS = (
    ("disk.txt", ("df", "-h")),
    ("addresses.txt", ("ip", "-brief", "address")),
    ("time.txt", ("timedatectl",)),
    ("sound-server.txt", ("pactl", "info")),
    ("throttled.txt", ("vcgencmd", "get_throttled")),
)
_NOTHING: Mapping[str, str] = {}
_SESSION_ID = re.compile(r"(?i)session\S*[\s:=\"']+([0-9a-z][0-9a-z_-]{7,63})\b")


class Found(NamedTuple):
    """A configuration, where there is one, and what is wrong with it."""

    loaded: LoadedConfig | None
    problems: str

    @property
    def config(self) -> Config:
        """The built-in one where it cannot be loaded."""
        return self.loaded.config if self.loaded is not None else Config()


def gathered(args: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    """The files of the bundle, one after the other; what is not there is left out."""
    found = _find_config(args)
    know_secrets(found.config, args.unit)
    status = _status(found.config)
    journal = _journal("--unit", args) or _journal("--user-unit", args)
    texts: tuple[tuple[str, Callable[[], str]], ...] = (
        ("about.json", lambda: _json(_about())),
        ("config.toml", lambda: _config_text(found)),
        ("config-problems.txt", lambda: found.problems),
        ("status.json", lambda: _json(status)),
        ("doctor.json", lambda: "" if args.no_doctor else _doctor(args)),
        ("devices.json", lambda: _ours(args, "devices", "--json")),
        ("log.txt", lambda: journal + _masked_lines(journal)),
        ("unit.txt", lambda: _output("systemctl", "status", "--no-pager", "-n0", args.unit)),
        ("kernel.txt", lambda: _output("journalctl", "--dmesg", *_journal_options(500))),
        ("sessions.txt", lambda: _session_ids(status, journal)),
        ("system.txt", _system),
        ("packages.txt", _packages),
        *((name, lambda command=command: _output(*command)) for name, command in _PROGRAMS),
    )
    for name, text_of in texts:
        text = text_of()
        if text:
            yield name, without_secrets(text).encode("utf-8", "replace")
    if args.with_recordings:
        yield from _recordings(found.config)


def _find_config(args: argparse.Namespace) -> Found:
    try:
        return Found(loaded_config_of(args), "")
    except ConfigError as error:
        return Found(None, "\n".join(error.problems) + "\n")


def _config_text(found: Found) -> str:
    if found.loaded is None:
        return ""
    return f"# {found.loaded.file}\n{effective_text(found.config, found.loaded.origins)}"


def _status(config: Config) -> dict[str, Any]:
    if not config.control.socket:
        return {"problem": "control.socket is empty"}
    try:
        with ControlConnection(config.control.socket) as connection:
            return connection.ask("status")
    except SlngEdgeError as error:
        return {"problem": str(error)}


def _doctor(args: argparse.Namespace) -> str:
    """What `doctor` says: as the service sees it where that can be, else as this user does."""
    if os.geteuid() == 0:
        text = _ours(
            args, "doctor", "--json", "--as-service", args.unit, timeout_s=DOCTOR_TIMEOUT_S
        )
        if text.lstrip().startswith("{"):
            return text
    return _ours(args, "doctor", "--json", timeout_s=DOCTOR_TIMEOUT_S)


def _about() -> dict[str, Any]:
    return {
        "slng-edge": __version__,
        "python": sys.version,
        "executable": sys.executable,
        "kernel": platform.platform(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "user": os.geteuid(),
        "groups": os.getgroups(),
    }


def _system() -> str:
    parts = []
    for name in _SYSTEM_FILES:
        with contextlib.suppress(OSError):
            text = Path(name).read_text(encoding="utf-8", errors="replace").rstrip("\0\n")
            parts.append(f"== {name}\n{text}\n")
    return "\n".join(parts)


def _packages() -> str:
    found = {f"{each.metadata['Name']} {each.version}" for each in distributions()}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def _masked_lines(journal: str) -> str:
    """A last line of the log, where lines of a responder are in it."""
    count = responder_lines_in(journal)
    if not count:
        return ""
    return (
        f"({count} x *** for what the responder wrote to standard error: it may repeat what people "
        "said; on the device journalctl has it)\n"
    )


def _session_ids(status: dict[str, Any], journal: str) -> str:
    """What the gateway's operators need to find our sessions."""
    sessions = status.get("sessions")
    ids = [each.get("session_id") for each in sessions.values()] if sessions else []
    ids += _SESSION_ID.findall(journal)
    known = dict.fromkeys(str(each) for each in ids if each and any(map(str.isdigit, each)))
    return "".join(f"{each}\n" for each in known)


def _recordings(config: Config) -> Iterator[tuple[str, bytes]]:
    if not config.debug.record_dir:
        return
    left_bytes = RECORDINGS_LIMIT_BYTES
    folder = Path(os.path.expanduser(config.debug.record_dir))
    # The newest first: they are what somebody complains of.
    for file in sorted(folder.glob("*.wav"), reverse=True):
        with contextlib.suppress(OSError):
            # Root reads here what a service may have put here: no link to another's file.
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as opened:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    continue
                data = opened.read(left_bytes + 1)
            left_bytes -= len(data)
            if left_bytes < 0:
                return
            yield f"recordings/{file.name}", data


def _journal(kind: str, args: argparse.Namespace) -> str:
    return _output("journalctl", kind, args.unit, *_journal_options(args.lines))


def _journal_options(lines: int) -> tuple[str, ...]:
    return (f"--lines={lines}", "--no-pager", "--output=short-iso", "--quiet")


def _ours(args: argparse.Namespace, *command: str, timeout_s: float | None = None) -> str:
    program = (sys.executable, "-m", "slng_edge", *_options_of(args), *command)
    # Ours alone need the key, which was taken out of the environment.
    key = secret_variable(KEY_VARIABLE)
    return _output(*program, timeout_s=timeout_s, more={KEY_VARIABLE: key} if key else {})


def _output(
    *command: str, timeout_s: float | None = None, more: Mapping[str, str] = _NOTHING
) -> str:
    environ = {**_environment_of(), **more}
    return output_of(*command, timeout_s=timeout_s or PROGRAM_TIMEOUT_S, environ=environ)


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _options_of(args: argparse.Namespace) -> list[str]:
    """The options of every command, for a command of ours that is run for its output."""
    options = ["--config", args.config_file] if args.config_file else []
    for override in args.overrides:
        options += ["-s", override]
    return options


def _environment_of(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """For programs whose output is read: in English, without colours and pagers."""
    return {**environ, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "SYSTEMD_PAGER": "", "PAGER": "cat"}
