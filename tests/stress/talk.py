"""Conversations in which everything that may be asked of a loop is asked at once.

`faults` is the seeded conversation of `random_faults`, with its judgement, beside threads that ask
for what changes nothing. `talk` is one into which hands reach: they stop it, wake it, mute it, have
it say and answer texts, take its devices away and cut its connections.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import random_faults
from conversation_scripts import Recorder, config_for, conversation, wait_until
from labelled_sound import LabelledReplies, LabelReader, labelled_voice, numbers_of
from random_faults import Answering
from stress.hands import LAST, Hands
from stress.outcome import Crowd, Outcome
from stress.room import Room, devices_of, heard_wrong

from slng_edge import VoiceLoop
from slng_edge.simulator import LocalGateway
from slng_edge.voice_loop import Died

PULSE_S = 0.02
STOOD_STILL_S = 0.3
"""Of all threads: a machine with other work, at the lowest priority."""
PATIENCE_S = 40.0
"""For the loop to be at rest after all that, deadlines and back-off included."""


def faults(outcome: Outcome, folder: Path, seed: int, turns: int) -> None:
    """The conversation of `random_faults`, beside threads that look at everything."""
    # Each thread is some milliseconds late at each of its steps, and there are twelve.
    random_faults.CUT_WITHIN_S, random_faults.ALIGNED_S = 1.6, 0.5
    given = random_faults.conversation
    recorders: list[Recorder] = []

    @contextmanager
    def beside_bystanders(*args: Any, **more: Any) -> Iterator[tuple[VoiceLoop, Recorder]]:
        with given(*args, **more) as (loop, recorder), bystanders(outcome, loop):
            recorders.append(recorder)
            yield loop, recorder

    random_faults.conversation = beside_bystanders  # type: ignore[assignment]
    try:
        with Pulse() as pulse:
            done = random_faults.converse(folder, seed=seed, turns=turns, fault_share=0.6)
    finally:
        random_faults.conversation = given
    [recorder] = recorders
    for wrong in done.violations:
        # Speech that is read late interrupts late.
        if "was heard from" in wrong and pulse.latest_s > STOOD_STILL_S:
            outcome.counts["times not judged, the machine stood still"] += 1
        else:
            outcome.violations.append(f"{wrong}, {pulse.latest_s:.2f} s late, {recorder.jsons()}")
    outcome.counts.update({"conversations": 1, **done.counts})


class Pulse:
    """Finds out how late threads of this process run at most, for the machine's sake."""

    def __init__(self) -> None:
        self.latest_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse")

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            self._over.wait(PULSE_S)
            self.latest_s = max(self.latest_s, time.monotonic() - began - PULSE_S)


def bystanders(outcome: Outcome, loop: VoiceLoop) -> Crowd:
    """Threads that call what changes nothing in a conversation, all the time."""

    def read_events() -> None:
        subscription = loop.bus.subscribe(limit=3)
        subscription.get(timeout_s=0.05)
        subscription.close()
        assert subscription.closed or subscription.get(timeout_s=0.0) is not None

    def look() -> None:
        counters = loop.counters()
        assert counters["texts_waiting"] == 0
        assert not loop.problems()
        assert not loop.muted

    def set_volume() -> None:
        loop.set_volume(1.0)
        assert loop.volume == 1.0

    def ask_playback() -> None:
        playback = loop._playback
        assert playback.underflows >= 0
        playback.played_samples(loop._ring.utterance)
        playback.silenced(0.05)
        assert playback.sounding in (True, False)

    crowd = Crowd(outcome)
    crowd.add("reads events", read_events, pause_s=0.02)
    crowd.add("looks", look, pause_s=0.03)
    crowd.add("volume", set_volume, pause_s=0.05)
    crowd.add("unmutes", lambda: loop.mute(False), pause_s=0.05)
    crowd.add("retries", loop.retry_now, pause_s=0.3)
    crowd.add("asks the speaker", ask_playback, pause_s=0.05)
    return crowd


def talk(outcome: Outcome, folder: Path, seed: int, turns: int) -> None:
    """A conversation of `turns` voices with hands in it; then one question, answered as ever."""
    rng = random.Random(seed)
    room = Room()
    lengths = {number: rng.randrange(300, 640, 8) for number in (*range(turns), LAST)}
    voices = {number: labelled_voice(number, ms) for number, ms in lengths.items()}
    served = LocalGateway(
        stt=LabelReader(voices),
        tts=LabelledReplies(defaultdict(lambda: rng.choice((150.0, 300.0, 1200.0)))),
        faults=["tls=good"] if seed % 2 else [],
        keep_history=False,
    )
    responder = Answering(defaultdict(lambda: 2))
    with outcome.nothing_left("a conversation"), devices_of(room), served:
        config = config_for(
            served.url,
            "audio.input=default",
            "audio.output=default",
            f"gateway.ca_file={served.ca_file if seed % 2 else ''}",
            "stt.final_timeout_s=1.0",
            "tts.first_audio_timeout_s=2.0",
            "gateway.connect_timeout_s=2.0",
        )
        with conversation(config, responder=responder) as (loop, recorder):
            recorder.wait_for("connection", session="stt", state="ready")
            with Hands(outcome, seed, loop, served, room) as hands:
                for number in range(turns):
                    room.say(number, lengths[number])
                    time.sleep(lengths[number] / 1000 + rng.choice((0.3, 0.6, 1.2)))
            at_rest(outcome, loop, recorder)
            judge(outcome, recorder, hands.acts)
            answers_as_ever(outcome, loop, recorder, room, lengths[LAST])
            while not loop.notices.empty():
                notice = loop.notices.get()
                outcome.check(not isinstance(notice, Died), f"died: {notice}")
        outcome.violations += heard_wrong(room.heard())
        outcome.counts["connections"] += len(served.connections)
    outcome.counts.update({"conversations": 1, "voices": turns + 1})
    outcome.counts.update({f"hands: {name}": count for name, count in hands.acts.items()})


def at_rest(outcome: Outcome, loop: VoiceLoop, recorder: Recorder) -> None:
    """Wait until nothing is under way any more."""

    def rests() -> bool:
        waiting = loop.counters()["texts_waiting"] + len(list(loop._conversation._utterances))
        return not waiting and recorder.states()[-1:] == ["idle"]

    quiet_since = time.monotonic()
    deadline = quiet_since + PATIENCE_S
    while time.monotonic() - quiet_since < 0.7 and time.monotonic() < deadline:
        if not rests():
            quiet_since = time.monotonic()
            loop.retry_now()
        time.sleep(0.05)
    outcome.check(
        time.monotonic() < deadline,
        f"does not come to rest: {recorder.states()[-5:]}, {loop.counters()}, "
        f"{recorder.jsons()[-12:]}",
    )


def judge(outcome: Outcome, recorder: Recorder, acts: Counter[str]) -> None:
    """One final or one loss for each utterance, but for those that somebody gave up."""
    began = len(recorder.jsons("speech_start"))
    finals = recorder.jsons("final")
    losses = Counter(line["what"] for line in recorder.jsons("lost"))
    given_up = began - len(finals) - losses["speech"]
    most = 2 * (acts["stop"] + acts["wake"] + acts["button"])
    outcome.check(
        0 <= given_up <= most,
        f"{began} utterances: {len(finals)} finals, {losses['speech']} losses, and {most} "
        "may have been given up",
    )
    said = Counter(number for line in finals for number in numbers_of(line["text"]))
    for number, count in said.items():
        outcome.check(count == 1, f"words of {number} came {count} times")
    outcome.counts.update(
        {
            "utterances": began,
            "finals": len(finals),
            "speech said to be lost": losses["speech"],
            "speech given up": given_up,
            "replies begun": len(recorder.jsons("playback_start")),
            "replies interrupted": len(recorder.jsons("interrupted")),
        }
    )


def answers_as_ever(
    outcome: Outcome, loop: VoiceLoop, recorder: Recorder, room: Room, ms: int
) -> None:
    """One more question is understood, and its answer sounds to its end."""
    room.say(LAST, ms)

    def heard_whole() -> bool:
        pieces = [piece for piece in room.heard() if piece.number == LAST]
        return {piece.part for piece in pieces} == {0, 1}

    answered = wait_until(heard_whole, PATIENCE_S)
    lines = list(recorder.jsons()[-12:])
    outcome.check(answered, f"the last question was not answered: {lines}")
    outcome.check(wait_until(lambda: recorder.states()[-1] == "idle", 20.0), "does not end idle")
