"""What outlives the loops: the socket, who listens on it, mute and volume, the status line."""

from __future__ import annotations

import dataclasses
import json
import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from controllable import Client, RecordedLoop
from conversation_scripts import wait_until

from slng_edge.config import AudioConfig, Config
from slng_edge.events import EventBus, StateChanged
from slng_edge.service import control_desk
from slng_edge.service.control_desk import ControlDesk
from slng_edge.service.kept_settings import KeptSettings
from slng_edge.service.notify import Notifier


def config_of(volume: float = 1.0) -> Config:
    """A configuration with this volume."""
    return dataclasses.replace(Config(), audio=AudioConfig(volume=volume))


class Office:
    """A desk, what it stands on, and what systemd got."""

    def __init__(self, folder: Path, bus: EventBus) -> None:
        self.bus = bus
        self.path = folder / "control.sock"
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(folder / "notify"))
        self.notified.settimeout(5)
        self.desk = ControlDesk(
            bus,
            kept=KeptSettings(folder / "settings.json"),
            notifier=Notifier({"NOTIFY_SOCKET": str(folder / "notify")}),
            reload=Future,
            on_death=lambda thread, error: pytest.fail(f"{thread}: {error!r}"),
        )
        self.desk.start()

    def close(self) -> None:
        """End everything."""
        self.desk.stop()
        self.desk.stop()
        self.notified.close()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """One with a loop and a socket."""
    office = Office(tmp_path, EventBus())
    office.desk.serve(RecordedLoop(), config_of())
    office.desk.open_socket(str(office.path))
    yield office
    office.close()


def test_the_status_has_what_everybody_knows(office: Office) -> None:
    """Events, the loop, the process."""
    office.bus.publish(StateChanged("idle"))
    with Client(office.path) as client:
        assert wait_until(lambda: client.ask(command="status")["result"]["state"] == "idle")
        status = client.ask(command="status")["result"]
    assert (status["muted"], status["volume"]) == (False, 100)
    assert status["counters"] == {"underruns": 2}
    assert status["process"]["rss_mib"] > 0


def test_a_counter_that_is_no_number_is_null(office: Office) -> None:
    """JSON has no infinity."""
    loop = RecordedLoop()
    loop.counters = lambda: {"level_dbfs": float("-inf"), "kind": None}  # type: ignore[method-assign]
    office.desk.serve(loop, config_of())
    assert json.loads(json.dumps(office.desk.status()))["counters"] == {
        "level_dbfs": None,
        "kind": None,
    }


def test_what_does_not_work_is_in_the_status(office: Office) -> None:
    """What the loop knows of its parts."""
    assert "problems" not in office.desk.status()
    loop = RecordedLoop()
    loop.problems = lambda: {"audio.input": "zeros"}  # type: ignore[method-assign]
    office.desk.serve(loop, config_of())
    assert office.desk.status()["problems"] == {"audio.input": "zeros"}


def test_clients_and_their_events_stay_when_the_loop_changes(office: Office) -> None:
    """What is asked afterwards is for the new one."""
    successor = RecordedLoop()
    with Client(office.path) as client:
        client.ask(id=1, command="events")
        office.desk.serve(successor, config_of())
        office.desk.open_socket(str(office.path))
        office.bus.publish(StateChanged("listening"))
        assert client.line()["state"] == "listening"
        assert client.ask(id=2, command="wake")["ok"] is True
    assert successor.calls == [("wake",)]


def test_another_path_in_the_config_moves_the_socket(office: Office, tmp_path: Path) -> None:
    """The old one is removed."""
    office.desk.open_socket(str(tmp_path / "other"))
    assert not office.path.exists()
    with Client(tmp_path / "other") as client:
        assert client.ask(command="wake")["ok"] is True
    office.desk.open_socket("")
    assert not (tmp_path / "other").exists()


def test_where_there_can_be_no_socket_it_goes_on(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning with the reason and what to do, also when it is asked for again."""
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        office.desk.open_socket("/proc/nowhere/control.sock")
    office.desk.look()
    [record] = caplog.records
    assert "cannot make the control socket /proc/nowhere/control.sock" in record.getMessage()
    assert "going on without" in record.getMessage()


def test_mute_and_volume_are_kept(office: Office, tmp_path: Path) -> None:
    """Within one look after the loop has changed."""
    with Client(office.path) as client:
        client.ask(command="mute")
        client.ask(command="volume", percent=40)
    office.desk.look()
    kept = KeptSettings(tmp_path / "settings.json")
    assert (kept.muted, kept.volume(1.0)) == (True, 0.4)


def test_a_new_loop_begins_as_the_old_one_was(office: Office) -> None:
    """Changed since the last look, or since the new one was built."""
    with Client(office.path) as client:
        client.ask(command="mute")
        client.ask(command="volume", percent=40)
    successor = RecordedLoop()
    office.desk.serve(successor, config_of())
    assert (successor.muted, successor.volume) == (True, 0.4)
    assert office.desk.muted_and_volume(config_of()) == (True, 0.4)


def test_a_new_volume_in_the_config_wins(office: Office, tmp_path: Path) -> None:
    """And becomes what later ones are compared with."""
    with Client(office.path) as client:
        client.ask(command="volume", percent=40)
        office.desk.serve(RecordedLoop(), config_of())
        successor = RecordedLoop()
        office.desk.serve(successor, config_of(volume=0.8))
        assert successor.volume == 0.8
        client.ask(command="volume", percent=50)
    office.desk.look()
    assert KeptSettings(tmp_path / "settings.json").volume(0.8) == 0.5


def test_systemd_gets_the_first_line_of_the_status(office: Office) -> None:
    """At once, and not more than once a second."""
    office.bus.publish(StateChanged("idle"))
    assert wait_until(lambda: office.desk.status()["state"] == "idle")
    office.desk.look()
    assert office.notified.recv(1000).startswith(b"STATUS=idle  up 0 s  stt none")
    for state in ("listening", "thinking", "speaking"):
        office.bus.publish(StateChanged(state))
        office.desk.look()
    assert wait_until(lambda: office.desk.status()["state"] == "speaking")
    office.notified.settimeout(0.05)
    with pytest.raises(TimeoutError):
        office.notified.recv(1000)


def test_the_last_change_is_told_when_its_time_has_come(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line never stays behind."""
    monkeypatch.setattr(control_desk, "STATUS_INTERVAL_S", 0.1)
    office.desk.look()
    office.notified.recv(1000)
    office.bus.publish(StateChanged("muted"))
    assert wait_until(lambda: office.desk.status()["state"] == "muted")
    time.sleep(0.1)
    office.desk.look()
    assert office.notified.recv(1000).startswith(b"STATUS=muted")


def test_while_it_ends_nothing_is_promised(office: Office) -> None:
    """Who asks for something is told; the status is still shown."""
    office.desk.stop_serving()
    with Client(office.path) as client:
        assert client.ask(command="wake")["error"] == "the service is ending"
        assert client.ask(command="status")["ok"] is True
