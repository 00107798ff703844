"""The microphone of `stt`: gated speech to the gateway, finals and partials to a queue."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from slng_edge.audio.backends import configured_source
from slng_edge.audio.capture import Capture
from slng_edge.audio.media_clock import MediaClock
from slng_edge.cli import tell
from slng_edge.cli.readiness import wait_ready
from slng_edge.errors import DeviceLost
from slng_edge.gateway.stt_session import SttSession
from slng_edge.hearing import Hearing, build_gate
from slng_edge.hearing_events import InputEnded, UtteranceBegan
from slng_edge.protocol.session_events import Final, Partial, StrayFinal, UtteranceLost

if TYPE_CHECKING:
    from slng_edge.config import Config


class Microphone:
    """Context manager around the threads that listen; `events` gives what they hear.

    A device that is missing ends it with an error: whoever stands before a terminal can plug it
    in and start again.
    """

    def __init__(self, config: Config, *, words: bool) -> None:
        self._config = config
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        clock = MediaClock()
        self._session = SttSession(
            config,
            words=words,
            on_event=self._events.put,
            on_death=lambda _, error: self._events.put(error),
        )
        hearing = Hearing(build_gate(config), self._session, post=self._events.put)
        self._capture = Capture(
            lambda: configured_source(config, clock),
            on_frame=hearing.receive_frame,
            idle=lambda: hearing.idle,
            on_gap=hearing.receive_gap,
            on_end=hearing.receive_end,
            on_wait=lambda: None,
            on_device=self._receive_device,
            on_death=lambda _, error: self._events.put(error),
        )

    def events(self) -> Iterator[Partial | Final]:
        """Partials and finals, until a `file:` input has ended and all of it is answered.

        Raises:
            SlngEdgeError: the device or the gateway failed.
        """
        open_utterances, ended = 0, False
        while not ended or open_utterances:
            event = self._events.get()
            match event:
                case BaseException():
                    raise event
                case UtteranceBegan():
                    open_utterances += 1
                case InputEnded():
                    ended = True
                case Partial():
                    yield event
                case Final():
                    open_utterances -= 1
                    yield event
                case UtteranceLost(_, ms, why, over):
                    tell(f"lost {ms} ms of speech: {why}")
                    open_utterances -= over
                case StrayFinal(text):
                    tell(f"words of an utterance that had ended: {text}")

    def __enter__(self) -> Self:
        self._session.start()
        try:
            wait_ready(self._session, self._config.gateway, self._config.stt)
        except BaseException:
            self._session.stop()
            raise
        self._capture.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._capture.stop(timeout_s=2.0)
        self._session.stop()

    def _receive_device(self, state: str, name: str, why: str) -> None:
        if state == "lost":
            self._events.put(DeviceLost(why))
        else:
            tell(f"listening to {name}; Ctrl-C ends it")
