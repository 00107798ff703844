"""Files as microphone and speaker: real time, one time line, nothing lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from slng_edge.audio.backends import build_sink, build_source
from slng_edge.audio.interfaces import Sink, Source
from slng_edge.audio.media_clock import ArrivalMeter, MediaClock
from slng_edge.audio.null_backend import NullSink, NullSource
from slng_edge.audio.wav_backend import WavSink, WavSource
from slng_edge.audio.wav_files import WavWriter, read_wav
from slng_edge.errors import AudioError, ConfigError, DeviceLost, InputFileError

LATE_S = 0.08
"""What a busy machine may be late; the figures themselves are milliseconds."""


def tone(seconds: float, rate_hz: int, hz: float = 440) -> np.ndarray:
    return (np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz) * 8000).astype(
        np.int16
    )


def wav(path: Path, samples: np.ndarray, rate_hz: int) -> str:
    writer = WavWriter(str(path), rate_hz)
    writer.write(samples)
    writer.close()
    return str(path)


def read_all(source: Source) -> np.ndarray:
    frames = []
    while (frame := source.read()) is not None:
        assert len(frame) == source.frame_samples
        frames.append(frame)
    return np.concatenate(frames)


def test_a_file_comes_frame_by_frame_in_real_time(tmp_path: Path) -> None:
    """Each frame at the moment at which its last sample was said; the last one is padded."""
    samples = tone(0.31, 16000)
    clock = MediaClock()
    source = WavSource(
        wav(tmp_path / "a.wav", samples, 16000),
        rate_hz=16000,
        frame_ms=20,
        channel=0,
        clock=clock,
    )
    source.open()
    clock.origin_s()
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
        late_s = clock.elapsed_s() - len(frames) * 0.02
        assert 0 <= late_s < LATE_S
    source.close()
    heard = np.concatenate(frames)
    assert len(frames) == 16
    assert np.array_equal(heard[: len(samples)], samples)
    assert not heard[len(samples) :].any()


def test_media_may_pass_faster_than_real_time() -> None:
    """Reader and writer alike; what is left to be heard is told in real seconds."""
    clock = MediaClock(speed=20)
    source = NullSource(rate_hz=16000, frame_ms=20, clock=clock)
    sink = NullSink(rate_hz=24000, block_ms=20, buffer_ms=60, clock=clock)
    source.open()
    sink.open()
    began = time.monotonic()
    clock.origin_s()
    for _ in range(100):
        source.read()
        sink.write(np.zeros(480, dtype=np.int16))
    took_s = time.monotonic() - began
    assert 0.095 <= took_s < 0.095 + LATE_S
    assert clock.elapsed_s() >= 20 * took_s
    assert sink.latency_s <= 0.06 / 20


@pytest.mark.parametrize("file_hz", [8000, 22050, 44100, 48000])
def test_a_file_of_another_rate_is_resampled(tmp_path: Path, file_hz: int) -> None:
    """It sounds as long and as high as before, its end included."""
    source = WavSource(
        wav(tmp_path / "a.wav", tone(0.5, file_hz), file_hz),
        rate_hz=16000,
        frame_ms=20,
        channel=0,
        clock=MediaClock(),
    )
    source.open()
    heard = read_all(source)
    source.close()
    wanted = tone(0.5, 16000)
    assert len(heard) == 8000
    middle = slice(400, 7600)
    assert np.corrcoef(heard[middle], wanted[middle])[0, 1] > 0.999
    assert np.abs(heard[-160:]).max() > 4000


def test_the_channel_is_picked(tmp_path: Path) -> None:
    """Of an array, the one that the config names."""
    path = tmp_path / "a.wav"
    both = np.stack([tone(0.1, 16000), np.full(1600, 77, dtype=np.int16)], axis=1)
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(both.tobytes())
    source = WavSource(str(path), rate_hz=16000, frame_ms=20, channel=1, clock=MediaClock())
    source.open()
    assert set(read_all(source)) == {77}
    source.close()


def test_a_channel_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    """The message says how many there are."""
    path = wav(tmp_path / "a.wav", tone(0.1, 16000), 16000)
    source = WavSource(path, rate_hz=16000, frame_ms=20, channel=1, clock=MediaClock())
    with pytest.raises(ConfigError, match=r"audio.input_channel = 1: .* has 1 channel"):
        source.open()


def test_a_missing_file_is_an_input_file_error(tmp_path: Path) -> None:
    """As soon as it is opened."""
    source = WavSource(
        str(tmp_path / "none.wav"), rate_hz=16000, frame_ms=20, channel=0, clock=MediaClock()
    )
    with pytest.raises(InputFileError):
        source.open()


@pytest.mark.parametrize("kind", ["null", "file"])
def test_close_ends_a_waiting_read(tmp_path: Path, kind: str) -> None:
    """From another thread, and long before the frame is due."""
    name = "null"
    if kind == "file":
        name = "file:" + wav(tmp_path / "a.wav", tone(9, 16000), 16000)
    source = build_source(name, rate_hz=16000, frame_ms=5000, channel=0, clock=MediaClock())
    source.open()
    results: list[object] = []
    reader = threading.Thread(target=lambda: results.append(source.read()), daemon=True)
    reader.start()
    time.sleep(0.05)
    source.close()
    source.close()
    reader.join(1)
    assert results == [None]
    assert source.read() is None


def test_a_second_open_goes_on_at_the_present(tmp_path: Path) -> None:
    """What was said while nobody listened is gone, as with a microphone."""
    samples = np.repeat(np.arange(50, dtype=np.int16), 320)
    path = wav(tmp_path / "a.wav", samples, 16000)
    source = WavSource(path, rate_hz=16000, frame_ms=20, channel=0, clock=MediaClock())
    source.open()
    first = source.read()
    source.close()
    time.sleep(0.2)
    source.open()
    then = source.read()
    source.close()
    assert first is not None
    assert then is not None
    assert first[0] == 0
    assert 9 <= then[0] <= 15


def test_a_speaker_file_keeps_the_time(tmp_path: Path) -> None:
    """Sample k sounds k / rate seconds after the origin, whenever it was written."""
    path = tmp_path / "out.wav"
    clock = MediaClock()
    sink = WavSink(str(path), rate_hz=24000, block_ms=20, buffer_ms=60, clock=clock)
    sink.open()
    clock.origin_s()
    silence, loud = np.zeros(480, dtype=np.int16), np.full(480, 9000, dtype=np.int16)
    for _ in range(10):
        sink.write(silence)
    sounds_at_s = clock.elapsed_s() + sink.latency_s
    sink.write(loud)
    sink.close()
    samples = read_wav(str(path))[2][:, 0]
    assert abs(np.flatnonzero(samples)[0] / 24000 - sounds_at_s) < 0.005
    assert sink.underflows == 0


def test_a_writer_is_paced_with_the_buffer_ahead(tmp_path: Path) -> None:
    """60 ms may stand in the device: not more, and no wait before that."""
    clock = MediaClock()
    sink = NullSink(rate_hz=24000, block_ms=20, buffer_ms=60, clock=clock)
    sink.open()
    clock.origin_s()
    block = np.zeros(480, dtype=np.int16)
    for number in range(1, 16):
        sink.write(block)
        ahead_s = number * 0.02 - clock.elapsed_s()
        assert ahead_s <= 0.0601
        assert abs(sink.latency_s - max(0.0, ahead_s)) < 0.005
    assert clock.elapsed_s() >= 0.239
    sink.close()


def test_a_late_writer_leaves_silence_and_is_counted(tmp_path: Path) -> None:
    """The time line does not slip: what comes late sounds late."""
    path = tmp_path / "out.wav"
    clock = MediaClock()
    sink = WavSink(str(path), rate_hz=16000, block_ms=20, buffer_ms=60, clock=clock)
    sink.open()
    loud = np.full(320, 9000, dtype=np.int16)
    sink.write(loud)
    time.sleep(0.3)
    at_s = clock.elapsed_s()
    sink.write(loud)
    sink.close()
    sounding = np.flatnonzero(read_wav(str(path))[2][:, 0])
    again = sounding[sounding > 1600][0]
    assert abs(again / 16000 - at_s) < 0.01
    assert sink.underflows == 1


def test_input_and_output_share_their_first_sample(tmp_path: Path) -> None:
    """What is played as soon as it is heard lies one frame and the buffer later in the file."""
    click = np.zeros(16000, dtype=np.int16)
    click[8000:8010] = 20000
    clock = MediaClock()
    source = WavSource(
        wav(tmp_path / "in.wav", click, 16000), rate_hz=16000, frame_ms=20, channel=0, clock=clock
    )
    sink = WavSink(str(tmp_path / "out.wav"), rate_hz=16000, block_ms=20, buffer_ms=60, clock=clock)
    sink.open()
    source.open()
    while (frame := source.read()) is not None:
        sink.write(frame)
    source.close()
    sink.close()
    at = np.flatnonzero(np.abs(read_wav(str(tmp_path / "out.wav"))[2][:, 0].astype(int)) > 5000)
    assert 8000 <= at[0] <= 8000 + 16000 * (0.02 + 0.06 + LATE_S)


@pytest.mark.parametrize("kind", ["null", "file"])
def test_close_ends_a_waiting_write(tmp_path: Path, kind: str) -> None:
    """From another thread."""
    name = "null" if kind == "null" else f"file:{tmp_path / 'out.wav'}"
    sink = build_sink(name, rate_hz=16000, block_ms=5000, output_buffer_ms=60, clock=MediaClock())
    sink.open()
    block = np.zeros(sink.block_samples, dtype=np.int16)
    results: list[str] = []

    def write() -> None:
        try:
            for _ in range(4):
                sink.write(block)
        except DeviceLost as error:
            results.append(str(error))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    time.sleep(0.05)
    sink.close()
    sink.close()
    writer.join(1)
    assert results == ["the output was closed"]


def test_a_speaker_file_that_cannot_be_made(tmp_path: Path) -> None:
    """Said when it is opened, and nothing is left open."""
    sink = WavSink(
        str(tmp_path / "no" / "out.wav"),
        rate_hz=16000,
        block_ms=20,
        buffer_ms=60,
        clock=MediaClock(),
    )
    with pytest.raises(AudioError, match="No such file"):
        sink.open()
    sink.close()


def test_silence_in_real_time() -> None:
    """The null microphone gives zeros, no faster than they last."""
    clock = MediaClock()
    source = NullSource(rate_hz=16000, frame_ms=20, clock=clock)
    source.open()
    clock.origin_s()
    for _ in range(10):
        frame = source.read()
        assert frame is not None
        assert not frame.any()
    assert 0.199 <= clock.elapsed_s() < 0.2 + LATE_S
    source.close()


@pytest.mark.parametrize("name", ["", "file:"])
def test_a_name_that_stands_for_nothing(name: str) -> None:
    """A config error that says what could stand there."""
    with pytest.raises(ConfigError, match=r"audio\.input"):
        build_source(name, rate_hz=16000, frame_ms=20, channel=0, clock=MediaClock())
    with pytest.raises(ConfigError, match=r"audio\.output"):
        build_sink(name, rate_hz=16000, block_ms=20, output_buffer_ms=60, clock=MediaClock())


def test_names_become_backends(tmp_path: Path) -> None:
    """Sources and sinks know what the config calls them."""
    clock = MediaClock()
    for name in ("null", "file:a.wav", "default", "USB Audio"):
        source: Source = build_source(name, rate_hz=16000, frame_ms=20, channel=0, clock=clock)
        sink: Sink = build_sink(name, rate_hz=24000, block_ms=20, output_buffer_ms=60, clock=clock)
        assert (source.name, sink.name) == (name, name)
        assert (source.frame_samples, sink.block_samples) == (320, 480)


def test_lost_samples_are_noticed_and_late_ones_are_not() -> None:
    """A burst after a pause is no loss; a gap that stays is one, once."""
    meter = ArrivalMeter(1000)
    lost = []
    for step in range(500):
        now = step * 0.02
        if 100 <= step < 130:
            continue  # Nothing comes for 0.6 s ...
        samples = 20 + (600 if step == 130 else 0)  # ... and then all of it.
        if 300 <= step < 310:
            continue  # 0.2 s that never come.
        if meter.receive(samples, now):
            lost.append(step)
    assert len(lost) == 1
    assert 300 < lost[0] < 420


def test_a_reader_learns_that_it_is_behind() -> None:
    """Before anything came, and after a pause until what is missing has come."""
    meter = ArrivalMeter(1000)
    behind = [meter.behind(0.0)]
    for step in range(100):
        meter.receive(20, step * 0.02)
        behind.append(meter.behind(step * 0.02 + 0.02))
    behind.append(meter.behind(2.5))
    meter.receive(60, 2.5)
    behind.append(meter.behind(2.5))
    meter.receive(440, 2.5)
    behind.append(meter.behind(2.5))
    assert behind == [True, *[False] * 100, True, True, False]
