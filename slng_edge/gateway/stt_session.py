"""Speech in, words out: a speech-to-text session that outlives its connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from slng_edge.config import Config
from slng_edge.errors import ConnectFailed
from slng_edge.gateway.connection_budget import ConnectionBudget
from slng_edge.gateway.endpoints import with_given
from slng_edge.gateway.session import Session
from slng_edge.pcm import SAMPLE_BYTES, PcmFormat, Samples
from slng_edge.protocol.dialects import stt_dialect_factory
from slng_edge.protocol.session_events import Final, Partial, StrayFinal, UtteranceLost
from slng_edge.protocol.stt_exchange import SttExchange, SttTimes
from slng_edge.protocol.tier_limits import (
    IDLE_TIMEOUT_S,
    TIER_LIMITS,
    TierLimits,
    keepalive_s_for,
)
from slng_edge.threads import OnDeath

UNSENT_LIMIT_MS = 2000.0
"""`transcribe` reads no further while this much audio waits to be sent on a connection; without
one, only while there is room for all of it."""

PIECE_BYTES = 6400
"""`transcribe` adds no more at once, whatever the frames are: room is looked for in between."""

ROOM_POLL_S = 0.5
"""How late `transcribe` may notice what the session tells while there is no room."""


class SttSession(Session):
    """A session with SLNG's speech-to-text.

    Usable without a config file::

        with SttSession(url="ws://127.0.0.1:8765") as stt:
            for event in stt.transcribe(frames):
                ...

    Args:
        config: Where everything not named below comes from; the defaults without it.
        url, model, language, sample_rate: Override the config's value.
        api_key: Where `$SLNG_API_KEY`, the systemd credential and the key file are not asked.
        words: Ask for the time of each word.
        join_finals: False gives every final of the server by itself (files).
        session_id: A tracking id of the caller's (X-SLNG-Session-Id); "" sends none.
        on_event: Gets `SttEvent`s, `ConnectionChanged`, and a `SlngEdgeError` that is
            final, in this session's threads. Without it they are kept for `transcribe`.
        budget: Where connections are counted; one of its own without it.
        limits: Of a plan that is none of the tiers; else those of `gateway.tier`.
        on_death: Told when a thread dies of an exception.

    Raises:
        ConfigError: something in these settings cannot be.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        url: str | None = None,
        model: str | None = None,
        language: str | None = None,
        sample_rate: int | None = None,
        api_key: str | None = None,
        session_id: str = "",
        words: bool = False,
        join_finals: bool = True,
        on_event: Callable[[Any], None] | None = None,
        budget: ConnectionBudget | None = None,
        limits: TierLimits | None = None,
        on_death: OnDeath | None = None,
    ) -> None:
        config = config or Config()
        gateway = with_given(config.gateway, url=url)
        stt = with_given(config.stt, model=model, language=language, sample_rate=sample_rate)
        limits = limits or TIER_LIMITS[gateway.tier]
        keepalive_s = keepalive_s_for(gateway.tier, stt.keepalive_s)
        keep_s = max(stt.offline_keep_s, config.vad.max_utterance_s) + config.vad.preroll_ms / 1000
        self._format = PcmFormat(stt.sample_rate)
        self._keep_ms = keep_s * 1000
        self._offline_keep_s = stt.offline_keep_s
        self._no_room_since: float | None = None
        self._exchange = SttExchange(
            rate_hz=stt.sample_rate,
            keep_s=keep_s,
            times=SttTimes(
                keepalive_s=keepalive_s,
                final_s=stt.final_timeout_s,
                offline_keep_s=stt.offline_keep_s,
            ),
            messages_a_minute=limits.messages_a_minute,
            join_finals=join_finals,
        )
        factories = {
            name: stt_dialect_factory(
                protocol=gateway.protocol,
                model=name,
                sample_rate_hz=stt.sample_rate,
                language=stt.language,
                words=words,
                binary_audio=stt.audio_frames == "binary",
                options=stt.options,
            )
            for name in (stt.model, *stt.fallbacks)
        }
        super().__init__(
            "stt",
            gateway=gateway,
            models=tuple(factories),
            language=stt.language,
            keepalive_s=keepalive_s,
            fallback_cooldown_s=stt.fallback_cooldown_s,
            exchange=self._exchange,
            build_dialect=lambda model: factories[model](),
            connect=lambda dialect, _, now: self._exchange.connected(dialect, now),
            api_key=api_key,
            session_id=session_id,
            on_event=on_event,
            # Without a keepalive it is quiet for longer than the gateway bears.
            duration_s=min(limits.duration_s, IDLE_TIMEOUT_S)
            if gateway.protocol == "classic"
            else limits.duration_s,
            budget=budget or ConnectionBudget(limits.connections),
            resends=join_finals,  # of a recording words are out that cannot be taken back
            on_death=on_death,
        )

    # Any one thread at a time

    def open_utterance(self) -> int:
        """Begin an utterance; returns its number. Never waits."""
        with self._link.changed:
            utterance = self._exchange.open_utterance()
            self._link.notify()
            return utterance

    def add_audio(self, utterance: int, samples: Samples | bytes) -> None:
        """Add mono s16le samples to the utterance opened last. Never waits for the network."""
        pcm = samples if isinstance(samples, bytes) else samples.tobytes()
        with self._link.changed:
            events = self._exchange.add_audio(utterance, pcm)
            self._link.notify()
        self._hand_on(events)

    def end_utterance(self, utterance: int, now: float) -> None:
        """No more audio follows (`now` is `time.monotonic()`); a `Final` or a loss will come."""
        with self._link.changed:
            events = self._exchange.end_utterance(utterance, now)
            self._link.notify()
        self._hand_on(events)

    def abandon(self, utterance: int) -> None:
        """Nobody waits for the words of `utterance` any more."""
        with self._link.changed:
            self._exchange.abandon(utterance)
            self._link.notify()

    def transcribe(self, frames: Iterable[Samples | bytes]) -> Iterator[Partial | Final]:
        """Send `frames` as one utterance and give what is understood, as it comes.

        The last event is the final that answers `finalize`. For a session without
        `on_event` of its own. Waits for the gateway, and after the last frame at most
        two `stt.final_timeout_s`. Where a connection breaks, no more is read than can be
        kept; what the gateway had got and cannot be sent again is lost, which is raised
        when the rest has been understood.

        Args:
            frames: Mono s16le at the session's rate; read as fast as they can be sent.

        Raises:
            GatewayError: the gateway could not be reached, or not again for
                `stt.offline_keep_s`; it refused, gave no final, or a part is lost.
        """
        utterance = self.open_utterance()
        self._no_room_since = None
        losses: list[UtteranceLost] = []
        try:
            for piece in _pieces(frames):
                while not self._add_where_room(utterance, piece):
                    yield from self._words_waiting(losses)
                yield from self._words_waiting(losses)
            self.end_utterance(utterance, time.monotonic())
            answered = False
            while not answered:
                event = self._events.get()
                yield from self._words_of(event, losses)
                answered = isinstance(event, Final) and event.answers
        finally:
            self.abandon(utterance)  # where it was given up: finals must not wait for it
        if losses:
            raise self._lost(losses)

    def _add_where_room(self, utterance: int, pcm: bytes) -> bool:
        """Whether `pcm` was added; else the session may have told something.

        Raises:
            ConnectFailed: there is no room, and was no connection for too long.
        """
        size_ms = self._format.ms(len(pcm) // SAMPLE_BYTES)
        # Under one lock with the look for room: a connection that breaks in between takes it.
        with self._link.changed:
            if not self._link.changed.wait_for(lambda: self._has_room(size_ms), ROOM_POLL_S):
                self._check_patience(time.monotonic())
                return False
            self._no_room_since = None
            events = self._exchange.add_audio(utterance, pcm)
            self._link.notify()
        self._hand_on(events)
        return True

    def _has_room(self, size_ms: float) -> bool:
        """Whether nothing that is not sent has to go for it."""
        unsent_ms = self._exchange.unsent_ms
        limit_ms = self._keep_ms
        if self._exchange.ready:
            limit_ms = min(limit_ms, UNSENT_LIMIT_MS)
        return unsent_ms == 0 or unsent_ms + size_ms <= limit_ms

    def _check_patience(self, now: float) -> None:
        if self._exchange.ready:
            self._no_room_since = None
        elif self._no_room_since is None:
            self._no_room_since = now
        elif now - self._no_room_since >= self._offline_keep_s:
            cause = self._link.last_error
            why = f"no connection for {self._offline_keep_s:g} s"
            raise ConnectFailed(why if cause is None else f"{why}: {cause}") from cause

    def _words_waiting(self, losses: list[UtteranceLost]) -> Iterator[Partial | Final]:
        while not self._events.empty():
            yield from self._words_of(self._events.get(), losses)

    def _words_of(self, event: Any, losses: list[UtteranceLost]) -> Iterator[Partial | Final]:
        match event:
            case Partial() | Final():
                yield event
            case StrayFinal(text):
                yield Final(utterance=0, text=text, latency_s=0.0, answers=False)
            case UtteranceLost():
                losses.append(event)
                if event.over:
                    raise self._lost(losses)
            case BaseException():
                raise event
            case _:
                pass

    def _lost(self, losses: list[UtteranceLost]) -> ConnectFailed:
        why, cause = losses[-1].why, self._link.last_error
        if cause is not None and str(cause) not in why:
            why = f"{why}: {cause}"
        lost = ConnectFailed(f"{sum(loss.ms for loss in losses)} ms of speech are lost: {why}")
        lost.__cause__ = cause
        return lost


def _pieces(frames: Iterable[Samples | bytes]) -> Iterator[bytes]:
    for frame in frames:
        pcm = frame if isinstance(frame, bytes) else frame.tobytes()
        for start in range(0, len(pcm), PIECE_BYTES):
            yield pcm[start : start + PIECE_BYTES]
