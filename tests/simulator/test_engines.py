"""Recognizers and synthesizers of the local gateway, by themselves."""

from __future__ import annotations

import os
import shutil
import tempfile

import numpy as np
import pytest

from slng_edge.errors import ConfigError, InputFileError, MissingLibrary
from slng_edge.simulator import (
    EspeakSynthesizer,
    FliteSynthesizer,
    ScriptRecognizer,
    ToneSynthesizer,
    recognizer_named,
    synthesizer_named,
)
from slng_edge.simulator.rate_conversion import convert_rate
from slng_edge.simulator.synthesizers import SynthesisFailed

RATE_HZ = 24000


def strongest_hz(samples, rate_hz):
    return np.argmax(np.abs(np.fft.rfft(samples, rate_hz)))


def test_a_tone_tells_its_text_by_frequency_and_length():
    """60 ms a character, at the text's own frequency."""
    for text in ("Hello", "Good morning to you", "The lamp is on."):
        samples = ToneSynthesizer().synthesize(text, RATE_HZ)
        assert len(samples) * 1000 == ToneSynthesizer.duration_ms(text) * RATE_HZ
        assert abs(strongest_hz(samples, RATE_HZ) - ToneSynthesizer.frequency_hz(text)) <= 20


def test_spaces_of_a_tone_are_silent():
    """So that words can be told apart; spaces at the ends do not count."""
    samples = ToneSynthesizer().synthesize(" ab cd ", RATE_HZ)
    step = RATE_HZ * 60 // 1000
    assert len(samples) == 5 * step
    assert not samples[2 * step : 3 * step].any()
    assert np.abs(samples[3 * step : 5 * step]).max() > 8000


def test_a_text_without_anything_to_say_is_no_sound():
    """A blank flush is not an utterance."""
    assert len(ToneSynthesizer().synthesize(" ", RATE_HZ)) == 0


@pytest.mark.parametrize("to_hz", [8000, 24000, 44100])
def test_rate_conversion_keeps_a_tone(to_hz):
    """Same pitch, same level, no crackle at the ends."""
    ticks = np.arange(16000) / 16000
    sound = (8000 * np.sin(2 * np.pi * 440 * ticks) * np.hanning(16000)).astype(np.int16)
    converted = convert_rate(sound, 16000, to_hz)
    wanted = 8000 * np.sin(2 * np.pi * 440 * np.arange(to_hz) / to_hz) * np.hanning(to_hz)
    assert len(converted) == to_hz
    assert np.abs(converted - wanted).max() < 10


def test_rate_conversion_of_nothing_is_nothing():
    """And the same rate is the same array."""
    assert len(convert_rate(np.empty(0, dtype=np.int16), 16000, 24000)) == 0


def test_a_script_begins_again_after_its_last_line():
    """The order is that of the ends of utterances, over all streams."""
    script = ScriptRecognizer(["one", "two"])
    first, second = script.open(16000, ""), script.open(16000, "")
    assert [s.finish().text for s in (first, second, first)] == ["one", "two", "one"]


def test_a_script_can_end():
    """Then nothing is understood any more."""
    stream = ScriptRecognizer(["one"], cycle=False).open(16000, "")
    stream.receive(bytes(3200))
    assert [stream.finish().text for _ in range(2)] == ["one", ""]
    assert stream.receive(bytes(3200)) == ""


def test_a_script_file_leaves_out_blank_lines_and_comments(tmp_path):
    """What is left is answered in order."""
    path = tmp_path / "script.txt"
    path.write_text("# greetings\n\nhello there\n  good bye \n")
    stream = recognizer_named(f"script:{path}").open(16000, "")
    assert [stream.finish().text for _ in range(2)] == ["hello there", "good bye"]


@pytest.mark.parametrize("content", [None, b"", b"# only a comment", b"\xff\xfe"])
def test_a_script_that_cannot_be_used_is_named(tmp_path, content):
    """Missing, empty, or no text."""
    path = tmp_path / "script.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputFileError, match=r"script\.txt"):
        recognizer_named(f"script:{path}")


def test_a_script_without_lines_is_refused():
    """It could never answer."""
    with pytest.raises(ConfigError):
        ScriptRecognizer([])


@pytest.mark.parametrize("name", ["", "sphinx", "script:", "script"])
def test_an_unknown_recognizer_is_named(name):
    """With those that there are."""
    with pytest.raises(ConfigError, match="pocketsphinx or script:FILE"):
        recognizer_named(name)


def test_an_unknown_synthesizer_is_named():
    """With those that there are."""
    with pytest.raises(ConfigError, match="flite, espeak or tone"):
        synthesizer_named("festival")


@pytest.mark.parametrize(("name", "package"), [("flite", "flite"), ("espeak", "espeak-ng")])
def test_a_missing_program_says_what_installs_it(monkeypatch, tmp_path, name, package):
    """On a machine whose PATH has it not."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingLibrary, match=f"sudo apt-get install {package}"):
        synthesizer_named(name)


@pytest.mark.parametrize("name", ["flite", "espeak"])
def test_a_real_voice_takes_speed_and_any_text(name):
    """Slower is longer; options in a text are text; nothing to say is no sound."""
    try:
        voice = synthesizer_named(name)
    except MissingLibrary as error:
        pytest.skip(str(error))
    assert isinstance(voice, FliteSynthesizer | EspeakSynthesizer)
    usual = voice.synthesize("-o /tmp/x Hello there, my friend.", RATE_HZ)
    slow = voice.synthesize("-o /tmp/x Hello there, my friend.", RATE_HZ, speed=0.5)
    assert len(usual) > RATE_HZ / 2
    assert len(slow) > 1.4 * len(usual)
    assert len(voice.synthesize(" ... ", RATE_HZ)) == 0


def test_a_program_that_fails_is_reported(tmp_path, monkeypatch):
    """A broken installation gives an error, not silence."""
    broken = tmp_path / "flite"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(SynthesisFailed, match="flite failed"):
        FliteSynthesizer().synthesize("Hello", RATE_HZ)


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_no_room_for_temporary_files_is_reported(monkeypatch):
    """As a text that cannot be spoken: the session goes on."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(SynthesisFailed, match=r"flite has no place for its sound: .*/nowhere"):
        FliteSynthesizer().synthesize("Hello", RATE_HZ)
