"""Who runs it, and what that user may open: sound, buttons, the control socket."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from slng_edge.diagnostics.finding import Finding, fail, ok, warn
from slng_edge.diagnostics.inspection import Subject
from slng_edge.diagnostics.running_service import UNIT, unit_properties
from slng_edge.diagnostics.sound_holders import SOUND

NAME = "user"


@dataclass(frozen=True)
class Access:
    """What a user may do with a device or a socket; `there` says whether it exists at all."""

    there: bool = False
    allowed: bool = False
    group: str = ""


@dataclass(frozen=True)
class Rights:
    """A user's, as the kernel sees them.

    Attributes:
        user: The name.
        groups: Names of all groups of this process.
        root: Whether it is root.
        service_user: Whom the installed unit runs as; "" where none is installed.
        sound: The sound cards.
        gpio: The pins; None where no button is configured.
        socket: The control socket.
    """

    user: str
    groups: tuple[str, ...]
    root: bool = False
    service_user: str = ""
    sound: Access = Access()
    gpio: Access | None = None
    socket: Access = Access()


def check_user(subject: Subject) -> list[Finding]:
    """Who this is, and what it may."""
    config = subject.config
    uid = os.geteuid()
    service_user = unit_properties(UNIT, "LoadState", "User")
    installed = service_user.get("LoadState") == "loaded"
    return judge_rights(
        Rights(
            user_name(uid),
            tuple(group_name(gid) for gid in sorted({os.getegid(), *os.getgroups()})),
            uid == 0,
            service_user.get("User") or "root" if installed else "",
            _access(sorted(SOUND.glob("pcm*"))),
            _access(sorted(Path("/dev").glob("gpiochip*"))) if config.wake.button_gpio else None,
            _access([Path(config.control.socket).expanduser()] if config.control.socket else []),
        )
    )


def judge_rights(rights: Rights) -> list[Finding]:
    """One finding where all is well, else one for each thing that is not."""
    join = f"sudo usermod -aG {{}} {rights.user}, and log in again (a service: restart it)"
    findings = []
    if rights.sound.there and not rights.sound.allowed:
        group = rights.sound.group or "audio"
        findings.append(
            fail(NAME, f"{rights.user} may not open the sound cards", join.format(group))
        )
    if rights.gpio is not None:
        if not rights.gpio.there:
            findings.append(
                fail(NAME, "wake.button_gpio is set, and there are no pins", "set it to 0")
            )
        elif not rights.gpio.allowed:
            group = rights.gpio.group or "gpio"
            findings.append(
                fail(NAME, f"{rights.user} may not read the button's pin", join.format(group))
            )
    if rights.socket.there and not rights.socket.allowed:
        findings.append(
            warn(
                NAME,
                f"{rights.user} may not control the running service",
                join.format(rights.socket.group or "slng-edge"),
            )
        )
    if findings:
        return findings
    hint = ""
    if rights.service_user not in ("", rights.user):
        hint = (
            f"the service runs as {rights.service_user}: sudo slng-edge doctor --as-service "
            "looks with its eyes"
        )
    if rights.root:
        return [ok(NAME, "root, who may open everything", hint)]
    return [ok(NAME, f"{rights.user}, groups {' '.join(rights.groups)}", hint)]


def user_name(uid: int) -> str:
    """The user's name, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The group's name, or its number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _access(files: list[Path]) -> Access:
    """Whether all of `files` may be read and written; by the rights of this process."""
    there = [file for file in files if os.path.exists(file)]
    if not there:
        return Access()
    closed = [file for file in there if not os.access(file, os.R_OK | os.W_OK)]
    try:
        group = group_name((closed or there)[0].stat().st_gid)
    except OSError:
        group = ""
    return Access(True, not closed, group)
