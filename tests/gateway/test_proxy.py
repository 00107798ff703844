"""Through a corporate proxy: which one, the tunnel, and what its refusals are called."""

from __future__ import annotations

import base64
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from authority import Authority
from conversation_scripts import gateway
from raw_server import http_proxy, server, until_gone

from slng_edge.errors import ConfigError, ConnectFailed, GatewayError, RequestRejected
from slng_edge.gateway.connection import Connection, DialSettings
from slng_edge.protocol.routes import Endpoint
from slng_edge.proxies import proxy_for

HOST = "gateway.example"
"""No name server knows it: who connects there has not asked one."""
PATH = "/v1/bridges/unmute/stt/slng/deepgram/nova:3-en"

Environment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Sets the variables given, and no other one of proxies."""
    for kind in ("http", "https", "all", "no"):
        for name in (f"{kind}_proxy", f"{kind}_proxy".upper()):
            monkeypatch.delenv(name, raising=False)

    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


def dialled(url: str, timeout_s: float = 5.0, ca_file: str = "") -> Connection:
    connection = Connection()
    try:
        connection.dial(Endpoint(url + PATH, ()), DialSettings(timeout_s, ca_file))
    except BaseException:
        connection.close()
        raise
    return connection


def refused(answer: bytes, user: str = "", **options: float) -> GatewayError:
    """What dialling through a proxy that says `answer` raises."""
    with http_proxy(answer=answer) as (port, _), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTPS_PROXY", f"http://{user}127.0.0.1:{port}")
        with pytest.raises(GatewayError) as info:
            dialled(f"wss://{HOST}", **options)
        assert f"the proxy 127.0.0.1:{port} ($HTTPS_PROXY)" in str(info.value)
    return info.value


@pytest.mark.parametrize(
    ("scheme", "variables", "chosen"),
    [
        ("wss", {}, None),
        ("wss", {"HTTPS_PROXY": "http://a:1"}, ("a", 1, "HTTPS_PROXY")),
        ("wss", {"https_proxy": "http://a:1"}, ("a", 1, "https_proxy")),
        (
            "wss",
            {"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2"},
            ("a", 1, "https_proxy"),
        ),
        ("wss", {"HTTP_PROXY": "http://a:1"}, None),
        ("ws", {"HTTP_PROXY": "http://a:1"}, ("a", 1, "HTTP_PROXY")),
        ("ws", {"HTTPS_PROXY": "http://a:1"}, None),
        ("wss", {"ALL_PROXY": "http://a:1"}, ("a", 1, "ALL_PROXY")),
        ("ws", {"all_proxy": "http://a:1"}, ("a", 1, "all_proxy")),
        ("wss", {"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:2"}, ("b", 2, "HTTPS_PROXY")),
        ("wss", {"HTTPS_PROXY": ""}, None),
        ("wss", {"HTTPS_PROXY": "a:3128"}, ("a", 3128, "HTTPS_PROXY")),
        ("wss", {"HTTPS_PROXY": "http://a/"}, ("a", 80, "HTTPS_PROXY")),
        ("wss", {"HTTPS_PROXY": "http://[fd00::1]:3128"}, ("fd00::1", 3128, "HTTPS_PROXY")),
    ],
)
def test_the_environment_says_which_proxy(
    environment: Environment,
    scheme: str,
    variables: dict[str, str],
    chosen: tuple[str, int, str] | None,
) -> None:
    """By the scheme, then for all; lower case wins; the port is 80 where there is none."""
    environment(**variables)
    proxy = proxy_for(scheme, HOST, 443)
    assert (proxy and (proxy.host, proxy.port, proxy.variable)) == chosen


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("api.slng.ai", "api.slng.ai", True),
        ("us-east.api.slng.ai", "slng.ai", True),
        ("us-east.api.slng.ai", ".slng.ai", True),
        ("badslng.ai", ".slng.ai", False),
        ("api.slng.ai", "other.example, API.SLNG.AI ", True),
        ("api.slng.ai", "*", True),
        ("api.slng.ai", "api.slng.ai:443", True),
        ("api.slng.ai", "api.slng.ai:8443", False),
        ("192.168.1.5", "192.168.0.0/16", True),
        ("192.169.1.5", "192.168.0.0/16,localhost", False),
        ("fd00::5", "10.0.0.0/8,fd00::/8", True),
        ("fd00::5", "fd00::5", True),
        ("api.slng.ai", "10.0.0.0/8", False),
        ("localhost", "", True),
        ("gateway.localhost", "", True),
        ("127.0.0.5", "", True),
        ("::1", "", True),
        ("api.slng.ai", "", False),
    ],
)
def test_who_is_reached_directly(
    environment: Environment, host: str, no_proxy: str, direct: bool
) -> None:
    """What NO_PROXY exempts by name, suffix or network, and always this machine."""
    environment(HTTPS_PROXY="http://a:1", NO_PROXY=no_proxy)
    assert (proxy_for("wss", host, 443) is None) == direct


@pytest.mark.parametrize(
    "value",
    [
        "https://secret:hidden@proxy.example:443",
        "socks5://secret:hidden@proxy.example:1080",
        "http://secret:hidden@proxy.example:port",
        "http://secret:hid/den@proxy.example:3128",
        "http://secret:12/den@proxy.example:3128",
        "http://secret:hidden@:3128",
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_config_error(
    environment: Environment, value: str
) -> None:
    """The variable is named, and not what stands in it."""
    environment(HTTPS_PROXY=value)
    with pytest.raises(ConfigError, match=r"\$HTTPS_PROXY") as info:
        proxy_for("wss", HOST, 443)
    shown = f"{info.value} {info.value.__cause__}"
    assert not [part for part in ("secret", "hid", "den", "12") if part in shown]


def test_the_library_for_proxies_is_loaded_only_where_there_is_one() -> None:
    """Its import costs more than a connection does."""
    code = (
        "import sys, slng_edge.proxies as p; p.proxy_for('wss', 'gateway.example', 443);"
        "print('urllib.request' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={}, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False"]


def test_tls_goes_through_the_tunnel(environment: Environment, authority: Authority) -> None:
    """The proxy is asked for the gateway by name; the certificate is the gateway's."""
    with (
        gateway(ssl_context=authority.server_context(HOST)) as served,
        http_proxy(int(served.url.rsplit(":", 1)[1])) as (port, requests),
    ):
        environment(HTTPS_PROXY=f"http://127.0.0.1:{port}")
        connection = dialled(f"wss://{HOST}", ca_file=authority.ca_file)
        connection.send('{"type":"init","config":{}}')
        assert '"ready"' in str(connection.receive())
        connection.close()
    assert requests == [f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n".encode()]


def test_plain_text_goes_through_a_tunnel_as_well(environment: Environment) -> None:
    """RFC 6455, 4.1: proxies do not understand the upgrade, so `ws` takes CONNECT too."""
    with (
        gateway() as served,
        http_proxy(int(served.url.rsplit(":", 1)[1])) as (port, requests),
    ):
        environment(HTTP_PROXY=f"http://127.0.0.1:{port}")
        connection = dialled("ws://[fd00::5]:8080")
        connection.send('{"type":"init","config":{}}')
        assert '"ready"' in str(connection.receive())
        connection.close()
    assert requests[0].startswith(b"CONNECT [fd00::5]:8080 HTTP/1.1\r\n")


def test_the_certificate_must_be_the_gateways(
    environment: Environment, authority: Authority
) -> None:
    """One for the proxy's own name does not do; the message names both."""
    with (
        gateway(ssl_context=authority.server_context("127.0.0.1")) as served,
        http_proxy(int(served.url.rsplit(":", 1)[1])) as (port, _),
    ):
        environment(HTTPS_PROXY=f"http://127.0.0.1:{port}")
        with pytest.raises(ConnectFailed, match=rf"{HOST}:443 through the proxy 127\.0\.0\.1"):
            dialled(f"wss://{HOST}", ca_file=authority.ca_file)


def test_user_and_password_go_to_the_proxy_and_nowhere_else(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    """Basic authorization, percent-decoded, and in no message, log or text of the proxy."""
    caplog.set_level(logging.DEBUG)
    with (
        gateway() as served,
        http_proxy(int(served.url.rsplit(":", 1)[1])) as (port, requests),
    ):
        environment(HTTP_PROXY=f"http://us%40er:pa%3Assword@127.0.0.1:{port}")
        dialled(f"ws://{HOST}").close()
        served.wait_for(lambda: served.connections, 5)
        assert "proxy-authorization" not in served.connections[0].headers
    token = base64.b64encode(b"us@er:pa:ssword").decode()
    assert f"\r\nProxy-Authorization: Basic {token}\r\n".encode() in requests[0]
    proxy = proxy_for("ws", HOST, 80)
    shown = f"{proxy} {proxy!r} {caplog.text}"
    assert not [secret for secret in ("pa:ssword", "pa%3Assword", token) if secret in shown]


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"HTTP/1.1 403 Forbidden", RequestRejected, r"403: Forbidden.*allowed there.*NO_PROXY"),
        (b"HTTP/1.1 405 Method Not Allowed", RequestRejected, "405: Method Not Allowed"),
        (b"HTTP/1.1 429 Too Many", ConnectFailed, "429: Too Many.*tried again"),
        (b"HTTP/1.1 502 Bad Gateway", ConnectFailed, "did not connect to gateway.example:443.*502"),
        (b"HTTP/1.0 503 ", ConnectFailed, r"\(HTTP 503\).*tried again"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://login/", ConnectFailed, "302: Found"),
        (b"SSH-2.0-OpenSSH_9.2", ConnectFailed, "did not answer as an HTTP proxy does"),
        (b"HTTP/1.1 twohundred OK", ConnectFailed, "did not answer as an HTTP proxy does"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200, ConnectFailed, "did not answer as an HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000, ConnectFailed, "more than"),
        (b"HTTP/1.1 200 OK\r\n\r\nnot TLS", ConnectFailed, "443 through the proxy.*speak TLS"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, ConnectFailed, "more than"),
    ],
)
def test_a_refusal_of_the_proxy_is_an_error_of_its_kind(
    environment: Environment, answer: bytes, kind: type, words: str
) -> None:
    """What failed, on which proxy, what to do; what may pass is tried again."""
    environment()
    error = refused(answer + b"\r\n\r\n")
    assert type(error) is kind
    assert error.retryable == (kind is ConnectFailed)
    with pytest.raises(kind, match=words):
        raise error


@pytest.mark.parametrize(
    ("user", "scheme", "words"),
    [
        ("", "Basic realm=x", "asks for a user and password.*HTTPS_PROXY=http://USER:PASSWORD@"),
        ("", "", "asks for a user and password"),
        ("me:wrong@", "Basic realm=x", r"refused the user and password in \$HTTPS_PROXY"),
        ("me:wrong@", "Negotiate", "takes Negotiate, and only Basic is spoken"),
    ],
)
def test_a_proxy_that_wants_authorization_is_final(
    environment: Environment, user: str, scheme: str, words: str
) -> None:
    """407 is not hammered, which locks accounts; the message says what is missing."""
    environment()
    header = f"Proxy-Authenticate: {scheme}\r\n" if scheme else ""
    error = refused(f"HTTP/1.1 407 Authenticate\r\n{header}\r\n".encode(), user)
    assert (type(error), error.retryable) == (RequestRejected, False)
    assert "wrong" not in str(error)
    with pytest.raises(RequestRejected, match=words):
        raise error


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nVia: x\r\n"])
def test_a_proxy_that_does_not_finish_its_answer_costs_the_timeout(
    environment: Environment, answer: bytes
) -> None:
    """It holds nobody longer than the gateway itself would."""

    def stall(peer: socket.socket) -> None:
        peer.sendall(answer)
        until_gone(peer)

    with server(stall) as port:
        environment(HTTPS_PROXY=f"http://127.0.0.1:{port}")
        began = time.monotonic()
        with pytest.raises(ConnectFailed, match=r"the proxy.*did not answer within 0\.4 s"):
            dialled(f"wss://{HOST}", timeout_s=0.4)
        assert time.monotonic() - began < 2


def test_a_proxy_that_hangs_up_is_said(environment: Environment) -> None:
    """Without an answer."""
    with server(lambda peer: None) as port:
        environment(HTTPS_PROXY=f"http://127.0.0.1:{port}")
        with pytest.raises(ConnectFailed, match="the proxy") as info:
            dialled(f"wss://{HOST}")
        assert info.value.retryable


def test_a_proxy_that_is_not_there_is_said(environment: Environment) -> None:
    """By its own address and variable, as the gateway is not to blame."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    environment(HTTPS_PROXY=f"http://127.0.0.1:{port}")
    with pytest.raises(ConnectFailed, match=r"the proxy .*\(\$HTTPS_PROXY\) refused"):
        dialled(f"wss://{HOST}")
    environment(HTTPS_PROXY="http://no-such-proxy.invalid:3128")
    with pytest.raises(ConnectFailed, match=r"the proxy no-such-proxy.*DNS and \$HTTPS"):
        dialled(f"wss://{HOST}")
