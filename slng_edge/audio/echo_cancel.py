"""The device's own sound taken out of what the microphone hears: alignment, and the choice.

A canceller is given 10 ms of microphone and the 10 ms of loudspeaker that belong to it. Which
these are is decided here. The speaker's blocks are counted, and so are the microphone's frames;
when each of the two streams began follows from the times that come with them. Far sample
`near index + shift` is then what sounded while the microphone heard sample `near index`. `shift`
stays as it is for as long as it can: with every change the canceller has to learn the room anew.
Delays that no time tells of (sound servers, Bluetooth, the room) are left to the cancellers.

Nothing is computed while nothing sounds.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from slng_edge.audio.echo_sources import is_echo_cancelled
from slng_edge.audio.resampling import Resampler
from slng_edge.config import Config
from slng_edge.errors import MissingLibrary
from slng_edge.pcm import Samples

log = logging.getLogger(__name__)

KEEP_S = 1.0
"""How long after the last sound frames are still processed: hidden delay and room together."""

_QUEUE_BLOCKS = 256
_AHEAD_S = 0.1
"""How much newer than it should be what is paired may get before the streams are put together
anew: the speaker ran dry, and its sound comes later. Cancellers find that by themselves."""
_BEHIND_S = 0.015
"""How much older: the microphone lost samples. There is no echo of what is still to come."""
_FAR_WINDOW_S = 0.2
"""Playback says when a block sounds, which does not depend on when it says so; the microphone's
times are those at which a thread had its turn."""
_LATE_S = 0.1
"""Far sound that comes later than this is not late: playback has stopped."""
_PRIMING = 2
"""10 ms steps that fill a canceller's buffers after a pause: as much as any holds back."""
_NOTHING: Samples = np.empty(0, dtype=np.int16)


class Canceller(Protocol):
    """What takes the echo out, 10 ms at a time. One thread, but for `close`.

    Attributes:
        kind: "apm" or "speex".
        latency_samples: How much later than the microphone its output is.
    """

    kind: str
    latency_samples: int

    def cancel(self, near: Samples, far: Samples) -> Samples:
        """`near` without what `far` left in it; all three 10 ms long."""

    def close(self) -> None:
        """Give the library's memory back; no call follows."""


class StreamClock:
    """When sample 0 of a stream was, as the moments at which its samples came tell it.

    They may come late, never early; so the earliest counts. It may creep up by 1 ms a second,
    more than crystals differ; a stream that is late for a whole window has a gap. One thread.

    Args:
        rate_hz: Rate of the samples.
        window_s: How long they may be late and still come to be in time again.

    Attributes:
        origin_s: `time.monotonic()` of sample 0; infinite before the first sample.
        count: Samples so far.
    """

    _CREEP = 0.001
    _GAP_S = 0.03

    def __init__(self, rate_hz: int, window_s: float = 1.0) -> None:
        self.origin_s = float("inf")
        self.count = 0
        self._rate_hz = rate_hz
        self._window_samples = int(rate_hz * window_s)
        self._creep_s = self._CREEP * window_s
        self._window = 0
        self._least_s = float("inf")

    def receive(self, samples: int, at: float) -> None:
        """Count `samples`, the first of which was at `at` or earlier."""
        origin_s = at - self.count / self._rate_hz
        self.count += samples
        self._window += samples
        self._least_s = min(self._least_s, origin_s)
        self.origin_s = min(self.origin_s, origin_s)
        if origin_s > self.origin_s + 1.0:
            self.origin_s = origin_s
            self._window = self._window_samples
        if self._window < self._window_samples:
            return
        if self._least_s > self.origin_s + self._GAP_S:
            self.origin_s = self._least_s
        else:
            self.origin_s = min(self._least_s, self.origin_s + self._creep_s)
        self._window = 0
        self._least_s = float("inf")


class EchoCanceller:
    """Takes the device's own sound out of microphone frames.

    `receive_far` belongs to the playback thread, `process` to the capture thread; they share a
    bounded queue without a lock and never wait for each other.

    Args:
        canceller: What does it.
        rate_hz: Rate of the microphone's frames; a multiple of 100.
        far_rate_hz: Rate of the speaker's blocks.

    Attributes:
        kind: "apm" or "speex".
        realignments: Times that the streams were put together anew while both ran.
        active: Whether the last frame was processed, because something sounds or sounded just now.

    Raises:
        MissingLibrary: the rates differ, and soxr is not installed.
    """

    def __init__(self, canceller: Canceller, *, rate_hz: int, far_rate_hz: int) -> None:
        self.kind = canceller.kind
        self.realignments = 0
        self.active = False
        self._canceller: Canceller | None = canceller
        self._lock = threading.Lock()  # `close` against `process` only
        self._rate_hz, self._far_rate_hz = rate_hz, far_rate_hz
        self._step = rate_hz // 100
        self._near_clock = StreamClock(rate_hz)
        self._far_clock = StreamClock(far_rate_hz, _FAR_WINDOW_S)
        self._queue: deque[tuple[int, Samples]] = deque(maxlen=_QUEUE_BLOCKS)
        self._quiet = True
        self._keep_until = 0
        self._resampler = Resampler(far_rate_hz, rate_hz)
        self._next_index = -1
        self._far = _NOTHING
        self._far_start = 0
        self._shift: int | None = None
        self._slack = 0
        self._missing = 0
        past = max(_PRIMING * self._step, canceller.latency_samples)
        self._past: Samples = np.zeros(past, dtype=np.int16)

    def receive_far(self, block: Samples, at: float) -> None:
        """Take what the speaker sounds; playback thread; quick, copies what it keeps.

        Args:
            block: Any number of samples at `far_rate_hz`, silence included, without a gap.
            at: `time.monotonic()` at which the first of them sounds.
        """
        index = self._far_clock.count
        self._far_clock.receive(len(block), at)
        if block.any():
            self._keep_until = index + len(block) + int(KEEP_S * self._far_rate_hz)
        self._quiet = index >= self._keep_until
        if not self._quiet:
            self._queue.append((index, block.copy()))

    def process(self, frame: Samples, at: float) -> Samples:
        """`frame` without the echo; capture thread.

        What comes out is as long as `frame` and up to 11 ms older (the canceller's latency), always
        by the same: a pause in which nothing sounds leaves no seam.

        Args:
            frame: A multiple of 10 ms of microphone.
            at: `time.monotonic()` until which it was captured; later is fine, also two at once.
        """
        start = self._near_clock.count
        self._near_clock.receive(len(frame), at - len(frame) / self._rate_hz)
        with self._lock:
            if self._canceller is None:
                return frame
            if not self._sounds():
                self.active = False
                return self._pass(frame)
            if not self.active:
                self.active = True
                self._prime(self._canceller)
            self._align()
            cleaned = np.empty_like(frame)
            for begin in range(0, len(frame), self._step):
                near = frame[begin : begin + self._step]
                far = self._far_at(start + begin)
                cleaned[begin : begin + self._step] = self._canceller.cancel(near, far)
            self._remember(frame)
            return cleaned

    def close(self) -> None:
        """Free the canceller; any thread, idempotent. Frames then pass as they are."""
        with self._lock:
            if self._canceller is not None:
                self._canceller.close()
                self._canceller = None

    def _sounds(self) -> bool:
        gone = self._missing > _LATE_S * self._rate_hz
        if self._queue:
            if gone:
                self._missing = 0
            return True
        if self._quiet or gone:
            # The speaker's last second of silence has been used up, or the speaker has gone.
            self._far, self._next_index = _NOTHING, -1
            self._missing = 0 if self._quiet else self._missing
            return False
        return True

    def _pass(self, frame: Samples) -> Samples:
        """The frame as it is, as late as the canceller would make it."""
        assert self._canceller is not None
        latency = self._canceller.latency_samples
        late = np.concatenate((self._past[len(self._past) - latency :], frame))[: len(frame)]
        self._remember(frame)
        return late

    def _remember(self, frame: Samples) -> None:
        size = len(self._past)
        self._past = np.concatenate((self._past, frame))[-size:] if len(frame) < size else frame
        self._past = self._past[-size:]

    def _prime(self, canceller: Canceller) -> None:
        silence: Samples = np.zeros(self._step, dtype=np.int16)
        for begin in range(len(self._past) - _PRIMING * self._step, len(self._past), self._step):
            canceller.cancel(self._past[begin : begin + self._step], silence)

    def _align(self) -> None:
        """See that `shift` is not too far from what the clocks say."""
        ahead_s = self._near_clock.origin_s - self._far_clock.origin_s
        wanted = round(ahead_s * self._rate_hz)
        if self._shift is None:
            self._shift = wanted
            return
        if abs(wanted - self._shift) <= _BEHIND_S * self._rate_hz:
            self._slack = 0  # it was no lateness, the speaker had run dry
        behind_s = (wanted - self._slack - self._shift) / self._rate_hz
        if not -_AHEAD_S <= behind_s <= _BEHIND_S:
            self._shift, self._slack = wanted, 0
            self.realignments += 1

    def _far_at(self, near_index: int) -> Samples:
        """What the speaker sounded with the 10 ms of microphone that begin at `near_index`."""
        assert self._shift is not None
        first = near_index + self._shift
        while self._queue and self._far_start + len(self._far) < first + self._step:
            self._append(*self._queue.popleft())
        if self._missing and self._far_start + len(self._far) > first:
            # It was late: no sample is left out, and it is paired so much later from now on.
            late = self._missing + self._step // 2
            self._shift -= late
            self._slack = min(self._slack + late, int(_LATE_S * self._rate_hz))
            first -= late
            self._missing = 0
            self.realignments += 1
        self._far = self._far[max(0, first - self._far_start) :]
        self._far_start = max(self._far_start, first)
        lead = min(self._step, self._far_start - first)
        piece = self._far[: self._step - lead]
        if lead + len(piece) == self._step and not lead:
            return piece
        if not self._quiet and lead + len(piece) < self._step:
            self._missing += self._step - lead - len(piece)
        return np.concatenate(
            (
                np.zeros(lead, dtype=np.int16),
                piece,
                np.zeros(self._step - lead - len(piece), dtype=np.int16),
            )
        )

    def _append(self, index: int, block: Samples) -> None:
        """Put a block behind what there is; with zeros between where some are missing."""
        if index != self._next_index:
            self._resampler.end()
            begin = round(index * self._rate_hz / self._far_rate_hz)
            gap = begin - self._far_start - len(self._far)
            if len(self._far) and 0 <= gap < self._rate_hz:
                self._far = np.concatenate((self._far, np.zeros(gap, dtype=np.int16)))
            else:
                self._far, self._far_start = _NOTHING, begin
        self._next_index = index + len(block)
        self._far = np.concatenate((self._far, self._resampler.receive(block)))


def build_echo_canceller(config: Config, *, far_rate_hz: int) -> EchoCanceller | None:
    """What `audio.echo_cancel` asks for; None where the gate has to cope alone.

    "auto" takes the WebRTC module where its extra was installed on purpose, else none: the gate
    that follows the echo did not interrupt itself in ten minutes through a sound server, noticed
    every interruption as loud as the echo, and costs least (scripts/evaluate-echo --real).
    libspeexdsp is there with every PulseAudio, loses the room for seconds when a device hitches,
    and is taken by name alone. None, too, where there is no way from the speaker to the
    microphone (`null`, files) or where the sound server already cancels echo; `pactl` is asked
    for that, if there is one, for at most a second.

    Args:
        config: The whole configuration.
        far_rate_hz: Rate of the blocks that `Playback` reports.

    Raises:
        MissingLibrary: "apm" or "speex" is asked for by name and not installed, or soxr is
            needed and missing.
    """
    choice, rate_hz = config.audio.echo_cancel, config.stt.sample_rate
    if choice == "off":
        return None
    if choice == "auto":
        if not _has_echo_path(config):
            return None
        if is_echo_cancelled(config.audio.input):
            log.info("echo cancellation: done by the sound server (%s)", config.audio.input)
            return None
    canceller = _build_installed(rate_hz) if choice == "auto" else _BUILDERS[choice](rate_hz)
    if canceller is None:
        log.info("echo cancellation: none, the gate's threshold follows the echo")
        return None
    log.info("echo cancellation: %s", canceller.kind)
    return EchoCanceller(canceller, rate_hz=rate_hz, far_rate_hz=far_rate_hz)


def _has_echo_path(config: Config) -> bool:
    ends = (config.audio.input, config.audio.output)
    return not any(name == "null" or name.startswith("file:") for name in ends)


def _build_installed(rate_hz: int) -> Canceller | None:
    try:
        return _BUILDERS["apm"](rate_hz)
    except MissingLibrary as error:
        log.debug("%s", error)
        return None


def _build_apm(rate_hz: int) -> Canceller:
    from slng_edge.audio.apm_canceller import ApmCanceller

    return ApmCanceller(rate_hz)


def _build_speex(rate_hz: int) -> Canceller:
    from slng_edge.audio.speex_canceller import SpeexCanceller

    return SpeexCanceller(rate_hz)


_BUILDERS: dict[str, Callable[[int], Canceller]] = {"speex": _build_speex, "apm": _build_apm}
"""By `audio.echo_cancel`."""
