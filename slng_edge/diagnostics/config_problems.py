"""What in a configuration that can be read keeps `run` from doing what it says."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from slng_edge.config import CLASSIC_MODELS, CLASSIC_TTS_RATE_HZ, Config, GatewayConfig
from slng_edge.config_rules import unavailable
from slng_edge.errors import ConfigError, MissingLibrary
from slng_edge.gateway.endpoints import endpoint_of
from slng_edge.secrets import read_api_key, read_secret_file

ANY_KEY = "any"
"""That there is no key is no fault of the configuration: the service may well have one."""

_KINDS: tuple[Literal["stt", "tts"], ...] = ("stt", "tts")

_Attempt: TypeAlias = Callable[[], object]


def problems_of(config: Config) -> list[str]:
    """What `run` refuses and ends with 78 for: what this version cannot do, addresses, options.

    No file is read.
    """
    gateway = dataclasses.replace(config.gateway, provider_key_file="")
    return _told(unavailable(config), [*_endpoints(config, gateway), *_dialects(config)])


def all_problems_of(config: Config) -> list[str]:
    """As `problems_of`, and what is wrong with files: keys, sounds, responder, wake words."""
    return _told(
        unavailable(config),
        [
            functools.partial(read_api_key, config.gateway),
            *_provider_key(config),
            *_endpoints(config, dataclasses.replace(config.gateway, provider_key_file="")),
            *_dialects(config),
            *_parts(config),
        ],
    )


def _told(problems: Iterable[str], attempts: Iterable[_Attempt]) -> list[str]:
    """`problems`, and what `attempts` complain of, each once."""
    found = list(problems)
    for attempt in attempts:
        try:
            attempt()
        except ConfigError as error:
            found += error.problems
        except MissingLibrary as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def _provider_key(config: Config) -> list[_Attempt]:
    file = config.gateway.provider_key_file
    return [functools.partial(read_secret_file, file, "gateway.provider_key_file")] if file else []


def _endpoints(config: Config, gateway: GatewayConfig) -> list[_Attempt]:
    """The addresses of both sessions, with every model."""
    # Paths are no part of this, and `unavailable` judges the protocol.
    gateway = dataclasses.replace(gateway, protocol="bridge")
    return [
        functools.partial(endpoint_of, gateway, kind=kind, model=model, key=ANY_KEY)
        for kind in _KINDS
        for model in _models(config, kind)
    ]


def _dialects(config: Config) -> list[_Attempt]:
    """What the first message of a session has to say: options, languages."""
    from slng_edge.protocol.dialects import stt_dialect_factory, tts_dialect_factory  # numpy

    stt, tts = config.stt, config.tts
    classic = config.gateway.protocol == "classic"

    def known(kind: Literal["stt", "tts"]) -> list[str]:
        # `unavailable` judges what the classic protocol does not know at all.
        models = _models(config, kind)
        return [model for model in models if not classic or model in CLASSIC_MODELS[kind]]

    return [
        *(
            functools.partial(
                stt_dialect_factory,
                protocol=config.gateway.protocol,
                model=model,
                sample_rate_hz=stt.sample_rate,
                language=stt.language,
                options=stt.options,
            )
            for model in known("stt")
        ),
        *(
            functools.partial(
                tts_dialect_factory,
                protocol=config.gateway.protocol,
                model=model,
                voice=tts.voice,
                sample_rate_hz=CLASSIC_TTS_RATE_HZ if classic else tts.sample_rate,
                language=tts.language,
                speed=1.0 if classic else tts.speed,
                options=tts.options,
            )
            for model in known("tts")
        ),
    ]


def _parts(config: Config) -> list[_Attempt]:
    """What is loaded: sounds, the responder with its files, wake words."""
    from slng_edge.audio.chimes import load_sounds  # numpy
    from slng_edge.responders.registry import build_responder
    from slng_edge.wake.registry import build_wake_listener

    def load_responder() -> None:
        build_responder(config.responder, ca_file=config.gateway.ca_file).close()

    def load_wake_words() -> None:
        if config.wake.mode == "word":
            build_wake_listener(config).close()

    return [
        functools.partial(load_sounds, config.sounds, config.tts.sample_rate),
        load_responder,
        load_wake_words,
    ]


def _models(config: Config, kind: Literal["stt", "tts"]) -> tuple[str, ...]:
    section = config.stt if kind == "stt" else config.tts
    return (section.model, *section.fallbacks)
