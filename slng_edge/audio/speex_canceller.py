"""The echo canceller of libspeexdsp, through ctypes; Debian's package is libspeexdsp1.

Its filter is as long as the room sounds, and knows nothing of delays before that: those are found
here. Twice a second what was played and what was heard are correlated, all frequencies counting the
same (GCC-PHAT, Knapp and Carter 1976), and the far end is held back by the delay that is found.
The preprocessor then takes out what the filter has left; its noise suppression is off.
"""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from slng_edge.errors import MissingLibrary
from slng_edge.pcm import Samples

INSTALL = "sudo apt-get install libspeexdsp1"

TAIL_S = 0.128
"""Length of the filter."""
MOST_DELAY_S = 0.5
"""Longest hidden delay that is found: Bluetooth has 0.1 to 0.3 s."""

_INTO_FILTER_S = 0.010
"""Where the strongest path is put in the filter: some sound may come before it."""
_FILTER_RANGE_S = (0.002, 0.050)
"""Where it may lie. Elsewhere the far end is held back anew, and the filter starts again."""
_SLIP_S = 0.002
"""A change of the delay by more is none of the room: a device ran dry, or lost samples. The far
end is then held back by so much more or less, and what the filter has learned stays right."""
_CLEAR = 6.0
"""How far the peak has to stand out from the mean of all delays."""
_WINDOW_S = 0.5
_BAND_HZ = (200, 3800)
_QUIET = 0.1
"""Frequencies that are quieter than this part of the mean count less: they are noise."""
_FORGET = 0.6

# speex_echo.h and speex_preprocess.h
_ECHO_SET_SAMPLING_RATE = 24
_PREPROCESS_SET_NOISE_SUPPRESS = 18
_PREPROCESS_SET_ECHO_SUPPRESS = 20
_PREPROCESS_SET_ECHO_SUPPRESS_ACTIVE = 22
_PREPROCESS_SET_ECHO_STATE = 24

SUPPRESS_DB = -40
"""How much of the residual echo may be taken while nobody speaks (speex's own default)."""
SUPPRESS_ACTIVE_DB = -15
"""The same while somebody does; the default, too."""
SUPPRESS_NOISE_DB = 0
"""Noise is left. Switching the denoiser off would switch off what suppresses echo, too."""


class DelayFinder:
    """How much later the far end is in the near end than it was played. One thread.

    Costs 1 ms a second at 16 kHz.

    Args:
        rate_hz: Rate of both.
    """

    def __init__(self, rate_hz: int) -> None:
        self._most = int(MOST_DELAY_S * rate_hz)
        self._window = int(_WINDOW_S * rate_hz)
        self._size = 1 << (self._window + self._most - 1).bit_length()
        per_hz = self._size / rate_hz
        self._band = slice(int(_BAND_HZ[0] * per_hz), int(_BAND_HZ[1] * per_hz))
        self._near: Samples = np.zeros(self._window, dtype=np.int16)
        self._far: Samples = np.zeros(self._window + self._most, dtype=np.int16)
        self._filled = 0
        self._cross: NDArray[np.complex128] = np.zeros(self._size // 2 + 1, dtype=np.complex128)

    def receive(self, near: Samples, far: Samples) -> int | None:
        """Take 10 ms of both; the delay in samples, twice a second where there is a clear one."""
        end = self._filled + len(near)
        self._near[self._filled : end] = near
        self._far[self._most + self._filled : self._most + end] = far
        self._filled = end
        if end + len(near) <= self._window:
            return None
        found = self._find()
        self._far[: self._most] = self._far[end : end + self._most]
        self._filled = 0
        return found

    def _find(self) -> int | None:
        if not self._far.any():
            return None
        near = np.fft.rfft(self._near, self._size)
        far = np.fft.rfft(self._far, self._size)
        cross = near * np.conj(far)
        cross[: self._band.start] = cross[self._band.stop :] = 0  # nothing of speech there
        size = np.abs(cross)
        self._cross = _FORGET * self._cross + cross / (size + _QUIET * float(size.mean()) + 1.0)
        correlation = np.abs(np.fft.irfft(self._cross, self._size))
        # `far` begins `most` samples before `near`: index -most + delay, taken round the end.
        ahead = np.concatenate((correlation[-self._most :], correlation[:1]))
        at = int(np.argmax(ahead))
        if ahead[at] < _CLEAR * float(ahead.mean()):
            return None
        return at


class SpeexCanceller:
    """Implements `Canceller`. One thread.

    Args:
        rate_hz: Any multiple of 100.
        suppress: Whether residual echo is suppressed after the filter.

    Raises:
        MissingLibrary: libspeexdsp is not installed.
    """

    kind = "speex"

    def __init__(self, rate_hz: int, *, tail_s: float = TAIL_S, suppress: bool = True) -> None:
        self._library = library = _load()
        step = rate_hz // 100
        self._rate_hz = rate_hz
        self.latency_samples = step if suppress else 0
        self._echo = ctypes.c_void_p(library.speex_echo_state_init(step, int(rate_hz * tail_s)))
        _set(library.speex_echo_ctl, self._echo, _ECHO_SET_SAMPLING_RATE, rate_hz)
        self._preprocess: ctypes.c_void_p | None = None
        if suppress:
            self._preprocess = preprocess = ctypes.c_void_p(
                library.speex_preprocess_state_init(step, rate_hz)
            )
            control = library.speex_preprocess_ctl
            _set(control, preprocess, _PREPROCESS_SET_NOISE_SUPPRESS, SUPPRESS_NOISE_DB)
            _set(control, preprocess, _PREPROCESS_SET_ECHO_SUPPRESS, SUPPRESS_DB)
            _set(control, preprocess, _PREPROCESS_SET_ECHO_SUPPRESS_ACTIVE, SUPPRESS_ACTIVE_DB)
            control(preprocess, _PREPROCESS_SET_ECHO_STATE, self._echo)
        self._finder = DelayFinder(rate_hz)
        self._delay = 0
        self._found = self._settled = 0
        self._most_delay = int(MOST_DELAY_S * rate_hz)
        self._far_past: Samples = np.zeros(int(MOST_DELAY_S * rate_hz) + step, dtype=np.int16)
        self._near: Samples = np.zeros(step, dtype=np.int16)
        self._far: Samples = np.zeros(step, dtype=np.int16)
        self._out: Samples = np.zeros(step, dtype=np.int16)
        self._addresses = [
            ctypes.c_void_p(array.ctypes.data) for array in (self._near, self._far, self._out)
        ]

    @property
    def delay_s(self) -> float:
        """By how much the far end is held back."""
        return self._delay / self._rate_hz

    def cancel(self, near: Samples, far: Samples) -> Samples:
        """See `Canceller`. The array is used again by the next call."""
        step = len(self._near)
        self._follow(self._finder.receive(near, far))
        past = self._far_past
        past[:-step] = past[step:]
        past[-step:] = far
        self._near[:] = near
        begin = len(past) - step - self._delay
        self._far[:] = past[begin : begin + step]
        self._library.speex_echo_cancellation(self._echo, *self._addresses)
        if self._preprocess is not None:
            self._library.speex_preprocess_run(self._preprocess, self._addresses[2])
        return self._out

    def close(self) -> None:
        """See `Canceller`."""
        if self._preprocess is not None:
            self._library.speex_preprocess_state_destroy(self._preprocess)
        self._library.speex_echo_state_destroy(self._echo)

    def _follow(self, found: int | None) -> None:
        """Hold the far end back by what the filter does not reach."""
        if found is None:
            return
        before, self._found = self._found, found
        if abs(found - before) > _SLIP_S * self._rate_hz:
            return  # to be believed when it is found twice
        moved = found - self._settled
        if self._settled and abs(moved) > _SLIP_S * self._rate_hz:
            self._delay = min(max(0, self._delay + moved), self._most_delay)
        self._settled = found
        lowest, highest = (bound * self._rate_hz for bound in _FILTER_RANGE_S)
        if found - self._delay > highest or (self._delay and found - self._delay < lowest):
            self._delay = max(0, found - int(_INTO_FILTER_S * self._rate_hz))
            self._library.speex_echo_state_reset(self._echo)


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libspeexdsp.so.1")
    except OSError as error:
        raise MissingLibrary("libspeexdsp", 'audio.echo_cancel = "speex"', INSTALL) from error
    library.speex_echo_state_init.restype = ctypes.c_void_p
    library.speex_preprocess_state_init.restype = ctypes.c_void_p
    return library


def _set(control: ctypes._NamedFuncPointer, state: ctypes.c_void_p, what: int, value: int) -> None:
    number = ctypes.c_int(value)
    control(state, what, ctypes.byref(number))
