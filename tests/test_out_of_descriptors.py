"""No free descriptor: what waits for one, what is told, and that nothing is refused for good."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starved_service import StarvedService

from slng_edge.errors import ConfigError, ConnectFailed
from slng_edge.gateway.dial_failures import tls_context
from slng_edge.service.hook_run import HookRun
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

NO_DESCRIPTOR = "Too many open files"
LOWEST = 4
"""A limit of descriptors below those that a service has: it gets none, and keeps what it has."""


@pytest.fixture
def gateway() -> Iterator[LocalGateway]:
    """Understands two words, and speaks in tones."""
    with LocalGateway(stt=ScriptRecognizer(["one two"]), tts=ToneSynthesizer()) as gateway:
        yield gateway


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open nothing."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_connection_waits_for_a_descriptor(tmp_path: Path, gateway: LocalGateway) -> None:
    """It is tried again as when the network is away, and the reason is told."""
    with StarvedService(tmp_path, gateway.url) as service:
        service.ready()
        before = service.limit(resource.RLIMIT_NOFILE, LOWEST)
        gateway.drop_all()
        service.await_(lambda: service.failed(NO_DESCRIPTOR), NO_DESCRIPTOR)
        service.limit(resource.RLIMIT_NOFILE, before)
        service.ask()
        assert service.end() == 0


def test_a_hook_that_gets_no_descriptor_is_not_run() -> None:
    """A warning, as for any hook that cannot be started."""
    with no_descriptors():
        run = HookRun(["true"], {})
    assert run.wait(1) == (f"could not be started: {NO_DESCRIPTOR}", "")
    run.close()


def test_systemd_is_not_told_and_it_goes_on(tmp_path: Path, gateway: LocalGateway) -> None:
    """Without a descriptor the watchdog is not fed: it has 30 s of patience."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        notify = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with StarvedService(tmp_path, gateway.url, environment=notify) as service:
            service.ready()
            before = service.limit(resource.RLIMIT_NOFILE, LOWEST)
            service.await_(lambda: service.warnings("cannot notify systemd"), "warning")
            service.limit(resource.RLIMIT_NOFILE, before)
            systemd.setblocking(False)
            _drain(systemd)
            service.await_(lambda: b"WATCHDOG=1" in _drain(systemd), "watchdog, fed again")
            assert len(service.warnings(NO_DESCRIPTOR)) == 1
            assert service.end() == 0


def _drain(systemd: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(systemd.recv(4096))
        except BlockingIOError:
            return found


def test_a_certificate_authority_that_cannot_be_opened_now_is_no_wrong_setting(
    tmp_path: Path,
) -> None:
    """Else the session would be refused for good, with a status that systemd does not restart."""
    (tmp_path / "ca.pem").write_text("no certificate")
    with no_descriptors(), pytest.raises(ConnectFailed, match=NO_DESCRIPTOR):
        tls_context(str(tmp_path / "ca.pem"))
    with pytest.raises(ConfigError):
        tls_context(str(tmp_path / "ca.pem"))


def test_no_socket_gets_the_number_of_a_standard_stream(
    tmp_path: Path, gateway: LocalGateway
) -> None:
    """Started with them closed: what libraries print on standard error goes to nobody."""
    closed = ("sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh")
    program = ("-m", "slng_edge", "run", "--events", "events")
    with StarvedService(tmp_path, gateway.url, before=closed, program=program) as service:
        service.await_(service.socket.exists, "control socket")
        found = service.descriptors()
        assert [found[number] for number in range(3)] == ["/dev/null"] * 3
        assert any(to.startswith("socket:") for to in found.values())
        assert service.request(command="status")["ok"]
