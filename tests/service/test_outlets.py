"""Hook, page and broker as the configuration wants them, and never in the loop's way."""

from __future__ import annotations

import dataclasses
import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from controllable import RecordedLoop
from conversation_scripts import wait_until

from slng_edge.config import Config, HooksConfig, MqttConfig, StatusPageConfig
from slng_edge.events import EventBus, Stamped, StateChanged
from slng_edge.service.control_commands import ControlCommands
from slng_edge.service.control_desk import ControlDesk
from slng_edge.service.kept_settings import KeptSettings
from slng_edge.service.notify import Notifier
from slng_edge.service.outlets import Outlets

TOKEN = "a-token-of-some-length"


def config_of(**sections: Any) -> Config:
    """A configuration with these sections."""
    return dataclasses.replace(Config(), **sections)


def free_address() -> str:
    """One on loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


def get(address: str, path: str, **headers: str) -> int:
    """The status of the answer; 0 where nobody listens."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    except ConnectionRefusedError:
        return 0
    finally:
        connection.close()


def changed(state: str) -> Stamped:
    """The change to `state`."""
    return Stamped(1.0, datetime.now(UTC), StateChanged(state))


def recording_hook(file: Path, out: Path) -> tuple[str, ...]:
    """A hook that writes each state to `out`."""
    file.write_text(f'#!/bin/sh\necho "$SLNG_EDGE_STATE" >> {out}\n')
    file.chmod(0o755)
    return (str(file),)


@pytest.fixture
def outlets() -> Iterator[Outlets]:
    """None of them open."""
    loop = RecordedLoop()
    commands = ControlCommands(loop=lambda: loop, status=dict, reload=Future)
    outlets = Outlets(
        commands,
        lambda: {"state": "idle"},
        on_death=lambda thread, error: pytest.fail(f"{thread}: {error!r}"),
    )
    yield outlets
    outlets.stop(1)
    outlets.stop(1)


def test_nothing_is_open_by_default(outlets: Outlets) -> None:
    """Neither a thread nor a problem."""
    outlets.open(Config())
    outlets.receive(changed("idle"))
    assert (outlets._running, outlets.problems) == ({}, {})


def test_a_page_comes_moves_and_goes_with_the_configuration(outlets: Outlets) -> None:
    """The same settings leave it as it is."""
    first, second = free_address(), free_address()
    outlets.open(config_of(status_page=StatusPageConfig(first)))
    assert wait_until(lambda: get(first, "/healthz") == 200)
    [page] = outlets._running.values()
    outlets.open(config_of(status_page=StatusPageConfig(first)))
    assert [page] == list(outlets._running.values())
    outlets.open(config_of(status_page=StatusPageConfig(second)))
    assert wait_until(lambda: get(second, "/healthz") == 200)
    assert get(first, "/healthz") == 0
    outlets.open(Config())
    assert get(second, "/healthz") == 0


def test_a_new_token_counts_after_a_reload(outlets: Outlets, tmp_path: Path) -> None:
    """The old one does not any more."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    address = free_address()
    config = config_of(status_page=StatusPageConfig(address, str(file)))
    outlets.open(config)
    assert wait_until(lambda: get(address, "/", Authorization=f"Bearer {TOKEN}") == 200)
    file.write_text("another-token-of-length")
    outlets.open(config)
    assert wait_until(lambda: get(address, "/", Authorization=f"Bearer {TOKEN}") == 401)
    assert get(address, "/", Authorization="Bearer another-token-of-length") == 200


@pytest.mark.parametrize(
    ("sections", "name", "why"),
    [
        ({"mqtt": MqttConfig("mqtt://u:p@b")}, "mqtt.url", "never stands in the configuration"),
        (
            {"status_page": StatusPageConfig("0.0.0.0:0", "/nowhere/token")},
            "status_page.listen",
            "cannot read /nowhere/token",
        ),
        (
            {"status_page": StatusPageConfig("0.0.0.0:0")},
            "status_page.listen",
            "set status_page.token_file",
        ),
        ({"hooks": HooksConfig(("/nowhere",))}, "hooks.state", "could not be started"),
    ],
)
def test_what_cannot_be_had_is_a_warning(
    outlets: Outlets,
    caplog: pytest.LogCaptureFixture,
    sections: dict[str, Any],
    name: str,
    why: str,
) -> None:
    """And a line in the status; the rest goes on."""
    outlets.open(config_of(**sections))
    outlets.receive(changed("idle"))
    assert wait_until(lambda: outlets.problems)
    assert why in outlets.problems[name]
    assert wait_until(lambda: why in caplog.text)
    outlets.open(Config())
    assert outlets.problems == {}


def test_a_new_hook_is_told_the_state_at_once(outlets: Outlets, tmp_path: Path) -> None:
    """A light that was just configured does not wait for the next turn."""
    outlets.receive(changed("offline"))
    hook = recording_hook(tmp_path / "hook", tmp_path / "out")
    outlets.open(config_of(hooks=HooksConfig(hook)))
    assert wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text())
    assert (tmp_path / "out").read_text() == "offline\n"


def test_the_desk_hands_events_on_and_shows_problems(tmp_path: Path) -> None:
    """From the bus to the hook and the page; `ctl status` has what does not work."""
    bus = EventBus()
    desk = ControlDesk(
        bus,
        kept=KeptSettings(tmp_path / "settings.json"),
        notifier=Notifier({}),
        reload=Future,
        more=lambda: {"button": "there is none"},
        on_death=lambda thread, error: pytest.fail(f"{thread}: {error!r}"),
    )
    desk.start()
    address = free_address()
    try:
        desk.serve(RecordedLoop(), Config())
        hook = recording_hook(tmp_path / "hook", tmp_path / "out")
        desk.open_outlets(
            config_of(
                hooks=HooksConfig(hook),
                status_page=StatusPageConfig(address),
                mqtt=MqttConfig("mqtt://u:p@b"),
            )
        )
        assert wait_until(lambda: get(address, "/healthz") == 200)
        bus.publish(StateChanged("idle"))
        assert wait_until(lambda: (tmp_path / "out").exists())
        status = json.loads(json.dumps(desk.status()))
        assert list(status["problems"]) == ["mqtt.url"]
        assert (status["button"], status["volume"]) == ("there is none", 100)
    finally:
        desk.stop()
    assert get(address, "/healthz") == 0
