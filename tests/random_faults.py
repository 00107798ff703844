"""A conversation through a network that goes wrong at random, and what must hold at its end.

A seed gives everything: how long each utterance is, where somebody speaks into a reply, and what
goes wrong when. Utterances and replies say themselves what they are (`labelled_sound`), so at the
end it can be told, sample by sample, what reached the gateway and what was heard.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import random
import re
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from conversation_scripts import (
    REPLY_RATE_HZ,
    Recorder,
    config_for,
    conversation,
    read_wav,
    until_over,
    wait_until,
    write_wav,
)
from labelled_sound import (
    VOICE_RATE_HZ,
    Heard,
    LabelledReplies,
    LabelReader,
    answer_to,
    heard_in,
    labelled_voice,
    numbers_of,
)

from slng_edge import VoiceLoop
from slng_edge.pcm import Samples
from slng_edge.simulator import Faults, LocalGateway

STOP_MS = 200
"""Silence after which the gate closes; `config_for` sets it."""

CUT_WITHIN_S = 0.8
"""So long after the first sample of speech a reply may still sound: onset, `turn.barge_in_ms`,
a block, the fade, and what stands in the device."""

ALIGNED_S = 0.1
"""The output file may be this much off the input's time."""

QUIET_END_S = 45.0
"""After the input's end: the longest that deadlines let a reply, a final or a loss wait."""

STATUSES = (408, 429, 500, 503)

DRAWN_PERCENT = 60
"""Of the connections after a mishap that says so, this share has a fault that the gateway draws."""


# The plan


@dataclass(frozen=True)
class Utterance:
    """Somebody speaks: from `at_s` in the input, `voice_ms` long; the reply's sentences."""

    number: int
    at_s: float
    voice_ms: int
    parts: int
    part_ms: int

    @property
    def end_s(self) -> float:
        """When the voice falls silent."""
        return self.at_s + self.voice_ms / 1000


@dataclass(frozen=True)
class Mishap:
    """What goes wrong at `at_s`: faults of connections to come, cuts, an HTTP refusal."""

    at_s: float
    faults: tuple[str, ...] = ()
    drops: int = 0
    refuse: int | None = None
    refuse_s: float = 0.0


@dataclass(frozen=True)
class Plan:
    """All that a seed gives."""

    utterances: tuple[Utterance, ...]
    mishaps: tuple[Mishap, ...]

    @property
    def length_s(self) -> float:
        """Of the input."""
        return self.utterances[-1].end_s + 2.5


def plan(seed: int, turns: int, *, fault_share: float = 0.5) -> Plan:
    """`turns` utterances, a fifth of them into a reply, and mishaps in `fault_share` of them."""
    rng = random.Random(seed)
    utterances, mishaps = [], []
    at_s = 0.8
    interrupted = False
    for number in range(turns):
        voice_ms = rng.randrange(400, 640, 8) if interrupted else rng.randrange(300, 600, 8)
        interrupted = rng.random() < 0.2
        parts, part_ms = rng.choice((1, 2)), rng.choice((150, 200, 300))
        if interrupted:
            parts, part_ms = 2, 1500
        utterance = Utterance(number, at_s, voice_ms, parts, part_ms)
        utterances.append(utterance)
        reply_s = 0.7 if interrupted else parts * part_ms / 1000 + 0.4
        next_s = utterance.end_s + STOP_MS / 1000 + reply_s
        if rng.random() < fault_share:
            mishaps.append(_mishap(rng, at_s + rng.random() * (next_s - at_s)))
        at_s = next_s
    return Plan(tuple(utterances), tuple(mishaps))


def _mishap(rng: random.Random, at_s: float) -> Mishap:
    drawn = (f"random={rng.randrange(10**6)}:{DRAWN_PERCENT}",)
    kind = rng.choice(("drop", "drop twice", "refuse", "drawn", "drawn", "drawn", "calm"))
    if kind == "drop":
        return Mishap(at_s, drops=1)
    if kind == "drop twice":
        return Mishap(at_s, drops=2)
    if kind == "refuse":
        refuse_s = rng.choice((0.1, 0.5, 1.5, 3.0))
        return Mishap(at_s, drops=1, refuse=rng.choice(STATUSES), refuse_s=refuse_s)
    if kind == "drawn":
        return Mishap(at_s, faults=drawn, drops=1)
    return Mishap(at_s)


def voices_of(planned: Plan) -> dict[int, Samples]:
    """What is said, by the utterances' numbers."""
    return {each.number: labelled_voice(each.number, each.voice_ms) for each in planned.utterances}


def track_of(planned: Plan, voices: dict[int, Samples]) -> Samples:
    """The whole input."""
    track = np.zeros(round(planned.length_s * VOICE_RATE_HZ), dtype=np.int16)
    for each in planned.utterances:
        start = round(each.at_s * VOICE_RATE_HZ)
        track[start : start + len(voices[each.number])] = voices[each.number]
    return track


# The conversation


class Answering:
    """A responder: the answer to the last utterance that is in the words."""

    def __init__(self, parts: dict[int, int]) -> None:
        self._parts = parts

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        numbers = numbers_of(text)
        if numbers:
            yield answer_to(numbers[-1], self._parts[numbers[-1]])

    def cancel(self) -> None:
        """Nothing runs for long."""

    def close(self) -> None:
        """Nothing to release."""


@dataclass
class Outcome:
    """What came of it; `violations` is empty where all is well."""

    seed: int
    turns: int
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    rss_kib: tuple[int, int, int] = (0, 0, 0)

    def table(self) -> str:
        """The counts and the violations as text."""
        early, late, peak = self.rss_kib
        rows = [
            ("seed", self.seed),
            *self.counts.items(),
            ("seconds", round(self.seconds)),
            ("memory after a tenth, KiB", early),
            ("memory at the end, KiB", late),
            ("memory at the most, KiB", peak),
            ("violations", len(self.violations)),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(
            [*(f"{name:<{width}}  {value:>8}" for name, value in rows), *self.violations]
        )


def converse(
    folder: Path,
    *,
    seed: int,
    turns: int,
    hasty: bool = True,
    fault_share: float = 0.5,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Hold the conversation of a seed, in real time, and judge it.

    Args:
        folder: Where `in.wav`, `out.wav` and `events.jsonl` are written.
        seed: Gives everything.
        turns: How many utterances; one takes about two seconds.
        hasty: Reconnect without the back-off, so that more of the turns have a connection.
        fault_share: In what share of the turns something goes wrong.
        say: Gets a line of progress now and then.
    """
    began = time.monotonic()
    planned = plan(seed, turns, fault_share=fault_share)
    voices = {
        each.number: labelled_voice(each.number, each.voice_ms) for each in planned.utterances
    }
    reader = LabelReader(voices)
    replies = LabelledReplies({each.number: each.part_ms for each in planned.utterances})
    write_wav(folder / "in.wav", track_of(planned, voices))
    outcome = Outcome(seed, turns)
    before = _held()
    served = LocalGateway(stt=reader, tts=replies, keep_history=False)
    with served:
        config = config_for(
            served.url,
            f"audio.input=file:{folder / 'in.wav'}",
            f"audio.output=file:{folder / 'out.wav'}",
            "stt.final_timeout_s=1.0",
            "tts.first_audio_timeout_s=2.0",
            "gateway.connect_timeout_s=2.0",
        )
        responder = Answering({each.number: each.parts for each in planned.utterances})
        with conversation(config, responder=responder) as (loop, recorder):
            driver = _Driver(planned, served, loop, recorder, hasty=hasty)
            with driver:
                rss = driver.run(say)
                until_over(loop, timeout_s=QUIET_END_S)
            outcome.rss_kib = (rss, _rss_kib(), _peak_kib())
    outcome.seconds = time.monotonic() - began
    told = "".join(f"{json.dumps(line)}\n" for line in recorder.jsons())
    (folder / "events.jsonl").write_text(told, encoding="utf-8")
    _judge(outcome, planned, recorder, reader, heard_in(read_wav(folder / "out.wav")))
    outcome.violations += _left(before)
    return outcome


class _Driver:
    """Lets things go wrong when the plan says so, and cuts the back-off short."""

    def __init__(
        self,
        planned: Plan,
        served: LocalGateway,
        loop: VoiceLoop,
        recorder: Recorder,
        *,
        hasty: bool,
    ) -> None:
        self._planned, self._served, self._recorder = planned, served, recorder
        self._loop = loop
        self._hasty = hasty
        self._thread = threading.Thread(target=self._hasten, name="hasten")
        self._subscription = recorder.bus.subscribe()

    def __enter__(self) -> _Driver:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._served.refuse_new = None
        self._subscription.close()
        self._thread.join(5)

    def run(self, say: Callable[[str], None]) -> int:
        """Until the last mishap; returns the resident memory after a tenth of the time."""
        self._recorder.wait_for("device", which="input", state="open")
        origin = time.monotonic()
        rss, tenth_s, told_s = 0, self._planned.length_s / 10, 0.0
        steps: list[tuple[float, Mishap]] = [
            (mishap.at_s, mishap) for mishap in self._planned.mishaps
        ]
        for at_s, mishap in [*steps, (self._planned.length_s, Mishap(self._planned.length_s))]:
            while (left_s := origin + at_s - time.monotonic()) > 0:
                time.sleep(min(left_s, 1.0))
                now_s = time.monotonic() - origin
                rss = rss or (_rss_kib() if now_s > tenth_s else 0)
                if now_s > told_s + 30:
                    told_s = now_s
                    say(f"{now_s:.0f} of {self._planned.length_s:.0f} s")
            self._let_happen(mishap)
        return rss or _rss_kib()

    def _let_happen(self, mishap: Mishap) -> None:
        self._served.faults = Faults(*mishap.faults)
        self._served.refuse_new = mishap.refuse
        for count in range(mishap.drops):
            time.sleep(0.2 * count)
            self._served.drop_all()
        if mishap.refuse is not None:
            time.sleep(mishap.refuse_s)
            self._served.refuse_new = None

    def _hasten(self) -> None:
        sessions = {"stt": self._loop._stt, "tts": self._loop._tts}
        while not self._subscription.closed:
            stamped = self._subscription.get(timeout_s=60.0)
            if stamped is None or not self._hasty:
                continue
            event = stamped.as_json()
            if event["type"] == "connection" and "retry_in_s" in event:
                time.sleep(0.05)  # an attempt that is refused at once must not become a busy loop
                sessions[event["session"]].retry_now()


# The judgement


def _judge(
    outcome: Outcome, planned: Plan, recorder: Recorder, reader: LabelReader, heard: list[Heard]
) -> None:
    finals = recorder.jsons("final")
    losses = Counter(line["what"] for line in recorder.jsons("lost"))
    began = len(recorder.jsons("speech_start"))
    connected = recorder.jsons("connection")
    outcome.counts.update(
        {
            "turns": outcome.turns,
            "mishaps": len(planned.mishaps),
            "connections": sum(line["state"] == "ready" for line in connected),
            "connections failed": sum(line["state"] == "failed" for line in connected),
            "utterances": began,
            "finals": len(finals),
            "speech said to be lost": losses["speech"],
            "replies begun": len(recorder.jsons("playback_start")),
            "replies interrupted": len(recorder.jsons("interrupted")),
            "replies said to be cut": losses["reply"],
        }
    )
    outcome.violations += words_wrong(planned, began, finals, losses, reader)
    outcome.violations += replies_wrong(planned, heard)
    outcome.violations += cut_in_silence(planned, recorder.jsons(), heard)


def words_wrong(
    planned: Plan,
    began: int,
    finals: list[dict[str, Any]],
    losses: Counter[str],
    reader: LabelReader,
) -> list[str]:
    """Every utterance is one final or one loss; every voice's words came once, or were lost."""
    wrong = []
    if began != len(finals) + losses["speech"]:
        wrong.append(f"{began} utterances: {len(finals)} finals and {losses['speech']} losses")
    said = [number for line in finals for number in numbers_of(line["text"])]
    wrong += [f"words of {n} came {count} times" for n, count in Counter(said).items() if count > 1]
    wrong += [f"utterance {number} reached the gateway broken" for number in reader.broken]
    missing = sorted({each.number for each in planned.utterances} - set(said))
    if len(missing) > losses["speech"]:
        wrong.append(f"words of {missing} never came, {losses['speech']} losses were told")
    if said != sorted(said):
        wrong.append(f"finals out of order: {said}")
    for line in finals:
        whole = " ".join(f"words of {number}" for number in numbers_of(line["text"]))
        if line["text"] != whole:
            wrong.append(f"a final that nobody said: {line['text']!r}")
    if losses["words"]:
        wrong.append(f"words came {losses['words']} times after their utterance had ended")
    return wrong


def replies_wrong(planned: Plan, heard: list[Heard]) -> list[str]:
    """Nothing is heard twice, in another order, with a hole, or in another turn."""
    wrong = []
    for earlier, later in itertools.pairwise(heard):
        at = f"at {later.at / REPLY_RATE_HZ:.2f} s: {later} after {earlier}"
        same = (earlier.number, earlier.part) == (later.number, later.part)
        if (later.number, later.part) < (earlier.number, earlier.part):
            wrong.append(f"an earlier reply {at}")
        elif same and later.first <= earlier.last:
            wrong.append(f"heard twice {at}")
        elif same and later.first > earlier.last + 2:  # a piece's last pair is not counted
            wrong.append(f"a hole {at}")
    starts = {each.number: each.at_s for each in planned.utterances}
    for piece in heard:
        began_s, ended_s = piece.at / REPLY_RATE_HZ, piece.end / REPLY_RATE_HZ
        question = planned.utterances[piece.number]
        latest_s = starts.get(piece.number + 1, planned.length_s + QUIET_END_S) + CUT_WITHIN_S
        if began_s < question.end_s - ALIGNED_S or ended_s > latest_s + ALIGNED_S:
            wrong.append(
                f"reply {piece.number} was heard from {began_s:.2f} to {ended_s:.2f} s: its "
                f"question ended at {question.end_s:.2f}, the next began at "
                f"{latest_s - CUT_WITHIN_S:.2f}"
            )
    return wrong


def cut_in_silence(planned: Plan, events: list[dict[str, Any]], heard: list[Heard]) -> list[str]:
    """A reply that was heard to its end is whole, where nobody was told that it was cut."""
    complete = Counter[int]()
    last_pair = {
        each.number: round(each.part_ms * REPLY_RATE_HZ / 1000) // 2 - 1
        for each in planned.utterances
    }
    for piece in heard:
        complete[piece.number] += piece.last >= last_pair[piece.number] - 1
    whole = sum(
        complete[each.number] >= each.parts for each in planned.utterances if complete[each.number]
    )
    ended = sum(line["type"] == "playback_end" for line in events)
    cut = sum(line["type"] == "lost" and line["what"] == "reply" for line in events)
    if whole < ended - cut:
        return [f"{ended} replies were heard to their end, {cut} told as cut, {whole} are whole"]
    return []


# What is left behind


def _held() -> tuple[set[threading.Thread], set[tuple[str, str]]]:
    return set(threading.enumerate()), _descriptors()


def _descriptors() -> set[tuple[str, str]]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((name, os.readlink(f"/proc/self/fd/{name}")))
        except OSError:
            continue  # the listing's own
    return {(name, target) for name, target in found if not target.startswith("/proc/")}


def _left(before: tuple[set[threading.Thread], set[tuple[str, str]]]) -> list[str]:
    """Threads, sockets and files that were not there at the start."""

    def now_left() -> tuple[set[threading.Thread], set[tuple[str, str]]]:
        gc.collect()
        threads, descriptors = _held()
        return threads - before[0], descriptors - before[1]

    wait_until(lambda: not any(now_left()), 3.0)
    threads, descriptors = now_left()
    return [f"thread {thread.name} is left" for thread in threads] + [
        f"descriptor {name} ({target}) is left" for name, target in sorted(descriptors)
    ]


def _rss_kib() -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) if found else 0


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
