"""What fuzzing has found and was mended: each as the one behaviour that was wrong."""

from __future__ import annotations

import contextlib
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from slng_edge.audio.wav_files import read_wav
from slng_edge.config_checks import DEEPEST
from slng_edge.config_loading import load_config
from slng_edge.errors import ConfigError
from slng_edge.protocol.stt_exchange import SttExchange, SttTimes
from slng_edge.proxies import proxy_for
from slng_edge.secrets import hide_known

SPARE_BYTES = 256 * 1024**2


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """What is taken beside that is refused, as on a small board."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def wav(*, channels: int = 1, format_bytes: int = 16, data_bytes: int = 4) -> bytes:
    """A short WAV file of 32 bits whose header says so of its sizes."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", format_bytes, 1, channels, 16000, 0, 0, 32)
    rest = bytes(max(0, min(format_bytes - 16, 1000)))
    return b"RIFF\0\0\0\0WAVE" + form + rest + b"data" + struct.pack("<I", data_bytes) + bytes(4)


def problem_of(file: str | Path, *overrides: str) -> str:
    """The one thing that is wrong with a configuration."""
    with pytest.raises(ConfigError) as refused:
        load_config(file, overrides, {})
    [problem] = refused.value.problems
    return problem


@pytest.mark.parametrize("data_bytes", [0, 0xFFFFFFFE])
def test_a_wav_header_takes_no_memory_for_samples_that_are_not_there(
    data_bytes: int, tmp_path: Path
) -> None:
    """65,536 frames of 65,535 channels would be 17 GB; there are four bytes."""
    file = tmp_path / "wide.wav"
    file.write_bytes(wav(channels=65535, data_bytes=data_bytes))
    with little_memory(), pytest.raises(Exception, match="holds no audio"):
        read_wav(str(file))


def test_a_wav_header_takes_no_memory_for_a_format_that_is_not_there(tmp_path: Path) -> None:
    """A format of 4 GB: the file ends within it."""
    file = tmp_path / "format.wav"
    file.write_bytes(wav(format_bytes=0xFFFFFFF0))
    with little_memory(), pytest.raises(Exception, match="ends within its WAV header"):
        read_wav(str(file))


def test_what_follows_the_known_part_of_a_format_is_skipped(tmp_path: Path) -> None:
    """The chunk behind it begins where the header says."""
    file = tmp_path / "long.wav"
    file.write_bytes(wav(format_bytes=100))
    rate_hz, channels, samples = read_wav(str(file))
    assert (rate_hz, channels, samples.shape) == (16000, 1, (1, 1))


@pytest.mark.parametrize("levels", [DEEPEST, 2000])
def test_options_that_are_nested_without_end_are_refused(levels: int, tmp_path: Path) -> None:
    """On the command line, and as dotted names in a file, which the parser takes at any depth."""
    said = f"stt.options is nested more than {DEEPEST} levels deep"
    assert problem_of("/dev/null", f"stt.options{'.a' * levels}={{b=1}}") == f"{said} (-s)"
    file = tmp_path / "config.toml"
    file.write_text(f"[stt.options]\na{'.a' * levels} = 1\n", encoding="utf-8")
    assert problem_of(file) == f"{said} (file {file})"


def test_options_may_be_nested_as_deep_as_is_said() -> None:
    """The last level that is taken."""
    config = load_config("/dev/null", [f"stt.options{'.a' * (DEEPEST - 1)}=1"], {})
    assert config.stt.options


@pytest.mark.parametrize("override", ["stt.options.a=\udcff", "stt.options.a\udcff=1"])
def test_options_are_text(override: str) -> None:
    """A byte of the command line that is no UTF-8 could neither be sent nor written down."""
    said = "stt.options = … may not hold bytes that are no text (-s)"
    assert problem_of("/dev/null", override) == said


@pytest.mark.parametrize("key", ["stt.sample_rate", "stt.options.a", "tts.speed", "wake.words"])
def test_a_number_too_long_to_be_written_is_refused(key: str) -> None:
    """Hexadecimal, since Python reads no decimal number of more than 4,300 digits."""
    number = "0x" + "f" * 4000
    value = f"[{number}]" if key == "wake.words" else number
    said = f"{key.removesuffix('.a')} holds a whole number of more than 64 bits (-s)"
    assert problem_of("/dev/null", f"{key}={value}") == said


def test_the_password_of_a_proxy_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte in the environment that is no UTF-8 is refused, and not shown."""
    monkeypatch.setenv("https_proxy", "http://user:s\udcffcret@proxy.test:3128")
    with pytest.raises(ConfigError, match=r"\$https_proxy is not an address") as refused:
        proxy_for("wss", "gateway.test", 443)
    assert "cret" not in str(refused.value)


def test_what_a_proxy_was_told_it_cannot_have_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may repeat the header with the password in its reason for a refusal."""
    monkeypatch.setenv("https_proxy", "http://user:a-long-password@proxy.test:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    proxy = proxy_for("wss", "gateway.test", 443)
    assert proxy is not None
    token = proxy.authorization.removeprefix("Basic ")
    assert hide_known(f"no user with {token}") == "no user with ***"


def test_nothing_is_told_of_speech_that_nobody_waits_for() -> None:
    """Audio that found no room, of an utterance that was abandoned before it ended."""
    exchange = SttExchange(rate_hz=16000, keep_s=2.0, times=SttTimes())
    abandoned = exchange.open_utterance()
    assert exchange.add_audio(abandoned, bytes(2 * 16000 * 2 + 320)) == []
    exchange.abandon(abandoned)
    assert exchange.end_utterance(abandoned, 1.0) == []
    following = exchange.open_utterance()
    assert exchange.end_utterance(following, 2.0) == []
