"""Events as JSON lines, in a thread of their own."""

from __future__ import annotations

import io
import json
import os
import resource
import time
from pathlib import Path

import pytest
from conversation_scripts import wait_until

from slng_edge.events import EventBus, FinalHeard, Lost, StateChanged
from slng_edge.service.event_writer import EventWriter


def test_each_event_is_a_line_at_once(tmp_path: Path) -> None:
    """Who follows the file sees an event when it happens."""
    bus, path = EventBus(), tmp_path / "events.jsonl"
    with open(path, "w", encoding="utf-8") as stream:
        writer = EventWriter(bus, stream)
        writer.start()
        bus.publish(StateChanged("idle"))
        assert wait_until(lambda: path.read_text().endswith("\n"))
        [line] = path.read_text().splitlines()
        assert json.loads(line)["state"] == "idle"
        writer.stop(2)


def test_what_is_queued_at_the_end_is_written(tmp_path: Path) -> None:
    """`stop` loses nothing that was published before it."""
    bus, path = EventBus(), tmp_path / "events.jsonl"
    with open(path, "w", encoding="utf-8") as stream:
        writer = EventWriter(bus, stream)
        for number in range(500):
            bus.publish(Lost("speech", number, "why"))
        writer.start()
        writer.stop(5)
    written = [json.loads(line)["ms"] for line in path.read_text().splitlines()]
    assert written == list(range(500))


def test_events_that_were_dropped_are_told(tmp_path: Path) -> None:
    """More than the subscription holds: a line says how many are missing, before the others."""
    bus, path = EventBus(), tmp_path / "events.jsonl"
    with open(path, "w", encoding="utf-8") as stream:
        writer = EventWriter(bus, stream)
        for number in range(1005):
            bus.publish(Lost("speech", number, "why"))
        writer.start()
        writer.stop(5)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert (lines[0]["what"], lines[0]["why"]) == ("events", "5 events: their reader is too slow")
    assert [line["ms"] for line in lines[1:]] == list(range(5, 1005))


@pytest.mark.parametrize("room", [40, 200])
def test_what_was_dropped_is_told_when_there_is_room_again(tmp_path: Path, room: int) -> None:
    """Also where the line that tells it found none, or the line after it."""
    bus, path = EventBus(), tmp_path / "events.jsonl"
    full = 1 << 40
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open(path, "w+", encoding="utf-8") as stream:
        os.truncate(path, full - room)
        stream.seek(0, os.SEEK_END)
        writer = EventWriter(bus, stream)
        for _ in range(1005):
            bus.publish(Lost("speech", 0, "w" * 400))
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, hard))
        try:
            writer.start()
            assert wait_until(lambda: writer._unwritten == 1000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        bus.publish(Lost("speech", 7, "there is room"))
        writer.stop(5)
        stream.seek(full - room)
        lines = [json.loads(line) for line in stream]
    assert [line["why"] for line in lines] == [
        "5 events: their reader is too slow",
        "1000 events: File too large",
        "there is room",
    ]


def test_words_of_any_language_are_written_as_they_are(tmp_path: Path) -> None:
    """UTF-8, not escapes."""
    bus, path = EventBus(), tmp_path / "events.jsonl"
    with open(path, "w", encoding="utf-8") as stream:
        writer = EventWriter(bus, stream)
        writer.start()
        bus.publish(FinalHeard("Grüße, 世界", 10))
        writer.stop(2)
    assert "Grüße, 世界" in path.read_text(encoding="utf-8")


def test_a_reader_that_goes_away_ends_the_writing_and_nothing_else() -> None:
    """A closed pipe: the bus and its publishers go on, and `stop` returns."""
    bus = EventBus()
    reading, writing = os.pipe()
    os.close(reading)
    deaths: list[object] = []
    with os.fdopen(os.dup(writing), "w") as stream:
        os.close(writing)
        writer = EventWriter(bus, stream, on_death=lambda *death: deaths.append(death))
        writer.start()
        for _ in range(10):
            bus.publish(StateChanged("idle"))
        assert wait_until(lambda: not bus._subscriptions)
        bus.publish(StateChanged("listening"))
        writer.stop(2)
        assert deaths == []
        _drop(stream)


def _drop(stream: io.TextIOBase) -> None:
    """What is buffered cannot be written when the stream is closed: let it go to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def test_a_reader_that_stands_still_does_not_hold_up_the_stop() -> None:
    """A full pipe: `stop` returns in time, and the rest is given up."""
    bus = EventBus()
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        writer = EventWriter(bus, stream)
        writer.start()
        for number in range(900):
            bus.publish(Lost("speech", number, "w" * 100))
        waiting = [0]

        def full() -> bool:
            before, waiting[0] = waiting[0], _waiting(reading)
            return before == waiting[0] > 0 and not time.sleep(0.1)

        assert wait_until(full)
        began = time.monotonic()
        writer.stop(2)
        assert time.monotonic() - began < 2
    lines = os.read(reading, 1 << 20).decode().splitlines(keepends=True)
    os.close(reading)
    assert [json.loads(line)["ms"] for line in lines if line.endswith("\n")][:3] == [0, 1, 2]


def _waiting(descriptor: int) -> int:
    import fcntl
    import struct
    import termios

    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0])
