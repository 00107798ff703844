"""Every public method from many threads at once, and what has to hold of it meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from controllable import RecordedLoop
from conversation_scripts import Recorder, config_for, wait_until
from labelled_sound import LabelledReplies, LabelReader, answer_to, labelled_voice
from random_faults import Answering
from stress.calls_audio import capture, playback, ring_buffer
from stress.calls_sessions import stt_session, tts_session
from stress.outcome import Crowd, Outcome, at_once
from stress.room import Room, devices_of

from slng_edge import VoiceLoop
from slng_edge.asks import MOST_WAITING
from slng_edge.cli.control_connection import ControlConnection
from slng_edge.errors import ControlError, SlngEdgeError
from slng_edge.events import EventBus, Stamped, StateChanged
from slng_edge.gateway.connection_budget import ConnectionBudget
from slng_edge.service.control_commands import ControlCommands
from slng_edge.service.control_socket import ControlSocket
from slng_edge.simulator import LocalGateway

Part = Callable[[Outcome, Path, int, float], None]
"""Gets the seed, and for how long it is to call."""


def calls(outcome: Outcome, folder: Path, seed: int, tenths: int, only: str = "") -> None:
    """Each of `PARTS`, for `tenths` of a second."""
    for part in PARTS:
        if only in part.__name__:
            with outcome.nothing_left(part.__name__):
                part(outcome, folder, seed, tenths / 10)
            outcome.counts["objects called"] += 1


def event_bus(outcome: Outcome, folder: Path, seed: int, length_s: float) -> None:
    """Each subscriber gets all events from its subscription on, once, in one order."""
    bus = EventBus()
    whole = bus.subscribe(limit=10**6)
    small = bus.subscribe(limit=5)
    numbers = iter(range(10**9))
    lock = threading.Lock()

    def publish() -> None:
        with lock:
            number = next(numbers)
        bus.publish(StateChanged(str(number)))

    def come_and_go() -> None:
        subscription = bus.subscribe()
        first = subscription.get(timeout_s=0.02)
        then = subscription.get(timeout_s=0.02)
        if first is not None and then is not None:
            assert first.t <= then.t, "out of order"
        subscription.close()
        subscription.close()
        while not subscription.closed:
            assert subscription.get(timeout_s=1.0) is not None

    crowd = Crowd(outcome)
    for index in range(4):
        crowd.add(f"publishes-{index}", publish)
    for index in range(3):
        crowd.add(f"comes and goes-{index}", come_and_go)
    with crowd:
        time.sleep(length_s / 2)
    bus.close()
    seen, times = [], []
    while not whole.closed:
        stamped = whole.get(timeout_s=0.0)
        if stamped is not None:
            seen.append(int(stamped.as_json()["state"]))
            times.append(stamped.t)
    outcome.check(sorted(seen) == list(range(next(numbers))), "events are missing, or came twice")
    outcome.check(times == sorted(times), "events out of order")
    outcome.check(small.dropped == len(seen) - 5, f"{small.dropped} dropped of {len(seen)}")


def connection_budget(outcome: Outcome, folder: Path, seed: int, length_s: float) -> None:
    """Never more places than there are, and all of them there at the end."""
    budget = ConnectionBudget(2)
    taken = [0]
    lock = threading.Lock()
    told: Counter[int] = Counter()

    def session(index: int) -> Callable[[], None]:
        claim = budget.claim(lambda: told.update([index]))

        def act() -> None:
            claim.press(True)
            if claim.take():
                with lock:
                    taken[0] += 1
                    assert taken[0] <= 2, f"{taken[0]} places of 2"
                claim.press(False)
                assert claim.wanted_by_another in (True, False)
                with lock:
                    taken[0] -= 1
                claim.give_back()
            claim.press(False)

        return act

    crowd = Crowd(outcome)
    for index in range(4):
        crowd.add(f"session-{index}", session(index))
    with crowd:
        time.sleep(length_s / 2)
    claim = budget.claim(lambda: None)
    free = 0
    while claim.take():
        free += 1
    outcome.check(free == 2, f"{free} places are free of 2")
    outcome.check(len(told) == 4, f"told {told}")


def voice_loop(outcome: Outcome, folder: Path, seed: int, length_s: float) -> None:
    """All that may be asked of a loop, by eight threads; each text is said or told as lost."""
    room = Room()
    voices = {0: labelled_voice(0, 400)}
    served = LocalGateway(
        stt=LabelReader(voices), tts=LabelledReplies(defaultdict(lambda: 100.0)), keep_history=False
    )
    loops: list[VoiceLoop] = []

    class Asks(Answering):
        """A responder that asks its own loop for things, as it may from any thread."""

        def respond(self, text: str, cancelled: threading.Event):  # type: ignore[no-untyped-def]
            [loop] = loops
            loop.counters()
            loop.set_volume(1.0)
            loop.retry_now()
            yield from super().respond(text, cancelled)

    with devices_of(room), served:
        config = config_for(served.url, "audio.input=default", "audio.output=default")
        loop = VoiceLoop(config, responder=Asks(defaultdict(lambda: 1)), bus=EventBus(), api_key="")
        loops.append(loop)
        numbers = iter(range(1, 10**6))
        taken = [0]
        lock = threading.Lock()

        def say(now: bool) -> None:
            with lock:
                number = next(numbers) % 1000
            loop.say(answer_to(number, 1), now=now)
            with lock:
                taken[0] += 1

        def ask() -> None:
            with lock:
                number = next(numbers) % 1000
            loop.ask(f"words of {number}")

        def mute() -> None:
            loop.mute(True)
            loop.mute(False)

        # Before it is started, too: then it is carried out afterwards.
        loop.say(answer_to(999, 1))
        loop.mute(True)
        loop.mute(False)
        with Recorder(loop.bus) as recorder:
            loop.start()
            crowd = Crowd(outcome, ControlError)
            for now in (False, True):
                crowd.add(f"says, now {now}", lambda now=now: say(now), pause_s=0.05)  # type: ignore[misc]
            crowd.add("asks", ask, pause_s=0.1)
            crowd.add("wakes", loop.wake, pause_s=0.15)
            crowd.add("stops", loop.interrupt, pause_s=0.3)
            crowd.add("button", loop.talk_or_stop, pause_s=0.2)
            crowd.add("mutes", mute, pause_s=0.05)
            crowd.add("volume", lambda: loop.set_volume(loop.volume), pause_s=0.01)
            crowd.add("looks", lambda: (loop.counters(), loop.problems()), pause_s=0.01)
            crowd.add("retries", loop.retry_now, pause_s=0.05)
            with crowd:
                room.say(0, 400)
                time.sleep(length_s)
            texts = loop.counters()["texts_waiting"]
            outcome.check(texts <= MOST_WAITING + 1, f"{texts} texts wait")
            loop.interrupt()
            idle = wait_until(
                lambda: recorder.states()[-1:] == ["idle"] and not loop.counters()["texts_waiting"],
                15.0,
            )
            outcome.check(idle, f"does not come to rest: {recorder.jsons()[-10:]}")
            at_once(outcome, "loop", loop.stop, limit_s=5.0)
            loop.bus.close()


def control_socket(outcome: Outcome, folder: Path, seed: int, length_s: float) -> None:
    """Events from many threads and clients that come and go; each request has one answer."""
    path = str(folder / f"control-{seed}")
    loop = RecordedLoop()
    control = ControlSocket(
        path,
        ControlCommands(loop=lambda: loop, status=lambda: {"state": "idle"}, reload=_no_reload),
        on_death=lambda name, error: outcome.violations.append(f"{name} died: {error!r}"),
    )
    control.start()

    def ask() -> None:
        with ControlConnection(path) as connection:
            assert connection.ask("status") == {"state": "idle"}
            connection.ask("mute")
            connection.ask("say", text="a text")

    def stream() -> None:
        control.stream(Stamped(1.0, datetime.now(UTC), StateChanged("idle")))

    crowd = Crowd(outcome, ControlError)
    for index in range(3):
        crowd.add(f"asks-{index}", ask, pause_s=0.005)
    for index in range(2):
        crowd.add(f"streams-{index}", stream, pause_s=0.001)
    with crowd:
        time.sleep(length_s / 2)
    crowd = Crowd(outcome, ControlError, SlngEdgeError)
    crowd.add("asks to the end", ask)
    crowd.add("streams to the end", stream)
    with crowd:
        at_once(outcome, "control socket", lambda: control.stop(2.0), limit_s=2.5)
        time.sleep(0.05)
    outcome.check(not Path(path).exists(), "the socket's file is left")


def _no_reload():  # type: ignore[no-untyped-def]
    raise ControlError("not here")


PARTS: tuple[Part, ...] = (
    ring_buffer,
    playback,
    capture,
    event_bus,
    connection_budget,
    voice_loop,
    stt_session,
    tts_session,
    control_socket,
)
