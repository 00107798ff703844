"""A disk that fails, and is not full: the same happens as on a full one, and the reason is told."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from broken_disk import BrokenDisk, needs_broken_disk

from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

pytestmark = needs_broken_disk

FAILURES = [
    {"write": errno.EIO},
    {"fsync": errno.EIO},
    {"write": errno.EDQUOT},
    {"flush": errno.EDQUOT},
    {"write": errno.EFBIG},
    {"create": errno.EROFS, "mkdir": errno.EROFS, "rename": errno.EROFS},
    {"rename": errno.EIO},
]
"""A worn card fails at any of them; a quota and a network drive often not before the close."""

KEEPERS = """
import json, logging, os, sys
from pathlib import Path
from slng_edge.audio.utterance_recorder import RecordingOutbox
from slng_edge.cli.logs import set_up_logging
from slng_edge.service.kept_settings import KeptSettings

class Nowhere:
    def open_utterance(self): return 1
    def add_audio(self, utterance, samples): pass
    def end_utterance(self, utterance, now): pass

class Said(logging.Handler):
    def emit(self, record): said.append(record.getMessage())

folder, failures = json.loads(sys.argv[1])
set_up_logging("info", "text")  # to a file on the disk
logging.getLogger().addHandler(Said())
disk = Path(folder)
kept = KeptSettings(disk / "settings.json")

def fail(failing):
    new = Path(folder + ".new")
    new.write_text(json.dumps(failing))
    new.rename(folder + ".fails")  # at once: it is read meanwhile

def use(**failing):
    global said
    fail(failing)
    said, volume = [], use.volume = [], use.volume + 0.01
    kept.keep(muted=False, volume=round(volume, 2), volume_of_config=1.0)
    recorder = RecordingOutbox(Nowhere(), disk / "kept", keep=50, rate_hz=16000)
    recorder.start()
    for _ in range(2):
        recorder.open_utterance()
        recorder.add_audio(1, bytes(32000))
        recorder.end_utterance(1, 0.0)
    recorder.stop(3)
    fail({})
    names = [*os.listdir(disk), *os.listdir(disk / "kept")]
    names.remove("log")
    wavs = sum(name.endswith(".wav") for name in names)
    rest = sorted(name for name in names if not name.endswith(".wav"))
    settings = json.loads((disk / "settings.json").read_text())
    return said, wavs, rest, settings["volume"] == round(volume, 2)

use.volume = 0.0
print(json.dumps([use(), *([use(**each), use()] for each in failures)]))
"""

ENDS = [{"flush": errno.EDQUOT}, {"fsync": errno.EIO}]

COMMANDS = """
import contextlib, io, json, os, sys
from pathlib import Path
from slng_edge.cli import main

folder, url, failures = json.loads(sys.argv[1])
os.chdir(folder)
commands = (
    ("-s", "gateway.url=" + url, "tts", "one", "--out", "new.wav"),
    ("config", "init", "new.toml"),
    ("support-bundle", "--no-doctor", "--lines", "1", "new.tar.gz"),
    ("key", "set", "--no-apply", "--file", "key"),
)
ended = []
for failure in failures:
    ended.append([])
    Path(folder + ".fails").write_text(json.dumps(failure))
    for command in commands:
        sys.stdin = io.TextIOWrapper(io.BytesIO(b"sk-another"))
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(command)
        ended[-1].append((status, err.getvalue()))
print(json.dumps(ended))
"""


@pytest.fixture
def disk(tmp_path: Path) -> BrokenDisk:
    """One that works as yet."""
    return BrokenDisk(tmp_path / "disk")


@pytest.fixture
def gateway() -> Iterator[LocalGateway]:
    """Understands two words, and speaks in tones."""
    with LocalGateway(stt=ScriptRecognizer(["one two"]), tts=ToneSynthesizer()) as gateway:
        yield gateway


def test_settings_and_recordings_are_whole_or_not_there(disk: BrokenDisk) -> None:
    """One warning each with the reason, nothing half, and the next ones are kept again.

    The log is on it, too: lines may be lost, and the next ones are in it.
    """
    told = json.dumps([str(disk.path), FAILURES])
    to_log = ("sh", "-c", f'exec "$@" 2>{disk.path}/log', "sh", sys.executable, "-c")
    ran = subprocess.run([*disk.before, *to_log, KEEPERS, told], stdout=-1, timeout=30)
    log = (disk.files / "log").read_text()
    assert not ran.returncode, log
    assert log.count("are kept again") == len(FAILURES)
    assert "Traceback" not in log
    good, *rounds = json.loads(ran.stdout)
    whole = ["kept", "settings.json"]
    assert good == [[], 2, whole, True]
    for number, (failure, (bad, after)) in enumerate(zip(FAILURES, rounds, strict=True)):
        reason = os.strerror(next(iter(failure.values())))
        said, wavs, rest, changed = bad
        assert [words.rsplit(": ", 1)[1] for words in said] == [reason] * 2, failure
        assert "are not kept over restarts" in said[0]
        assert "utterances are not recorded" in said[1]
        assert (wavs, rest, changed) == (2 * number + 2, whole, False), failure
        [again], wavs, rest, changed = after
        assert "kept again" in again
        assert (wavs, rest, changed) == (2 * number + 4, whole, True), failure


def test_a_command_that_cannot_write_leaves_no_file(
    gateway: LocalGateway, disk: BrokenDisk
) -> None:
    """Also where the disk says so at the very end, when all has been written."""
    (disk.files / "key").write_text("sk-old\n")
    told = json.dumps([str(disk.path), gateway.url, ENDS])
    ran = subprocess.run(
        [*disk.before, sys.executable, "-c", COMMANDS, told], capture_output=True, timeout=30
    )
    assert not ran.returncode, ran.stderr.decode()
    for failure, ended in zip(ENDS, json.loads(ran.stdout), strict=True):
        reason = os.strerror(next(iter(failure.values())))
        assert [status for status, _ in ended] == [1] * 4
        names = ("new.wav", "new.toml", "new.tar.gz", f"{disk.path}/key")
        for (_, said), name in zip(ended, names, strict=True):
            assert f"cannot write {name}: {reason}" in said
    assert os.listdir(disk.files) == ["key"]
    assert (disk.files / "key").read_text() == "sk-old\n"
