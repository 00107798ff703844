"""How loud the device hears itself, learned from noise that changes as speech does."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable

import numpy as np
import pytest

from slng_edge.listening import echo_coupling as figures
from slng_edge.listening.echo_coupling import (
    FIRST_CAUTION_DB,
    FIRST_CAUTION_MS,
    HIGHEST_COUPLING_DB,
    HIGHEST_EXCESS_DB,
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


class ByHand:
    """The same estimate once more, slowly: a number at a time, and shares and noise in dB.

    Takes the powers of what is heard, where `EchoCoupling` takes its samples.
    """

    def __init__(self, bands: int, frame_ms: int) -> None:
        self.bands = range(bands)
        self.frame_ms = frame_ms
        self.delays = range(math.ceil(REACH_MS / frame_ms))
        start_db = START_COUPLING_DB - 10 * math.log10(len(self.delays))
        self.shares_db = [[start_db] * len(self.delays) for _ in self.bands]
        self.noise_db = [20.0] * bands
        self.played: list[list[float] | None] = [None] * len(self.delays)
        self.learned_ms = 0.0
        self.silent_frames = 0
        self.floored = 0

    def coupling_db(self) -> float:
        return sum(map(sum_db, self.shares_db)) / len(self.bands)

    def receive_powers(self, near: list[float], far: list[float] | None) -> float:
        self.near_db = [in_db(power + 1.0) for power in near]
        self.echoes = bool(far) or any(self.played)
        self.played = [far, *self.played[:-1]]
        if not self.echoes:
            return NO_ECHO
        self.expected_db = [sum_db([*self.echo_db(b), self.noise_db[b]]) for b in self.bands]
        excess = [self.near_db[b] - self.expected_db[b] for b in self.bands]
        self.over_db = sum(min(max(db, 0.0), HIGHEST_EXCESS_DB) for db in excess) / len(excess)
        to_learn = max(0.0, 1 - self.learned_ms / FIRST_CAUTION_MS)
        return self.over_db - to_learn * FIRST_CAUTION_DB

    def echo_db(self, band: int) -> list[float]:
        return [
            share + (in_db(far[band]) if far else -math.inf)
            for share, far in zip(self.shares_db[band], self.played, strict=True)
        ]

    def learn(self) -> None:
        if self.echoes:
            self.learn_echo()
            return
        every = figures.NOISE_EVERY_MS // self.frame_ms
        if self.silent_frames % every == 0:
            for band in self.bands:
                away_db = self.near_db[band] - self.noise_db[band]
                self.move_noise(band, away_db, every * self.frame_ms / 1000)
        self.silent_frames += 1

    def receive_own_interruption(self) -> None:
        for band, shares in enumerate(self.shares_db):
            rise = min(figures.OWN_INTERRUPTION_DB, HIGHEST_COUPLING_DB - sum_db(shares))
            self.shares_db[band] = [share + rise for share in shares]
        self.learned_ms = 0.0

    def learn_echo(self) -> None:
        self.learned_ms += self.frame_ms
        rate = figures.FIRST_LEARNING_RATE / (1 + self.learned_ms / figures.SETTLING_MS)
        down = max(rate, figures.LEARNING_RATE) * (self.frame_ms / 20)
        up = down * figures.UPWARD
        if self.over_db > figures.DOUBTED_FROM_DB:
            up *= figures.DOUBTED_SHARE
        up = min(up, figures.LARGEST_RATE)
        for band in self.bands:
            away_db = self.near_db[band] - self.expected_db[band]
            if away_db > 0:
                step_db = min(away_db, figures.LARGEST_RISE_DB) * up
            else:
                step_db = max(away_db, -figures.LARGEST_FALL_DB) * down
            blames = [power(db - self.expected_db[band]) for db in self.echo_db(band)]
            blame_of_noise = power(self.noise_db[band] - self.expected_db[band])
            squares = sum(blame * blame for blame in [*blames, blame_of_noise])
            sure = min(self.learned_ms / figures.FIRST_LEARNING_MS, 1.0)
            shares = self.shares_db[band]
            for delay, blame in enumerate(blames):
                shares[delay] += step_db * blame / max(squares, sure)
            least = sum_db(shares) - 40
            self.floored += sum(share < least for share in shares)
            self.shares_db[band] = [max(share, least) for share in shares]
            self.move_noise(band, step_db * blame_of_noise, self.frame_ms / 1000)

    def move_noise(self, band: int, step_db: float, seconds: float) -> None:
        rise, fall = figures.NOISE_RISE_DB_PER_S, figures.NOISE_FALL_DB_PER_S
        step_db = min(max(step_db, -fall * seconds), rise * seconds)
        self.noise_db[band] = max(0.0, self.noise_db[band] + step_db)


def in_db(of: float) -> float:
    return 10 * math.log10(of)


def power(db: float) -> float:
    return math.pow(10, db / 10)


def sum_db(levels_db: Iterable[float]) -> float:
    return in_db(sum(map(power, levels_db)))


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


SELDOM = 9
"""So many frames from one that is played to the next."""


@pytest.mark.parametrize(("frame_ms", "far_rate_hz"), [(20, 24000), (30, 8000)])
def test_what_is_expected_is_that_of_the_plain_calculation(frame_ms: int, far_rate_hz: int) -> None:
    """Frame by frame: noise of a room, replies, a voice over them, a deaf microphone, silence."""
    coupling = EchoCoupling(RATE_HZ, frame_ms, far_rate_hz)
    by_hand = ByHand(coupling.bands, frame_ms)
    analysis = BandAnalysis(RATE_HZ, coupling.bands)
    chance = np.random.default_rng(frame_ms)
    size = RATE_HZ * frame_ms // 1000
    heard = np.zeros(analysis.samples, dtype=np.int16)
    number = 0
    # How many frames; how loud the room is; every how many of them something is played; at what
    # level. What is played seldom comes back after two frames, far louder, and at times interrupts
    # the device: the shares of these delays grow, until the others are the least there may be.
    for frames, near_rms, every, far_db in (
        (3, 40, 1, 20),
        (48, 40, 0, 0),
        (110, 9000, SELDOM, 5),
        (60, 0, 1, 30),
        (50, 300, 1, 50),
        (60, 9000, 2, 40),
        (80, 0, 8, 90),
        (40, 0, 0, 0),
        (30, 3, 1, 10),
    ):
        for _ in range(frames):
            number += 1
            rms = near_rms if every < SELDOM or number % every == 2 else 0
            frame = (chance.standard_normal(size) * rms).astype(np.int16)
            heard = np.concatenate([heard, frame])[-analysis.samples :]
            far = None
            if every and number % every == 0:
                far = 10 ** ((far_db + chance.uniform(-6, 6, bands_below(far_rate_hz))) / 10)
            excess = coupling.receive_frame(frame, far)
            powers = list(analysis.powers(heard))
            plain_far = None if far is None else list(far)
            assert excess == pytest.approx(by_hand.receive_powers(powers, plain_far), abs=1e-8)
            coupling.learn()
            by_hand.learn()
            if every == SELDOM and number % 45 == 0:
                coupling.receive_own_interruption()
                by_hand.receive_own_interruption()
            assert coupling.coupling_db == pytest.approx(by_hand.coupling_db(), abs=1e-8)
    assert coupling.learned_ms == by_hand.learned_ms
    assert by_hand.floored, "no share came down to the least one"


def test_a_band_exceeds_what_is_expected_by_so_much_at_most() -> None:
    """A bang is no more of a voice than a voice is."""
    loud = (np.random.default_rng(1).standard_normal(FRAME) * 8000).astype(np.int16)
    coupling = EchoCoupling(RATE_HZ, 20, RATE_HZ)
    excess = coupling.receive_frame(loud, np.ones(coupling.bands))
    assert excess == HIGHEST_EXCESS_DB - FIRST_CAUTION_DB


def test_silence_teaches_nothing_of_the_echo() -> None:
    """Nor does to learn before the first frame has come."""
    ear = Ear()
    ear.coupling.learn()
    ear.hear(np.zeros(RATE_HZ, dtype=np.int16), syllables(1, 1))
    assert ear.coupling.learned_ms == 0
    assert ear.coupling.coupling_db == pytest.approx(START_COUPLING_DB)


def test_no_frame_is_kept_longer_than_it_is_looked_at() -> None:
    """A device listens for months."""
    coupling = EchoCoupling(RATE_HZ, 20, RATE_HZ)
    frames = [np.zeros(FRAME, dtype=np.int16) for _ in range(3)]
    kept = weakref.ref(frames[0])
    while frames:
        coupling.receive_frame(frames.pop(0), None)
    assert kept() is None


def test_bands_end_where_the_lower_rate_does() -> None:
    """A microphone at 8 kHz hears nothing above 4 kHz, whatever is played."""
    assert bands_below(16000, 24000) == 12
    assert bands_below(8000, 24000) == EchoCoupling(8000, 20, 24000).bands == 10
    assert bands_below(16000, 8000) == 10
    assert bands_below(13000) == 12  # the last one ends just there


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


def test_a_tone_on_the_edge_of_two_bands_is_shared_between_them() -> None:
    """A sixth of its power lies below its own frequency, and nothing is spilled elsewhere."""
    analysis = BandAnalysis(8000)
    tone = np.tile(np.array([8000, 0, -8000, 0], dtype=np.int16), analysis.samples // 4)
    powers = analysis.powers(tone)
    assert powers[6:8] == pytest.approx([8000**2 / 12, 8000**2 * 5 / 12])
    powers[6:8] = 0
    assert powers.max() < 1e-6


def test_no_more_bands_are_told_than_are_asked_for() -> None:
    """As many as the other side has."""
    tone = (1000 * np.sin(np.arange(640) / 3)).astype(np.int16)
    few, all_of_them = BandAnalysis(RATE_HZ, 10), BandAnalysis(RATE_HZ)
    assert few.bands == 10
    assert few.powers(tone) == pytest.approx(all_of_them.powers(tone)[:10])
