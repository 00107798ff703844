"""The clock: with a wrong one no certificate is valid."""

from __future__ import annotations

import ctypes
import time
from datetime import UTC, datetime

from slng_edge.diagnostics.finding import Finding, fail, ok, warn
from slng_edge.diagnostics.inspection import Subject

NAME = "clock"
EARLIEST_YEAR = 2025
"""Of this version: a clock before it was never set."""
LATEST_YEAR = 2070

_UNSYNCHRONISED_US = 16_000_000
"""From this greatest error on `timedatectl` calls a clock not synchronised, too (NTP_PHASE_LIMIT
of adjtimex(2))."""


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`, and room for the rest of it (adjtimex(2))."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_char * 512),
    )


def check_clock(subject: Subject) -> list[Finding]:
    """Whether the clock can be right."""
    return [judge_clock(time.time(), synchronised())]


def synchronised() -> bool | None:
    """Whether something keeps the kernel's clock right; None where the kernel does not say."""
    timex = _Timex()
    try:
        status = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except AttributeError:
        return None
    if status < 0:
        return None
    return int(timex.maxerror) < _UNSYNCHRONISED_US


def judge_clock(now_s: float, in_step: bool | None) -> Finding:
    """What a clock means.

    Args:
        now_s: Seconds since 1970.
        in_step: Whether a time server is followed; None where that is not known.
    """
    now = datetime.fromtimestamp(now_s, UTC)
    shown = now.strftime("%Y-%m-%d %H:%M:%S UTC")
    advice = "sudo timedatectl set-ntp true, and let the network pass UDP port 123"
    if not EARLIEST_YEAR <= now.year <= LATEST_YEAR:
        return fail(NAME, f"{shown}: it was never set, and no certificate is valid then", advice)
    if in_step is None:
        return ok(NAME, f"{shown}; whether a time server is followed is not known here")
    if not in_step:
        return warn(NAME, f"{shown}, and no time server is followed: it will drift", advice)
    return ok(NAME, f"{shown}, in step with a time server")
