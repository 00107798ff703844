"""A room for a loop: voices that are asked for, what sounded, and devices that are taken away."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from conversation_scripts import REPLY_RATE_HZ
from labelled_sound import Heard, heard_in, labelled_voice

from slng_edge.audio import backends
from slng_edge.audio.media_clock import MediaClock
from slng_edge.audio.null_backend import NullSink, NullSource
from slng_edge.dialogue.rewind import MAX_REWIND_MS
from slng_edge.errors import DeviceLost
from slng_edge.pcm import Samples

REWIND_PAIRS = round(MAX_REWIND_MS * REPLY_RATE_HZ / 2000) + 1000
"""What a reply that was paused may go back, and what faded out before."""


class Room:
    """What the devices of this process hear and sound; any thread."""

    def __init__(self) -> None:
        self.voices: deque[Samples] = deque()
        self.taken: set[str] = set()
        """"input" and "output" while that device is not there."""
        self._blocks: list[bytes] = []
        self._lock = threading.Lock()

    def say(self, number: int, ms: int) -> None:
        """Speak voice `number`, as soon as those before it have been."""
        self.voices.append(labelled_voice(number, ms))

    def sounded(self, block: Samples) -> None:
        """Keep what a speaker sounded; silence is kept as one sample."""
        pcm = block.tobytes() if block.any() else b"\0\0"
        with self._lock:
            if pcm != b"\0\0" or (self._blocks and self._blocks[-1] != b"\0\0"):
                self._blocks.append(pcm)

    def heard(self) -> list[Heard]:
        """The pieces of replies that sounded so far, in order."""
        with self._lock:
            recording = np.frombuffer(b"".join(self._blocks) + bytes(8), dtype=np.int16)
        return heard_in(recording)


class RoomSource(NullSource):
    """A microphone in the room. Implements `Source`."""

    def __init__(self, room: Room, rate_hz: int, frame_ms: float, clock: MediaClock) -> None:
        super().__init__(rate_hz=rate_hz, frame_ms=frame_ms, clock=clock)
        self.name = "microphone"
        self._room = room
        self._rest: Samples = np.zeros(0, dtype=np.int16)

    def open(self) -> None:
        """Begin, where it is there."""
        self._look()
        super().open()

    def read(self) -> Samples | None:
        """The next frame."""
        frame = super().read()
        self._look()
        if frame is None:
            return None
        if not len(self._rest) and self._room.voices:
            self._rest = self._room.voices.popleft()
        if not len(self._rest):
            return frame
        said, self._rest = self._rest[: self.frame_samples], self._rest[self.frame_samples :]
        return np.pad(said, (0, self.frame_samples - len(said)))

    def _look(self) -> None:
        if "input" in self._room.taken:
            raise DeviceLost('"microphone" is gone: taken away')


class RoomSink(NullSink):
    """A speaker in the room. Implements `Sink`."""

    def __init__(
        self, room: Room, rate_hz: int, block_ms: float, buffer_ms: float, clock: MediaClock
    ) -> None:
        super().__init__(rate_hz=rate_hz, block_ms=block_ms, buffer_ms=buffer_ms, clock=clock)
        self.name = "speaker"
        self._room = room

    def open(self) -> None:
        """Begin, where it is there."""
        self._look()
        super().open()

    def write(self, block: Samples) -> None:
        """Sound `block`."""
        self._look()
        self._room.sounded(block)
        super().write(block)

    def _look(self) -> None:
        if "output" in self._room.taken:
            raise DeviceLost('"speaker" is gone: taken away')


@contextmanager
def devices_of(room: Room) -> Iterator[None]:
    """Let every loop that is built meanwhile have the room's devices."""
    sources, sinks = dict(backends.SOURCES), dict(backends.SINKS)
    backends.SOURCES["device"] = lambda rest, *, rate_hz, frame_ms, channel, clock: RoomSource(
        room, rate_hz, frame_ms, clock
    )
    backends.SINKS["device"] = lambda rest, *, rate_hz, block_ms, output_buffer_ms, clock: RoomSink(
        room, rate_hz, block_ms, output_buffer_ms, clock
    )
    try:
        yield
    finally:
        backends.SOURCES.update(sources)
        backends.SINKS.update(sinks)


def heard_wrong(heard: list[Heard]) -> list[str]:
    """Nothing sounds twice but what a pause goes back, and no reply comes back after another."""
    wrong = []
    for earlier, later in itertools.pairwise(heard):
        same = (earlier.number, earlier.part) == (later.number, later.part)
        if same and later.first < earlier.last - REWIND_PAIRS:
            wrong.append(f"heard twice: {later} after {earlier}")
        elif earlier.number == later.number and later.part < earlier.part:
            if later.first or later.part:  # a pause may go back over the end of a sentence
                continue
            wrong.append(f"from its start again: {later} after {earlier}")
    over: set[int] = set()
    for earlier, later in itertools.pairwise(heard):
        if earlier.number != later.number:
            over.add(earlier.number)
            if later.number in over:
                wrong.append(f"a reply that was over: {later} after {earlier}")
    return wrong
