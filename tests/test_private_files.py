"""What is written of people and keys is for one user alone, whatever somebody has put in its way.

All under the umask that lets everybody in.
"""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from conversation_scripts import wait_until

from slng_edge.audio.utterance_recorder import RecordingOutbox
from slng_edge.cli import main
from slng_edge.cli.key import keep_secret
from slng_edge.cli.support_parts import gathered
from slng_edge.secrets import read_secret_file

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="to give a folder away takes root")


@pytest.fixture(autouse=True)
def umask_that_lets_everybody_in() -> Iterator[None]:
    """As a careless login or container has it."""
    before = os.umask(0)
    yield
    os.umask(before)


class Session:
    """An outbox that takes everything."""

    def open_utterance(self) -> int:
        return 1

    def add_audio(self, utterance: int, samples: bytes) -> None: ...

    def end_utterance(self, utterance: int, now: float) -> None: ...


def record(folder: Path) -> str:
    """One utterance into `folder`; why it was not kept, "" where it was."""
    outbox = RecordingOutbox(Session(), folder, keep=3, rate_hz=16000)
    outbox.start()
    outbox.open_utterance()
    outbox.add_audio(1, bytes(3200))
    outbox.end_utterance(1, 1.0)
    wait_until(lambda: outbox.problem or list(folder.glob("*.wav")), 3)
    outbox.stop(3)
    return outbox.problem


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_recordings_are_private_in_a_private_folder(tmp_path: Path) -> None:
    """The folder is made 0700, the files 0600."""
    assert record(tmp_path / "kept") == ""
    [file] = (tmp_path / "kept").iterdir()
    assert (mode_of(tmp_path / "kept"), mode_of(file)) == (0o700, 0o600)


def test_a_folder_that_is_there_and_open_is_not_used(tmp_path: Path) -> None:
    """It says what to do; the folder may be open for a reason, so it is left as it is."""
    (tmp_path / "open").mkdir(mode=0o755)
    assert "chmod 700" in record(tmp_path / "open")
    assert list((tmp_path / "open").iterdir()) == []
    assert mode_of(tmp_path / "open") == 0o755


@needs_root
@pytest.mark.parametrize("by_link", [False, True])
def test_somebody_else_s_folder_is_not_used(tmp_path: Path, by_link: bool) -> None:
    """As who waits for our recordings in /tmp has made it, or leads us to it."""
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 65534, 65534)
    way = tmp_path / "link" if by_link else theirs
    if by_link:
        way.symlink_to(theirs)
    assert record(way) == "the folder is another user's"
    assert list(theirs.iterdir()) == []


def test_a_link_in_the_way_of_a_recording_leads_nowhere(tmp_path: Path) -> None:
    """What it names is neither written nor read."""
    (tmp_path / "kept").mkdir(mode=0o700)
    (tmp_path / "victim").write_text("as it was")
    (tmp_path / "kept" / ".unfinished").symlink_to(tmp_path / "victim")
    assert record(tmp_path / "kept") == ""
    assert (tmp_path / "victim").read_text() == "as it was"
    [file] = (tmp_path / "kept").iterdir()
    assert not file.is_symlink()


def test_a_kept_key_is_private(tmp_path: Path) -> None:
    """From the first moment: it is made 0600 under another name. It is fit to be read."""
    keep_secret(tmp_path / "new" / "api-key", "sk-a-new-key")
    assert mode_of(tmp_path / "new" / "api-key") == 0o600
    assert mode_of(tmp_path / "new") == 0o755
    assert read_secret_file(tmp_path / "new" / "api-key", "x") == "sk-a-new-key"


def test_a_bundle_does_not_follow_the_service_s_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root makes it of a folder in which the service's user may put a link to root's files."""
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o700)
    (tmp_path / "shadow").write_text("root:secret")
    (kept / "000001-a.wav").symlink_to(tmp_path / "shadow")
    os.mkfifo(kept / "000002-b.wav", 0o600)
    (kept / "000003-c.wav").write_bytes(b"RIFF")
    monkeypatch.setattr("slng_edge.cli.support_parts._output", lambda *_, **__: "")
    args = argparse.Namespace(
        config_file=os.devnull,
        overrides=[f"debug.record_dir={kept}", "control.socket="],
        unit="no-such.service",
        lines=1,
        no_doctor=True,
        with_recordings=True,
    )
    found = {name: data for name, data in gathered(args) if name.startswith("recordings/")}
    assert found == {"recordings/000003-c.wav": b"RIFF"}


def test_the_bundle_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never written through a link, or over a file."""
    monkeypatch.setattr("slng_edge.cli.support_parts.gathered", lambda _: iter([("a", b"b")]))
    assert main(["support-bundle", str(tmp_path / "a.tar.gz")]) == 0
    assert mode_of(tmp_path / "a.tar.gz") == 0o600
    (tmp_path / "link.tar.gz").symlink_to(tmp_path / "elsewhere")
    assert main(["support-bundle", str(tmp_path / "link.tar.gz")]) == 1
    assert not (tmp_path / "elsewhere").exists()
