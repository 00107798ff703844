"""Holds threads up between any two instructions of some modules: races that pass no lock.

An update that nothing guards (`count += 1`, a look and then an act) goes wrong only where another
thread comes in between, and there is no point there to hold a thread up. So a seed chooses some
modules, and in them every instruction is such a point. That is slow, and so only in a few.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from stress.delays import Delays

CHOSEN = 2
"""Modules a seed chooses."""

MODULES = (
    "asks",
    "conversation",
    "events",
    "hearing",
    "replying",
    "threads",
    "voice_loop",
    "audio.capture",
    "audio.far_end",
    "audio.media_clock",
    "audio.playback",
    "audio.ring_buffer",
    "audio.sound_queue",
    "gateway.connection_budget",
    "gateway.lane",
    "gateway.session",
    "gateway.session_link",
    "gateway.stt_session",
    "gateway.tts_session",
    "responders.command",
    "responders.runner",
    "service.control_desk",
    "service.control_socket",
    "service.event_relay",
    "service.hooks",
    "service.outlets",
    "service.status",
    "service.status_page",
    "service.supervisor",
)
"""Those in which threads meet."""


def chosen(seed: int) -> tuple[str, ...]:
    """The modules of a seed."""
    return tuple(random.Random(f"{seed} lines").sample(MODULES, CHOSEN))


def trace(delays: Delays, modules: Sequence[str]) -> None:
    """From now on hold up whoever is in `modules`: this thread, and those that are started."""
    names = {f"slng_edge.{module}" for module in modules}

    def enter(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_globals.get("__name__") not in names:
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return within

    def within(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            delays.pause_briefly()
        return within

    threading.settrace(enter)
    sys.settrace(enter)
