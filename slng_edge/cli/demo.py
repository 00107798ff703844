"""`slng-edge demo`: one spoken question through the whole loop, on this machine alone."""

from __future__ import annotations

import argparse
import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slng_edge.cli import config_of, tell
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.config_rules import unavailable
from slng_edge.errors import AudioError, ConfigError, MissingLibrary, SlngEdgeError

if TYPE_CHECKING:
    from slng_edge.config import Config
    from slng_edge.simulator.recognition import Recognizer
    from slng_edge.simulator.server import LocalGateway
    from slng_edge.simulator.synthesizers import Synthesizer
    from slng_edge.voice_loop import VoiceLoop

QUESTION = Path(__file__).with_name("demo-question.wav")
WORDS = "where is the nearest train station"
REPLY = Path("demo-reply.wav")
LONGEST_S = 60.0
"""The demo takes six seconds; a loop that hangs must not take for ever."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "--mic",
        action="store_true",
        help="talk with it: the configured microphone and speaker; Ctrl-C ends it",
    )


def run(args: argparse.Namespace) -> int:
    """Run the loop against a local gateway and print what happens."""
    from slng_edge.simulator.server import LocalGateway

    (stt, recognizer), (tts, synthesizer) = _recognizer(), _synthesizer()
    with LocalGateway(stt=recognizer, tts=synthesizer) as gateway:
        config = _config(args, gateway)
        print(f"local gateway on {gateway.url}: {stt} hears, {tts} speaks")
        if args.mic:
            _talk(config)
            return ExitStatus.DONE
        print(f'asking, from a recording: "{WORDS}"')
        files = [f"audio.input=file:{QUESTION}", f"audio.output=file:{REPLY}"]
        with _whole_recording():
            _run_loop(_config(args, gateway, files), longest_s=LONGEST_S)
    print(f"{REPLY} holds what the speaker sounded")
    _play_reply(config)
    return ExitStatus.DONE


def _config(args: argparse.Namespace, gateway: LocalGateway, more: Sequence[str] = ()) -> Config:
    """What is configured, but for what concerns the gateway: no key of anybody's is used."""
    local = (
        *(f"gateway.url={gateway.url}", "gateway.protocol=bridge", "gateway.tier=pro"),
        *("gateway.api_key_file=", "gateway.provider_key_file="),
        *("stt.fallbacks=[]", "tts.fallbacks=[]", "tts.native_frames=false"),
    )
    config = config_of(args, [*local, *more])
    missing = unavailable(config)
    if missing:
        raise ConfigError(*missing)
    return config


@contextlib.contextmanager
def _whole_recording() -> Iterator[None]:
    """Leave none where it cannot be written: half of a reply would be taken for all of it."""
    advice = "make room, or run it in another folder"
    try:
        REPLY.unlink(missing_ok=True)  # that of the last time; what is there later is ours
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise SlngEdgeError(f"cannot write {REPLY}: {error.strerror}; {advice}") from error
    except AudioError as error:
        with contextlib.suppress(OSError):
            REPLY.unlink()
        # No device failed, and 74 would say so.
        raise SlngEdgeError(f"{error}; {advice}") from error


def _talk(config: Config) -> None:
    try:
        _run_loop(config)
    except KeyboardInterrupt:
        print()


def _run_loop(config: Config, *, longest_s: float = math.inf) -> None:
    from slng_edge.events import StateChanged
    from slng_edge.voice_loop import Died, Over, VoiceLoop

    loop = VoiceLoop(config, api_key="")
    subscription = loop.bus.subscribe()
    answered = False
    deadline = time.monotonic() + longest_s
    with loop:
        while time.monotonic() < deadline:
            stamped = subscription.get(timeout_s=0.2)
            if stamped is not None:
                line = _line_of(stamped.event)
                if line:
                    print(f"{stamped.t:6.2f} s  {line}", flush=True)
                answered |= stamped.event == StateChanged("speaking")
                continue
            match _next_notice(loop):
                case Over():
                    break
                case Died(_, error):
                    raise error
    if not answered:
        raise SlngEdgeError("the question got no answer; --log-level debug says more")


def _next_notice(loop: VoiceLoop) -> Any:
    return None if loop.notices.empty() else loop.notices.get()


def _line_of(event: Any) -> str:
    """What the demo says of an event; "" where it keeps quiet."""
    match event.type:
        case "state":
            return f"[{event.state}]"
        case "partial":
            return f"  … {event.text}"
        case "final":
            return f'heard: "{event.text}" ({event.latency_ms} ms after the question was over)'
        case "reply":
            return f'answers: "{event.text}"'
        case "interrupted":
            return f'interrupted after "{event.heard_text}", silent within {event.silence_ms} ms'
        case "turn":
            return f"the answer sounds {event.total} ms after the question was over"
        case "lost":
            return f"lost: {event.what}, {event.why}"
        case "connection" if event.state == "failed":
            return f"{event.session}: {event.reason}"
        case "device" if event.state == "lost":
            return f"{event.which} {event.name} is missing"
        case _:
            return ""


def _play_reply(config: Config) -> None:
    """Play the reply where there is a speaker, and say so where there is none."""
    from slng_edge.audio.wav_files import read_wav
    from slng_edge.cli.tts import play

    rate_hz, _, samples = read_wav(str(REPLY))
    sounding = samples[:, 0].nonzero()[0]
    if not len(sounding):
        raise SlngEdgeError(f"{REPLY} is silent")
    first, last = int(sounding[0]), int(sounding[-1]) + 1
    try:
        play(iter([samples[first:last, 0]]), config, rate_hz)
        print("and was played on the speaker just now")
    except (AudioError, MissingLibrary) as error:
        tell(f"no speaker here to play it on ({error})")


def _recognizer() -> tuple[str, Recognizer]:
    """What is called what hears: pocketsphinx where it is installed."""
    from slng_edge.simulator import PocketsphinxRecognizer, ScriptRecognizer

    try:
        return "pocketsphinx", PocketsphinxRecognizer()
    except MissingLibrary:
        return "a script", ScriptRecognizer([WORDS])


def _synthesizer() -> tuple[str, Synthesizer]:
    """What is called what speaks: a program where one is installed."""
    from slng_edge.simulator import EspeakSynthesizer, FliteSynthesizer, ToneSynthesizer

    for name, synthesizer in (("flite", FliteSynthesizer), ("espeak-ng", EspeakSynthesizer)):
        try:
            return name, synthesizer()
        except MissingLibrary:
            continue
    return "a tone", ToneSynthesizer()
