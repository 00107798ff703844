"""Which responders there are."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from slng_edge.config import ResponderConfig
from slng_edge.errors import ConfigError
from slng_edge.responders.command import CommandResponder
from slng_edge.responders.echo import EchoResponder
from slng_edge.responders.registry import build_responder


def config(kind: str, command: tuple[str, ...] = ()) -> ResponderConfig:
    return dataclasses.replace(ResponderConfig(), kind=kind, command=command)


def test_each_kind_is_built() -> None:
    """What the config calls it is what is made."""
    assert isinstance(build_responder(config("echo")), EchoResponder)
    assert isinstance(build_responder(config("command", (sys.executable,))), CommandResponder)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("ecko", 'responder.kind "ecko" is not known; did you mean "echo"'),
        ("comand", 'did you mean "command"'),
        ("xyz", "there is echo, command"),
    ],
)
def test_an_unknown_kind_is_a_config_error_with_a_hint(kind: str, says: str) -> None:
    """A typing error is answered with the nearest kind, else with all of them."""
    with pytest.raises(ConfigError, match=says):
        build_responder(config(kind))


def test_a_command_that_cannot_run_is_found_when_it_is_built() -> None:
    """`run` says so at its start, not in the first conversation."""
    with pytest.raises(ConfigError, match="no program nowhere-to-be-found"):
        build_responder(config("command", ("nowhere-to-be-found",)))
