"""What a full disk leaves behind: no half file, and nothing that is missing for ever."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import SlngEdge
from small_disk import NO_ROOM, SmallDisk, mount_rights, needs_mounts
from starved_service import StarvedService

from slng_edge.service import kept_settings
from slng_edge.service.kept_settings import KeptSettings
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer


@pytest.fixture
def gateway() -> Iterator[LocalGateway]:
    """Understands two words, and speaks in tones."""
    with LocalGateway(stt=ScriptRecognizer(["one two"]), tts=ToneSynthesizer()) as gateway:
        yield gateway


@pytest.fixture
def disk(tmp_path: Path) -> SmallDisk:
    """16 KiB."""
    return SmallDisk(tmp_path / "disk")


def test_what_was_not_kept_is_kept_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without another change: who unmutes on a full disk does not find it muted tomorrow."""
    monkeypatch.setattr(kept_settings, "AGAIN_S", 0.05)
    caplog.set_level("INFO", "slng_edge")
    (tmp_path / "state").write_text("a file, and no folder")
    kept = KeptSettings(tmp_path / "state" / "settings.json")
    caplog.clear()

    def keep() -> None:
        kept.keep(muted=True, volume=1.0, volume_of_config=1.0)

    keep()
    time.sleep(0.06)
    keep()
    (tmp_path / "state").unlink()
    keep()
    assert not (tmp_path / "state").exists()
    time.sleep(0.06)
    keep()
    assert KeptSettings(tmp_path / "state" / "settings.json").muted
    warning, news = (record.getMessage() for record in caplog.records)
    assert "not kept" in warning
    assert "kept again" in news


@needs_mounts
def test_events_in_a_file_say_what_is_missing(
    tmp_path: Path, gateway: LocalGateway, disk: SmallDisk
) -> None:
    """One warning; each line is whole; and they go on, by themselves."""
    program = ("-m", "slng_edge", "run", "--events", str(disk.path / "events"))
    with StarvedService(tmp_path, gateway.url, before=disk.before, program=program) as service:
        service.await_(lambda: service.warnings("state: idle"), "idle")
        disk.seen_by(service.process.pid)
        disk.fill()
        for number in range(1, 200):
            service.request(command="ask", text=f"hello {number}")
            if service.warnings("for now"):
                break
            time.sleep(0.05)
        time.sleep(0.5)
        disk.make_room()
        service.request(command="say", text="again", now=True)
        events = disk.file("events")
        service.await_(lambda: '"what": "events"' in events.read_text(), "what is missing")
        service.await_(lambda: events.read_text().endswith("\n"), "end of the line")
        [lost] = (
            event
            for event in map(json.loads, events.read_text().splitlines())
            if event["type"] == "lost" and event["what"] == "events"
        )
        assert re.fullmatch(rf"\d+ events: {NO_ROOM}", lost["why"])
        assert len(service.warnings("events are not written")) == 1
        assert service.end() == 0


@needs_mounts
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("tts", "one two three four", "--out", "{}/new"), "cannot write {}/new: "),
        (("config", "init", "{}/new"), "cannot write {}/new: "),
        (("support-bundle", "--no-doctor", "{}/new"), "cannot write {}/new: "),
        (("key", "set", "--no-apply", "--file", "{}/new"), "key was not changed: cannot write {}"),
    ],
    ids=("tts", "config", "bundle", "key"),
)
def test_a_command_that_cannot_write_leaves_no_file(
    tmp_path: Path, gateway: LocalGateway, argv: tuple[str, ...], said: str
) -> None:
    """It says so and fails; half of a file would be taken for a whole one."""
    disk = SmallDisk(tmp_path / "disk", kib=4)
    slng_edge = SlngEdge(tmp_path, gateway.url)
    words = " ".join(word.format(disk.path) if " " not in word else f"'{word}'" for word in argv)
    script = (
        f"echo sk-another | $slng_edge {words}; status=$?; ls -A {disk.path} | grep -v filler\n"
        "exit $status"
    )
    fill = "" if argv[0] == "tts" else f"echo x >{disk.path}/filler;"
    rights = " ".join(mount_rights())
    mount = f"mount -t tmpfs -o size=4k x {disk.path} && {fill}"
    ended = slng_edge.shell(f"export slng_edge; {rights} sh -c '{mount} {_quoted(script)}'")
    assert ended.status == 1
    assert said.format(disk.path) in ended.err
    assert NO_ROOM in ended.err
    assert ended.out == ""


def _quoted(script: str) -> str:
    return script.replace("'", "'\\''")
