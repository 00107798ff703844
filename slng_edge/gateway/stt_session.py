"""Speech in, words out: a speech-to-text session that outlives its connections."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from slng_edge.config import Config
from slng_edge.errors import ConnectFailed, SlngEdgeError
from slng_edge.gateway.connection import DialSettings
from slng_edge.gateway.connection_budget import CONNECTIONS, ConnectionBudget
from slng_edge.gateway.endpoints import endpoint_of, with_given
from slng_edge.gateway.session_link import SessionLink
from slng_edge.pcm import Samples
from slng_edge.protocol.session_events import Final, Partial, StrayFinal, SttEvent, UtteranceLost
from slng_edge.protocol.stt_exchange import SttExchange, SttTimes
from slng_edge.protocol.unified_stt import UnifiedStt
from slng_edge.secrets import read_api_key
from slng_edge.threads import OnDeath

STOP_TIMEOUT_S = 3.0

UNSENT_LIMIT_MS = 2000.0
"""`transcribe` reads no further while this much audio waits to be sent."""


class SttSession:
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
        on_event: Gets `SttEvent`s, `ConnectionChanged`, and a `SlngEdgeError` that is
            final, in this session's threads. Without it they are kept for `transcribe`.
        budget: Where connections are counted; one of its own without it.
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
        words: bool = False,
        join_finals: bool = True,
        on_event: Callable[[Any], None] | None = None,
        budget: ConnectionBudget | None = None,
        on_death: OnDeath | None = None,
    ) -> None:
        config = config or Config()
        gateway = with_given(config.gateway, url=url)
        stt = with_given(config.stt, model=model, language=language, sample_rate=sample_rate)
        key = read_api_key(gateway) if api_key is None else api_key
        self._final_timeout_s = stt.final_timeout_s
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._exchange = SttExchange(
            UnifiedStt(
                sample_rate_hz=stt.sample_rate,
                language=stt.language,
                words=words,
                binary_audio=stt.audio_frames == "binary",
                options=stt.options,
            ),
            rate_hz=stt.sample_rate,
            keep_s=max(stt.offline_keep_s, config.vad.max_utterance_s)
            + config.vad.preroll_ms / 1000,
            times=SttTimes(
                ready_s=gateway.connect_timeout_s,
                keepalive_s=stt.keepalive_s,
                final_s=stt.final_timeout_s,
                offline_keep_s=stt.offline_keep_s,
            ),
            join_finals=join_finals,
        )
        self._on_event = on_event or self._events.put
        self._link = SessionLink(
            "stt",
            model=stt.model,
            endpoint=endpoint_of(gateway, kind="stt", model=stt.model, key=key),
            exchange=self._exchange,
            settings=DialSettings(gateway.connect_timeout_s, gateway.ca_file),
            budget=budget or ConnectionBudget(CONNECTIONS[gateway.tier]),
            on_event=self._on_event,
            on_death=on_death,
        )

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._link.start()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Take leave of the gateway and end the threads; idempotent, any thread.

        Raises:
            StuckThread: a thread did not end within `timeout_s`.
        """
        self._link.stop(timeout_s)

    def retry_now(self) -> None:
        """Connect now instead of waiting out the back-off."""
        self._link.retry_now()

    def wait_ready(self, timeout_s: float) -> None:
        """Wait for `ready`; raises what the first attempt failed of, or ConnectFailed."""
        self._link.wait_ready(timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # Any one thread at a time

    def open_utterance(self) -> int:
        """Begin an utterance; returns its number. Never waits."""
        with self._link.changed:
            return self._exchange.open_utterance()

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
            self._exchange.end_utterance(utterance, now)
            self._link.notify()

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
            case SlngEdgeError():
                raise event
            case _:
                pass

    def _hand_on(self, events: list[SttEvent]) -> None:
        for event in events:
            self._on_event(event)
