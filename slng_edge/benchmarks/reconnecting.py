"""The connection is cut in the middle of a word."""

from __future__ import annotations

import threading
import time

from slng_edge.benchmarks import speech
from slng_edge.benchmarks.figures import Figure, MeasurementFailed, Plan, figure
from slng_edge.benchmarks.microphone_path import MicrophoneHarness, local_config
from slng_edge.pcm import SAMPLE_BYTES
from slng_edge.protocol.session_events import UtteranceLost
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

ROWS = ("reconnect", "reconnect_lost")

SPOKEN_S = 3.5
CUT_AT_S = 1.0
"""Speech has begun by then, and goes on longer than the first retry may take."""

RETRIED_WITHIN_S = 4.0


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return (SPOKEN_S + 3.0) * plan.repeat


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """Cut to speech flowing again, and samples that the gateway never got."""
    times_s, lost = [], []
    for number in range(plan.repeat):
        plan.progress(f"reconnection {number + 1} of {plan.repeat}")
        time_s, samples = _cut_once()
        times_s.append(time_s)
        lost.append(float(samples))
    figures = {
        "reconnect": figure(
            "reconnect",
            "TCP reset during speech → audio on the next connection",
            "s",
            times_s,
            at_most=1.5,
            statistic="max",
        ),
        "reconnect_lost": figure(
            "reconnect_lost",
            "samples given out by the gate that the connection with the final never got",
            "samples",
            lost,
            at_most=0,
            statistic="max",
        ),
    }
    return [figures[name] for name in ROWS if name in wanted]


def _cut_once() -> tuple[float, int]:
    cut_at = 0.0

    def cut(gateway: LocalGateway) -> None:
        nonlocal cut_at
        cut_at = time.monotonic()
        gateway.drop_all()

    with (
        LocalGateway(stt=ScriptRecognizer([""]), tts=ToneSynthesizer()) as gateway,
        MicrophoneHarness(gateway, local_config()) as microphone,
    ):
        microphone.play(speech.room(0.4))
        timer = threading.Timer(CUT_AT_S, cut, [gateway])
        timer.start()
        microphone.play(speech.running_speech(SPOKEN_S))
        microphone.play(speech.room(0.8))
        timer.join()
        given = bytes(microphone.heard.pcm)
        gateway.wait_for(
            lambda: any(record.of_type("client", "finalize") for record in gateway.connections),
            RETRIED_WITHIN_S,
        )
        arrivals = [
            at
            for record in gateway.connections
            for at, sender, message in record.messages
            if sender == "client" and isinstance(message, bytes) and record.opened_at > cut_at
        ]
        if not arrivals:
            raise MeasurementFailed("no audio came after the connection was cut")
        # A new connection knows nothing of what the old one heard: all of it is to come again.
        missing = len(given) - _common_bytes(given, gateway.connections[-1].audio)
        told = sum(event.ms for event in microphone.events if isinstance(event, UtteranceLost))
        samples = max(missing // SAMPLE_BYTES, told * speech.RATE_HZ // 1000)
        return min(arrivals) - cut_at, samples


def _common_bytes(given: bytes, received: bytes) -> int:
    """How much of the beginning of `given` was received."""
    if received.startswith(given):
        return len(given)
    pairs = zip(given, received, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(given), len(received)))
