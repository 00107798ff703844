"""Ten spoken turns through `run`: what they leave in memory, how soon a reply is on the wire."""

from __future__ import annotations

import contextlib
import time

from slng_edge.benchmarks import speech
from slng_edge.benchmarks.figures import Figure, Plan, figure
from slng_edge.benchmarks.processes import RunProcess, peak_memory_mib
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

ROWS = ("memory", "reply_start")

TURNS = 10
ANSWER = "Yes."
SPOKEN_S = 1.0
PAUSE_S = 1.6
"""After a question: 0.6 s until the gate closes, then 0.24 s of reply and what it takes."""

STAGGER_S = 0.4
"""So that no two of them answer at one moment."""


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return TURNS * (SPOKEN_S + PAUSE_S) + STAGGER_S * plan.repeat + 4


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """Peak resident set after ten turns; final transcript to first text."""
    parts = [speech.room(1.0)]
    for clip in speech.clips(TURNS, SPOKEN_S):
        parts += [clip, speech.room(PAUSE_S)]
    questions = speech.write_wav(plan.folder / "questions.wav", *parts, speech.room(60))
    with contextlib.ExitStack() as stack:
        gateways, children = [], []
        for _ in range(plan.repeat):
            gateways.append(stack.enter_context(_gateway()))
            child = RunProcess(gateways[-1].url, source=f"file:{questions}")
            children.append(stack.enter_context(child))
            time.sleep(STAGGER_S)
        for child in children:
            child.wait_ready()
        for turn in range(1, TURNS + 1):
            plan.progress(f"turn {turn} of {TURNS}")
            for child in children:
                child.wait_for(
                    lambda child=child, turn=turn: child.counts["playback_end"] >= turn,  # type: ignore[misc]
                    60,
                    f"make {TURNS} turns",
                )
        memory_mib = [peak_memory_mib(child.pid) for child in children]
        delays_ms = [delay for gateway in gateways for delay in _reply_delays_ms(gateway)]
    figures = {
        "memory": figure(
            "memory",
            f"VmHWM of `run` after {TURNS} turns on file input, null output; as many `run`s side "
            "by side",
            "MiB",
            memory_mib,
            at_most=64,
            statistic="max",
        ),
        "reply_start": figure(
            "reply_start",
            "final transcript sent by the gateway → first `text` there, echo responder in `run`",
            "ms",
            delays_ms,
            at_most=10,
        ),
    }
    return [figures[name] for name in ROWS if name in wanted]


def _gateway() -> LocalGateway:
    return LocalGateway(stt=ScriptRecognizer([ANSWER]), tts=ToneSynthesizer(), tier="enterprise")


def _reply_delays_ms(gateway: LocalGateway) -> list[float]:
    finals, texts = [], []
    for record in gateway.connections:
        for at, sender, message in record.messages:
            if not isinstance(message, dict):
                continue
            kind = str(message.get("type", "")).lower()
            if record.kind == "stt" and sender == "server" and kind == "final_transcript":
                finals.append(at)
            if record.kind == "tts" and sender == "client" and kind == "text":
                texts.append(at)
    delays = []
    for final_at in finals:
        first = min((at for at in texts if at >= final_at), default=None)
        if first is not None:
            delays.append((first - final_at) * 1000)
    return delays
