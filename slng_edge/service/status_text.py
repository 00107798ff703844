"""The status as a person reads it: one line that says it all, and some that say more.

It reads what `StatusBoard.as_json` wrote, maybe that of another version: what is not there is
not shown.
"""

from __future__ import annotations

import functools
import itertools
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

_LATENCIES = (
    ("speech_end_to_final", "words"),
    ("final_to_reply", "answer"),
    ("reply_to_audio", "voice"),
    ("audio_to_sound", "speaker"),
)


def status_lines(status: Mapping[str, Any], *, columns: int | None = None) -> list[str]:
    """The status line, and under it a line for each thing that there is something to say of.

    Args:
        status: As `StatusBoard.as_json` wrote it.
        columns: Longer lines go on in the next; None: they do not.
    """
    pairs = list(_details(status))
    width = max((len(name) for name, _ in pairs), default=0)
    lines = [_plain(f"{name:<{width}}  {text}") for name, text in pairs]
    if columns is None:
        return [status_line(status), *lines]
    below = " " * (width + 2)
    wrap = functools.partial(
        textwrap.wrap,
        width=max(columns, len(below) + 10),
        break_long_words=False,
        break_on_hyphens=False,
    )
    parts = [wrap(line, subsequent_indent=below) for line in lines]
    return [*wrap(status_line(status), subsequent_indent="  "), *itertools.chain(*parts)]


def status_line(status: Mapping[str, Any]) -> str:
    """State, how long it runs, both connections, what is wrong with devices, memory."""
    parts = [str(status.get("state", "?"))]
    if "uptime_s" in status:
        parts.append(f"up {duration_text(status['uptime_s'])}")
    for name in ("stt", "tts"):
        session = _table(_table(status, "sessions"), name)
        parts.append(_session_words(name, session, model=name == "stt"))
    devices = _table(status, "devices")
    for which, name in (("input", "mic"), ("output", "speaker")):
        state = _table(devices, which).get("state", "none")
        works = state in ("open", "reopened")
        if which == "input" or not works:
            parts.append(f"{name} {'ok' if works else state}")
    problems = _problems(status)
    if problems.pop("audio.input", ""):
        parts[-1 if works else -2] = "mic gives zeros"
    if problems:
        parts.append(f"without {', '.join(problems)}")
    rss_mib = _table(status, "process").get("rss_mib")
    if rss_mib is not None:
        parts.append(f"{rss_mib:.0f} MB")
    return _plain("  ".join(parts))


def duration_text(seconds: float) -> str:
    """Its two largest units: "3 d 4 h", "12 s"."""
    left = int(max(0.0, seconds))
    for size_s, unit, smaller_s, smaller in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if left >= size_s:
            rest = left % size_s // smaller_s
            return f"{left // size_s} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{left} s"


def _session_words(name: str, session: Mapping[str, Any], *, model: bool) -> str:
    words = f"{name} {session.get('state', 'none')}"
    inside = []
    if model and session.get("model"):
        inside.append(str(session["model"]))
    if session.get("retry_in_s") is not None:
        inside.append(f"retry in {duration_text(session['retry_in_s'])}")
    return f"{words} ({', '.join(inside)})" if inside else words


def _details(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "state_s" in status:
        yield "state", f"{status.get('state')} for {duration_text(status['state_s'])}"
    for name, session in sorted(_table(status, "sessions").items()):
        yield name, _session_detail(session)
        failure = session.get("last_failure")
        if failure:
            said = [str(failure[key]) for key in ("code", "reason") if key in failure]
            yield "", f"last failure {failure.get('at', '')}: {' '.join(said)}"
    devices = _table(status, "devices")
    for which, name in (("input", "microphone"), ("output", "speaker")):
        if which in devices:
            yield name, f"{devices[which].get('state')}  {devices[which].get('name')}"
    for name, why in _problems(status).items():
        yield "problem", f"{name}: {why}"
    if "volume" in status:
        yield "volume", f"{status['volume']} %" + (", muted" if status.get("muted") else "")
    latencies = _latency_words(_table(status, "latencies"))
    if latencies:
        yield "last turn", latencies
    yield from _counts(status)
    yield "process", _process_words(status)


def _session_detail(session: Mapping[str, Any]) -> str:
    words = [str(session.get("state")), str(session.get("model"))]
    if session.get("session_id"):
        words.append(f"session {session['session_id']}")
    if session.get("retry_in_s") is not None:
        words.append(f"retry in {duration_text(session['retry_in_s'])}")
    for key in ("reconnects", "failures"):
        if session.get(key):
            words.append(_counted(session[key], key[:-1]))
    return "  ".join(words)


def _latency_words(latencies: Mapping[str, Any]) -> str:
    turn = latencies.get("turn")
    if turn:
        parts = [f"{name} {turn[key]} ms" for key, name in _LATENCIES if key in turn]
        total = [f"{turn['total']} ms in all"] if "total" in turn else []
        return ", ".join([*total, *parts])
    return f"words {latencies['final_ms']} ms" if "final_ms" in latencies else ""


def _counts(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    events = _table(status, "events")
    counted = [
        _counted(events[type], type) for type in ("final", "reply", "wake") if events.get(type)
    ]
    interruptions = _table(status, "interruptions")
    counted += [f"{_counted(times, 'interruption')} by {by}" for by, times in interruptions.items()]
    if counted:
        yield "counts", ", ".join(counted)
    lost = [
        f"{what} {_counted(each.get('times'), 'time')}, {each.get('ms')} ms"
        for what, each in _table(status, "lost").items()
    ]
    if lost:
        yield "lost", "; ".join(lost)
    counters = [f"{name} {value}" for name, value in _table(status, "counters").items() if value]
    if counters:
        yield "counters", ", ".join(counters)


def _process_words(status: Mapping[str, Any]) -> str:
    process = _table(status, "process")
    words = [f"slng-edge {status.get('version', '?')}"]
    if "pid" in process:
        words.append(f"process {process['pid']}")
    if "rss_mib" in process:
        words.append(f"{process['rss_mib']} MB")
    if "threads" in process:
        words.append(f"{process['threads']} threads")
    return ", ".join(words)


def _problems(status: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for and cannot be had, by its setting."""
    problems = dict(_table(status, "problems"))
    if status.get("button"):
        problems["wake.button_gpio"] = status["button"]
    return problems


def _counted(count: Any, what: str) -> str:
    if count == 1:
        return f"1 {what}"
    return f"{count} {what[:-1]}ies" if what.endswith("y") else f"{count} {what}s"


def _table(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = of.get(name)
    return table if isinstance(table, Mapping) else {}


def _plain(text: str) -> str:
    """Without control characters: names and reasons come from outside, and a line is a line."""
    return re.sub("[\x00-\x1f\x7f-\x9f]+", " ", text)
