"""The running service: starts the loop, watches it, and ends with the right exit status.

The main thread waits on the loop's notices. systemd's watchdog is fed only when a notice says
that microphone frames have passed through the loop: a process that runs and is deaf is restarted.
A thread that dies ends the process, for systemd to start it again.
"""

from __future__ import annotations

import faulthandler
import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TextIO

from slng_edge.config import Config
from slng_edge.errors import ConnectFailed, SlngEdgeError, StuckThread
from slng_edge.events import EventBus
from slng_edge.service.event_writer import EventWriter
from slng_edge.service.notify import Notifier
from slng_edge.voice_loop import Died, Flowed, Over, Refused, VoiceLoop

log = logging.getLogger(__name__)

DEAF_S = 20.0
"""Without a microphone frame, or the reopen loop's tick, through the loop for so long: restart.
Opening a device may take 16 s where the sound system is slow (`pyaudio_backend`)."""

POLL_S = 0.25
"""How late a signal may be noticed: Python runs handlers only when its main thread wakes."""

RELOADED = "the configuration was reloaded"
"""Why what was under way is lost."""


class Supervisor:
    """Runs a `VoiceLoop` until a signal, the end of a file input, or a failure.

    Args:
        config: What to run.
        reload: Reads the config again, for SIGHUP.
        events: Where events are written, if anywhere.
        notifier: Tells systemd.
    """

    def __init__(
        self,
        config: Config,
        *,
        reload: Callable[[], Config],
        events: TextIO | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._config = config
        self._reload = reload
        self._notifier = notifier or Notifier()
        self._bus = EventBus()
        self._writer = EventWriter(self._bus, events) if events is not None else None
        self._stop = threading.Event()
        self._reload_asked = threading.Event()
        self._ever_ready = False

    def run(self) -> None:
        """Run until the end; installs signal handlers, so it belongs to the main thread.

        Raises:
            AuthenticationRejected: the key was refused before any session was ever ready.
            ConfigError, RequestRejected: likewise what was asked for.
            ConnectFailed: a file input ended and the gateway was never reached.
            AudioError: a device failed in a way that cannot pass.
            SlngEdgeError: a thread died, or did not stop.
        """
        signal.signal(signal.SIGTERM, self._receive_signal)
        signal.signal(signal.SIGINT, self._receive_signal)
        signal.signal(signal.SIGHUP, self._receive_signal)
        signal.signal(signal.SIGUSR1, self._receive_signal)
        if self._writer is not None:
            self._writer.start()
        loop: VoiceLoop | None = VoiceLoop(self._config, bus=self._bus)
        try:
            while loop is not None:
                loop = self._run_loop(loop)
        finally:
            self._bus.close()
            if self._writer is not None:
                self._writer.stop(timeout_s=0.5)

    def _run_loop(self, loop: VoiceLoop) -> VoiceLoop | None:
        """One life of `loop`; returns the one that takes its place, None at the end."""
        successor: VoiceLoop | None = None
        try:
            loop.start()
            self._notifier.ready()
            successor = self._watch(loop)
            return successor
        finally:
            self._ever_ready |= loop.ever_ready
            if self._stop.is_set():
                self._notifier.stopping()
            try:
                loop.stop(why="" if successor is None else RELOADED)
            except StuckThread as error:
                # Asked to stop, we do: the process takes its threads with it.
                log.error("%s; ending all the same", error)

    def _watch(self, loop: VoiceLoop) -> VoiceLoop | None:
        deaf_at = time.monotonic() + DEAF_S
        while not self._stop.is_set():
            if self._reload_asked.is_set():
                successor = self._reloaded(loop)
                if successor is not None:
                    return successor
            if time.monotonic() >= deaf_at:
                self._stop.set()
                raise SlngEdgeError(f"deaf: no microphone frame came through for {DEAF_S:g} s")
            try:
                notice = loop.notices.get(timeout=POLL_S)
            except queue.Empty:
                continue
            match notice:
                case Flowed():
                    deaf_at = time.monotonic() + DEAF_S
                    self._notifier.alive()
                case Over():
                    self._stop.set()
                    if not (self._ever_ready or loop.ever_ready):
                        raise ConnectFailed("the input has ended and the gateway was never reached")
                case Refused(session, error):
                    log.error("%s was refused: %s", session, error)
                    if not (self._ever_ready or loop.ever_ready):
                        self._stop.set()
                        raise error
                case Died(thread, error):
                    self._stop.set()
                    if isinstance(error, SlngEdgeError):
                        raise error
                    raise SlngEdgeError(f"thread {thread} died: {error!r}") from error
        return None

    def _reloaded(self, loop: VoiceLoop) -> VoiceLoop | None:
        """The loop of the config as it is now; None where `loop` stays."""
        self._reload_asked.clear()
        try:
            config = self._reload()
            if config == self._config:
                log.info("the config has not changed; connecting now where there is no connection")
                loop.retry_now()
                return None
            successor = VoiceLoop(config, bus=self._bus)
        except SlngEdgeError as error:
            log.error("the config was not reloaded, the old one stays: %s", error)
            return None
        self._config = config
        return successor

    def _receive_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            # From here and not by faulthandler.register: that walks stacks while they change.
            faulthandler.dump_traceback(sys.stderr, all_threads=True)
        elif number == signal.SIGHUP:
            self._reload_asked.set()
        else:
            self._stop.set()
