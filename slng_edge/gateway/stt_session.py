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
from slng_edge.pcm import Samples
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
"""`transcribe` reads no further while this much audio waits to be sent."""


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
        self._exchange = SttExchange(
            rate_hz=stt.sample_rate,
            keep_s=max(stt.offline_keep_s, config.vad.max_utterance_s)
            + config.vad.preroll_ms / 1000,
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
        two `stt.final_timeout_s`.

        Args:
            frames: Mono s16le at the session's rate; read as fast as they can be sent.

        Raises:
            GatewayError: the gateway could not be reached, refused, or gave no final.
        """
        utterance = self.open_utterance()
        try:
            for frame in frames:
                self.add_audio(utterance, frame)
                self._wait_for_room()
                while not self._events.empty():
                    yield from self._words_of(self._events.get())
            self.end_utterance(utterance, time.monotonic())
            while True:
                event = self._events.get()
                yield from self._words_of(event)
                if isinstance(event, Final) and event.answers:
                    return
        finally:
            self.abandon(utterance)  # where it was given up: finals must not wait for it

    def _wait_for_room(self) -> None:
        with self._link.changed:
            while not self._link.changed.wait_for(self._has_room, timeout=0.5):
                if self._link.last_error is not None and not self._exchange.ready:
                    return

    def _has_room(self) -> bool:
        return self._exchange.unsent_ms < UNSENT_LIMIT_MS

    def _words_of(self, event: Any) -> Iterator[Partial | Final]:
        match event:
            case Partial() | Final():
                yield event
            case StrayFinal(text):
                yield Final(utterance=0, text=text, latency_s=0.0, answers=False)
            case UtteranceLost(_, ms, why):
                cause = self._link.last_error
                raise ConnectFailed(f"{ms} ms of speech are lost: {why}") from cause
            case BaseException():
                raise event
            case _:
                pass
