"""Wake words and the responder: whether they load, and whether the responder can be reached."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

from slng_edge.config import Config
from slng_edge.diagnostics.finding import Finding, fail, ok
from slng_edge.diagnostics.inspection import Subject
from slng_edge.errors import ConfigError, SlngEdgeError
from slng_edge.gateway.dial_failures import tls_context
from slng_edge.proxies import Proxy, proxy_for
from slng_edge.responders.http_exchange import open_tunnel
from slng_edge.responders.http_failures import no_connection
from slng_edge.responders.registry import build_responder
from slng_edge.responders.server_address import ServerAddress, server_address
from slng_edge.responders.socket_stream import SocketStream
from slng_edge.wake.registry import build_wake_listener

TIMEOUT_S = 6.0


def check_wake_words(subject: Subject) -> list[Finding]:
    """Load the models of the wake words, where there are to be any."""
    wake = subject.config.wake
    if wake.mode != "word":
        return [ok("wake words", f'none are needed: wake.mode = "{wake.mode}"')]
    began_s = time.monotonic()
    try:
        listener = build_wake_listener(subject.config)
    except SlngEdgeError as error:
        advice = "" if "Run: " in str(error) else "correct wake.words and wake.engine"
        return [fail("wake words", str(error), advice)]
    listener.close()
    took_ms = (time.monotonic() - began_s) * 1000
    return [ok("wake words", f"{', '.join(wake.words)}: loaded in {took_ms:.0f} ms")]


def check_responder(subject: Subject) -> list[Finding]:
    """Whether it can be made as configured; where it is a server, whether TCP and TLS come about.

    Nothing is asked of it.
    """
    config = subject.config
    responder = config.responder
    name = "responder"
    try:
        build_responder(responder, ca_file=config.gateway.ca_file).close()
        if responder.kind not in ("openai", "http"):
            program = f": {responder.command[0]}" if responder.kind == "command" else ""
            return [ok(name, f"{responder.kind}{program}")]
        address = server_address(responder.url)
        proxy = proxy_for(address.scheme, address.host, address.port)
    except ConfigError as error:
        return [fail(name, str(error), "correct the section [responder]")]
    except SlngEdgeError as error:
        return [fail(name, str(error), "")]
    where = f"{address.authority}{f' through {proxy}' if proxy else ''}"
    began_s = time.monotonic()
    try:
        _connect(address, proxy, config)
    except OSError as error:
        return [judge_unreachable(config, where, error)]
    took_ms = (time.monotonic() - began_s) * 1000
    tls = " and TLS" if address.secure else ""
    return [ok(name, f"{responder.kind} at {where}: TCP{tls} in {took_ms:.0f} ms")]


def judge_unreachable(config: Config, where: str, error: OSError) -> Finding:
    """What it means that the server at `where` cannot be reached."""
    host = urlsplit(config.responder.url).hostname
    advice = f"is it running, and the way to {host} open?"
    if not config.responder.answers_file:
        advice += " responder.answers_file gives answers meanwhile"
    return fail("responder", no_connection(where, error, TIMEOUT_S, datetime.now(UTC)), advice)


def _connect(address: ServerAddress, proxy: Proxy | None, config: Config) -> None:
    stream = SocketStream(time.monotonic() + TIMEOUT_S, lambda: False)
    try:
        stream.connect(proxy.host if proxy else address.host, proxy.port if proxy else address.port)
        if address.secure:
            if proxy is not None:
                headers = {"Proxy-Authorization": proxy.authorization}
                open_tunnel(
                    stream,
                    f"{address.bare_host}:{address.port}",
                    headers if proxy.authorization else {},
                )
            stream.start_tls(tls_context(config.gateway.ca_file), address.host)
    finally:
        stream.close()
