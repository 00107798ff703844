"""The way out through a corporate proxy: which one, and the CONNECT that opens a tunnel.

Whose code does what, and why:

* Which proxy the environment names, and which names it exempts, is `urllib.request`'s to say, as
  everywhere in Python: lower case before upper case, `ALL_PROXY`, `NO_PROXY` with suffixes and
  "*". It is loaded only where a proxy is set, as it takes 11 ms. websocket-client has the same in
  a private module, without `ALL_PROXY`, and with ".example.com" it exempts "badexample.com" too.
  Networks ("10.0.0.0/8"), which urllib does not know, are added here.
* The answer to CONNECT is read by `http.client`. websocket-client's own tunnel would do it on a
  socket that it opens itself, without our deadline and TLS (`byte_stream`), and with no bound
  to what it reads.

The proxy resolves the gateway's name, and TLS is with the gateway, inside the tunnel. Loopback
never goes through a proxy. Only `http://` proxies and Basic authorization are spoken.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from dataclasses import dataclass, field
from io import BufferedReader, RawIOBase
from typing import Any
from urllib.parse import unquote, urlsplit

from slng_edge.errors import ConfigError, ConnectFailed, GatewayError, RequestRejected
from slng_edge.gateway.byte_stream import ByteStream
from slng_edge.protocol.decoding import server_words
from slng_edge.secrets import hide_known, register_secret

DEFAULT_PORT = 80
ANSWER_BYTES = 65536
"""More than any proxy says; the page with its reasons is not read."""

_KINDS = {"wss": ("https", "all"), "ws": ("http", "all")}
_PASSING = (408, 425, 429)


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy; its text names it with the variable it comes from, without a password."""

    host: str
    port: int
    variable: str
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"the proxy {_authority(self.host, self.port)} (${self.variable})"


def proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    """The proxy that the environment names for `scheme` ("ws", "wss"), None for a direct way.

    Raises:
        ConfigError: the variable names what is no `http://` proxy.
    """
    kinds = _KINDS[scheme]
    names = {name: name.lower() for name, value in os.environ.items() if value}
    if not {f"{kind}_proxy" for kind in kinds} & set(names.values()) or _on_this_machine(host):
        return None
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()  # on Linux the environment's
    kind = next((kind for kind in kinds if kind in proxies), None)
    exempted = proxy_bypass(host if ":" in host else f"{host}:{port}", proxies)
    if kind is None or exempted or _in_a_network(host, proxies.get("no", "")):
        return None
    wanted = f"{kind}_proxy"
    variable = wanted if wanted in names else next(n for n, low in names.items() if low == wanted)
    return _parsed(proxies[kind], variable)


def open_tunnel(stream: ByteStream, proxy: Proxy, host: str, port: int) -> None:
    """Have `proxy`, to which `stream` is connected, connect it to the gateway.

    Waits within the deadline of `stream.connect`, and for at most `ANSWER_BYTES`.

    Raises:
        RequestRejected: the proxy refuses for good: the password (407), the target (403), the
            method. Repeating a wrong password locks accounts, so 407 is final as well.
        ConnectFailed: it cannot reach the gateway (5xx), or its answer is no HTTP.
        OSError: the connection broke, timed out, or brought too much.
    """
    from http.client import HTTPException, HTTPResponse

    authority = _authority(host, port)
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    stream.allow(ANSWER_BYTES)
    stream.send("\r\n".join([*lines, "", ""]).encode("ascii"))
    # What http.client wants of a socket is `makefile`; with CONNECT it expects no body.
    response = HTTPResponse(_Answer(stream), method="CONNECT")  # type: ignore[arg-type]
    try:
        response.begin()
    except HTTPException as error:
        raise ConnectFailed(
            f"{proxy} did not answer as an HTTP proxy does ({type(error).__name__}): check the "
            "address in the variable"
        ) from error
    if not 200 <= response.status <= 299:
        challenges = response.headers.get_all("Proxy-Authenticate", [])
        raise _refusal(proxy, authority, response.status, response.reason, challenges)


class _Answer(RawIOBase):
    """The stream as a file, byte by byte: what follows the answer is not the proxy's."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.recv(1)
        buffer[: len(data)] = data
        return len(data)

    def makefile(self, _mode: str) -> BufferedReader:
        return BufferedReader(self)


def _refusal(
    proxy: Proxy, authority: str, status: int, reason: str, challenges: list[str]
) -> GatewayError:
    words = server_words(hide_known(reason))
    said = f"(HTTP {status}{': ' if words else ''}{words})"
    if status == 407:
        schemes = [challenge.split()[0] for challenge in challenges if challenge.strip()]
        if schemes and "basic" not in [scheme.lower() for scheme in schemes]:
            offered = server_words(", ".join(schemes))
            advice = f"it takes {offered}, and only Basic is spoken here: ask for an exemption"
        elif proxy.authorization:
            advice = f"it refused the user and password in ${proxy.variable}: check them"
        else:
            advice = (
                "it asks for a user and password: give them as "
                f"{proxy.variable}=http://USER:PASSWORD@HOST:PORT"
            )
        return RequestRejected(f"{proxy} wants authorization {said}; {advice}")
    what = f"{proxy} did not connect to {authority} {said}"
    if 400 <= status <= 499 and status not in _PASSING:
        return RequestRejected(
            f"{what}; have {authority} allowed there, or exempt it with NO_PROXY"
        )
    return ConnectFailed(f"{what}; it will be tried again")


def _parsed(value: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname or "", parts.port or DEFAULT_PORT
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("more than an address")  # a password with "/", "?" or "#" in it
    except ValueError:
        raise ConfigError(
            f"${variable} is not an address: write http://HOST:PORT, or "
            "http://USER:PASSWORD@HOST:PORT with special characters percent-encoded"
        ) from None  # the cause may quote a part of the password
    register_secret(password)
    if parts.scheme != "http":
        raise ConfigError(
            f"${variable} names a proxy of the kind {parts.scheme}://, and only http:// proxies "
            "are spoken to: name one, or exempt the gateway with NO_PROXY"
        )
    if not host:
        raise ConfigError(f"${variable} names no host: write http://HOST:PORT")
    authorization = ""
    if user or password:
        token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        register_secret(token)
        authorization = f"Basic {token}"
    return Proxy(host, port, variable, authorization)


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _in_a_network(host: str, no_proxy: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _networks(no_proxy))


def _networks(no_proxy: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    networks = []
    for entry in no_proxy.split(","):
        try:
            networks.append(ipaddress.ip_network(entry.strip(), strict=False))
        except ValueError:
            continue  # a name: urllib has compared it
    return networks
