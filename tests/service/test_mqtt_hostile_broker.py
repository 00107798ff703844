"""A broker that means harm: floods, packets without end, junk, and leaving at the worst moment."""

from __future__ import annotations

import logging
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from controllable import RecordedLoop
from conversation_scripts import wait_until

from slng_edge.events import FinalHeard, Stamped, StateChanged
from slng_edge.service.control_commands import ControlCommands
from slng_edge.service.mqtt_address import broker_address

pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is missing")

from slng_edge.service import mqtt_link
from slng_edge.service.mqtt_client import PACKET_LIMIT_BYTES, BrokerClient
from slng_edge.service.mqtt_requests import BrokerRequests
from slng_edge.service.mqtt_topics import Topics

ACCEPTED = b"\x20\x02\x00\x00"
PUBLISH, AT_MOST_ONCE, EXACTLY_ONCE = 0x30, 0, 2


def packet(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A packet of MQTT 3.1.1, which may say that it is longer than it is."""
    left, digits = len(body) if length is None else length, b""
    while left or not digits:
        left, digit = divmod(left, 128)
        digits += bytes([digit | (128 if left else 0)])
    return bytes([kind]) + digits + body


def command(name: str, payload: bytes, qos: int = AT_MOST_ONCE, number: int = 1) -> bytes:
    """A message on a command topic of the device."""
    topic = f"hall/command/{name}".encode()
    body = struct.pack("!H", len(topic)) + topic
    return packet(PUBLISH | qos << 1, body + (struct.pack("!H", number) if qos else b"") + payload)


class HostileBroker:
    """Accepts a device, and then does `act` to it."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self.seen = 0
        self.received = b""
        self._act = act
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="hostile-broker")
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)

    def _run(self) -> None:
        with suppress(OSError):  # closed
            while True:
                sock, _ = self._listening.accept()
                with sock, suppress(OSError):  # it was let go
                    sock.settimeout(3)
                    sock.recv(1000)
                    sock.sendall(ACCEPTED)
                    self.seen += 1
                    self._act(sock)


class Attacked:
    """A device whose broker does `act` to it, and whether its thread lives."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self.broker = HostileBroker(act)
        self.loop = RecordedLoop()
        self.died: list[BaseException] = []
        status: dict[str, Any] = {"state": "idle"}
        self.link = mqtt_link.MqttLink(
            broker_address(f"mqtt://127.0.0.1:{self.broker.port}/hall", host_name="kiosk"),
            commands=ControlCommands(
                loop=lambda: self.loop, status=lambda: status, reload=Future[str]
            ),
            status=lambda: status,
            on_death=lambda name, error: self.died.append(error),
        )
        self.link.start()


Attacks = Callable[[Callable[[socket.socket], None]], Attacked]


@pytest.fixture
def attack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Attacks]:
    """Makes a device for a broker that does this to it; it comes again soon, and must not die."""
    monkeypatch.setattr(mqtt_link.BackOff, "next_delay_s", lambda self, at_least_s=0.0: 0.02)
    made: list[Attacked] = []

    def make(act: Callable[[socket.socket], None]) -> Attacked:
        made.append(Attacked(act))
        return made[-1]

    yield make
    for attacked in made:
        attacked.link.stop(3)
        attacked.broker.close()
        assert attacked.died == []


def resident_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def test_a_packet_without_end_is_not_kept(attack: Attacks) -> None:
    """MQTT allows 256 MB, which is all that the service may have."""
    piece = b"x" * 500_000

    def send_without_end(sock: socket.socket) -> None:
        sock.sendall(packet(PUBLISH, b"\0\x11hall/command/mute", 250_000_000))
        for _ in range(400):
            sock.sendall(piece)

    before, most = resident_mb(), 0.0
    attacked = attack(send_without_end)
    until = time.monotonic() + 10.0
    while attacked.broker.seen < 10 and time.monotonic() < until:
        most = max(most, resident_mb() - before)
        time.sleep(0.005)
    assert attacked.broker.seen >= 10
    assert wait_until(lambda: "250000000 bytes" in attacked.link.problem)
    assert most < 40
    assert attacked.loop.calls == []


def test_a_command_that_is_too_long_is_read_and_refused(attack: Attacks) -> None:
    """One that a broker keeps would else keep us away from it for good."""

    def send(sock: socket.socket) -> None:
        sock.sendall(command("say", b"x" * (PACKET_LIMIT_BYTES // 2)) + command("stop", b""))
        while sock.recv(65536):
            pass

    attacked = attack(send)
    assert wait_until(lambda: attacked.loop.calls == [("interrupt",)])
    assert attacked.broker.seen == 1


def test_messages_that_would_be_kept_are_refused(attack: Attacks) -> None:
    """With QoS 2, which we do not ask for, each stays until the broker says otherwise."""

    def send(sock: socket.socket) -> None:
        for number in range(1, 2000):
            sock.sendall(command("say", b"x" * 60_000, EXACTLY_ONCE, number))

    before = resident_mb()
    attacked = attack(send)
    assert wait_until(lambda: attacked.broker.seen > 3)
    assert wait_until(lambda: "QoS 2" in attacked.link.problem)
    assert resident_mb() - before < 40


def test_a_flood_of_commands_is_taken_slowly(
    attack: Attacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand a second and more: few are carried out, little is worked, the status is told."""
    monkeypatch.setattr(mqtt_link, "PACKETS_AT_ONCE", 20)
    received: list[bytes] = []

    def flood(sock: socket.socket) -> None:
        sock.settimeout(0.01)
        while True:
            with suppress(TimeoutError):
                sock.sendall(command("volume", b"50") * 20)
            with suppress(TimeoutError):
                data = sock.recv(65536)
                if not data:
                    return
                received.append(data)

    attacked = attack(flood)
    assert wait_until(lambda: len(attacked.loop.calls) >= 20)
    began = time.monotonic()
    thread = next(each for each in threading.enumerate() if each.name == "mqtt")
    worked_before = _worked_s(thread)
    before = len(attacked.loop.calls)
    time.sleep(1.0)
    carried_out, took_s = len(attacked.loop.calls) - before, time.monotonic() - began
    assert 10 < carried_out <= mqtt_link.PACKETS_PER_S * took_s + 5
    assert _worked_s(thread) - worked_before < 0.3
    assert b"".join(received).count(b"\0\x0bhall/status{") > 2


def _worked_s(thread: threading.Thread) -> float:
    fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_who_does_not_read_our_answers_is_asked_for_no_more(
    attack: Attacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be answered waits in the socket, not with us; whatever the rate."""
    clients: list[BrokerClient] = []

    class Observed(BrokerClient):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self._client.socket().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            clients.append(self)

    monkeypatch.setattr(mqtt_link, "BrokerClient", Observed)
    monkeypatch.setattr(mqtt_link, "PACKETS_AT_ONCE", 10**6)

    def send(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        while True:
            sock.sendall(command("volume", b"50", 1) * 50)

    attack(send)
    most, until = 0, time.monotonic() + 0.5
    while time.monotonic() < until:
        most = max(most, *(len(each._client._out_packet) for each in clients), 0)
        time.sleep(0.01)
    assert 0 < most < 100


def test_a_broker_that_leaves_while_we_write_is_come_back_to(attack: Attacks) -> None:
    """The library closes its socket then, without a word."""

    def reset(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    attacked = attack(reset)
    text = FinalHeard("x" * 1000, 1)
    for number in range(150):
        if attacked.died:
            break
        attacked.link.receive(Stamped(1.0, datetime.now(UTC), text))
        attacked.link.receive(Stamped(1.0, datetime.now(UTC), StateChanged(f"state {number}")))
        time.sleep(0.004)
    assert attacked.broker.seen > 5


def test_a_connection_that_was_lost_while_writing_is_told(attack: Attacks) -> None:
    """By what writes, and not by what comes after it."""
    attacked = attack(lambda sock: None)
    address = broker_address(f"mqtt://127.0.0.1:{attacked.broker.port}/hall", host_name="kiosk")
    will = mqtt_link.Message("hall/availability", b"offline")
    client = BrokerClient(address, password="", ca_file="", will=will, on_message=lambda *_: None)
    client._client._sock_close()
    for write in (lambda: client.publish(will), lambda: client.subscribe("a")):
        with pytest.raises(mqtt_link.BrokerLost):
            write()
    client.close()


def test_junk_ends_a_connection_and_no_more(attack: Attacks) -> None:
    """Whatever kind of packet, however short."""
    chance = random.Random(8)
    sent = 0

    def send_junk(sock: socket.socket) -> None:
        nonlocal sent
        sock.settimeout(0.005)
        while True:
            size = chance.choice((0, 0, 1, 2, 3, 4, 8, 20))
            sock.sendall(packet(chance.randrange(256), chance.randbytes(size)))
            sent += 1
            with suppress(TimeoutError):
                if not sock.recv(1000):
                    return

    attacked = attack(send_junk)
    assert wait_until(lambda: sent > 100 or attacked.died)


def test_what_is_refused_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """One line a minute, however many different ones come."""
    commands = ControlCommands(loop=RecordedLoop, status=dict, reload=Future[str])
    requests = BrokerRequests(commands, Topics("hall"))
    caplog.set_level(logging.WARNING)
    for number in range(1000):
        requests.receive(f"hall/command/no-{number}", b"", retained=False)
    assert len(caplog.records) == 1


def test_a_user_that_is_no_text_is_told(attack: Attacks) -> None:
    """A password of bytes that are no UTF-8, from the environment: it does not end the service."""
    attacked = attack(lambda sock: None)
    address = broker_address(f"mqtt://me@127.0.0.1:{attacked.broker.port}/hall", host_name="k")
    will = mqtt_link.Message("hall/availability", b"offline")
    with pytest.raises(mqtt_link.BrokerLost):
        BrokerClient(address, password="\udcff", ca_file="", will=will, on_message=lambda *_: None)
