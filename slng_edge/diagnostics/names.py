"""Names: whether the gateway's is known, and how fast."""

from __future__ import annotations

import ipaddress
import socket
import time
from dataclasses import dataclass

from slng_edge.diagnostics.configuration import gateway_address, no_address
from slng_edge.diagnostics.finding import Finding, fail, ok, warn
from slng_edge.diagnostics.inspection import Subject
from slng_edge.errors import ConfigError
from slng_edge.gateway.name_resolution import NameNotAnswered, resolve
from slng_edge.proxies import proxy_for

NAME = "dns"
TIMEOUT_S = 8.0
SLOW_S = 1.0
"""The C library asks the next server of /etc/resolv.conf after 5 s: most that is slower than this
is a first server that is dead."""
SHOWN = 3

_TRY_AGAIN = (socket.EAI_AGAIN, socket.EAI_FAIL)


@dataclass(frozen=True)
class Lookup:
    """What became of looking `host` up."""

    host: str
    addresses: tuple[str, ...] = ()
    took_s: float = 0.0
    error: OSError | None = None
    named_by: str = "gateway.world_part or gateway.url"


def check_names(subject: Subject) -> list[Finding]:
    """Look up whom we connect to: the gateway, or the proxy on the way."""
    address = gateway_address(subject.config)
    if address is None:
        return [no_address(NAME)]
    scheme, host, port = address
    try:
        proxy = proxy_for(scheme, host, port)
    except ConfigError as error:
        return [fail(NAME, str(error), "correct the variable, or set NO_PROXY")]
    if proxy is not None:
        return [judge_lookup(look_up(proxy.host, proxy.port, f"${proxy.variable}"))]
    return [judge_lookup(look_up(host, port))]


def look_up(host: str, port: int, named_by: str = Lookup.named_by) -> Lookup:
    """The addresses of `host`; waits at most `TIMEOUT_S`."""
    began_s = time.monotonic()
    try:
        found = resolve(host, port, deadline=began_s + TIMEOUT_S, aborted=lambda: False)
    except OSError as error:
        return Lookup(host, (), time.monotonic() - began_s, error, named_by)
    addresses = tuple(dict.fromkeys(str(address[0]) for *_, address in found))
    return Lookup(host, addresses, time.monotonic() - began_s, None, named_by)


def judge_lookup(lookup: Lookup) -> Finding:
    """What that means."""
    host, error = lookup.host, lookup.error
    if error is not None:
        unknown = isinstance(error, socket.gaierror) and error.errno not in _TRY_AGAIN
        if unknown:
            advice = f"check {lookup.named_by}; and the network: getent hosts {host}"
            return fail(NAME, f"there is no name {host} ({error.strerror})", advice)
        why = error.strerror or error
        if isinstance(error, NameNotAnswered):
            why = f"{why}, after {lookup.took_s:.0f} s"
        return fail(
            NAME,
            f"no name server answers for {host} ({why})",
            "is there a network? ip route; and its name server: cat /etc/resolv.conf",
        )
    if _is_address(host):
        return ok(NAME, f"{host} is an address and needs no name server")
    shown = ", ".join(lookup.addresses[:SHOWN])
    more = len(lookup.addresses) - SHOWN
    words = f"{host} is {shown}{f' and {more} more' if more > 0 else ''}"
    words += f", found in {lookup.took_s * 1000:.0f} ms"
    if lookup.took_s > SLOW_S:
        advice = "the first name server of /etc/resolv.conf may be dead: put a living one there"
        return warn(NAME, words, advice)
    return ok(NAME, words)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
