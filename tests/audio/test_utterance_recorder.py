"""Recorded utterances: whole, private, bounded, and in nobody's way."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversation_scripts import wait_until

from slng_edge.audio import utterance_recorder
from slng_edge.audio.utterance_recorder import RecordingOutbox

SPEECH = np.arange(1600, dtype="<i2").tobytes()


class Session:
    """What gets everything first."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def open_utterance(self) -> int:
        self.calls.append(("open",))
        return len(self.calls)

    def add_audio(self, utterance: int, samples: bytes) -> None:
        self.calls.append(("add", utterance, samples))

    def end_utterance(self, utterance: int, now: float) -> None:
        self.calls.append(("end", utterance, now))


Records = Callable[..., RecordingOutbox]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Records]:
    """Starts recorders into `tmp_path`/kept."""
    started = []

    def start(keep: int = 50, folder: Path = tmp_path / "kept") -> RecordingOutbox:
        outbox = RecordingOutbox(Session(), folder, keep=keep, rate_hz=16000)
        outbox.start()
        started.append(outbox)
        return outbox

    yield start
    for outbox in started:
        outbox.stop(3)


def say(outbox: RecordingOutbox, *pieces: bytes) -> None:
    """One utterance."""
    utterance = outbox.open_utterance()
    for piece in pieces or (SPEECH,):
        outbox.add_audio(utterance, piece)
    outbox.end_utterance(utterance, 1.0)


def kept(tmp_path: Path) -> list[Path]:
    """The files, in the order of their names."""
    return sorted((tmp_path / "kept").glob("*.wav"))


def test_an_utterance_is_kept_as_it_was_sent(record: Records, tmp_path: Path) -> None:
    """Sample by sample; and the session has got the same."""
    session = Session()
    outbox = RecordingOutbox(session, tmp_path / "kept", keep=5, rate_hz=16000)
    outbox.start()
    say(outbox, SPEECH[:1000], SPEECH[1000:])
    outbox.stop(3)
    [file] = kept(tmp_path)
    with wave.open(str(file)) as opened:
        assert (opened.getframerate(), opened.getnchannels()) == (16000, 1)
        assert opened.readframes(10000) == SPEECH
    assert session.calls == [
        ("open",),
        ("add", 1, SPEECH[:1000]),
        ("add", 1, SPEECH[1000:]),
        ("end", 1, 1.0),
    ]


def test_nobody_else_can_read_it(record: Records, tmp_path: Path) -> None:
    """Neither the folder nor a file."""
    outbox = record()
    say(outbox)
    assert wait_until(lambda: kept(tmp_path))
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    assert stat.S_IMODE(kept(tmp_path)[0].stat().st_mode) == 0o600


def test_the_oldest_make_room_over_restarts(record: Records, tmp_path: Path) -> None:
    """Ordered by number; what is not ours stays."""
    (tmp_path / "kept").mkdir(mode=0o700)
    (tmp_path / "kept" / "notes.wav").touch()
    for _ in range(2):
        outbox = record(keep=3)
        for _ in range(4):
            say(outbox)
        outbox.stop(3)
    numbers = [file.name[:6] for file in kept(tmp_path)]
    assert numbers == ["000006", "000007", "000008", "notes."]


def test_an_open_one_is_ended_by_stop_or_by_the_next(record: Records, tmp_path: Path) -> None:
    """Nothing half written has a name."""
    outbox = record()
    outbox.add_audio(outbox.open_utterance(), SPEECH)
    outbox.add_audio(outbox.open_utterance(), SPEECH)
    outbox.stop(3)
    assert len(kept(tmp_path)) == 2
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_what_a_power_cut_left_behind_is_taken_away(record: Records, tmp_path: Path) -> None:
    """With the next utterance."""
    (tmp_path / "kept").mkdir(mode=0o700)
    (tmp_path / "kept" / ".unfinished").write_bytes(b"half")
    outbox = record()
    say(outbox)
    assert wait_until(lambda: kept(tmp_path))
    assert not (tmp_path / "kept" / ".unfinished").exists()


def test_an_open_folder_is_refused_once(
    record: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the line that closes it, and afterwards it is taken."""
    folder = tmp_path / "kept"
    folder.mkdir()
    folder.chmod(0o755)
    outbox = record()
    for _ in range(3):
        say(outbox)
    assert wait_until(lambda: not outbox._items)
    assert wait_until(lambda: outbox.problem)
    folder.chmod(0o700)
    say(outbox)
    assert wait_until(lambda: kept(tmp_path))
    assert len(kept(tmp_path)) == 1
    assert caplog.text.count(f"chmod 700 {folder}") == 1
    assert outbox.problem == ""


def test_a_folder_that_cannot_be_is_one_warning(
    record: Records, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing of it comes to who speaks."""
    outbox = record(folder=Path("/dev/full/kept"))
    for _ in range(3):
        say(outbox)
    assert wait_until(lambda: outbox.problem == "Not a directory")
    assert caplog.text.count("utterances are not recorded") == 1


FULL_DISK = """
import resource, sys
from pathlib import Path
from test_utterance_recorder import Session, say
from slng_edge.audio.utterance_recorder import RecordingOutbox
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))  # as a disk that takes no more
outbox = RecordingOutbox(Session(), sys.argv[1], keep=5, rate_hz=16000)
outbox.start()
say(outbox, bytes(100000))
say(outbox, bytes(1000))
outbox.stop(3)
print([file.name[:6] for file in Path(sys.argv[1]).iterdir()])
"""


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    """The recording that did not fit is removed, the next one is tried."""
    tests = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / "kept"],
        env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "['000001']\n", done.stderr
    assert done.stderr.count("utterances are not recorded") == 1


def test_a_disk_that_stays_full_is_one_warning(tmp_path: Path) -> None:
    """Not one an utterance: a file can still be begun on it, and says nothing of its end."""
    tests = Path(__file__).parent
    script = FULL_DISK.replace("say(outbox, bytes(1000))", "say(outbox, bytes(100000))\n" * 4)
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "kept"],
        env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "[]\n", done.stderr
    assert done.stderr.count("utterances are not recorded") == 1


def test_a_slow_disk_holds_nobody_up(
    record: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is left out of the recording; the next one is whole."""
    monkeypatch.setattr(utterance_recorder, "QUEUE_BYTES", 4 * len(SPEECH))
    may_write = threading.Event()
    add = utterance_recorder._Recording.add

    def slow_add(self: Any, samples: bytes) -> None:
        may_write.wait(5)
        add(self, samples)

    monkeypatch.setattr(utterance_recorder._Recording, "add", slow_add)
    outbox = record()
    began = time.monotonic()
    say(outbox, *[SPEECH] * 50)
    assert time.monotonic() - began < 1
    may_write.set()
    assert wait_until(lambda: kept(tmp_path))
    say(outbox)
    assert wait_until(lambda: len(kept(tmp_path)) == 2)
    first, second = (file.stat().st_size for file in kept(tmp_path))
    assert len(SPEECH) < first <= 7 * len(SPEECH)
    assert second == 44 + len(SPEECH)
