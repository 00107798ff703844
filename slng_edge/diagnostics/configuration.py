"""The configuration and the key: everything that is wrong with them at once."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from slng_edge.config import Config
from slng_edge.diagnostics.config_problems import ANY_KEY
from slng_edge.diagnostics.finding import Finding, fail, ok, warn
from slng_edge.diagnostics.inspection import Subject
from slng_edge.errors import ConfigError
from slng_edge.gateway.endpoints import endpoint_of
from slng_edge.secrets import find_api_key, read_secret_file

SYSTEM_KEY = Path("/etc/slng-edge/api-key")
"""Where the installed unit takes its credential from."""


def judge_configuration(problems: Sequence[str], file: Path | None) -> Finding:
    """Whether there is a configuration to run.

    Args:
        problems: What is wrong, a line each.
        file: The file that was read; None where there is none.
    """
    where = str(file) if file else "no file, built-in values"
    if problems:
        return fail(
            "config",
            "\n".join(problems),
            f"correct {file or 'what is named'}, then: slng-edge config check",
        )
    return ok("config", where)


@dataclass(frozen=True)
class KeyPlace:
    """What is known of the key, never the key.

    Attributes:
        where: Where it was found; empty where there is none.
        problem: What is wrong with it.
        needed: Whether the gateway asks for one: those on this machine need none.
        with_service: The running service has one that was taken.
        system_key: There is one for the service, which this user may not read.
    """

    where: str = ""
    problem: str = ""
    needed: bool = True
    with_service: bool = False
    system_key: bool = False


def check_key(subject: Subject) -> list[Finding]:
    """Where the key is, and whether others may read it."""
    config = subject.config
    where = problem = ""
    try:
        where = find_api_key(config.gateway)[1]
    except ConfigError as error:
        problem = str(error)
    place = KeyPlace(
        where,
        problem,
        _needs_key(config),
        any(subject.service.session(kind)[0] == "ready" for kind in ("stt", "tts")),
        os.path.exists(SYSTEM_KEY),
    )
    return [judge_key(place), *_other_keys(config)]


def judge_key(place: KeyPlace) -> Finding:
    """What that means."""
    as_service = "sudo slng-edge doctor --as-service"
    if place.problem:
        return fail("key", place.problem, "put the key there, and nothing else, mode 0600")
    if place.where:
        return ok("key", f"in {place.where}")
    if not place.needed:
        return ok("key", "none, and a gateway on this machine needs none")
    if place.with_service:
        return warn(
            "key",
            "this user has none; the running service has one, and it was taken",
            f"{as_service} looks with the service's eyes",
        )
    if place.system_key:
        return warn("key", f"this user has none; the service has one in {SYSTEM_KEY}", as_service)
    return fail(
        "key",
        "there is none",
        "sudo slng-edge key set; or set $SLNG_API_KEY, or name a private file in "
        "gateway.api_key_file",
    )


def has_key(config: Config) -> bool:
    """Whether a session of this user could be opened at all."""
    try:
        return bool(find_api_key(config.gateway)[0]) or not _needs_key(config)
    except ConfigError:
        return False


def gateway_address(config: Config) -> tuple[str, str, int] | None:
    """Scheme ("ws", "wss"), host and port of the gateway; None where the configuration has none."""
    try:
        endpoint = endpoint_of(config.gateway, kind="stt", model=config.stt.model, key=ANY_KEY)
    except ConfigError:
        return None
    parts = urlsplit(endpoint.url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80)


def no_address(name: str) -> Finding:
    """What a check says that would need one."""
    words = "not tried: the configuration leads to no gateway"
    return fail(name, words, "see the line about the configuration")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _needs_key(config: Config) -> bool:
    try:
        endpoint_of(config.gateway, kind="stt", model=config.stt.model, key="")
    except ConfigError:
        return True
    return False


def _other_keys(config: Config) -> list[Finding]:
    findings = []
    for path, name in (
        (config.gateway.provider_key_file, "gateway.provider_key_file"),
        (config.responder.api_key_file, "responder.api_key_file"),
        (config.status_page.token_file, "status_page.token_file"),
    ):
        if path:
            try:
                read_secret_file(path, name)
            except ConfigError as error:
                words = "put it there, and nothing else, mode 0600"
                findings.append(fail("key", str(error), words))
            else:
                findings.append(ok("key", f"{name} {path}"))
    return findings
