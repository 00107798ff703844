"""`stop` in every state: it ends within the documented time, twice, from several threads at once.

Nothing is left of what is stopped, and what waits for it is told.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from conversation_scripts import Recorder, config_for, wait_until
from labelled_sound import LabelledReplies, LabelReader, answer_to, labelled_voice
from random_faults import Answering
from stress.outcome import Outcome, at_once
from stress.room import Room, devices_of

from slng_edge import SttSession, TtsSession, VoiceLoop
from slng_edge.dialogue.turn_taking import State
from slng_edge.errors import SlngEdgeError
from slng_edge.events import ConnectionChanged, EventBus
from slng_edge.gateway.session import STOP_TIMEOUT_S as SESSION_S
from slng_edge.simulator import LocalGateway, ToneSynthesizer
from slng_edge.voice_loop import STOP_TIMEOUT_S as LOOP_S

SLACK_S = 0.5
"""For the delays, and a machine that others use."""
VOICE = labelled_voice(0, 640)


def closing(outcome: Outcome, folder: Path, seed: int, most: int, only: str = "") -> None:
    """The states in an order of the seed's, `most` of them."""
    rng = random.Random(seed)
    cases = [case for case in (*_loops(), *_sessions()) if only in case[0]]
    rng.shuffle(cases)
    for name, play in cases[:most]:
        with outcome.nothing_left(f"stop while {name}"):
            play(outcome, rng)
        outcome.counts["stopped in a state"] += 1


Case = tuple[str, Callable[[Outcome, random.Random], None]]


# The loop


LOOPS: dict[str, tuple[tuple[str, ...], str]] = {
    "before it was started": ((), ""),
    "just started": ((), "start"),
    "connecting": ((), "nobody answers"),
    "greeting": (("never_ready",), "connecting"),
    "in back-off": (("refuse=503",), "failed"),
    "refused": (("refuse=401",), "failed"),
    "ready": ((), "ready"),
    "listening": ((), "listening"),
    "waiting for the final": (("stt:final_delay=3000",), "speech_end"),
    "thinking": (("tts:first_audio_delay=3000",), "thinking"),
    "speaking": (("tts:pace=realtime",), "speaking"),
    "paused": (("tts:pace=realtime", "stt:final_delay=3000"), "paused"),
    "muted": ((), "muted"),
    "muting": ((), "muting"),
    "without its microphone": ((), "input"),
    "without its speaker": ((), "output"),
    "in the responder": ((), "responder"),
    "in a reader of events": ((), "reader"),
    "with texts that wait": (("tts:pace=realtime",), "texts"),
}
"""What the gateway does, and what is waited for or done before the stop."""


def _loops() -> Iterator[Case]:
    for name, (faults, reach) in LOOPS.items():
        yield (
            f"a loop is {name}",
            lambda outcome, rng, faults=faults, reach=reach: _stop_loop(  # type: ignore[misc]
                outcome, rng, faults, reach
            ),
        )


class _Stops(Answering):
    """A responder that stops its own loop, where it is told to."""

    loop: VoiceLoop | None = None

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        if self.loop is not None:
            self.loop.stop()
        yield from super().respond(text, cancelled)


def _stop_loop(outcome: Outcome, rng: random.Random, faults: tuple[str, ...], reach: str) -> None:
    room, responder = Room(), _Stops(defaultdict(lambda: 2))
    served = LocalGateway(
        stt=LabelReader({0: VOICE}),
        tts=LabelledReplies(defaultdict(lambda: 1500.0)),
        faults=faults,
        keep_history=False,
    )
    with served, devices_of(room), _nobody() as silent:
        url = silent if reach == "nobody answers" else served.url
        config = config_for(url, "audio.input=default", "audio.output=default")
        loop = VoiceLoop(config, responder=responder, bus=EventBus(), api_key="")
        with Recorder(loop.bus) as recorder:
            try:
                if reach:
                    loop.start()
                    _reach(loop, recorder, room, responder, reach, rng)
                if reach == "reader":
                    for _ in loop.events():
                        loop.stop()  # in the thread that reads them
                        break
                at_once(outcome, "loop", loop.stop, limit_s=LOOP_S + SLACK_S)
            finally:
                loop.bus.close()


def _reach(
    loop: VoiceLoop,
    recorder: Recorder,
    room: Room,
    responder: _Stops,
    reach: str,
    rng: random.Random,
) -> None:
    """Wait until it is there, or bring it there."""
    if reach in ("start", "nobody answers"):
        time.sleep(rng.choice((0.0, 0.01, 0.1)))
        return
    if reach in ("connecting", "failed"):
        recorder.wait_for("connection", state=reach)
        return
    for session in ("stt", "tts"):
        recorder.wait_for("connection", session=session, state="ready")
    if reach == "paused":
        # Asked in writing: the final of what is said over the reply is what takes long.
        loop.ask("words of 0")
        recorder.wait_for("playback_start")
        room.voices.append(VOICE)
        assert wait_until(lambda: loop._conversation.state is State.PAUSED), "it is not paused"
    elif reach in ("listening", "speech_end", "thinking", "speaking"):
        room.voices.append(VOICE)
        if reach == "speech_end":
            recorder.wait_for("speech_end")
        else:
            recorder.wait_for("state", state=reach)
    elif reach == "muted":
        loop.mute(True)
        recorder.wait_for("state", state="muted")
    elif reach == "muting":
        loop.mute(True)
        loop.mute(False)
        loop.mute(True)
    elif reach in ("input", "output"):
        room.taken.add(reach)
        recorder.wait_for("device", which=reach, state="lost")
    elif reach == "responder":
        responder.loop = loop
        loop.ask("words of 0")
        wait_until(lambda: not loop._started, 5.0)
    elif reach == "reader":
        loop.ask("words of 0")
    elif reach == "texts":
        for number in range(10):
            loop.say(answer_to(number, 2))


@contextmanager
def _nobody() -> Iterator[str]:
    """Somewhere to connect to, where nobody says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"


# The sessions


SESSIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "before it was started": ((), ""),
    "just started": ((), "start"),
    "connecting": ((), "nobody answers"),
    "greeting": (("never_ready",), "connecting"),
    "in back-off": (("refuse=503",), "failed"),
    "refused": (("refuse=401",), "failed"),
    "ready": ((), "ready"),
    "at work": (("stt:final_delay=3000", "tts:pace=realtime"), "work"),
    "half open": (("half_open=400ms",), "work"),
    "read by nobody": (("stall=400ms",), "work"),
    "in a callback": ((), "callback"),
    "waited for": (("never_ready",), "waiter"),
}


def _sessions() -> Iterator[Case]:
    for kind in ("stt", "tts"):
        for name, (faults, reach) in SESSIONS.items():
            yield (
                f"{kind} is {name}",
                lambda outcome, rng, kind=kind, faults=faults, reach=reach: _stop_session(  # type: ignore[misc]
                    outcome, rng, kind, faults, reach
                ),
            )


def _stop_session(
    outcome: Outcome, rng: random.Random, kind: str, faults: tuple[str, ...], reach: str
) -> None:
    served = LocalGateway(
        stt=LabelReader({0: VOICE}), tts=ToneSynthesizer(), faults=faults, keep_history=False
    )
    seen: list[str] = []
    stopped_within: list[bool] = []

    def on_event(event: object) -> None:
        if isinstance(event, ConnectionChanged):
            seen.append(event.state)
            if reach == "callback" and event.state == "ready":
                began = time.monotonic()
                session.stop()
                stopped_within.append(time.monotonic() - began < SLACK_S)

    with served, _nobody() as silent:
        config = config_for(silent if reach == "nobody answers" else served.url)
        session = (SttSession if kind == "stt" else TtsSession)(
            config, on_event=on_event, api_key=""
        )
        waiters: list[threading.Thread] = []
        if reach:
            session.start()
        if reach in ("connecting", "failed", "ready", "work", "callback"):
            awaited = "ready" if reach in ("work", "callback") else reach
            outcome.check(wait_until(lambda: awaited in seen, 10.0), f"{kind} is not {awaited}")
        if reach == "work":
            _work(session)
            time.sleep(rng.choice((0.05, 0.3)))
        if reach == "waiter":

            def wait() -> None:
                with suppress(SlngEdgeError):
                    session.wait_ready(1.0)

            waiters = [threading.Thread(target=wait, name="waits") for _ in range(2)]
            for waiter in waiters:
                waiter.start()
        if reach == "callback":
            outcome.check(wait_until(lambda: stopped_within, 5.0), "the callback does not return")
            outcome.check(all(stopped_within), "stopped in a callback, it waits")
        at_once(outcome, kind, session.stop, limit_s=SESSION_S + SLACK_S)
        for waiter in waiters:
            waiter.join(2.0)
            outcome.check(not waiter.is_alive(), "who waits for `ready` is not told")


def _work(session: SttSession | TtsSession) -> None:
    if isinstance(session, SttSession):
        number = session.open_utterance()
        session.add_audio(number, VOICE)
        session.end_utterance(number, time.monotonic())
    else:
        session.open_reply(1)
        session.add_text(1, "A sentence that takes its time to be said, and then some more of it.")
