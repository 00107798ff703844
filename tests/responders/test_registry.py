"""Which responders there are, ours and those of other packages."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer

from slng_edge.config import ResponderConfig
from slng_edge.errors import ConfigError
from slng_edge.responders.command import CommandResponder
from slng_edge.responders.echo import EchoResponder
from slng_edge.responders.http import HttpResponder
from slng_edge.responders.openai import OpenAiResponder
from slng_edge.responders.registry import GROUP, build_responder

URL = "http://127.0.0.1:8080/v1"


def config(kind: str, command: tuple[str, ...] = (), **more: Any) -> ResponderConfig:
    return dataclasses.replace(ResponderConfig(), kind=kind, command=command, **more)


def test_each_kind_is_built() -> None:
    """What the config calls it is what is made."""
    assert isinstance(build_responder(config("echo")), EchoResponder)
    assert isinstance(build_responder(config("command", (sys.executable,))), CommandResponder)
    assert isinstance(build_responder(config("openai", url=URL, model="m")), OpenAiResponder)
    assert isinstance(build_responder(config("http", url=URL)), HttpResponder)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("ecko", 'responder.kind "ecko" is not known; did you mean "echo"'),
        ("comand", 'did you mean "command"'),
        ("opanai", 'did you mean "openai"'),
        ("xyz", "there is echo, command, openai, http"),
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


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (config("openai", model="m"), r"responder\.url is empty"),
        (config("openai", url=URL), r"responder\.model is empty"),
        (config("http"), r"responder\.url is empty"),
        (config("http", url=URL, api_key_file="/none"), r"responder\.api_key_file: cannot read"),
    ],
)
def test_what_is_missing_is_found_when_it_is_built(wrong: ResponderConfig, says: str) -> None:
    """By the name of its key in the config."""
    with pytest.raises(ConfigError, match=says):
        build_responder(wrong)


def test_the_section_reaches_the_responder(tmp_path: Path) -> None:
    """Key file, model, prompt and history."""
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text("sk-1234\n", encoding="ascii")
    with ChatServer() as server:
        made = build_responder(
            config(
                "openai",
                url=server.url,
                model="small",
                api_key_file=str(key),
                system_prompt="Be brief.",
                history_turns=0,
            )
        )
        for _ in range(2):
            list(made.respond("x", threading.Event()))
        made.close()
        assert server.requests[0].headers["authorization"] == "Bearer sk-1234"
        assert server.bodies[1]["model"] == "small"
        assert server.bodies[1]["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "x"},
        ]


def test_echo_does_not_pay_for_the_network() -> None:
    """Nobody loads TLS and HTTP who does not use them."""
    code = (
        "import sys; from slng_edge.responders.registry import build_responder; "
        "from slng_edge.config import ResponderConfig; build_responder(ResponderConfig()); "
        "print({'ssl', 'http.client', 'importlib.metadata'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a package with a responder where Python finds it, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(package: str, source: str, *, kind: str = "parrot", name: str = "build") -> None:
        info = tmp_path / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{kind} = {package}:{name}\n")
        (tmp_path / f"{package}.py").write_text(source)

    return put


PARROT = """
class Parrot:
    def __init__(self, config):
        self.config = config
    def respond(self, text, cancelled):
        yield f"{self.config.system_prompt} {text}"
    def cancel(self):
        pass
    def close(self):
        pass
def build(config):
    return Parrot(config)
"""


def test_another_package_brings_a_responder(install: Callable[..., None]) -> None:
    """By its entry point; the object is called with the section."""
    install("parrot_one", PARROT)
    made = build_responder(config("parrot", system_prompt="Hark:"))
    assert list(made.respond("hello", threading.Event())) == ["Hark: hello"]
    with pytest.raises(ConfigError, match='did you mean "parrot"'):
        build_responder(config("parot"))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to"),
        ("x = 1", "AttributeError"),
        ("def build(config): return 1 / 0", "ZeroDivisionError: division by zero"),
        ("def build(config): return object()", "what it makes has no respond, no cancel, no close"),
        ("this is no Python", "SyntaxError"),
    ],
)
def test_a_package_that_is_broken_is_named(
    source: str, says: str, install: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    """With its version and what is wrong with it."""
    package = f"broken_{abs(hash(request.node.name))}"
    install(package, source)
    with pytest.raises(
        ConfigError, match=f"the package {package} 1.2, which brings it, fails"
    ) as e:
        build_responder(config("parrot"))
    assert says in str(e.value)


def test_what_a_package_says_of_the_config_is_passed_on(install: Callable[..., None]) -> None:
    """It may refuse a setting, in its own words."""
    source = "from slng_edge.errors import ConfigError\ndef build(c): raise ConfigError('no perch')"
    install("parrot_refuses", source)
    with pytest.raises(ConfigError, match=r"^no perch$"):
        build_responder(config("parrot"))


def test_two_packages_with_one_name_are_told(install: Callable[..., None]) -> None:
    """Neither is taken."""
    install("parrot_a", PARROT)
    install("parrot_b", PARROT)
    with pytest.raises(ConfigError, match=r"brought by parrot.a 1\.2 and parrot.b 1\.2"):
        build_responder(config("parrot"))
