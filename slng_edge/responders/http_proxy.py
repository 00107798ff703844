"""Which proxy the environment names for an address.

As everywhere in Python `urllib.request` says so: lower case before upper case, `ALL_PROXY`,
`NO_PROXY` with suffixes and "*". It is loaded only where a proxy is set. Networks ("10.0.0.0/8"),
which urllib does not know, are added here. Loopback never goes through a proxy.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from slng_edge.errors import ConfigError
from slng_edge.secrets import register_secret

DEFAULT_PORT = 80


@dataclass(frozen=True)
class HttpProxy:
    """An `http://` proxy; its text names it with its variable, without a password."""

    host: str
    port: int
    variable: str
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"the proxy {self.host}:{self.port} (${self.variable})"


def proxy_for(scheme: str, host: str, port: int) -> HttpProxy | None:
    """The proxy for `scheme` ("http", "https"), None for a direct way.

    Raises:
        ConfigError: the variable names what is no `http://` proxy.
    """
    names = {name.lower(): name for name in sorted(os.environ) if os.environ[name]}
    kinds = [kind for kind in (scheme, "all") if f"{kind}_proxy" in names]
    if not kinds or _on_this_machine(host):
        return None
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    kind = next((kind for kind in kinds if kind in proxies), None)
    exempted = proxy_bypass(host if ":" in host else f"{host}:{port}", proxies)
    if kind is None or exempted or _in_a_network(host, proxies.get("no", "")):
        return None
    return _parsed(proxies[kind], names[f"{kind}_proxy"])


def _parsed(value: str, variable: str) -> HttpProxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname or "", parts.port or DEFAULT_PORT
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if parts.path.strip("/") or parts.query or parts.fragment or not host:
            raise ValueError("no address")
    except ValueError:
        raise ConfigError(
            f"${variable} is not an address: write http://HOST:PORT, or "
            "http://USER:PASSWORD@HOST:PORT with special characters percent-encoded"
        ) from None  # the cause may quote a part of the password
    if parts.scheme != "http":
        raise ConfigError(
            f"${variable} names a proxy of the kind {parts.scheme}://, and only http:// proxies "
            "are spoken to: name one, or exempt the responder with NO_PROXY"
        )
    authorization = ""
    if user or password:
        token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        register_secret(password)
        register_secret(token)
        authorization = f"Basic {token}"
    return HttpProxy(host, port, variable, authorization)


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
    for entry in no_proxy.split(","):
        try:
            if address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue  # a name: urllib has compared it
    return False
