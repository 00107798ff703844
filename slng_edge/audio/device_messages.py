"""What ALSA says while devices are open, taken off standard error and into the log.

ALSA prints on the process's standard error, from whichever thread is in it: a line for each time
that a device ran dry, which `overflows` and `underflows` count anyway. On a busy machine that
fills the journal. `redirect` gives ALSA a function of ours to call instead. PortAudio itself has no
such way out of its library: its lines (`Expression … failed`) come while a device is being lost, a
few each time, beside our own.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import logging
import os
import re
import threading
import time
from collections.abc import Iterator

log = logging.getLogger(__name__)

REPEAT_S = 60.0
"""A message from the same place in ALSA is logged once in so long; how often it came is told."""

_LIBRARY = "libasound.so.2"
_PLACES_KEPT = 100
_ROOM = 500
_VALUES = 4
_CONVERSION = re.compile(rb"%[-+ #0-9.]*(?:hh|h|ll|l|z)?[diouxXcspm%]")
_RAN_DRY = ("underrun occurred", "overrun occurred")

# snd_lib_error_handler_t: file, line, function, errno, format, and the values of the format. A
# caller passes values that are numbers or addresses as it passes arguments that are named, on
# x86-64 and ARM. What was not passed is never looked at.
_Handler = ctypes.CFUNCTYPE(
    None,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    *([ctypes.c_size_t] * _VALUES),
)


class Messages:
    """Logs what ALSA says; any thread, whichever is in ALSA at the moment.

    Attributes:
        ran_dry: Times that ALSA said of a device that it ran dry, or over.
    """

    def __init__(self) -> None:
        self.ran_dry = 0
        self._lock = threading.Lock()
        self._expected = 0
        self._told: dict[tuple[str, int], tuple[float, int]] = {}

    @contextlib.contextmanager
    def expected(self) -> Iterator[None]:
        """While devices are tried, ALSA complains of all that is not there: debug, no more."""
        with self._lock:
            self._expected += 1
        try:
            yield
        finally:
            with self._lock:
                self._expected -= 1

    def receive(self, place: tuple[str, int], text: str, now: float) -> None:
        """Take one message.

        Args:
            place: Function and line of ALSA that it comes from.
            text: What it says.
            now: Seconds of the monotonic clock.
        """
        ran_dry = text.endswith(_RAN_DRY)
        with self._lock:
            self.ran_dry += ran_dry
            last_s, unsaid = self._told.get(place, (-REPEAT_S, 0))
            if now < last_s + REPEAT_S:
                self._told[place] = (last_s, unsaid + 1)
                return
            if len(self._told) >= _PLACES_KEPT:
                self._told.clear()
            self._told[place] = (now, 0)
            quiet = ran_dry or self._expected
        more = f" ({unsaid} more since the last time)" if unsaid else ""
        log.log(logging.DEBUG if quiet else logging.WARNING, "ALSA: %s%s", text, more)


MESSAGES = Messages()


def redirect() -> None:
    """Have ALSA call us instead of printing; once a process, the first call counts.

    Where there is no ALSA library nothing is done: then nobody prints either.
    """
    if _libraries:
        return
    try:
        alsa, c = ctypes.CDLL(_LIBRARY), ctypes.CDLL(None)
        set_handler = alsa.snd_lib_error_set_handler
        snprintf = c.snprintf
    except (OSError, AttributeError) as error:
        log.debug("what ALSA says stays on standard error: %s", error)
        return
    set_handler.restype = ctypes.c_int
    set_handler.argtypes = [ctypes.c_void_p]
    snprintf.restype = ctypes.c_int
    snprintf.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p]

    def receive(
        file: bytes, line: int, function: bytes, error: int, form: bytes, *values: int
    ) -> None:
        text = _formatted(snprintf, form, values)
        if error:
            text += f": {os.strerror(abs(error))}"
        where = function.decode(errors="replace")
        MESSAGES.receive((where, line), f"{where}: {text}", time.monotonic())

    # It is called as long as the library is there: these are kept for good.
    handler = _Handler(receive)
    _libraries.extend((alsa, handler))
    set_handler(ctypes.cast(handler, ctypes.c_void_p))
    # After the interpreter has ended there is nobody to call.
    atexit.register(set_handler, None)


_libraries: list[object] = []


def _formatted(snprintf: ctypes._NamedFuncPointer, form: bytes, values: tuple[int, ...]) -> str:
    """`form` with its values, where they are of the kinds that we were given."""
    conversions = [each for each in _CONVERSION.findall(form) if not each.endswith((b"%", b"m"))]
    if form.replace(b"%%", b"").count(b"%") != len(conversions) or len(conversions) > _VALUES:
        return form.decode(errors="replace")
    room = ctypes.create_string_buffer(_ROOM)
    snprintf(room, _ROOM, form, *(ctypes.c_size_t(value) for value in values))
    return room.value.decode(errors="replace").strip()
