"""Read the configuration, and say everything that is wrong with it at once.

Values come from four places, each winning over the one before: the built-in ones, one file,
the environment, and `-s`. Whatever comes in is first brought to one shape (`Given`), then
laid over the built-in values by a `_Reading`, which collects the problems.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slng_edge.config import Config
from slng_edge.config_checks import looks_like_a_secret, nearest, out_of_bounds
from slng_edge.config_rules import conflicts, unavailable
from slng_edge.config_sources import (
    Given,
    file_to_read,
    from_environment,
    from_file,
    from_overrides,
    read_text,
)
from slng_edge.config_text import toml_value, without_password
from slng_edge.errors import ConfigError

__all__ = ["BUILT_IN", "LoadedConfig", "load", "load_config", "unavailable"]

BUILT_IN = "built-in"

SHOWN_CHARACTERS = 80
"""How much of a wrong value a message repeats."""

_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "str": (str, "a string"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "tuple[str, ...]": (list, 'a list of strings such as ["a", "b"]'),
    "Mapping[str, Any]": (dict, "a table such as { key = 1 }"),
}


@dataclass(frozen=True)
class LoadedConfig:
    """A configuration and where it came from.

    Attributes:
        config: The effective values.
        file: The file that was read, None where there was none.
        origins: For each "section.key" that is not built-in, "file PATH",
            "environment NAME" or "-s".
    """

    config: Config
    file: Path | None
    origins: Mapping[str, str]


def load_config(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """The effective configuration.

    Args:
        path: The file to read; None searches as `contract.md` says, and none is needed.
        overrides: What `-s` takes: "section.key=value".
        environ: Where `SLNG_EDGE_…` is looked for.

    Raises:
        ConfigError: A file that was named cannot be read or is not TOML, or any value is
            unknown, of a wrong type or not allowed. `problems` has a line for each.
    """
    return load(path, overrides, environ).config


def load(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> LoadedConfig:
    """As `load_config`, with where each value came from."""
    reading = _Reading()
    file = file_to_read(path, environ)
    if file is not None:
        try:
            for given in from_file(file):
                reading.receive(given)
        except ConfigError as error:
            reading.problems += error.problems
    for given in (*from_environment(environ), *from_overrides(overrides)):
        reading.receive(given)
    return LoadedConfig(reading.config(), file, reading.origins)


class _Reading:
    """Lays values over the built-in ones and collects what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.origins: dict[str, str] = {}
        self._refused: set[str] = set()
        built_in = Config()
        self._sections: dict[str, Any] = {
            section.name: getattr(built_in, section.name) for section in dataclasses.fields(Config)
        }
        self._keys: dict[str, dict[str, dataclasses.Field[Any]]] = {
            name: {key.name: key for key in dataclasses.fields(section)}
            for name, section in self._sections.items()
        }

    def receive(self, given: Given) -> None:
        """Take `given`, or note what is wrong with it."""
        problem = self._unknown(given) or self._taken(given)
        if problem:
            self.problems.append(f"{problem} ({given.origin})")
            self._refused.add(".".join(given.path[:2]))

    def config(self) -> Config:
        """The configuration.

        Raises:
            ConfigError: There were problems, or settings do not go together.
        """
        config = Config(**self._sections)
        for keys, problem in conflicts(config):
            if self._refused.isdisjoint(keys):
                origins = {self.origins.get(key, BUILT_IN) for key in keys} - {BUILT_IN}
                self.problems.append(f"{problem} ({', '.join(sorted(origins))})")
        if self.problems:
            raise ConfigError(*self.problems)
        return config

    def _unknown(self, given: Given) -> str:
        section, *rest = given.path
        if looks_like_a_secret(given.path[-1]) and not self._is_known(given.path):
            return _misplaced_secret(given, self._keys)
        if section not in self._keys:
            return self._unknown_section(given)
        if not rest:
            return f"{section} is a section: write {_as_written(section, given)}"
        key, *inside = rest
        if key not in self._keys[section]:
            near = nearest(key, self._keys[section])
            places = [near and f"{section}.{near}"] if near else self._sections_with(key)
            return f"{section}.{key} is not a known key{_did_you_mean(places)}"
        if inside and self._keys[section][key].type != "Mapping[str, Any]":
            return f"{given.name} is not a known key: {section}.{key} is not a table"
        return "" if all(inside) else f"{given.name} has an empty name in it"

    def _unknown_section(self, given: Given) -> str:
        section = given.path[0]
        near = nearest(section, self._keys)
        if len(given.path) == 1 and not near:
            places = self._sections_with(section)
            return f"{section} stands outside of every section{_did_you_mean(places)}"
        return f"[{section}] is not a known section{_did_you_mean([near] if near else [])}"

    def _is_known(self, path: tuple[str, ...]) -> bool:
        return len(path) == 2 and path[1] in self._keys.get(path[0], {})

    def _sections_with(self, key: str) -> list[str]:
        return [f"{section}.{key}" for section, keys in self._keys.items() if key in keys]

    def _taken(self, given: Given) -> str:
        section, name, *inside = given.path
        key = self._keys[section][name]
        value = given.value
        if given.as_text:
            if value is None:
                return f"{given.name} has no value: write {given.name}=VALUE"
            value = read_text(value, as_string=key.type == "str")
        if inside:
            value = _with_inside(getattr(self._sections[section], name), inside, value)
        if problem := out_of_bounds(value):
            return f"{section}.{name} {problem}"
        problem = _type_problem(value, str(key.type)) or _character_problem(value, name)
        if not problem:
            value = tuple(value) if isinstance(value, list) else value
            problem = key.metadata["check"](value)
        if problem:
            return f"{section}.{name} = {_shown(value, name)} {problem}"
        if key.type == "float":
            value = float(value)
        self._sections[section] = dataclasses.replace(self._sections[section], **{name: value})
        self.origins[f"{section}.{name}"] = given.origin
        return ""


def _with_inside(table: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of `table` with `value` at `path`, tables made on the way."""
    whole = copy.deepcopy(dict(table))
    at = whole
    for name in path[:-1]:
        deeper = at.get(name)
        at[name] = deeper if isinstance(deeper, dict) else {}
        at = at[name]
    at[path[-1]] = value
    return whole


def _type_problem(value: Any, wanted: str) -> str:
    types, words = _TYPES[wanted]
    good = isinstance(value, types) and (wanted == "bool" or not isinstance(value, bool))
    if good and isinstance(value, list):
        good = all(isinstance(item, str) for item in value)
    return "" if good else f"must be {words}"


def _character_problem(value: Any, key: str) -> str:
    """Control characters and bytes that are no text: headers, paths and argv carry neither."""
    allowed = "\n\t" if key in ("system_prompt", "command", "state") else ""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and re.search(
            "[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text.translate(dict.fromkeys(map(ord, allowed)))
        ):
            return "must not hold control characters"
    return ""


def _misplaced_secret(given: Given, keys: Mapping[str, Mapping[str, Any]]) -> str:
    section = given.path[0] if len(given.path) > 1 else "gateway"
    where = [f"{section}.{key}" for key in keys.get(section, {}) if key.endswith("key_file")]
    where += [f"{section}.{key}" for key in keys.get(section, {}) if key == "token_file"]
    text = f"{given.name}: a secret never stands in the configuration or on the command line"
    if section == "gateway":
        return (
            f"{text}; give the key in $SLNG_API_KEY, as the systemd credential slng-api-key, or "
            f"in a file that only you can read, named by {' or '.join(where)}"
        )
    return f"{text}; name a file that holds it in {where[0]}" if where else text


def _as_written(section: str, given: Given) -> str:
    return f"{section}.key=value" if given.as_text else f"[{section}] and its keys below it"


def _did_you_mean(places: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(places)}?" if places else ""


def _shown(value: Any, key: str) -> str:
    """A wrong value as a message may repeat it: short, on one line, and never a secret."""
    if key.endswith(("key_file", "token_file")) or isinstance(value, dict):
        return "…"
    text = re.sub(r"(://[^?]*\?).*", r"\1…", toml_value(without_password(value)))
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
