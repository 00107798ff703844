"""Text in, speech out: a text-to-speech session that outlives its connections."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from slng_edge.config import Config
from slng_edge.dialogue.sentences import SentenceSplitter
from slng_edge.errors import ConfigError, ConnectFailed
from slng_edge.events import ConnectionChanged
from slng_edge.gateway.connection_budget import ConnectionBudget
from slng_edge.gateway.endpoints import with_given
from slng_edge.gateway.session import STOP_TIMEOUT_S, Session
from slng_edge.pcm import Samples, samples_of
from slng_edge.protocol.dialects import TtsDialectFactory, tts_dialect_factory
from slng_edge.protocol.session_events import ReplyAudio, ReplyCut, ReplyDone
from slng_edge.protocol.tier_limits import (
    TIER_LIMITS,
    TierLimits,
    chars_a_minute,
    keepalive_s_for,
)
from slng_edge.protocol.tts_exchange import TtsDialect, TtsExchange, TtsTimes
from slng_edge.threads import OnDeath, Worker


class TtsSession(Session):
    """A session with SLNG's text-to-speech.

    Usable without a config file::

        with TtsSession(url="ws://127.0.0.1:8765", voice="aura-2-thalia-en") as tts:
            for chunk in tts.speak("Hello."):     # numpy int16 (n,), 24 kHz mono
                ...

    Args:
        config: Where everything not named below comes from; the defaults without it.
        url, model, voice, language, sample_rate, speed: Override the config's value.
        api_key: Where `$SLNG_API_KEY`, the systemd credential and the key file are not asked.
        session_id: A tracking id of the caller's (X-SLNG-Session-Id); "" sends none.
        on_event: Gets `TtsEvent`s, `ConnectionChanged`, and a `SlngEdgeError` that is
            final, in this session's threads. Without it they are kept for `speak`.
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
        voice: str | None = None,
        language: str | None = None,
        sample_rate: int | None = None,
        speed: float | None = None,
        api_key: str | None = None,
        session_id: str = "",
        on_event: Callable[[Any], None] | None = None,
        budget: ConnectionBudget | None = None,
        limits: TierLimits | None = None,
        on_death: OnDeath | None = None,
    ) -> None:
        config = config or Config()
        gateway = with_given(config.gateway, url=url)
        tts = with_given(
            config.tts,
            model=model,
            voice=voice,
            language=language,
            sample_rate=sample_rate,
            speed=speed,
        )
        self.rate_hz = tts.sample_rate
        self._patience_s = tts.first_audio_timeout_s
        limits = _within_a_minute(limits or TIER_LIMITS[gateway.tier], (tts.model, *tts.fallbacks))
        keepalive_s = keepalive_s_for(gateway.tier, tts.keepalive_s)
        self._exchange = TtsExchange(
            rate_hz=tts.sample_rate,
            times=TtsTimes(keepalive_s=keepalive_s, first_audio_s=tts.first_audio_timeout_s),
            limits=limits,
            fallbacks=len(tts.fallbacks),
        )
        self._protocol = gateway.protocol
        self._tts = tts
        self._context_id = f"slng-edge-{uuid.uuid4()}"
        self._voice = tts.voice
        self._factories = self._factories_for(tts.voice, tts.options)
        self._voices: WeakKeyDictionary[TtsDialect, str] = WeakKeyDictionary()
        self._model = tts.model
        self._replies = 0
        super().__init__(
            "tts",
            gateway=gateway,
            models=tuple(self._factories),
            keepalive_s=keepalive_s,
            fallback_cooldown_s=config.stt.fallback_cooldown_s,
            exchange=self._exchange,
            build_dialect=self._build_dialect,
            connect=self._connect,
            api_key=api_key,
            session_id=session_id,
            on_event=on_event,
            duration_s=limits.duration_s,
            budget=budget or ConnectionBudget(limits.connections),
            # With one connection for all, speech-to-text has it while nothing is to be said.
            standing=budget is None or budget.limit > 1,
            warm_standby=tts.warm_standby,
            on_death=on_death,
        )

    def _factories_for(
        self, voice: str, options: Mapping[str, Any]
    ) -> dict[str, TtsDialectFactory]:
        tts = self._tts
        return {
            name: tts_dialect_factory(
                protocol=self._protocol,
                model=name,
                voice=voice if _family(name) == _family(tts.model) else "",
                sample_rate_hz=tts.sample_rate,
                language=tts.language,
                speed=tts.speed,
                options=options,
                native_frames=tts.native_frames,
                context_id=self._context_id,
            )
            for name in (tts.model, *tts.fallbacks)
        }

    def _build_dialect(self, model: str) -> TtsDialect:
        voice = self._voice  # before the factory: a change in between is noticed in `_connect`
        dialect = self._factories[model]()
        self._voices[dialect] = voice
        return dialect

    def _connect(self, dialect: TtsDialect, model: str, now: float) -> None:
        self._exchange.connected(dialect, now, chars_a_minute=chars_a_minute(model))
        self._model = model
        if self._voices[dialect] != self._voice:  # it was changed while this one was greeted
            self._take_voice()

    def _take_voice(self) -> None:
        if _family(self._model) == _family(self._tts.model):
            self._exchange.change_voice(self._voice)

    # Any thread; none of these waits for the network

    def open_reply(self, number: int) -> None:
        """Begin a reply under a number of the caller's, each used once."""
        with self._link.changed:
            self._exchange.open_reply(number)
            self._link.notify()  # its place, where it has to be waited for, is asked for now

    def add_text(self, reply: int, text: str) -> None:
        """Add a sentence; it is spoken as soon as those before it have come."""
        with self._link.changed:
            self._exchange.add_text(reply, text)
            self._link.notify()

    def end_reply(self, reply: int) -> None:
        """No more sentences follow; `ReplyDone` comes after the last audio."""
        with self._link.changed:
            events = self._exchange.end_reply(reply)
            self._link.notify()
        self._hand_on(events)

    def interrupt(self, now: float) -> None:
        """Drop all replies and tell the gateway; `now` is `time.monotonic()`."""
        with self._link.changed:
            self._exchange.interrupt(now)
            self._link.notify()

    def change_voice(self, voice: str) -> None:
        """Speak in another voice; a fallback of another family keeps its own.

        The classic elevenlabs and cartesia take it at once. Others get a new connection at the
        next pause, and finish in the old voice what is being spoken.

        Raises:
            ConfigError: no voice is named.
        """
        if not voice.strip():
            raise ConfigError("the voice to change to: must be text that is not empty")
        options = {
            name: self._tts.options[name] for name in self._tts.options if name != "voice_id"
        }
        factories = self._factories_for(voice, options)
        with self._link.changed:
            self._factories = factories
            self._voice = voice
            self._take_voice()
            self._link.notify()

    def speak(self, text: str | Iterable[str]) -> Iterator[Samples]:
        """The speech of `text` as mono int16 arrays at `rate_hz`, as they come.

        An iterable of texts is read in a thread of its own: what is complete is spoken
        while the next is awaited. For a session without `on_event` of its own. Waits at most
        `tts.first_audio_timeout_s` for audio, twice where a connection breaks, and as long
        for a connection. Leaving the iterator early drops the rest of the speech.

        Raises:
            GatewayError: the gateway could not be reached, refused, or broke off.
        """
        self._replies += 1
        number = self._replies
        self.open_reply(number)
        feeder: Worker | None = None
        done = False
        try:
            if isinstance(text, str):
                self._feed(number, [text], threading.Event())
            else:
                feeder = Worker(
                    "tts-text",
                    lambda: self._feed(number, text, stopping),
                    on_death=lambda _, error: self._events.put(error),
                )
                stopping = feeder.stopping
                feeder.start()
            yield from self._sound_until_done(number)
            done = True
        finally:
            if not done:
                self.interrupt(time.monotonic())
            if feeder is not None:
                feeder.ask_to_stop()
                if done:  # else it may wait for the caller's next text, which ends it
                    feeder.join(STOP_TIMEOUT_S)

    def _feed(self, number: int, texts: Iterable[str], stopping: threading.Event) -> None:
        splitter = SentenceSplitter()
        for piece in texts:
            for sentence in splitter.receive(piece):
                self.add_text(number, sentence)
            if stopping.is_set():
                return
        for sentence in splitter.end():
            self.add_text(number, sentence)
        self.end_reply(number)

    def _sound_until_done(self, number: int) -> Iterator[Samples]:
        give_up_at: float | None = None
        while True:
            try:
                event = self._events.get(
                    timeout=None if give_up_at is None else max(0.0, give_up_at - time.monotonic())
                )
            except queue.Empty:
                raise self._link.last_error or ConnectFailed("there is no connection") from None
            match event:
                case ReplyAudio(reply, pcm) if reply == number:
                    yield samples_of(pcm)
                case ReplyDone(reply) if reply == number:
                    return
                case ReplyCut(reply, error) if reply == number:
                    raise error
                case ConnectionChanged(state="ready"):
                    give_up_at = None
                case ConnectionChanged(retry_in_s=float()) if give_up_at is None:
                    give_up_at = time.monotonic() + self._patience_s
                case BaseException() as error:
                    raise error
                case _:
                    pass


def _family(model: str) -> str:
    """The model without its variant: a voice of "…/aura:2-en" is one of "…/aura:2-es", too."""
    return model.partition(":")[0]


def _within_a_minute(limits: TierLimits, models: tuple[str, ...]) -> TierLimits:
    """`limits` without texts that alone are more than a provider speaks in a minute."""
    counts = [count for model in models if (count := chars_a_minute(model)) is not None]
    return replace(limits, text_chars=min([limits.text_chars, *counts]))
