"""From the microphone frame to the wire: frames paced in real time through gate and session."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from slng_edge.benchmarks import speech
from slng_edge.benchmarks.figures import Figure, MeasurementFailed, Plan, figure
from slng_edge.config import Config
from slng_edge.config_loading import load_config
from slng_edge.gateway.stt_session import SttSession
from slng_edge.hearing import Hearing
from slng_edge.listening.echo_coupling import NO_ECHO
from slng_edge.listening.vad_gate import (
    GateEvent,
    Onset,
    SpeechBegan,
    SpeechContinued,
    SpeechStopped,
    VadGate,
)
from slng_edge.pcm import FrameSplitter, PcmFormat, Samples
from slng_edge.simulator import ConnectionRecord, LocalGateway, ScriptRecognizer, ToneSynthesizer

ROWS = ("frame_path", "end_of_turn")

READY_S = 10.0
UTTERANCES = 8
SPEECH_S = 2.0


class ObservedGate(VadGate):
    """A gate that remembers what it gave out."""

    given: list[GateEvent]

    def receive_frame(
        self, frame: Samples, onset: Onset | None = None, over_echo_db: float = NO_ECHO
    ) -> list[GateEvent]:
        """As `VadGate`; `given` holds the same events."""
        self.given = super().receive_frame(frame, onset, over_echo_db)
        return self.given


@dataclass
class Heard:
    """What the harness handed over and when, `time.monotonic()`.

    Attributes:
        speech: (when a frame within an utterance was complete, bytes given out up to its end).
        last_speech_at: When the last frame that the gate called speech was complete, of each
            utterance that has ended.
        pcm: All that the gate gave out.
    """

    speech: list[tuple[float, int]] = field(default_factory=list)
    last_speech_at: list[float] = field(default_factory=list)
    pcm: bytearray = field(default_factory=bytearray)


class MicrophoneHarness:
    """Hearing and a speech-to-text session, as the loop has them; a context manager.

    `play` is the capture thread: it hands over a frame when the last of its samples would have
    been recorded.
    """

    def __init__(self, gateway: LocalGateway, config: Config) -> None:
        self.heard = Heard()
        self.events: list[Any] = []
        self._config = config
        self._gate = speech.new_gate(ObservedGate, config)
        assert isinstance(self._gate, ObservedGate)
        self._observed: ObservedGate = self._gate
        self._session = SttSession(
            config, url=gateway.url, api_key="local", on_event=self.events.append
        )
        self._hearing = Hearing(self._gate, self._session, post=self.events.append)
        frame_samples = PcmFormat(config.stt.sample_rate).samples(config.audio.frame_ms)
        self._splitter = FrameSplitter(frame_samples)
        self._handed: list[float] = []
        self._due_s = 0.0

    def __enter__(self) -> Self:
        self._session.start()
        self._session.wait_ready(READY_S)
        self._due_s = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.stop()

    def play(self, sound: Samples) -> None:
        """Say `sound` into the microphone, in real time."""
        for frame in self._splitter.receive(sound):
            self._due_s += self._config.audio.frame_ms / 1000
            time.sleep(max(0.0, self._due_s - time.monotonic()))
            now = time.monotonic()
            self._handed.append(now)
            self._hearing.receive_frame(frame)
            for event in self._observed.given:
                self._note(event, now)

    def _note(self, event: GateEvent, now: float) -> None:
        match event:
            case SpeechBegan(frames):
                for early in frames:
                    self.heard.pcm += early.tobytes()
            case SpeechContinued(frame):
                self.heard.pcm += frame.tobytes()
                self.heard.speech.append((now, len(self.heard.pcm)))
            case SpeechStopped(_, _, silence_ms):
                back = silence_ms // self._config.audio.frame_ms
                self.heard.last_speech_at.append(self._handed[-1 - back])


def local_config(*settings: str) -> Config:
    """The defaults, whatever this machine's configuration says."""
    return load_config(os.devnull, ["gateway.tier=pro", *settings], environ={})


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return max(UTTERANCES, plan.repeat) * (SPEECH_S + 1.0) + 2


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """Frame to gateway during speech; last speech frame to `finalize`."""
    config = local_config()
    utterances = max(UTTERANCES, plan.repeat)
    pause = speech.room(config.vad.stop_ms / 1000 + 0.4)
    with (
        LocalGateway(stt=ScriptRecognizer([""]), tts=ToneSynthesizer()) as gateway,
        MicrophoneHarness(gateway, config) as microphone,
    ):
        microphone.play(speech.room(0.5))
        for number, clip in enumerate(speech.clips(utterances, SPEECH_S), start=1):
            plan.progress(f"microphone to gateway, utterance {number} of {utterances}")
            microphone.play(clip)
            microphone.play(pause)
        heard = microphone.heard
        record = gateway.connections[0]
        if not gateway.wait_for(lambda: len(_finalizes(record)) >= utterances, 2.0):
            raise MeasurementFailed(
                f"{len(_finalizes(record))} utterances of {utterances} came to the gateway"
            )
        paths_ms = _paths_ms(heard, record)
        ends = zip(heard.last_speech_at, _finalizes(record), strict=True)
        ends_ms = [(finalized - spoken) * 1000 for spoken, finalized in ends]
    frame_ms, stop_ms = config.audio.frame_ms, config.vad.stop_ms
    figures = {
        "frame_path": figure(
            "frame_path",
            "frame handed to hearing → its last byte at the gateway, mapped by bytes, in speech",
            "ms",
            paths_ms,
            at_most=5,
            statistic="p99",
            note=f"{len(paths_ms)} frames",
        ),
        "end_of_turn": figure(
            "end_of_turn",
            "last frame that the gate called speech → `finalize` at the gateway",
            "ms",
            ends_ms,
            at_most=stop_ms + frame_ms + 5,
            statistic="max",
        ),
    }
    return [figures[name] for name in ROWS if name in wanted]


def _finalizes(record: ConnectionRecord) -> list[float]:
    return [
        at
        for at, sender, message in list(record.messages)
        if sender == "client" and isinstance(message, dict) and message.get("type") == "finalize"
    ]


def _paths_ms(heard: Heard, record: ConnectionRecord) -> list[float]:
    """For each frame: until the gateway had as many bytes as had been given out with it."""
    arrivals: list[tuple[float, int]] = []
    total = 0
    for at, sender, message in record.messages:
        if sender == "client" and isinstance(message, bytes):
            total += len(message)
            arrivals.append((at, total))
    paths, index = [], 0
    for handed_at, count in heard.speech:
        while index < len(arrivals) and arrivals[index][1] < count:
            index += 1
        if index == len(arrivals):
            raise MeasurementFailed(f"{count - total} bytes did not come to the gateway")
        paths.append((arrivals[index][0] - handed_at) * 1000)
    return paths
