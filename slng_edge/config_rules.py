"""Rules beyond a single value: keys that depend on each other, and on the protocol."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from slng_edge.config import (
    CLASSIC_MODELS,
    CLASSIC_TTS_RATE_HZ,
    NATIVE_FRAMES_MODELS,
    Config,
    SttConfig,
    TtsConfig,
)
from slng_edge.config_checks import nearest
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
    if config.tts.warm_standby and config.gateway.tier == "free":
        yield (
            ("tts.warm_standby", "gateway.tier"),
            "tts.warm_standby = true needs a second connection, and "
            'gateway.tier = "free" allows one',
        )
    yield from _native_frames(config)
    yield from _fallbacks(config)
    for name, section in _sessions(config):
        other = section.options.get("sample_rate", section.sample_rate)
        if other != section.sample_rate:
            yield (
                (f"{name}.options", f"{name}.sample_rate"),
                f"{name}.options may not hold another sample_rate ({other}) than "
                f"{name}.sample_rate = {section.sample_rate}; set {name}.sample_rate",
            )


def unavailable(config: Config) -> list[str]:
    """One line for each setting that is right by itself but that the protocol does not know.

    Each line begins with its key, so that a command that opens one session can leave out what
    concerns the other. `run` refuses to start with such settings rather than behave as if they
    were not there.
    """
    return list(_not_classic(config)) if config.gateway.protocol == "classic" else []


def _fallbacks(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, section in _sessions(config):
        tried = Counter((section.model, *section.fallbacks))
        for model in (model for model, times in tried.items() if times > 1):
            first = f"{name}.model" if model == section.model else "the list"
            yield (
                (f"{name}.fallbacks", f"{name}.model"),
                f"{name}.fallbacks may not name {toml_value(model)} again: it is in {first}",
            )
        for model in section.fallbacks:
            if config.gateway.provider_key_file and model.startswith("slng/"):
                yield (
                    (f"{name}.fallbacks", "gateway.provider_key_file"),
                    f"gateway.provider_key_file: {toml_value(model)} of {name}.fallbacks is hosted "
                    "by SLNG and takes no provider's key; remove the file, or take models without "
                    "the slng/ prefix",
                )


def _native_frames(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    models = {config.tts.model, *config.tts.fallbacks}
    if not config.tts.native_frames:
        return
    if config.gateway.protocol != "classic" or not models.issubset(NATIVE_FRAMES_MODELS):
        yield (
            ("tts.native_frames", "tts.model", "tts.fallbacks", "gateway.protocol"),
            'tts.native_frames = true needs gateway.protocol = "classic", and '
            f"{' or '.join(NATIVE_FRAMES_MODELS)} as tts.model and in tts.fallbacks",
        )


def _not_classic(config: Config) -> Iterator[str]:
    """What the classic protocol does not know (protocol.md, 1 and 5)."""
    for name, section in _sessions(config):
        known = CLASSIC_MODELS[name]
        for key, models in (("model", [section.model]), ("fallbacks", section.fallbacks)):
            for model in models:
                if model not in known:
                    # "slng/deepgram/aura:2-en" means deepgram.
                    meant = [part for part in re.split("[/:]", model) if part in known]
                    near = meant[0] if meant else nearest(model, known)
                    yield _unknown_to_classic(f"{name}.{key}", model, " or ".join(known), near)
    for key, value, known_value in (
        ("stt.audio_frames", config.stt.audio_frames, "binary"),
        ("tts.sample_rate", config.tts.sample_rate, CLASSIC_TTS_RATE_HZ),
        ("tts.speed", config.tts.speed, 1.0),
    ):
        if value != known_value:
            yield _unknown_to_classic(key, value, toml_value(known_value))


def _unknown_to_classic(key: str, value: Any, known: str, near: str = "") -> str:
    return (
        f'{key} = {toml_value(value)} does not go with gateway.protocol = "classic"; use {known}'
        + (f"; did you mean {toml_value(near)}?" if near else "")
    )


def _sessions(config: Config) -> tuple[tuple[str, SttConfig], tuple[str, TtsConfig]]:
    return ("stt", config.stt), ("tts", config.tts)


def _is_loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
