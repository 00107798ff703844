"""Certificates and versions of TLS: what is refused, and what the message says to do."""

from __future__ import annotations

import datetime
import re
import socket
import ssl
import time
from pathlib import Path

import pytest
import trustme
from authority import Authority
from conversation_scripts import gateway
from raw_server import server, until_gone

from slng_edge.errors import ConfigError, ConnectFailed
from slng_edge.gateway.connection import Connection, DialSettings
from slng_edge.gateway.outage_log import OutageLog
from slng_edge.protocol.routes import Endpoint

PATH = "/v1/bridges/unmute/stt/slng/deepgram/nova:3-en"


def dialled(url: str, ca_file: str = "", timeout_s: float = 5.0) -> Connection:
    connection = Connection()
    try:
        connection.dial(Endpoint(url + PATH, ()), DialSettings(timeout_s, ca_file))
    except BaseException:
        connection.close()
        raise
    return connection


def refusal(context: ssl.SSLContext, ca_file: str = "") -> ConnectFailed:
    """What dialling a gateway with `context` raises."""
    with gateway(ssl_context=context) as served, pytest.raises(ConnectFailed) as info:
        dialled(served.url, ca_file)
    return info.value


def test_an_unknown_authority_is_refused(authority: Authority) -> None:
    """The message names the host and what to do; the attempt may be repeated."""
    error = refusal(authority.server_context())
    assert error.retryable
    assert "the certificate of 127.0.0.1:" in str(error)
    assert "authority is not known here: name it in gateway.ca_file" in str(error)


def test_another_authority_does_not_help(authority: Authority) -> None:
    """A server whose certificate comes from a stranger is refused, `ca_file` or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    assert "gateway.ca_file" in str(refusal(context, authority.ca_file))


def test_a_certificate_that_signs_itself_is_refused() -> None:
    """As test installations have them: the file of the certificate makes it known."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    assert "name it in gateway.ca_file" in str(refusal(context))


@pytest.mark.parametrize("name", ["elsewhere.example", "127.0.0.2"])
def test_a_certificate_for_another_name_is_refused(authority: Authority, name: str) -> None:
    """A certificate of a trusted authority does not help when the name is wrong."""
    error = refusal(authority.server_context(name), authority.ca_file)
    assert "is another host's: check gateway.world_part or gateway.url" in str(error)
    assert error.retryable


@pytest.mark.parametrize(
    ("not_before", "not_after", "words"),
    [
        (None, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), "certificate has expired"),
        (datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC), None, "not yet valid"),
    ],
)
def test_a_certificate_of_another_time_points_at_the_clock(
    authority: Authority,
    not_before: datetime.datetime | None,
    not_after: datetime.datetime | None,
    words: str,
) -> None:
    """A device without a clock sees valid certificates as not valid: it may pass."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    not_after = not_after or datetime.datetime(2101, 1, 1, tzinfo=datetime.UTC)
    certificate = authority.ca.issue_cert("127.0.0.1", not_before=not_before, not_after=not_after)
    certificate.configure_cert(context)
    before = datetime.datetime.now(datetime.UTC)
    error = refusal(context, authority.ca_file)
    assert words in str(error)
    found = re.search(r"the clock of this device \(`date`\), which says (.{16}) UTC: ", str(error))
    assert found
    shown = datetime.datetime.fromisoformat(f"{found[1]}+00:00")
    assert -60 < (shown - before).total_seconds() < 60
    assert error.retryable


def test_the_time_in_it_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """What is told of a second connection once is not told again a minute later."""
    outages = OutageLog("stt")
    for when in ("2026-01-02 03:04", "2026-01-02 03:05"):
        outages.standby_failed(ConnectFailed(f"which says {when} UTC"))
    outages.write()
    assert len(caplog.records) == 1


def test_an_own_authority_adds_to_those_of_the_system(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `ca_file` the system's authorities are trusted as before."""
    of_system = trustme.CA()
    of_system.cert_pem.write_to_path(str(tmp_path / "system.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    of_system.issue_cert("127.0.0.1").configure_cert(context)
    for each in (context, authority.server_context()):
        with gateway(ssl_context=each) as served:
            dialled(served.url, authority.ca_file).close()


@pytest.mark.parametrize("content", [None, "", "no certificate", "folder"])
def test_a_ca_file_that_cannot_be_used_is_a_config_error(
    tmp_path: Path, content: str | None
) -> None:
    """Missing, empty, no PEM, not to be read: the key of the config is named."""
    path = tmp_path / "ca.pem"
    if content == "folder":
        path.mkdir()  # which nobody can read as a file, root neither
    elif content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"gateway\.ca_file = .*ca\.pem.*readable PEM file"):
        dialled("wss://127.0.0.1:1", str(path))


def test_a_server_that_speaks_no_tls_is_said(authority: Authority) -> None:
    """`wss://` to a plain server: host and port are to be checked, not the certificate."""

    def answer(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        until_gone(peer)

    with (
        server(answer) as port,
        pytest.raises(ConnectFailed, match="does not speak TLS on that port") as info,
    ):
        dialled(f"wss://127.0.0.1:{port}", authority.ca_file)
    assert info.value.retryable


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_server_with_old_tls_only_is_said(authority: Authority) -> None:
    """TLS 1.1 is broken, and spoken with nobody."""
    context = authority.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    error = refusal(context, authority.ca_file)
    assert "has no TLS 1.2 or newer" in str(error)
    assert error.retryable


def test_old_tls_is_not_spoken_where_the_system_would(authority: Authority) -> None:
    """A server that has newer TLS as well is met at 1.2 at least."""
    context = authority.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with gateway(ssl_context=context) as served:
        dialled(served.url, authority.ca_file).close()


@pytest.mark.parametrize("first_bytes", [b"", b"\x16\x03\x03\x00\x7a\x02"])
def test_a_handshake_that_stalls_costs_the_timeout(
    authority: Authority, first_bytes: bytes
) -> None:
    """Nothing comes back, or a part of the server's hello and then nothing."""

    def stall(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(first_bytes)
        until_gone(peer)

    with server(stall) as port:
        began = time.monotonic()
        with pytest.raises(ConnectFailed, match=r"did not answer within 0\.4 s"):
            dialled(f"wss://127.0.0.1:{port}", authority.ca_file, timeout_s=0.4)
        assert 0.3 < time.monotonic() - began < 2
