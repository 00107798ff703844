"""From the name in the config to a microphone or a speaker.

A name is `null`, `file:PATH.wav`, or else that of a device, `default` included. Nothing is opened
here; a backend's library is loaded only when its name is used.
"""

from __future__ import annotations

from typing import Protocol

from slng_edge.audio.interfaces import Sink, Source
from slng_edge.audio.media_clock import MediaClock
from slng_edge.config import Config
from slng_edge.errors import ConfigError

OUTPUT_BLOCK_MS = 20
"""An interruption waits for a block at most. Blocks of 10 ms save half of that and cost a third
more CPU while a reply plays (`slng-edge bench --only cpu_reply`); in silence playback writes
several at once."""


class SourceBuilder(Protocol):
    """Makes the microphone that `rest`, the name without its prefix, stands for."""

    def __call__(
        self, rest: str, *, rate_hz: int, frame_ms: float, channel: int, clock: MediaClock
    ) -> Source: ...


class SinkBuilder(Protocol):
    """Makes the speaker that `rest`, the name without its prefix, stands for."""

    def __call__(
        self,
        rest: str,
        *,
        rate_hz: int,
        block_ms: float,
        output_buffer_ms: float,
        clock: MediaClock,
    ) -> Sink: ...


def configured_source(config: Config, clock: MediaClock) -> Source:
    """The microphone of `config`, not yet open; raises as `build_source` does."""
    return build_source(
        config.audio.input,
        rate_hz=config.stt.sample_rate,
        frame_ms=config.audio.frame_ms,
        channel=config.audio.input_channel,
        clock=clock,
    )


def configured_sink(config: Config, clock: MediaClock, *, rate_hz: int) -> Sink:
    """The speaker of `config`, not yet open, for blocks at `rate_hz`; raises as `build_sink`."""
    return build_sink(
        config.audio.output,
        rate_hz=rate_hz,
        block_ms=OUTPUT_BLOCK_MS,
        output_buffer_ms=config.audio.output_buffer_ms,
        clock=clock,
    )


def build_source(
    name: str, *, rate_hz: int, frame_ms: float, channel: int, clock: MediaClock
) -> Source:
    """The microphone called `name`, not yet open.

    Args:
        name: `audio.input` of the config.
        rate_hz: Rate of the frames to read.
        frame_ms: Their length in milliseconds.
        channel: Which channel of the device or file, from 0.
        clock: Shared by the files of one run; devices have their own.

    Raises:
        ConfigError: the name stands for nothing.
        MissingLibrary: a library that the backend needs is not installed.
    """
    kind, rest = _split(name, "audio.input")
    return SOURCES[kind](rest, rate_hz=rate_hz, frame_ms=frame_ms, channel=channel, clock=clock)


def build_sink(
    name: str, *, rate_hz: int, block_ms: float, output_buffer_ms: float, clock: MediaClock
) -> Sink:
    """The speaker called `name`, not yet open.

    Args:
        name: `audio.output` of the config.
        rate_hz: Rate of the blocks to write.
        block_ms: Their length in milliseconds.
        output_buffer_ms: What may stand in the device.
        clock: Shared by the files of one run; devices have their own.

    Raises:
        ConfigError: the name stands for nothing.
        MissingLibrary: a library that the backend needs is not installed.
    """
    kind, rest = _split(name, "audio.output")
    return SINKS[kind](
        rest, rate_hz=rate_hz, block_ms=block_ms, output_buffer_ms=output_buffer_ms, clock=clock
    )


def _null_source(
    rest: str, *, rate_hz: int, frame_ms: float, channel: int, clock: MediaClock
) -> Source:
    from slng_edge.audio.null_backend import NullSource

    return NullSource(rate_hz=rate_hz, frame_ms=frame_ms, clock=clock)


def _null_sink(
    rest: str, *, rate_hz: int, block_ms: float, output_buffer_ms: float, clock: MediaClock
) -> Sink:
    from slng_edge.audio.null_backend import NullSink

    return NullSink(rate_hz=rate_hz, block_ms=block_ms, buffer_ms=output_buffer_ms, clock=clock)


def _file_source(
    rest: str, *, rate_hz: int, frame_ms: float, channel: int, clock: MediaClock
) -> Source:
    from slng_edge.audio.wav_backend import WavSource

    return WavSource(rest, rate_hz=rate_hz, frame_ms=frame_ms, channel=channel, clock=clock)


def _file_sink(
    rest: str, *, rate_hz: int, block_ms: float, output_buffer_ms: float, clock: MediaClock
) -> Sink:
    from slng_edge.audio.wav_backend import WavSink

    return WavSink(
        rest, rate_hz=rate_hz, block_ms=block_ms, buffer_ms=output_buffer_ms, clock=clock
    )


def _device_source(
    rest: str, *, rate_hz: int, frame_ms: float, channel: int, clock: MediaClock
) -> Source:
    from slng_edge.audio.device_source import PyAudioSource

    return PyAudioSource(rest, rate_hz=rate_hz, frame_ms=frame_ms, channel=channel)


def _device_sink(
    rest: str, *, rate_hz: int, block_ms: float, output_buffer_ms: float, clock: MediaClock
) -> Sink:
    from slng_edge.audio.device_sink import PyAudioSink

    return PyAudioSink(rest, rate_hz=rate_hz, block_ms=block_ms, output_buffer_ms=output_buffer_ms)


SOURCES: dict[str, SourceBuilder] = {
    "null": _null_source,
    "file": _file_source,
    "device": _device_source,
}
"""Kind of a name, and what builds its microphone."""

SINKS: dict[str, SinkBuilder] = {
    "null": _null_sink,
    "file": _file_sink,
    "device": _device_sink,
}
"""Kind of a name, and what builds its speaker."""


def _split(name: str, key: str) -> tuple[str, str]:
    """The kind of `name`, and what is left of it without its prefix."""
    if name == "null":
        return "null", name
    kind, rest = ("file", name[5:]) if name.startswith("file:") else ("device", name)
    if not rest:
        raise ConfigError(f'{key} = "{name}": a name from `devices`, file:PATH.wav or null')
    return kind, rest
