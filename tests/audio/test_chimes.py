"""The short sounds: pleasant, told apart by ear, and replaceable by files."""

from __future__ import annotations

import dataclasses
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest

from slng_edge.audio.chimes import built_in, load_sounds
from slng_edge.audio.wav_files import WavWriter
from slng_edge.config import SoundsConfig
from slng_edge.errors import ConfigError
from slng_edge.pcm import Samples

NAMES = [field.name for field in dataclasses.fields(SoundsConfig)]
RATES_HZ = [8000, 16000, 24000, 48000]


def contour(samples: Samples, rate_hz: int) -> list[float]:
    """The strongest frequency in each 40 ms, as octaves above 300 Hz."""
    length = rate_hz // 25
    windows = [samples[at : at + length] for at in range(0, len(samples) - length + 1, length)]
    hann = np.hanning(length)
    spectra = [np.abs(np.fft.rfft(window * hann, 8192)) for window in windows]
    return [
        float(np.log2(max(spectrum.argmax(), 1) * rate_hz / 8192 / 300)) for spectrum in spectra
    ]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("name", NAMES)
def test_each_key_has_a_sound_that_old_ears_hear(name: str, rate_hz: int) -> None:
    """100 to 400 ms, -12 dBFS, between 300 and 2000 Hz."""
    samples = built_in(name, rate_hz)
    assert 100 <= len(samples) * 1000 / rate_hz <= 400
    assert 20 * np.log10(np.abs(samples.astype(int)).max() / 32768) == pytest.approx(-12, abs=0.1)
    power = np.abs(np.fft.rfft(samples.astype(float), 1 << 16)) ** 2
    hz = np.fft.rfftfreq(1 << 16, 1 / rate_hz)
    assert power[(hz >= 300) & (hz <= 2000)].sum() > 0.98 * power.sum()


@pytest.mark.parametrize("name", NAMES)
def test_each_begins_and_ends_softly(name: str) -> None:
    """No step at either end, and none larger inside than the highest partial makes."""
    samples = built_in(name, 48000).astype(int)
    assert samples[0] == 0
    assert abs(samples[-1]) <= 2
    assert np.abs(np.diff(samples)).max() < 8231 * 2 * np.pi * 2000 / 48000
    first_ms = np.abs(samples[:48]).max()
    assert first_ms < 0.1 * 8231


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(NAMES, 2)])
def test_no_two_are_mistaken_for_each_other(one: str, other: str) -> None:
    """A third of an octave apart on average, or 60 ms in length."""
    first, second = built_in(one, 24000), built_in(other, 24000)
    pitches = zip(contour(first, 24000), contour(second, 24000), strict=False)
    apart = np.mean([abs(a - b) for a, b in pitches])
    assert apart > 1 / 3 or abs(len(first) - len(second)) > 0.06 * 24000


@pytest.mark.parametrize(
    ("name", "direction"), [("wake", 1), ("unmute", 1), ("done", -1), ("mute", -1), ("offline", -1)]
)
def test_what_begins_goes_up_and_what_ends_goes_down(name: str, direction: int) -> None:
    """The contour alone says which it is."""
    pitches = contour(built_in(name, 24000), 24000)
    assert direction * (pitches[-1] - pitches[0]) > 0.5


def test_a_sound_is_computed_once_and_cannot_be_changed() -> None:
    """The same array each time: that is how the player knows that it waits already."""
    assert built_in("wake", 24000) is built_in("wake", 24000)
    with pytest.raises(ValueError, match="read-only"):
        built_in("wake", 24000)[0] = 1


def test_off_is_no_sound_and_all_keys_are_there() -> None:
    """A value for every key of `[sounds]`."""
    sounds = load_sounds(SoundsConfig(thinking="off"), 24000)
    assert list(sounds) == NAMES
    assert sounds["thinking"] is None
    assert sounds["wake"] is built_in("wake", 24000)


def write_wav(path: Path, samples: Samples, rate_hz: int) -> str:
    writer = WavWriter(str(path), rate_hz)
    writer.write(samples)
    writer.close()
    return str(path)


def test_a_file_is_brought_to_the_rate_that_is_played(tmp_path: Path) -> None:
    """Half a second stays half a second, and its tone the same tone."""
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(22050) / 44100)).astype(np.int16)
    path = write_wav(tmp_path / "bell.wav", tone, 44100)
    sound = load_sounds(SoundsConfig(wake=path), 24000)["wake"]
    assert sound is not None
    assert sound.dtype == np.int16
    assert len(sound) == pytest.approx(12000, abs=2)
    assert not sound.flags.writeable
    assert np.argmax(np.abs(np.fft.rfft(sound))) == pytest.approx(220, abs=1)


def test_a_file_at_that_rate_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sample by sample; `~` is the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    samples = np.arange(-100, 100, dtype=np.int16)
    write_wav(tmp_path / "bell.wav", samples, 24000)
    sound = load_sounds(SoundsConfig(wake="~/bell.wav"), 24000)["wake"]
    assert sound is not None
    assert sound.tolist() == samples.tolist()


def riff(samples: bytes, *, rate_hz: int, channels: int, bits: int) -> bytes:
    # Nobody reads the two in the middle, and not every number fits them.
    head = struct.pack("<HHIIHH", 1, channels, rate_hz, 0, 0, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + head
    body += b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_channels_are_mixed_and_wide_samples_are_read(tmp_path: Path) -> None:
    """Stereo, 32 bits: the mean of both, of their upper 16."""
    path = tmp_path / "bell.wav"
    pairs = np.array([[1000 << 16, 3000 << 16]] * 50, dtype="<i4")
    path.write_bytes(riff(pairs.tobytes(), rate_hz=24000, channels=2, bits=32))
    sound = load_sounds(SoundsConfig(wake=str(path)), 24000)["wake"]
    assert sound is not None
    assert sound.tolist() == [2000] * 50


def test_three_seconds_are_the_most(tmp_path: Path) -> None:
    """Exactly three are taken, one sample more is not."""
    second = np.ones(8000, dtype=np.int16)
    three = write_wav(tmp_path / "three.wav", np.tile(second, 3), 8000)
    more = write_wav(tmp_path / "more.wav", np.ones(24001, dtype=np.int16), 8000)
    sound = load_sounds(SoundsConfig(wake=three), 8000)["wake"]
    assert sound is not None
    assert len(sound) == 24000
    with pytest.raises(ConfigError) as refused:
        load_sounds(SoundsConfig(wake=more), 8000)
    assert str(refused.value) == (
        f"sounds.wake: {more} lasts longer than 3 s. "
        f"Cut it: ffmpeg -i '{more}' -t 3 '{tmp_path}/more-short.wav'. "
        'Or set it to "built-in" or "off"'
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"", "is empty"),
        (b"ID3 is no wave", "is not a WAV file, but MP3"),
        (riff(b"", rate_hz=8000, channels=1, bits=16), "holds no audio"),
        (riff(b"x" * 9, rate_hz=8000, channels=1, bits=8), "is 8-bit PCM"),
        (riff(b"x" * 8, rate_hz=2_000_000_000, channels=1, bits=16), "has 2000000000 Hz"),
        (riff(b"x" * 8, rate_hz=1, channels=1, bits=16), "has 1 Hz; a sound has 4000 to 192000"),
        (riff(b"x" * 8, rate_hz=8000, channels=65535, bits=32), "holds no audio"),
    ],
)
def test_a_file_that_is_no_sound_is_refused(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    """With the key, the file, and what to do."""
    path = tmp_path / "bell.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_sounds(SoundsConfig(offline=str(path)), 24000)
    message = str(refused.value)
    assert message.startswith("sounds.offline: ")
    assert str(path) in message
    assert words in message
    assert message.endswith('. Or set it to "built-in" or "off"')


def test_all_files_that_are_wrong_are_named_at_once(tmp_path: Path) -> None:
    """One line for each key."""
    config = SoundsConfig(mute=f"{tmp_path}/a.wav", unmute=f"{tmp_path}/b.wav")
    with pytest.raises(ConfigError) as refused:
        load_sounds(config, 24000)
    assert [line.split(":")[0] for line in refused.value.problems] == [
        "sounds.mute",
        "sounds.unmute",
    ]
