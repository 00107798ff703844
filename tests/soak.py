"""Thousands of turns with the whole service, faster than real time, with faults by a seed.

The gateway and whoever speaks are here; the service is a process of its own, so that what it holds
is its own. The next turn begins when the one before is over: a fault may take its time.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from labelled_sound import LabelledReplies, LabelReader, labelled_voice, numbers_of
from soak_service import DEPTHS_FD

from slng_edge.benchmarks.processes import child_environment
from slng_edge.pcm import Samples
from slng_edge.simulator import Faults, LocalGateway
from slng_edge.simulator.limits import TIERS

VOICES = 200
"""Turns are numbered anew after so many: each voice is kept at the gateway, sample by sample."""

TURN_S = 60.0
"""A turn that is not over after so long never is."""

PAUSE_S = 2.0
"""Of media, between turns: a voice without pauses would be taken for the noise of the room."""

QUIET_S = 3.0
"""Where nothing happens for so long in `idle`, nothing will."""

HASTE_S = 0.02
"""An attempt that is refused at once must not become a busy loop."""

SAMPLE_S = 1.0
SETTINGS = (
    "audio.input=turns",
    "audio.output=null",
    "audio.echo_cancel=off",
    "control.socket=",
    "vad.stop_ms=200",
    "turn.barge_in=on",  # an echo answers: its words would be taken for the device's own
    "stt.final_timeout_s=1.0",
    "stt.offline_keep_s=5",
    "tts.first_audio_timeout_s=2.0",
    "gateway.connect_timeout_s=2.0",
    "tts.model=slng/rime/arcana:3-en",  # no limit of characters a minute is known
)

KINDS = ("plain", "interrupted", "drop", "refuse", "drawn")


@dataclass(frozen=True)
class Turn:
    """What is said, what is answered, and what goes wrong meanwhile."""

    number: int
    kind: str
    seed: int


def turns_of(seed: int, count: int, *, fault_share: float) -> Iterator[Turn]:
    """`count` turns; a tenth of them is interrupted by the next, and `fault_share` go wrong."""
    rng = random.Random(seed)
    for at in range(count):
        draw = rng.random()
        kind = "interrupted" if draw < 0.1 else "plain"
        if draw > 1 - fault_share:
            kind = rng.choice(KINDS[2:])
        yield Turn(at % VOICES, kind, rng.randrange(10**6))


def voice_ms(number: int) -> int:
    """How long voice `number` is."""
    return 320 + 8 * (number * 7 % 36)


def part_ms(number: int) -> int:
    """How long a sentence of the answer to it is."""
    return (150, 300, 1200)[number % 3]


@dataclass
class Sample:
    """What the service holds after `turn` turns."""

    turn: int
    seconds: float
    rss_kib: int
    threads: int
    files: int
    depths: dict[str, int]


@dataclass
class Outcome:
    """What came of it; `violations` is empty where all is well."""

    seed: int
    speed: float
    turns: int = 0
    seconds: float = 0.0
    media_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def after(self, turn: int) -> Sample:
        """The first sample after so many turns, or the last."""
        return next((each for each in self.samples if each.turn >= turn), self.samples[-1])


class Replies(LabelledReplies):
    """As those, and something short where the words that are echoed name nobody."""

    def synthesize(
        self, text: str, rate_hz: int, *, speed: float = 1.0, language: str = ""
    ) -> Samples:
        """See `Synthesizer`."""
        if not numbers_of(text):
            return np.full(rate_hz // 10, 1000, dtype=np.int16)
        return super().synthesize(text, rate_hz, speed=speed, language=language)


class Service:
    """The service's process: what it told, and what it holds."""

    def __init__(self, url: str, speed: float, log: Path) -> None:
        program = Path(__file__).with_name("soak_service.py")
        overrides = [word for each in (f"gateway.url={url}", *SETTINGS) for word in ("-s", each)]
        read, write = os.pipe()
        self._log = log.open("wb")
        command = ["bash", "-c", f'exec "$@" {DEPTHS_FD}>&{write}', "soak", sys.executable]
        self.process = subprocess.Popen(
            [*command, str(program), str(speed), "--config", os.devnull, *overrides],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            pass_fds=(write,),
            env={
                **child_environment(),
                "MALLOC_ARENA_MAX": "1",  # as in the unit
                "PYTHONPATH": str(Path(__file__).parent),
            },
        )
        os.close(write)
        self.depths: dict[str, int] = {}
        self.state = ""
        self.ended = False
        self.new: deque[dict[str, Any]] = deque()
        self.changed = threading.Condition()
        depths = os.fdopen(read, encoding="ascii")
        self._readers = [
            threading.Thread(target=self._read_events, name="soak-events"),
            threading.Thread(target=self._read_depths, args=(depths,), name="soak-depths"),
        ]
        for reader in self._readers:
            reader.start()

    def say(self, number: int) -> None:
        """Let somebody speak."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number} {voice_ms(number)}\n")
        self.process.stdin.flush()

    def stop(self) -> int:
        """End it; its exit status."""
        self.process.terminate()
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        for reader in self._readers:
            reader.join(10)
        for stream in (self.process.stdin, self.process.stdout, self._log):
            if stream is not None:
                stream.close()
        return status

    def holds(self) -> tuple[int, int, int]:
        """Resident KiB, threads and open files."""
        folder = Path(f"/proc/{self.process.pid}")
        status = (folder / "status").read_text(encoding="ascii")
        rss, threads = (
            int(re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)[1])  # type: ignore[index]
            for name in ("VmRSS", "Threads")
        )
        return rss, threads, len(os.listdir(folder / "fd"))

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            with self.changed:
                if event["type"] == "state":
                    self.state = event["state"]
                self.new.append(event)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _read_depths(self, lines: Any) -> None:
        with lines:
            for line in lines:
                self.depths = json.loads(line)


@contextmanager
def service(url: str, speed: float, log: Path, outcome: Outcome) -> Iterator[Service]:
    """It runs; its exit status has to be 0."""
    running = Service(url, speed, log)
    try:
        yield running
    finally:
        status = running.stop()
        if status != 0:
            outcome.violations.append(f"the service ended with {status}, see {log}")


def soak(
    folder: Path,
    *,
    seed: int,
    turns: int,
    speed: float,
    fault_share: float,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Hold `turns` turns, and judge each of them.

    Args:
        folder: Where the service's log is written.
        seed: Gives everything but the moments.
        turns: How many.
        speed: Seconds of media in a second.
        fault_share: In what share of the turns something goes wrong.
        say: Gets a line of progress now and then.
    """
    outcome = Outcome(seed, speed)
    reader = LabelReader({n: labelled_voice(n, voice_ms(n)) for n in range(VOICES)})
    replies = Replies({n: part_ms(n) for n in range(VOICES)})
    began = told_at = time.monotonic()
    sampled_at = 0.0
    enterprise = TIERS["enterprise"]
    a_minute = round(enterprise.messages_a_minute * speed)
    TIERS["soak"] = dataclasses.replace(enterprise, messages_a_minute=a_minute)
    with (
        LocalGateway(tier="soak", stt=reader, tts=replies, keep_history=False) as gateway,
        service(gateway.url, speed, folder / "service.log", outcome) as running,
    ):
        judge = Judge(running, outcome)
        judge.wait(lambda: running.state == "idle", "become ready")
        for turn in turns_of(seed, turns, fault_share=fault_share):
            with mishap(turn, gateway):
                judge.hold(turn)
            time.sleep(PAUSE_S / speed)
            outcome.turns += 1
            now = time.monotonic()
            if running.ended or len(outcome.violations) > 20:
                break
            if now - sampled_at >= SAMPLE_S or outcome.turns == turns:
                sampled_at = now
                rss, threads, files = running.holds()
                outcome.samples.append(
                    Sample(outcome.turns, now - began, rss, threads, files, dict(running.depths))
                )
            if now - told_at >= 30:
                told_at = now
                say(f"{outcome.turns} of {turns} turns, {rss} KiB")
        judge.settle()
        outcome.seconds = time.monotonic() - began
        outcome.violations += gateway.violations
    outcome.media_s = outcome.seconds * speed
    outcome.violations += [f"utterance {each} reached the gateway broken" for each in reader.broken]
    return outcome


@contextmanager
def mishap(turn: Turn, gateway: LocalGateway) -> Iterator[None]:
    """What goes wrong in a turn; at its end all is well again."""
    rng = random.Random(turn.seed)

    def calm() -> None:
        gateway.faults, gateway.refuse_new = Faults(), None

    timers = []
    if turn.kind in ("drop", "refuse", "drawn"):
        timers = [
            threading.Timer(rng.random() * 0.3, gateway.drop_all),
            threading.Timer(rng.choice((0.3, 0.6, 1.5)), calm),
        ]
    if turn.kind == "drawn":
        gateway.faults = Faults(f"random={turn.seed}:60")
    elif turn.kind == "refuse":
        gateway.refuse_new = rng.choice((408, 429, 500, 503))
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
            timer.join()
        calm()


class Judge:
    """Lets somebody speak, waits until the turn is over, and says what was wrong with it."""

    def __init__(self, running: Service, outcome: Outcome) -> None:
        self._service = running
        self._outcome = outcome
        self._began = 0
        self._ended = 0
        self._said = 0
        self._accounted = 0
        self._torn: list[str] = []
        self._losses_before = 0

    def wait(self, holds: Callable[[], object], what: str) -> bool:
        """Wait for it, taking note of every event; a violation where it does not come."""
        until = time.monotonic() + TURN_S
        quiet_at = time.monotonic()
        while True:
            with self._service.changed:
                events = list(self._service.new)
                self._service.new.clear()
                for event in events:
                    self._note(event)
                if holds():
                    return True
                now = time.monotonic()
                if events or not self._is_over:
                    quiet_at = now
                left_s = min(until, quiet_at + QUIET_S) - now
                if left_s <= 0 or self._service.ended:
                    self._outcome.violations.append(
                        f"turn {self._outcome.turns}: it did not {what} ({self._service.state})"
                    )
                    return False
                self._service.changed.wait(left_s)

    def hold(self, turn: Turn) -> None:
        """One turn, and where it is interrupted the one that interrupts."""
        self._say(turn.number)
        if turn.kind == "interrupted":
            played, ended = self._outcome.counts["playback_start"], self._ended
            self.wait(
                lambda: (
                    self._outcome.counts["playback_start"] > played
                    or (self._ended > ended and self._service.state == "idle")
                ),
                "answer or give up",
            )
            self._say((turn.number + VOICES // 2) % VOICES)
        self.settle()

    def settle(self) -> None:
        """Until all that was said is understood or lost, and nobody speaks."""
        lost_before = self._outcome.counts["lost speech"]
        told = self.wait(lambda: self._is_over and self._accounted >= self._said, "come to an end")
        if not told and self._is_over:
            # Two voices may be one utterance, which is one loss.
            self._outcome.violations.pop()
            if self._outcome.counts["lost speech"] == lost_before:
                self._outcome.violations.append(
                    f"turn {self._outcome.turns}: a voice was not heard"
                )
        losses = self._outcome.counts["lost words"] + self._outcome.counts["lost speech"]
        if losses == self._losses_before:
            self._outcome.violations += [
                f"a final that nobody said: {text!r}" for text in self._torn
            ]
        self._losses_before = losses
        self._torn.clear()
        self._said = self._accounted = 0

    @property
    def _is_over(self) -> bool:
        return self._began == self._ended and self._service.state in ("idle", "offline")

    def _say(self, number: int) -> None:
        self._service.say(number)
        self._said += 1

    def _note(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        self._outcome.counts[kind] += 1
        if kind == "speech_start":
            self._began += 1
        elif kind == "final":
            self._ended += 1
            numbers = numbers_of(event["text"])
            self._accounted += max(1, len(numbers))
            if event["text"] != " ".join(f"words of {number}" for number in numbers):
                self._torn.append(event["text"])
        elif kind == "lost":
            self._outcome.counts[f"lost {event['what']}"] += 1
            if event["what"] == "speech":
                self._ended += 1
                self._accounted += 1
        elif kind == "connection" and "retry_in_s" in event:
            # The back-off need not be sat out: an unchanged configuration means to try now.
            time.sleep(HASTE_S)
            self._service.process.send_signal(signal.SIGHUP)
