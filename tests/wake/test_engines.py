"""The wake word libraries themselves: voices in, words and commands out."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from slng_edge.config import Config
from slng_edge.errors import ConfigError
from slng_edge.listening.wake_words import WakeListener, Woken
from slng_edge.pcm import Samples, samples_of
from slng_edge.wake.registry import build_wake_listener

RATE_HZ = 16000
SPEECH_DIR = Path(os.environ.get("SLNG_EDGE_TEST_SPEECH", "no folder"))
LIBRARIES = {"micro": "pymicro_wakeword", "open": "pyopen_wakeword"}


def listener_of(
    *words: str, engine: str = "micro", frame_ms: int = 20, rate_hz: int = RATE_HZ
) -> WakeListener:
    pytest.importorskip(LIBRARIES[engine], reason=f"the extra of {engine} is not installed")
    config = Config()
    return build_wake_listener(
        replace(
            config,
            wake=replace(config.wake, words=words, engine=engine),
            audio=replace(config.audio, frame_ms=frame_ms),
            stt=replace(config.stt, sample_rate=rate_hz),
        )
    )


@dataclass(frozen=True)
class Told:
    """A waking, and where in the sound it was cut; samples."""

    woken: Woken
    cut: int
    told: int


def told_of(listener: WakeListener, sound: Samples, size: int = 320) -> list[Told]:
    """What the listener says of `sound` in frames of `size`; it is closed."""
    found = []
    for end in range(size, len(sound), size):
        woken = listener.receive_frame(sound[end - size : end], False)
        if woken is not None:
            cut = end - sum(map(len, woken.frames))
            if woken.frames:
                differs = np.flatnonzero(woken.frames[0] != sound[cut : cut + size])
                cut += int(differs[-1]) + 1 if len(differs) else 0
            found.append(Told(woken, cut, end))
    listener.close()
    return found


def read_wav(path: Path) -> Samples:
    with wave.open(str(path)) as reader:
        assert reader.getframerate() == RATE_HZ
        return samples_of(reader.readframes(reader.getnframes()))


@functools.cache
def said(text: str, voice: str = "rms") -> tuple[Samples, list[float]]:
    """flite's voice, 1.5 s into a quiet room, and where each of its sounds ends; seconds."""
    if shutil.which("flite") is None:
        pytest.skip("flite is not installed")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "said.wav"
        argv = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", str(target)]
        listed = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30)
        speech = read_wav(target)
    ends = [part.split(":") for part in listed.stdout.split()]
    sound = np.pad(speech, (RATE_HZ * 3 // 2, RATE_HZ)).astype(np.float64)
    sound += np.random.default_rng(1).standard_normal(len(sound)) * 20
    ends_s = [1.5 + float(end_s) for name, end_s in ends if name != "pau"]
    return np.clip(sound, -32768, 32767).astype(np.int16), ends_s


@pytest.mark.parametrize("engine", ["micro", "open"])
def test_a_voice_wakes_it(engine: str) -> None:
    """The word is named as it is configured, and told once."""
    word = {"micro": "okay_nabu", "open": "hey_jarvis"}[engine]
    [told] = told_of(listener_of(word, engine=engine), said(word.replace("_", " "), "awb")[0])
    assert told.woken.word == word
    assert told.woken.score > 0.5


@pytest.mark.parametrize("frame_ms", [10, 20, 30])
@pytest.mark.parametrize(("between", "voice"), [(", ", "awb"), (" ", "rms"), (" ", "kal16")])
def test_the_command_in_the_same_breath_is_handed_on_and_the_word_is_not(
    between: str, voice: str, frame_ms: int
) -> None:
    """With a pause and without one; whatever the frames' length."""
    sound, ends_s = said(f"okay nabu{between}turn on the light", voice)
    word_end = ends_s[len(said("okay nabu", voice)[1]) - 1] * RATE_HZ
    [told] = told_of(listener_of("okay_nabu", frame_ms=frame_ms), sound, frame_ms * 16)
    command = word_end + (RATE_HZ * 3 // 20 if between == ", " else 0)
    assert word_end - 0.05 * RATE_HZ < told.cut < command + 0.02 * RATE_HZ
    assert told.told - word_end < 0.4 * RATE_HZ


@pytest.mark.parametrize("rate_hz", [8000, 48000])
def test_a_microphone_at_another_rate_is_heard_too(rate_hz: int) -> None:
    """Frames go in and come out at its own rate."""
    soxr = pytest.importorskip("soxr")
    sound, _ = said("okay nabu turn on the light", "rms")
    converted = soxr.resample(sound, RATE_HZ, rate_hz)
    [here] = told_of(listener_of("okay_nabu"), sound)
    [there] = told_of(listener_of("okay_nabu", rate_hz=rate_hz), converted, rate_hz // 50)
    assert abs(there.cut / rate_hz - here.cut / RATE_HZ) < 0.04


@pytest.mark.speech
@pytest.mark.skipif(not SPEECH_DIR.is_dir(), reason="SLNG_EDGE_TEST_SPEECH names no folder")
@pytest.mark.parametrize("word", ["okay_nabu", "hey_jarvis", "alexa"])
def test_people_wake_it(word: str) -> None:
    """By their own word alone, all three being listened for."""
    sound = read_wav(SPEECH_DIR / f"wake-{word}-1.wav")
    lead = np.random.default_rng(1).normal(0, 20, RATE_HZ).astype(np.int16)
    listener = listener_of("okay_nabu", "hey_jarvis", "alexa")
    assert [told.woken.word for told in told_of(listener, np.concatenate((lead, sound)))] == [word]


@pytest.mark.speech
@pytest.mark.skipif(not SPEECH_DIR.is_dir(), reason="SLNG_EDGE_TEST_SPEECH names no folder")
def test_people_who_say_something_else_do_not_wake_it() -> None:
    """40 s of reading, speeches and numbers."""
    paths = [path for path in sorted(SPEECH_DIR.glob("*.wav")) if "_" not in path.name]
    speech = np.concatenate([read_wav(path) for path in paths if "wake" not in path.name])
    assert len(speech) > 20 * RATE_HZ
    assert not told_of(listener_of("okay_nabu", "hey_jarvis", "alexa", "hey_mycroft"), speech)


def not_words() -> Iterator[tuple[str, Samples]]:
    rng = np.random.default_rng(2)
    t = np.arange(RATE_HZ * 2) / RATE_HZ
    yield "noise", rng.normal(0, 4000, len(t)).astype(np.int16)
    notes = 220 * 2 ** (np.floor(t * 4) % 7 / 6)
    yield (
        "music",
        (6000 * (np.sin(2 * np.pi * notes * t) + np.sin(3 * np.pi * notes * t))).astype(np.int16),
    )
    yield "silence", np.zeros(len(t), dtype=np.int16)
    yield "full scale", np.where(rng.random(len(t)) < 0.5, -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("engine", ["micro", "open"])
@pytest.mark.parametrize(("name", "sound"), [*not_words()])
def test_what_is_no_speech_does_not_wake_it(engine: str, name: str, sound: Samples) -> None:
    """Noise, tones that change like a melody, silence, and the loudest there is."""
    assert not told_of(listener_of("okay_nabu", "hey_jarvis", "alexa", engine=engine), sound), name


def test_speech_with_other_words_does_not_wake_it() -> None:
    """Also words that sound alike."""
    words = ("okay_nabu", "hey_jarvis", "alexa")
    for text in ("okay google set a timer", "the hay is in the barn, charles, and Alexander too"):
        assert not told_of(listener_of(*words), said(text, "slt")[0])


@pytest.mark.parametrize("engine", ["micro", "open"])
def test_after_a_gap_it_hears_as_at_first(engine: str) -> None:
    """Muting in the middle of a word, and unmuting: half a word is none, and the next one is."""
    word = {"micro": "okay_nabu", "open": "hey_jarvis"}[engine]
    sound, ends_s = said(word.replace("_", " "), "awb")
    listener = listener_of(word, engine=engine)
    middle = int(ends_s[len(ends_s) // 2] * RATE_HZ) // 320 * 320
    for end in range(320, middle, 320):
        assert listener.receive_frame(sound[end - 320 : end], False) is None
    listener.receive_gap()
    assert len(told_of(listener, sound)) == 1


# Models of one's own


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    """A manifest and a model as somebody would bring them."""
    library = pytest.importorskip("pymicro_wakeword", reason="the extra wake is not installed")
    models = Path(library.__file__).parent / "models"
    for name in ("okay_nabu.json", "okay_nabu.tflite"):
        shutil.copy(models / name, tmp_path / name)
    return (tmp_path / "okay_nabu.json").rename(tmp_path / "computer.json")


def test_a_model_of_ones_own_is_named_by_its_file(own_model: Path) -> None:
    """It works like those in the wheel; its end is looked for in the quiet."""
    sound, ends_s = said("okay nabu, turn on the light", "awb")
    [told] = told_of(listener_of(str(own_model)), sound)
    assert told.woken.word == "computer"
    word_end = ends_s[len(said("okay nabu", "awb")[1]) - 1] * RATE_HZ
    assert abs(told.cut - word_end) < 0.2 * RATE_HZ


def test_a_model_called_stop_is_heard_only_while_a_reply_sounds(own_model: Path) -> None:
    """It silences a reply and nothing else."""
    stop = own_model.rename(own_model.with_name("stop.json"))
    sound, _ = said("okay nabu", "awb")
    listener = listener_of("alexa", str(stop))

    def hear(reply_sounds: bool) -> list[Woken]:
        frames = (sound[end - 320 : end] for end in range(320, len(sound), 320))
        heard = (listener.receive_frame(frame, reply_sounds) for frame in frames)
        return [woken for woken in heard if woken is not None]

    assert hear(False) == []
    [woken] = hear(True)
    assert (woken.word, woken.stop, woken.frames) == ("stop", True, ())
    listener.close()


def test_a_stop_word_alone_is_refused(own_model: Path) -> None:
    """Nothing would ever wake it."""
    stop = own_model.rename(own_model.with_name("stop.json"))
    with pytest.raises(ConfigError, match="a stop word alone wakes nothing"):
        listener_of(str(stop))


def broken_manifests() -> Iterable[tuple[dict[str, object] | str, str]]:
    good = {"probability_cutoff": 0.9, "sliding_window_size": 5}
    yield "{", "is not JSON"
    yield "[]", "is no manifest of microWakeWord"
    yield {"wake_word": "x", "model": "okay_nabu.tflite"}, "is no manifest of microWakeWord"
    yield (
        {"wake_word": "x", "model": "okay_nabu.tflite", "micro": {**good, "probability_cutoff": 1}},
        "over 0, under 1",
    )
    yield {"wake_word": "x", "model": "gone.tflite", "micro": good}, "gone.tflite cannot be read"
    yield {"wake_word": "x", "model": "broken.tflite", "micro": good}, "or it is damaged"
    yield {"wake_word": "x", "model": "other.tflite", "micro": good}, "no model of microWakeWord"


@pytest.mark.parametrize(("manifest", "problem"), [*broken_manifests()])
def test_a_broken_model_of_ones_own_is_told_and_does_not_end_the_process(
    own_model: Path, manifest: dict[str, object] | str, problem: str
) -> None:
    """The library itself would crash with a segmentation fault."""
    model = own_model.with_name("okay_nabu.tflite").read_bytes()
    own_model.with_name("broken.tflite").write_bytes(model[: len(model) // 2])
    if "other.tflite" in str(manifest):
        other = pytest.importorskip("pyopen_wakeword", reason="wake-open is not installed")
        source = Path(other.__file__).parent / "models" / "okay_nabu.tflite"
        shutil.copy(source, own_model.with_name("other.tflite"))
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    own_model.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        listener_of(str(own_model))
    assert problem in str(raised.value)
    assert str(own_model.parent) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("gone.tflite", "cannot be read: No such file or directory"),
        ("empty.tflite", "or it is damaged"),
        ("okay_nabu.tflite", 'name the ".json" beside it'),
    ],
)
def test_a_model_that_open_cannot_take_is_told(own_model: Path, name: str, problem: str) -> None:
    """Missing, empty, or of the other library."""
    own_model.with_name("empty.tflite").touch()
    with pytest.raises(ConfigError) as raised:
        listener_of(str(own_model.with_name(name)), engine="open")
    assert problem in str(raised.value)


def test_a_model_of_openwakeword_is_named_by_its_file(tmp_path: Path) -> None:
    """A file is enough: it has no manifest."""
    library = pytest.importorskip("pyopen_wakeword", reason="wake-open is not installed")
    own = tmp_path / "computer.tflite"
    shutil.copy(Path(library.__file__).parent / "models" / "hey_jarvis.tflite", own)
    [told] = told_of(listener_of(str(own), engine="open"), said("hey jarvis", "awb")[0])
    assert told.woken.word == "computer"
