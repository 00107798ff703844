"""What a microphone and a speaker are to the rest: four methods each.

The backends (`pyaudio_backend`, `wav_backend`, `null_backend`) implement these; a test that
needs a device uses the WAV and null backends, which pace themselves in real time as devices do.
"""

from __future__ import annotations

from typing import Protocol

from slng_edge.pcm import Samples


class Source(Protocol):
    """A microphone. One thread reads; `close` may come from any thread.

    Attributes:
        name: What the config calls it.
        rate_hz: Rate of what `read` returns (the device's own may differ).
        frame_samples: Length of each array that `read` returns.
        live: Whether what is not read is gone: so of a device. It is closed while muted; a file,
            which would not go on where it was left, is read and not listened to.
        overflows: Times that the device said it had to throw samples away.
        idle: Set by the reader while nobody speaks. A device may then be asked every second
            frame only, which saves a third of the CPU: waking up is what costs.
    """

    name: str
    rate_hz: int
    frame_samples: int
    live: bool
    overflows: int
    idle: bool

    def open(self) -> None:
        """Open the device and start it.

        Raises:
            DeviceNotFound: no device of that name now.
            FormatUnsupported: it opens at no rate that we can convert from.
            DeviceLost: it exists and could not be opened (busy, no permission).
            InputFileError: a `file:` source cannot be read.
        """

    def read(self) -> Samples | None:
        """The next frame, exactly `frame_samples` long; waits about a frame for it.

        Returns None at the end of a file (never for a device), and after `close`.

        Raises:
            DeviceLost: the device went away.
        """

    def close(self) -> None:
        """Stop and release the device; idempotent, from any thread; ends a waiting `read`."""


class Sink(Protocol):
    """A speaker. One thread writes; `close` may come from any thread.

    Attributes:
        name: What the config calls it.
        rate_hz: Rate that `write` takes (the device's own may differ).
        block_samples: Length of a block; `write` takes one, or a few of them in one array.
        buffer_ms: What may stand in the device.
        latency_s: How long from now until the last sample written is heard, as far as known.
        underflows: Times that the device ran dry, or that we came too late.
    """

    name: str
    rate_hz: int
    block_samples: int
    buffer_ms: float
    underflows: int

    @property
    def latency_s(self) -> float: ...

    def open(self) -> None:
        """Open the device and start it; raises as `Source.open` does."""

    def write(self, block: Samples) -> None:
        """Hand over `block`, then wait until there is room for another of its length.

        In this order, because the caller decides what the next block is when it can be
        taken: an interruption is then heard a block sooner.

        Raises:
            DeviceLost: the device went away.
        """

    def close(self) -> None:
        """Stop and release the device; idempotent, from any thread."""
