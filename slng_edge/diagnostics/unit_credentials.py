"""Which files a unit takes its credentials from."""

from __future__ import annotations

import json
import subprocess
from typing import Any

TIMEOUT_S = 3.0


def credential_files(unit: str) -> dict[str, str]:
    """Name and file of each LoadCredential= of `unit`; empty where there is none, or no systemd.

    Waits at most 3 s. One without a path is passed on from elsewhere, and left out.
    """
    pairs = service_property(unit, "LoadCredential")
    return {str(name): str(path) for name, path in pairs if str(path).startswith("/")}


def service_property(unit: str, name: str) -> list[tuple[Any, Any]]:
    """A property of `unit` that is a list of pairs; empty where it is not, or without systemd.

    Asked of the bus: `systemctl show` of systemd 252 prints "[unprintable]" for credentials, and
    a line for each of several environment files. Waits at most 3 s.
    """
    command = ["busctl", "--json=short", "get-property", "org.freedesktop.systemd1"]
    command += [_object_path(unit), "org.freedesktop.systemd1.Service", name]
    try:
        asked = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        pairs = json.loads(asked.stdout)["data"] if asked.returncode == 0 else []
        return [(first, second) for first, second in pairs]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return []


def _object_path(unit: str) -> str:
    """As systemd names units on the bus: what is no letter or digit as "_" and its hex code."""
    # systemctl takes "slng-edge@hall" for a service, too.
    unit = unit if unit.endswith(".service") else f"{unit}.service"
    return "/org/freedesktop/systemd1/unit/" + "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"_{byte:02x}"
        for byte in unit.encode()
    )
