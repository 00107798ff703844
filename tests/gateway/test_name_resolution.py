"""Looking a host name up."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_disk import mount_rights

from slng_edge.gateway.name_resolution import NameNotAnswered, resolve

SILENT = """
import json, socket
from slng_edge.diagnostics import names
from slng_edge.errors import SlngEdgeError
from slng_edge.gateway.connection import Connection, DialSettings
from slng_edge.protocol.routes import Endpoint
from slng_edge.responders.http_client import HttpClient
from slng_edge.responders.http_exchange import Timeouts
from slng_edge.responders.server_address import server_address

names.TIMEOUT_S = 0.3
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))
connection = Connection()
client = HttpClient(server_address("http://a.example/"), timeouts=Timeouts(connect_s=0.3))

def said(act):
    try:
        act()
    except SlngEdgeError as error:
        return str(error)

print(json.dumps({
    "gateway": said(lambda: connection.dial(Endpoint("wss://a.example/", ()), DialSettings(0.3))),
    "responder": said(lambda: client.post(b"", lambda: False, repeatable=False)),
    "doctor": names.judge_lookup(names.look_up("a.example", 443)).what,
}))
silent.close()
connection.close()
client.close()
"""
"""What is said where the only name server hears every question and answers none."""


def test_a_name_has_addresses() -> None:
    """The host that every machine knows."""
    found = resolve("localhost", 80, deadline=time.monotonic() + 5, aborted=lambda: False)
    assert any(address[4][:2] in (("127.0.0.1", 80), ("::1", 80)) for address in found)


def test_a_name_that_nobody_has_is_refused() -> None:
    """With the resolver's own error, which says what to do."""
    with pytest.raises(socket.gaierror):
        resolve("no-such-host.invalid", 80, deadline=time.monotonic() + 30, aborted=lambda: False)


def test_an_abort_ends_the_wait() -> None:
    """Whoever stops does not wait for a name server."""
    with pytest.raises(OSError, match="stopped while connecting"):
        resolve("localhost", 80, deadline=time.monotonic() + 60, aborted=lambda: True)


def test_the_deadline_ends_the_wait() -> None:
    """A name server that does not answer holds nobody longer than allowed."""
    with pytest.raises(NameNotAnswered, match="no answer in time"):
        resolve("localhost", 80, deadline=time.monotonic() - 1, aborted=lambda: False)


@pytest.mark.skipif(
    not mount_rights() or not shutil.which("ip"), reason="this user may make no network, or no ip"
)
def test_a_silent_name_server_is_not_taken_for_a_silent_host(tmp_path: Path) -> None:
    """Of the host nothing is known: gateway, responder and doctor say whose answer is missing."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    alone = (
        f'ip link set lo up && mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec "$@"'
    )
    begin = (*mount_rights(), "--net", "sh", "-c", alone, "sh", sys.executable, "-c", SILENT)
    ran = subprocess.run(begin, capture_output=True, timeout=30)
    assert not ran.returncode, ran.stderr.decode()
    said = json.loads(ran.stdout)
    assert said["gateway"] == (
        "the name of a.example:443 could not be looked up within 0.3 s, as no name server answers: "
        "check the network and the name server (cat /etc/resolv.conf)"
    )
    assert "cannot be reached: no name server answers within 0.3 s; check the" in said["responder"]
    assert said["doctor"] == "no name server answers for a.example (no answer in time, after 0 s)"
