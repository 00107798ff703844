"""What a microphone and a speaker of the system have in common: a stream of PortAudio.

How a device is waited for. A blocking read or write of PortAudio waits without a limit: on a
sound server that is suspended or hangs it never returns, and closing the stream from another
thread meanwhile crashes the process. A callback goes quiet in the same case, costs a thread switch
and half as much CPU again. So we ask how much there is, sleep for as long as the rest
takes, and call only what cannot block. Measured through PulseAudio, 20 ms blocks, CPU
seconds a minute, one direction: blocking 0.5, this 0.5, callback 0.8-1.2.

What is open moves. A device that is suspended or hangs opens like any other, and would be lost,
reopened and lost again every few seconds, and be said to hear all the while. So opening
includes seeing something move.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from slng_edge.audio.pyaudio_backend import HOST, DeviceStream, Opened, Request, words_of
from slng_edge.errors import DeviceLost

log = logging.getLogger(__name__)

STALL_S = 1.5
"""A device that delivers or takes nothing for so long is lost: 30 times its period and more."""
FIRST_STALL_S = 4.0
"""Right after opening: a suspended Bluetooth or USB device takes seconds to wake up."""
CALL_S = 2.0
"""Longest wait for a call that ought not to block, before a stream is left to its thread."""
_NOTICED_SLEEP_S = 0.1
"""A sleep of 1 ms that took longer was a stall of ours, not the device's; so much of it counts."""
_POLL_S = 0.001
_LATE_S = 0.1
"""Once so late it is no jitter, and we look less often."""
_LATE_POLL_S = 0.01
_EARLY_S = 0.0002
"""How much sooner than the last time we look: finds the moment, and follows its drift."""


class _Held:
    """The open stream of a device, for calls that do not block; their errors become `DeviceLost`.

    Not `contextlib.contextmanager`, which takes three times as long: a hundred times a second.
    """

    def __init__(
        self, name: str, lock: threading.Lock, open_stream: Callable[[], DeviceStream]
    ) -> None:
        self._name = name
        self._lock = lock
        self._open_stream = open_stream

    def __enter__(self) -> DeviceStream:
        self._lock.acquire()
        try:
            return self._open_stream()
        except DeviceLost:
            self._lock.release()
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._lock.release()
        if isinstance(error, OSError):
            raise DeviceLost(f'"{self._name}" is gone: {words_of(error)}') from error


class DeviceUser:
    """One stream, opened, asked and closed; one thread but for `close`.

    Args:
        name: From `slng-edge devices`, or "default".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.lost_because = ""
        # Held for calls that do not block, so that nothing closes a stream under them.
        self._lock = threading.Lock()
        self._stream: DeviceStream | None = None
        self._closed = True
        self._due_s = 0.0
        self._waited_s = 0.0
        self._starting = True
        self._stall_s = FIRST_STALL_S

    def close(self) -> None:
        """Close the device; any thread, idempotent; waits at most 5 s.

        A read or write that waits ends within a block, and so does `open`, but for what PortAudio
        itself does in it. Where the sound system does not answer, the
        stream is left to it, and that is logged.
        """
        self._closed = True
        # After an underrun a call that asks how much room there is prepares the stream anew, which
        # a sound server that hangs keeps waiting.
        if not self._lock.acquire(timeout=CALL_S):
            log.warning('closing "%s": a call into the sound system has not returned', self.name)
            return  # its thread learns that it is closed when it has
        try:
            stream, self._stream = self._stream, None
        finally:
            self._lock.release()
        if stream is None:
            return
        try:
            HOST.close(self, stream)
        except DeviceLost as error:
            log.warning("%s", error)

    def _open(self, request: Request) -> Opened:
        self.close()
        self._closed = False
        self.lost_because = ""
        opened = HOST.open(self, request)
        with self._lock:
            self._stream = opened.stream
        if self._closed:  # while it was being opened: that `close` saw no stream
            self.close()
            raise DeviceLost(f'"{self.name}" was closed')
        self._due_s = 0.0
        self._waited_s = 0.0
        self._starting = True
        self._stall_s = FIRST_STALL_S
        return opened

    def _has_started(self) -> None:
        """Note that the device works: from now on it may not stand still for long."""
        self._starting = False
        self._stall_s = STALL_S

    def _device(self) -> _Held:
        return _Held(self.name, self._lock, self._open_stream)

    def _open_stream(self) -> DeviceStream:
        if self.lost_because:
            raise DeviceLost(f'"{self.name}": {self.lost_because}')
        if self._stream is None or self._closed:
            raise DeviceLost(f'"{self.name}" is not open')
        return self._stream

    def _sleep(self) -> None:
        """Sleep until something may have moved; at most a period."""
        now = time.monotonic()
        if now < self._due_s:
            time.sleep(self._due_s - now)
        elif self._waited_s > self._stall_s:
            raise DeviceLost(f'"{self.name}" has stalled: nothing moved for {self._stall_s:g} s')
        else:
            time.sleep(_POLL_S if self._waited_s < _LATE_S else _LATE_POLL_S)
            self._waited_s += min(time.monotonic() - now, _NOTICED_SLEEP_S)

    def _moved(self, next_s: float) -> None:
        """Note that the device delivered or took something, and will again after `next_s`."""
        self._waited_s = 0.0
        self._stall_s = FIRST_STALL_S if self._starting else STALL_S
        self._due_s = time.monotonic() + next_s - _EARLY_S
