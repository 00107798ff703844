"""Echo cancellation: what is paired with what, what is taken out, and what is left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from slng_edge.audio import echo_cancel
from slng_edge.audio.echo_cancel import Canceller, EchoCanceller, StreamClock, build_echo_canceller
from slng_edge.audio.echo_sources import default_source_in, is_echo_cancelled
from slng_edge.audio.speex_canceller import DelayFinder
from slng_edge.config import AudioConfig, Config, SttConfig
from slng_edge.errors import MissingLibrary
from slng_edge.pcm import Samples

RATE_HZ, FAR_RATE_HZ = 16000, 24000


class Recorder:
    """A canceller that keeps what it is given, and is as late as it says."""

    kind = "recorder"

    def __init__(self, latency_samples: int = 0) -> None:
        self.latency_samples = latency_samples
        self.near: list[Samples] = []
        self.far: list[Samples] = []
        self.closed = 0
        self._late = np.zeros(latency_samples, dtype=np.int16)

    def cancel(self, near: Samples, far: Samples) -> Samples:
        self.near.append(near.copy())
        self.far.append(far.copy())
        row = np.concatenate((self._late, near))
        self._late = row[len(near) :]
        return row[: len(near)]

    def close(self) -> None:
        self.closed += 1


class Line:
    """A speaker and a microphone in steps of 20 ms; far sample k sounds at k / rate seconds."""

    def __init__(
        self,
        canceller: Canceller,
        *,
        rate_hz: int = RATE_HZ,
        far_rate_hz: int = RATE_HZ,
        frame_ms: int = 20,
        ahead: int = 2,
    ) -> None:
        self.echo = EchoCanceller(canceller, rate_hz=rate_hz, far_rate_hz=far_rate_hz)
        self.far_step, self.step = far_rate_hz // 50, rate_hz // 50
        self.frame = rate_hz * frame_ms // 1000
        self.far_s = 0.0
        self.near_s = 0.0
        self._ahead = ahead
        self._rest = np.empty(0, dtype=np.int16)

    def run(self, far: Samples, near: Samples, late_s: float = 0.0) -> Samples:
        """What comes out of `near` while `far` sounds; both as long."""
        out = []
        blocks = len(far) // self.far_step
        sent = 0
        for k in range(len(near) // self.step):
            while sent < min(blocks, k + self._ahead):
                self.speak(far[sent * self.far_step : (sent + 1) * self.far_step])
                sent += 1
            self._rest = np.concatenate((self._rest, near[k * self.step : (k + 1) * self.step]))
            while len(self._rest) >= self.frame:
                out.append(self.hear(self._rest[: self.frame], late_s))
                self._rest = self._rest[self.frame :]
        return np.concatenate(out)

    def speak(self, block: Samples) -> None:
        self.echo.receive_far(block, self.far_s)
        self.far_s += len(block) / (self.far_step * 50)

    def hear(self, frame: Samples, late_s: float = 0.0) -> Samples:
        self.near_s += len(frame) / (self.step * 50)
        return self.echo.process(frame, self.near_s + late_s)


def ramp(count: int) -> Samples:
    """Samples that say which they are."""
    return (np.arange(count) % 30000 + 1).astype(np.int16)


def voice(seconds: float, rate_hz: int, seed: int, level: float = 2500.0) -> np.ndarray:
    """Syllables of noise, coloured as a voice is."""
    rng = np.random.default_rng(seed)
    noise = np.fft.rfft(rng.standard_normal(int(seconds * rate_hz)))
    hz = np.fft.rfftfreq(int(seconds * rate_hz), 1 / rate_hz)
    sound = np.fft.irfft(noise * (hz > 150) * (hz < 3800) / (1 + hz / 600))
    t = np.arange(len(sound)) / rate_hz
    sound *= np.clip(np.sin(2 * np.pi * (2.3 + 0.3 * seed) * t) + 0.4, 0, 1)
    return sound / np.sqrt((sound**2).mean()) * level


def silence(seconds: float, rate_hz: int = RATE_HZ) -> Samples:
    return np.zeros(int(seconds * rate_hz), dtype=np.int16)


# Which far samples belong to which near ones


def test_what_sounded_while_it_was_heard_is_paired() -> None:
    """With exact times near sample k goes with far sample k."""
    recorder = Recorder()
    line = Line(recorder)
    sound = ramp(RATE_HZ)
    line.run(sound, sound)
    near, far = np.concatenate(recorder.near[2:]), np.concatenate(recorder.far[2:])
    assert len(near) == RATE_HZ
    assert np.array_equal(near, far)
    assert line.echo.realignments == 0


def test_a_start_after_silence_keeps_the_pairing() -> None:
    """What began later is where it belongs, to the sample, each time."""
    recorder = Recorder()
    line = Line(recorder)
    for _ in range(2):
        recorder.near.clear()
        recorder.far.clear()
        line.run(silence(2.0), silence(2.0))
        sound = ramp(RATE_HZ // 2)
        line.run(sound, sound)
        near = np.concatenate(recorder.near)
        far = np.concatenate(recorder.far)
        assert np.array_equal(near[-RATE_HZ // 2 :], far[-RATE_HZ // 2 :])
    assert line.echo.realignments == 0


def test_frames_that_come_two_at_a_time_change_nothing() -> None:
    """A frame that is told 20 ms too late is paired as before."""
    recorder = Recorder()
    line = Line(recorder)
    line.run(silence(1.2), silence(1.2))
    sound = ramp(RATE_HZ)
    blocks = sound.reshape(-1, 320)
    line.speak(blocks[0])
    line.speak(blocks[1])
    for k in range(0, 50, 2):
        for block in blocks[k + 2 : k + 4]:
            line.speak(block)
        line.hear(blocks[k], 0.02)
        line.hear(blocks[k + 1])
    assert np.array_equal(np.concatenate(recorder.near[2:]), np.concatenate(recorder.far[2:]))


@pytest.mark.parametrize("frame_ms", [10, 20, 30])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 32000, 48000])
def test_far_sound_is_brought_to_the_microphones_rate(rate_hz: int, frame_ms: int) -> None:
    """A tone at 24 kHz arrives in phase, whatever the microphone's rate and frames are."""
    recorder = Recorder()
    line = Line(recorder, rate_hz=rate_hz, far_rate_hz=FAR_RATE_HZ, frame_ms=frame_ms, ahead=4)
    far, near = (
        (np.sin(2 * np.pi * 300 * np.arange(int(0.6 * hz)) / hz) * 9000).astype(np.int16)
        for hz in (FAR_RATE_HZ, rate_hz)
    )
    out = line.run(far, near)
    assert len(out) == int(0.6 * rate_hz) // line.frame * line.frame
    assert {len(piece) for piece in recorder.near + recorder.far} == {rate_hz // 100}
    paired = np.concatenate(recorder.far[2:])[rate_hz // 10 : rate_hz // 2]
    heard = np.concatenate(recorder.near[2:])[rate_hz // 10 : rate_hz // 2]
    assert np.corrcoef(paired, heard)[0, 1] > 0.999


def test_far_sound_that_comes_too_late_is_used_from_its_start() -> None:
    """A block that is not there when it is needed costs one realignment, and no sample."""
    recorder = Recorder()
    line = Line(recorder, ahead=1)
    sound = ramp(RATE_HZ)
    blocks = sound.reshape(-1, 320)
    line.speak(blocks[0])
    for k in range(49):
        line.hear(blocks[k])  # the second half second is one block behind
        if k == 20:
            line.hear(blocks[k])
        line.speak(blocks[k + 1])
    far = np.concatenate(recorder.far[2:])
    assert line.echo.realignments == 1
    assert np.array_equal(far[far > 0][: 40 * 320], sound[: 40 * 320])


def test_a_jump_of_the_speakers_clock_is_followed() -> None:
    """The device stood still for 200 ms: from then on the pairing is 200 ms later."""
    recorder = Recorder()
    line = Line(recorder)
    sound = ramp(3 * RATE_HZ)
    line.run(sound[:RATE_HZ], sound[:RATE_HZ])
    line.far_s += 0.2
    line.run(sound, sound)
    assert line.echo.realignments >= 1
    late = int(np.concatenate(recorder.near)[-1]) - int(np.concatenate(recorder.far)[-1])
    assert late == pytest.approx(0.2 * RATE_HZ, abs=0.012 * RATE_HZ)


def test_a_lost_speaker_ends_the_work() -> None:
    """Playback stops in the middle of a sound and says nothing more."""
    recorder = Recorder()
    line = Line(recorder)
    sound = ramp(RATE_HZ // 2)
    line.run(sound, sound)
    for _ in range(15):
        line.hear(sound[:320])
    assert not line.echo.active


def test_a_stuck_microphone_leaves_a_bounded_queue() -> None:
    """A minute of sound without a frame is not kept, and the pairing is right afterwards."""
    recorder = Recorder()
    line = Line(recorder)
    sound = ramp(RATE_HZ)
    line.run(sound, sound)
    for _ in range(3000):
        line.speak(np.full(320, 7, dtype=np.int16))
    line.near_s += 60.0
    line.run(sound, sound)
    near, far = np.concatenate(recorder.near), np.concatenate(recorder.far)
    assert np.array_equal(near[-8000:], far[-8000:])


def test_a_stream_clock_takes_the_earliest() -> None:
    """Lateness that comes and goes does not move it; a gap does, within two seconds."""
    clock = StreamClock(RATE_HZ)
    for k in range(200):
        clock.receive(320, k * 0.02 + (0.03 if k % 3 else 0.0))
    assert clock.origin_s == pytest.approx(0.0, abs=0.003)
    for k in range(200, 320):
        clock.receive(320, k * 0.02 + 0.1)
    assert clock.origin_s == pytest.approx(0.1, abs=0.003)


# While nothing sounds


def test_silence_costs_nothing_and_leaves_no_seam() -> None:
    """Without sound nothing is computed; what comes out is one stream, as late as ever."""
    recorder = Recorder(latency_samples=130)
    line = Line(recorder)
    heard = ramp(4 * RATE_HZ)
    sound = np.concatenate((silence(1.5), ramp(RATE_HZ // 2), silence(2.0)))
    out = line.run(sound, heard)
    assert np.array_equal(out[130:], heard[:-130])
    processed_s = len(recorder.near) / 100
    assert 1.4 < processed_s < 1.7  # the sound, a second after it, and the first two steps
    assert not line.echo.active


def test_after_close_frames_pass() -> None:
    """Closing twice is fine, and so is a frame that comes after it."""
    recorder = Recorder()
    echo = EchoCanceller(recorder, rate_hz=RATE_HZ, far_rate_hz=RATE_HZ)
    echo.close()
    echo.close()
    frame = ramp(320)
    assert echo.process(frame, 1.0) is frame
    assert recorder.closed == 1


# What the libraries do


@pytest.fixture(scope="module", autouse=True)
def _library_loaded() -> None:
    """livekit's threads and what they hold open stay until the process ends: not a test's."""
    try:
        from slng_edge.audio.apm_canceller import ApmCanceller

        ApmCanceller(RATE_HZ).close()
    except MissingLibrary:
        pass  # the tests that need it are skipped


def _apm(rate_hz: int) -> Canceller:
    pytest.importorskip("livekit", reason="pip install 'slng-edge[aec]'")
    from slng_edge.audio.apm_canceller import ApmCanceller

    return ApmCanceller(rate_hz)


def _speex(rate_hz: int) -> Canceller:
    from slng_edge.audio.speex_canceller import SpeexCanceller

    try:
        return SpeexCanceller(rate_hz)
    except MissingLibrary as error:
        pytest.skip(str(error))


def in_a_room(far: np.ndarray, delay_s: float, rate_hz: int) -> np.ndarray:
    t = np.arange(int(0.14 * rate_hz)) / rate_hz
    response = np.random.default_rng(7).standard_normal(len(t)) * np.exp(-6.9 * t / 0.14) * 0.12
    response[0] = 1.0
    echo = np.convolve(far, response)[: len(far)]
    return np.concatenate((np.zeros(int(delay_s * rate_hz)), echo))[: len(far)]


def energy(samples: np.ndarray) -> float:
    return float((samples.astype(np.float64) ** 2).sum()) + 1.0


@pytest.mark.parametrize("delay_s", [0.02, 0.2])
@pytest.mark.parametrize(("build", "least_db"), [(_apm, 25.0), (_speex, 15.0)])
def test_echo_is_taken_out(
    build: Callable[[int], Canceller], least_db: float, delay_s: float
) -> None:
    """After five seconds of a reply its echo is quieter by so much, whatever delay is hidden."""
    line = Line(build(RATE_HZ), ahead=3)
    far = voice(8.0, RATE_HZ, 1)
    mic = in_a_room(far, delay_s, RATE_HZ).astype(np.int16)
    out = line.run(far.astype(np.int16), mic)
    span = slice(5 * RATE_HZ, 8 * RATE_HZ)
    assert 10 * np.log10(energy(mic[span]) / energy(out[span])) > least_db


@pytest.mark.parametrize("build", [_apm, _speex])
def test_a_speaker_that_ran_dry_is_followed(build: Callable[[int], Canceller]) -> None:
    """The sound comes 25 ms later from 4 s on: within three seconds it is taken out again."""
    line = Line(build(RATE_HZ), ahead=3)
    far = voice(9.0, RATE_HZ, 1)
    early, late = (in_a_room(far, delay_s, RATE_HZ) for delay_s in (0.08, 0.105))
    mic = np.concatenate((early[: 4 * RATE_HZ], late[4 * RATE_HZ :])).astype(np.int16)
    out = line.run(far.astype(np.int16), mic)
    span = slice(7 * RATE_HZ, 9 * RATE_HZ)
    assert 10 * np.log10(energy(mic[span]) / energy(out[span])) > 12.0


def test_the_delay_is_found_to_the_sample() -> None:
    """Whatever it is, as long as it is under half a second."""
    far = voice(3.0, RATE_HZ, 1).astype(np.int16)
    for delay in (0, 37, 1280, 7000):
        finder = DelayFinder(RATE_HZ)
        near = np.concatenate((np.zeros(delay, dtype=np.int16), far))[: len(far)]
        found = [
            finder.receive(near[k : k + 160], far[k : k + 160]) for k in range(0, len(far), 160)
        ]
        assert [delay] == sorted({at for at in found[100:] if at is not None})


@pytest.mark.parametrize("build", [_apm, _speex])
def test_a_voice_alone_is_left_as_it_was(build: Callable[[int], Canceller]) -> None:
    """Right after a reply, while the canceller still runs, a voice loses next to nothing."""
    line = Line(build(RATE_HZ), ahead=3)
    far = np.concatenate((voice(3.0, RATE_HZ, 1), np.zeros(RATE_HZ * 3 // 4)))
    speaker = np.concatenate((np.zeros(3 * RATE_HZ + 4800), voice(0.45, RATE_HZ, 2)))
    mic = (in_a_room(far, 0.08, RATE_HZ) + speaker).astype(np.int16)
    out = line.run(far.astype(np.int16), mic)
    assert line.echo.active
    span = slice(3 * RATE_HZ + 4800, None)
    assert abs(10 * np.log10(energy(out[span]) / energy(mic[span]))) < 2.0


def test_a_voice_over_the_reply_is_kept() -> None:
    """Speex: of two who talk at once, the one in the room is as loud as before."""
    line = Line(_speex(RATE_HZ), ahead=3)
    far = voice(8.0, RATE_HZ, 1)
    speaker = np.concatenate((np.zeros(5 * RATE_HZ), voice(3.0, RATE_HZ, 2)))
    mic = (in_a_room(far, 0.08, RATE_HZ) + speaker).astype(np.int16)
    out = line.run(far.astype(np.int16), mic)
    late = RATE_HZ // 100
    got, said = out[5 * RATE_HZ + late :], speaker[5 * RATE_HZ : -late]
    assert 20 * np.log10(float(got @ said) / energy(said)) > -3.0
    assert 10 * np.log10(energy(got) / energy(said)) < 1.5


@pytest.mark.parametrize("rate_hz", [8000, 16000, 32000, 48000])
@pytest.mark.parametrize("build", [_apm, _speex])
def test_the_latency_is_what_it_says(build: Callable[[int], Canceller], rate_hz: int) -> None:
    """So that the change between working and passing leaves no seam (within 1.5 ms)."""
    canceller = build(rate_hz)
    near = voice(1.0, rate_hz, 2).astype(np.int16)
    step = rate_hz // 100
    far = np.zeros(step, dtype=np.int16)
    out = np.concatenate(
        [canceller.cancel(near[k : k + step], far).copy() for k in range(0, len(near), step)]
    )
    spectrum = np.fft.rfft(out, 2 * rate_hz) * np.conj(np.fft.rfft(near, 2 * rate_hz))
    found = int(np.argmax(np.fft.irfft(spectrum)[: rate_hz // 10]))
    assert abs(found - canceller.latency_samples) <= 0.0015 * rate_hz
    canceller.close()


# The choice


def config_of(**audio: str) -> Config:
    return Config(audio=AudioConfig(**audio), stt=SttConfig())


@pytest.mark.parametrize(
    ("audio", "kind"),
    [
        ({"echo_cancel": "off"}, None),
        ({"input": "null"}, None),
        ({"output": "null"}, None),
        ({"input": "file:a.wav"}, None),
        ({"output": "file:a.wav"}, None),
        ({"input": "echo-cancel-source"}, None),
        ({"input": "USB microphone"}, "apm"),
        ({"input": "USB microphone", "echo_cancel": "speex"}, "speex"),
        ({"input": "null", "echo_cancel": "speex"}, "speex"),
    ],
)
def test_the_config_chooses(audio: dict[str, str], kind: str | None) -> None:
    """ "auto" cancels where there is an echo path that nobody else looks after, and the extra."""
    _apm(RATE_HZ).close()
    _speex(RATE_HZ).close()
    echo = build_echo_canceller(config_of(**audio), far_rate_hz=FAR_RATE_HZ)
    assert (echo and echo.kind) == kind
    if echo is not None:
        echo.close()


def test_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any library the gate copes alone; asked for by name, a missing one is an error."""

    def missing(rate_hz: int) -> Canceller:
        raise MissingLibrary("that", "this", "apt-get install that")

    monkeypatch.setattr(echo_cancel, "_BUILDERS", {"speex": missing, "apm": missing})
    assert build_echo_canceller(config_of(input="mic"), far_rate_hz=FAR_RATE_HZ) is None
    with pytest.raises(MissingLibrary, match="apt-get install that"):
        build_echo_canceller(
            dataclasses.replace(Config(), audio=AudioConfig(echo_cancel="apm")),
            far_rate_hz=FAR_RATE_HZ,
        )


@pytest.mark.parametrize(
    ("name", "cancelled"),
    [
        ("echo-cancel-source", True),
        ("Echo Cancelled Source", True),
        ("alsa_input.usb.echo-cancel", True),
        ("echo_cancel", True),
        ("USB Audio: echo box", False),
        ("hw:1,0", False),
    ],
)
def test_names_of_echo_cancelled_sources(name: str, cancelled: bool) -> None:
    """As PulseAudio and PipeWire name them."""
    assert is_echo_cancelled(name) is cancelled


def test_the_default_source_of_a_server() -> None:
    """From what `pactl info` prints."""
    text = (
        "Server Name: pulseaudio\nDefault Sink: vspk\nDefault Source: vmic.echo-cancel\nCookie: 1\n"
    )
    assert default_source_in(text) == "vmic.echo-cancel"
    assert default_source_in("Connection failure: Connection refused\n") == ""
