"""PyAudio on real (virtual) devices: what goes in comes out, and what breaks is said."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from virtual_sound import MICROPHONE_NAME, SPEAKER_NAME, SPEAKER_RATE_HZ, VirtualSound

from slng_edge.audio.device_sink import PyAudioSink
from slng_edge.audio.device_source import PyAudioSource
from slng_edge.audio.playback import Playback
from slng_edge.audio.pyaudio_backend import list_devices
from slng_edge.audio.ring_buffer import RingBuffer
from slng_edge.audio.wav_files import WavWriter
from slng_edge.errors import ConfigError, DeviceLost, DeviceNotFound

pytestmark = pytest.mark.sound


def noise(seconds: float, rate_hz: int) -> np.ndarray:
    """Noise below 3 kHz, loud from its first sample to its last."""
    generator = np.random.default_rng(7)
    length = int(seconds * rate_hz)
    spectrum = np.fft.rfft(generator.normal(size=length))
    spectrum[int(3000 * seconds) :] = 0
    wave = np.fft.irfft(spectrum, length)
    samples = (wave / np.abs(wave).max() * 20000).astype(np.int16)
    samples[:20] = samples[-20:] = 12000
    return samples


def best_match(heard: np.ndarray, wanted: np.ndarray) -> tuple[int, float]:
    """Where `wanted` lies in `heard`, and how well it fits there (1: exactly)."""
    size = 1 << (len(heard) + len(wanted)).bit_length()
    heard, wanted = heard.astype(float), wanted.astype(float)
    lags = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size)), size)
    at = int(np.argmax(lags[: len(heard) - len(wanted) + 1]))
    piece = heard[at : at + len(wanted)]
    return at, float(np.corrcoef(piece, wanted)[0, 1])


def at_rate(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """An exact resampler for what is band-limited, as all of it here is."""
    length = len(samples) * to_hz // from_hz
    spectrum = np.fft.rfft(samples)[: min(from_hz, to_hz) * len(samples) // from_hz // 2]
    full = np.zeros(length // 2 + 1, dtype=complex)
    full[: len(spectrum)] = spectrum
    return np.fft.irfft(full, length) * length / len(samples)


def sink(name: str = "default", *, rate_hz: int = 24000, buffer_ms: float = 60) -> PyAudioSink:
    return PyAudioSink(name, rate_hz=rate_hz, block_ms=20, output_buffer_ms=buffer_ms)


def source(name: str = "default", *, rate_hz: int = 16000, channel: int = 0) -> PyAudioSource:
    return PyAudioSource(name, rate_hz=rate_hz, frame_ms=20, channel=channel)


def play(speaker: PyAudioSink, samples: np.ndarray) -> None:
    block_samples = speaker.block_samples
    silence = np.zeros(block_samples, dtype=np.int16)
    for _ in range(10):
        speaker.write(silence)
    for start in range(0, len(samples) - block_samples + 1, block_samples):
        speaker.write(samples[start : start + block_samples])
    for _ in range(15):
        speaker.write(silence)


@pytest.mark.parametrize(
    ("name", "rate_hz"), [("default", 24000), (SPEAKER_NAME, 16000), ("test speak", 200000)]
)
def test_what_is_played_is_heard(virtual_sound: VirtualSound, name: str, rate_hz: int) -> None:
    """Head and tail included; 200 kHz opens nowhere and is resampled to what does."""
    speech = noise(1.0, rate_hz)
    speaker = sink(name, rate_hz=rate_hz)
    with virtual_sound.record_speaker() as recording:
        speaker.open()
        play(speaker, speech)
        speaker.close()
        time.sleep(0.1)
    heard = recording.samples
    wanted = at_rate(speech, rate_hz, SPEAKER_RATE_HZ)
    at, likeness = best_match(heard, wanted)
    assert likeness > 0.99
    edge = SPEAKER_RATE_HZ // 50
    for piece in (slice(0, edge), slice(len(wanted) - edge, len(wanted))):
        assert np.corrcoef(heard[at:][piece], wanted[piece])[0, 1] > 0.95
    assert speaker.underflows == 0


@pytest.mark.parametrize(
    ("name", "rate_hz"), [("default", 16000), (MICROPHONE_NAME, 24000), ("test micro", 200000)]
)
def test_what_is_said_is_read(
    virtual_sound: VirtualSound, tmp_path: Path, name: str, rate_hz: int
) -> None:
    """In exact frames, from the first sample to the last."""
    speech = noise(1.0, 48000)
    writer = WavWriter(str(tmp_path / "speech.wav"), 48000)
    writer.write(np.concatenate([np.zeros(4800, dtype=np.int16), speech]))
    writer.close()
    microphone = source(name, rate_hz=rate_hz)
    for _ in range(3):
        microphone.open()
        microphone.read()
        frames = []
        with virtual_sound.record_microphone() as reference:
            mouth = virtual_sound.speak_into_microphone(tmp_path / "speech.wav")
            while mouth.poll() is None or len(frames) < 100:
                frame = microphone.read()
                assert frame is not None
                assert len(frame) == rate_hz // 50
                frames.append(frame)
            frames += [microphone.read() for _ in range(15)]
            microphone.close()
        if best_match(reference.samples, speech)[1] > 0.99:
            break  # else the machine stood still, and it was not said so that it could be read
    heard = np.concatenate(frames)
    wanted = at_rate(speech, 48000, rate_hz)
    at, likeness = best_match(heard, wanted)
    assert likeness > 0.99
    edge = rate_hz // 50
    for piece in (slice(0, edge), slice(len(wanted) - edge, len(wanted))):
        assert np.corrcoef(heard[at:][piece], wanted[piece])[0, 1] > 0.95
    assert microphone.overflows == 0


def test_frames_come_evenly(virtual_sound: VirtualSound) -> None:
    """A frame every 20 ms: no pile of them after a pause."""
    microphone = source()
    microphone.open()
    for _ in range(10):
        microphone.read()
    times = []
    for _ in range(100):
        microphone.read()
        times.append(time.monotonic())
    microphone.close()
    gaps = np.diff(times)
    assert abs(float(np.median(gaps)) - 0.02) < 0.002
    assert np.mean(np.abs(gaps - 0.02) < 0.005) > 0.8


def test_an_idle_reader_gets_frames_two_at_a_time(virtual_sound: VirtualSound) -> None:
    """As many frames come as before, at half the wake-ups, and none is lost."""
    microphone = source()
    microphone.open()
    microphone.read()
    microphone.idle = True
    for _ in range(10):
        microphone.read()
    began = time.monotonic()
    times = [began]
    for _ in range(100):
        microphone.read()
        times.append(time.monotonic())
    microphone.close()
    assert times[-1] - began == pytest.approx(2.0, abs=0.1)
    assert np.count_nonzero(np.diff(times) < 0.005) > 40
    assert microphone.overflows == 0


def say(virtual_sound: VirtualSound, path: Path, samples: np.ndarray) -> subprocess.Popen[bytes]:
    writer = WavWriter(str(path), 48000)
    writer.write(samples)
    writer.close()
    return virtual_sound.speak_into_microphone(path)


@pytest.mark.parametrize("idle", [False, True])
def test_a_short_stall_of_ours_loses_nothing_and_leaves_no_delay(
    virtual_sound: VirtualSound, tmp_path: Path, idle: bool
) -> None:
    """What stood in the server comes in a burst, and then the present."""
    speech = noise(1.0, 48000)
    microphone = source()
    for _ in range(3):
        microphone.open()
        microphone.read()
        microphone.idle = idle
        frames = []
        with virtual_sound.record_microphone() as reference:
            mouth = say(virtual_sound, tmp_path / "speech.wav", speech)
            began = time.monotonic()
            while mouth.poll() is None or len(frames) < 100:
                if len(frames) == 30:
                    time.sleep(0.6)
                frames.append(microphone.read())
            late_s = time.monotonic() - began - len(frames) * 0.02
            frames += [microphone.read() for _ in range(15)]
            microphone.close()
        if best_match(reference.samples, speech)[1] > 0.99:
            break  # else the machine stood still, and it was not said so that it could be read
    _, likeness = best_match(np.concatenate(frames), at_rate(speech, 48000, 16000))
    assert likeness > 0.99
    assert late_s < 0.1
    assert (microphone.overflows, microphone.gaps) == (0, 0)


def test_after_a_long_stall_the_old_sound_is_dropped(
    virtual_sound: VirtualSound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted, the gap is told, and what is said then is heard when it is said."""
    monkeypatch.setattr("slng_edge.audio.device_source.KEPT_S", 0.3)
    microphone = source()
    microphone.open()
    for _ in range(10):
        microphone.read()
    time.sleep(0.9)
    began = time.monotonic()
    while time.monotonic() - began < 0.3:
        microphone.read()
    assert (microphone.overflows, microphone.gaps) == (1, 1)
    mouth = say(virtual_sound, tmp_path / "speech.wav", noise(0.3, 48000))
    said_at = heard_at = 0.0
    while not said_at or time.monotonic() < said_at + 0.3:
        frame = microphone.read()
        assert frame is not None
        if np.abs(frame.astype(np.int32)).max() > 1000:
            heard_at = time.monotonic()
        if not said_at and mouth.poll() is not None:
            said_at = time.monotonic()
    microphone.close()
    assert heard_at
    assert heard_at - said_at < 0.2
    assert (microphone.overflows, microphone.gaps) == (1, 1)


def test_a_speaker_that_ran_dry_is_filled_up_again(virtual_sound: VirtualSound) -> None:
    """Silence comes two blocks at a time; with only these in it, it would run dry 10-24 times."""
    speaker = sink()
    speaker.open()
    silence = np.zeros(960, dtype=np.int16)
    for _ in range(8):
        speaker.write(silence)
    before = speaker.underflows
    virtual_sound.freeze()
    thaw = threading.Timer(0.2, virtual_sound.thaw)
    thaw.start()
    for _ in range(30):
        speaker.write(silence)
    thaw.join()
    speaker.close()
    assert 1 <= speaker.underflows - before <= 4


def test_a_late_writer_is_an_underflow(virtual_sound: VirtualSound) -> None:
    """Nobody asks the device meanwhile; it is found out at the next block."""
    speaker = sink()
    speaker.open()
    silence = np.zeros(480, dtype=np.int16)
    for _ in range(10):
        speaker.write(silence)
    before = speaker.underflows
    time.sleep(0.2)
    speaker.write(silence)
    speaker.close()
    assert speaker.underflows == before + 1


def test_the_buffer_holds_what_the_config_allows(virtual_sound: VirtualSound) -> None:
    """What was written is heard after the latency that the sink tells, which is the buffer's."""
    speaker = sink(buffer_ms=60)
    speaker.open()
    silence = np.zeros(480, dtype=np.int16)
    click = np.full(480, 15000, dtype=np.int16)
    told = []
    with virtual_sound.record_speaker() as recording:
        for _ in range(5):
            for _ in range(15):
                speaker.write(silence)
            speaker.write(click)
            told.append(time.monotonic() + speaker.latency_s)
            assert speaker.latency_s <= 0.0601
        for _ in range(20):
            speaker.write(silence)
    speaker.close()
    loud = recording.loud(5000)
    ends = [*loud[np.flatnonzero(np.diff(loud) > 4800)], loud[-1]]
    errors = [recording.time_of(end) - at for end, at in zip(ends, told, strict=True)]
    assert max(abs(error) for error in errors) < 0.03


def test_a_larger_buffer_of_the_driver_is_not_filled(virtual_sound: VirtualSound) -> None:
    """Asked for 60 ms, a driver gives 240 ms: two of its three periods are used, without a gap."""
    speaker = sink(buffer_ms=60)
    speaker._period_ms = 80.0
    speaker.open()
    silence = np.zeros(480, dtype=np.int16)
    start = time.monotonic()
    for _ in range(100):
        speaker.write(silence)
        assert speaker.latency_s <= 0.161
    ahead_s = 0.24 + 100 * 0.02 - (time.monotonic() - start)
    speaker.close()
    assert ahead_s < 0.21
    assert speaker.underflows == 0


def test_an_interrupted_reply_is_silent_at_the_speaker(virtual_sound: VirtualSound) -> None:
    """From the decision to the last loud sample: the device buffer and 40 ms at most.

    The bound is wider here, for machines that are busy with other things.
    """
    ring = RingBuffer(rate_hz=24000)
    playback = Playback(ring, sink)
    playback.start()
    waits = []
    with virtual_sound.record_speaker() as recording:
        for turn in range(6):
            utterance = ring.open_utterance()
            ring.write(np.full(48000, 9000, dtype=np.int16), utterance)
            time.sleep(0.4 + turn * 0.0037)
            decided = time.monotonic()
            ring.clear()
            time.sleep(0.3)
            waits.append(recording.time_of(recording.loud(600)[-1]) - decided)
        playback.stop(5)
    print("silent after ms:", [round(wait * 1000) for wait in waits])
    assert sorted(waits)[3] < 0.1
    assert max(waits) < 0.15


def test_a_missing_device_is_named(virtual_sound: VirtualSound) -> None:
    """With what there is instead."""
    with pytest.raises(DeviceNotFound, match=r'no output device "Jabra"; there is: .*Speaker"'):
        sink("Jabra").open()
    with pytest.raises(DeviceNotFound, match='input "test" may be any of'):
        source("test").open()


def test_a_channel_that_is_not_there_is_a_config_error(virtual_sound: VirtualSound) -> None:
    """As with files."""
    with pytest.raises(ConfigError, match=r"audio\.input_channel = 99"):
        source(channel=99).open()


def test_the_second_of_two_channels_can_be_read(virtual_sound: VirtualSound) -> None:
    """A mono microphone sounds on both."""
    microphone = source(channel=1)
    microphone.open()
    frame = microphone.read()
    microphone.close()
    assert frame is not None
    assert len(frame) == 320


def test_a_device_can_be_opened_again(virtual_sound: VirtualSound) -> None:
    """Each time with a list of devices that is new, unless somebody else still uses the old."""
    speaker, microphone = sink(), source()
    microphone.open()
    for _ in range(3):
        speaker.open()
        speaker.write(np.zeros(480, dtype=np.int16))
        assert microphone.read() is not None
        speaker.close()
        speaker.close()
    microphone.close()
    assert microphone.read() is None
    with pytest.raises(DeviceLost):
        speaker.write(np.zeros(480, dtype=np.int16))


def read_on(microphone: PyAudioSource) -> None:
    for _ in range(5):
        microphone.read()


def test_a_card_that_was_plugged_in_is_found(
    virtual_sound: VirtualSound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list can be read anew only when nobody has a stream open, so the others reopen."""
    microphone, speaker = source(), sink()
    microphone.open()
    monkeypatch.setattr(
        "slng_edge.audio.pyaudio_backend.sound_cards",
        lambda: frozenset([" 1 [Device  ]: USB-Audio - USB Audio Device"]),
    )
    with pytest.raises(DeviceNotFound, match="listed anew"):
        speaker.open()
    with pytest.raises(DeviceLost, match="a sound card was added"):
        read_on(microphone)
    microphone.close()
    speaker.open()
    microphone.open()
    assert microphone.read() is not None
    microphone.close()
    speaker.close()


def test_a_device_that_will_not_open_says_why(virtual_sound: VirtualSound) -> None:
    """PortAudio's words are kept."""
    with pytest.raises(DeviceLost, match=r'"Test Microphone" cannot be opened: .* \(-9\d+\)'):
        sink(MICROPHONE_NAME).open()


def test_close_ends_a_read_from_another_thread(virtual_sound: VirtualSound) -> None:
    """Several times, since closing under a waiting read is what crashes PortAudio."""
    for _ in range(10):
        microphone = source()
        microphone.open()
        results: list[object] = []

        def read(microphone: PyAudioSource = microphone, results: list[object] = results) -> None:
            while microphone.read() is not None:
                pass
            results.append(None)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        time.sleep(0.07)
        microphone.close()
        reader.join(1)
        assert results == [None]


def until_lost(step: Callable[[], object]) -> float:
    start = time.monotonic()
    while time.monotonic() - start < 10:
        try:
            step()
        except DeviceLost:
            return time.monotonic() - start
    return 10.0


FAULTS: dict[str, Callable[[VirtualSound], None]] = {
    "the server is killed": VirtualSound.stop,
    "the server hangs": VirtualSound.freeze,
    "the device is suspended": VirtualSound.suspend,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_lost_device_is_noticed(
    own_virtual_sound: VirtualSound, fault: str, direction: str
) -> None:
    """Within two seconds, whether it fails or merely stands still; closing takes two more."""
    device = source() if direction == "in" else sink()
    device.open()
    silence = np.zeros(480, dtype=np.int16)
    step = device.read if isinstance(device, PyAudioSource) else lambda: device.write(silence)
    for _ in range(10):
        step()
    FAULTS[fault](own_virtual_sound)
    assert until_lost(step) < 2.0
    start = time.monotonic()
    device.close()
    assert time.monotonic() - start < 3.0
    if fault == "the server hangs":
        own_virtual_sound.thaw()


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_device_that_stands_still_does_not_open(
    own_virtual_sound: VirtualSound, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be lost again at once, and again; when it goes on, it opens."""
    monkeypatch.setattr("slng_edge.audio.device_stream.FIRST_STALL_S", 0.5)
    device = source() if direction == "in" else sink()
    own_virtual_sound.suspend()
    with pytest.raises(DeviceLost, match=r"has stalled: nothing moved for 0\.5 s"):
        device.open()
    goes_on = threading.Timer(0.2, own_virtual_sound.resume)
    goes_on.start()
    device.open()
    device.close()
    goes_on.join()


@pytest.mark.parametrize("direction", ["in", "out"])
def test_close_ends_the_wait_for_a_device_that_stands_still(
    own_virtual_sound: VirtualSound, direction: str
) -> None:
    """The end of the process does not wait for it."""
    device = source() if direction == "in" else sink()
    own_virtual_sound.suspend()
    closer = threading.Timer(0.6, device.close)
    closer.start()
    began = time.monotonic()
    with contextlib.suppress(DeviceLost):
        device.open()
    assert 0.5 < time.monotonic() - began < 1.5
    closer.join()
    assert not isinstance(device, PyAudioSource) or device.read() is None


def test_a_server_that_comes_later_is_found(
    own_virtual_sound: VirtualSound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PortAudio's list has no device of it, and is kept as long as another one is open."""
    late = VirtualSound(tmp_path / "late", ("vspk",))
    late.folder.mkdir()
    own_virtual_sound.alsa_config.write_text(
        own_virtual_sound.alsa_config.read_text()
        + f'pcm."Late" {{ type pulse server "unix:{late.socket}" hint {{ show on }} }}\n'
    )
    monkeypatch.setenv("PULSE_SERVER", f"unix:{late.socket}")
    microphone, speaker = source(), sink("Late")
    microphone.open()
    with pytest.raises(DeviceNotFound, match='no output device "Late"'):
        speaker.open()
    read_on(microphone)
    late.start()
    try:
        with pytest.raises(DeviceNotFound, match="being listed anew"):
            speaker.open()
        with pytest.raises(DeviceLost, match="can be opened that could not be"):
            read_on(microphone)
        microphone.close()
        speaker.open()
        microphone.open()
        assert microphone.read() is not None
        microphone.close()
        speaker.close()
    finally:
        late.stop()


def test_a_server_that_comes_back_is_used_again(own_virtual_sound: VirtualSound) -> None:
    """Both directions, without a restart of the process."""
    microphone, speaker = source(), sink()
    silence = np.zeros(480, dtype=np.int16)
    for _ in range(2):
        microphone.open()
        speaker.open()
        for _ in range(10):
            assert microphone.read() is not None
            speaker.write(silence)
        own_virtual_sound.stop()
        until_lost(microphone.read)
        until_lost(lambda: speaker.write(silence))
        microphone.close()
        speaker.close()
        with pytest.raises((DeviceNotFound, DeviceLost)):
            speaker.open()
        own_virtual_sound.start()


def test_playback_survives_the_sound_server(own_virtual_sound: VirtualSound) -> None:
    """The reply goes on where it was when the server is back."""
    said: list[tuple[str, ...]] = []
    drained = threading.Event()
    ring = RingBuffer(rate_hz=24000)
    playback = Playback(
        ring,
        sink,
        on_device=lambda *words: said.append(words),
        on_drained=lambda *_: drained.set(),
    )
    playback.start()
    utterance = ring.open_utterance()
    ring.write(np.full(24000, 9000, dtype=np.int16), utterance)
    ring.end(utterance)
    time.sleep(0.7)
    own_virtual_sound.stop()
    time.sleep(0.5)
    assert ring.buffered_samples > 0
    own_virtual_sound.start()
    assert drained.wait(10)
    playback.stop(5)
    assert [words[0] for words in said] == ["open", "lost", "reopened"]


def test_devices_are_listed(virtual_sound: VirtualSound) -> None:
    """With the rates that open in each direction."""
    found = {device.name: (device, *rates) for device, *rates in list_devices()}
    assert found[SPEAKER_NAME][1] == []
    assert {16000, 24000, 48000} <= set(found[SPEAKER_NAME][2])
    assert {16000, 24000, 48000} <= set(found[MICROPHONE_NAME][1])
    assert found["default"][0].default_input
    assert found["default"][0].default_output


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


def test_nothing_is_printed_by_the_libraries(virtual_sound: VirtualSound) -> None:
    """ALSA and JACK complain about what is not there; our own lines get through."""
    ended = run_python(
        "import numpy, os, sys, threading\n"
        "from slng_edge.audio.device_sink import PyAudioSink\n"
        "from slng_edge.audio.bounded_calls import quiet_stderr\n"
        "sink = PyAudioSink('default', rate_hz=24000, block_ms=20, output_buffer_ms=60)\n"
        "sink.open(); sink.write(numpy.zeros(480, numpy.int16)); sink.close()\n"
        "with quiet_stderr():\n"
        "    os.write(2, b'ALSA lib conf.c: chatter\\n')\n"
        "    print('a line of ours', file=sys.stderr)\n"
        "print('and another', file=sys.stderr)\n"
    )
    assert (ended.returncode, ended.stderr) == (0, "a line of ours\nand another\n")


def test_a_missing_pyaudio_is_said_with_the_line_that_installs_it() -> None:
    """Only when a device is opened."""
    ended = run_python(
        "import sys\n"
        "sys.modules['pyaudio'] = None\n"
        "from slng_edge.errors import MissingLibrary\n"
        "from slng_edge.audio.device_sink import PyAudioSink\n"
        "try:\n"
        "    PyAudioSink('default', rate_hz=24000, block_ms=20, output_buffer_ms=60).open()\n"
        "except MissingLibrary as error:\n"
        "    print(error)\n"
    )
    assert "needs PyAudio, which is not installed" in ended.stdout
    assert "sudo apt-get install python3-pyaudio" in ended.stdout


def test_the_devices_command_prints_what_the_config_takes(virtual_sound: VirtualSound) -> None:
    """As a table and as JSON; the quoted name is TOML."""
    environment = {**os.environ, "HOME": "/nonexistent"}
    command = [sys.executable, "-m", "slng_edge", "devices"]
    table = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert f'"{SPEAKER_NAME}"' in table.stdout
    assert '* "default"' in table.stdout
    assert table.stderr == ""
    listed = subprocess.run(
        [*command, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    rows = json.loads(listed.stdout)
    speaker = next(row for row in rows if row["name"] == SPEAKER_NAME and row["which"] == "output")
    assert (speaker["host_api"], speaker["default"]) == ("ALSA", False)
    assert 24000 in speaker["rates_hz"]


@pytest.mark.skipif(
    bool(os.listdir("/proc/asound") if os.path.isdir("/proc/asound") else ""),
    reason="this machine has sound cards",
)
def test_a_machine_without_devices_says_what_to_look_at() -> None:
    """Exit status 74, and an empty array for programs."""
    environment = {**os.environ, "PULSE_SERVER": "unix:/nonexistent"}
    environment.pop("ALSA_CONFIG_PATH", None)
    ended = subprocess.run(
        [sys.executable, "-m", "slng_edge", "devices", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert (ended.returncode, json.loads(ended.stdout)) == (74, [])
    assert "group audio" in ended.stderr
