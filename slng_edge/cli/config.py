"""`slng-edge config`: what is in force, what is wrong with it, a file to begin with."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slng_edge.cli import loaded_config_of
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.cli.terminal import print_json
from slng_edge.config import GatewayConfig, each_value
from slng_edge.config_loading import BUILT_IN, LoadedConfig
from slng_edge.config_text import effective_text, starter_text, without_password
from slng_edge.errors import ConfigError, SlngEdgeError, UsageError
from slng_edge.secrets import find_api_key, mask


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `config`."""
    parser.add_argument(
        "action",
        choices=("show", "check", "init"),
        help="show: the effective values and where they come from; check: everything that is "
        "wrong at once (exit status 78); init: a commented file with every key",
    )
    parser.add_argument(
        "path", nargs="?", metavar="PATH", help="init: the file to make, instead of stdout"
    )
    parser.add_argument("--json", action="store_true", help="show and check: as JSON")


def run(args: argparse.Namespace) -> int:
    """Carry out `config`; the exit status.

    Raises:
        ConfigError: The configuration is wrong, or (check) cannot be run by this version.
        UsageError: An argument does not belong to the action.
        SlngEdgeError: The file of init exists or cannot be made.
    """
    if args.path is not None and args.action != "init":
        raise UsageError(f"config {args.action} takes no PATH; name a file with --config")
    if args.json and args.action == "init":
        raise UsageError(f"config {args.action} has no --json")
    actions: dict[str, Callable[[argparse.Namespace], None]] = {
        "show": _show,
        "check": _check,
        "init": _init,
    }
    actions[args.action](args)
    return ExitStatus.DONE


def _show(args: argparse.Namespace) -> None:
    loaded = loaded_config_of(args)
    if args.json:
        print_json(_as_json(loaded), indent=2)
        return
    print(f"# The file: {_file_words(loaded)}")
    print(f"# The key: {_key_words(loaded.config.gateway)}\n")
    print(effective_text(loaded.config, loaded.origins), end="")


def _as_json(loaded: LoadedConfig) -> dict[str, Any]:
    """`config show --json`: file, key, config (section, key, value), origins (section.key)."""
    config: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    for section, key, value in each_value(loaded.config):
        config.setdefault(section, {})[key] = without_password(value)
        origins[f"{section}.{key}"] = loaded.origins.get(f"{section}.{key}", BUILT_IN)
    return {
        "file": str(loaded.file) if loaded.file else None,
        "key": _key_words(loaded.config.gateway),
        "config": config,
        "origins": origins,
    }


def _check(args: argparse.Namespace) -> None:
    from slng_edge.diagnostics.config_problems import all_problems_of

    if args.json:
        _check_json(args)
        return
    loaded = loaded_config_of(args)
    problems = all_problems_of(loaded.config)
    if problems:
        raise ConfigError(*problems)
    print(f"ok: {_file_words(loaded)}")
    print(f"key: {_key_words(loaded.config.gateway)}")


def _check_json(args: argparse.Namespace) -> None:
    """The same as an object; what is wrong stands in it, and the status is 78 all the same."""
    from slng_edge.diagnostics.config_problems import all_problems_of

    file = key = None
    try:
        loaded = loaded_config_of(args)
        file, key = loaded.file, _key_words(loaded.config.gateway)
        problems = all_problems_of(loaded.config)
    except ConfigError as error:
        problems = list(error.problems)
    print_json(
        {
            "ok": not problems,
            "file": str(file) if file else None,
            "key": key,
            "problems": [mask(problem) for problem in problems],
        },
        indent=2,
    )
    if problems:
        raise ConfigError(*problems)


def _init(args: argparse.Namespace) -> None:
    if args.path in (None, "-"):
        print(starter_text(), end="")
        return
    path = Path(os.path.expanduser(args.path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "x", encoding="utf-8")  # noqa: SIM115 - closed below
        try:
            with file:
                file.write(starter_text())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()  # half of one would be taken for a whole one
            raise
    except FileExistsError as error:
        raise SlngEdgeError(f"{error.filename} exists and is left as it is") from error
    except OSError as error:
        raise SlngEdgeError(f"cannot write {path}: {error.strerror}") from error
    print(path)


def _file_words(loaded: LoadedConfig) -> str:
    return f"{loaded.file}" if loaded.file else "no configuration file, built-in values"


def _key_words(gateway: GatewayConfig) -> str:
    """Where the key is, never the key."""
    try:
        where = find_api_key(gateway)[1]
    except ConfigError as error:
        return str(error)
    return f"in {where}" if where else "none was found"
