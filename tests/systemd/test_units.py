"""The units as systemd reads them; scripts/test-systemd runs them under a real one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
SERVICE = UNITS / "slng-edge.service"
TEMPLATE = UNITS / "slng-edge@.service"
FIRST_BOOT = UNITS / "slng-edge-firstboot.service"
HIGHEST_EXPOSURE = 2.0

ALL = sorted(path.relative_to(UNITS).as_posix() for path in UNITS.rglob("*.service"))

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def directives(unit: Path) -> list[str]:
    """Its lines without comments, continuations joined."""
    text = unit.read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def runnable(unit: Path, folder: Path) -> Path:
    """A copy of `unit` whose programs exist, as `verify` looks for them."""
    text = re.sub(
        r"^(Exec\w+=)/(?:opt|usr/bin/cage)\S*", r"\1/bin/true", unit.read_text(), flags=re.M
    )
    name = unit.name.replace("@.", "@one.")
    copy = folder / name
    copy.write_text(text)
    return copy


def test_every_kind_of_unit_is_there() -> None:
    """The service, its template, and those for desktops, for a screen and for a card."""
    assert ALL == [
        "slng-edge-firstboot.service",
        "slng-edge-kiosk.service",
        "slng-edge.service",
        "slng-edge@.service",
        "user/slng-edge.service",
    ]


@needs_systemd
@pytest.mark.parametrize("name", ALL)
def test_systemd_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    """No unknown directive, no value that is not understood: nothing is said."""
    manager = ["--user"] if name.startswith("user/") else []
    copy = runnable(UNITS / name, tmp_path)
    verified = subprocess.run(
        ["systemd-analyze", *manager, "--man=no", "--recursive-errors=no", "verify", str(copy)],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert [line for line in verified.stderr.splitlines() if "slng-edge" in line] == []
    assert verified.returncode == 0


def security(unit: Path, folder: Path) -> str:
    """What `systemd-analyze security` says of it, line by line."""
    judged = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--no-pager",
            str(runnable(unit, folder)),
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert judged.stdout, judged.stderr
    return judged.stdout


@needs_systemd
@pytest.mark.parametrize("unit", [SERVICE, TEMPLATE, FIRST_BOOT], ids=lambda unit: str(unit.name))
def test_the_exposure_stays_low(unit: Path, tmp_path: Path) -> None:
    """What `systemd-analyze security` counts together is at most 2.0 of 10."""
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", security(unit, tmp_path))
    assert exposure is not None
    assert float(exposure[1]) <= HIGHEST_EXPOSURE


@needs_systemd
@pytest.mark.parametrize("unit", [SERVICE, TEMPLATE, FIRST_BOOT], ids=lambda unit: str(unit.name))
def test_what_of_the_sandbox_is_not_taken_is_explained(unit: Path, tmp_path: Path) -> None:
    """Each directive that `systemd-analyze security` misses stands in a comment of the unit."""
    missed = set(re.findall(r"^✗ (\w+)=", security(unit, tmp_path), re.M))
    comments = "".join(line for line in unit.read_text().splitlines() if line.startswith("#"))
    assert missed
    assert {name for name in missed if not re.search(rf"\b{name}\b", comments)} == set()


def test_instances_differ_from_the_service_by_their_names_alone() -> None:
    """Hardening that is added to one of both is added to the other."""
    own = {
        "Environment=SLNG_EDGE_CONTROL__SOCKET=/run/slng-edge-%i/control.sock",
        "Description=slng-edge voice client %i",
    }
    service = [line for line in directives(SERVICE) if not line.startswith("Description=")]
    template = [
        line.replace("slng-edge-%i", "slng-edge")
        .replace("%i.toml", "config.toml")
        .replace("%i.api-key", "api-key")
        for line in directives(TEMPLATE)
        if line not in own
    ]
    assert template == service


@pytest.mark.parametrize("unit", [SERVICE, TEMPLATE], ids=lambda unit: str(unit.name))
def test_what_cannot_pass_is_not_tried_again(unit: Path) -> None:
    """A refused key, a wrong config and a missing key file end it until somebody acts."""
    assert "RestartPreventExitStatus=77 78 243" in directives(unit)
    assert "Restart=on-failure" in directives(unit)


def test_the_group_and_nobody_else_reaches_the_control_socket() -> None:
    """The folder of the socket is open to the group, files that are made are to nobody."""
    assert {"RuntimeDirectoryMode=0750", "Group=slng-edge", "UMask=0077"} <= set(
        directives(SERVICE)
    )


def test_sound_is_not_shut_out() -> None:
    """Cards, the group that owns them, and the sockets of sound servers."""
    lines = directives(SERVICE)
    assert {"DeviceAllow=char-alsa rw", "SupplementaryGroups=audio"} <= set(lines)
    assert "PrivateDevices=yes" not in lines
    assert "PrivateIPC=yes" not in lines
    assert any(line.startswith("RestrictAddressFamilies=") and "AF_UNIX" in line for line in lines)


def test_no_unit_holds_a_key() -> None:
    """Keys come from files that root alone reads."""
    for path in UNITS.rglob("*.*"):
        assert not re.search(r"API_KEY=|PASSWORD=", path.read_text()), path


@pytest.mark.parametrize(
    "drop_in", sorted((UNITS / "drop-ins").iterdir()), ids=lambda p: str(p.name)
)
@needs_systemd
def test_drop_ins_fit_the_service(drop_in: Path, tmp_path: Path) -> None:
    """Each is understood together with the unit that it changes."""
    copy = runnable(SERVICE, tmp_path)
    folder = tmp_path / "slng-edge.service.d"
    folder.mkdir()
    shutil.copy(drop_in, folder)
    verified = subprocess.run(
        ["systemd-analyze", "--man=no", "--recursive-errors=no", "verify", str(copy)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert [line for line in verified.stderr.splitlines() if "slng-edge" in line] == []


@pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed"
)
@pytest.mark.parametrize("name", ["slng-edge.sysusers", "slng-edge-kiosk.sysusers"])
def test_users_are_made(name: str, tmp_path: Path) -> None:
    """In an empty root the user is there afterwards, with a group of its own and no login."""
    (tmp_path / "etc").mkdir()
    made = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(UNITS / name)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert made.returncode == 0, made.stderr
    user = name.removesuffix(".sysusers")
    passwd = (tmp_path / "etc/passwd").read_text()
    assert re.search(rf"^{user}:.*:/usr/sbin/nologin$", passwd, re.M)
    assert re.search(rf"^{user}:", (tmp_path / "etc/group").read_text(), re.M)


def first_boot(boot: Path, etc: Path) -> subprocess.CompletedProcess[str]:
    """The script of slng-edge-firstboot.service, on folders of the test."""
    program = Path(sys.executable).with_name("slng-edge")
    etc.mkdir(exist_ok=True)
    return subprocess.run(
        [str(UNITS / "slng-edge-firstboot"), str(boot), str(etc), str(program)],
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_card_is_configured_from_its_boot_partition(tmp_path: Path) -> None:
    """Config and key are moved, the key to where one user reads it; nothing stays behind."""
    boot, etc = tmp_path / "boot", tmp_path / "etc"
    boot.mkdir()
    (boot / "slng-edge.toml").write_bytes(b"[tts]\r\nspeed = 1.5\r\n")
    (boot / "slng-api-key").write_bytes(b"sk-of-the-card-161803\r\n")
    done = first_boot(boot, etc)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(boot.iterdir()) == []
    assert "1.5" in (etc / "config.toml").read_text()
    assert (etc / "api-key").read_text() == "sk-of-the-card-161803\n"
    assert (etc / "api-key").stat().st_mode & 0o777 == 0o600
    assert "161803" not in done.stdout + done.stderr


def test_what_is_wrong_on_a_card_is_said_on_the_card(tmp_path: Path) -> None:
    """The files stay, the reason is beside them, and what was in force stays in force."""
    boot, etc = tmp_path / "boot", tmp_path / "etc"
    boot.mkdir()
    etc.mkdir()
    (etc / "config.toml").write_text("# before\n")
    (boot / "slng-edge.toml").write_text("[tts]\nspeed = 99\n")
    (boot / "slng-api-key").write_text("no key at all\n")
    done = first_boot(boot, etc)
    assert done.returncode == 78
    problem = (boot / "slng-edge-problem.txt").read_text()
    assert "tts.speed = 99 must be" in problem
    assert "slng-api-key was not taken" in problem
    assert "no key at all" not in problem
    assert (etc / "config.toml").read_text() == "# before\n"
    assert not (etc / "api-key").exists()
