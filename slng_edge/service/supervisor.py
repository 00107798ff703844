"""The running service: starts the loop, watches it, and ends with the right exit status.

The main thread waits on the loop's notices. systemd's watchdog is fed only when a notice says
that microphone frames have passed through the loop: a process that runs and is deaf is restarted.
A thread that dies ends the process, for systemd to start it again.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import Any, TextIO

from slng_edge.config import Config
from slng_edge.errors import ConnectFailed, ControlError, SlngEdgeError, StuckThread
from slng_edge.events import EventBus
from slng_edge.service.control_desk import ControlDesk
from slng_edge.service.event_writer import EventWriter
from slng_edge.service.hands import Hands
from slng_edge.service.kept_settings import KeptSettings, state_file
from slng_edge.service.notify import Notifier
from slng_edge.threads import vanished_threads
from slng_edge.voice_loop import Died, Flowed, Over, Refused, VoiceLoop

log = logging.getLogger(__name__)

DEAF_S = 20.0
"""Without a microphone frame, or the reopen loop's tick, through the loop for so long: restart.
Opening a device may take 16 s where the sound system is slow (`pyaudio_backend`)."""

STOOD_STILL_S = 5.0
"""A look that comes so late was kept waiting with the whole process (SIGSTOP, a starved board):
what came meanwhile is looked at first."""

POLL_S = 1.0
"""How late mute and volume are kept. A signal wakes the main thread, but for one that comes in the
microsecond in which it falls asleep."""

RELOADED = "the configuration was reloaded"
"""Why what was under way is lost, and what `ctl reload` says."""

UNCHANGED = "the config has not changed; connecting now where there is no connection"


class Supervisor:
    """Runs a `VoiceLoop` until a signal, the end of a file input, or a failure.

    Args:
        config: What to run.
        reload: Reads the config again, for SIGHUP and `ctl reload`.
        events: Where events are written, if anywhere.
        notifier: Tells systemd.
        kept: Mute and volume over restarts; those of this user without it.
    """

    def __init__(
        self,
        config: Config,
        *,
        reload: Callable[[], Config],
        events: TextIO | None = None,
        notifier: Notifier | None = None,
        kept: KeptSettings | None = None,
    ) -> None:
        self._config = config
        self._reload = reload
        self._notifier = notifier or Notifier()
        self._bus = EventBus()
        self._writer = (
            EventWriter(
                self._bus,
                events,
                on_death=lambda thread, error: self._loop.notices.put(Died(thread, error)),
            )
            if events is not None
            else None
        )
        self._stop = threading.Event()
        self._reload_asked = threading.Event()
        self._notices: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._reload_requests: queue.SimpleQueue[Future[str]] = queue.SimpleQueue()
        self._reloads_asked: list[Future[str]] = []
        self._ever_ready = False
        self._hands = Hands(
            lambda: self._loop,
            quit=self._ask_to_stop,
            on_death=lambda thread, error: self._loop.notices.put(Died(thread, error)),
        )
        self._desk = ControlDesk(
            self._bus,
            kept=kept or KeptSettings(state_file()),
            notifier=self._notifier,
            reload=self._ask_reload,
            more=lambda: {"button": self._hands.problem} if self._hands.problem else {},
            on_death=lambda thread, error: self._loop.notices.put(Died(thread, error)),
        )

    def run(self) -> None:
        """Run until the end; installs signal handlers, so it belongs to the main thread.

        Raises:
            AuthenticationRejected: the key was refused before any session was ever ready.
            ConfigError, RequestRejected: likewise what was asked for.
            ConnectFailed: a file input ended and the gateway was never reached.
            AudioError: a device failed in a way that cannot pass.
            SlngEdgeError: a thread died, or did not stop.
        """
        # What has been loaded stays. Looking through it for garbage would hold up all threads:
        # 230 ms on a CPU that others keep busy, 25 without.
        gc.freeze()
        signal.signal(signal.SIGTERM, self._receive_signal)
        signal.signal(signal.SIGINT, self._receive_signal)
        signal.signal(signal.SIGHUP, self._receive_signal)
        signal.signal(signal.SIGUSR1, self._receive_signal)
        if self._writer is not None:
            self._writer.start()
        try:
            self._loop = self._build_loop(self._config)
            self._hands.start_button(self._config.wake.button_gpio)
            self._desk.start()
            self._hands.start_keys()
            self._desk.serve(self._loop, self._config)
            loop: VoiceLoop | None = self._loop
            while loop is not None:
                loop = self._run_loop(loop)
        finally:
            gc.unfreeze()  # at its end the interpreter looks through all that is left
            self._bus.close()
            self._take_reload_requests()
            self._answer_reloads(ControlError("the service is ending"))
            self._hands.stop()
            try:
                self._desk.stop()
            finally:
                if self._writer is not None:
                    self._writer.stop(timeout_s=0.5)

    def _build_loop(self, config: Config) -> VoiceLoop:
        """A loop that begins as mute and volume were kept."""
        muted, volume = self._desk.muted_and_volume(config)
        return VoiceLoop(config, bus=self._bus, muted=muted, volume=volume)

    def _run_loop(self, loop: VoiceLoop) -> VoiceLoop | None:
        """One life of `loop`; returns the one that takes its place, None at the end."""
        successor: VoiceLoop | None = None
        try:
            self._desk.open_outlets(self._config)
            loop.start()
            self._answer_reloads(RELOADED)
            self._desk.open_socket(self._config.control.socket)
            self._notifier.ready()
            successor = self._watch(loop)
            if successor is not None:
                # What is asked for from now on waits until it has started.
                self._loop = successor
                self._desk.serve(successor, self._config)
            return successor
        finally:
            self._ever_ready |= loop.ever_ready
            if successor is None:
                self._desk.stop_serving()
            if self._stop.is_set():
                self._notifier.stopping()
            try:
                loop.stop(why="" if successor is None else RELOADED)
            except StuckThread as error:
                # Asked to stop, we do: the process takes its threads with it.
                log.error("%s; ending all the same", error)

    def _watch(self, loop: VoiceLoop) -> VoiceLoop | None:
        self._notices = loop.notices  # before the first look at what is asked for
        looked_at = time.monotonic()
        deaf_at = looked_at + DEAF_S
        while not self._stop.is_set():
            now = time.monotonic()
            if now - looked_at > STOOD_STILL_S:
                deaf_at = now + DEAF_S  # it was the process that stood still, not its microphone
            looked_at = now
            self._desk.look()
            if self._reload_asked.is_set():
                successor = self._reloaded(loop)
                if successor is not None:
                    return successor
            vanished = vanished_threads()
            if vanished:
                self._stop.set()
                raise SlngEdgeError(f"thread {vanished[0]} vanished: is there no memory left?")
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
        self._take_reload_requests()
        try:
            config = self._reload()
            if config == self._config:
                log.info(UNCHANGED)
                loop.retry_now()
                self._answer_reloads(UNCHANGED)
                return None
            successor = self._build_loop(config)
        except SlngEdgeError as error:
            log.error("the config was not reloaded, the old one stays: %s", error)
            self._answer_reloads(error)
            return None
        self._config = config
        self._hands.start_button(config.wake.button_gpio)
        return successor

    def _ask_to_stop(self) -> None:
        """End; any thread, and handlers of signals: `SimpleQueue.put` may interrupt itself."""
        self._stop.set()
        self._notices.put(None)

    def _ask_reload(self) -> Future[str]:
        """As SIGHUP; any thread. What is returned will say what came of it."""
        future: Future[str] = Future()
        self._reload_requests.put(future)
        self._reload_asked.set()
        self._notices.put(None)
        return future

    def _take_reload_requests(self) -> None:
        """Who asks from now on asks for another reload."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._reloads_asked.append(self._reload_requests.get_nowait())

    def _answer_reloads(self, what: str | SlngEdgeError) -> None:
        """Tell whoever asked for the reload under way what came of it."""
        while self._reloads_asked:
            future = self._reloads_asked.pop()
            if isinstance(what, str):
                future.set_result(what)
            else:
                future.set_exception(what)

    def _receive_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            # From here and not by faulthandler.register: that walks stacks while they change.
            faulthandler.dump_traceback(sys.stderr, all_threads=True)
        elif number == signal.SIGHUP:
            self._reload_asked.set()
            self._notices.put(None)
        else:
            self._ask_to_stop()
