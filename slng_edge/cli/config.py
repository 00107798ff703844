"""`slng-edge config`: what is in force, what is wrong with it, a file to begin with."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from slng_edge.cli import loaded_config_of
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.config import (
    CLASSIC_MODELS,
    CLASSIC_TTS_RATE_HZ,
    Config,
    GatewayConfig,
    each_value,
)
from slng_edge.config_loading import BUILT_IN, LoadedConfig
from slng_edge.config_rules import unavailable
from slng_edge.config_text import effective_text, starter_text, without_password
from slng_edge.errors import ConfigError, MissingLibrary, SlngEdgeError, UsageError
from slng_edge.gateway.endpoints import endpoint_of
from slng_edge.secrets import find_api_key, read_api_key, read_secret_file

_SOME_KEY = "any"


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
    parser.add_argument("--json", action="store_true", help="show: as JSON")


def run(args: argparse.Namespace) -> int:
    """Carry out `config`; the exit status.

    Raises:
        ConfigError: The configuration is wrong, or (check) cannot be run by this version.
        UsageError: An argument does not belong to the action.
        SlngEdgeError: The file of init exists or cannot be made.
    """
    if args.path is not None and args.action != "init":
        raise UsageError(f"config {args.action} takes no PATH; name a file with --config")
    if args.json and args.action != "show":
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
        print(json.dumps(_as_json(loaded), indent=2))
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
    loaded = loaded_config_of(args)
    problems = [
        *unavailable(loaded.config),
        *_endpoint_problems(loaded.config),
        *_dialect_problems(loaded.config),
        *_part_problems(loaded.config),
    ]
    if problems:
        raise ConfigError(*problems)
    print(f"ok: {_file_words(loaded)}")
    print(f"key: {_key_words(loaded.config.gateway)}")


def _endpoint_problems(config: Config) -> list[str]:
    """What keeps the key and the addresses of both sessions from being put together."""
    # Paths are no part of this check, and `unavailable` judges the protocol.
    gateway = dataclasses.replace(config.gateway, protocol="bridge")
    problems: list[str] = []
    # That there is no key is no fault of the configuration: the service may well have one.
    key = _SOME_KEY
    try:
        key = read_api_key(gateway) or _SOME_KEY
    except ConfigError as error:
        problems += error.problems
    try:
        if gateway.provider_key_file:
            read_secret_file(gateway.provider_key_file, "gateway.provider_key_file")
    except ConfigError as error:
        problems += error.problems
        gateway = dataclasses.replace(gateway, provider_key_file="")
    for kind, models in _models_of(config):
        for model in models:
            try:
                endpoint_of(gateway, kind=kind, model=model, key=key)
            except ConfigError as error:
                problems += error.problems
    return list(dict.fromkeys(problems))


def _dialect_problems(config: Config) -> list[str]:
    """What the first message of a session cannot say: options, languages."""
    from slng_edge.protocol.dialects import stt_dialect_factory, tts_dialect_factory  # numpy

    stt, tts = config.stt, config.tts
    classic = config.gateway.protocol == "classic"
    models = dict(_models_of(config))
    make: list[Callable[[], object]] = [
        functools.partial(
            stt_dialect_factory,
            protocol=config.gateway.protocol,
            model=model,
            sample_rate_hz=stt.sample_rate,
            language=stt.language,
            options=stt.options,
        )
        for model in models["stt"]
        if not classic or model in CLASSIC_MODELS["stt"]
    ]
    # `unavailable` judges what the classic protocol does not know at all.
    make += [
        functools.partial(
            tts_dialect_factory,
            protocol=config.gateway.protocol,
            model=model,
            voice=tts.voice,
            sample_rate_hz=CLASSIC_TTS_RATE_HZ if classic else tts.sample_rate,
            language=tts.language,
            speed=1.0 if classic else tts.speed,
            options=tts.options,
        )
        for model in models["tts"]
        if not classic or model in CLASSIC_MODELS["tts"]
    ]
    problems: list[str] = []
    for factory in make:
        try:
            factory()
        except ConfigError as error:
            problems += error.problems
    return list(dict.fromkeys(problems))


def _part_problems(config: Config) -> list[str]:
    """What cannot be loaded: sounds, the responder with its files, wake words."""
    from slng_edge.audio.chimes import load_sounds  # numpy
    from slng_edge.responders.registry import build_responder
    from slng_edge.wake.registry import build_wake_listener

    def load_responder() -> None:
        build_responder(config.responder, ca_file=config.gateway.ca_file).close()

    def load_wake_words() -> None:
        if config.wake.mode == "word":
            build_wake_listener(config).close()

    problems: list[str] = []
    for load in (
        lambda: load_sounds(config.sounds, config.tts.sample_rate),
        load_responder,
        load_wake_words,
    ):
        try:
            load()
        except ConfigError as error:
            problems += error.problems
        except MissingLibrary as error:
            problems.append(str(error))
    return problems


def _models_of(config: Config) -> Iterator[tuple[Literal["stt", "tts"], tuple[str, ...]]]:
    yield "stt", (config.stt.model, *config.stt.fallbacks)
    yield "tts", (config.tts.model, *config.tts.fallbacks)


def _init(args: argparse.Namespace) -> None:
    if args.path in (None, "-"):
        print(starter_text(), end="")
        return
    path = Path(os.path.expanduser(args.path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(starter_text())
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
