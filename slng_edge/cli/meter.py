"""`slng-edge meter`: what the microphone hears and what the gate makes of it, live."""

from __future__ import annotations

import argparse
import queue
import sys
import time
from typing import TYPE_CHECKING, Any

from slng_edge.cli.exit_status import ExitStatus
from slng_edge.cli.meter_display import Display, OneLineASecond, RedrawnLines
from slng_edge.cli.meter_readings import Metering, Reading
from slng_edge.cli.numbers import between
from slng_edge.cli.terminal import print_json, takes_escapes
from slng_edge.errors import DeviceLost, SlngEdgeError

if TYPE_CHECKING:
    from slng_edge.config import Config

READINGS_A_SECOND = 10
STOP_TIMEOUT_S = 3.0
SHORTEST_S, LONGEST_S = 0.1, 86400.0


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "--json", action="store_true", help="an object a line, ten a second of sound"
    )
    parser.add_argument(
        "--seconds",
        type=between(float, SHORTEST_S, LONGEST_S, "a number of seconds"),
        metavar="N",
        help="end after so long; without it: Ctrl-C ends it",
    )


def run(args: argparse.Namespace) -> int:
    """Show the microphone until Ctrl-C, the time is over or a file has ended.

    Raises:
        ConfigError: the configuration is wrong.
        AudioError: the device cannot be opened; who else has it open is in the message.
        SlngEdgeError: a file cannot be read, or a library is missing.
    """
    from slng_edge.cli import config_of

    config = config_of(args)
    display: Display
    if args.json:
        display = _JsonLines()
    elif takes_escapes(sys.stdout):
        display = RedrawnLines(sys.stdout)
    else:
        display = OneLineASecond(sys.stdout)
    meter = _Meter(config, display)
    try:
        meter.run(args.seconds)
    except KeyboardInterrupt:
        pass
    finally:
        display.end()
    return ExitStatus.DONE


class _Meter:
    """The capture thread reads and judges; this one shows."""

    def __init__(self, config: Config, display: Display) -> None:
        from slng_edge.audio.backends import configured_source
        from slng_edge.audio.capture import Capture
        from slng_edge.audio.media_clock import MediaClock
        from slng_edge.hearing import build_gate

        self._display = display
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ever_open = False
        clock = MediaClock()
        metering = Metering(
            build_gate(config),
            rate_hz=config.stt.sample_rate,
            readings_a_second=READINGS_A_SECOND,
        )

        def receive_frame(frame: Any) -> None:
            reading = metering.receive_frame(frame)
            if reading is not None:
                self._events.put(reading)

        self._capture = Capture(
            lambda: configured_source(config, clock),
            on_frame=receive_frame,
            idle=lambda: False,
            on_gap=metering.receive_gap,
            on_end=lambda: self._events.put(None),
            on_wait=lambda: None,
            on_device=lambda *change: self._events.put(change),
            on_death=lambda _, error: self._events.put(error),
        )

    def run(self, seconds: float | None) -> None:
        """Show what comes, for so many seconds after the device has opened."""
        ends_s: float | None = None
        self._capture.start()
        try:
            while True:
                left_s = None if ends_s is None else max(0.0, ends_s - time.monotonic())
                try:
                    event = self._events.get(timeout=left_s)
                except queue.Empty:
                    return
                match event:
                    case Reading():
                        self._display.show(event)
                    case None:
                        return
                    case BaseException():
                        raise event
                    case (str() as state, str() as name, str() as why):
                        self._receive_device(state, name, why)
                        if ends_s is None and seconds is not None:
                            ends_s = time.monotonic() + seconds
                if ends_s is not None and time.monotonic() >= ends_s:
                    return
        finally:
            self._capture.stop(STOP_TIMEOUT_S)

    def _receive_device(self, state: str, name: str, why: str) -> None:
        if state == "lost" and not self._ever_open:
            raise _not_opened(why)
        self._ever_open = True
        self._display.device(state, name, why)


def _not_opened(why: str) -> SlngEdgeError:
    from slng_edge.diagnostics.sound_holders import sound_holders, words_of

    held_by = words_of(sound_holders(), output=False)
    return DeviceLost(f"{why} {held_by} has it open." if held_by else why)


class _JsonLines:
    """An object a line: a reading, or what became of the device."""

    def show(self, reading: Reading) -> None:
        """Print a reading."""
        print_json(reading.as_json())

    def device(self, state: str, name: str, why: str) -> None:
        """Print what became of the device."""
        more = {"why": why} if why else {}
        print_json({"device": state, "name": name, **more})

    def end(self) -> None:
        """Nothing is left to print."""
