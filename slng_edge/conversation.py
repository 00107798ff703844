"""The conversation: one inbox, one thread, which carries out what turn taking decides.

Theory of operation. Every other thread posts what happened into the inbox: hearing (an utterance
began, ended), the speech-to-text session (partials, finals, losses), the responder (pieces of the
reply), the text-to-speech session (audio came, ended, was cut), playback (started, drained), the
devices. One thread takes them one after the other, tells turn taking, and carries out its acts.
So there is one order of events, and one owner of every decision.

What happens to the reply itself is `replying`'s, which says what it means for the turn. Only
audio takes a short cut: microphone frames go from the capture thread to the outbox (`hearing`),
reply samples from the receive thread to the ring buffer (`replying.receive_tts`).
"""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from slng_edge.dialogue.turn_taking import Act, State, TurnTaking
from slng_edge.dialogue.visible_state import Conditions, visible_state
from slng_edge.errors import SlngEdgeError
from slng_edge.events import (
    ConnectionChanged,
    DeviceChanged,
    EventBus,
    FinalHeard,
    Lost,
    PartialHeard,
    SpeechEnded,
    SpeechStarted,
    StateChanged,
)
from slng_edge.hearing import (
    FramesFlow,
    HearingEvent,
    InputAwaited,
    InputEnded,
    UtteranceBegan,
    UtteranceEnded,
)
from slng_edge.protocol.session_events import (
    Final,
    Partial,
    StrayFinal,
    SttEvent,
    UtteranceLost,
)
from slng_edge.replying import Outcome, Replying, ReplyingItem
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

INBOX_LIMIT = 2000
"""Entries; the busiest second is some 100 (audio chunks), so this is many seconds of delay."""

FULL_POLL_S = 0.5
"""How often a poster that waits for room looks whether the conversation is over."""


class Hears(Protocol):
    """What the conversation needs of a speech-to-text session."""

    def abandon(self, utterance: int) -> None: ...


@dataclass(frozen=True)
class SessionRefused:
    """A session was refused in a way that trying again does not help."""

    session: str
    error: SlngEdgeError


InboxItem: TypeAlias = (
    HearingEvent | SttEvent | ReplyingItem | SessionRefused | ConnectionChanged | DeviceChanged
)


class Conversation:
    """Owns the thread `conversation`.

    Args:
        turn_taking: Decides; touched by the conversation thread alone.
        stt: The speech-to-text session.
        build_replying: Makes what makes replies, given where it posts.
        bus: Where events are published.
        on_flow: Called once a second when microphone frames, or the tick of the loop that
            looks for a missing device, have come through the inbox.
        on_over: Called once, when the input has ended and nothing is pending.
        on_death: As in `Worker`.
        log_transcripts: Whether the words that were heard are logged, at DEBUG.
    """

    def __init__(
        self,
        *,
        turn_taking: TurnTaking,
        stt: Hears,
        build_replying: Callable[[Callable[[ReplyingItem], None]], Replying],
        bus: EventBus,
        on_flow: Callable[[], None],
        on_over: Callable[[], None],
        on_death: OnDeath | None = None,
        log_transcripts: bool = False,
    ) -> None:
        self.replying = build_replying(self.post)
        self._turns = turn_taking
        self._stt = stt
        self._bus = bus
        self._on_flow = on_flow
        self._on_over = on_over
        self._log_transcripts = log_transcripts
        self._inbox: queue.Queue[InboxItem | None] = queue.Queue(INBOX_LIMIT)
        self._own: deque[InboxItem] = deque()
        self._conditions = Conditions()
        self._shown = ""
        self._utterances: set[int] = set()
        self._speech_ended_at = 0.0
        self._input_ended = False
        self._given_up_for = ""
        self._worker = Worker("conversation", self._run, wake=self._wake, on_death=on_death)

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread; what is in the inbox is dropped.

        Raises:
            StuckThread: it still runs after `timeout_s`.
        """
        self._worker.stop(timeout_s)

    def give_up(self, why: str) -> None:
        """End the thread, and tell of speech and reply under way that `why` they are lost.

        Returns at once; `stop` waits for it. Nothing is told that comes after.
        """
        self._given_up_for = why
        self._worker.ask_to_stop()

    def post(self, item: InboxItem) -> None:
        """Put what happened into the inbox; any thread.

        Waits for room where the inbox is full, unless the conversation is over: then the
        item is dropped, because nobody will read it. What the conversation's own thread posts
        does not wait: it comes next.
        """
        if self._worker.is_current:
            self._own.append(item)
            return
        while not self._worker.stopping.is_set():
            try:
                self._inbox.put(item, timeout=FULL_POLL_S)
                return
            except queue.Full:
                continue

    # The conversation thread

    def _run(self) -> None:
        self._show_state()
        while not self._worker.stopping.is_set():
            deadline = self._turns.deadline
            timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                item = self._own.popleft() if self._own else self._inbox.get(timeout=timeout_s)
            except queue.Empty:
                self._expire()
            else:
                if item is not None:
                    self._handle(item)
            self._show_state()
            self._look_for_end()
        if self._given_up_for:
            self._tell_given_up(self._given_up_for)

    def _tell_given_up(self, why: str) -> None:
        for _ in self._utterances:
            self._bus.publish(Lost("speech", 0, why))
        if self._turns.state in (State.THINKING, State.SPEAKING):
            self._bus.publish(Lost("reply", 0, why))

    def _handle(self, item: InboxItem) -> None:
        now = time.monotonic()
        match item:
            case FramesFlow() | InputAwaited():
                self._on_flow()
            case UtteranceBegan() | UtteranceEnded() | InputEnded():
                self._handle_hearing(item, now)
            case Partial() | Final() | UtteranceLost() | StrayFinal():
                self._handle_words(item, now)
            case ConnectionChanged() | SessionRefused() | DeviceChanged():
                self._handle_condition(item, now)
            case _:
                self._handle_reply(item, now)

    def _handle_hearing(
        self, item: UtteranceBegan | UtteranceEnded | InputEnded, now: float
    ) -> None:
        match item:
            case UtteranceBegan(utterance, preroll_ms):
                self._utterances.add(utterance)
                self._bus.publish(SpeechStarted(preroll_ms))
                self._carry_out(self._turns.speech_began(now), now, by="speech")
            case UtteranceEnded(_, duration_ms, at):
                self._speech_ended_at = at
                self._bus.publish(SpeechEnded(duration_ms))
            case InputEnded():
                self._input_ended = True

    def _handle_words(self, item: Partial | Final | UtteranceLost | StrayFinal, now: float) -> None:
        match item:
            case Partial(_, text):
                self._bus.publish(PartialHeard(text))
            case Final():
                self._bus.publish(_final_heard(item))
                if self._log_transcripts:
                    log.debug("final: %s", item.text)
                self._utterances.discard(item.utterance)
                self._carry_out(self._turns.final_came(item.text, now), now)
            case UtteranceLost(utterance, ms, why, over):
                log.warning("%d ms of speech are lost: %s", ms, why)
                self._bus.publish(Lost("speech", ms, why))
                if over:
                    self._utterances.discard(utterance)
                    self._carry_out(self._turns.speech_lost(now), now)
            case StrayFinal():
                why = "the words came after their utterance had ended"
                log.warning("words are lost: %s", why)
                self._bus.publish(Lost("words", 0, why))

    def _handle_reply(self, item: Any, now: float) -> None:
        match self.replying.receive(item, now):
            case Outcome.SOUND_BEGAN:
                self._carry_out(self._turns.sound_began(now), now)
            case Outcome.WENT_ON if self._turns.state is State.SPEAKING:
                self._carry_out(self._turns.progressed(now), now)
            case Outcome.OVER:
                self._carry_out(self._turns.reply_ended(now), now)

    def _handle_condition(
        self, item: ConnectionChanged | SessionRefused | DeviceChanged, now: float
    ) -> None:
        match item:
            case ConnectionChanged(session, state):
                self._bus.publish(item)
                if state == "ready":
                    self._conditions = self._conditions.session_ready(session)
                elif state == "failed" or item.retry_in_s is not None:
                    self._conditions = self._conditions.session_failed(session, final=False)
            case SessionRefused(session, error):
                self._conditions = self._conditions.session_failed(session, final=True)
                if session == "tts":
                    self.replying.refuse(error, now)
            case DeviceChanged(which, state):
                self._bus.publish(item)
                if which == "input":
                    self._conditions = self._conditions.hearing(state != "lost")

    def _carry_out(self, acts: tuple[Act, ...], now: float, *, by: str = "command") -> None:
        for act in acts:
            match act:
                case Act.START_REPLY:
                    self.replying.start(
                        self._turns.turn,
                        self._turns.words,
                        speech_ended_at=self._speech_ended_at or now,
                        now=now,
                    )
                case Act.CANCEL_REPLY:
                    self.replying.drop(now)
                case Act.CUT_REPLY:
                    self.replying.interrupt(now, by)
                case Act.FORGET_SPEECH:
                    for utterance in self._utterances:
                        self._stt.abandon(utterance)
                    self._utterances.clear()

    def _expire(self) -> None:
        now = time.monotonic()
        state = self._turns.state
        if state is State.SPEAKING and self.replying.plays_on():
            self._turns.progressed(now)
            return
        acts = self._turns.expire(now)
        if Act.REPORT_TIMEOUT in acts:
            why = f"the state {state.value} lasted longer than it may"
            log.error("%s; back to idle", why)
            self._bus.publish(Lost("speech" if state is State.LISTENING else "reply", 0, why))
        self._carry_out(acts, now)

    def _show_state(self) -> None:
        shown = visible_state(self._turns.state, self._conditions)
        if shown != self._shown:
            self._shown = shown
            log.info("state: %s", shown)
            self._bus.publish(StateChanged(shown))

    def _look_for_end(self) -> None:
        if not self._input_ended or self._turns.state is not State.IDLE or self._utterances:
            return
        tried = self._conditions.offline | self._conditions.refused
        if "stt" in self._conditions.unready and "stt" not in tried:
            return  # the first attempt is under way: whether it was reached is not known yet
        self._input_ended = False
        self._on_over()

    def _wake(self) -> None:
        try:
            self._inbox.put_nowait(None)
        except queue.Full:
            log.warning("the inbox is full: the conversation thread does not keep up")


def _final_heard(final: Final) -> FinalHeard:
    return FinalHeard(
        text=final.text,
        latency_ms=round(final.latency_s * 1000),
        confidence=final.confidence,
        language=final.language,
        duration_s=final.duration_s,
        words=list(final.words) or None,
    )
