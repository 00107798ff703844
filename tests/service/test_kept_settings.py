"""Mute and volume over restarts."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from slng_edge.service.kept_settings import KeptSettings, state_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where they are kept, in a folder that is not there yet."""
    return tmp_path / "state" / "slng-edge" / "settings.json"


def test_without_a_file_it_begins_as_configured(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first start is no reason for a warning."""
    kept = KeptSettings(file)
    assert (kept.muted, kept.volume(0.7)) == (False, 0.7)
    assert not caplog.records


def test_what_was_set_is_there_after_a_restart(file: Path) -> None:
    """Mute and volume."""
    KeptSettings(file).keep(muted=True, volume=0.4, volume_of_config=1.0)
    kept = KeptSettings(file)
    assert (kept.muted, kept.volume(1.0)) == (True, 0.4)


def test_another_volume_in_the_config_counts(file: Path) -> None:
    """Who edits the file wants it; the mute stays."""
    KeptSettings(file).keep(muted=True, volume=0.4, volume_of_config=1.0)
    kept = KeptSettings(file)
    assert (kept.muted, kept.volume(0.8)) == (True, 0.8)


def test_the_configured_volume_is_not_kept_as_one_that_was_set(file: Path) -> None:
    """Set back to it, the config counts again."""
    kept = KeptSettings(file)
    kept.keep(muted=False, volume=0.4, volume_of_config=1.0)
    kept.keep(muted=False, volume=1.0, volume_of_config=1.0)
    assert json.loads(file.read_text())["volume"] is None
    assert KeptSettings(file).volume(1.0) == 1.0


def test_nothing_is_written_while_nothing_changes(file: Path) -> None:
    """It is called several times a second, and the disk may be a memory card."""
    kept = KeptSettings(file)
    kept.keep(muted=False, volume=1.0, volume_of_config=1.0)
    assert not file.exists()
    kept.keep(muted=True, volume=1.0, volume_of_config=1.0)
    before = file.stat().st_ino
    kept.keep(muted=True, volume=1.0, volume_of_config=1.0)
    assert file.stat().st_ino == before


def test_a_write_replaces_the_file_and_leaves_no_other(file: Path) -> None:
    """Whole or not at all: another file takes the name."""
    kept = KeptSettings(file)
    kept.keep(muted=True, volume=1.0, volume_of_config=1.0)
    with open(file, encoding="utf-8") as old:
        kept.keep(muted=False, volume=0.5, volume_of_config=1.0)
        assert json.loads(old.read())["muted"] is True
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xff",
        b"[]",
        b"[" * 4000,
        b'{"muted": 1}',
        b'{"muted": true, "volume": "loud"}',
        b'{"muted": true, "volume": true}',
        b'{"muted": true, "volume": 2.5}',
        b'{"muted": true, "volume": -1}',
        b'{"muted": true, "volume": NaN}',
        b'{"muted": true, "volume": ' + b"9" * 400 + b"}",
        b" " * 10000 + b'{"muted": true}',
    ],
)
def test_a_broken_file_is_told_and_replaced(
    file: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It begins as configured, and the next change makes it whole."""
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    kept = KeptSettings(file)
    assert (kept.muted, kept.volume(1.0)) == (False, 1.0)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert str(file) in record.getMessage()
    kept.keep(muted=True, volume=1.0, volume_of_config=1.0)
    assert KeptSettings(file).muted


def test_what_a_newer_version_keeps_is_no_problem(file: Path) -> None:
    """Keys that are not known are passed over."""
    file.parent.mkdir(parents=True)
    file.write_text('{"muted": true, "leds": 3}')
    assert KeptSettings(file).muted


def test_a_file_that_cannot_be_written_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop goes on, and the settings last as long as the process."""
    (tmp_path / "file").write_text("")
    kept = KeptSettings(tmp_path / "file" / "settings.json")
    caplog.clear()
    for volume in (0.5, 0.6, 0.7):
        kept.keep(muted=True, volume=volume, volume_of_config=1.0)
    assert (kept.muted, kept.volume(1.0)) == (True, 0.7)
    assert len(caplog.records) == 1
    assert "not kept" in caplog.records[0].getMessage()


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"STATE_DIRECTORY": "/var/lib/slng-edge"}, "/var/lib/slng-edge/settings.json"),
        ({"STATE_DIRECTORY": "/a:/b", "XDG_STATE_HOME": "/x"}, "/a/settings.json"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/slng-edge/settings.json"),
        ({"XDG_STATE_HOME": "x", "HOME": "/h"}, "/h/.local/state/slng-edge/settings.json"),
        ({"HOME": "/h"}, "/h/.local/state/slng-edge/settings.json"),
    ],
)
def test_where_they_are_kept(environ: dict[str, str], path: str) -> None:
    """systemd's folder, else the user's."""
    assert state_file(environ) == Path(path)


def test_the_file_is_for_this_user_alone(file: Path) -> None:
    """Whatever the umask; the folder that is made as well."""
    before = os.umask(0)
    try:
        KeptSettings(file).keep(muted=True, volume=1.0, volume_of_config=1.0)
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_link_in_the_way_is_not_written_through(file: Path, tmp_path: Path) -> None:
    """What it leads to is another file than ours."""
    file.parent.mkdir(parents=True)
    other = tmp_path / "other"
    other.write_text("mine")
    for name in (file, file.with_name(f".{file.name}.new")):
        name.symlink_to(other)
    KeptSettings(file).keep(muted=True, volume=1.0, volume_of_config=1.0)
    assert other.read_text() == "mine"
    assert not file.is_symlink()
    assert KeptSettings(file).muted


def test_a_pipe_in_its_place_holds_up_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Opening it would wait for somebody who writes, and the service would never start."""
    file.parent.mkdir(parents=True)
    os.mkfifo(file)
    kept = KeptSettings(file)
    assert not kept.muted
    assert "it is no regular file" in caplog.text
    kept.keep(muted=True, volume=1.0, volume_of_config=1.0)
    assert KeptSettings(file).muted
