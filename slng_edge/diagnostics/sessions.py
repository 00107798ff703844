"""Both sessions: TLS, the handshake, and how long it takes."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from slng_edge.config import Config
from slng_edge.diagnostics.configuration import gateway_address, has_key, is_loopback, no_address
from slng_edge.diagnostics.dialling import STEPS, Dialled, dial
from slng_edge.diagnostics.finding import Finding, fail, ok, warn
from slng_edge.diagnostics.inspection import Subject
from slng_edge.diagnostics.running_service import RunningService
from slng_edge.errors import (
    AuthenticationRejected,
    ConfigError,
    ConnectFailed,
    RateLimited,
    RemoteProtocolError,
    RequestRejected,
)
from slng_edge.gateway.connection import DialSettings
from slng_edge.gateway.session import Session
from slng_edge.gateway.stt_session import SttSession
from slng_edge.gateway.tts_session import TtsSession
from slng_edge.protocol.tier_limits import TIER_LIMITS

TIMEOUT_S = 8.0
"""To connect, and again to be ready, unless the configuration gives less."""
SLOW_S = 2.0
"""Who speaks right after an outage waits for so long."""
SOON_DAYS = 14
"""Certificates that renew themselves do so weeks before."""

KINDS = ("stt", "tts")
_TITLES = {"connect": "name and TCP", "tunnel": "proxy", "tls": "TLS", "upgrade": "upgrade"}
_LEAST_SHOWN_MS = 0.5
_RETRIED = re.compile(r"[;:]?\s*\bit will be tried again\.?", re.IGNORECASE)
"""What errors promise to who waits for a session; nobody does here."""


def check_sessions(subject: Subject) -> list[Finding]:
    """TLS and both handshakes; side by side where the plan has places for that."""
    config = subject.config
    address = gateway_address(config)
    if address is None:
        return [no_address(kind) for kind in KINDS]
    places = TIER_LIMITS[config.gateway.tier].connections
    taken = subject.service.answers and places < 2 * len(KINDS)
    if taken or not has_key(config):
        return [_of_service(kind, subject.service, taken=taken) for kind in KINDS]
    timeout_s = min(TIMEOUT_S, config.gateway.connect_timeout_s)
    settings = DialSettings(timeout_s, config.gateway.ca_file)
    models = (config.stt.model, config.tts.model)
    builders: list[Callable[[], Session]] = [
        lambda: SttSession(config),
        lambda: TtsSession(config),
    ]

    dialled = [Dialled() for _ in KINDS]

    def one(index: int) -> None:
        try:
            dialled[index] = dial(builders[index](), models[index], settings)
        except ConfigError as error:
            dialled[index] = Dialled(error=error)

    # No pool: the interpreter would wait for its threads when it ends early.
    threads = [
        threading.Thread(target=one, args=(index,), name=f"dial {kind}", daemon=True)
        for index, kind in enumerate(KINDS)
    ]
    for thread in threads:
        thread.start()
        if places < len(KINDS):
            thread.join()
    for thread in threads:
        thread.join()
    seen = _tls_seen(config, address, dialled)
    judged = [
        judge_session(kind, each, model, secure=seen.secure)
        for kind, each, model in zip(KINDS, dialled, models, strict=True)
    ]
    return [judge_tls(seen, time.time()), *judged]


def judge_session(kind: str, dialled: Dialled, model: str, *, secure: bool) -> Finding:
    """What the handshake of one session means; `secure` where TLS belongs to it."""
    error = dialled.error
    if error is None:
        words = f"ready in {_ms(dialled.total_s)} ({_steps(dialled)}), {model}"
        if dialled.total_s > SLOW_S:
            return warn(kind, f"{words}: slow", "is the uplink busy, or gateway.world_part far?")
        return ok(kind, words)
    if secure and "connect" in dialled.took_s and "tls" not in dialled.took_s:
        return fail(kind, "not tried, as there is no TLS", "see the line about it")
    said = _RETRIED.sub("", str(error))
    # In the words of the exit statuses.
    match error:
        case AuthenticationRejected():
            advice = (
                "key refused: give another one (sudo slng-edge key set); `run` ends with 77 and is "
                "not started again"
            )
        case RequestRejected() | ConfigError():
            advice = f"config wrong: check {kind}.model and gateway; `run` ends with 78"
        case RateLimited():
            advice = "others use the account, or gateway.tier says more than it is; try later"
            return warn(kind, said, advice)
        case ConnectFailed():
            advice = "gateway unreachable: check network and firewall; `run` goes on trying"
        case RemoteProtocolError():
            advice = f"protocol error: is that a gateway, and gateway.protocol right for {model}?"
        case _:
            advice = "`run` goes on trying; where it stays so, ask the gateway's operator"
    steps = _steps(dialled)
    done = f" (before it: {steps})" if steps else ""
    return fail(kind, f"{said}{done}", advice)


def _steps(dialled: Dialled) -> str:
    return ", ".join(
        f"{_TITLES.get(step, step)} {_ms(dialled.took_s[step])}"
        for step in STEPS
        if dialled.took_s.get(step, 0.0) * 1000 >= _LEAST_SHOWN_MS
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _of_service(kind: str, service: RunningService, *, taken: bool) -> Finding:
    """What the running service says of its session, where we cannot have one of our own."""
    state, model, failure = service.session(kind)
    why = "it has the only connection of this plan" if taken else "this user has no key"
    if state == "ready":
        return ok(kind, f"the running service's is ready ({model}); {why}")
    if service.answers:
        words = f"the running service's is {state or 'not there yet'}"
        return warn(kind, f"{words}{f': {failure}' if failure else ''}", "slng-edge ctl status")
    return fail(kind, "not tried, as there is no key", "see the line about the key")


@dataclass(frozen=True)
class TlsSeen:
    """What is known of TLS to the gateway.

    Attributes:
        secure: Whether there is any.
        loopback: Whether the gateway is on this machine.
        ca_file: The extra authority's file, "" for none.
        reached: Whether TCP came about.
        dialled: The session that got farthest.
    """

    secure: bool
    loopback: bool
    ca_file: str
    reached: bool
    dialled: Dialled


def judge_tls(seen: TlsSeen, now_s: float) -> Finding:
    """What that means at `now_s`, seconds since 1970."""
    name, certificate = "tls", seen.dialled.certificate
    if not seen.secure:
        if seen.loopback:
            return ok(name, "none, to a gateway on this machine")
        return warn(name, "none: key and speech go unencrypted", "use wss:// in gateway.url")
    if not seen.reached:
        return fail(name, "not tried, as the gateway was not reached", "see the lines below")
    if not certificate:
        said = str(seen.dialled.error)
        if "clock" in said:
            return fail(name, said, "see the line about the clock")
        if "authority" in said:
            advice = "a proxy that opens TLS has an authority of its own: gateway.ca_file"
        else:
            advice = "check host and port in gateway.url, and what lies between: firewall, proxy"
        return fail(name, said, advice)
    until_s = ssl.cert_time_to_seconds(certificate["notAfter"])
    days = int((until_s - now_s) // 86400)
    authority = f"{seen.ca_file} or the system's" if seen.ca_file else "the system's"
    words = (
        f"{seen.dialled.tls}, certificate by {_issuer(certificate.get('issuer', ()))}, good for "
        f"{days} days; authorities: {authority}"
    )
    if days < SOON_DAYS:
        return warn(name, words, "have the gateway's certificate renewed, and check the clock")
    return ok(name, words)


def _issuer(parts: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    named = {key: value for part in parts for key, value in part}
    found = (named.get(key) for key in ("organizationName", "commonName"))
    return next((name for name in found if name), "an authority without a name")


def _tls_seen(config: Config, address: tuple[str, str, int], dialled: list[Dialled]) -> TlsSeen:
    scheme, host, _ = address
    farthest = max(dialled, key=lambda each: len(each.took_s))
    return TlsSeen(
        scheme == "wss",
        is_loopback(host),
        config.gateway.ca_file,
        "connect" in farthest.took_s,
        farthest,
    )
