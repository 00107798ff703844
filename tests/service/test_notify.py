"""Datagrams to systemd."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from slng_edge.service.notify import Notifier


def test_messages_are_those_of_sd_notify(tmp_path: Path) -> None:
    """One datagram each."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.settimeout(2)
        notifier = Notifier({"NOTIFY_SOCKET": address})
        notifier.ready()
        notifier.alive()
        notifier.status("listening")
        notifier.stopping()
        received = [server.recv(100) for _ in range(4)]
    assert received == [b"READY=1", b"WATCHDOG=1", b"STATUS=listening", b"STOPPING=1"]


def test_an_abstract_address_is_understood(tmp_path: Path) -> None:
    """systemd may give one that begins with @."""
    name = f"slng-edge-test-{tmp_path.name}-{id(tmp_path)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{name}")
        server.settimeout(2)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert server.recv(100) == b"READY=1"


def test_without_systemd_nothing_happens() -> None:
    """No socket in the environment: every call is harmless."""
    notifier = Notifier({})
    notifier.ready()
    notifier.alive()
    notifier.stopping()


def test_a_socket_that_is_gone_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop lives on, and the log is not flooded once a second."""
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")})
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            notifier.alive()
    assert len(caplog.records) == 1


def test_a_socket_that_nobody_reads_holds_up_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a SIGTERM would not end the service."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(2000):
            notifier.alive()
    assert caplog.messages == ["cannot notify systemd: [Errno 11] Resource temporarily unavailable"]
