"""Whom the service's unit runs as, and with what: as systemd says, else as we install it."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from slng_edge.diagnostics.environment_files import environment_files, read_environment_files
from slng_edge.diagnostics.running_service import unit_properties
from slng_edge.diagnostics.unit_credentials import credential_files
from slng_edge.errors import SlngEdgeError

DEFAULT_USER = "slng-edge"
DEFAULT_GROUPS = ("audio",)

_PROPERTIES = (
    *("LoadState", "User", "Group", "SupplementaryGroups", "Environment"),
    *("StateDirectory", "ExecStart"),
)


@dataclass(frozen=True)
class ServiceUnit:
    """What a unit says.

    Attributes:
        user: Its name; uid, gid and home are the user's.
        groups: All of its groups, by number.
        environment: Variables that the unit sets, those of its files included.
        credentials: Name of each, and the file that it comes from.
        state_directory: "" for none.
        config_file: What its command names with --config, "" for none.
    """

    user: str
    uid: int
    gid: int
    home: str
    groups: tuple[int, ...]
    environment: Mapping[str, str]
    credentials: Mapping[str, str]
    state_directory: str = ""
    config_file: str = ""


def service_unit(unit: str, *, named: bool = False) -> ServiceUnit:
    """The unit of that name; waits for systemd, at most 3 s.

    Args:
        unit: Its name.
        named: Somebody asked for this one: where it is not there, ours as installed is no answer.

    Raises:
        SlngEdgeError: there is no such unit, or its user, a group or an environment file of it
            does not exist.
    """
    said = unit_properties(unit, *_PROPERTIES)
    if named and said.get("LoadState") != "loaded":
        raise SlngEdgeError(_not_there(unit, said))
    from_files = read_environment_files(environment_files(unit))
    return unit_of(said, credential_files(unit), from_files)


def _not_there(unit: str, said: Mapping[str, str]) -> str:
    if not said:
        return f"cannot look up the unit {unit}: systemd does not run here, or does not answer"
    why = said.get("LoadState", "")
    there_is = "there is no" if why == "not-found" else f"systemd cannot load ({why}) the"
    return f"{there_is} unit {unit}; those there are: systemctl list-units --all 'slng-edge*'"


def unit_of(
    said: Mapping[str, str],
    credentials: Mapping[str, str],
    from_files: Mapping[str, str] | None = None,
) -> ServiceUnit:
    """The unit with these properties (`systemctl show`); ours as installed where there is none.

    Args:
        said: Names and values.
        credentials: Name and file of each (`credential_files`).
        from_files: Variables of its environment files; they go before those of the unit itself.

    Raises:
        SlngEdgeError: its user or a group of it does not exist.
    """
    loaded = said.get("LoadState") == "loaded"
    name = said.get("User", "") or ("root" if loaded else DEFAULT_USER)
    try:
        user = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError as error:
        raise SlngEdgeError(
            f"there is no user {name}: install the service (scripts/install), or make one: "
            f"sudo useradd --system --groups audio {name}"
        ) from error
    gid = _gid(said["Group"]) if said.get("Group") else user.pw_gid
    named = said.get("SupplementaryGroups", "").split() if loaded else DEFAULT_GROUPS
    groups = {gid, *os.getgrouplist(user.pw_name, gid), *map(_gid, named)}
    state = said.get("StateDirectory", "").split()
    config_file = re.search(r"argv\[\]=[^;]*?\s--config[ =](\S+)", said.get("ExecStart", ""))
    return ServiceUnit(
        user.pw_name,
        user.pw_uid,
        gid,
        user.pw_dir,
        tuple(sorted(groups)),
        {**environment_in_unit(said), **(from_files or {})},
        credentials,
        f"/var/lib/{state[0]}" if state else "",
        config_file[1] if config_file else "",
    )


def _gid(name: str) -> int:
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise SlngEdgeError(
            f"there is no group {name}, which the service's unit names: sudo groupadd {name}"
        ) from error


def environment_in_unit(said: Mapping[str, str]) -> dict[str, str]:
    """The variables of Environment=, from a unit's properties."""
    pairs = (word.partition("=") for word in shlex.split(said.get("Environment", "")))
    return {name: value for name, equals, value in pairs if equals}
