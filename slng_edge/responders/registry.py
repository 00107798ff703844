"""Which responders there are: ours, and those that other packages bring.

A package brings one by an entry point of the group `slng_edge.responders`: its name is what
`responder.kind` says, its object is called with the `ResponderConfig` and returns a `Responder`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from slng_edge.config import ResponderConfig
from slng_edge.errors import ConfigError, SlngEdgeError
from slng_edge.responders.answers import WithAnswers, load_answers
from slng_edge.responders.command import CommandResponder
from slng_edge.responders.echo import EchoResponder
from slng_edge.responders.interface import Responder
from slng_edge.responders.kept_command import KeptCommandResponder
from slng_edge.secrets import read_secret_file

GROUP = "slng_edge.responders"

Builder = Callable[[ResponderConfig, str], Responder]


def _echo(config: ResponderConfig, ca_file: str) -> Responder:
    return EchoResponder()


def _command(config: ResponderConfig, ca_file: str) -> Responder:
    if config.keep_running:
        return KeptCommandResponder(config.command)
    return CommandResponder(config.command)


def _openai(config: ResponderConfig, ca_file: str) -> Responder:
    from slng_edge.responders.openai import OpenAiResponder

    return OpenAiResponder(
        config.url,
        config.model,
        system_prompt=config.system_prompt,
        key=_key(config),
        history_turns=config.history_turns,
        idle_reset_s=config.idle_reset_s,
        ca_file=ca_file,
    )


def _http(config: ResponderConfig, ca_file: str) -> Responder:
    from slng_edge.responders.http import HttpResponder

    return HttpResponder(
        config.url, key=_key(config), idle_reset_s=config.idle_reset_s, ca_file=ca_file
    )


BUILDERS: tuple[tuple[str, Builder], ...] = (
    ("echo", _echo),
    ("command", _command),
    ("openai", _openai),
    ("http", _http),
)
"""(`responder.kind`, what makes it of the section and `gateway.ca_file`)."""


def build_responder(config: ResponderConfig, *, ca_file: str = "") -> Responder:
    """The responder that `config` asks for.

    Args:
        config: The section `responder`.
        ca_file: `gateway.ca_file`: an extra certificate authority, "" for none.

    Raises:
        ConfigError: there is none of that kind, it cannot work as it is configured, or the
            package that brings it is broken.
    """
    responder = _build(config, ca_file)
    if config.answers_file:
        return WithAnswers(responder, load_answers(config.answers_file))
    return responder


def _build(config: ResponderConfig, ca_file: str) -> Responder:
    builders = dict(BUILDERS)
    builder = builders.get(config.kind)
    if builder is not None:
        return builder(config, ca_file)
    from importlib.metadata import entry_points  # 20 ms, for who needs it

    found = entry_points(group=GROUP)
    brought = [point for point in found if point.name == config.kind]
    if not brought:
        known = [*builders, *sorted({point.name for point in found} - {*builders})]
        near = difflib.get_close_matches(config.kind, known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there is {', '.join(known)}"
        raise ConfigError(f'responder.kind "{config.kind}" is not known; {hint}')
    if len(brought) > 1:
        packages = " and ".join(sorted(map(_package, brought)))
        raise ConfigError(f'responder.kind "{config.kind}" is brought by {packages}: remove one')
    return _build_brought(brought[0], config)


def _build_brought(point: Any, config: ResponderConfig) -> Responder:
    try:
        responder = point.load()(config)
    except SlngEdgeError:
        raise
    except Exception as error:
        raise _broken(point, f"{type(error).__name__}: {error}") from error
    missing = [name for name in ("respond", "cancel", "close") if not hasattr(responder, name)]
    if missing:
        raise _broken(point, f"what it makes has no {', no '.join(missing)}")
    return responder  # type: ignore[no-any-return]


def _broken(point: Any, why: str) -> ConfigError:
    return ConfigError(
        f'responder.kind "{point.name}": the package {_package(point)}, which brings it, '
        f"fails: {why} ({point.value}); repair or update the package"
    )


def _package(point: Any) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else str(point.value)


def _key(config: ResponderConfig) -> str:
    if not config.api_key_file:
        return ""
    return read_secret_file(config.api_key_file, "responder.api_key_file")
