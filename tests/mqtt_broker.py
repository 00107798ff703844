"""A mosquitto of our own, and somebody else who uses it."""

from __future__ import annotations

import queue
import shutil
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from conversation_scripts import wait_until

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """One that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Broker:
    """A broker on loopback; `more` are lines of its configuration."""

    def __init__(
        self, folder: Path, more: Sequence[str] = (), port: int = 0, *, anonymous: bool = True
    ) -> None:
        if MOSQUITTO is None:
            pytest.skip(
                "mosquitto is missing: scripts/test brings it, or apt-get install mosquitto"
            )
        self.port = port or free_port()
        self.log = folder / "mosquitto.log"
        file = folder / "mosquitto.conf"
        allowed = "true" if anonymous else "false"
        lines = (f"listener {self.port} 127.0.0.1", f"allow_anonymous {allowed}", "user root")
        file.write_text("\n".join((*lines, *more)) + "\n")
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", file], stderr=log, stdout=log)
        assert wait_until(self._listens), self.log.read_text()

    def _listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait(10)


class Watcher:
    """Somebody who reads everything and may publish."""

    def __init__(self, broker: Broker) -> None:
        paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is missing")
        self.messages: queue.SimpleQueue[tuple[str, str, bool]] = queue.SimpleQueue()
        self.seen: list[tuple[str, str, bool]] = []
        ready = threading.Event()
        self.client: Any = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _client, _data, message: self.messages.put(
            (message.topic, message.payload.decode(), bool(message.retain))
        )
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", broker.port)
        self.client.subscribe("#")
        self.client.loop_start()
        assert ready.wait(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def wait_for(self, topic: str, *payloads: str) -> str:
        """The next message on `topic`, or the next that is one of `payloads`."""
        while True:
            try:
                message = self.messages.get(timeout=8)
            except queue.Empty:
                pytest.fail(f"no {topic} {payloads}; there was {self.seen}")
            self.seen.append(message)
            if message[0] == topic and (not payloads or message[1] in payloads):
                return message[1]

    def publish(self, topic: str, payload: str | bytes = "", *, retain: bool = False) -> None:
        """As somebody else."""
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(5)
