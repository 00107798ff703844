"""What scripts/install and scripts/upgrade start, put back and keep, once the program is built.

In namespaces of its own, as root of these: the root file system is read-only there, and /opt, /etc,
/run, /var/lib, /usr/local/bin and /usr/lib/sysusers.d are folders of the test. The versions are
there already, so nothing is built; systemctl and slng-edge are stand-ins, which write down what
they were asked for. scripts/test-install does it with a real systemd.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAIN, KITCHEN, HALL = "slng-edge.service", "slng-edge@kitchen.service", "slng-edge@hall.service"
INSTALLING = ("install", "upgrade", "uninstall", "requirements", "constraints.txt", "check-wheels")
PLACES = ("etc", "opt", "run", "usr/lib/sysusers.d", "usr/local/bin", "var/lib")

MACHINE = r"""
set -eu
given=$1; shift
for place in etc opt run usr/lib/sysusers.d usr/local/bin var/lib; do
    mount --bind "$given/$place" "/$place"
done
mount -o remount,ro,bind /
! touch /slng-edge-probe 2>/dev/null
cd "$given/checkout"
PATH=$given/bin:$PATH
exec "$@"
"""

PROGRAMS = {
    "systemctl": r"""
        [ "$1" != --quiet ] || shift
        now=$(readlink /opt/slng-edge || true)
        case $1 in
        is-active | is-enabled) grep -qx "$2" "$STATE/$1" ;;
        enable) echo "$2" >>"$STATE/is-enabled" && echo "enable $2" >>"$STATE/calls" ;;
        list-units) sed -n "/@/s/$/ loaded active running a voice client/p" "$STATE/is-active" ;;
        restart)
            echo "restart $2 ${now##*/}" >>"$STATE/calls"
            sed -i "/^$2$/d" "$STATE/is-active"
            ! grep -qsx "$2" "$now/breaks" || exit 1
            echo "$2" >>"$STATE/is-active"
            ;;
        show) echo 1 ;;
        esac""",
    "slng-edge": r"""
        echo "$*" >>"$STATE/argv"
        version=$(dirname "$(dirname "$(readlink -f "$0")")")
        case $* in
        --version) echo "slng-edge ${version##*/}" ;;
        *' config check') ! grep wrong "$2" ;;
        *' config show --json') echo '{"config": {"control": {"socket": "/run/main"}}}' ;;
        'config init '*) echo "# made" >"$3" ;;
        'key set '*) key=$(cat) && [ "$key" != wrong ] && echo "$key" >"$4" ;;
        ctl*) # --socket PATH status
            ! grep -qsx "$3" "$version/mute" || exit 69
            device='{"state": "open", "name": "a card"}' session='{"state": "ready"}'
            [ "${5:-}" = --json ] || { echo "status at $3" && exit; }
            echo "{\"devices\": {\"input\": $device, \"output\": $device}," \
                "\"sessions\": {\"stt\": $session, \"tts\": $session}}"
            ;;
        esac""",
    "dpkg-query": r"""
        for last; do :; done
        [ "$last" = slng-edge ] || echo "install ok installed" """,
    "df": 'echo; echo "tmpfs 9000000 0 9000000 1% /opt"',
    "journalctl": ":",
    "systemd-sysusers": ":",
    "sleep": ":",
}


class Device:
    """A machine on which versions of a checkout are built; `is_active` and `enabled` are lists."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.checkout = folder, folder / "checkout"
        for place in (*PLACES, "bin", "checkout/slng_edge", "run/state", "run/systemd/system"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        (self.checkout / "scripts").mkdir()
        for name in INSTALLING:
            shutil.copy(ROOT / "scripts" / name, self.checkout / "scripts")
        for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, self.checkout)
        shutil.copytree(ROOT / "systemd", self.checkout / "systemd")
        for name, text in PROGRAMS.items():
            self._program(folder / "bin" / name, text)
        for name in ("passwd", "group", "ld.so.cache"):
            shutil.copy(f"/etc/{name}", self.etc)
        (self.etc / "alternatives").mkdir()
        for program in Path("/etc/alternatives").glob("*awk"):
            (self.etc / "alternatives" / program.name).symlink_to(program.readlink())
        (self.etc / "os-release").write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian"\n')
        with (self.etc / "group").open("a") as groups:
            groups.write("gpio:x:64997:\n")
        (self.etc / "slng-edge").mkdir()
        (self.etc / "slng-edge/api-key").write_text("sk-of-the-device\n")
        (self.etc / "slng-edge/config.toml").write_text("# as it is\n")
        self.units.mkdir(parents=True)
        self.active(MAIN)
        self._list("is-enabled", MAIN)

    @property
    def etc(self) -> Path:
        """Its /etc."""
        return self.folder / "etc"

    @property
    def units(self) -> Path:
        """Its /etc/systemd/system."""
        return self.etc / "systemd/system"

    @property
    def calls(self) -> list[str]:
        """What systemctl was asked to do, with the version that was in place."""
        return (self.folder / "run/state/calls").read_text().splitlines()

    @property
    def versions(self) -> list[str]:
        """Those that are kept."""
        return sorted(path.name for path in (self.folder / "opt/slng-edge.versions").iterdir())

    @property
    def version(self) -> str:
        """The one in place."""
        return os.readlink(self.folder / "opt/slng-edge").rsplit("/", 1)[1]

    def active(self, *units: str) -> None:
        """These run, and nothing has been asked for."""
        self._list("is-active", *units)
        self._list("calls")

    def main_is_disabled(self) -> None:
        """By its owner, who has stopped it."""
        self._list("is-enabled")
        self.active(*(unit for unit in self._listed("is-active") if unit != MAIN))

    def build(self, name: str, extras: str = "", **files: str) -> None:
        """Make the checkout that version, and have it built."""
        (self.checkout / "slng_edge/__init__.py").write_text(f"# {name}\n")
        version = self.folder / "opt/slng-edge.versions" / name
        self._program(version / "bin/slng-edge", PROGRAMS["slng-edge"])
        self._program(version / "bin/python", 'exec /usr/bin/python3 "$@"')
        shutil.copytree(self.checkout / "systemd", version / "systemd")
        function = 'eval "$(sed -n "/^fingerprint()/,/^}/p" scripts/install)"; fingerprint'
        fingerprint = subprocess.run(
            ["sh", "-c", f"wheelhouse='' extras={extras}; {function}"],
            cwd=self.checkout,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
        (version / "installed").write_text(f"{fingerprint}{extras}\n")
        for file, text in files.items():
            (version / file).write_text(text + "\n")

    def run(self, *command: str) -> tuple[int, str]:
        """Status, and all that was said."""
        done = subprocess.run(
            [*_unshared(), "sh", "-c", MACHINE, "sh", str(self.folder), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            env={**os.environ, "STATE": "/run/state"},
        )
        return done.returncode, done.stdout

    def install(self, *argv: str) -> str:
        """scripts/install, which has to succeed; what it said."""
        status, said = self.run("scripts/install", *argv)
        assert status == 0, said
        return said

    def upgrade(self, *argv: str) -> str:
        """scripts/upgrade, which has to succeed; what it said."""
        status, said = self.run("scripts/upgrade", *argv)
        assert status == 0, said
        return said

    def _list(self, name: str, *lines: str) -> None:
        (self.folder / "run/state" / name).write_text("".join(f"{line}\n" for line in lines))

    def _listed(self, name: str) -> list[str]:
        return (self.folder / "run/state" / name).read_text().splitlines()

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


def _unshared() -> list[str]:
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *rights, "--mount"]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """With the version "a" installed, and nothing asked for since."""
    if not shutil.which("unshare") or not shutil.which("dpkg"):
        pytest.skip("needs unshare, and a Debian to be hidden")
    for place in PLACES:
        if not Path("/", place).is_dir():
            pytest.skip(f"there is no /{place} to be hidden")
    if subprocess.run([*_unshared(), "mount", "--bind", "/opt", "/opt"], stderr=-3).returncode:
        pytest.skip("no file systems may be mounted here")
    device = Device(tmp_path)
    device.build("a", proven="")
    (tmp_path / "opt/slng-edge").symlink_to("/opt/slng-edge.versions/a")
    for name in (MAIN, "slng-edge@.service", "slng-edge-firstboot.service"):
        shutil.copy(ROOT / "systemd" / name, device.units)
    return device


def test_an_upgrade_restarts_the_instances_that_run(device: Device) -> None:
    """After the main unit, each named; else they ran what an upgrade later removes."""
    device.active(MAIN, KITCHEN, HALL)
    device.build("b")
    said = device.upgrade()
    assert [call for call in device.calls if "restart" in call] == [
        f"restart {unit} b" for unit in (MAIN, KITCHEN, HALL)
    ]
    for unit in (KITCHEN, HALL):
        assert f"upgrade: {unit} was restarted with it\n" in said
    assert said.count("OK    microphone: open a card") == 3
    assert "status at /run/slng-edge-kitchen/control.sock" in said


def test_the_same_version_again_leaves_the_instances_alone(device: Device) -> None:
    """There is nothing new for them; that they work is proven all the same."""
    device.active(MAIN, KITCHEN)
    said = device.install()
    assert [call for call in device.calls if KITCHEN in call] == []
    assert said.count("OK    microphone: open a card") == 2


def test_an_instance_that_does_not_become_ready_brings_all_back(device: Device) -> None:
    """The main unit as well, which had become ready; the bad version goes when nobody runs it."""
    device.active(MAIN, KITCHEN, HALL)
    device.build("b", breaks=KITCHEN)
    status, said = device.run("scripts/upgrade")
    assert status == 1, said
    assert f"upgrade: {KITCHEN} did not become ready within" in said
    assert [call for call in device.calls if "restart" in call] == [
        f"restart {MAIN} b",
        f"restart {KITCHEN} b",
        f"restart {MAIN} a",
        f"restart {KITCHEN} a",
    ]
    assert f"slng-edge a runs again as {KITCHEN}" in said
    assert (device.version, device.versions) == ("a", ["a"])


def test_where_the_main_unit_fails_the_instances_run_on(device: Device) -> None:
    """They have never run the new version."""
    device.active(MAIN, KITCHEN)
    device.build("b", breaks=MAIN)
    status, said = device.run("scripts/upgrade")
    assert status == 1, said
    assert [call for call in device.calls if KITCHEN in call] == []
    assert f"slng-edge a runs again as {MAIN}" in said


def test_an_upgrade_leaves_a_disabled_main_unit_disabled(device: Device) -> None:
    """Its owner runs an instance alone, has no key or configuration of it, and that is proven."""
    device.active(KITCHEN)
    device.main_is_disabled()
    for name in ("api-key", "config.toml"):
        (device.etc / "slng-edge" / name).unlink()
    device.build("b")
    said = device.upgrade()
    assert [call for call in device.calls if MAIN in call] == []
    assert f"restart {KITCHEN} b" in device.calls
    assert f"upgrade: {MAIN} is disabled, and stays so" in said
    assert f"\n{KITCHEN}\nstatus at /run/slng-edge-kitchen/control.sock\nOK " in said
    assert list((device.etc / "slng-edge").iterdir()) == []


def test_where_nothing_is_to_run_nothing_is_proven(device: Device) -> None:
    """And that is said."""
    device.main_is_disabled()
    device.build("b")
    said = device.upgrade()
    assert device.calls == []
    assert said.endswith("nothing was started, and nothing is proven\n")
    assert device.version == "b"


def test_an_install_enables_what_was_disabled(device: Device) -> None:
    """It is what repairs a machine."""
    device.main_is_disabled()
    device.install()
    assert device.calls == [f"enable {MAIN}", f"restart {MAIN} a"]


def test_a_version_that_a_process_runs_is_kept(device: Device) -> None:
    """A desktop's user unit for one, whose modules and libraries are read as they are needed."""
    sleeper = device.folder / "opt/slng-edge.versions/a/bin/a-program"
    sleeper.write_text("#!/bin/sh\nread line\n")
    sleeper.chmod(0o755)
    device.build("b")
    device.upgrade()
    device.build("c")
    program = f"/opt/slng-edge.versions/a/bin/{sleeper.name}"
    held = f"mkfifo /run/held; {program} <>/run/held & scripts/upgrade; kill $!"
    status, said = device.run("sh", "-c", held)
    assert status == 0, said
    assert "/opt/slng-edge.versions/a stays, as a process still runs it" in said
    assert device.versions == ["a", "b", "c"]
    device.upgrade()
    assert device.versions == ["b", "c"]


@pytest.mark.parametrize(
    ("unit", "socket"), [(MAIN, "/run/main"), (KITCHEN, "/run/slng-edge-kitchen/control.sock")]
)
def test_what_is_ready_and_never_answers_is_rolled_back(
    device: Device, unit: str, socket: str
) -> None:
    """That it is active says nothing of what its owner gets to hear."""
    device.active(MAIN, KITCHEN)
    device.build("b", mute=socket)
    status, said = device.run("scripts/upgrade")
    assert status == 1, said
    assert f"{unit} says that it is ready, and does not answer at {socket}" in said
    assert f"slng-edge a runs again as {unit}" in said
    assert device.version == "a"


def test_the_key_goes_through_a_pipe(device: Device) -> None:
    """Into the file, and into no command line."""
    (device.checkout / "key").write_text("sk-another\n")
    device.install("--key-file", "key")
    assert (device.etc / "slng-edge/api-key").read_text() == "sk-another\n"
    commands = (device.folder / "run/state/argv").read_text()
    assert "key set --file /etc/slng-edge/api-key --no-apply\n" in commands
    assert "sk-another" not in commands


def test_a_key_that_is_refused_leaves_the_configuration(device: Device) -> None:
    """Both or none: the service goes on with what it had."""
    (device.checkout / "new.toml").write_text("# another\n")
    (device.checkout / "key").write_text("wrong\n")
    status, said = device.run("scripts/install", "--config", "new.toml", "--key-file", "key")
    assert status == 2
    assert "no key was installed" in said
    etc = device.etc / "slng-edge"
    assert {path.name: path.read_text() for path in etc.iterdir()} == {
        "api-key": "sk-of-the-device\n",
        "config.toml": "# as it is\n",
    }
    assert device.calls == []


def test_a_configuration_that_is_refused_leaves_the_key(device: Device) -> None:
    """The other way round."""
    (device.checkout / "new.toml").write_text("wrong\n")
    (device.checkout / "key").write_text("sk-another\n")
    status, said = device.run("scripts/install", "--config", "new.toml", "--key-file", "key")
    assert status == 78, said
    assert (device.etc / "slng-edge/api-key").read_text() == "sk-of-the-device\n"


def _drop_ins(device: Device) -> list[str]:
    return sorted(str(path.relative_to(device.units)) for path in device.units.glob("*.d/*"))


def test_the_extra_gpio_gives_the_pins_to_all_units_and_takes_them_back(device: Device) -> None:
    """What was put there for it goes with it; what somebody wrote beside it stays."""
    device.build("b", extras="gpio")
    device.upgrade("--extras", "gpio")
    assert _drop_ins(device) == [
        "slng-edge.service.d/gpio.conf",
        "slng-edge@.service.d/gpio.conf",
    ]
    (device.units / "slng-edge@.service.d/override.conf").write_text("[Service]\n")
    device.build("c")
    said = device.upgrade("--extras", "")
    assert _drop_ins(device) == ["slng-edge@.service.d/override.conf"]
    assert "slng-edge.service.d/gpio.conf is removed" in said


def test_a_gpio_drop_in_of_the_owner_stays(device: Device) -> None:
    """Put there by hand without the extra, or changed."""
    theirs = device.units / "slng-edge.service.d/gpio.conf"
    theirs.parent.mkdir()
    shutil.copy(ROOT / "systemd/drop-ins/gpio.conf", theirs)
    device.build("b")
    device.upgrade()
    assert theirs.exists()
    device.build("c", extras="gpio")
    device.upgrade("--extras", "gpio")
    theirs.write_text("[Service]\nSupplementaryGroups=gpio spi\n")
    device.build("d")
    device.upgrade("--extras", "")
    assert _drop_ins(device) == ["slng-edge.service.d/gpio.conf"]


def test_a_rollback_brings_back_the_drop_ins_of_the_version_before(device: Device) -> None:
    """The extras of the version in place count, and not those that were asked for."""
    device.build("b", extras="gpio", breaks=MAIN)
    status, said = device.run("scripts/upgrade", "--extras", "gpio")
    assert status == 1, said
    assert _drop_ins(device) == []


@pytest.mark.parametrize("purge", [True, False])
def test_uninstall_takes_the_drop_ins_of_all_units(device: Device, purge: bool) -> None:
    """With --purge those of the owner as well."""
    device.build("b", extras="gpio")
    device.upgrade("--extras", "gpio")
    for folder in ("slng-edge@.service.d", "slng-edge@kitchen.service.d"):
        (device.units / folder).mkdir(exist_ok=True)
        (device.units / folder / "override.conf").write_text("[Service]\n")
    status, said = device.run("scripts/uninstall", *(["--purge"] if purge else []))
    assert status == 0, said
    kept = [] if purge else ["slng-edge@.service.d", "slng-edge@kitchen.service.d"]
    assert _drop_ins(device) == [f"{folder}/override.conf" for folder in kept]
    assert sorted(path.name for path in device.units.glob("*.d")) == kept
