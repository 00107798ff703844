"""The status, from events to the lines a person reads."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slng_edge import __version__
from slng_edge.events import (
    ConnectionChanged,
    DeviceChanged,
    Event,
    FinalHeard,
    Interrupted,
    Lost,
    PartialHeard,
    ReplyAudioStarted,
    ReplyWritten,
    Stamped,
    StateChanged,
    TurnMeasured,
)
from slng_edge.service.page_routes import health_problem
from slng_edge.service.process_figures import process_figures
from slng_edge.service.status import StatusBoard
from slng_edge.service.status_text import duration_text, status_line, status_lines

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
STT, TTS = "slng/deepgram/nova:3-en", "slng/deepgram/aura:2-en"


def board_of(*events: Event) -> StatusBoard:
    """A board that began at 100 s and got an event a second."""
    board = StatusBoard(100.0)
    for t, event in enumerate(events):
        board.receive(Stamped(float(t), NOON + timedelta(seconds=t), event))
    return board


def test_before_anything_happened_it_starts() -> None:
    """With the uptime that it has."""
    status = board_of().as_json(103.5)
    assert (status["state"], status["uptime_s"], status["state_s"]) == ("starting", 3.5, 3.5)
    assert status["version"] == __version__
    assert (status["sessions"], status["devices"], status["lost"]) == ({}, {}, {})


def test_the_state_has_an_age() -> None:
    """Seconds in it, and since when on the clock."""
    status = board_of(StateChanged("idle"), StateChanged("listening")).as_json(111.0)
    assert status["state"] == "listening"
    assert status["state_s"] == 10.0
    assert status["since"] == "2025-01-01T12:00:01.000+00:00"


def test_a_session_shows_its_connection_and_its_last_failure() -> None:
    """The failure stays after the connection has come back."""
    session = board_of(
        ConnectionChanged("stt", "connecting", STT),
        ConnectionChanged("stt", "ready", STT, session_id="s1"),
        ConnectionChanged("stt", "failed", STT, code=1006, reason="gone", retry_in_s=2.5),
        ConnectionChanged("stt", "ready", STT, session_id="s2"),
    ).as_json(110)["sessions"]["stt"]
    assert session == {
        "state": "ready",
        "since": "2025-01-01T12:00:03.000+00:00",
        "model": STT,
        "session_id": "s2",
        "last_failure": {
            "at": "2025-01-01T12:00:02.000+00:00",
            "code": 1006,
            "reason": "gone",
        },
        "reconnects": 1,
        "failures": 1,
    }


def test_while_it_failed_it_says_when_it_tries_again() -> None:
    """Counted down; the session of the failed connection is over."""
    board = board_of(
        ConnectionChanged("tts", "ready", TTS, session_id="s1"),
        ConnectionChanged("tts", "failed", TTS, reason="gone", retry_in_s=2.5),
    )
    later = board.as_json(110)["sessions"]["tts"]["retry_in_s"]
    session = board.as_json(102)["sessions"]["tts"]
    assert (session["state"], session["retry_in_s"], later) == ("failed", 1.5, 0.0)
    assert "session_id" not in session


def test_what_happened_is_counted_and_words_are_not_kept() -> None:
    """Finals, replies, interruptions by whom, losses of what; no text of anybody."""
    status = board_of(
        PartialHeard("a secret"),
        FinalHeard("a secret of mine", 120),
        ReplyWritten("a secret of yours"),
        ReplyAudioStarted(210),
        Interrupted("speech", "a secret of", 400, 5.0),
        Interrupted("button", "a", 100, 5.0),
        Lost("speech", 300, "offline"),
        Lost("speech", 200, "full"),
        TurnMeasured(1, 2, 3, 4, 10),
        DeviceChanged("input", "lost", "USB Mic"),
    ).as_json(110)
    assert status["events"]["final"] == 1
    assert status["interruptions"] == {"speech": 1, "button": 1}
    assert status["lost"]["speech"]["times"] == 2
    assert status["lost"]["speech"]["ms"] == 500
    assert status["lost"]["speech"]["last"]["why"] == "full"
    assert status["latencies"]["final_ms"] == 120
    assert status["latencies"]["reply_audio_ms"] == 210
    assert status["latencies"]["turn"]["total"] == 10
    assert status["devices"]["input"]["state"] == "lost"
    assert "secret" not in json.dumps(status)


def test_changes_are_those_of_the_status_line() -> None:
    """Not every word that is spoken is told to systemd."""
    board = board_of(StateChanged("idle"), FinalHeard("x", 1), DeviceChanged("input", "open", "m"))
    assert board.changes == 2


def full_status(**more: Any) -> dict[str, Any]:
    """A status with everything in it."""
    return board_of(
        StateChanged("listening"),
        DeviceChanged("input", "open", "USB Mic"),
        DeviceChanged("output", "reopened", "USB Speaker"),
        ConnectionChanged("stt", "ready", STT, session_id="s1"),
        ConnectionChanged("tts", "failed", TTS, code=1006, reason="gone", retry_in_s=4),
        ConnectionChanged("tts", "ready", TTS),
        FinalHeard("x", 120),
        TurnMeasured(120, 3, 200, 90, 413),
        ReplyWritten("x"),
        Interrupted("speech", "x", 400, 5.0),
        Lost("speech", 300, "offline"),
    ).as_json(
        100 + 3 * 86400 + 4 * 3600 + 59,
        more={
            "muted": False,
            "volume": 80,
            "counters": {"underruns": 2, "overflows": 0},
            "process": {"pid": 12, "rss_mib": 58.3, "threads": 11},
            **more,
        },
    )


def test_the_status_line_says_it_all() -> None:
    """State, uptime, both sessions, the microphone, memory."""
    assert status_line(full_status()) == (
        f"listening  up 3 d 4 h  stt ready ({STT})  tts ready  mic ok  58 MB"
    )


def test_what_is_wrong_stands_in_the_status_line() -> None:
    """A connection that failed, devices that are gone."""
    line = status_line(
        board_of(
            StateChanged("error"),
            DeviceChanged("input", "lost", "USB Mic"),
            DeviceChanged("output", "lost", "USB Speaker"),
            ConnectionChanged("stt", "failed", STT, reason="gone", retry_in_s=4.2),
        ).as_json(105)
    )
    assert line == (
        f"error  up 5 s  stt failed ({STT}, retry in 2 s)  tts none  mic lost  speaker lost"
    )


def test_the_lines_below_say_more() -> None:
    """Aligned, one thing a line."""
    first, *lines = status_lines(full_status())
    assert first == status_line(full_status())
    table = {line[:12].strip(): line[12:] for line in lines}
    assert {len(line) - len(line[12:].lstrip()) for line in lines} == {12}
    assert table["state"].startswith("listening for 3 d 4 h")
    assert table["stt"] == f"ready  {STT}  session s1"
    assert table["tts"] == f"ready  {TTS}  1 failure"
    assert table[""].endswith("1006 gone")
    assert table["microphone"] == "open  USB Mic"
    assert table["volume"] == "80 %"
    assert table["last turn"] == (
        "413 ms in all, words 120 ms, answer 3 ms, voice 200 ms, speaker 90 ms"
    )
    assert table["counts"] == "1 final, 1 reply, 1 interruption by speech"
    assert table["lost"] == "speech 1 time, 300 ms"
    assert table["counters"] == "underruns 2"
    assert table["process"] == f"slng-edge {__version__}, process 12, 58.3 MB, 11 threads"


@pytest.mark.parametrize(
    "status",
    [{}, {"state": "idle"}, {"sessions": None, "devices": [], "process": 3}, board_of().as_json(1)],
)
def test_the_status_of_another_version_can_be_shown(status: dict[str, Any]) -> None:
    """What it does not say is left out."""
    assert status_lines(status)[0].split("  ")[0] in ("?", "idle", "starting")


def test_what_comes_from_outside_cannot_write_to_the_terminal() -> None:
    """Device names and reasons: no escape sequence and no line of their own."""
    lines = status_lines(
        board_of(
            DeviceChanged("input", "open", "Mic\x1b[2J\nSTATUS=fine"),
            ConnectionChanged("stt", "failed", "m\x9b", reason="a\r\nb"),
        ).as_json(110)
    )
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in "".join(lines))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61.5, "1 min 1 s"),
        (3600, "1 h"),
        (7260, "2 h 1 min"),
        (86400, "1 d"),
        (86400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    """Nobody needs the seconds of days."""
    assert duration_text(seconds) == text


def test_the_process_is_measured_by_the_kernel(tmp_path: Path) -> None:
    """Memory and threads; where there is no /proc, the rest."""
    figures = process_figures()
    assert 5 < figures["rss_mib"] < 2000
    assert figures["threads"] >= 1
    assert process_figures(tmp_path).keys() == {"pid"}


def test_what_was_asked_for_and_is_missing_is_in_the_status() -> None:
    """By its setting: in the line that systemd shows, and below it with the reason."""
    problems = {"mqtt.url": "no library", "hooks.state": "ended with status 3"}
    first, *lines = status_lines(full_status(problems=problems, button="no pin"))
    assert "  without mqtt.url, hooks.state, wake.button_gpio  " in first
    assert [line for line in lines if line.startswith("problem ")] == [
        "problem     mqtt.url: no library",
        "problem     hooks.state: ended with status 3",
        "problem     wake.button_gpio: no pin",
    ]


@pytest.mark.parametrize("columns", [44, 80])
def test_on_a_terminal_lines_end_where_it_ends(columns: int) -> None:
    """What is left of one goes below its own beginning; no word is lost."""
    problems = {"mqtt.url": "a library that is not there, and many more words about it"}
    status = full_status(problems=problems)
    narrow = status_lines(status, columns=columns)
    longest = max(map(len, narrow), default=0)
    assert longest <= columns
    assert " ".join(narrow).split() == " ".join(status_lines(status)).split()


@pytest.mark.parametrize(("speaker", "end"), [("open", ""), ("lost", "  speaker lost")])
def test_a_microphone_of_zeros_is_not_ok(speaker: str, end: str) -> None:
    """It works as far as anybody can tell, and hears nothing."""
    status = {
        "state": "idle",
        "devices": {"input": {"state": "open"}, "output": {"state": speaker}},
        "problems": {"audio.input": "nothing but zeros", "mqtt.url": "no password"},
    }
    line = status_line(status)
    assert line.endswith(f"mic gives zeros{end}  without mqtt.url")
    assert "problem     audio.input: nothing but zeros" in status_lines(status)


def test_muted_the_microphone_is_closed() -> None:
    """Whatever was told of it before; it is neither open nor lost."""
    board = board_of(DeviceChanged("input", "lost", "USB Mic"))
    status = board.as_json(101, more={"muted": True})
    assert status["devices"]["input"]["state"] == "closed"
    assert health_problem({**status, "state": "muted"}) == ""
    assert "  mic closed" in status_line(status)
    lines = status_lines({**status, "volume": 80})
    assert any(line.endswith("80 %, muted") for line in lines)
    assert board.as_json(102)["devices"]["input"]["state"] == "lost"
