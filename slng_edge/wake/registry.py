"""Which engine listens for which wake word."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence

from slng_edge.audio.resampling import Resampler
from slng_edge.config import Config
from slng_edge.config_checks import nearest
from slng_edge.errors import ConfigError, MissingLibrary
from slng_edge.listening.wake_words import WakeEngine, WakeListener
from slng_edge.listening.word_end import RATE_HZ
from slng_edge.wake import micro_wakeword, open_wakeword
from slng_edge.wake.micro_wakeword import MicroWakeEngine
from slng_edge.wake.open_wakeword import OpenWakeEngine

ENTRY_POINTS = "slng_edge.wake_engines"
"""Each is called with the words that are configured (a tuple of strings) and returns a
`WakeEngine`; it raises `ConfigError` for a word that it does not know."""

AUTO = "auto"

EngineBuilder = Callable[[Sequence[str]], WakeEngine]

_OURS: Mapping[str, tuple[tuple[str, ...], str, EngineBuilder]] = {
    micro_wakeword.NAME: (micro_wakeword.BUILT_IN, micro_wakeword.SUFFIX, MicroWakeEngine),
    open_wakeword.NAME: (open_wakeword.BUILT_IN, open_wakeword.SUFFIX, OpenWakeEngine),
}
"""By name, in the order in which "auto" asks: the words it has, what a model file of one's own
ends in, and what makes it."""


def build_wake_listener(config: Config) -> WakeListener:
    """What listens for the wake words of `config`; loads their models, 0.1 to 0.5 s.

    Raises:
        ConfigError: there is no such engine or word, or a model file is missing or broken; one
            line for each word that is not known.
        MissingLibrary: the library of the engine is not installed.
    """
    wake = config.wake
    words = tuple(dict.fromkeys(word.strip() for word in wake.words))
    engines: list[WakeEngine] = []
    try:
        for build, share in _shares(wake.engine, words):
            engines.append(build(share))
        _check_names(engines)
        rate_hz = config.stt.sample_rate
        return WakeListener(
            engines,
            rate_hz=rate_hz,
            frame_ms=config.audio.frame_ms,
            threshold=wake.threshold,
            refractory_s=wake.refractory_s,
            converter=None if rate_hz == RATE_HZ else Resampler(rate_hz, RATE_HZ),
        )
    except BaseException:
        for engine in engines:
            engine.close()
        raise


def _shares(engine: str, words: tuple[str, ...]) -> list[tuple[EngineBuilder, tuple[str, ...]]]:
    """Which engine is to listen for which words."""
    if engine != AUTO and engine not in _OURS:
        return [(_entry_point(engine), words)]
    asked = tuple(_OURS) if engine == AUTO else (engine,)
    shares: dict[str, list[str]] = {name: [] for name in asked}
    problems = []
    for word in words:
        taker = next((name for name in asked if _takes(name, word)), None)
        if taker is None:
            problems.append(_unknown_word(word, asked))
        else:
            shares[taker].append(word)
    if problems:
        raise ConfigError(*problems)
    if engine == AUTO:
        return [(_first_installed(name), tuple(share)) for name, share in shares.items() if share]
    return [(_OURS[engine][2], words)]


def _first_installed(name: str) -> EngineBuilder:
    """What makes the engine `name`, or, without its library, one that knows the same words."""

    def build(words: Sequence[str]) -> WakeEngine:
        try:
            return _OURS[name][2](words)
        except MissingLibrary:
            for other in _OURS:
                if other != name and all(_takes(other, word) for word in words):
                    try:
                        return _OURS[other][2](words)
                    except MissingLibrary:
                        continue
            raise

    return build


def _takes(engine: str, word: str) -> bool:
    built_in, suffix, _ = _OURS[engine]
    return word in built_in or word.endswith(suffix)


def _unknown_word(word: str, asked: Sequence[str]) -> str:
    known = list(dict.fromkeys(name for engine in asked for name in _OURS[engine][0]))
    line = f'wake.words: "{word}" is not known to '
    line += f'wake.engine = "{asked[0]}"' if len(asked) == 1 else "any engine"
    near = nearest(word.replace(" ", "_"), known)
    if near:
        return f'{line}; did you mean "{near}"?'
    files = " or ".join(f"a path that ends in {_OURS[engine][1]}" for engine in asked)
    return f"{line}; there is {', '.join(known)}, or {files}"


def _entry_point(name: str) -> EngineBuilder:
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    if name not in found.names:
        known = (AUTO, *_OURS, *sorted(found.names))
        near = nearest(name, known)
        hint = f'did you mean "{near}"?' if near else f"there is {', '.join(known)}"
        raise ConfigError(f'wake.engine = "{name}" is not known; {hint}')
    try:
        builder: EngineBuilder = found[name].load()
    except Exception as error:
        # Whatever a module of somebody else's does when it is loaded.
        raise ConfigError(f'wake.engine = "{name}" cannot be loaded: {error}') from error
    return builder


def _check_names(engines: Sequence[WakeEngine]) -> None:
    names = [model.word for engine in engines for model in engine.models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"wake.words: {', '.join(twice)} would be there twice; rename the file")
    if engines and not any(not model.stop for engine in engines for model in engine.models):
        raise ConfigError("wake.words: a stop word alone wakes nothing; name a wake word as well")
