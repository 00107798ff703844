"""The thread that reads the microphone, whatever happens to the device.

It does no network work: a frame goes to `on_frame`, which must not wait. A device that is
missing or lost is opened again every second, with a fresh one from `build_source`. While muted it
is closed: what is not captured cannot be sent, and the light on a microphone shows it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from slng_edge.audio.interfaces import Source
from slng_edge.errors import AudioError
from slng_edge.pcm import Samples
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""Pause between two attempts to open a device that is not there."""


@runtime_checkable
class TellsGaps(Protocol):
    """A source that drops sound after a stall.

    Attributes:
        gaps: Times that the frame which `read` returned did not belong to the one before.
    """

    gaps: int


@runtime_checkable
class TellsZeros(Protocol):
    """A source that may be muted at the device itself, which nobody tells.

    Attributes:
        only_zeros: Whether nothing but zeros has come so far.
    """

    @property
    def only_zeros(self) -> bool: ...


class Capture:
    """Owns the thread `capture`.

    All callbacks come from that thread and must not wait.

    Args:
        build_source: Makes a source, not yet open; called again after a device was lost.
        on_frame: Gets every frame, `source.frame_samples` long.
        idle: Whether nobody speaks now; asked after each frame.
        on_gap: The frames that follow do not belong to those before: the device was lost, or
            stood still so long that some were dropped.
        on_end: The input has ended (a file); no frame follows.
        on_wait: Called every second while there is no device, while muted, and after the end.
        on_device: Gets "open", "lost" or "reopened", the source's name and, when lost, why;
            once per change; nothing while it is closed because of mute.
        on_unmuted: Called when it hears again after `mute(False)`, or has found out that it
            cannot; must not wait. False where it could not be told: then it is called again.
        muted: Whether it is closed to begin with.
        on_death: As in `Worker`.
    """

    def __init__(
        self,
        build_source: Callable[[], Source],
        *,
        on_frame: Callable[[Samples], None],
        idle: Callable[[], bool],
        on_gap: Callable[[], None],
        on_end: Callable[[], None],
        on_wait: Callable[[], None],
        on_device: Callable[[str, str, str], None],
        on_unmuted: Callable[[], bool] = lambda: True,
        muted: bool = False,
        on_death: OnDeath | None = None,
    ) -> None:
        self._build_source = build_source
        self._on_frame = on_frame
        self._idle = idle
        self._on_gap = on_gap
        self._on_end = on_end
        self._on_wait = on_wait
        self._on_device = on_device
        self._on_unmuted = on_unmuted
        self._muted = muted
        self._unmuting = False
        self._muting = threading.Lock()
        self._woken = threading.Event()
        self._source: Source | None = None
        self._state = ""
        self._ever_open = False
        self._overflows_before = 0
        self._worker = Worker("capture", self._run, wake=self._close_source, on_death=on_death)

    def start(self) -> None:
        """Start the thread; the device is opened there, and waited for as long as it takes."""
        self._worker.start()

    def mute(self, muted: bool) -> None:
        """Close the device with the next frame, or open it again; any thread, does not wait.

        One that is being opened, and gives nothing yet, is closed when that is over. After
        `mute(True)` has returned, `on_unmuted` is not called for an earlier `mute(False)`.
        """
        with self._muting:
            self._unmuting = not muted and (self._unmuting or self._muted)
            self._muted = muted
        self._woken.set()

    def stop(self, timeout_s: float) -> None:
        """Close the device and end the thread.

        Raises:
            StuckThread: it still runs after `timeout_s`.
        """
        self._worker.stop(timeout_s)

    @property
    def overflows(self) -> int:
        """Times that samples were thrown away since `start`, over all reopenings. Any thread."""
        source = self._source
        return self._overflows_before + (source.overflows if source else 0)

    @property
    def only_zeros(self) -> bool:
        """Whether the device gives nothing but zeros: muted, dead, or gated in silence.

        Any thread.
        """
        source = self._source
        return isinstance(source, TellsZeros) and source.only_zeros

    def _run(self) -> None:
        stopping = self._worker.stopping
        while not stopping.is_set():
            source = self._build_source()
            if self._muted and source.live:
                self._sit_out()
                continue
            self._source = source  # so that `stop` ends the wait for one that stands still
            try:
                source.open()
                if stopping.is_set():
                    return  # `stop` came before there was a source to close
                if self._state in ("", "lost"):
                    self._tell("reopened" if self._ever_open else "open", source.name, "")
                self._ever_open = True
                self._hears_again()
                if not self._read(source):
                    log.info("input closed: %s (muted)", source.name)
                    self._on_gap()
                    continue
                if not stopping.is_set():
                    self._on_end()
                while not stopping.wait(RETRY_S):
                    self._hears_again()
                    self._on_wait()
            except AudioError as error:
                if stopping.is_set():
                    return
                if not error.retryable:
                    raise
                if self._ever_open:
                    self._on_gap()
                self._tell("lost", source.name, str(error))
                self._hears_again()
            finally:
                self._source = None
                self._overflows_before += source.overflows
                source.close()
            if not stopping.wait(RETRY_S):
                self._on_wait()

    def _sit_out(self) -> None:
        """Wait until it is not muted any more, without a device."""
        while True:
            self._woken.clear()  # before the look at what it tells of
            if not self._muted or self._worker.stopping.is_set():
                return
            self._on_wait()
            self._woken.wait(RETRY_S)

    def _hears_again(self) -> None:
        if not self._unmuting:
            return  # with every frame: the lock is for the one that may be the first
        with self._muting:
            # Whoever is told may have no time just now: then with the next frame.
            if self._unmuting and self._on_unmuted():
                self._unmuting = False

    def _read(self, source: Source) -> bool:
        """Read until the end, or until it is muted; whether it was the end."""
        tells = source if isinstance(source, TellsGaps) else None
        gaps = tells.gaps if tells else 0
        while (frame := source.read()) is not None:
            if tells and tells.gaps != gaps:
                gaps = tells.gaps
                self._on_gap()
            if self._muted and source.live:
                return False
            self._hears_again()
            self._on_frame(frame)
            source.idle = self._idle()
        return True

    def _tell(self, state: str, name: str, why: str) -> None:
        if state == self._state:
            return
        self._state = state
        if why:
            log.warning("input %s: %s (%s)", state, name, why)
        else:
            log.info("input %s: %s", state, name)
        self._on_device(state, name, why)

    def _close_source(self) -> None:
        self._woken.set()
        source = self._source
        if source is not None:
            source.close()
