"""CPU, wake-ups, bytes: four `run`s side by side, so that what disturbs one disturbs all."""

from __future__ import annotations

import contextlib
import statistics
import time

from slng_edge.benchmarks import speech
from slng_edge.benchmarks.figures import Figure, MeasurementFailed, Plan, figure
from slng_edge.benchmarks.processes import RunProcess, cpu_s, voluntary_switches
from slng_edge.benchmarks.relay import CountingRelay
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

WAKE_UPS = {
    "wakeups_silence": ("null", "in silence, null devices"),
    "wakeups_speech": ("speech", "while speech streams"),
    "wakeups_reply": ("reply", "while a reply plays"),
}
"""By row: which `run`, and what it does."""

ROWS = ("cpu_silence", "cpu_speech", "cpu_reply", "bytes_in_silence", *WAKE_UPS)

WARM_UP_S = 3.0
SPEECH_AT_S = 1.0
STREAMED_BYTES_PER_MINUTE = 16000 * 2 * 60
REPLY_SENTENCE = "Here is a sentence of some ten short words or so. "


def lasts_s(plan: Plan) -> float:
    """About how long it takes."""
    return plan.repeat * plan.seconds + WARM_UP_S + 8


def measure(plan: Plan, wanted: frozenset[str]) -> list[Figure]:
    """CPU seconds a minute and wake-ups a second in silence, speech and reply; bytes in silence."""
    total_s = plan.repeat * plan.seconds + WARM_UP_S + 20
    reply = REPLY_SENTENCE * (1 + round(total_s * 1000 / 60 / len(REPLY_SENTENCE)))
    quiet = speech.write_wav(plan.folder / "quiet.wav", speech.room(total_s))
    talk = speech.write_wav(
        plan.folder / "talk.wav", speech.room(SPEECH_AT_S), speech.running_speech(total_s)
    )
    question = speech.write_wav(
        plan.folder / "question.wav",
        *(speech.room(SPEECH_AT_S), speech.clips(1)[0], speech.room(total_s)),
    )
    with contextlib.ExitStack() as stack:
        # Nothing understood: no reply plays while speech streams.
        deaf = stack.enter_context(_gateway(""))
        answering = stack.enter_context(_gateway(reply))
        relay = stack.enter_context(CountingRelay(deaf.url))
        names = {"null": "null", "quiet": f"file:{quiet}", "speech": f"file:{talk}"}
        children = {
            name: stack.enter_context(
                RunProcess(relay.url if name == "null" else deaf.url, source=source)
            )
            for name, source in names.items()
        }
        children["reply"] = stack.enter_context(
            RunProcess(answering.url, source=f"file:{question}")
        )
        for child in children.values():
            child.wait_ready()
        answer = children["reply"]
        answer.wait_for(lambda: answer.of_type("playback_start"), 15, "reply")
        time.sleep(WARM_UP_S)
        used: dict[str, list[float]] = {name: [] for name in children}
        woken: dict[str, list[float]] = {name: [] for name in children}
        bytes_before, began = relay.bytes_sent("stt"), time.monotonic()
        streamed_before = _audio_bytes(deaf)
        for number in range(plan.repeat):
            plan.progress(f"load, window {number + 1} of {plan.repeat}")
            for name, (spent, wakes) in _window(plan.seconds, children).items():
                used[name].append(spent)
                woken[name].append(wakes)
        elapsed_s = time.monotonic() - began
        sent = (relay.bytes_sent("stt") - bytes_before) * 60 / elapsed_s
        share = (_audio_bytes(deaf) - streamed_before) / (32000 * elapsed_s)
        if answer.of_type("playback_end"):
            raise MeasurementFailed("the reply ended before the measurement did")
    if share < 0.9:
        raise MeasurementFailed(f"only {share:.0%} of the speech was streamed")
    figures = {
        "cpu_silence": figure(
            "cpu_silence",
            "`run` on null devices, both sessions ready; CPU s (user+system) per minute, "
            "with three more beside it",
            "s",
            used["null"],
            at_most=0.9,
            note=f"{statistics.median(used['quiet']):.2f} s on a file of a quiet room",
        ),
        "cpu_speech": figure(
            "cpu_speech",
            "`run` on a file of speech, less one on a file of a quiet room, same windows",
            "s",
            _difference(used["speech"], used["quiet"]),
            at_most=0.6,
            note=f"{share:.0%} of the time streamed",
        ),
        "cpu_reply": figure(
            "cpu_reply",
            "`run` playing a 24 kHz reply fed in real time, less a quiet room, same windows",
            "s",
            _difference(used["reply"], used["quiet"]),
            at_most=0.6,
        ),
        "bytes_in_silence": figure(
            "bytes_in_silence",
            "16 kHz s16le streamed, over bytes on the STT socket of `run` in silence",
            "times",
            [STREAMED_BYTES_PER_MINUTE / max(1.0, sent)],
            at_least=2000,
            note=f"{sent:.0f} bytes a minute in {elapsed_s:.0f} s",
        ),
    }
    for row, (name, doing) in WAKE_UPS.items():
        figures[row] = figure(
            row,
            f"voluntary context switches of all threads of `run` {doing}: a count, not a time",
            "a second",
            woken[name],
        )
    return [figures[name] for name in ROWS if name in wanted]


def _gateway(answer: str) -> LocalGateway:
    return LocalGateway(
        tier="enterprise",  # several processes at once
        stt=ScriptRecognizer([answer]),
        tts=ToneSynthesizer(),
        faults=["pace=realtime"],
        keep_history=False,
    )


def _window(seconds: float, children: dict[str, RunProcess]) -> dict[str, tuple[float, float]]:
    """CPU seconds a minute and wake-ups a second of each process in the next `seconds`."""
    before = {name: _so_far(child.pid) for name, child in children.items()}
    time.sleep(seconds)
    spent = {}
    for name, child in children.items():
        at, used, woken = _so_far(child.pid)
        elapsed_s = at - before[name][0]
        spent[name] = (
            (used - before[name][1]) * 60 / elapsed_s,
            (woken - before[name][2]) / elapsed_s,
        )
    return spent


def _so_far(pid: int) -> tuple[float, float, int]:
    return time.monotonic(), cpu_s(pid), voluntary_switches(pid)


def _difference(values: list[float], base: list[float]) -> list[float]:
    return [value - below for value, below in zip(values, base, strict=True)]


def _audio_bytes(gateway: LocalGateway) -> int:
    return sum(record.audio_bytes for record in gateway.connections if record.kind == "stt")
