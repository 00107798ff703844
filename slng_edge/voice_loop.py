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
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from slng_edge.audio.backends import configured_sink, configured_source
from slng_edge.audio.capture import Capture
from slng_edge.audio.interfaces import Sink, Source
from slng_edge.audio.media_clock import MediaClock
from slng_edge.audio.playback import Playback
from slng_edge.audio.ring_buffer import RingBuffer
from slng_edge.config import Config
from slng_edge.conversation import Conversation, SessionRefused
from slng_edge.dialogue.turn_taking import Deadlines, TurnTaking
from slng_edge.errors import SlngEdgeError, StuckThread
from slng_edge.events import ConnectionChanged, DeviceChanged, EventBus, Stamped, Subscription
from slng_edge.gateway.connection_budget import ConnectionBudget
from slng_edge.gateway.stt_session import SttSession
from slng_edge.gateway.tts_session import TtsSession
from slng_edge.hearing import Hearing, build_gate
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
    ) -> None:
        self.bus = bus or EventBus()
        self.notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self.ever_ready = False
        self._config = config
        self._clock = MediaClock()
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
            responder or build_responder(config.responder),
            on_event=lambda event: self._conversation.post(event),
            on_death=self._receive_death,
        )
        self._playback = Playback(
            self._ring,
            self._build_sink,
            volume=config.audio.volume,
            on_started=lambda reply, at: self._conversation.post(SoundStarted(reply, at)),
            on_drained=lambda reply, samples: self._conversation.post(SoundDrained(reply, samples)),
            on_device=self._device_reporter("output"),
            on_death=self._receive_death,
        )
        self._conversation = Conversation(
            turn_taking=TurnTaking(self._deadlines()),
            stt=self._stt,
            build_replying=lambda post: Replying(
                tts=self._tts,
                responder=self._responder,
                ring=self._ring,
                playback=self._playback,
                bus=self.bus,
                post=post,
            ),
            bus=self.bus,
            log_transcripts=config.debug.log_transcripts,
            on_flow=lambda: self.notices.put(Flowed()),
            on_over=lambda: self.notices.put(Over()),
            on_death=self._receive_death,
        )
        hearing = Hearing(
            build_gate(config),
            self._stt,
            sounding=lambda: self._playback.sounding,
            barge_in_ms=None if config.turn.barge_in == "off" else config.turn.barge_in_ms,
            post=self._conversation.post,
        )
        self._capture = Capture(
            self._build_source,
            on_frame=hearing.receive_frame,
            idle=lambda: hearing.idle,
            on_gap=hearing.receive_gap,
            on_end=hearing.receive_end,
            on_wait=hearing.receive_wait,
            on_device=self._device_reporter("input"),
            on_death=self._receive_death,
        )
        self._parts: tuple[tuple[str, Any], ...] = (
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
        while self._started:
            name, part = self._started.pop()
            try:
                part.stop(max(0.1, deadline - time.monotonic()))
            except StuckThread as error:
                log.error("%s: %s", name, error)
                stuck.append(str(error))
        if stuck:
            raise StuckThread("; ".join(stuck))

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

    def _receive_death(self, thread: str, error: BaseException) -> None:
        self.notices.put(Died(thread, error))

    def _device_reporter(self, which: str) -> Callable[[str, str, str], None]:
        def report(state: str, name: str, why: str) -> None:
            self._conversation.post(DeviceChanged(which, state, name))

        return report

    # Building

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
        )


def _events_of(subscription: Subscription) -> Iterator[Stamped]:
    try:
        while not subscription.closed:
            stamped = subscription.get(timeout_s=1.0)
            if stamped is not None:
                yield stamped
    finally:
        subscription.close()
