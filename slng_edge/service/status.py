"""What `ctl status` shows, collected from events: how it is, never what was said."""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slng_edge import __version__
from slng_edge.events import (
    ConnectionChanged,
    DeviceChanged,
    FinalHeard,
    Interrupted,
    Lost,
    ReplyAudioStarted,
    Stamped,
    StateChanged,
    TurnMeasured,
)


@dataclass
class _Session:
    """One session's connection, and what became of the earlier ones."""

    state: str = "none"
    since: str = ""
    model: str = ""
    session_id: str | None = None
    retry_t: float | None = None
    last_failure: dict[str, Any] | None = None
    readies: int = 0
    failures: int = 0

    def as_json(self, now_t: float) -> dict[str, Any]:
        retry_in_s = None if self.retry_t is None else round(max(0.0, self.retry_t - now_t), 1)
        shown: dict[str, Any] = {
            "state": self.state,
            "since": self.since,
            "model": self.model,
            "session_id": self.session_id,
            "retry_in_s": retry_in_s,
            "last_failure": self.last_failure,
        }
        shown = {name: value for name, value in shown.items() if value is not None}
        return {**shown, "reconnects": max(0, self.readies - 1), "failures": self.failures}


@dataclass
class _Losses:
    """What of one kind could not be kept."""

    times: int = 0
    ms: int = 0
    last: dict[str, str] = field(default_factory=dict)


class StatusBoard:
    """Collects events; any thread may write and read.

    `changes` counts what has changed in the state, the connections and the devices.

    Args:
        began_s: When the service began, on the clock of `as_json`.
    """

    def __init__(self, began_s: float) -> None:
        self.changes = 0
        self._began_s = began_s
        self._lock = threading.Lock()
        self._state = "starting"
        self._state_at = ""
        self._state_t: float | None = None
        self._sessions: dict[str, _Session] = {}
        self._devices: dict[str, dict[str, str]] = {}
        self._latencies: dict[str, Any] = {}
        self._events: collections.Counter[str] = collections.Counter()
        self._interruptions: collections.Counter[str] = collections.Counter()
        self._lost: dict[str, _Losses] = {}

    def receive(self, stamped: Stamped) -> None:
        """Take one event; never waits."""
        event, at = stamped.event, stamped.as_json()["at"]
        with self._lock:
            self._events[event.type] += 1
            self.changes += isinstance(event, StateChanged | ConnectionChanged | DeviceChanged)
            match event:
                case StateChanged(state):
                    self._state, self._state_at, self._state_t = state, at, stamped.t
                case ConnectionChanged():
                    self._receive_connection(event, at, stamped.t)
                case DeviceChanged(which, state, name):
                    self._devices[which] = {"state": state, "since": at, "name": name}
                case FinalHeard():
                    self._latencies["final_ms"] = event.latency_ms
                case ReplyAudioStarted(latency_ms):
                    self._latencies["reply_audio_ms"] = latency_ms
                case TurnMeasured():
                    self._latencies["turn"] = event.payload()
                case Interrupted():
                    self._interruptions[event.by] += 1
                case Lost(what, ms, why):
                    losses = self._lost.setdefault(what, _Losses())
                    losses.times += 1
                    losses.ms += ms
                    losses.last = {"at": at, "why": why}
                case _:
                    pass

    def as_json(self, now_s: float, *, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What is known, as JSON can carry it.

        Args:
            now_s: On the clock of `began_s`.
            more: What others know; it goes in after the state.
        """
        more = more or {}
        with self._lock:
            devices = {which: dict(device) for which, device in self._devices.items()}
            if more.get("muted"):  # no event tells of it: it is neither lost nor open
                devices["input"] = {**devices.get("input", {}), "state": "closed"}
            uptime_s = now_s - self._began_s
            state_s = uptime_s if self._state_t is None else uptime_s - self._state_t
            return {
                "version": __version__,
                "state": self._state,
                "since": self._state_at,
                "state_s": round(max(0.0, state_s), 1),
                "uptime_s": round(uptime_s, 1),
                **more,
                "sessions": {name: each.as_json(uptime_s) for name, each in self._sessions.items()},
                "devices": devices,
                "latencies": dict(self._latencies),
                "events": dict(self._events),
                "interruptions": dict(self._interruptions),
                "lost": {
                    what: {"times": each.times, "ms": each.ms, "last": each.last}
                    for what, each in self._lost.items()
                },
            }

    def _receive_connection(self, event: ConnectionChanged, at: str, t: float) -> None:
        session = self._sessions.setdefault(event.session, _Session())
        if event.model != session.model or event.state != session.state:
            session.since = at
        session.state, session.model = event.state, event.model
        session.session_id = event.session_id
        session.retry_t = None if event.retry_in_s is None else t + event.retry_in_s
        if event.state == "ready":
            session.readies += 1
        elif event.state == "failed":
            session.failures += 1
            failure = {"at": at, "code": event.code, "reason": event.reason}
            session.last_failure = {k: value for k, value in failure.items() if value is not None}
