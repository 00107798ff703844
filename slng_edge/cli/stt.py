"""`slng-edge stt`: words of a file, of standard input, or of the microphone."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from slng_edge.cli import config_of
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.cli.logs import printable
from slng_edge.cli.standard_streams import raw_audio, writing_output
from slng_edge.cli.subtitles import HEAD_OF_VTT, cue_of, srt, tail_of_line, vtt
from slng_edge.config_rules import unavailable
from slng_edge.errors import ConfigError, SlngEdgeError, UsageError
from slng_edge.events import Event, FinalHeard, PartialHeard, Stamped

if TYPE_CHECKING:
    from slng_edge.audio.interfaces import Source
    from slng_edge.audio.wav_files import WavReader
    from slng_edge.config import Config
    from slng_edge.pcm import Samples

CHUNK_MS = 100
FORMATS = ("text", "json", "srt", "vtt")


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="a WAV file, or - for raw s16le at stt.sample_rate; the microphone without it",
    )
    parser.add_argument("-m", "--model", help="instead of stt.model and its fallbacks")
    parser.add_argument("--language", help="instead of stt.language")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of the results")
    parser.add_argument("--realtime", action="store_true", help="pace a file as a microphone would")
    parser.add_argument("--words", action="store_true", help="ask for the time of each word")


def run(args: argparse.Namespace) -> int:
    """Transcribe; finals go to standard output, partials to a terminal only.

    Raises:
        UsageError: the arguments do not go together.
        SlngEdgeError: what the configuration, the input or the gateway refuses.
    """
    if args.file == "":
        raise UsageError("FILE is empty; leave it out for the microphone")
    if args.realtime and args.file in (None, "-"):
        raise UsageError("--realtime paces a file; this input has a pace of its own")
    if sys.stdout is None:
        raise SlngEdgeError("cannot write to standard output: it is closed")
    config = _config(args)
    output = _OUTPUTS[args.format]()
    from slng_edge.cli.readiness import one_attempt

    try:
        with one_attempt():
            if args.file is None:
                _transcribe_microphone(args, config, output)
            else:
                _transcribe_file(args, config, output)
    except KeyboardInterrupt:
        if args.file is not None:
            raise
        # The microphone has no end of its own.
    finally:
        output.end()
    return ExitStatus.DONE


def _config(args: argparse.Namespace) -> Config:
    """The configuration with the command's options in it, judged by the same rules."""
    given = {"model": args.model, "language": args.language}
    if args.model is not None:
        given["fallbacks"] = "[]"  # who names a model wants that one
    config = config_of(
        args, [f"stt.{key}={value}" for key, value in given.items() if value is not None]
    )
    missing = [line for line in unavailable(config) if line.startswith("stt.")]
    if missing:
        raise ConfigError(*missing)
    return config


def _transcribe_file(args: argparse.Namespace, config: Config, output: _Output) -> None:
    from slng_edge.cli.readiness import wait_ready
    from slng_edge.gateway.stt_session import SttSession

    frames = _Counted(_frames_of(args, config), config.stt.sample_rate)
    session = SttSession(
        config, words=args.words or args.format in ("srt", "vtt"), join_finals=False
    )
    with session:
        wait_ready(session, config.gateway, config.stt)
        for event in session.transcribe(frames):
            with writing_output():
                output.receive(event, sent_s=frames.sent_s)


def _frames_of(args: argparse.Namespace, config: Config) -> Iterator[Samples | bytes]:
    from slng_edge.pcm import PcmFormat

    rate_hz = config.stt.sample_rate
    if args.file == "-":
        return _raw_frames(PcmFormat(rate_hz).bytes(CHUNK_MS))

    from slng_edge.audio.backends import configured_source
    from slng_edge.audio.media_clock import MediaClock
    from slng_edge.audio.wav_files import WavReader

    if args.realtime:
        audio = dataclasses.replace(config.audio, input=f"file:{args.file}")
        source = configured_source(dataclasses.replace(config, audio=audio), MediaClock())
        return _paced_frames(source)
    reader = WavReader(args.file)  # opened here: a bad file is said before a connection is made
    return _file_frames(reader, rate_hz, config.audio.input_channel)


def _paced_frames(source: Source) -> Iterator[Samples]:
    source.open()
    try:
        while (frame := source.read()) is not None:
            yield frame
    finally:
        source.close()


def _file_frames(reader: WavReader, rate_hz: int, channel: int) -> Iterator[Samples]:
    from slng_edge.audio.resampling import Resampler

    resampler = Resampler(reader.rate_hz, rate_hz)
    with reader:
        if channel >= reader.channels:
            raise ConfigError(
                f"audio.input_channel = {channel}: the file has {reader.channels} channel(s)"
            )
        while len(block := reader.read(reader.rate_hz * CHUNK_MS // 1000)):
            yield resampler.receive(block[:, channel])
        yield resampler.end()


def _raw_frames(size: int) -> Iterator[bytes]:
    from slng_edge.pcm import SampleAligner

    aligner = SampleAligner()
    for data in raw_audio(size):
        yield aligner.receive(data)


class _Counted:
    """Passes frames on and counts their samples."""

    def __init__(self, frames: Iterable[Samples | bytes], rate_hz: int) -> None:
        self._frames = frames
        self._rate_hz = rate_hz
        self.sent_s = 0.0

    def __iter__(self) -> Iterator[Samples | bytes]:
        for frame in self._frames:
            samples = len(frame) // 2 if isinstance(frame, bytes) else len(frame)
            self.sent_s += samples / self._rate_hz
            yield frame


def _transcribe_microphone(args: argparse.Namespace, config: Config, output: _Output) -> None:
    from slng_edge.cli.microphone import Microphone

    with Microphone(config, words=args.words) as microphone:
        for event in microphone.events():
            with writing_output():
                output.receive(event, sent_s=0.0)


class _Output:
    """Where events go in one of the formats."""

    def receive(self, event: Any, *, sent_s: float) -> None:
        from slng_edge.protocol.session_events import Final, Partial

        if isinstance(event, Final):
            if event.text:
                self.final(event, sent_s)
        elif isinstance(event, Partial):
            self.partial(event)

    def final(self, event: Any, sent_s: float) -> None:
        """Show a final with words in it."""
        raise NotImplementedError

    def partial(self, event: Any) -> None:
        """Show what is understood so far."""

    def end(self) -> None:
        """Nothing follows."""


class _TextOutput(_Output):
    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()

    def final(self, event: Any, sent_s: float) -> None:
        self._wipe()
        print(_one_line(event.text), flush=True)

    def partial(self, event: Any) -> None:
        if self._terminal:
            self._wipe()
            columns = shutil.get_terminal_size().columns - 1
            print(tail_of_line(_one_line(event.text), columns), end="", flush=True)

    def end(self) -> None:
        self._wipe()

    def _wipe(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", flush=True)


def _one_line(text: str) -> str:
    """What the gateway sent, as one line that cannot steer a terminal."""
    return printable(" ".join(text.split()))


class _JsonOutput(_Output):
    def __init__(self) -> None:
        self._started = time.monotonic()

    def final(self, event: Any, sent_s: float) -> None:
        self._print(
            FinalHeard(
                text=event.text,
                latency_ms=round(event.latency_s * 1000),
                confidence=event.confidence,
                language=event.language,
                duration_s=event.duration_s,
                words=list(event.words) or None,
            )
        )

    def partial(self, event: Any) -> None:
        self._print(PartialHeard(event.text))

    def _print(self, event: Event) -> None:
        stamped = Stamped(time.monotonic() - self._started, datetime.now(UTC), event)
        print(json.dumps(stamped.as_json(), ensure_ascii=False), flush=True)


class _SubtitleOutput(_Output):
    def __init__(self) -> None:
        self._count = 0
        self._end_s = 0.0

    def final(self, event: Any, sent_s: float) -> None:
        cue = cue_of(
            _one_line(event.text), event.words, event.duration_s, after_s=self._end_s, sent_s=sent_s
        )
        self._count += 1
        self._end_s = cue.end_s
        print(self._block(cue), end="", flush=True)

    def _block(self, cue: Any) -> str:
        raise NotImplementedError


class _SrtOutput(_SubtitleOutput):
    def _block(self, cue: Any) -> str:
        return srt(self._count, cue)


class _VttOutput(_SubtitleOutput):
    def __init__(self) -> None:
        super().__init__()
        print(HEAD_OF_VTT, end="", flush=True)

    def _block(self, cue: Any) -> str:
        return vtt(cue)


_OUTPUTS = {"text": _TextOutput, "json": _JsonOutput, "srt": _SrtOutput, "vtt": _VttOutput}
