"""The stage of the fault matrix: a voice loop that is driven into a state, and then struck.

The loop has files as its devices, and a local gateway of its own. What it is waiting for is seen
in its events and in the gateway's record of its messages, so that nothing hangs on how fast the
machine is.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from conversation_scripts import (
    PATIENCE_S,
    Recorder,
    config_for,
    connections,
    conversation,
    read_wav,
    wait_until,
)
from faults.microphone import Microphone, Said, SoundRecognizer, Take

from slng_edge.pcm import Samples
from slng_edge.simulator import ConnectionRecord, Faults, LocalGateway, ToneSynthesizer
from slng_edge.voice_loop import Died, VoiceLoop

RESET = 1006
LONG_S = 100
"""A back-off is shorter; who is refused for good waits longer."""
TURN = ("speech_start", "speech_end", "final", "reply", "playback_start", "playback_end")
"""The events of a turn, but for those that measure it."""
QUIET_S = 0.3
"""How long nothing may come any more at the end."""
QUICK = (
    "stt.final_timeout_s=1.5",
    "tts.first_audio_timeout_s=1.5",
    "gateway.connect_timeout_s=1.5",
)


class State(Enum):
    """Where the loop is when the fault strikes."""

    IDLE = "idle"
    LISTENING = "listening"
    FINAL = "waiting for the final"
    AUDIO = "waiting for audio"
    SPEAKING = "speaking"
    INTERRUPTING = "interrupting"


HOLDS: dict[State, tuple[str, ...]] = {
    State.IDLE: (),
    State.LISTENING: (),
    State.FINAL: ("stt:final_delay=800@1",),
    State.AUDIO: ("tts:first_audio_delay=800@1",),
    State.SPEAKING: ("tts:pace=realtime@1",),
    State.INTERRUPTING: ("tts:pace=realtime@1",),
}
"""What keeps the loop in a state for long enough to be struck in it: on its first connections."""

SHORT, LONG = "the first", "tell me all there is to tell of it"
INTERRUPTION, PROBE = "the third", "one question"
QUESTIONS = {
    state: (LONG,) if state is State.SPEAKING else (SHORT,)
    for state in State
    if state is not State.INTERRUPTING
} | {State.INTERRUPTING: (LONG, INTERRUPTION)}
"""What is said up to the strike and over it; the last of them is the turn that is struck."""


@dataclass(frozen=True)
class Strike:
    """What is done to the gateway when the loop is in the state; in this order.

    Attributes:
        upcoming: The faults of connections to come, instead of those so far.
        open: Faults that come on in the connections that are open; those that a session has, not
            those that a connection is made with.
        error: The code of an `error` event on the connections that are open.
        close: The close code for the connections that are open; 1006 is a TCP reset.
        passes: Whether the faults of connections to come are over when both sessions have met
            them once.
    """

    upcoming: tuple[str, ...] | None = None
    open: tuple[str, ...] = ()
    error: str = ""
    close: int = 0
    passes: bool = False

    def hit(self, served: LocalGateway, recorder: Recorder) -> None:
        """Strike. At its return connections that are to be closed are."""
        if self.upcoming is not None:
            served.faults = Faults(*self.upcoming)
        links = list(served._sessions.running())
        for link in links:
            if self.open:
                faults = Faults(*self.open)
                link.faults = faults.for_connection(link.record.kind, link.record.number)
            if self.error:
                link.send_error(self.error, "struck")
            if self.close and self.close != RESET:
                link.later(1, partial(link.close, self.close, "struck"))
        if self.close == RESET:
            served.drop_all()
        if self.close:
            records = [link.record for link in links]
            assert served.wait_for(
                lambda: all(record.close_code is not None for record in records), PATIENCE_S
            )
        if self.passes:
            for session in ("stt", "tts"):
                recorder.wait_for("connection", count=2, session=session, state="failed")
            served.faults = Faults()


@dataclass(frozen=True)
class Setting:
    """What a cell of the matrix is played with.

    Attributes:
        state: Where the loop is struck.
        faults: The gateway's from the beginning.
        strike: What happens in the state.
        config: Overrides of the configuration.
        events: How often each type of event has to have come at the end of the struck turn; more
            than one where chance decides.
        ends_in: The last state that is shown; in "error" nothing more can be asked.
    """

    state: State
    faults: tuple[str, ...]
    strike: Strike
    config: tuple[str, ...]
    events: tuple[Mapping[str, int], ...]
    ends_in: str


@dataclass
class Played:
    """What came of a cell."""

    events: list[dict[str, Any]]
    recording: Samples
    takes: list[Take]
    said: list[Said]
    records: list[ConnectionRecord]

    def jsons(self, *types: str) -> list[dict[str, Any]]:
        """The events of these types, in order."""
        return [line for line in self.events if line["type"] in types]

    def of_kind(self, kind: str) -> list[ConnectionRecord]:
        """The connections of one kind of session, in order."""
        return [record for record in self.records if record.kind == kind]


class Stage:
    """A running loop, its gateway and its microphone."""

    def __init__(
        self,
        served: LocalGateway,
        loop: VoiceLoop,
        recorder: Recorder,
        recognizer: SoundRecognizer,
    ) -> None:
        self.served, self.loop, self.recorder = served, loop, recorder
        self.recognizer, self.microphone = recognizer, recognizer.microphone

    def say(self, text: str, ms: int = 400) -> None:
        """Say `text` in half a second."""
        self.microphone.say(text, ms, self.loop._clock.elapsed_s)

    def wait_ready(self) -> None:
        """Until both sessions are, for the first time."""
        for session in ("stt", "tts"):
            self.recorder.wait_for("connection", session=session, state="ready")
        self.recorder.wait_for("state", state="idle")

    def reach(self, state: State) -> None:
        """Bring the loop into `state`; in idle, the question is under way as it is struck."""
        [first, *more] = QUESTIONS[state]
        self.say(first, 1200 if state is State.LISTENING else 400)
        stt, tts = connections(self.served, "stt")[0], connections(self.served, "tts")[0]
        if state is State.LISTENING:
            self.recorder.wait_for("speech_start")
            self._wait_for(lambda: stt.audio_bytes >= 15000, stt)
        elif state is State.FINAL:
            self._wait_for(lambda: stt.of_type("client", "finalize"), stt)
        elif state is State.AUDIO:
            # An error may come between the text and its flush, which is not sent then.
            self._wait_for(
                lambda: tts.of_type("client", "flush") or tts.of_type("server", "error"), tts
            )
        elif state is not State.IDLE:
            self.recorder.wait_for("playback_start")
        if state is State.INTERRUPTING:
            before = stt.audio_bytes
            self.say(more[0], 800)
            self.recorder.wait_for("interrupted")
            self._wait_for(lambda: tts.of_type("client", "clear"), tts)
            self._wait_for(lambda: stt.audio_bytes > before + 12000, stt)

    def settle(self, alternatives: Sequence[Mapping[str, int]], ends_in: str) -> None:
        """Until as many events as one of these says have come, and `ends_in` is shown."""

        def settled() -> bool:
            self.look_for_deaths()
            counts = self.counts()
            came = any(
                all(counts[type_] >= count for type_, count in events.items())
                for events in alternatives
            )
            return came and self.recorder.states()[-1] == ends_in

        assert wait_until(settled, 2 * PATIENCE_S), f"does not settle: {self._told()}"

    def look_for_deaths(self) -> None:
        """Raise what a thread of the loop died of."""
        while not self.loop.notices.empty():
            notice = self.loop.notices.get()
            if isinstance(notice, Died):
                raise notice.error

    def counts(self) -> Counter[str]:
        """How often each type of event came; "refused" is a connection that is, for good."""
        lines = self.recorder.jsons()
        counts = Counter(line["type"] for line in lines)
        counts["refused"] = sum(line.get("retry_in_s", 0) > LONG_S for line in lines)
        return counts

    def _told(self) -> list[tuple[Any, ...]]:
        names = ("t", "type", "session", "state", "text", "why", "reason", "retry_in_s")
        return [
            tuple(line[name] for name in names if name in line) for line in self.recorder.jsons()
        ]

    def _wait_for(self, holds: Callable[[], object], record: ConnectionRecord) -> None:
        """Until the gateway has seen it, or its connection has ended by a fault of its own."""
        came = self.served.wait_for(lambda: holds() or record.close_code is not None, PATIENCE_S)
        assert came, f"not reached: {self._told()}"


@contextmanager
def stage_for(setting: Setting, folder: Path) -> Iterator[Stage]:
    """A loop and its gateway, both running."""
    recognizer = SoundRecognizer(Microphone(folder / "in.wav"))
    served = LocalGateway(
        stt=recognizer,
        tts=ToneSynthesizer(),
        faults=(*HOLDS[setting.state], *setting.faults),
    )
    with served:
        config = config_for(
            served.url,
            f"gateway.ca_file={served.ca_file}",
            f"audio.input=file:{recognizer.microphone.path}",
            f"audio.output=file:{folder / 'out.wav'}",
            *QUICK,
            *setting.config,
        )
        with (
            contextlib.closing(recognizer.microphone),
            conversation(config) as (loop, recorder),
        ):
            yield Stage(served, loop, recorder, recognizer)


def play(setting: Setting) -> Played:
    """Drive a loop into the state, strike, let it finish, ask once more; what came of it."""
    with TemporaryDirectory(prefix="slng-edge-") as name:
        folder = Path(name)
        with stage_for(setting, folder) as stage:
            stage.wait_ready()
            stage.reach(setting.state)
            setting.strike.hit(stage.served, stage.recorder)
            stage.settle(setting.events, setting.ends_in)
            if setting.ends_in != "error":
                before = stage.counts()
                stage.say(PROBE)
                stage.settle([before + Counter(TURN)], setting.ends_in)
            threading.Event().wait(QUIET_S)
            events = stage.recorder.jsons()
            stage.look_for_deaths()
        return Played(
            events,
            read_wav(folder / "out.wav"),
            stage.recognizer.takes,
            stage.microphone.said,
            stage.served.connections,
        )
