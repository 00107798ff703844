"""Sound servers: whose they are, and whether they outlive a login."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from slng_edge.audio.echo_sources import is_echo_cancelled
from slng_edge.config import Config
from slng_edge.diagnostics.finding import Finding, fail, ok, warn
from slng_edge.diagnostics.inspection import Subject
from slng_edge.diagnostics.user import user_name

NAME = "sound server"
TIMEOUT_S = 1.0
SESSIONS = Path("/run/user")
LINGER = Path("/var/lib/systemd/linger")
PROCESSES = Path("/proc")

_SOCKETS = (("PipeWire", "pipewire-0"), ("PulseAudio", "pulse/native"))
_PROGRAMS = {"pipewire": "PipeWire", "pulseaudio": "PulseAudio"}


@dataclass(frozen=True)
class Server:
    """A sound server's socket.

    Attributes:
        kind: "PipeWire" or "PulseAudio" (whose socket PipeWire has, too).
        path: Where it is.
        owner: Whose it is; "" for one of the whole system.
        lingers: Whether it goes on without a login of its owner's.
        alive: Whether somebody listens; None where we may not ask.
    """

    kind: str
    path: str
    owner: str = ""
    lingers: bool = False
    alive: bool | None = True


@dataclass(frozen=True)
class Surroundings:
    """What sound servers there are for `user`.

    Attributes:
        user: Who asks.
        named: The socket that $PULSE_SERVER names, "" without.
        servers: All that were found.
        used: Whether the configured devices are real ones.
        echo_cancelled: Whether the microphone comes without echo already.
    """

    user: str
    named: str = ""
    servers: tuple[Server, ...] = ()
    used: bool = True
    echo_cancelled: bool = False


def check_sound_server(subject: Subject) -> list[Finding]:
    """Look for sockets of PulseAudio and PipeWire, ours and others'."""
    return judge_surroundings(look_around(subject.config, os.environ))


def look_around(
    config: Config,
    environ: Mapping[str, str],
    *,
    sessions: Path = SESSIONS,
    linger: Path = LINGER,
    processes: Path = PROCESSES,
) -> Surroundings:
    """What there is; waits at most a second for each server."""
    named = environ.get("PULSE_SERVER", "")
    folders = {Path(folder) for folder in (environ.get("XDG_RUNTIME_DIR"),) if folder}
    with contextlib.suppress(OSError):  # there are no logins
        folders |= set(sessions.iterdir())
    running = _servers_running(processes)
    found = [
        server for folder in sorted(folders) for server in _servers_in(folder, linger, running)
    ]
    system = Path("/run/pulse/native")
    if _exists(system):
        found.append(Server("PulseAudio", str(system), "", True, _alive(system)))
    devices = (config.audio.input, config.audio.output)
    return Surroundings(
        user_name(os.geteuid()),
        named.partition("unix:")[2] or named,
        tuple(found),
        any(name != "null" and not name.startswith("file:") for name in devices),
        is_echo_cancelled(config.audio.input),
    )


def judge_surroundings(seen: Surroundings) -> list[Finding]:
    """What they mean for a service of `seen.user`'s."""
    echo = "; the microphone comes without echo" if seen.echo_cancelled else ""
    if not seen.used:
        return [ok(NAME, "none is used: the configuration names no sound device")]
    if seen.named:
        return [_judge_named(seen, echo)]
    mine = [server for server in seen.servers if server.owner in ("", seen.user)]
    gone = next((server for server in mine if server.alive is False), None)
    if gone is not None and not any(server.alive for server in mine):
        return [
            fail(
                NAME,
                f"{gone.kind} of {gone.owner or 'the system'} left its socket {gone.path} and "
                "does not answer",
                "systemctl --user restart pipewire wireplumber, or: pulseaudio --start",
            )
        ]
    login = next((server for server in mine if server.owner and not server.lingers), None)
    if login is not None:
        return [
            warn(
                NAME,
                f"{login.kind} of {login.owner} ends with the last login of {login.owner}, and "
                f"with it the sound{echo}",
                f"sudo loginctl enable-linger {login.owner}",
            )
        ]
    if mine:
        owner = mine[0].owner or "the system"
        return [ok(NAME, f"{mine[0].kind} of {owner}, which goes on without a login{echo}")]
    other = next((server for server in seen.servers if server.alive is not False), None)
    if other is not None:
        return [
            warn(
                NAME,
                f"{other.kind} belongs to {other.owner}: while it has the sound card, "
                f"{seen.user} may find it busy",
                f"take a hw: device that it does not use, or end it: sudo loginctl "
                f"terminate-user {other.owner}; or run slng-edge as {other.owner}'s service",
            )
        ]
    return [ok(NAME, f"none: plain ALSA{echo}")]


def _judge_named(seen: Surroundings, echo: str) -> Finding:
    path = Path(seen.named)
    if path.is_absolute() and not _alive(path):
        return fail(
            NAME,
            f"$PULSE_SERVER names {seen.named}, and nobody answers there",
            "start that server, or unset the variable",
        )
    return ok(NAME, f"the one that $PULSE_SERVER names, {seen.named}{echo}")


def _servers_in(folder: Path, linger: Path, running: set[tuple[str, int]]) -> Iterator[Server]:
    """Those with a socket in `folder`; where it is closed to us, those that its owner runs."""
    uid = int(folder.name) if folder.name.isdigit() else -1
    for kind, name in _SOCKETS:
        path = folder / name
        if _exists(path):
            owner = user_name(path.stat().st_uid)
            yield Server(kind, str(path), owner, (linger / owner).exists(), _alive(path))
        elif (kind, uid) in running:
            owner = user_name(uid)
            yield Server(kind, str(path), owner, (linger / owner).exists(), None)


def _servers_running(processes: Path) -> set[tuple[str, int]]:
    """Kind and user of each sound server that runs, whoever it belongs to."""
    found = set()
    for process in processes.iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                program = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                if program in _PROGRAMS:
                    found.add((_PROGRAMS[program], process.stat().st_uid))
    return found


def _exists(path: Path) -> bool:
    try:
        return path.is_socket()
    except PermissionError:
        return False


def _alive(path: Path) -> bool | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT_S)
        try:
            sock.connect(str(path))
        except PermissionError:
            return None
        except OSError:
            return False
    return True
