"""Which responders there are."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from slng_edge.config import ResponderConfig
from slng_edge.errors import ConfigError
from slng_edge.responders.command import CommandResponder
from slng_edge.responders.echo import EchoResponder
from slng_edge.responders.interface import Responder

Builder = Callable[[ResponderConfig], Responder]


def _echo(config: ResponderConfig) -> Responder:
    return EchoResponder()


def _command(config: ResponderConfig) -> Responder:
    return CommandResponder(config.command)


BUILDERS: tuple[tuple[str, Builder], ...] = (
    ("echo", _echo),
    ("command", _command),
)
"""(`responder.kind`, what makes it)."""


def build_responder(config: ResponderConfig) -> Responder:
    """The responder that `config` asks for.

    Raises:
        ConfigError: there is none of that kind, or it cannot work as it is configured.
    """
    builders = dict(BUILDERS)
    builder = builders.get(config.kind)
    if builder is None:
        near = difflib.get_close_matches(config.kind, builders, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there is {', '.join(builders)}"
        raise ConfigError(f'responder.kind "{config.kind}" is not known; {hint}')
    return builder(config)
