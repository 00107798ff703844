"""MQTT: what a broker is told and may ask for, against a mosquitto of our own."""

from __future__ import annotations

import json
import logging
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from controllable import RecordedLoop
from conversation_scripts import wait_until
from mqtt_broker import Broker, Watcher, free_port

from slng_edge import secrets
from slng_edge.errors import ConfigError
from slng_edge.events import (
    Event,
    FinalHeard,
    Interrupted,
    PartialHeard,
    ReplyWritten,
    Stamped,
    StateChanged,
)
from slng_edge.service.control_commands import ControlCommands
from slng_edge.service.control_requests import BadRequest, Mute, Say, Stop, Unmute, Volume, Wake
from slng_edge.service.mqtt_address import BrokerAddress, broker_address, broker_password
from slng_edge.service.mqtt_commands import command_in
from slng_edge.service.mqtt_topics import Topics, discovery, event_payload

pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is missing: pip install paho-mqtt")

from slng_edge.service import mqtt_client, mqtt_link
from slng_edge.service.mqtt_link import MqttLink

STATUS = {
    "state": "idle",
    "muted": False,
    "volume": 80,
    "latencies": {"turn": {"total": 650}},
    "sessions": {"stt": {"state": "ready"}},
}


def stamped(event: Event) -> Stamped:
    """The event, at some time."""
    return Stamped(1.0, datetime.now(UTC), event)


# Addresses


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "user", "prefix"),
    [
        ("mqtt://b", "b", 1883, False, "", "slng-edge/kiosk"),
        ("mqtts://b/", "b", 8883, True, "", "slng-edge/kiosk"),
        ("mqtts://ann%40x@b:99/hall/left/", "b", 99, True, "ann@x", "hall/left"),
        ("mqtt://[::1]:1/a%20b", "::1", 1, False, "", "a b"),
        ("mqtt://b/site 7/{hostname}", "b", 1883, False, "", "site 7/kiosk"),
    ],
)
def test_an_address_is_read(
    url: str, host: str, port: int, tls: bool, user: str, prefix: str
) -> None:
    """Port, user and prefix have defaults; one file does for many devices."""
    found = broker_address(url, host_name="kiosk")
    assert (found.host, found.port, found.tls) == (host, port, tls)
    assert (found.user, found.prefix) == (user, prefix)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mqtt://ann:secret@b", "SLNG_MQTT_PASSWORD"),
        ("mqtt://b/a/+", "cannot be a topic"),
        ("mqtt://b/%23", "cannot be a topic"),
        ("mqtt://b/$SYS", "cannot be a topic"),
        ("mqtt://b/" + "x" * 201, "longer than"),
    ],
)
def test_an_address_that_cannot_be_is_refused(url: str, why: str) -> None:
    """A password in it is not repeated."""
    with pytest.raises(ConfigError, match=why) as caught:
        broker_address(url)
    assert "secret" not in str(caught.value)


def test_devices_are_told_apart(tmp_path: Path) -> None:
    """By a name that does not give the machine's id away, and stays the same."""
    file = tmp_path / "machine-id"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    one = broker_address("mqtt://b/x", host_name="a", machine_id_file=file)
    assert one.device == broker_address("mqtt://b/x", host_name="b", machine_id_file=file).device
    assert one.device != broker_address("mqtt://b/y", machine_id_file=file).device
    file.write_text("another\n")
    assert one.device != broker_address("mqtt://b/x", machine_id_file=file).device
    assert "0123456789" not in one.device


def test_the_password_is_a_secret(tmp_path: Path) -> None:
    """From the environment, or systemd; never shown."""
    (tmp_path / "mqtt-password").write_text("pass word 1\n")
    folder = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert broker_password(folder) == "pass word 1"
    assert broker_password({**folder, "SLNG_MQTT_PASSWORD": "other-one"}) == "other-one"
    assert broker_password({}) == ""
    assert broker_password({"CREDENTIALS_DIRECTORY": "/nowhere"}) == ""
    assert secrets.mask("pass word 1 other-one") == "*** ***"


# Commands


@pytest.mark.parametrize(
    ("name", "payload", "command"),
    [
        ("", b"wake", Wake()),
        ("", b' {"command": "say", "text": "hi", "now": true}', Say("hi", True)),
        ("mute", b"ON", Mute()),
        ("mute", b"", Mute()),
        ("mute", b"OFF", Unmute()),
        ("unmute", b"whatever", Unmute()),
        ("volume", b"55.0", Volume(55.0)),
        ("say", 'Grüß "Gott"'.encode(), Say('Grüß "Gott"')),
        ("wake", b"PRESS", Wake()),
        ("stop", b"", Stop()),
    ],
)
def test_a_command_is_read(name: str, payload: bytes, command: object) -> None:
    """By its topic, or from what was sent."""
    assert command_in(name, payload) == command


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("", b""),
        ("", b"\xff\xfe"),
        ("", b"{"),
        ("", b'{"command": "status"}'),
        ("", b'{"command": "ask", "text": "x"}'),
        ("", b'{"command": "say", "text": "x", "more": 1}'),
        ("", b"[" * 60000),
        ("reload", b""),
        ("events", b""),
        ("mute", b"maybe"),
        ("volume", b"loud"),
        ("volume", b"nan"),
        ("volume", b"201"),
        ("say", b"  "),
        ("say", b"x" * 70000),
        ("nothing", b""),
    ],
)
def test_what_is_no_command_is_refused(name: str, payload: bytes) -> None:
    """Nor what a broker may not ask for."""
    with pytest.raises(BadRequest):
        command_in(name, payload)


# What is told


@pytest.mark.parametrize(
    ("event", "without", "with_words"),
    [
        (PartialHeard("secret"), None, None),
        (
            FinalHeard("secret", 120, words=[{"word": "secret"}]),
            {"type": "final", "latency_ms": 120},
            {"type": "final", "text": "secret", "words": [{"word": "secret"}], "latency_ms": 120},
        ),
        (ReplyWritten("secret"), {"type": "reply"}, {"type": "reply", "text": "secret"}),
        (
            Interrupted("speech", "secret", 40, 20.0),
            {"type": "interrupted", "by": "speech", "played_ms": 40, "silence_ms": 20.0},
            {
                "type": "interrupted",
                "by": "speech",
                "heard_text": "secret",
                "played_ms": 40,
                "silence_ms": 20.0,
            },
        ),
    ],
)
def test_words_are_told_only_where_they_are_logged(
    event: Event, without: dict[str, Any] | None, with_words: dict[str, Any] | None
) -> None:
    """And never those that are still being said."""
    for wanted, flag in ((without, False), (with_words, True)):
        payload = event_payload(stamped(event), with_words=flag)
        told = None if payload is None else json.loads(payload)
        if told is not None:
            assert (told.pop("t"), len(told.pop("at")) > 20) == (1.0, True)
        assert told == wanted


def test_home_assistant_finds_every_entity() -> None:
    """Under topics and names of this device, retained, with what it needs to be shown."""
    address = broker_address("mqtt://b/hall", host_name="kiosk")
    messages = list(discovery(address, "kiosk"))
    configs = [json.loads(message.payload) for message in messages]
    assert {message.topic.split("/")[1] for message in messages} == {
        "sensor",
        "switch",
        "number",
        "button",
        "notify",
    }
    assert all(message.retained for message in messages)
    assert len({config["unique_id"] for config in configs}) == len(configs) == 7
    assert all(config["availability_topic"] == "hall/availability" for config in configs)
    topics = Topics("hall")
    for config in configs:
        for topic in filter(None, [config.get("command_topic")]):
            name = topics.command_name(topic)
            assert name
            payload = {"mute": b"ON", "volume": b"50", "say": b"hello"}.get(name, b"PRESS")
            assert command_in(name, payload)


# What Home Assistant's documents list for each kind (integrations/sensor.mqtt, switch.mqtt,
# number.mqtt, button.mqtt, notify.mqtt): what is needed, and what of the rest is used here.
OF_ALL = {"name", "icon", "unique_id", "availability_topic", "device", "origin"}
NEEDED = {
    "sensor": {"state_topic"},
    "switch": {"command_topic"},
    "number": {"command_topic"},
    "button": {"command_topic"},
    "notify": {"command_topic"},
}
ALLOWED = {
    "sensor": {
        *("device_class", "options", "value_template", "unit_of_measurement", "state_class"),
        "entity_category",
    },
    "switch": {"state_topic", "value_template"},
    "number": {"state_topic", "value_template", "min", "max", "step", "mode"}
    | {"unit_of_measurement"},
    "button": set(),
    "notify": set(),
}
OF_DEVICE = {"identifiers", "name", "manufacturer", "model", "sw_version"}


@pytest.mark.parametrize("url", ["mqtt://b/hall", "mqtt://b/site 7/{hostname}"])
def test_home_assistant_takes_what_it_is_told(url: str) -> None:
    """By its own rules; it drops an entity with a key that it does not know."""
    for message in discovery(broker_address(url, host_name="kiosk"), "kiosk"):
        prefix, component, node, name, last = message.topic.split("/")
        assert (prefix, last) == ("homeassistant", "config")
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", node), message.topic
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", name), message.topic
        config = json.loads(message.payload)
        assert NEEDED[component] <= config.keys()
        assert config.keys() <= OF_ALL | NEEDED[component] | ALLOWED[component]
        assert config["device"].keys() <= OF_DEVICE
        assert config["device"]["identifiers"]
        assert config["origin"].keys() == {"name", "sw_version"}
        assert not [topic for key, topic in config.items() if "topic" in key and "#" in topic]
        if config.get("device_class") == "enum":
            assert config["options"]
            assert not config.keys() & {"unit_of_measurement", "state_class"}
        if config.get("device_class") == "duration":
            assert config["unit_of_measurement"] in ("d", "h", "min", "s", "ms")
        if component == "number":
            assert config["min"] < config["max"]
            assert config["mode"] in ("auto", "box", "slider")


@pytest.mark.parametrize("topic", ["hall", "hall/command/", "hall/command/a/b", "x/command/wake"])
def test_other_topics_are_none_of_ours(topic: str) -> None:
    """Whatever a broker sends."""
    assert Topics("hall").command_name(topic) is None


# Against a broker


class Device:
    """A link to a broker, and the loop behind it."""

    def __init__(self, address: BrokerAddress, **more: Any) -> None:
        self.loop = RecordedLoop()
        self.status: dict[str, Any] = dict(STATUS)
        commands = ControlCommands(
            loop=lambda: self.loop, status=lambda: dict(self.status), reload=Future
        )
        self.link = MqttLink(address, commands=commands, status=lambda: dict(self.status), **more)
        self.link.start()

    def publish(self, event: Event) -> None:
        self.link.receive(stamped(event))


Connects = Callable[..., Device]


@pytest.fixture
def connect() -> Iterator[Connects]:
    """Makes a device for the broker on this port."""
    devices: list[Device] = []

    def connect_one(port: int, url: str = "mqtt://127.0.0.1:{port}/hall", **more: Any) -> Device:
        devices.append(Device(broker_address(url.format(port=port), host_name="kiosk"), **more))
        return devices[-1]

    yield connect_one
    for device in devices:
        device.link.stop(3)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for changes often, and come again soon."""
    monkeypatch.setattr(mqtt_link, "CHANGES_S", 0.05)
    monkeypatch.setattr(
        mqtt_link.BackOff, "next_delay_s", lambda self, at_least_s=0.0: 0.05, raising=True
    )


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One that takes everybody."""
    with Broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def test_a_device_shows_itself_and_obeys(broker: Broker, connect: Connects) -> None:
    """Online, state, status, discovery; commands and their answers; offline at the end."""
    with Watcher(broker) as watcher:
        device = connect(broker.port)
        watcher.wait_for("hall/availability", "online")
        watcher.wait_for(f"homeassistant/switch/slng-edge-{_id()}/mute/config")
        assert json.loads(watcher.wait_for("hall/status"))["volume"] == 80
        device.publish(StateChanged("listening"))
        watcher.wait_for("hall/state", "listening")
        device.publish(FinalHeard("my secret", 100))
        while json.loads(watcher.wait_for("hall/event"))["type"] != "final":
            pass
        watcher.publish("hall/command/volume", "40")
        assert json.loads(watcher.wait_for("hall/answer")) == {"command": "volume", "ok": True}
        watcher.publish("hall/command", '{"command": "say", "text": "Hello."}')
        assert json.loads(watcher.wait_for("hall/answer")) == {"ok": True}
        watcher.publish("hall/command/volume", "loud")
        assert json.loads(watcher.wait_for("hall/answer"))["ok"] is False
        assert device.loop.calls == [("set_volume", 0.4), ("say", "Hello.", False)]
        device.link.stop(3)
        watcher.wait_for("hall/availability", "offline")
        assert not [seen for seen in watcher.seen if "my secret" in seen[1]]
    with Watcher(broker) as late:
        late.wait_for("hall/state", "listening")


def test_what_changes_is_told_soon(broker: Broker, connect: Connects) -> None:
    """Also what no event tells: the volume."""
    with Watcher(broker) as watcher:
        device = connect(broker.port)
        watcher.wait_for("hall/availability", "online")
        device.status["volume"] = 33
        while json.loads(watcher.wait_for("hall/status"))["volume"] != 33:
            pass


def test_a_retained_command_is_not_carried_out(
    broker: Broker, connect: Connects, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be at every reconnect."""
    with Watcher(broker) as watcher:
        watcher.publish("hall/command/wake", "PRESS", retain=True)
        device = connect(broker.port)
        assert "retained" in json.loads(watcher.wait_for("hall/answer"))["error"]
        watcher.publish("hall/command/wake", b"", retain=True)
        assert wait_until(lambda: device.loop.calls == [("wake",)])  # that one came just now


def test_who_vanishes_is_offline(broker: Broker, connect: Connects) -> None:
    """By the will, which the broker publishes."""
    with Watcher(broker) as watcher:
        program = (
            "import sys, time; from slng_edge.service.mqtt_link import MqttLink\n"
            "from slng_edge.service.mqtt_address import broker_address\n"
            "MqttLink(broker_address(sys.argv[1]), commands=None, status=dict).start()\n"
            "time.sleep(60)"
        )
        url = f"mqtt://127.0.0.1:{broker.port}/gone"

        process = subprocess.Popen([sys.executable, "-c", program, url])
        try:
            watcher.wait_for("gone/availability", "online")
        finally:
            process.kill()
            process.wait(10)
        watcher.wait_for("gone/availability", "offline")


def test_a_broker_that_dies_and_returns(
    tmp_path: Path, connect: Connects, caplog: pytest.LogCaptureFixture
) -> None:
    """State and events of meanwhile are told afterwards; the log has a line for each change."""
    caplog.set_level(logging.INFO)
    port = free_port()
    device = connect(port)
    device.publish(StateChanged("starting"))
    assert wait_until(lambda: device.link.problem)
    with Broker(tmp_path, port=port) as broker, Watcher(broker) as watcher:
        watcher.wait_for("hall/state", "starting")
    assert wait_until(lambda: device.link.problem)
    for number in range(mqtt_link.EVENTS_LIMIT + 50):
        device.publish(FinalHeard("", number))
    device.publish(StateChanged("idle"))
    with Broker(tmp_path, port=port) as broker:
        # Whether the first few come before the watcher is there does not matter here.
        with Watcher(broker) as watcher:
            watcher.wait_for("hall/state", "idle")
        assert wait_until(lambda: not device.link._events)
    connected = [r for r in caplog.records if "connected, topics hall/" in r.getMessage()]
    lost = [r for r in caplog.records if "trying again" in r.getMessage()]
    assert len(connected) == 2
    assert 2 <= len(lost) <= 5


def test_events_are_bounded_while_there_is_no_broker(connect: Connects) -> None:
    """And the newest are kept."""
    device = connect(free_port())
    for number in range(1000):
        device.publish(FinalHeard("", number))
    events = list(device.link._events)
    assert len(events) == mqtt_link.EVENTS_LIMIT
    assert json.loads(events[-1])["latency_ms"] == 999


def test_user_and_password_are_needed(
    tmp_path: Path, connect: Connects, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused with the broker's reason, which is not the password."""
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto is missing: scripts/test brings it, or apt-get install mosquitto")
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", passwords, "ann", "right-password"], check=True, timeout=20
    )
    with Broker(tmp_path, (f"password_file {passwords}",), anonymous=False) as broker:
        url = "mqtt://ann@127.0.0.1:{port}/hall"
        wrong = connect(broker.port, url, password="wrong-password")
        assert wait_until(lambda: wrong.link.problem)
        assert "refused us" in wrong.link.problem
        right = connect(broker.port, url, password="right-password")
        assert wait_until(lambda: right.link._told)
        assert "password" not in caplog.text.replace("user name or password", "")


def test_tls_is_checked(tmp_path: Path, connect: Connects) -> None:
    """A certificate of nobody we trust is refused, one of our authority is not."""
    trustme = pytest.importorskip("trustme", reason="trustme is missing")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    lines = (f"certfile {tmp_path}/cert.pem", f"keyfile {tmp_path}/key.pem")
    with Broker(tmp_path, lines) as broker:
        url = "mqtts://127.0.0.1:{port}/hall"
        stranger = connect(broker.port, url)
        assert wait_until(lambda: "not trusted" in stranger.link.problem)
        friend = connect(broker.port, url, ca_file=str(tmp_path / "ca.pem"))
        assert wait_until(lambda: friend.link._told)
        assert friend.link.problem == ""


def test_a_broker_that_says_nothing_is_given_up(
    connect: Connects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not hold up the end."""
    monkeypatch.setattr(mqtt_link, "ACCEPT_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        device = connect(silent.getsockname()[1])
        assert wait_until(lambda: device.link.problem == "it did not answer within 0.1 s")
        began = time.monotonic()
        device.link.stop(3)
        assert time.monotonic() - began < 1.5


def test_what_is_no_broker_is_said(connect: Connects) -> None:
    """Not MQTT at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        device = connect(server.getsockname()[1])
        sock, _ = server.accept()
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        sock.close()
        assert wait_until(lambda: device.link.problem)


def _id() -> str:
    return broker_address("mqtt://127.0.0.1/hall", host_name="kiosk").device


def test_a_missing_library_has_the_line_that_installs_it() -> None:
    """As everywhere."""
    program = (
        "import sys; sys.modules['paho'] = None\n"
        "from slng_edge.errors import MissingLibrary\n"
        "try:\n    import slng_edge.service.mqtt_link\n"
        "except MissingLibrary as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20
    )
    assert "pip install 'slng-edge[mqtt]'" in done.stdout, done.stderr


def test_the_keepalive_is_short_enough() -> None:
    """A device that lost its power is shown as offline within a minute."""
    assert mqtt_client.KEEPALIVE_S * 1.5 <= 60
