"""The thread that feeds the speaker: one block after the other, silence where there is no reply.

The output stays open and never starves, so that no first syllable is lost in a device that wakes
up and no last one in a device that closes. What was *heard* is what was handed over less what
still stands in the device; `played_samples` and `on_drained` speak of that. Short sounds are mixed
over the reply, which is ducked meanwhile; what is said of the reply says nothing of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import numpy as np

from slng_edge.audio.ducking import Ducking, GainRamp
from slng_edge.audio.interfaces import Sink
from slng_edge.audio.ring_buffer import RingBuffer
from slng_edge.audio.sound_queue import SoundQueue
from slng_edge.errors import AudioError
from slng_edge.pcm import Samples
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""Pause between two attempts to open a device that is not there."""

IDLE_MS = 40
"""Longest block while no utterance is open. Most of what silence costs is waking up."""

_REMEMBERED_UTTERANCES = 8


class Playback:
    """Owns the thread `playback`, which reads the ring buffer and writes to the sink.

    All callbacks come from that thread and must not wait: while they run, nothing plays.

    Args:
        ring: What to play; nobody else calls its `read_into`.
        build_sink: Makes a sink, not yet open; called again after a device was lost.
        volume: Gain of replies and sounds; 1.0 leaves the samples alone, above it they are clipped.
        ducking: What multiplies the reply besides; one of its own where none is given.
        on_started: Gets the utterance and the `time.monotonic()` at which its first block was
            handed to the device.
        on_drained: Gets the utterance and the samples played, once the last one has been heard;
            comes for an utterance that ended without any, too, never for one that was cleared.
        on_device: Gets "open", "lost" or "reopened", the sink's name and, when lost, why; once per
            change.
        on_death: As in `Worker`.
        on_block: Gets every block as it was written, silence included, and the `time.monotonic()`
            at which its first sample sounds. In silence a block may be several blocks long. The
            array is used again: copy what must be kept.
    """

    def __init__(
        self,
        ring: RingBuffer,
        build_sink: Callable[[], Sink],
        *,
        volume: float = 1.0,
        ducking: Ducking | None = None,
        on_started: Callable[[int, float], None] | None = None,
        on_drained: Callable[[int, int], None] | None = None,
        on_device: Callable[[str, str, str], None] | None = None,
        on_death: OnDeath | None = None,
        on_block: Callable[[Samples, float], None] | None = None,
    ) -> None:
        self.volume = volume
        """Set from any thread at any time; what sounds goes there within 25 ms, without a step."""
        self.ducking = ducking or Ducking()
        self.last_sound_at = 0.0
        """`time.monotonic()` at which the last block with reply sound was handed over."""
        self._ring = ring
        self._build_sink = build_sink
        self._on_started = on_started
        self._on_drained = on_drained
        self._on_device = on_device
        self._on_block = on_block
        self._worker = Worker("playback", self._run, wake=self._close_sink, on_death=on_death)
        self._sink: Sink | None = None
        self._opening: Sink | None = None
        self._device_state = ""
        self._ever_open = False
        self._underflows_before = 0
        self._sounds = SoundQueue(self.ducking)
        self._sound_heard_at = 0.0
        self._handed: dict[int, tuple[int, float]] = {}
        self._heard_at = 0.0
        self._drained_reported = ring.finished
        self._quiet = threading.Condition()
        self._quiet_waiters = 0
        self._in_hand = False
        self._reply_in_hand = False

    def start(self) -> None:
        """Start the thread; the device is opened there, and waited for as long as it takes."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Close the device and end the thread; what has not been heard is cut off.

        Raises:
            StuckThread: it still runs after `timeout_s`.
        """
        self._worker.stop(timeout_s)

    def played_samples(self, utterance: int) -> int:
        """Samples of `utterance` that have been heard by now; 0 of an unknown one. Any thread."""
        total, heard_at = self._handed.get(utterance, (0, 0.0))
        standing_s = max(0.0, heard_at - time.monotonic())
        return max(0, total - int(standing_s * self._ring.rate_hz))

    def play_sound(self, sound: Samples | None) -> None:
        """Mix `sound` over whatever plays, from the next block on. Any thread, does not wait.

        It comes after sounds that wait already, four at most: then the oldest gives way. A sound
        that waits moves to the end, one that sounds already is not repeated at once. Where there
        is no device it is forgotten after 2 s.

        Args:
            sound: int16 mono at the ring's rate, not changed afterwards; the same array is the
                same sound. None: no sound, as for one that is "off".
        """
        if sound is not None:
            self._sounds.add(sound, time.monotonic())

    @property
    def reply_sounding(self) -> bool:
        """Whether reply sound is about to be played or stands in the device. Any thread.

        While the ring is paused only what stands in the device counts.
        """
        ring = self._ring
        if self._reply_in_hand or ring.fading or (ring.buffered_samples and not ring.paused):
            return True
        return time.monotonic() < self._heard_at

    @property
    def sounding(self) -> bool:
        """Whether a reply (see `reply_sounding`) or a short sound can be heard. Any thread."""
        if self.reply_sounding or (self._sounds.sounding and self._sink is not None):
            return True
        return time.monotonic() < self._sound_heard_at

    @property
    def underflows(self) -> int:
        """Times that a device ran dry since `start`, over all reopenings. Any thread."""
        sink = self._sink
        return self._underflows_before + (sink.underflows if sink else 0)

    def silenced(self, timeout_s: float) -> float:
        """Wait, after the ring was cleared or paused, until the faded block was handed over.

        Takes about one block; short sounds do not count. Any thread but `playback`.

        Returns:
            `time.monotonic()` of the last reply sound that was handed to the device, which lies
            before the call where nothing sounded; the present when `timeout_s` has passed first.
        """
        with self._quiet:
            self._quiet_waiters += 1
            # The order counts: `_in_hand` is set before the ring is read.
            done = self._quiet.wait_for(
                lambda: not self._ring.fading and not self._in_hand, timeout_s
            )
            self._quiet_waiters -= 1
        return self.last_sound_at if done else time.monotonic()

    def _run(self) -> None:
        while not self._worker.stopping.is_set():
            sink = self._opening = self._build_sink()
            try:
                self._play(sink)
            except AudioError as error:
                if self._worker.stopping.is_set():
                    return
                if not error.retryable:
                    raise
                self._tell("lost", sink.name, str(error))
            finally:
                self._sink = self._opening = None
                self._sounds.drop()
                self._underflows_before += sink.underflows
                self._reply_in_hand = False
                self._set_in_hand(False)
                sink.close()
            self._worker.stopping.wait(RETRY_S)

    def _play(self, sink: Sink) -> None:
        sink.open()
        if self._worker.stopping.is_set():
            return  # `stop` came before there was a sink to close
        self._sink = sink
        self._tell("reopened" if self._ever_open else "open", sink.name, "")
        self._ever_open = True
        stopping, ring = self._worker.stopping, self._ring
        sounds, ducking = self._sounds, self.ducking
        sounds.drop_stale(time.monotonic())
        block: Samples = np.zeros(sink.block_samples, dtype=np.int16)
        over: Samples = np.zeros(sink.block_samples, dtype=np.int16)
        silence: Samples = np.zeros(_idle_samples(sink), dtype=np.int16)
        reply_gain, sound_gain = GainRamp(sink.rate_hz), GainRamp(sink.rate_hz)
        count = sound = 0
        while not stopping.is_set():
            if ring.idle and ring.finished == self._drained_reported and not sounds.sounding:
                count = sound = 0
                sink.write(silence)
                if self._on_block is not None:
                    self._account(sink, silence, 0, 0)
                continue
            self._in_hand = True
            silent_before, no_sound_before = not count, not sound
            count = ring.read_into(block)
            sound = sounds.take_into(over)
            if count:
                gain = self.volume * ducking.gain
                if silent_before:
                    reply_gain.jump(gain)
                reply_gain.apply(block, gain)
            if sound:
                if no_sound_before:
                    sound_gain.jump(self.volume)
                sound_gain.apply(over, self.volume)
                _add(block, over)
            self._hand_over(count)
            sink.write(block)
            self._account(sink, block, count, sound)

    def _hand_over(self, count: int) -> None:
        # `write` hands over at once and then waits: this moment is the block's.
        if count:
            self._reply_in_hand = True
            self.last_sound_at = time.monotonic()
        self._set_in_hand(False)
        if count and self._ring.last_read not in self._handed:
            if len(self._handed) >= _REMEMBERED_UTTERANCES:
                del self._handed[next(iter(self._handed))]
            self._handed[self._ring.last_read] = (0, 0.0)
            if self._on_started is not None:
                self._on_started(self._ring.last_read, self.last_sound_at)

    def _account(self, sink: Sink, block: Samples, count: int, sound: int) -> None:
        finished = self._ring.finished
        reported = finished == self._drained_reported
        if not count and not sound and self._on_block is None and reported:
            return
        now = time.monotonic()
        end_s = now + sink.latency_s
        if count:
            self._heard_at = end_s - (len(block) - count) / sink.rate_hz
            self._handed[self._ring.last_read] = (self._ring.last_read_total, self._heard_at)
            self._reply_in_hand = False
        if sound:
            self._sound_heard_at = end_s - (len(block) - sound) / sink.rate_hz
        if self._on_block is not None:
            self._on_block(block, end_s - len(block) / sink.rate_hz)
        if not reported:
            total, heard_at = self._handed.get(finished, (0, 0.0))
            if now >= heard_at:
                self._drained_reported = finished
                if self._on_drained is not None:
                    self._on_drained(finished, total)

    def _set_in_hand(self, in_hand: bool) -> None:
        self._in_hand = in_hand
        if self._quiet_waiters:
            with self._quiet:
                self._quiet.notify_all()

    def _tell(self, state: str, name: str, why: str) -> None:
        if state == self._device_state or (state == "reopened" and self._device_state == "open"):
            return
        self._device_state = state
        if why:
            log.warning("output %s: %s (%s)", state, name, why)
        else:
            log.info("output %s: %s", state, name)
        if self._on_device is not None:
            self._on_device(state, name, why)

    def _close_sink(self) -> None:
        sink = self._opening
        if sink is not None:
            sink.close()


def _add(block: Samples, other: Samples) -> None:
    """Add `other` to `block`, in place; what is too loud is clipped."""
    wide = np.add(block, other, dtype=np.int32)
    np.copyto(block, np.clip(wide, -32768, 32767, out=wide), casting="unsafe")


def _idle_samples(sink: Sink) -> int:
    """Whole blocks, as many as leave a third of the device's buffer until the next."""
    block_ms = sink.block_samples * 1000 / sink.rate_hz
    blocks = max(1, int(min(IDLE_MS, sink.buffer_ms * 2 / 3) / block_ms + 0.01))
    return sink.block_samples * blocks
