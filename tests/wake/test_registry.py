"""Which engine listens for which wake word, and what is said where none does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata

import pytest

from slng_edge.config import Config
from slng_edge.errors import ConfigError, MissingLibrary
from slng_edge.listening.wake_words import WakeEngine, WakeListener
from slng_edge.wake import micro_wakeword, open_wakeword, registry
from slng_edge.wake.micro_wakeword import MicroWakeEngine
from slng_edge.wake.open_wakeword import OpenWakeEngine


def config_of(*words: str, engine: str = "auto", rate_hz: int = 16000) -> Config:
    config = Config()
    return replace(
        config,
        wake=replace(config.wake, words=words, engine=engine),
        stt=replace(config.stt, sample_rate=rate_hz),
    )


def build(*words: str, engine: str = "auto", rate_hz: int = 16000) -> WakeListener:
    listener = registry.build_wake_listener(config_of(*words, engine=engine, rate_hz=rate_hz))
    listener.close()
    return listener


@pytest.mark.parametrize(
    ("engine", "words", "problem"),
    [
        ("auto", ["okay nabo"], 'did you mean "okay_nabu"?'),
        ("auto", ["Hey-Jarvis"], 'did you mean "hey_jarvis"?'),
        ("micro", ["xyzzy"], 'is not known to wake.engine = "micro"; there is okay_nabu'),
        ("open", ["xyzzy"], "there is okay_nabu, hey_jarvis, hey_mycroft, alexa, hey_rhasspy, or"),
        ("auto", ["xyzzy"], "a path that ends in .json or a path that ends in .tflite"),
        ("micr", ["okay_nabu"], 'wake.engine = "micr" is not known; did you mean "micro"?'),
        ("xyzzy", ["okay_nabu"], "there is auto, micro, open"),
    ],
)
def test_what_is_not_known_is_told_with_what_is(
    engine: str, words: list[str], problem: str
) -> None:
    """Before any library is loaded."""
    with pytest.raises(ConfigError) as raised:
        build(*words, engine=engine)
    assert problem in str(raised.value)


def test_every_unknown_word_is_told() -> None:
    """Not one after the other, at each start."""
    with pytest.raises(ConfigError) as raised:
        build("okay_nobu", "okay_nabu", "alixa")
    assert len(raised.value.problems) == 2


@pytest.mark.parametrize(
    ("engine", "word", "library", "extra"),
    [
        ("auto", "okay_nabu", "pymicro-wakeword", "slng-edge[wake]"),
        ("micro", "okay_nabu", "pymicro-wakeword", "slng-edge[wake]"),
        ("open", "okay_nabu", "pyopen-wakeword", "slng-edge[wake-open]"),
        ("auto", "hey_rhasspy", "pyopen-wakeword", "slng-edge[wake-open]"),
    ],
)
def test_a_missing_library_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, engine: str, word: str, library: str, extra: str
) -> None:
    """The one that was meant."""
    for name in ("pymicro_wakeword", "pyopen_wakeword"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingLibrary) as raised:
        build(word, engine=engine)
    assert f"needs {library}" in str(raised.value)
    assert str(raised.value).endswith(f"pip install '{extra}'")


def test_auto_takes_the_library_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both know the word, and one is installed."""
    pytest.importorskip("pyopen_wakeword", reason="the extra wake-open is not installed")
    monkeypatch.setitem(sys.modules, "pymicro_wakeword", None)
    assert build("okay_nabu").words == ("okay_nabu",)


def test_each_word_is_with_the_engine_that_knows_it() -> None:
    """micro first; hey_rhasspy is known to open alone. A word twice is one."""
    pytest.importorskip("pymicro_wakeword", reason="the extra wake is not installed")
    pytest.importorskip("pyopen_wakeword", reason="the extra wake-open is not installed")
    assert build("hey_rhasspy", "alexa", "alexa").words == ("alexa", "hey_rhasspy")


@pytest.mark.parametrize("rate_hz", [8000, 32000, 48000])
def test_any_rate_of_the_microphone_goes(rate_hz: int) -> None:
    """What is handed out is at the microphone's rate, whatever the models want."""
    pytest.importorskip("pymicro_wakeword", reason="the extra wake is not installed")
    assert build("okay_nabu", rate_hz=rate_hz).words == ("okay_nabu",)


def test_the_words_told_without_a_library_are_those_that_it_has() -> None:
    """A new version of a library may have others."""
    micro = pytest.importorskip("pymicro_wakeword", reason="the extra wake is not installed")
    open_ = pytest.importorskip("pyopen_wakeword", reason="the extra wake-open is not installed")
    assert [model.value for model in micro.Model] == list(micro_wakeword.BUILT_IN)
    assert [model.value for model in open_.Model] == list(open_wakeword.BUILT_IN)


def build_for_entry_point(words: Sequence[str]) -> WakeEngine:
    """What the entry point of these tests names."""
    return OpenWakeEngine(words) if "hey_rhasspy" in words else MicroWakeEngine(words)


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if packages were installed that bring engines."""
    monkeypatch.setitem(sys.modules, "brought_along", sys.modules[__name__])
    points = metadata.EntryPoints(
        metadata.EntryPoint(name, value, registry.ENTRY_POINTS)
        for name, value in (
            ("mine", "brought_along:build_for_entry_point"),
            ("broken", "no_such_module:build"),
        )
    )
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: points.select(group=group))


@pytest.mark.usefixtures("entry_points")
def test_an_engine_of_somebody_elses_is_taken_by_its_name() -> None:
    """An entry point; it says itself which words it knows."""
    pytest.importorskip("pymicro_wakeword", reason="the extra wake is not installed")
    assert build("hey_mycroft", engine="mine").words == ("hey_mycroft",)


@pytest.mark.usefixtures("entry_points")
@pytest.mark.parametrize(
    ("engine", "problem"),
    [("broken", "cannot be loaded: No module named"), ("mein", 'did you mean "mine"?')],
)
def test_an_engine_that_cannot_be_taken_is_told(engine: str, problem: str) -> None:
    """By the configuration's key."""
    with pytest.raises(ConfigError) as raised:
        build("okay_nabu", engine=engine)
    assert problem in str(raised.value)
