"""A conversation that a test talks to: a microphone spoken into at once, a responder with a script.

What a test waits for is an event, not a time on a track: so it needs no more time than the turns
take, and no less on a slow machine.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from conversation_scripts import (
    PATIENCE_S,
    REPLY_RATE_HZ,
    Recorder,
    config_for,
    find_in,
    read_wav,
    spoken,
    voice,
    wait_until,
)

from slng_edge import VoiceLoop
from slng_edge.audio.interfaces import Source
from slng_edge.audio.null_backend import NullSource
from slng_edge.dialogue.turn_taking import State
from slng_edge.events import EventBus
from slng_edge.pcm import Samples

COUGH_MS = 80
"""Over `vad.start_ms`, and under `turn.barge_in_ms` with what the detector adds."""
WORD_MS = 300
"""Over `turn.barge_in_ms`."""

Piece = str | float | Exception | threading.Event


class Scripted:
    """A responder with prepared answers, which notes what it is asked and told.

    Args:
        answers: One each; the last again and again. Of each a text is given out, a number waited
            for in seconds, an event waited for, an exception raised.
    """

    def __init__(self, *answers: Sequence[Piece]) -> None:
        self._answers = deque(answers)
        self._changed = threading.Condition()
        self.asked: list[str] = []
        self.asked_at: list[float] = []
        self.told: list[str | None] = []
        self.cancelled: list[str] = []

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        with self._changed:
            self.asked.append(text)
            self.asked_at.append(time.monotonic())
            self._changed.notify_all()
        answer = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
        for piece in answer:
            match piece:
                case str():
                    yield piece
                case Exception():
                    raise piece
                case float() | int():
                    cancelled.wait(piece)
                case threading.Event():
                    wait_until(lambda gate=piece: gate.is_set() or cancelled.is_set())
            if cancelled.is_set():
                self.cancelled.append(text)
                return

    def heard(self, text: str | None) -> None:
        with self._changed:
            self.told.append(text)
            self._changed.notify_all()

    def wait_for(self, holds: Callable[[Self], object]) -> None:
        """Wait until what was asked and told is so."""
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self), PATIENCE_S), (self.asked, self.told)

    def cancel(self) -> None:
        """`cancelled` is waited for."""

    def close(self) -> None:
        """Nothing to release."""


class Microphone(NullSource):
    """A silent room in real time, in which somebody speaks when a test wants it."""

    _SILENT_FRAMES = 10

    def __init__(self, silent: NullSource, clock: Any) -> None:
        super().__init__(
            rate_hz=silent.rate_hz,
            frame_ms=silent.frame_samples * 1000 / silent.rate_hz,
            clock=clock,
        )
        self._said: deque[Samples] = deque()
        self._silent_frames = self._SILENT_FRAMES

    def say(self, *sounds: Samples) -> None:
        """Speak from the next frame on, after what is being said already."""
        sound = np.concatenate(sounds)
        missing = -len(sound) % self.frame_samples
        sound = np.concatenate((sound, np.zeros(missing, dtype=np.int16)))
        self._said.extend(sound.reshape(-1, self.frame_samples))

    @property
    def speaking(self) -> bool:
        """Whether something of what was to be said is not read yet, or was read just now."""
        return bool(self._said) or self._silent_frames < self._SILENT_FRAMES

    def read(self) -> Samples | None:
        """See `Source`."""
        frame = super().read()
        if frame is not None and self._said:
            self._silent_frames = 0
            return self._said.popleft()
        self._silent_frames += 1
        return frame


class _ListeningLoop(VoiceLoop):
    """A voice loop that hears a `Microphone` instead of nothing."""

    microphone: Microphone

    def _build_source(self) -> Source:
        silent = super()._build_source()
        assert isinstance(silent, NullSource)
        self.microphone = Microphone(silent, self._clock)
        return self.microphone


class Talk:
    """One conversation: the loop, what it tells, and a voice."""

    def __init__(self, loop: _ListeningLoop, recorder: Recorder, output: Path) -> None:
        self.loop = loop
        self.recorder = recorder
        self._output = output

    def say(self, ms: float = WORD_MS) -> None:
        """Somebody speaks for `ms`."""
        self.loop.microphone.say(voice(ms))

    def wait_for(self, type_: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """See `Recorder.wait_for`."""
        return self.recorder.wait_for(type_, count, **fields)

    def wait_state(self, state: str, count: int = 1) -> None:
        """Wait until the state was shown `count` times."""
        self.recorder.wait_for("state", count, state=state)

    def wait_played(self, ms: float) -> None:
        """Wait until so much of the reply that sounds was heard."""
        playback, ring = self.loop._playback, self.loop._ring
        samples = ms * REPLY_RATE_HZ / 1000
        assert wait_until(lambda: playback.played_samples(ring.utterance) >= samples)

    def wait_idle(self) -> None:
        """Wait until nothing goes on, and the speaker is silent."""
        conversation, playback = self.loop._conversation, self.loop._playback
        assert wait_until(
            lambda: (
                conversation.state is State.IDLE
                and not playback.sounding
                and not len(conversation.texts)
                and conversation._inbox.empty()
            )
        ), self.recorder.states()

    def texts(self, type_: str) -> list[str]:
        """The texts of all events of that type."""
        return [line["text"] for line in self.recorder.jsons(type_)]

    def losses(self, what: str) -> list[str]:
        """Why something of that kind was lost."""
        return [line["why"] for line in self.recorder.jsons("lost") if line["what"] == what]

    def position(self, t: float) -> int:
        """The sample of the output file that sounds `t` seconds after the bus began."""
        since = self.recorder.bus._started + t - self.loop._clock.origin_s()
        return round(since * REPLY_RATE_HZ)

    @property
    def recording(self) -> Samples:
        """What has sounded; complete once the loop is stopped."""
        return read_wav(self._output)


@contextmanager
def talking(
    url: str, folder: Path, *overrides: str, begins: str = "idle", **more: Any
) -> Iterator[Talk]:
    """A running loop that is ready for the first word, and records what it says."""
    output = folder / "out.wav"
    config = config_for(url, f"audio.output=file:{output}", "vad.stop_ms=120", *overrides)
    bus = EventBus()
    loop = _ListeningLoop(config, bus=bus, **{"api_key": "", **more})
    with Recorder(bus) as recorder:
        loop.start()
        try:
            if begins != "muted":  # then it is closed
                recorder.wait_for("device", which="input", state="open")
            recorder.wait_for("state", state=begins)
            yield Talk(loop, recorder, output)
        finally:
            loop.stop()
            bus.close()


def heard_of(recording: Samples, text: str) -> tuple[float, float]:
    """How a reply that was held once and went on stands in a recording of nothing else.

    Returns:
        Milliseconds of its sound that are heard twice, less those that are not heard at all (the
        fades), and the longest silence within it.
    """
    whole, sound = without_silence(spoken(text)), without_silence(recording)
    before = int(np.argmax(sound[: len(whole)] != whole[: len(sound)]))
    assert before, "it was not held, or does not begin as it should"
    back, whole_back = sound[::-1], whole[::-1]
    after = len(whole) - int(np.argmax(back[: len(whole)] != whole_back[: len(back)]))
    assert after < len(whole), "it does not end as it should"
    sounding = np.flatnonzero(recording)
    longest = int(np.diff(sounding).max())
    return (before - after) * 1000 / REPLY_RATE_HZ, longest * 1000 / REPLY_RATE_HZ


def without_silence(recording: Samples) -> Samples:
    """What sounds; so a slow machine, which leaves gaps in a recording, does not matter."""
    return recording[recording != 0]


def sounds_whole(recording: Samples, sound: Samples) -> bool:
    """Whether `sound` is in a recording from beginning to end."""
    return find_in(without_silence(recording), without_silence(sound)) >= 0
