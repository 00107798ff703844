"""The whole loop, put together: microphone, gate, sessions, responder, speaker, conversation.

    with VoiceLoop(load_config()) as loop:
        for stamped in loop.events():
            print(stamped.as_json())

Parts are started bottom-up and stopped in reverse; each stop has a deadline, and a thread that
does not keep it is named.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from slng_edge.asks import MuteAsked, StopAsked, TextAsked, WakeAsked
from slng_edge.audio.backends import configured_sink, configured_source
from slng_edge.audio.capture import Capture
from slng_edge.audio.chimes import load_sounds
from slng_edge.audio.echo_cancel import build_echo_canceller
from slng_edge.audio.far_end import FarEnd
from slng_edge.audio.interfaces import Sink, Source
from slng_edge.audio.media_clock import MediaClock
from slng_edge.audio.playback import Playback
from slng_edge.audio.ring_buffer import RingBuffer
from slng_edge.audio.utterance_recorder import RecordingOutbox
from slng_edge.config import Config
from slng_edge.conversation import Conversation, SessionRefused
from slng_edge.dialogue.self_interruption import SelfInterruption
from slng_edge.dialogue.turn_taking import Deadlines, State, TurnTaking
from slng_edge.errors import ControlError, SlngEdgeError, StuckThread
from slng_edge.events import ConnectionChanged, DeviceChanged, EventBus, Stamped, Subscription
from slng_edge.gateway.connection_budget import ConnectionBudget
from slng_edge.gateway.stt_session import SttSession
from slng_edge.gateway.tts_session import TtsSession
from slng_edge.hearing import Hearing, Loudspeaker, build_gate
from slng_edge.hearing_events import HearingEvent
from slng_edge.listening.attention import Attention
from slng_edge.listening.echo_coupling import EchoCoupling
from slng_edge.listening.wake_words import WakeListener
from slng_edge.pcm import Samples
from slng_edge.protocol.tier_limits import TIER_LIMITS, TierLimits
from slng_edge.replying import Replying, SoundDrained, SoundStarted
from slng_edge.responders.interface import Responder
from slng_edge.responders.registry import build_responder
from slng_edge.responders.runner import ResponderRunner

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 4.5
"""All of the loop stops within this; `run` promises 5 s for the process."""

SPEAKING_LIMIT_S = 15.0
"""A reply that neither plays nor gets audio for so long is over."""


ONLY_ZEROS = (
    "nothing but zeros since it was opened: muted, or the wrong channel (with a noise gate that "
    "is so until somebody speaks)"
)
"""It is no error: a speakerphone whose noise gate is shut cannot be told from one that is muted."""


@dataclass(frozen=True)
class Flowed:
    """Microphone frames have come through the loop for another second."""


@dataclass(frozen=True)
class Over:
    """The input was a file, has ended, and nothing is pending."""


@dataclass(frozen=True)
class Refused:
    """A session was refused in a way that trying again does not help."""

    session: str
    error: SlngEdgeError


@dataclass(frozen=True)
class Died:
    """A thread died of `error`; the loop is not whole any more."""

    thread: str
    error: BaseException


Notice = Flowed | Over | Refused | Died


class VoiceLoop:
    """Everything between the microphone and the speaker.

    Args:
        config: As `load_config` gives it.
        responder: What answers; built from the config without it.
        bus: Where events are published; one of its own without it.
        limits: Of a plan that is none of the tiers; else those of `gateway.tier`.
        api_key: Where `$SLNG_API_KEY`, the systemd credential and the key file are not asked.
        muted: Whether it hears nothing to begin with.
        volume: Instead of `audio.volume`.
        clock: What paces files and `null`; one in real time without it.

    Raises:
        ConfigError: something in the config cannot be.
        MissingLibrary: a library that a part needs is not installed.
    """

    def __init__(
        self,
        config: Config,
        *,
        responder: Responder | None = None,
        bus: EventBus | None = None,
        limits: TierLimits | None = None,
        api_key: str | None = None,
        muted: bool = False,
        volume: float | None = None,
        clock: MediaClock | None = None,
    ) -> None:
        self.bus = bus or EventBus()
        self.notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self.ever_ready = False
        self._config = config
        self._clock = clock or MediaClock()
        self._muted = muted
        self._muting = threading.Lock()
        self._hears_itself = _hears_itself(config)
        limits = limits or TIER_LIMITS[config.gateway.tier]
        budget = ConnectionBudget(limits.connections)
        self._ring = RingBuffer(
            rate_hz=config.tts.sample_rate, prebuffer_ms=config.audio.prebuffer_ms
        )
        self._stt = SttSession(
            config,
            api_key=api_key,
            limits=limits,
            budget=budget,
            on_event=lambda event: self._receive_session("stt", event),
            on_death=self._receive_death,
        )
        self._tts = TtsSession(
            config,
            api_key=api_key,
            limits=limits,
            budget=budget,
            on_event=lambda event: self._receive_session("tts", event),
            on_death=self._receive_death,
        )
        self._responder = ResponderRunner(
            responder or build_responder(config.responder, ca_file=config.gateway.ca_file),
            on_event=lambda event: self._conversation.post(event),
            on_death=self._receive_death,
        )
        self._playback = Playback(
            self._ring,
            self._build_sink,
            volume=config.audio.volume if volume is None else volume,
            on_started=lambda reply, at: self._conversation.post(SoundStarted(reply, at)),
            on_drained=lambda reply, samples: self._conversation.post(SoundDrained(reply, samples)),
            on_device=self._device_reporter("output"),
            on_death=self._receive_death,
            on_block=self._receive_block if self._hears_itself else None,
        )
        self._sounds = load_sounds(config.sounds, config.tts.sample_rate)
        self._far_end = FarEnd(config.tts.sample_rate, config.audio.frame_ms)
        self._canceller = build_echo_canceller(config, far_rate_hz=config.tts.sample_rate)
        self._wake_words = self._build_wake_words()
        self._recorder = self._build_recorder()
        self._conversation = Conversation(
            turn_taking=TurnTaking(self._deadlines(), resume=config.turn.resume_false_interrupt),
            stt=self._stt,
            build_hearing=self._build_hearing,
            build_replying=lambda post: Replying(
                tts=self._tts,
                responder=self._responder,
                ring=self._ring,
                playback=self._playback,
                bus=self.bus,
                post=post,
            ),
            bus=self.bus,
            play=lambda name: self._playback.play_sound(self._sounds[name]),
            own_words=SelfInterruption() if config.turn.barge_in == "auto" else None,
            muted=muted,
            eager=config.turn.eager_answer,
            log_transcripts=config.debug.log_transcripts,
            on_flow=lambda: self.notices.put(Flowed()),
            on_over=lambda: self.notices.put(Over()),
            on_death=self._receive_death,
        )
        hearing = self._hearing
        self._capture = Capture(
            self._build_source,
            on_frame=self._receive_frame,
            idle=lambda: hearing.idle,
            on_gap=hearing.receive_gap,
            on_end=hearing.receive_end,
            on_wait=hearing.receive_wait,
            on_device=self._device_reporter("input"),
            on_unmuted=self._tell_unmuted,
            muted=muted,
            on_death=self._receive_death,
        )
        self._parts: tuple[tuple[str, Any], ...] = (
            *((("recorder", self._recorder),) if self._recorder is not None else ()),
            ("conversation", self._conversation),
            ("responder", self._responder),
            ("text-to-speech", self._tts),
            ("speech-to-text", self._stt),
            ("playback", self._playback),
            ("capture", self._capture),
        )
        self._started: list[tuple[str, Any]] = []
        self._build_source()  # a name that stands for nothing, or a missing library, is said now
        self._build_sink()

    def start(self) -> None:
        """Start every part; returns at once, with devices and connections still to come."""
        for name, part in self._parts:
            part.start()
            self._started.append((name, part))

    # What may be asked of it, from any thread; nothing waits

    @property
    def muted(self) -> bool:
        """Whether it hears nothing, because it was told to."""
        return self._muted

    @property
    def volume(self) -> float:
        """Gain of what sounds: 1.0 as it comes."""
        return self._playback.volume

    def wake(self, by: str = "command") -> None:
        """Listen now, as after the wake word; a reply that sounds is silenced.

        Raises:
            ControlError: it is muted.
        """
        if self.muted:
            raise ControlError("it is muted and hears nothing; unmute it first")
        self._conversation.ask(WakeAsked(by))

    def interrupt(self, by: str = "command") -> None:
        """Stop whatever goes on: a reply, the work on one, listening."""
        self._conversation.ask(StopAsked(by))

    def talk_or_stop(self, by: str = "button") -> None:
        """What a single button does: stop a reply, else listen.

        Raises:
            ControlError: as `wake`.
        """
        if self._conversation.state in (State.IDLE, State.LISTENING):
            self.wake(by)
        else:
            self.interrupt(by)

    def mute(self, muted: bool) -> None:
        """Close the microphone, or open it and hear again.

        It is shown as muted at once, and until it hears again: opening a device takes 0.2 s, and
        some seconds where the sound system hangs.
        """
        with self._muting:  # by a button and by a command at once: in one order everywhere
            self._muted = muted
            self._hearing.mute(muted)  # with the next frame, whatever the conversation has to do
            self._capture.mute(muted)
            if muted:
                self._conversation.ask(MuteAsked(True))

    def set_volume(self, gain: float) -> None:
        """Set the gain of what sounds: 0 to 2, 1.0 as it comes."""
        self._playback.volume = gain

    def say(self, text: str, *, now: bool = False) -> None:
        """Speak `text` when the turn is over, or instead of the reply that sounds.

        Raises:
            ControlError: there is nothing to say, or too much waits to be said.
        """
        self._conversation.texts.put(text, question=False, first=now)
        self._conversation.ask(TextAsked())

    def ask(self, text: str) -> None:
        """Answer `text` as if it had been spoken, when the turn is over.

        Raises:
            ControlError: there is nothing to answer, or too much waits.
        """
        self._conversation.texts.put(text, question=True, first=False)
        self._conversation.ask(TextAsked())

    def counters(self) -> dict[str, Any]:
        """What the parts have counted and learned, as JSON can carry it."""
        flow = self._conversation.flow
        return {
            "input_overflows": self._capture.overflows,
            "output_underflows": self._playback.underflows,
            "reply_underruns": self._ring.underruns,
            "microphone_dbfs": None if flow is None else round(flow.level_dbfs, 1),
            "noise_floor_dbfs": None if flow is None else round(flow.floor_dbfs, 1),
            "echo_canceller": None if self._canceller is None else self._canceller.kind,
            "echo_coupling_db": (
                round(self._coupling.coupling_db, 1) if self._hears_itself else None
            ),
            "half_duplex": self._hearing.half_duplex,
            "texts_waiting": len(self._conversation.texts),
        }

    def problems(self) -> dict[str, str]:
        """What does not work as it should while the loop goes on, by its setting."""
        found = {}
        if self._capture.only_zeros:
            found["audio.input"] = ONLY_ZEROS
        if self._recorder is not None and self._recorder.problem:
            found["debug.record_dir"] = self._recorder.problem
        return found

    def retry_now(self) -> None:
        """Connect now where there is no connection, instead of waiting out the back-off."""
        self._stt.retry_now()
        self._tts.retry_now()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S, *, why: str = "") -> None:
        """Stop every part, in reverse, all within `timeout_s`; idempotent.

        Args:
            timeout_s: For all of them.
            why: Where given, what is under way is told as `lost`, for this reason.

        Raises:
            StuckThread: a thread did not stop in time; the others did.
        """
        deadline = time.monotonic() + timeout_s
        stuck: list[str] = []
        if why:
            self._conversation.give_up(why)
        self._ring.close()  # text-to-speech may wait for room in it
        while (started := self._next_started()) is not None:
            name, part = started
            try:
                part.stop(max(0.1, deadline - time.monotonic()))
            except StuckThread as error:
                log.error("%s: %s", name, error)
                stuck.append(str(error))
        for closes in (self._canceller, self._wake_words):
            if closes is not None:
                closes.close()
        if stuck:
            raise StuckThread("; ".join(stuck))

    def _next_started(self) -> tuple[str, Any] | None:
        try:
            return self._started.pop()  # not looked at before: two may stop it at once
        except IndexError:
            return None

    def events(self) -> Iterator[Stamped]:
        """Every event from now on, until the bus is closed."""
        return _events_of(self.bus.subscribe())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self.stop()
        finally:
            self.bus.close()

    # Any thread

    def _receive_session(self, session: str, event: Any) -> None:
        match event:
            case ConnectionChanged(state="ready"):
                self.ever_ready = True
                (self._tts if session == "stt" else self._stt).look_again()
                self._conversation.post(event)
            case SlngEdgeError():
                self._conversation.post(SessionRefused(session, event))
                self.notices.put(Refused(session, event))
            case _ if session == "tts":
                self._conversation.replying.receive_tts(event)
            case _:
                self._conversation.post(event)

    def _receive_frame(self, frame: Samples) -> None:
        if self._canceller is None:
            self._hearing.receive_frame(frame)
        else:
            without_echo = self._canceller.process(frame, time.monotonic())
            self._hearing.receive_frame(without_echo, as_heard=frame)

    def _receive_block(self, block: Samples, at: float) -> None:
        if self._config.turn.barge_in != "on":  # then whatever sounds like a voice interrupts
            self._far_end.receive_block(block, at)
        if self._canceller is not None:
            self._canceller.receive_far(block, at)

    def _receive_death(self, thread: str, error: BaseException) -> None:
        self.notices.put(Died(thread, error))

    def _tell_unmuted(self) -> bool:
        try:
            self._conversation.ask(MuteAsked(False))  # does not wait: `mute` would, too
        except ControlError:
            return False
        return True

    def _device_reporter(self, which: str) -> Callable[[str, str, str], None]:
        def report(state: str, name: str, why: str) -> None:
            self._conversation.post(DeviceChanged(which, state, name))

        return report

    # Building

    def _build_wake_words(self) -> WakeListener | None:
        if self._config.wake.mode != "word":
            return None
        from slng_edge.wake.registry import build_wake_listener  # loads the models' library

        return build_wake_listener(self._config)

    def _build_recorder(self) -> RecordingOutbox | None:
        debug, stt = self._config.debug, self._config.stt
        if not debug.record_dir:
            return None
        return RecordingOutbox(
            self._stt,
            debug.record_dir,
            keep=debug.record_keep,
            rate_hz=stt.sample_rate,
            on_death=self._receive_death,
        )

    def _build_hearing(self, post: Callable[[HearingEvent], None]) -> Hearing:
        config = self._config
        self._coupling = EchoCoupling(
            config.stt.sample_rate, config.audio.frame_ms, config.tts.sample_rate
        )
        self._hearing = Hearing(
            build_gate(config),
            self._recorder or self._stt,
            attention=Attention(
                always=config.wake.mode == "open", follow_up_s=config.wake.follow_up_s
            ),
            wake_words=self._wake_words,
            loudspeaker=Loudspeaker(self._playback, self._far_end, self._coupling),
            start_ms=config.vad.start_ms,
            barge_in_ms=None if config.turn.barge_in == "off" else config.turn.barge_in_ms,
            post=post,
        )
        return self._hearing

    def _build_source(self) -> Source:
        return configured_source(self._config, self._clock)

    def _build_sink(self) -> Sink:
        return configured_sink(self._config, self._clock, rate_hz=self._config.tts.sample_rate)

    def _deadlines(self) -> Deadlines:
        """Longer than what the sessions promise, so that theirs come first."""
        config = self._config
        answer_s = 2 * config.stt.final_timeout_s + 2 * config.gateway.connect_timeout_s
        return Deadlines(
            listening_s=config.vad.max_utterance_s + config.stt.offline_keep_s + answer_s,
            thinking_s=config.turn.thinking_timeout_s,
            speaking_s=SPEAKING_LIMIT_S,
            paused_s=config.vad.max_utterance_s + config.stt.final_timeout_s,
        )


def _hears_itself(config: Config) -> bool:
    """Whether there is a way from the speaker to the microphone: not through a file."""
    names = (config.audio.input, config.audio.output)
    return not any(name == "null" or name.startswith("file:") for name in names)


def _events_of(subscription: Subscription) -> Iterator[Stamped]:
    try:
        while not subscription.closed:
            stamped = subscription.get(timeout_s=1.0)
            if stamped is not None:
                yield stamped
    finally:
        subscription.close()
