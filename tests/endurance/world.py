"""What an endurance run plays with: a device, its clock, its network, its names, its gateway.

The device (`slng-edge run`, whole) and the gateway are programs that live by played clocks, on two
hosts of their own; whoever watches lives in real time. All seconds here are the device's own
`CLOCK_MONOTONIC` or the world's, not the watcher's.
"""

from __future__ import annotations

import datetime
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import trustme
from endurance.device import (
    AUTHORITY,
    GATEWAY_PORT,
    REAL_PATIENCE_S,
    Device,
    Violation,
    environment,
    hurry,
)
from endurance.gateway_program import CERTIFICATE
from endurance.name_server import PORT, NameServer
from endurance.played_clock import REAL, PlayedClock, build
from network.namespaces import GATEWAY_ADDRESS, GATEWAY_NAME, PrivateNetwork

NAMES_ADDRESS = "10.77.0.53"


class World:
    """All of it; a context manager.

    Args:
        folder: For sockets, certificates and the device's log.
        begins: What time of day it is at first.
    """

    def __init__(self, folder: Path, begins: datetime.datetime) -> None:
        self.folder = folder
        self.began_s = 0.0
        self._begins = begins
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            library = build(self.folder)
            self.clock = PlayedClock(self.folder / "device-clock")
            self.outside = PlayedClock(self.folder / "world-clock")
            for clock in (self.clock, self.outside):
                clock.set_day(self._begins.timestamp())
                stack.callback(clock.close)
            self.network = stack.enter_context(PrivateNetwork())
            self.network.give_address(self.network.gateway, NAMES_ADDRESS)
            self.network.ask_name_server(NAMES_ADDRESS)
            sock = self.network.on_gateway_host(lambda: _bound(NAMES_ADDRESS))
            self.names = NameServer(sock, GATEWAY_ADDRESS)
            stack.callback(self.names.close)
            self.new_authority()
            self.trust_authority()
            self.certify()
            self._start_gateway(stack, library)
            self.device = Device(self.folder, self.clock, library, self.network)
            stack.callback(self.device.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    # Clocks

    def run(
        self, rate: float, *, media: float = 1.0, slew: float = 0.0, forgiving: bool = False
    ) -> None:
        """Let time pass so fast, for everybody; see `PlayedClock.run`."""
        self.clock.run(rate, media=media, slew=slew, forgiving=forgiving)
        self.outside.run(rate, forgiving=forgiving)
        self.rate = rate

    def pass_time(self, seconds: float) -> None:
        """Wait for so long, by the world's clock, and watch meanwhile."""
        until_s = self.outside.now_s() + seconds
        while (left_s := until_s - self.outside.now_s()) > 0:
            time.sleep(min(0.2, left_s / self.rate))
            if self.device.ended:
                raise Violation(f"the device ended with {self.device.process.returncode}")

    def wait_for(self, holds: Callable[[], object], within_s: float, what: str) -> float:
        """Wait, by the world's clock; how long it took.

        Raises:
            Violation: it did not come.
        """
        device = self.device
        began_s = self.outside.now_s()
        with device.changed:
            while not holds():
                left_s = began_s + within_s - self.outside.now_s()
                if left_s <= 0 or device.ended:
                    raise Violation(
                        f"{what}: not within {within_s:g} s "
                        f"(state {device.state}, {device.sessions})"
                    )
                device.changed.wait(min(0.1, left_s / self.rate))
        return self.outside.now_s() - began_s

    def suspend(self, seconds: float, meanwhile: Callable[[], None], *, rate: float) -> None:
        """The device sleeps: it does nothing and its monotonic clock stands still."""
        self.device.process.send_signal(signal.SIGSTOP)
        self.clock.run(rate)
        self.clock.suspend()
        self.outside.run(rate)
        kept, self.rate = self.rate, rate
        meanwhile()
        self.pass_time(seconds)
        self.rate = kept
        self.run(kept)
        self.device.process.send_signal(signal.SIGCONT)

    def freeze(self, seconds: float) -> None:
        """The device does nothing, and its clocks go on."""
        self.device.process.send_signal(signal.SIGSTOP)
        self.pass_time(seconds)
        self.device.process.send_signal(signal.SIGCONT)

    def boot(self) -> None:
        """Start the device; until it tells something, time passes as fast as the host's."""
        kept = self.rate
        self.run(1.0)
        self.device.boot()
        self.wait_for(lambda: self.device.state, REAL_PATIENCE_S, "a word of the device")
        self.run(kept)

    # Certificates

    def new_authority(self) -> None:
        """Certificates to come are another authority's, which nobody trusts yet."""
        self._authority = trustme.CA()

    def trust_authority(self) -> None:
        """The device's `gateway.ca_file` has the authority of now."""
        self._authority.cert_pem.write_to_path(str(self.folder / AUTHORITY))

    def certify(self, *, seconds: float = 90 * 24 * 3600.0) -> None:
        """A certificate from yesterday on, for so long from now; `gateway` loads it."""
        now = datetime.datetime.fromtimestamp(self.outside.now_s(REAL), datetime.UTC)
        certificate = self._authority.issue_cert(
            GATEWAY_NAME,
            not_before=now - datetime.timedelta(days=1),
            not_after=now + datetime.timedelta(seconds=seconds),
        )
        path = str(self.folder / CERTIFICATE)
        certificate.private_key_pem.write_to_path(path)
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(path, append=True)

    # The gateway

    def gateway(self, *words: str) -> dict[str, Any]:
        """Let the gateway's program do it; its last answer."""
        assert self._gateway.stdin is not None
        assert self._gateway.stdout is not None
        answer: dict[str, Any] = {}
        for word in words:
            self._gateway.stdin.write(f"{word}\n".encode())
            self._gateway.stdin.flush()
            answer = json.loads(self._gateway.stdout.readline())
        return answer

    def _start_gateway(self, stack: ExitStack, library: Path) -> None:
        self._gateway = self.network.popen(
            [sys.executable, "-m", "endurance.gateway_program", str(GATEWAY_PORT), self.folder],
            host=self.network.gateway,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.outside.environment(library, environment()),
        )
        stack.callback(_end, self._gateway)
        assert self._gateway.stdout is not None
        self._gateway.stdout.readline()
        hurry(self._gateway.pid)


def _bound(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, PORT))
    return sock


def _end(program: subprocess.Popen[bytes]) -> None:
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.close()
    try:
        program.wait(REAL_PATIENCE_S)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()
    program.stdout.close()
