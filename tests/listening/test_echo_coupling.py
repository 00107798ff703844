"""How loud the device hears itself, learned from noise that changes as speech does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slng_edge.listening.echo_coupling import (
    FIRST_CAUTION_DB,
    FIRST_CAUTION_MS,
    HIGHEST_COUPLING_DB,
    NO_ECHO,
    REACH_MS,
    START_COUPLING_DB,
    BandAnalysis,
    EchoCoupling,
    bands_below,
)
from slng_edge.listening.vad_gate import ECHO_OPEN_MARGIN_DB
from slng_edge.pcm import Samples

RATE_HZ = 16000
FRAME = RATE_HZ // 50


def syllables(seconds: float, seed: int, rms: float = 2000.0) -> Samples:
    """Noise in bursts of a syllable's length, every one of another loudness and colour."""
    chance = np.random.default_rng(seed)
    pieces = []
    while sum(map(len, pieces)) < seconds * RATE_HZ:
        count = int(chance.uniform(0.1, 0.25) * RATE_HZ)
        sound = chance.standard_normal(count)
        spectrum, hz = np.fft.rfft(sound), np.fft.rfftfreq(count, 1 / RATE_HZ)
        spectrum *= 0.2 + np.exp(-(((hz - chance.uniform(300, 5000)) / 500) ** 2))
        sound = np.fft.irfft(spectrum, count)
        sound *= rms / np.sqrt(np.mean(sound**2)) * chance.uniform(0.3, 1.0)
        pieces += [sound, np.zeros(int(chance.uniform(0, 0.1) * RATE_HZ))]
    return np.concatenate(pieces)[: int(seconds * RATE_HZ)].astype(np.int16)


def noisy(samples: np.ndarray) -> Samples:
    noise = np.random.default_rng(9).standard_normal(len(samples)) * 20
    return np.clip(samples + noise, -32768, 32767).astype(np.int16)


def echo_of(far: Samples, coupling_db: float, delay_frames: int = 4) -> np.ndarray:
    late = np.concatenate([np.zeros(delay_frames * FRAME), far])[: len(far)]
    return late * 10 ** (coupling_db / 20)


class Ear:
    """A coupling, and the far end's powers as they would come."""

    def __init__(self) -> None:
        self.coupling = EchoCoupling(RATE_HZ, 20, RATE_HZ)
        self._analysis = BandAnalysis(RATE_HZ)

    def hear(self, far: Samples, near: Samples, *, learn: bool = True) -> list[float]:
        """How far each frame exceeds what is expected."""
        excess = []
        windows = np.concatenate([np.zeros(FRAME, dtype=np.int16), far])
        for start in range(0, len(near) - FRAME + 1, FRAME):
            window = windows[start : start + 2 * FRAME]
            powers = self._analysis.powers(window) if window.any() else None
            excess.append(self.coupling.receive_frame(near[start : start + FRAME], powers))
            if learn:
                self.coupling.learn()
        return excess


def opens(excess: list[float]) -> bool:
    """Whether three frames in a row exceed what is expected, as opens the gate."""
    over = "".join("x" if db >= ECHO_OPEN_MARGIN_DB else "." for db in excess)
    return "xxx" in over


def test_nothing_is_expected_while_nothing_sounds() -> None:
    """A user in a quiet room is never taken for an echo."""
    ear = Ear()
    assert set(ear.hear(np.zeros(RATE_HZ, dtype=np.int16), syllables(1, 1))) == {NO_ECHO}


def test_what_sounded_is_expected_for_the_reach() -> None:
    """After the last sample its echo may still come, and then no more."""
    far = np.concatenate([syllables(0.5, 1), np.zeros(RATE_HZ, dtype=np.int16)])
    excess = Ear().hear(far, noisy(echo_of(far, -10)))
    end = int(np.argmax(np.array(excess[20:]) == NO_ECHO)) + 20
    assert end * 20 == pytest.approx(500 + REACH_MS, abs=60)
    assert set(excess[end:]) == {NO_ECHO}


def test_before_anything_is_learned_an_echo_as_loud_as_the_reply_is_none_of_the_users() -> None:
    """The start value is safe."""
    far = syllables(3, 2)
    ear = Ear()
    assert ear.coupling.coupling_db == pytest.approx(START_COUPLING_DB)
    assert not opens(ear.hear(far, noisy(echo_of(far, 6))))


@pytest.mark.parametrize("coupling_db", [-25.0, -10.0, 0.0])
def test_the_coupling_is_learned_within_seconds(coupling_db: float) -> None:
    """Whatever the volume, and whatever the delay. It is the upper edge of what comes back."""
    far = syllables(8, 3)
    ear = Ear()
    ear.hear(far, noisy(echo_of(far, coupling_db, delay_frames=9)))
    assert coupling_db < ear.coupling.coupling_db < START_COUPLING_DB - 4
    assert ear.coupling.learned_ms == pytest.approx(8000, abs=20)


@pytest.mark.parametrize("coupling_db", [-25.0, -10.0, 0.0, None])
def test_an_interruption_two_seconds_into_the_first_reply_stands_out(
    coupling_db: float | None,
) -> None:
    """So soon most of what was too much is unlearned, also where no echo comes back at all."""
    far, near = syllables(3.5, 4), syllables(1, 5)
    echo = np.zeros(len(far)) if coupling_db is None else echo_of(far, coupling_db)
    echo[2 * RATE_HZ : 3 * RATE_HZ] += near * 10 ** ((6 + (coupling_db or -10)) / 20)
    ear = Ear()
    excess = ear.hear(far, noisy(echo))
    assert not opens(excess[:100])
    assert opens(excess[100:150])


def test_little_is_believed_while_little_is_learned() -> None:
    """The first frames have to stand out more, less so with every frame that was learned from."""
    far = syllables(2 * FIRST_CAUTION_MS / 1000, 3)
    excess = Ear().hear(far, np.zeros(len(far), dtype=np.int16))
    assert excess[0] == -FIRST_CAUTION_DB
    assert -FIRST_CAUTION_DB < excess[FIRST_CAUTION_MS // 40] < 0
    assert excess[-1] == 0


@pytest.mark.parametrize("loudness_db", [12.0, 6.0])
def test_another_voice_stands_out_and_the_echo_does_not(loudness_db: float) -> None:
    """It is seen in the bands and moments that the echo leaves free."""
    far, near = syllables(20, 4), syllables(1, 5)
    echo = echo_of(far, -10)
    ear = Ear()
    learning = 18 * RATE_HZ
    excess = ear.hear(far[:learning], noisy(echo[:learning]))
    assert not opens(excess[250:])
    both = echo[learning:].copy()
    both[RATE_HZ // 2 : RATE_HZ // 2 + len(near)] += near * 10 ** ((loudness_db - 10) / 20)
    excess = ear.hear(far[learning:], noisy(both), learn=False)
    assert opens(excess[25:75])
    assert not opens(excess[:25])


@pytest.mark.parametrize("step_db", [12.0, -12.0])
def test_a_volume_that_was_turned_is_learned_anew(step_db: float) -> None:
    """Within some seconds of speech, up or down."""
    far = syllables(22, 6)
    ear = Ear()
    ear.hear(far[: 12 * RATE_HZ], noisy(echo_of(far[: 12 * RATE_HZ], -15)))
    before = ear.coupling.coupling_db
    rest = far[12 * RATE_HZ :]
    excess = ear.hear(rest, noisy(echo_of(rest, -15 + step_db)))
    assert (ear.coupling.coupling_db - before) / step_db > 0.25
    assert not opens(excess[300:])


def test_a_quiet_voice_over_a_reply_is_hardly_learned() -> None:
    """A second of a voice that did not open the gate raises what is expected by little."""
    far, near = syllables(14, 7), syllables(1, 8)
    ear = Ear()
    both = echo_of(far, -20)
    both[12 * RATE_HZ : 13 * RATE_HZ] += near * 10 ** (-20 / 20)
    heard = noisy(both)
    ear.hear(far[: 12 * RATE_HZ], heard[: 12 * RATE_HZ])
    before = ear.coupling.coupling_db
    ear.hear(far[12 * RATE_HZ : 13 * RATE_HZ], heard[12 * RATE_HZ : 13 * RATE_HZ])
    assert ear.coupling.coupling_db - before < 4


def test_an_own_interruption_raises_what_is_expected_up_to_a_limit() -> None:
    """By 6 dB at once, however often never beyond reason, and learning is fast again."""
    far = syllables(8, 9)
    ear = Ear()
    ear.hear(far, noisy(echo_of(far, -10)))
    before = ear.coupling.coupling_db
    ear.coupling.receive_own_interruption()
    assert ear.coupling.coupling_db == pytest.approx(before + 6)
    assert ear.coupling.learned_ms == 0
    for _ in range(20):
        ear.coupling.receive_own_interruption()
    assert ear.coupling.coupling_db == pytest.approx(HIGHEST_COUPLING_DB)


def test_the_rooms_noise_is_no_voice() -> None:
    """A loud fan that was there before the reply does not stand out of its echo."""
    chance = np.random.default_rng(10)
    fan = (chance.standard_normal(10 * RATE_HZ) * 1000).astype(np.int16)
    far = np.concatenate([np.zeros(8 * RATE_HZ, dtype=np.int16), syllables(2, 11)])
    heard = np.clip(fan + echo_of(far, -30), -32768, 32767).astype(np.int16)
    assert not opens([db for db in Ear().hear(far, heard) if db < NO_ECHO])


def test_bands_end_where_the_lower_rate_does() -> None:
    """A microphone at 8 kHz hears nothing above 4 kHz, whatever is played."""
    assert bands_below(16000, 24000) == 12
    assert bands_below(8000, 24000) == EchoCoupling(8000, 20, 24000).bands == 10
    assert bands_below(16000, 8000) == 10


def test_a_far_end_with_more_bands_is_understood() -> None:
    """What is played at a higher rate than what is recorded has bands that are left out."""
    coupling = EchoCoupling(8000, 20, 24000)
    far = np.full(bands_below(24000), 1000.0)
    assert math.isfinite(coupling.receive_frame(np.zeros(160, dtype=np.int16), far))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
def test_the_power_of_a_tone_is_that_of_its_samples(rate_hz: int) -> None:
    """At every rate the same, so that what is played and what is heard can be compared."""
    analysis = BandAnalysis(rate_hz)
    t = np.arange(analysis.samples) / rate_hz
    powers = analysis.powers((10000 * np.sin(2 * np.pi * 1400 * t)).astype(np.int16))
    assert powers.argmax() == 5
    assert powers.sum() == pytest.approx(10000**2 / 2, rel=0.02)
