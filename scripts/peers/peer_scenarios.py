"""What each client is put through: load in windows, and spoken turns heard from outside."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from client_process import ClientProcess, Usage
from numpy.typing import NDArray
from observing_relay import ObservingRelay
from peer_environments import OURS, ClientKind
from peer_rows import Measured

from slng_edge.benchmarks import speech
from slng_edge.benchmarks.devices import MICROPHONE, SPEAKER, Monitor
from slng_edge.benchmarks.processes import child_environment
from slng_edge.pcm import Samples

READY_TIMEOUT_S = 40.0
WARM_UP_S = 3.0
SPEECH_FIRST_S = 1.5
"""Speech before its window begins: every gate is open then."""

REPLY_FIRST_S = 1.0
REPLY_TIMEOUT_S = 8.0
SPOKEN_S = 0.9
PAUSE_S = 0.08
"""What is left of a pause in a question, for no client to take it for the end."""

AUDIBLE_SHARE = 0.05
SOUNDS_S = 0.7
"""How long a reply sounds before it is interrupted."""

JITTER_S = 0.06
GAP_S = 0.3
"""So long without sound is silence, and no stutter."""

MEMORY_TURNS = 10
TONE_MS_PER_CHARACTER = 60
PACES = {"silent": "realtime", "turns": "4", "long": "realtime"}
"""How fast each gateway sends replies, times real time. Where one is interrupted it comes faster
than it sounds, as from a service, so that a client's buffers are as full as they get."""

TURN_ANSWER = "a" * 60
"""One word, so that its tone of 3.6 s has no pause; so short that 25 of them a minute stay within
the 2,400 characters that Deepgram takes, and `slng-edge run` gives."""

REPLIES_TRIED = 3
"""On a loaded machine the virtual microphone stutters, and a detector may take that for a voice
that interrupts: a window in which the reply did not sound throughout does not count."""

SILENT_ANSWER = "a"
"""What is understood while load is measured: where a client makes a final of a short pause, its
reply lasts 60 ms."""

STREAMED_BYTES_PER_S = 32000


@dataclass(frozen=True)
class Stage:
    """What all clients meet.

    Attributes:
        gateways: The URL of the gateway that understands `SILENT_ANSWER` ("silent"), one word of
            `TURN_ANSWER` ("turns"), and one that sounds longer than a window ("long").
        folder: For recordings.
        seconds: Length of a window.
        environment: Leads to the virtual devices.
        progress: Told what is being done.
    """

    gateways: Mapping[str, str]
    folder: Path
    seconds: float
    environment: Mapping[str, str]
    progress: Callable[[str], None]


class ClientFailed(Exception):
    """A client did not do what was to be measured."""


def answers(seconds: float) -> dict[str, str]:
    """What the three gateways understand."""
    long_ms = (seconds + REPLY_FIRST_S + 3) * 1000
    return {
        "silent": SILENT_ANSWER,
        "turns": TURN_ANSWER,
        "long": "a" * round(long_ms / TONE_MS_PER_CHARACTER),
    }


def prepare_recordings(folder: Path, seconds: float, turns: int) -> None:
    """The room, speech without a pause, and the questions of many voices."""
    room_s = max(60 + 4 * seconds, 60 + 5.0 * turns)
    speech.write_wav(folder / "room.wav", speech.room(room_s))
    talk = speech.running_speech(seconds + SPEECH_FIRST_S + 2)
    speech.write_wav(folder / "talk.wav", talk)
    for number, clip in enumerate(speech.clips(turns + 1, 2 * SPOKEN_S)):
        speech.write_wav(folder / f"question-{number}.wav", _without_pauses(clip))


def _without_pauses(clip: Samples) -> Samples:
    """`SPOKEN_S` of `clip` with no pause that could be taken for its end."""
    loud = np.flatnonzero(np.abs(clip.astype(np.int32)) > AUDIBLE_SHARE * speech.SPEECH_PEAK)
    pause = round(PAUSE_S * speech.RATE_HZ)
    near = np.zeros(len(clip) + pause, dtype=np.bool_)
    for start in loud:
        near[start : start + pause] = True
    spoken: Samples = clip[near[: len(clip)]][: round(SPOKEN_S * speech.RATE_HZ)]
    return spoken


def measure_load(stage: Stage, kind: ClientKind, python: Path, measured: Measured) -> None:
    """One round: start, silence and speech in one process, a reply in another.

    Raises:
        ClientFailed: it was not ready, or ended by itself.
    """
    with _client(stage, kind, python, "silent", measured) as (client, relay):
        time.sleep(WARM_UP_S)
        sent = relay.bytes_sent("stt") + relay.bytes_sent("tts")
        before, after = _window(stage, client)
        sent = relay.bytes_sent("stt") + relay.bytes_sent("tts") - sent
        scale = 60 / (after.at - before.at)
        measured.add("cpu_silence", (after.cpu_s - before.cpu_s) * scale)
        measured.add("wakes_silence", (after.wakes - before.wakes) / (after.at - before.at))
        measured.add("bytes_silence", sent * scale)
        with _playing(stage.folder / "talk.wav"):
            time.sleep(SPEECH_FIRST_S)
            streamed = relay.bytes_sent("stt")
            before, after = _window(stage, client)
            share = (relay.bytes_sent("stt") - streamed) / (after.at - before.at)
        if share < 0.9 * STREAMED_BYTES_PER_S:
            measured.note(f"sent {share / STREAMED_BYTES_PER_S:.0%} of the speech")
        measured.add("cpu_speech", (after.cpu_s - before.cpu_s) * 60 / (after.at - before.at))
    for _ in range(REPLIES_TRIED):
        if _measure_reply(stage, kind, python, measured):
            break


def _measure_reply(stage: Stage, kind: ClientKind, python: Path, measured: Measured) -> bool:
    """Load while a reply plays; False where it did not play throughout."""
    with (
        Monitor(SPEAKER) as speaker,
        _client(stage, kind, python, "long", measured) as (client, _),
    ):
        time.sleep(WARM_UP_S)
        asked = time.monotonic()
        _play(stage.folder / "question-0.wav")
        if not _happens(lambda: len(speaker.audible_s(asked, time.monotonic())), client):
            measured.cut_replies += 1
            return False
        time.sleep(REPLY_FIRST_S)
        before, after = _window(stage, client)
        heard = speaker.audible_s(before.at, after.at)
        tenths = len(np.unique((heard * 10).astype(np.int64))) / ((after.at - before.at) * 10)
        if tenths < 0.9:
            measured.cut_replies += 1
            return False
        measured.add("cpu_reply", (after.cpu_s - before.cpu_s) * 60 / (after.at - before.at))
        return True


def measure_turns(
    stage: Stage, kind: ClientKind, python: Path, count: int, measured: Measured
) -> None:
    """Turns of which each but the first interrupts the reply before it; memory after ten.

    Raises:
        ClientFailed: it was not ready, or ended by itself.
    """
    rng = np.random.default_rng(7)
    uninterrupted = early = unanswered = 0
    with (
        Monitor(MICROPHONE) as microphone,
        Monitor(SPEAKER) as speaker,
        _client(stage, kind, python, "turns", measured) as (client, _),
    ):
        time.sleep(WARM_UP_S)
        for number in range(count + 1):
            stage.progress(f"{kind.name}: turn {number + 1} of {count + 1}")
            began = time.monotonic()
            _play(stage.folder / f"question-{number}.wav")
            spoken = microphone.audible_s(began, time.monotonic())
            if not len(spoken):
                raise ClientFailed("the virtual microphone heard nothing")
            first, last = float(spoken[0]), float(spoken[-1])
            heard = _Heard()
            replied = _happens(partial(heard.judge, speaker, first, last), client)
            if number and heard.silent_at is not None:
                measured.add("barge_in", (heard.silent_at - first) * 1000)
            elif number:
                uninterrupted += 1
            if not replied:
                unanswered += 1
            elif heard.early:
                early += 1
            else:
                measured.add("answer", (heard.replied_at - last) * 1000)
                measured.add("answer_own", (heard.replied_at - last) * 1000 - kind.waits_ms)
            time.sleep(SOUNDS_S + rng.uniform(0, JITTER_S))
            if number + 1 == MEMORY_TURNS:
                measured.add("memory", client.usage().peak_mib)
    if uninterrupted:
        measured.note(f"{uninterrupted} of {count} replies did not sound when somebody spoke")
    if unanswered:
        measured.note(f"{unanswered} of {count + 1} questions had no answer")
    if early:
        measured.note(f"{early} of {count + 1} questions were answered before they had ended")


class _Heard:
    """When the reply before was silent, and when the next began."""

    def __init__(self) -> None:
        self.silent_at: float | None = None
        self.replied_at = 0.0
        self.early = False

    def judge(self, speaker: Monitor, first: float, last: float) -> bool:
        """Whether the next reply has begun, by what has sounded since `first`."""
        sounded = speaker.audible_s(first - 0.05, time.monotonic())
        if len(sounded) and sounded[0] <= first:
            end = _first_gap(sounded)
            if end is None:
                end = len(sounded) - 1
            self.silent_at = float(sounded[end])
            sounded = sounded[end + 1 :]
        self.early = bool(len(sounded)) and sounded[0] <= last
        sounded = sounded[sounded > last]
        if len(sounded):
            self.replied_at = float(sounded[0])
        return bool(len(sounded))


def _first_gap(sounded: NDArray[np.float64]) -> int | None:
    gaps = np.flatnonzero(np.diff(sounded) >= GAP_S)
    return int(gaps[0]) if len(gaps) else None


@contextlib.contextmanager
def _client(
    stage: Stage, kind: ClientKind, python: Path, gateway: str, measured: Measured
) -> Iterator[tuple[ClientProcess, ObservingRelay]]:
    """A client that is ready, in a quiet room."""
    environment = {**child_environment(), **stage.environment}
    with (
        _playing(stage.folder / "room.wav"),
        ObservingRelay(stage.gateways[gateway]) as relay,
        ClientProcess(kind.command(python, relay.url), environment) as client,
    ):
        ready_at = relay.wait_ready(READY_TIMEOUT_S)
        if ready_at is None:
            raise ClientFailed(
                f"{kind.name} was not ready within {READY_TIMEOUT_S:g} s\n{client.said()}"
            )
        measured.add("start", ready_at - client.started_at)
        try:
            yield client, relay
        except ClientFailed as error:
            raise ClientFailed(f"{kind.name}: {error}\n{client.said()}") from error
        if not client.alive:
            raise ClientFailed(f"{kind.name} ended by itself\n{client.said()}")
        if kind.name != OURS and "Traceback" in (said := client.said()):
            measured.note(f"it said: {said.splitlines()[-1]}")


def _window(stage: Stage, client: ClientProcess) -> tuple[Usage, Usage]:
    before = client.usage()
    time.sleep(stage.seconds)
    return before, client.usage()


def _happens(condition: Callable[[], object], client: ClientProcess) -> bool:
    """Wait for it; False: not in time."""
    deadline = time.monotonic() + REPLY_TIMEOUT_S
    while not condition():
        if not client.alive:
            raise ClientFailed("it ended by itself")
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _paplay(path: Path) -> list[str]:
    return ["paplay", "-d", MICROPHONE, "--latency-msec=20", str(path)]


def _play(path: Path) -> None:
    """Play into the virtual microphone, to the end."""
    subprocess.run(_paplay(path), capture_output=True, timeout=20, check=True)


@contextlib.contextmanager
def _playing(path: Path) -> Iterator[None]:
    """Meanwhile play into the virtual microphone."""
    process = subprocess.Popen(_paplay(path), stderr=subprocess.DEVNULL, env=os.environ)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)
