"""Rules beyond a single value: keys that depend on each other, and what is still to come."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from slng_edge.config import Config, each_value
from slng_edge.config_text import toml_value


def conflicts(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Settings that do not go together: the keys concerned, and the problem in words."""
    if config.responder.kind == "command" and not config.responder.command:
        yield (
            ("responder.kind", "responder.command"),
            'responder.command must name a program, because responder.kind = "command"; '
            'for example command = ["/usr/local/bin/answer"]',
        )
    if config.wake.mode == "word" and not config.wake.words:
        yield (
            ("wake.mode", "wake.words"),
            'wake.words must name a wake word, because wake.mode = "word"',
        )
    listen = config.status_page.listen
    if listen and not _is_loopback(listen) and not config.status_page.token_file:
        yield (
            ("status_page.listen", "status_page.token_file"),
            f'status_page.token_file must be set, because status_page.listen = "{listen}" '
            "can be reached from other machines",
        )
    for name, section in (("stt", config.stt), ("tts", config.tts)):
        other = section.options.get("sample_rate", section.sample_rate)
        if other != section.sample_rate:
            yield (
                (f"{name}.options", f"{name}.sample_rate"),
                f"{name}.options may not hold another sample_rate ({other}) than "
                f"{name}.sample_rate = {section.sample_rate}; set {name}.sample_rate",
            )


def unavailable(config: Config) -> list[str]:
    """One line for each setting that is right but that this version cannot do yet.

    Never lists a built-in value or an "auto". `run` refuses to start with such settings
    rather than behave as if they were not there.
    """
    lines = []
    for section, key, value in each_value(config):
        rule = _NOT_YET.get(f"{section}.{key}")
        if rule is None and section == "sounds":
            rule = _BUILT_IN_OR_OFF
        if rule is not None and not rule[0](value):
            setting = f"{section}.{key} = {toml_value(value)}"
            lines.append(f"{setting} is not available in this version; use {rule[1]}")
    return lines


def _one_of(*values: Any) -> tuple[Callable[[Any], bool], str]:
    return values.__contains__, " or ".join(map(toml_value, values))


_BUILT_IN_OR_OFF = _one_of("built-in", "off")

_NOT_YET: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "gateway.protocol": _one_of("bridge", "unified"),
    # Both sessions are open at once, and the free tier allows one connection.
    "gateway.tier": _one_of("pro", "enterprise"),
    "stt.fallbacks": _one_of(()),
    "tts.fallbacks": _one_of(()),
    "tts.warm_standby": _one_of(False),
    "audio.echo_cancel": _one_of("auto", "off"),
    "wake.mode": _one_of("open"),
    "wake.button_gpio": _one_of(0),
    "responder.kind": _one_of("echo", "command"),
    "responder.answers_file": _one_of(""),
    "hooks.state": _one_of(()),
    "status_page.listen": _one_of(""),
    "mqtt.url": _one_of(""),
    "debug.record_dir": _one_of(""),
}


def _is_loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
