"""The three ways out that have TLS, and what must not get through any of them: gateway, answering
server, MQTT broker; in an environment that does all it can to have it get through.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from authority import Authority
from command_line import KEY

from slng_edge.config import Config, each_value

PROBE = """
import json, sys
from slng_edge.errors import SlngEdgeError
from slng_edge.gateway.connection import Connection, DialSettings
from slng_edge.protocol.routes import Endpoint
from slng_edge.responders.http_client import HttpClient
from slng_edge.responders.server_address import server_address
from slng_edge.service.mqtt_address import broker_address
from slng_edge.service.mqtt_client import BrokerClient
from slng_edge.service.mqtt_topics import Message

ports, ca_file, key = json.loads(sys.argv[1])

def gateway(port):
    connection = Connection()
    endpoint = Endpoint(f"wss://127.0.0.1:{port}/v1", (("Authorization", f"Bearer {key}"),))
    try:
        connection.dial(endpoint, DialSettings(5.0, ca_file))
    finally:
        connection.close()

def responder(port):
    client = HttpClient(server_address(f"https://127.0.0.1:{port}/"), key=key, ca_file=ca_file)
    client.post(b"{}", lambda: False, repeatable=False)

def broker(port):
    BrokerClient(
        broker_address(f"mqtts://user@127.0.0.1:{port}"), password=key, ca_file=ca_file,
        will=Message("a", "b", True), on_message=print,
    ).close()

said = {}
for name, port in ports.items():
    for way in (gateway, responder, broker):
        try:
            way(port)
        except SlngEdgeError as error:
            said[f"{way.__name__}, {name}"] = str(error)
print(json.dumps(said))
"""

REFUSALS = {
    "old": ("no TLS 1.2", "PROTOCOL_VERSION", "alert protocol version"),
    "stranger": ("unable to get local issuer certificate",),
    "self-signed": ("self-signed certificate",),
    "expired": ("certificate has expired",),
    "wrong name": ("IP address mismatch", "Hostname mismatch"),
}
"""What one of stands in what is said of each server; all but it are refused for the certificate."""

WAYS = ("gateway", "responder", "broker")


@dataclass
class TlsServer:
    """Shakes hands with whoever comes, and keeps what is said to it afterwards."""

    context: ssl.SSLContext
    port: int = 0
    heard: list[bytes] = field(default_factory=list)

    @contextmanager
    def serving(self) -> Iterator[TlsServer]:
        """In a thread of its own."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
            thread = threading.Thread(target=self._serve, args=(listening,), name="tls-server")
            thread.start()
            yield self
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            with accepted:
                accepted.settimeout(5)
                try:
                    with self.context.wrap_socket(accepted, server_side=True) as secure:
                        self.heard.append(secure.recv(65536))
                except OSError:
                    continue  # refused, as it has to be


def old_tls(authority: Authority) -> ssl.SSLContext:
    """TLS 1.1 and nothing newer."""
    context = authority.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def self_signed(folder: Path) -> ssl.SSLContext:
    """A certificate that is its own authority."""
    files = [str(folder / name) for name in ("self.key", "self.pem")]
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", files[0], "-out", files[1]]
    subprocess.run([*make.split(), *names], check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    return context


def of(ca: trustme.CA, name: str = "127.0.0.1", *, expired: bool = False) -> ssl.SSLContext:
    """A certificate of `ca`."""
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) if expired else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name, not_after=long_ago).configure_cert(context)
    return context


@dataclass
class Probed:
    """What was said of each way and server, and what each server heard."""

    said: dict[str, str]
    heard: dict[str, list[bytes]]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """All ways to all servers, in one process with the most careless environment there is."""
    folder = tmp_path_factory.mktemp("tls")
    trusted, stranger = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(str(folder / "trusted.pem"))
    stranger.cert_pem.write_to_path(str(folder / "stranger.pem"))
    authority = Authority(trusted, str(folder / "trusted.pem"))
    (folder / "openssl.cnf").write_text(
        "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n"
        "[c]\nMinProtocol = TLSv1\nCipherString = DEFAULT@SECLEVEL=0\n"
    )
    careless = {
        "OPENSSL_CONF": str(folder / "openssl.cnf"),
        "WEBSOCKET_CLIENT_CA_BUNDLE": str(folder / "stranger.pem"),
        "REQUESTS_CA_BUNDLE": str(folder / "stranger.pem"),
        "CURL_CA_BUNDLE": str(folder / "stranger.pem"),
        "PYTHONHTTPSVERIFY": "0",
        "NODE_TLS_REJECT_UNAUTHORIZED": "0",
        "SLNG_EDGE_GATEWAY__ALLOW_INSECURE": "true",
    }
    contexts = {
        "old": old_tls(authority),
        "stranger": of(stranger),
        "self-signed": self_signed(folder),
        "expired": of(trusted, expired=True),
        "wrong name": of(trusted, "elsewhere.example"),
        "good": authority.server_context(),
    }
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(TlsServer(context).serving())
            for name, context in contexts.items()
        }
        ports = {name: server.port for name, server in servers.items()}
        done = subprocess.run(
            [sys.executable, "-c", PROBE, json.dumps([ports, authority.ca_file, KEY])],
            env={**os.environ, **careless},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
    heard = {name: server.heard for name, server in servers.items()}
    return Probed(json.loads(done.stdout), heard)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("server", REFUSALS)
def test_a_server_that_is_not_to_be_trusted_is_told_nothing(
    probed: Probed, way: str, server: str
) -> None:
    """It is refused in the handshake, for the reason that there is, whatever is set."""
    said = probed.said[f"{way}, {server}"]
    assert any(words in said for words in REFUSALS[server]), said
    assert [each for each in probed.heard[server] if each] == []


@pytest.mark.parametrize("way", ["gateway", "responder"])
def test_an_expired_certificate_leads_to_the_clock(probed: Probed, way: str) -> None:
    """With the time of this device: without a battery it begins in the past."""
    said = probed.said[f"{way}, expired"]
    assert re.search(r"clock of this device \(`date`\), which says \d{4}-\d\d-\d\d \d\d:\d\d", said)
    assert "gateway.ca_file" not in said


def test_the_servers_would_have_heard_it(probed: Probed) -> None:
    """The one that is to be trusted hears the key from all three, inside of TLS."""
    assert [KEY.encode() in each for each in probed.heard["good"]] == [True] * len(WAYS)


def test_no_key_of_the_configuration_turns_it_off() -> None:
    """All that there is about TLS adds an authority, or allows `ws://`, which has no TLS."""
    about = re.compile(r"tls|ssl|verif|insecure|cert|ca_|check|trust")
    names = {f"{section}.{key}" for section, key, _ in each_value(Config()) if about.search(key)}
    assert names == {"gateway.allow_insecure", "gateway.ca_file"}
