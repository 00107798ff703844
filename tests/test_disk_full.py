"""A disk that takes no more, at each write: what goes on, what is told, and what is left."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import SlngEdge, write_wav
from conversation_scripts import silence, voice
from small_disk import NO_ROOM, SmallDisk, mount_rights, needs_mounts
from starved_service import StarvedService

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


def settings_of(disk: SmallDisk) -> dict[str, object]:
    """What is kept over restarts, which is whole at any moment."""
    found = json.loads(disk.file("settings.json").read_text())
    assert isinstance(found, dict)
    return found


# The service


@needs_mounts
def test_mute_and_volume_are_as_before_and_kept_with_the_next_change(
    tmp_path: Path, gateway: LocalGateway, disk: SmallDisk
) -> None:
    """The file is whole all the time, one warning is said, and no restart is needed."""
    state = {"STATE_DIRECTORY": str(disk.path)}
    with StarvedService(tmp_path, gateway.url, before=disk.before, environment=state) as service:
        service.ready()
        disk.seen_by(service.process.pid)
        service.request(command="mute")
        service.await_(disk.file("settings.json").exists, "settings")
        disk.fill()
        service.request(command="unmute")
        service.await_(lambda: service.warnings("not kept"), "warning")
        service.request(command="volume", percent=50)
        service.ask()
        service.ask()
        assert settings_of(disk)["muted"] is True
        assert sorted(os.listdir(disk.file(""))) == ["filler", "settings.json"]
        disk.make_room()
        service.request(command="volume", percent=60)
        service.await_(lambda: settings_of(disk)["volume"] == 0.6, "what was not kept")
        assert settings_of(disk)["muted"] is False
        [warning] = service.warnings("not kept")
        assert NO_ROOM in warning


@needs_mounts
def test_a_disk_that_is_read_only_from_now_on(
    tmp_path: Path, gateway: LocalGateway, disk: SmallDisk
) -> None:
    """Cards do that when they wear out: the conversation goes on, and the reason is told."""
    folder = f"debug.record_dir={disk.path}/kept"
    state = {"STATE_DIRECTORY": str(disk.path)}
    room = write_wav(tmp_path / "room.wav", bytes(32000) + _said() + bytes(640000))
    with StarvedService(
        tmp_path,
        gateway.url,
        f"audio.input=file:{room}",
        folder,
        before=disk.before,
        environment=state,
    ) as service:
        service.ready()
        enter = ["nsenter", f"--target={service.process.pid}", "--mount", "--root"]
        if len(mount_rights()) > 4:
            enter += ["--user", "--preserve-credentials"]
        subprocess.run([*enter, "mount", "-o", "remount,ro", disk.path], check=True)
        service.await_(lambda: service.count("playback_end"), "the answer")
        service.request(command="volume", percent=50)
        service.await_(lambda: service.warnings("not kept"), "warning")
        service.await_(lambda: service.warnings("not recorded"), "warning")
        assert service.log.count("Read-only file system") == 2
        assert service.end() == 0


def _said() -> bytes:
    return voice(500).tobytes() + silence(700).tobytes()


@needs_mounts
def test_recordings_end_and_go_on(tmp_path: Path, gateway: LocalGateway, disk: SmallDisk) -> None:
    """What does not fit is no file; questions are answered all the same; then they fit again."""
    room = write_wav(tmp_path / "room.wav", bytes(32000) + _said() * 30)
    disk = SmallDisk(tmp_path / "larger", kib=64)
    settings = (f"audio.input=file:{room}", f"debug.record_dir={disk.path}", "vad.stop_ms=200")
    with StarvedService(tmp_path, gateway.url, *settings, before=disk.before) as service:
        service.await_(lambda: service.count("connection", state="ready"), "connection")
        disk.seen_by(service.process.pid)
        disk.fill()
        service.await_(lambda: service.count("final") > 1, "two questions")
        finals = service.count("final")
        assert not [name for name in os.listdir(disk.file("")) if name.endswith(".wav")]
        disk.make_room()
        service.await_(lambda: list(disk.file("").glob("*.wav")), "a recording")
        [warning] = service.warnings("not recorded")
        assert NO_ROOM in warning
        assert service.count("lost") == 0
        service.await_(lambda: service.count("final") > finals, "another question")


@needs_mounts
def test_a_log_on_a_full_disk_holds_up_nothing(
    tmp_path: Path, gateway: LocalGateway, disk: SmallDisk
) -> None:
    """Standard error is a file there: lines are lost, the next ones are written."""
    before = (*disk.before, "sh", "-c", f'exec "$@" 2>{disk.path}/log', "sh")
    with StarvedService(tmp_path, gateway.url, before=before) as service:
        service.ready()
        disk.seen_by(service.process.pid)
        disk.fill()
        for _ in range(3):
            service.ask()
        disk.make_room()
        service.ask("the last")
        log = disk.file("log")
        service.await_(lambda: "turn 4" in log.read_text(), "the last turn in the log")
        assert "Traceback" not in log.read_text()
        assert service.end() == 0


def test_a_log_that_nobody_reads_any_more(tmp_path: Path, gateway: LocalGateway) -> None:
    """Standard error is a pipe whose reader has gone."""
    reading, writing = os.pipe()
    try:
        with StarvedService(tmp_path, gateway.url, stderr=writing) as service:
            service.ready()
            os.close(reading)
            reading = -1
            service.ask()
            gateway.drop_all()
            service.ask()
            assert service.end() == 0
    finally:
        for descriptor in (reading, writing):
            if descriptor >= 0:
                os.close(descriptor)


def test_a_quota_stops_what_is_written_and_not_the_process(
    tmp_path: Path, gateway: LocalGateway
) -> None:
    """RLIMIT_FSIZE, whose SIGXFSZ kills who does not expect it."""
    state = tmp_path / "state" / "slng-edge" / "settings.json"
    with StarvedService(tmp_path, gateway.url) as service:
        service.ready()
        service.limit(resource.RLIMIT_FSIZE, 0)
        service.request(command="mute")
        time.sleep(1.2)  # what it logs cannot be written, either
        service.request(command="unmute")
        service.ask()
        assert not state.exists()
        service.limit(resource.RLIMIT_FSIZE, 1 << 20)
        service.request(command="volume", percent=40)
        service.await_(state.exists, "settings")
        assert json.loads(state.read_text())["volume"] == 0.4


def test_folders_that_are_removed_are_made_again(tmp_path: Path, gateway: LocalGateway) -> None:
    """By a broom that goes through the card while it runs: state, socket and all."""
    folder = tmp_path / "state"
    with StarvedService(tmp_path, gateway.url) as service:
        service.ready()
        service.request(command="mute")
        settings = folder / "slng-edge" / "settings.json"
        service.await_(settings.exists, "settings")
        settings.unlink()
        settings.parent.rmdir()
        folder.rmdir()
        service.request(command="unmute")
        service.await_(settings.exists, "settings, again")
        assert json.loads(settings.read_text())["muted"] is False
        assert service.end() == 0


@needs_mounts
def test_sound_into_a_full_disk_ends_the_service_as_a_lost_device(
    tmp_path: Path, gateway: LocalGateway, disk: SmallDisk
) -> None:
    """`audio.output = "file:…"` is a device that cannot come back: 74, and what it is."""
    output = f"audio.output=file:{disk.path}/sound.wav"
    with StarvedService(tmp_path, gateway.url, output, before=disk.before) as service:
        assert service.process.wait(60) == 74
        assert NO_ROOM in service.log.splitlines()[-1]


# Commands


@needs_mounts
def test_a_full_disk_leaves_the_old_key(tmp_path: Path, gateway: LocalGateway) -> None:
    """It is replaced at once or not at all."""
    disk = tmp_path / "disk"
    disk.mkdir()
    rights = " ".join(mount_rights())
    ended = SlngEdge(tmp_path, gateway.url).shell(
        f"export slng_edge; {rights} sh -c 'mount -t tmpfs -o size=4k x {disk} && cd {disk} && "
        "echo sk-old >key && chmod 600 key; echo sk-another | $slng_edge key set --no-apply "
        f"--file {disk}/key; echo $?; cat key; ls -A'"
    )
    assert ended.out == "1\nsk-old\nkey\n"
