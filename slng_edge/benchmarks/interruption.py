"""Replies interrupted by people: how soon it is silent, and how soon the next reply sounds.

The loop runs in this process on files. Sample 0 of both files is one instant, so that the two
recordings alone tell the latency. The speaker's file notes besides when each block was handed to
it, and the event bus when the interruption was decided.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slng_edge.audio import backends
from slng_edge.audio.media_clock import MediaClock
from slng_edge.audio.wav_backend import WavSink
from slng_edge.audio.wav_files import read_wav
from slng_edge.benchmarks import speech
from slng_edge.benchmarks.figures import Figure, MeasurementFailed, Plan, figure, statistic_of
from slng_edge.benchmarks.microphone_path import local_config
from slng_edge.config import Config
from slng_edge.events import Event, EventBus, Interrupted, SpeechStarted
from slng_edge.pcm import Samples
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer
from slng_edge.voice_loop import Died, Over, VoiceLoop

ROWS = ("silence_on_interrupt", "silence_heard", "barge_in", "first_sound")

INTERRUPTIONS = 22
FEWEST = 20
LONG_ANSWER = "a" * 100
"""One word, so that its tone of 6 s has no pause; so short that so many of them stay within what
Deepgram takes a minute."""

SPOKEN_S = 0.9
PAUSE_S = 1.6
"""0.6 s until the gate closes, a reply's beginning, and at least 0.7 s in which it sounds."""

JITTER_S = 0.06
SEARCH_S = 1.2
"""The next reply starts no sooner after an interruption has begun."""

FADE_MS = 10
"""`RingBuffer`'s default."""


class ObservedBus(EventBus):
    """A bus that notes when each event was published, `time.monotonic()`."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[tuple[float, Event]] = []

    def publish(self, event: Event) -> None:
        """As `EventBus.publish`."""
        self.published.append((time.monotonic(), event))
        super().publish(event)


class ObservedSink(WavSink):
    """A file as a speaker that notes when it was given sound, `time.monotonic()`.

    As with any sink, `write` takes the block at once and then waits for room for the next.
    """

    def __init__(
        self, path: str, *, rate_hz: int, block_ms: float, buffer_ms: float, clock: MediaClock
    ) -> None:
        super().__init__(path, rate_hz=rate_hz, block_ms=block_ms, buffer_ms=buffer_ms, clock=clock)
        self.clock = clock
        self.sounded: list[float] = []

    def write(self, block: Samples) -> None:
        """As `WavSink.write`."""
        if block.any():
            self.sounded.append(time.monotonic())
        super().write(block)


@dataclass(frozen=True)
class Recorded:
    """What one run left behind; times are `time.monotonic()`, positions are seconds."""

    onsets_s: list[float]
    origin: float
    rate_hz: int
    sounding: NDArray[np.bool_]
    sounded: NDArray[np.float64]
    published: list[tuple[float, Event]]
    reply_bytes: list[float]


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return (INTERRUPTIONS + 1) * (SPOKEN_S + PAUSE_S + JITTER_S / 2) + 6


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """Silence after the decision, silence after the first word, first sound of a reply."""
    config = local_config()
    recorded = _run(plan, config)
    frame_ms, prebuffer_ms = config.audio.frame_ms, config.audio.prebuffer_ms
    barge_in_ms, handed_ms, heard_ms = _interruptions(recorded)
    told_ms = [e.silence_ms for _, e in recorded.published if isinstance(e, Interrupted)]
    told_p99, handed_p99 = statistic_of(told_ms, "p99"), statistic_of(handed_ms, "p99")
    worst = told_ms if told_p99 > handed_p99 else handed_ms
    figures = {
        "silence_on_interrupt": figure(
            "silence_on_interrupt",
            "interrupt decided → last block with sound handed to the device; the worse of the "
            "events' own figure and what the device saw",
            "ms",
            worst,
            at_most=frame_ms + FADE_MS + 5,
            statistic="p99",
            note=f"p99 by events {told_p99:.1f} ms, by the device {handed_p99:.1f} ms",
        ),
        "silence_heard": figure(
            "silence_heard",
            "interrupt decided → last sound in the output file, the device's buffer included",
            "ms",
            heard_ms,
            at_most=config.audio.output_buffer_ms + 40,
            statistic="p99",
        ),
        "barge_in": figure(
            "barge_in",
            f"user's first speech sample in the input file → last sound of the reply in the "
            f"output file, {len(barge_in_ms)} interruptions, as many voices",
            "ms",
            barge_in_ms,
            at_most=320,
            statistic="p95",
        ),
        "first_sound": figure(
            "first_sound",
            "first reply bytes sent by the gateway in real time → first block with sound handed "
            "to the device",
            "ms",
            _first_sounds_ms(recorded),
            at_most=prebuffer_ms + frame_ms + 10,
            statistic="p95",
        ),
    }
    return [figures[name] for name in ROWS if name in wanted]


def _run(plan: Plan, config: Config) -> Recorded:
    """One conversation in which every utterance after the first interrupts a reply."""
    jitter = np.random.default_rng(7).uniform(0, JITTER_S, INTERRUPTIONS + 1)
    parts, onsets_s, length = [speech.room(1.0)], [], speech.RATE_HZ
    for clip, extra_s in zip(speech.clips(INTERRUPTIONS + 1, SPOKEN_S), jitter, strict=True):
        onsets_s.append(length / speech.RATE_HZ)
        pieces = [clip, speech.room(PAUSE_S + extra_s)]
        parts += pieces
        length += sum(map(len, pieces))
    source = speech.write_wav(plan.folder / "interruptions.wav", *parts, speech.room(3.0))
    target = plan.folder / "replies.wav"
    with (
        _observed_files() as sinks,
        LocalGateway(
            stt=ScriptRecognizer([LONG_ANSWER]), tts=ToneSynthesizer(), faults=["pace=realtime"]
        ) as gateway,
    ):
        bus = ObservedBus()
        config = local_config(
            f"gateway.url={gateway.url}",
            f"audio.input=file:{source}",
            f"audio.output=file:{target}",
        )
        loop = VoiceLoop(config, bus=bus, api_key="local")
        with loop:
            _wait(loop, plan, length / speech.RATE_HZ)
        sink = next(sink for sink in sinks if sink.sounded)
        reply_bytes = _reply_bytes(gateway)
    rate_hz, _, samples = read_wav(str(target))
    return Recorded(
        onsets_s=onsets_s[1:],
        origin=sink.clock.origin_s(),
        rate_hz=rate_hz,
        sounding=samples[:, 0] != 0,
        sounded=np.array(sink.sounded),
        published=bus.published,
        reply_bytes=reply_bytes,
    )


def _wait(loop: VoiceLoop, plan: Plan, seconds: float) -> None:
    """Until every utterance has been said."""
    end_at = time.monotonic() + seconds
    while (left_s := end_at - time.monotonic()) > 0:
        plan.progress(f"interruptions, {left_s:.0f} s to go")
        while not loop.notices.empty():
            match loop.notices.get():
                case Died(_, error):
                    raise MeasurementFailed(f"the loop died: {error!r}") from error
                case Over():
                    return
        time.sleep(min(0.5, max(0.0, left_s)))


@contextlib.contextmanager
def _observed_files() -> Iterator[list[ObservedSink]]:
    """Meanwhile `file:` outputs are `ObservedSink`s; gives those that were made."""
    made: list[ObservedSink] = []

    def build(
        rest: str, *, rate_hz: int, block_ms: float, output_buffer_ms: float, clock: MediaClock
    ) -> ObservedSink:
        made.append(
            ObservedSink(
                str(Path(rest)),
                rate_hz=rate_hz,
                block_ms=block_ms,
                buffer_ms=output_buffer_ms,
                clock=clock,
            )
        )
        return made[-1]

    before = backends.SINKS["file"]
    backends.SINKS["file"] = build
    try:
        yield made
    finally:
        backends.SINKS["file"] = before


def _interruptions(recorded: Recorded) -> tuple[list[float], list[float], list[float]]:
    """Of each: first word to silence; decision to last block handed over, to last sound; ms."""
    decisions = np.array([at for at, e in recorded.published if isinstance(e, SpeechStarted)])
    rate_hz = recorded.rate_hz
    barge_in_ms, handed_ms, heard_ms = [], [], []
    for onset_s in recorded.onsets_s:
        start = round(onset_s * rate_hz)
        if not recorded.sounding[start - rate_hz // 20 : start].any():
            continue  # no reply sounded that could have been interrupted
        after = recorded.sounding[start : start + round(SEARCH_S * rate_hz)]
        last_s = (int(np.flatnonzero(after)[-1]) + 1) / rate_hz
        barge_in_ms.append(last_s * 1000)
        said_at = recorded.origin + onset_s
        decided = decisions[(decisions > said_at) & (decisions < said_at + SEARCH_S)]
        if not len(decided):
            continue
        sounded = recorded.sounded
        sounded = sounded[sounded < said_at + SEARCH_S]
        handed_ms.append(max(0.0, sounded[-1] - decided[0]) * 1000)
        heard_ms.append((said_at + last_s - decided[0]) * 1000)
    if len(handed_ms) < FEWEST:
        raise MeasurementFailed(
            f"{len(barge_in_ms)} replies of {INTERRUPTIONS} sounded when somebody spoke, "
            f"{len(handed_ms)} were interrupted; {FEWEST} are needed"
        )
    return barge_in_ms, handed_ms, heard_ms


def _reply_bytes(gateway: LocalGateway) -> list[float]:
    """When the first audio of each reply was sent."""
    first: list[float] = []
    for record in gateway.connections:
        waiting = False
        for at, sender, message in record.messages if record.kind == "tts" else ():
            if sender == "server" and isinstance(message, dict):
                waiting |= message.get("type") == "segment_start"
            elif sender == "server" and waiting:
                first.append(at)
                waiting = False
    return first


def _first_sounds_ms(recorded: Recorded) -> list[float]:
    found = []
    for at in recorded.reply_bytes:
        later = recorded.sounded[recorded.sounded > at]
        if len(later) and later[0] - at < SEARCH_S:
            found.append((later[0] - at) * 1000)
    return found
