"""Which proxy the environment names for an address.

As everywhere in Python `urllib.request` says so: lower case before upper case, `ALL_PROXY`,
`NO_PROXY` with suffixes and "*". It is loaded only where a proxy is set, as it takes 11 ms.
websocket-client has the same in a private module, without `ALL_PROXY`, and with ".example.com" it
exempts "badexample.com" too. Networks ("10.0.0.0/8"), which urllib does not know, are added here.

Loopback never goes through a proxy. Only `http://` proxies and Basic authorization are spoken.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from slng_edge.errors import ConfigError
from slng_edge.secrets import register_key, register_secret

DEFAULT_PORT = 80

_KINDS = {"wss": "https", "ws": "http", "https": "https", "http": "http"}


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy; its text names it with the variable it comes from, without a password."""

    host: str
    port: int
    variable: str
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"the proxy {authority(self.host, self.port)} (${self.variable})"


def proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    """The proxy that the environment names, None for a direct way.

    Args:
        scheme: "ws", "wss", "http" or "https".
        host: A name or an address, without brackets.
        port: As it would be connected to; `NO_PROXY` may name one.

    Raises:
        ConfigError: the variable names what is no `http://` proxy.
    """
    kinds = (_KINDS[scheme], "all")
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
    return _parsed(proxies[kind], variable, authority(host, port))


def authority(host: str, port: int) -> str:
    """`host` and `port` as they stand in an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parsed(value: str, variable: str, target: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname or "", parts.port or DEFAULT_PORT
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        user_password = f"{user}:{password}".encode()
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
            f"are spoken to: name one, or exempt {target} with NO_PROXY"
        )
    if not host:
        raise ConfigError(f"${variable} names no host: write http://HOST:PORT")
    authorization = ""
    if user or password:
        token = base64.b64encode(user_password).decode("ascii")
        register_key(token)  # the proxy is told it, and may repeat it
        authorization = f"Basic {token}"
    return Proxy(host, port, variable, authorization)


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
