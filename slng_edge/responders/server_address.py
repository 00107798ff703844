"""The server that `responder.url` names; pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from slng_edge.errors import ConfigError
from slng_edge.secrets import register_secret


@dataclass(frozen=True)
class ServerAddress:
    """Where a request goes.

    Attributes:
        scheme: "http" or "https".
        host: Name or address, in ASCII.
        port: TCP port.
        authority: Host and port as a URL has them; it names the server in messages.
        target: Path and query.
    """

    scheme: str
    host: str
    port: int
    authority: str
    target: str

    @property
    def secure(self) -> bool:
        """Whether it is reached by TLS."""
        return self.scheme == "https"

    @property
    def bare_host(self) -> str:
        """The host as it stands before a port."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")


def server_address(url: str, *, path: str = "") -> ServerAddress:
    """The parts of `url`, with `path` behind its own path unless that ends with it.

    Raises:
        ConfigError: it is empty, no http:// or https:// address, or holds what it must not.
    """
    if not url:
        raise ConfigError(
            "responder.url is empty; name the server, such as "
            '"https://api.openai.com/v1" or "http://127.0.0.1:8080/v1"'
        )
    wrong = "responder.url must be http://HOST:PORT/PATH or https://HOST:PORT/PATH"
    try:
        parts = urlsplit(url.strip())
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        host = parts.hostname or ""
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except (ValueError, KeyError, UnicodeError) as error:
        raise ConfigError(wrong) from error
    if not host or any(not "!" <= character <= "~" for character in host):
        raise ConfigError(wrong)
    if "@" in parts.netloc:
        raise ConfigError(
            "responder.url may not hold a user or a password; "
            "put the key into a file and name it in responder.api_key_file"
        )
    if path and (parts.query or parts.fragment):
        raise ConfigError('responder.url is the base of an API: leave out what follows "?" or "#"')
    own = parts.path.rstrip("/") if path else parts.path
    target = own if path and own.endswith(path) else own + path
    for _, value in parse_qsl(parts.query):
        register_secret(value)  # a server may repeat it, and the log what the server says
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    bare = f"[{host}]" if ":" in host else host
    authority = bare if parts.port is None else f"{bare}:{port}"
    return ServerAddress(
        parts.scheme, host, port, authority, (quote(target, safe=_SAFE) or "/") + query
    )


_SAFE = "/%:@!$&'()*+,;=~?-._"
