"""The conversation: one inbox, one thread, which carries out what turn taking decides.

Theory of operation. Every other thread posts what happened into the inbox: hearing (somebody woke
it, an utterance began, ended), the speech-to-text session (partials, finals, losses), the responder
(pieces of the reply), the text-to-speech session (audio came, ended, was cut), playback (started,
drained), the devices, and whoever asks for something by a button or in writing. One thread takes
them one after the other, tells turn taking, and carries out its acts. So there is one order of
events, and one owner of every decision.

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

from slng_edge.asks import Ask, MuteAsked, StopAsked, TextAsked, WaitingTexts, WakeAsked
from slng_edge.dialogue.open_utterances import OpenUtterances
from slng_edge.dialogue.self_interruption import SelfInterruption
from slng_edge.dialogue.signals import Signals
from slng_edge.dialogue.turn_taking import Act, State, TurnTaking
from slng_edge.dialogue.visible_state import Conditions, visible_state
from slng_edge.errors import ControlError, SlngEdgeError
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
    Woken,
)
from slng_edge.hearing_events import (
    FramesFlow,
    HearingEvent,
    InputAwaited,
    InputEnded,
    SpeechOverReply,
    StopHeard,
    UtteranceBegan,
    UtteranceEnded,
    WakeHeard,
    WindowOpened,
    WindowPassed,
)
from slng_edge.protocol.session_events import (
    Final,
    Partial,
    StrayFinal,
    SttEvent,
    UtteranceLost,
    WordsEnded,
)
from slng_edge.replying import Outcome, Replying, ReplyingItem
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

INBOX_LIMIT = 2000
"""Entries; the busiest second is some 100 (audio chunks), so this is many seconds of delay."""

LASTING_STATES = {"", "starting", "muted", "offline", "error"}
"""Those that are no part of a turn; "" is before the first."""

FULL_POLL_S = 0.5
"""How often a poster that waits for room looks whether the conversation is over."""


class Understands(Protocol):
    """What the conversation needs of a speech-to-text session."""

    def abandon(self, utterance: int) -> None: ...


class Hears(Protocol):
    """What the conversation asks of hearing; none of it waits."""

    half_duplex: bool

    @property
    def awaits_speech(self) -> bool: ...
    def wake_up(self) -> None: ...
    def sleep(self) -> None: ...
    def turn_began(self) -> None: ...
    def turn_ended(self, *, answered: bool) -> None: ...
    def was_own(self) -> None: ...
    def mute(self, muted: bool) -> None: ...


@dataclass(frozen=True)
class SessionRefused:
    """A session was refused in a way that trying again does not help."""

    session: str
    error: SlngEdgeError


InboxItem: TypeAlias = (
    HearingEvent
    | SttEvent
    | ReplyingItem
    | SessionRefused
    | ConnectionChanged
    | DeviceChanged
    | Ask
)


class Conversation:
    """Owns the thread `conversation`.

    Args:
        turn_taking: Decides; touched by the conversation thread alone.
        stt: The speech-to-text session.
        build_hearing: Makes what hears, given where it posts.
        build_replying: Makes what makes replies, given where it posts.
        bus: Where events are published.
        play: Plays the short sound of that name; must not wait.
        own_words: Finds the device's own reply in what was understood, and says when speech shall
            not interrupt for a while; None where speech always does, or never.
        muted: Whether it hears nothing to begin with.
        eager: Whether the answer is begun when the gateway hears the end of the question.
        on_flow: Called once a second when microphone frames, or the tick of the loop that
            looks for a missing device, have come through the inbox.
        on_over: Called once, when the input has ended and nothing is pending.
        on_death: As in `Worker`.
        log_transcripts: Whether the words that were heard are logged, at DEBUG.

    Attributes:
        hearing, replying: What was made.
        texts: What waits to be said.
        flow: What the microphone gave last; None before the first second.
    """

    def __init__(
        self,
        *,
        turn_taking: TurnTaking,
        stt: Understands,
        build_hearing: Callable[[Callable[[HearingEvent], None]], Hears],
        build_replying: Callable[[Callable[[ReplyingItem], None]], Replying],
        bus: EventBus,
        play: Callable[[str], None],
        own_words: SelfInterruption | None,
        on_flow: Callable[[], None],
        on_over: Callable[[], None],
        muted: bool = False,
        eager: bool = False,
        on_death: OnDeath | None = None,
        log_transcripts: bool = False,
    ) -> None:
        self.hearing = build_hearing(self.post)
        self.replying = build_replying(self.post)
        self.texts = WaitingTexts()
        self.flow: FramesFlow | None = None
        self._turns = turn_taking
        self._stt = stt
        self._bus = bus
        self._play = play
        self._own_words = own_words
        self._on_flow = on_flow
        self._on_over = on_over
        self._eager = eager
        self._log_transcripts = log_transcripts
        self._inbox: queue.Queue[InboxItem | None] = queue.Queue(INBOX_LIMIT)
        self._own: deque[InboxItem] = deque()
        self._signals = Signals()
        self._conditions = Conditions(muted=muted)
        self._shown = ""
        self._entered = State.IDLE
        self._outlasted = False
        self._text_asked_in = 0
        self._utterances = OpenUtterances(own_words, lambda: self.replying.sounding_text)
        self._speech_ended_at = 0.0
        self._input_ended = False
        self._given_up_for = ""
        self._worker = Worker("conversation", self._run, wake=self._wake, on_death=on_death)
        if muted:
            self.hearing.mute(True)

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

    @property
    def state(self) -> State:
        """Where the conversation stands; any thread."""
        return self._turns.state

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

    def ask(self, item: Ask) -> None:
        """Put what somebody asks for into the inbox; any thread, does not wait.

        Raises:
            ControlError: the inbox is full.
        """
        try:
            self._inbox.put_nowait(item)
        except queue.Full:
            raise ControlError("it has too much to do just now; try again") from None

    # The conversation thread

    def _run(self) -> None:
        self._show_state()
        while not self._worker.stopping.is_set():
            try:
                item = self._own.popleft() if self._own else self._inbox.get(timeout=self._wait_s())
            except queue.Empty:
                self._expire()
            else:
                if item is not None:
                    self._handle(item)
            self._follow_state()
            self._show_state()
            self._look_for_end()
        if self._given_up_for:
            self._tell_given_up(self._given_up_for)

    def _wait_s(self) -> float | None:
        deadlines = [at for at in (self._turns.deadline, self._signals.deadline) if at is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _tell_given_up(self, why: str) -> None:
        for _ in self._utterances:
            self._bus.publish(Lost("speech", 0, why))
        if self._turns.state in (State.THINKING, State.SPEAKING, State.PAUSED):
            self._bus.publish(Lost("reply", 0, why))
        for _ in range(self.texts.clear()):
            self._bus.publish(Lost("text", 0, why))

    def _handle(self, item: InboxItem) -> None:
        now = time.monotonic()
        match item:
            case FramesFlow():
                self.flow = item
                self._look_at_half_duplex(now)
                self._on_flow()
            case InputAwaited():
                self._on_flow()
            case UtteranceBegan() | SpeechOverReply() | UtteranceEnded() | InputEnded():
                self._handle_speech(item, now)
            case WakeHeard() | StopHeard() | WindowOpened() | WindowPassed():
                self._handle_attention(item, now)
            case WakeAsked() | StopAsked() | MuteAsked() | TextAsked():
                self._handle_ask(item, now)
            case Partial() | WordsEnded() | Final() | UtteranceLost() | StrayFinal():
                self._handle_words(item, now)
            case ConnectionChanged() | SessionRefused() | DeviceChanged():
                self._handle_condition(item, now)
            case _:
                self._handle_reply(item, now)

    def _handle_speech(
        self, item: UtteranceBegan | SpeechOverReply | UtteranceEnded | InputEnded, now: float
    ) -> None:
        turns = self._turns
        match item:
            case UtteranceBegan(utterance, preroll_ms, over_reply):
                over_reply = over_reply or turns.state in (State.SPEAKING, State.PAUSED)
                self._utterances.begin(utterance, over_reply=over_reply)
                self._bus.publish(SpeechStarted(preroll_ms))
                if turns.state is State.THINKING and not turns.answers:
                    self.texts.put_back(turns.words)
                self._carry_out(turns.speech_began(now), now)
            case SpeechOverReply(_, "went on"):
                self._carry_out(turns.speech_went_on(now), now)
            case SpeechOverReply(_, "was brief"):
                self._carry_out(turns.speech_was_brief(now), now)
            case SpeechOverReply():
                self._carry_out(turns.speech_came_back(now), now)
            case UtteranceEnded(utterance, duration_ms, at, voiced_ms):
                self._speech_ended_at = at
                self._utterances.end(utterance, voiced_ms)
                self._bus.publish(SpeechEnded(duration_ms))
                if "stt" in self._conditions.offline:
                    self._sound(self._signals.failed(offline=True))
            case InputEnded():
                self._input_ended = True

    def _handle_attention(
        self, item: WakeHeard | StopHeard | WindowOpened | WindowPassed, now: float
    ) -> None:
        match item:
            case WakeHeard(word, score, in_one_breath, cut_off):
                if cut_off and self._utterances:
                    self._bus.publish(Lost("speech", 0, "the wake word was said into it"))
                self._be_woken(word, score, now, by="wake", in_one_breath=in_one_breath)
            case StopHeard() if self._is_stoppable:
                self._stop(now, by="wake")
            case WindowOpened():
                self._sound("follow_up")
            case WindowPassed():
                self._sound("done")

    @property
    def _is_stoppable(self) -> bool:
        """Whether a reply sounds, is held, or was cut by the words that hold the word "stop"."""
        sounds = self._turns.state in (State.SPEAKING, State.PAUSED)
        return sounds or self._utterances.has_cut_reply

    def _stop(self, now: float, by: str) -> None:
        self._carry_out(self._turns.stopped(now), now, by=by)
        self.replying.answered = False  # nobody asks for a follow-up by stopping it

    def _be_woken(
        self, word: str, score: float, now: float, *, by: str, in_one_breath: bool = False
    ) -> None:
        self._bus.publish(Woken(word, round(score, 3)))
        self._tell_unsaid("somebody wanted to be listened to")
        self._carry_out(self._turns.woken(now), now, by=by)
        self.replying.forget_prepared()
        # It is awake: no turn has ended that could make it sleep.
        self._entered = self._turns.state
        self._signals.entered(self._entered, now)
        offline = "stt" in self._conditions.offline
        self._sound(self._signals.woken(offline=offline, in_one_breath=in_one_breath))

    def _handle_ask(self, item: Ask, now: float) -> None:
        match item:
            case WakeAsked(by) if self._turns.state is State.LISTENING:
                self._bus.publish(Woken(by, 1.0))  # it listens already
            case WakeAsked(by):
                self.hearing.wake_up()
                self._be_woken(by, 1.0, now, by=by)
            case StopAsked(by):
                why = "it was stopped before it was said"
                self._tell_unsaid(why)
                for _ in range(self.texts.clear()):
                    self._bus.publish(Lost("text", 0, why))
                self.hearing.sleep()
                self._stop(now, by)
            case MuteAsked(muted) if muted != self._conditions.muted:
                self._conditions = self._conditions.muting(muted)
                self._sound("mute" if muted else "unmute")
            case TextAsked():
                self._text_asked_in = self._turns.turn

    def _tell_unsaid(self, why: str) -> None:
        """A text or an answer that is about to be said is dropped by what comes now."""
        if self._turns.state is State.THINKING:
            self._bus.publish(Lost("reply" if self._turns.answers else "text", 0, why))

    def _handle_words(
        self, item: Partial | WordsEnded | Final | UtteranceLost | StrayFinal, now: float
    ) -> None:
        match item:
            case Partial(utterance, text):
                self._bus.publish(PartialHeard(text))
                if self._utterances.brings_words(utterance, text):
                    if self._turns.state in (State.SPEAKING, State.PAUSED):
                        self._utterances.cut_reply(utterance)
                    self._carry_out(self._turns.words_began(now), now)
            case WordsEnded(utterance, text) if self._eager and utterance in self._utterances:
                if self._turns.state is State.LISTENING:
                    self.replying.prepare(self._turns.question_with(text))
            case Final(utterance):
                self._bus.publish(_final_heard(item))
                if self._log_transcripts:
                    log.debug("final: %s", item.text)
                if utterance in self._utterances:
                    words = self._words_of(item, now)
                    self._utterances.close(utterance)
                    self._carry_out(self._turns.final_came(words, now), now)
            case UtteranceLost(utterance, ms, why, over):
                log.warning("%d ms of speech are lost: %s", ms, why)
                self._bus.publish(Lost("speech", ms, why))
                if over and utterance in self._utterances:
                    self._utterances.close(utterance)
                    self._carry_out(self._turns.speech_lost(now), now)
                    self._sound(self._failure())
            case StrayFinal():
                why = "the words came after their utterance had ended"
                log.warning("words are lost: %s", why)
                self._bus.publish(Lost("words", 0, why))

    def _words_of(self, final: Final, now: float) -> str:
        """The words of a final that somebody else than the device said."""
        if not self._utterances.is_own(final.utterance, final.text, now):
            return final.text
        self._look_at_half_duplex(now)
        self.hearing.was_own()
        if final.text:
            why = "they were the reply's own, which the device heard itself say"
            log.warning("words are not answered: %s", why)
            self._bus.publish(Lost("words", 0, why))
        return ""

    def _look_at_half_duplex(self, now: float) -> None:
        if self._own_words is None:
            return
        half_duplex = self._own_words.half_duplex(now)
        if half_duplex and not self.hearing.half_duplex:
            log.warning(
                "it interrupted itself again: for ten minutes speech does not interrupt a reply; "
                "see audio.echo_cancel"
            )
        elif self.hearing.half_duplex and not half_duplex:
            log.info("speech interrupts replies again")
        self.hearing.half_duplex = half_duplex

    def _handle_reply(self, item: Any, now: float) -> None:
        match self.replying.receive(item, now):
            case Outcome.SOUND_BEGAN:
                self._carry_out(self._turns.sound_began(now), now)
            case Outcome.WENT_ON if self._turns.state is State.SPEAKING:
                self._carry_out(self._turns.progressed(now), now)
            case Outcome.OVER:
                self._carry_out(self._turns.reply_ended(now), now)
                self._outlasted = self._turns.state is State.LISTENING
            case Outcome.FAILED:
                self._carry_out(self._turns.reply_ended(now), now)
                self._sound(self._failure())

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

    def _carry_out(self, acts: tuple[Act, ...], now: float, *, by: str = "speech") -> None:
        for act in acts:
            match act:
                case Act.START_REPLY:
                    self._start_reply(now)
                case Act.SAY_TEXT:
                    self.replying.say(self._turns.turn, self._turns.words, now=now)
                case Act.CANCEL_REPLY:
                    self.replying.drop(now)
                case Act.PAUSE_REPLY:
                    self.replying.pause(now)
                case Act.STOP_WRITING:
                    self.replying.stop_writing()
                case Act.RESUME_REPLY:
                    self.replying.resume()
                case Act.CUT_REPLY:
                    self.replying.interrupt(now, by)
                case Act.FORGET_SPEECH:
                    for utterance in self._utterances.clear():
                        self._stt.abandon(utterance)
                    self._outlasted = False

    def _start_reply(self, now: float) -> None:
        if self._own_words is not None:
            self._own_words.reply_began(now)
            self._look_at_half_duplex(now)
        self.replying.start(
            self._turns.turn,
            self._turns.words,
            speech_ended_at=self._speech_ended_at or now,
            now=now,
        )

    def _expire(self) -> None:
        now = time.monotonic()
        self._sound(self._signals.due(now))
        state = self._turns.state
        if state is State.SPEAKING and self._turns.deadline is not None:
            limit_s = self._turns.deadlines.speaking_s
            sounded_at = self.replying.last_sound_at
            if now - limit_s < sounded_at and self._turns.deadline < sounded_at + limit_s:
                self._turns.progressed(sounded_at)
                return
        acts = self._turns.expire(now)
        if Act.REPORT_TIMEOUT in acts:
            why = f"the state {state.value} lasted longer than it may"
            log.error("%s; back to idle", why)
            self._bus.publish(Lost("speech" if state is State.LISTENING else "reply", 0, why))
            self._sound(self._failure())
        self._carry_out(acts, now)

    def _follow_state(self) -> None:
        """What follows from being in another state than before, whatever led there."""
        now = time.monotonic()
        replies = self._turns.state in (State.THINKING, State.SPEAKING)
        # Never over a person: what they say is waited for first, and answered.
        its_turn = self._text_asked_in == self._turns.turn
        if replies and its_turn and not self._turns.listens and self.texts.is_urgent:
            self._tell_unsaid("a text was to be said at once")
            self._carry_out(self._turns.stopped(now), now, by="command")
        if (
            self._turns.state is State.IDLE
            and self.texts
            and (waiting := self.texts.take(only_at_once=self.hearing.awaits_speech)) is not None
        ):
            self._speech_ended_at = 0.0  # nobody has spoken
            begin = self._turns.asked if waiting.question else self._turns.to_say
            self._carry_out(begin(waiting.text, now), now)
        state = self._turns.state
        if state is self._entered:
            return
        left, self._entered = self._entered, state
        self._signals.entered(state, now)
        if state is State.IDLE:
            self.replying.forget_prepared()
            sounded = left is State.SPEAKING or self._outlasted
            self.hearing.turn_ended(answered=sounded and self.replying.answered)
        elif left is State.IDLE:
            self.hearing.turn_began()
        if state is not State.LISTENING:
            self._outlasted = False

    def _failure(self) -> str | None:
        return self._signals.failed(offline=bool(self._conditions.offline))

    def _sound(self, name: str | None) -> None:
        if name is not None:
            self._play(name)

    def _show_state(self) -> None:
        shown = visible_state(self._turns.state, self._conditions)
        if shown != self._shown:
            # A turn has its own line; what lasts is worth one each.
            lasting = {shown, self._shown} & LASTING_STATES
            log.log(logging.INFO if lasting else logging.DEBUG, "state: %s", shown)
            self._shown = shown
            self._bus.publish(StateChanged(shown))

    def _look_for_end(self) -> None:
        if not self._input_ended or self._turns.state is not State.IDLE or self._utterances:
            return
        if self.texts:
            return  # they are said when the window has passed
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
