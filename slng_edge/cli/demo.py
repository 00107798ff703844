"""`slng-edge demo`: one spoken question through the whole loop, on this machine alone."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slng_edge.cli import config_of
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.errors import AudioError, MissingLibrary, SlngEdgeError

if TYPE_CHECKING:
    from slng_edge.config import Config
    from slng_edge.simulator.server import LocalGateway
    from slng_edge.voice_loop import VoiceLoop

QUESTION = Path(__file__).with_name("demo-question.wav")
WORDS = "where is the nearest train station"
REPLY = Path("demo-reply.wav")
LONGEST_S = 60.0


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

    stt, tts = _stt_engine(), _tts_engine()
    with LocalGateway(stt=_recognizer(stt), tts=_synthesizer(tts)) as gateway:
        print(f"local gateway on {gateway.url}: {stt} hears, {tts} speaks")
        if args.mic:
            _talk(config_of(args, _local(gateway)))
            return ExitStatus.DONE
        print(f'asking, from a recording: "{WORDS}"')
        files = [f"audio.input=file:{QUESTION}", f"audio.output=file:{REPLY}"]
        _run_loop(config_of(args, [*_local(gateway), *files]))
    print(f"{REPLY} holds what the speaker sounded")
    _play_reply(config_of(args))
    return ExitStatus.DONE


def _local(gateway: LocalGateway) -> list[str]:
    return [f"gateway.url={gateway.url}", "gateway.tier=pro", "gateway.protocol=bridge"]


def _talk(config: Config) -> None:
    try:
        _run_loop(config)
    except KeyboardInterrupt:
        print()


def _run_loop(config: Config) -> None:
    from slng_edge.events import StateChanged
    from slng_edge.voice_loop import Died, Over, VoiceLoop

    loop = VoiceLoop(config, api_key="")
    subscription = loop.bus.subscribe()
    answered = False
    with loop:
        while True:
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
    first, last = int(sounding[0]), int(sounding[-1]) + 1
    try:
        play(iter([samples[first:last, 0]]), config, rate_hz)
        print("and was played on the speaker just now")
    except (AudioError, MissingLibrary) as error:
        print(f"no speaker here to play it on ({error})", file=sys.stderr)


def _stt_engine() -> str:
    return "pocketsphinx" if importlib.util.find_spec("pocketsphinx") else "a script"


def _tts_engine() -> str:
    found = [program for program in ("flite", "espeak-ng") if shutil.which(program)]
    return found[0] if found else "a tone"


def _recognizer(engine: str) -> Any:
    from slng_edge.simulator import recognizers

    if engine == "pocketsphinx":
        return recognizers.PocketsphinxRecognizer()
    return recognizers.ScriptRecognizer([WORDS])


def _synthesizer(engine: str) -> Any:
    from slng_edge.simulator import synthesizers

    match engine:
        case "flite":
            return synthesizers.FliteSynthesizer()
        case "espeak-ng":
            return synthesizers.EspeakSynthesizer()
        case _:
            return synthesizers.ToneSynthesizer()
