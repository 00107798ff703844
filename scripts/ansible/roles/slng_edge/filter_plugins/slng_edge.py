"""What the role asks of values: a configuration as TOML, and what is wrong with a status."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def to_toml(config: Mapping[str, Any]) -> str:
    """Sections of a configuration as the text of its file.

    Raises:
        AnsibleFilterError: a section is none, or a value is of a kind that TOML does not have.
    """
    lines: list[str] = []
    for section, values in config.items():
        if not isinstance(values, Mapping):
            raise AnsibleFilterError(f"slng_edge_config.{section} has to be a section with keys")
        lines += ["", f"[{_key(section)}]"]
        lines += [f"{_key(key)} = {_value(value, section, key)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _key(name: object) -> str:
    # Quoted or not, it is the same key.
    text = str(name)
    return text if text.isascii() and text.isidentifier() else _text(text)


def _text(text: str) -> str:
    # A string of JSON is one of TOML, as long as its characters stand for themselves.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _value(value: Any, *where: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        held = (f"{_key(key)} = {_value(inner, *where, key)}" for key, inner in value.items())
        return "{" + ", ".join(held) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(inner, *where) for inner in value) + "]"
    name = ".".join(str(part) for part in where)
    raise AnsibleFilterError(f"slng_edge_config.{name}: {value!r} is nothing that TOML has")


def failing(asked: Mapping[str, Any]) -> list[str]:
    """A line for each thing that `ctl status --json` says does not work; none where all is well."""
    if asked.get("rc") != 0:
        return [f"FAIL  control socket: {asked.get('stderr') or 'no answer'}"]
    status = json.loads(asked["stdout"])
    lines = []
    for which, name in (("input", "microphone"), ("output", "speaker")):
        state = status.get("devices", {}).get(which, {}).get("state", "none")
        if state not in ("open", "reopened"):
            advice = "sudo slng-edge doctor --as-service says what is in the way"
            lines.append(f"FAIL  {name}: {state}; {advice}")
    for name in ("stt", "tts"):
        session = status.get("sessions", {}).get(name, {})
        state, failure = session.get("state", "none"), session.get("last_failure", {})
        why = " ".join(str(failure[key]) for key in ("code", "reason") if key in failure)
        # A free plan has one connection, which the other session takes when it is its turn.
        if state != "ready" and not (name == "tts" and "place" in why):
            lines.append(f"FAIL  {name}: {state}; {why or 'no answer yet'}")
    return lines


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """The filters by their names in templates."""
        return {"slng_edge_to_toml": to_toml, "slng_edge_failing": failing}
