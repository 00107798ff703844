"""How loud the device hears itself, pure: what sounds and what is heard in, how far it differs out.

Echo is not loudness alone: a user who is as loud as the reply is no louder than its echo. But a
voice leaves most of time and frequency empty, and another voice fills other places. So sound is
taken apart into bands, and for each band and each delay up to `REACH_MS` the share that comes
back is learned: delay, room and loudspeaker are in those shares, and nothing has to be known of
them. What is expected in a band is the sum over the delays, and the noise of the room.

The shares are learned as factors, in dB: each takes the part of the error that it is to blame
for. So they stay positive, and are moved little by a frame that is wrong. At first the blame of
many shares adds up to all of the error: they go from 12 dB too much to what is right within the
first two seconds of speech.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slng_edge.pcm import Samples

Powers = NDArray[np.float64]
"""Mean square of the samples of a frame, by band."""

BAND_EDGES_HZ = (100, 300, 500, 700, 950, 1250, 1600, 2000, 2500, 3100, 3900, 5000, 6500)
"""Where the bands begin and end: about as wide as the ear's above 500 Hz. A window has eight
bins in each of them at least."""

NO_ECHO = math.inf
"""What `EchoCoupling.receive_frame` says while nothing sounds."""

WINDOW_MS = 40
"""Sound that is looked at for each frame: two of 20 ms. The windows of two frames overlap, so
that a click at the seam of two frames is as loud as one in the middle. In a quiet room three
frames of echo exceeded by 8.8 dB what windows of one frame expected, by 6.3 with these."""

REACH_MS = 500
"""Longest time from a sample's sounding to the last of its echo that matters: device latencies
that nobody told of (two Pulse devices: 110 ms), and the room."""

START_COUPLING_DB = 12.0
"""Taken until more is known: a microphone whose amplifier is turned up hears a speaker louder
than it was played. What is too high costs an interruption in the first seconds; what is too low
makes the device interrupt itself."""

HIGHEST_EXCESS_DB = 15.0
"""What one band can add: a door, a click or an echo of the unforeseen is not a voice because it
is loud in one place."""

LEARNING_RATE = 0.03
"""Share of the error that one frame corrects, once the room is known."""
FIRST_LEARNING_RATE = 0.3
"""The same at the beginning, and after the device has interrupted itself."""
LARGEST_RATE = 0.5
"""More than this of one frame's error would overshoot."""
SETTLING_MS = 1000
"""Echo after which the rate has fallen to half of the first one."""
FIRST_LEARNING_MS = 5000
"""Until then an error is corrected as a whole, where many shares are to blame for it; later each
share by its own part, which is slower and surer. Without it 4 of 24 interruptions were noticed
two seconds after the first word of the first reply, whether echo came back or not; with it 22
and 24 (simulated rooms, -10 dB of coupling and none, equal loudness)."""
FIRST_CAUTION_DB = 1.5
"""What a frame has to exceed more than is expected by in the first moment of that: it falls to
nothing within `FIRST_CAUTION_MS`. Without it 2 of 320 replies of 12 s, the first of their device,
were interrupted by their own echo; with it none. With 3 dB 6 of 24 interruptions were noticed
after one second instead of 15."""
FIRST_CAUTION_MS = 2000
UPWARD = 8.0
"""Too little is expected: learned so many times faster than too much. It is the upper edge of
what may come back that counts, not its middle. In four rooms (flite, 5 min each) three frames in
a row exceeded it by up to 5.8 dB with 2, by 3.9 with 4, by 2.7 with 8; at equal loudness 145 of
160 interruptions exceed 3.5 dB with 8, 138 exceed 4.5 with 4, 115 exceed 6 with 2."""
LARGEST_RISE_DB = 6.0
LARGEST_FALL_DB = 12.0
"""An error is taken for no larger than this: one frame proves little."""
DOUBTED_SHARE = 0.25
"""What is learned upward from a frame that differs as a voice does: it may be one."""
DOUBTED_FROM_DB = 2.5
"""Difference from which a frame is doubted."""
NOISE_RISE_DB_PER_S = 5.0
NOISE_FALL_DB_PER_S = 100.0
"""The room's own noise follows the gaps of speech: down at once, up in its own time."""
NOISE_EVERY_MS = 100
"""While nothing sounds so often is enough."""
NOISE_TOGETHER = 20
"""So many of these are learned from at once, or when something sounds: numpy costs by the call. One
by one they were 30 % of what a silent frame takes (callgrind)."""
OWN_INTERRUPTION_DB = 6.0
"""Raised by so much when an interruption turns out to have been the device's own."""
HIGHEST_COUPLING_DB = 40.0
"""Nothing is expected to come back louder than this against what was played."""

_LEAST_SHARE = 1e-4
"""Of all shares of a band: one that is nought could never grow again."""
_LEAST_POWER = 1.0
_LN_PER_DB = math.log(10.0) / 10.0

_sum = np.add.reduce
"""Over the first axis. The methods of arrays, and `np.clip`, are Python around this: half of what
learning took, fifty times a second."""


class BandAnalysis:
    """Takes sound of one rate apart, `WINDOW_MS` at a time; one thread.

    Args:
        rate_hz: Its rate.
        bands: How many of the lowest bands to tell; as many as the rate has where None.
    """

    def __init__(self, rate_hz: int, bands: int | None = None) -> None:
        self.samples = rate_hz * WINDOW_MS // 1000
        self.bands = bands_below(rate_hz) if bands is None else bands
        window = np.hanning(self.samples + 1)[: self.samples]
        scale = 2.0 / (self.samples * float(np.sum(window**2)))
        self._window = window * math.sqrt(scale)
        bins = np.searchsorted(
            np.fft.rfftfreq(self.samples, 1.0 / rate_hz), BAND_EDGES_HZ[: self.bands + 1]
        )
        self._first, self._end = bins[:-1], int(bins[-1])

    def powers(self, samples: Samples) -> Powers:
        """Mean square of `samples` (int16, as many as `self.samples`) in each band.

        Of several such pieces, one a row, it gives as many rows.
        """
        spectrum = np.fft.rfft(samples * self._window)[..., : self._end]
        power = spectrum.real**2 + spectrum.imag**2
        result: Powers = np.add.reduceat(power, self._first, axis=-1)
        return result


def bands_below(*rates_hz: int) -> int:
    """How many bands all of these rates have."""
    return sum(edge * 2 <= min(rates_hz) for edge in BAND_EDGES_HZ[1:])


class EchoCoupling:
    """Knows what the device hears of itself. One thread: the one that reads the microphone.

    For each frame of the microphone, in order:

        over_echo_db = coupling.receive_frame(frame, far_end.powers(now))
        events = gate.receive_frame(frame, onset, over_echo_db)
        if not gate.speaking:
            coupling.learn()

    Args:
        rate_hz: Rate of the microphone's frames.
        frame_ms: Their length.
        far_rate_hz: Rate of what is played; only bands that both have are looked at.
    """

    def __init__(self, rate_hz: int, frame_ms: int, far_rate_hz: int) -> None:
        self.bands = bands_below(rate_hz, far_rate_hz)
        self._analysis = BandAnalysis(rate_hz, self.bands)
        self._frame_ms = frame_ms
        delays = -(-REACH_MS // frame_ms)
        self._far = np.zeros((delays, self.bands))
        start = 10.0 ** (START_COUPLING_DB / 10.0) / delays
        self._shares = np.full((delays, self.bands), start)
        self._noise = np.full(self.bands, 100.0)
        self._sounding_frames = 0
        self._noise_frames = NOISE_EVERY_MS // frame_ms
        self._frames_to_noise = 1
        self._quiet: list[tuple[Samples, ...]] = []
        self._learned_ms = 0.0
        frames = -(-WINDOW_MS // frame_ms)
        silence: Samples = np.zeros(rate_hz * frame_ms // 1000, dtype=np.int16)
        self._heard = deque([silence] * frames, maxlen=frames)
        self._over_db = NO_ECHO
        # Nobody reads these before the first frame while something sounds has set them.
        self._echoes: Powers
        self._expected: Powers
        self._error_db: Powers

    @property
    def coupling_db(self) -> float:
        """Level of the echo against what is played, as learned: the mean of the bands, in dB."""
        return float(np.mean(10.0 * np.log10(self._shares.sum(axis=0))))

    @property
    def learned_ms(self) -> float:
        """Sound that was learned from since the start or the last `receive_own_interruption`."""
        return self._learned_ms

    def receive_frame(self, frame: Samples, far: Powers | None) -> float:
        """Take the next frame of the microphone, and what sounded while it was recorded.

        Args:
            frame: int16, `frame_ms` long. It is kept, not copied.
            far: What sounds, by band (`FarEnd.powers`); None where nothing does. Bands that
                the microphone does not have are left out.

        Returns:
            How far the frame exceeds the echo that is expected: the mean over the bands, in
            dB, of what each is above it, at most 15; up to 1.5 less while little is learned;
            `NO_ECHO` while nothing has sounded for `REACH_MS`.
        """
        self._heard.append(frame)
        if far is not None:
            self._sounding_frames = len(self._far)
        elif self._sounding_frames:
            self._sounding_frames -= 1
        else:
            self._over_db = NO_ECHO
            return NO_ECHO
        self._learn_noise()
        self._far[1:] = self._far[:-1]
        self._far[0] = 0.0 if far is None else far[: self.bands]
        near = self._analysis.powers(self._window(self._heard)) + _LEAST_POWER
        self._echoes = self._shares * self._far
        self._expected = _sum(self._echoes) + self._noise
        self._error_db = 10.0 * np.log10(near / self._expected)
        self._over_db = float(_sum(_limited(self._error_db, 0.0, HIGHEST_EXCESS_DB))) / self.bands
        unlearned = max(0.0, 1.0 - self._learned_ms / FIRST_CAUTION_MS)
        return self._over_db - FIRST_CAUTION_DB * unlearned

    def learn(self) -> None:
        """Learn from the last frame: nobody is judged to speak."""
        if self._over_db < NO_ECHO:
            self._learn_echo()
            return
        self._frames_to_noise -= 1
        if not self._frames_to_noise:
            self._frames_to_noise = self._noise_frames
            self._quiet.append(tuple(self._heard))
            if len(self._quiet) == NOISE_TOGETHER:
                self._learn_noise()

    def receive_own_interruption(self) -> None:
        """The last interruption was the device's own: expect more, and learn fast again."""
        highest = 10.0 ** ((HIGHEST_COUPLING_DB - OWN_INTERRUPTION_DB) / 10.0)
        self._shares *= np.minimum(1.0, highest / self._shares.sum(axis=0))
        self._shares *= 10.0 ** (OWN_INTERRUPTION_DB / 10.0)
        self._learned_ms = 0.0

    def _window(self, heard: Sequence[Samples]) -> Samples:
        window: Samples = np.concatenate(heard)[-self._analysis.samples :]
        return window

    def _learn_noise(self) -> None:
        """Learn from what was heard while nothing sounded, in order."""
        if not self._quiet:
            return
        windows = np.array([self._window(heard) for heard in self._quiet])
        self._quiet.clear()
        rise_db, fall_db = _noise_steps_db(self._frame_ms * self._noise_frames)
        noise_db = 10.0 * np.log10(self._noise)
        for near_db in 10.0 * np.log10(self._analysis.powers(windows) + _LEAST_POWER):
            noise_db = noise_db + _limited(near_db - noise_db, -fall_db, rise_db)
        self._noise = np.exp(_LN_PER_DB * noise_db)

    def _learn_echo(self) -> None:
        self._learned_ms += self._frame_ms
        first_rate = FIRST_LEARNING_RATE / (1.0 + self._learned_ms / SETTLING_MS)
        rate = max(LEARNING_RATE, first_rate) * self._frame_ms / 20.0
        upward = rate * UPWARD * (DOUBTED_SHARE if self._over_db > DOUBTED_FROM_DB else 1.0)
        error_db = _limited(self._error_db, -LARGEST_FALL_DB, LARGEST_RISE_DB)
        step_db = error_db * np.where(error_db > 0.0, min(upward, LARGEST_RATE), rate)
        blame, blame_of_noise = self._echoes / self._expected, self._noise / self._expected
        # With `blame / together` as its part of a step each, all of them make the whole step.
        together = _sum(blame * blame) + blame_of_noise * blame_of_noise
        part = blame / np.maximum(together, min(1.0, self._learned_ms / FIRST_LEARNING_MS))
        self._shares *= np.exp(_LN_PER_DB * step_db * part)
        np.maximum(self._shares, _LEAST_SHARE * _sum(self._shares), out=self._shares)
        self._move_noise(step_db * blame_of_noise)

    def _move_noise(self, step_db: Powers) -> None:
        rise_db, fall_db = _noise_steps_db(self._frame_ms)
        self._noise = self._noise * np.exp(_LN_PER_DB * _limited(step_db, -fall_db, rise_db))
        np.maximum(self._noise, _LEAST_POWER, out=self._noise)


def _limited(values: Powers, least: float, most: float) -> Powers:
    limited: Powers = np.minimum(np.maximum(values, least), most)
    return limited


def _noise_steps_db(ms: float) -> tuple[float, float]:
    """How far the noise may rise, and fall, in `ms`."""
    return NOISE_RISE_DB_PER_S * ms / 1000, NOISE_FALL_DB_PER_S * ms / 1000
