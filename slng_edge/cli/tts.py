"""`slng-edge tts`: speak a text, or lines of standard input as they come."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from slng_edge.cli import config_of
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.cli.standard_streams import raw_output, text_pieces, writing_output
from slng_edge.config_rules import unavailable
from slng_edge.errors import AudioError, ConfigError, DeviceLost, SlngEdgeError, UsageError

if TYPE_CHECKING:
    from slng_edge.config import Config
    from slng_edge.pcm import Samples

DRAIN_MARGIN_S = 5.0


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("text", metavar="TEXT", help="what to speak; - for standard input")
    parser.add_argument("-m", "--model", help="instead of tts.model and its fallbacks")
    parser.add_argument("-v", "--voice", help="instead of tts.voice")
    parser.add_argument("--speed", type=float, help="instead of tts.speed")
    parser.add_argument(
        "--out", metavar="FILE.wav", help="write it instead of playing; - for raw s16le"
    )


def run(args: argparse.Namespace) -> int:
    """Speak.

    Raises:
        UsageError: there is nothing to speak, or nowhere to write it.
        SlngEdgeError: what the configuration, the gateway or the speaker refuses.
    """
    config = _config(args)
    if args.out == "":
        raise UsageError("--out needs the path of a file, or -")
    output = raw_output() if args.out == "-" else None
    texts = text_pieces() if args.text == "-" else _checked(args.text)

    from slng_edge.cli.readiness import one_attempt, wait_ready
    from slng_edge.gateway.tts_session import TtsSession

    session = TtsSession(config)
    with one_attempt(), session:
        wait_ready(session, config.gateway, config.tts)
        sound = session.speak(texts)
        if args.out is None:
            play(sound, config, session.rate_hz)
        elif output is not None:
            for chunk in sound:
                with writing_output():
                    output.write(chunk.tobytes())
                    output.flush()
        else:
            _write(sound, args.out, session.rate_hz)
    return ExitStatus.DONE


def _config(args: argparse.Namespace) -> Config:
    """The configuration with the command's options in it, judged by the same rules."""
    given = {"model": args.model, "voice": args.voice, "speed": args.speed}
    if args.model is not None:
        given["fallbacks"] = "[]"  # who names a model wants that one
    config = config_of(
        args, [f"tts.{key}={value}" for key, value in given.items() if value is not None]
    )
    missing = [line for line in unavailable(config) if line.startswith("tts.")]
    if missing:
        raise ConfigError(*missing)
    return config


def _checked(text: str) -> str:
    if not text.strip():
        raise UsageError("there is nothing to speak: TEXT is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes of the command line that were no UTF-8
        raise UsageError("TEXT is not UTF-8 text") from error
    return text


def _write(sound: Iterator[Samples], path: str, rate_hz: int) -> None:
    from slng_edge.audio.wav_files import WavWriter

    writer: WavWriter | None = None
    try:
        writer = WavWriter(path, rate_hz)
        try:
            for chunk in sound:
                writer.write(chunk)
            writer.sync()
        finally:
            writer.close()
    except AudioError as error:
        if writer is not None:
            writer.discard()
        # No device failed, and 74 would say so.
        raise SlngEdgeError(str(error)) from error


def play(sound: Iterator[Samples], config: Config, rate_hz: int) -> None:
    """Play `sound` on the configured output, to its end.

    Raises:
        AudioError: there is no such device, or it does not take the sound.
    """
    from slng_edge.audio.backends import configured_sink
    from slng_edge.audio.media_clock import MediaClock
    from slng_edge.audio.playback import Playback
    from slng_edge.audio.ring_buffer import RingBuffer

    audio = config.audio
    over = threading.Event()
    failures: list[BaseException] = []

    def fail(error: BaseException) -> None:
        failures.append(error)
        ring.close()
        over.set()

    clock = MediaClock()
    ring = RingBuffer(rate_hz=rate_hz, prebuffer_ms=audio.prebuffer_ms)
    playback = Playback(
        ring,
        lambda: configured_sink(config, clock, rate_hz=rate_hz),
        volume=audio.volume,
        on_drained=lambda utterance, samples: over.set(),
        on_device=lambda state, name, why: fail(DeviceLost(why)) if state == "lost" else None,
        on_death=lambda name, error: fail(error),
    )
    utterance = ring.open_utterance()
    playback.start()
    written = 0
    try:
        for chunk in sound:
            written += len(chunk)
            if not ring.write(chunk, utterance):
                break
        ring.end(utterance)
        if not over.wait(written / rate_hz + DRAIN_MARGIN_S):
            raise AudioError(f"the output {audio.output!r} does not take the sound")
    finally:
        playback.stop(timeout_s=2.0)
    if failures:
        raise failures[0]
