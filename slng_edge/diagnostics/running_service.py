"""The service that runs, as its control socket and systemd see it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slng_edge.diagnostics.finding import Finding, fail, ok, warn

UNIT = "slng-edge.service"
TIMEOUT_S = 3.0

_WORKS = ("open", "reopened")


@dataclass(frozen=True)
class RunningService:
    """What is known of it.

    Attributes:
        status: What `ctl status --json` prints; empty where nothing answered.
        problem: Why nothing answered; empty where it did, or where nothing was asked.
        reachable: False where a service is there and this user may not ask it, or it hangs.
    """

    status: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    reachable: bool = True

    @property
    def answers(self) -> bool:
        """Whether it runs and has said how it is."""
        return bool(self.status)

    def device(self, which: str) -> tuple[str, str]:
        """State and name of its "input" or "output"; ("", "") where it has said nothing."""
        found = _table(_table(self.status, "devices"), which)
        return str(found.get("state", "")), str(found.get("name", ""))

    def holds(self, which: str) -> bool:
        """Whether it has that device open."""
        return self.device(which)[0] in _WORKS

    @property
    def muted(self) -> bool:
        """Whether it hears nothing, because it was told to: its microphone is closed."""
        return bool(self.status.get("muted"))

    def lacks(self, setting: str) -> str:
        """Why what `setting` asks for does not work, though it runs; "" where it does."""
        return str(_table(self.status, "problems").get(setting, ""))

    def session(self, kind: str) -> tuple[str, str, str]:
        """State, model and last failure of its session "stt" or "tts"; empty where unknown."""
        found = _table(_table(self.status, "sessions"), kind)
        failure = _table(found, "last_failure")
        words = " ".join(str(failure[key]) for key in ("code", "reason") if failure.get(key))
        return str(found.get("state", "")), str(found.get("model", "")), words


@dataclass(frozen=True)
class UnitState:
    """What systemd says of a unit: `LoadState`, `ActiveState`, `Result`; empty without systemd."""

    load: str = ""
    active: str = ""
    result: str = ""

    @property
    def installed(self) -> bool:
        """Whether there is such a unit."""
        return self.load == "loaded"


def unit_properties(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit by name, as `systemctl show` prints them; none without systemd.

    Waits at most `TIMEOUT_S`.
    """
    if not Path("/run/systemd/system").is_dir():
        return {}
    try:
        asked = subprocess.run(
            ["systemctl", "show", unit, "--property", ",".join(names)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return properties_in(asked.stdout)


def properties_in(text: str) -> dict[str, str]:
    """`NAME=VALUE` lines as a table."""
    lines = (line.partition("=") for line in text.splitlines())
    return {name: value for name, equals, value in lines if equals}


def unit_state(unit: str = UNIT) -> UnitState:
    """The state of `unit`; waits at most `TIMEOUT_S`."""
    said = unit_properties(unit, "LoadState", "ActiveState", "Result")
    return UnitState(said.get("LoadState", ""), said.get("ActiveState", ""), said.get("Result", ""))


def judge_service(service: RunningService, unit: UnitState) -> Finding:
    """Whether a service runs, and how it is."""
    name = "service"
    if service.answers:
        state = str(service.status.get("state"))
        words = f"it runs, process {_table(service.status, 'process').get('pid', '?')}: {state}"
        if state == "error":
            return fail(name, words, "slng-edge ctl status, and: journalctl -u slng-edge -n 50")
        if state == "offline":
            return warn(name, words, "see the lines about the gateway")
        return ok(name, words)
    if unit.active in ("active", "reloading") or not service.reachable:
        return warn(
            name,
            f"it runs, and does not say how it is: {service.problem or 'it has no control socket'}",
            "sudo slng-edge doctor --as-service, or set control.socket",
        )
    if unit.active == "activating":
        return warn(
            name, f"it is being started (last result: {unit.result})", "journalctl -u slng-edge -f"
        )
    if unit.active == "failed":
        return fail(
            name,
            f"it has failed: {unit.result}",
            "journalctl -u slng-edge -n 50; then: sudo systemctl restart slng-edge",
        )
    if unit.installed:
        return warn(name, "it is installed and does not run", "sudo systemctl start slng-edge")
    return ok(name, "none is installed here, and none runs")


def _table(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = of.get(name)
    return table if isinstance(table, Mapping) else {}
