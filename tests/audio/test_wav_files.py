"""WAV files: what can be read, what is said of the rest, and files that are always valid."""

from __future__ import annotations

import logging
import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from slng_edge.audio.wav_files import WavReader, WavWriter, read_wav
from slng_edge.errors import AudioError, InputFileError


def write_pcm(path: Path, samples: np.ndarray, *, rate_hz: int = 16000, width: int = 2) -> Path:
    """A PCM file as the standard library writes it; `samples` of shape (n, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        if width == 1:
            file.writeframes(((samples >> 8) + 128).astype(np.uint8).tobytes())
        else:
            wide = samples.astype("<i4") << (8 * (width - 2))
            raw = wide.view(np.uint8).reshape(-1, 4)[:, :width]
            file.writeframes(raw.tobytes())
    return path


def ramp(frames: int, channels: int = 1) -> np.ndarray:
    return np.arange(frames * channels, dtype=np.int16).reshape(frames, channels) - 500


def chunked(*chunks: tuple[bytes, bytes], riff_size: int | None = None) -> bytes:
    body = b"WAVE"
    for kind, data in chunks:
        body += kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def fmt(tag: int = 1, channels: int = 1, rate_hz: int = 8000, bits: int = 16) -> bytes:
    frame = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * frame, frame, bits)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("width", [2, 3, 4])
def test_pcm_of_any_width_and_channels_is_read(tmp_path: Path, width: int, channels: int) -> None:
    """16, 24 and 32 bits; the upper 16 are what comes."""
    samples = ramp(1000, channels)
    path = write_pcm(tmp_path / "a.wav", samples, rate_hz=44100, width=width)
    rate_hz, found, read = read_wav(str(path))
    assert (rate_hz, found) == (44100, channels)
    assert np.array_equal(read, samples)


def test_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    """A long file is never in memory as a whole."""
    samples = ramp(1000, 2)
    path = write_pcm(tmp_path / "a.wav", samples)
    with WavReader(str(path)) as reader:
        pieces = [reader.read(300) for _ in range(5)]
    assert [len(piece) for piece in pieces] == [300, 300, 300, 100, 0]
    assert np.array_equal(np.concatenate(pieces), samples)


def test_other_chunks_are_skipped(tmp_path: Path) -> None:
    """Lists and pictures before the sound, trailing tags after it."""
    path = tmp_path / "a.wav"
    sound = ramp(50).tobytes()
    path.write_bytes(
        chunked((b"LIST", b"odd"), (b"fmt ", fmt()), (b"id3 ", b"x" * 9), (b"data", sound))
        + b"LIST\x04\0\0\0tail"
    )
    assert np.array_equal(read_wav(str(path))[2], ramp(50))


def test_extensible_pcm_is_read(tmp_path: Path) -> None:
    """Arrays with many channels come in this form."""
    guid = struct.pack("<H", 1) + b"\0" * 14
    extensible = fmt(0xFFFE, channels=2) + struct.pack("<HHI", 22, 16, 3) + guid
    path = tmp_path / "a.wav"
    path.write_bytes(chunked((b"fmt ", extensible), (b"data", ramp(20, 2).tobytes())))
    assert np.array_equal(read_wav(str(path))[2], ramp(20, 2))


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_a_header_that_was_never_completed_means_all_of_the_file(
    tmp_path: Path, length: int
) -> None:
    """Recorders that write to a pipe, or were killed, leave such files."""
    path = tmp_path / "a.wav"
    data = bytearray(chunked((b"fmt ", fmt()), (b"data", ramp(40).tobytes())))
    data[40:44] = struct.pack("<I", length)
    path.write_bytes(data)
    assert np.array_equal(read_wav(str(path))[2], ramp(40))


def test_a_file_that_is_cut_short_gives_what_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its end is missed in the log, once, and half a sample is no sample."""
    path = write_pcm(tmp_path / "a.wav", ramp(16000))
    whole = path.read_bytes()
    path.write_bytes(whole[: 44 + 16001])
    with caplog.at_level(logging.WARNING):
        samples = read_wav(str(path))[2]
    assert np.array_equal(samples, ramp(16000)[:8000])
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is cut short: its last 0.5 s are missing"
    ]


BAD = {
    "empty": (b"", "is empty"),
    "header alone": (chunked((b"fmt ", fmt()), (b"data", b"")), "holds no audio"),
    "cut in the header": (chunked((b"fmt ", fmt()))[:30], "ends within its WAV header"),
    "cut after RIFF": (b"RIFF\0\0", "ends within its WAV header"),
    "no data": (chunked((b"fmt ", fmt())), "ends within its WAV header"),
    "no format": (chunked((b"data", b"1234")), "no header"),
    "8-bit": (chunked((b"fmt ", fmt(bits=8)), (b"data", b"1234")), "8-bit PCM"),
    "float": (chunked((b"fmt ", fmt(3, bits=32)), (b"data", b"1234")), "floating point"),
    "mu-law": (chunked((b"fmt ", fmt(7, bits=8)), (b"data", b"1234")), "mu-law"),
    "ADPCM": (chunked((b"fmt ", fmt(0x11, bits=4)), (b"data", b"1234")), "IMA ADPCM"),
    "odd": (chunked((b"fmt ", fmt(0x1234)), (b"data", b"1234")), "format 0x1234"),
    "no channels": (chunked((b"fmt ", fmt(channels=0)), (b"data", b"1234")), "0 channels"),
    "MP3": (b"ID3\x04" + b"x" * 60, "but MP3"),
    "Ogg": (b"OggS" + b"x" * 60, "but Ogg"),
    "text": (b"just some words, no sound at all", "not a WAV file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    """The message names the file and what was found in it."""
    data, words = BAD[name]
    path = tmp_path / "some sound.wav"
    path.write_bytes(data)
    with pytest.raises(InputFileError) as caught:
        read_wav(str(path))
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["8-bit", "float", "MP3", "text"])
def test_a_wrong_format_comes_with_the_line_that_converts_it(tmp_path: Path, name: str) -> None:
    """The line can be pasted."""
    path = tmp_path / "some sound.wav"
    path.write_bytes(BAD[name][0])
    with pytest.raises(InputFileError, match=r"ffmpeg -i '.*some sound.wav' -c:a pcm_s16le '"):
        read_wav(str(path))


def test_missing_files_and_folders_are_said(tmp_path: Path) -> None:
    """Neither is a traceback."""
    with pytest.raises(InputFileError, match="No such file"):
        read_wav(str(tmp_path / "none.wav"))
    with pytest.raises(InputFileError, match="it is a directory"):
        read_wav(str(tmp_path))
    with pytest.raises(InputFileError, match="not a regular file"):
        read_wav("/dev/null")


def test_a_written_file_is_what_others_read(tmp_path: Path) -> None:
    """16-bit mono, as the standard library sees it."""
    path = tmp_path / "out.wav"
    writer = WavWriter(str(path), 24000)
    for start in range(0, 48000, 480):
        writer.write(np.full(480, start % 1000, dtype=np.int16))
    writer.close()
    writer.close()
    with wave.open(str(path)) as file:
        assert file.getparams()[:4] == (1, 2, 24000, 48000)
    assert read_wav(str(path))[2][480, 0] == 480


def test_a_writer_that_was_killed_leaves_a_valid_file(tmp_path: Path) -> None:
    """At most the last second is missing."""
    path = tmp_path / "out.wav"
    program = (
        "import os, signal, sys, numpy\n"
        "from slng_edge.audio.wav_files import WavWriter\n"
        "writer = WavWriter(sys.argv[1], 16000)\n"
        "for _ in range(125): writer.write(numpy.ones(320, numpy.int16))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    with wave.open(str(path)) as file:
        assert file.getnframes() == 32000
        assert file.readframes(32000) == b"\1\0" * 32000


def test_a_file_that_cannot_be_made_is_an_audio_error(tmp_path: Path) -> None:
    """With the path and the reason."""
    for path in (tmp_path, tmp_path / "no" / "such" / "folder.wav"):
        with pytest.raises(AudioError, match=f"cannot write {path}: "):
            WavWriter(str(path), 16000)


def test_a_full_disk_is_an_audio_error() -> None:
    """/dev/full takes nothing."""
    with pytest.raises(AudioError, match="cannot write /dev/full: No space left on device"):
        WavWriter("/dev/full", 16000)
