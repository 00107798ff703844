"""What scripts/install says of a machine that it is not made for, or that is not ready for it.

Each in namespaces of its own, as root of these: the root file system is read-only there, and what
the script would write to (/opt, /etc, /run, /var/lib) is in memory and empty. A program of the
machine is replaced by one that answers as that of another machine would.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
RASPBIAN = 'ID=raspbian\nID_LIKE=debian\nVERSION_ID="11"\nPRETTY_NAME="Raspbian 11 (bullseye)"\n'
FEDORA = 'ID=fedora\nVERSION_ID=41\nPRETTY_NAME="Fedora Linux 41"\n'
MACHINE = r"""
set -eu
given=$1; shift
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/dpkg
mount --bind /var/lib/dpkg /run/dpkg
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/dpkg
mount --bind /run/dpkg /var/lib/dpkg
mkdir /run/etc
cp -R --preserve=links /etc/passwd /etc/group /etc/ld.so.cache /etc/alternatives /run/etc/
[ ! -f "$given/os-release" ] || cp "$given/os-release" /run/etc/
mount --bind /run/etc /etc
mount -t tmpfs tmpfs /opt
for program in "$given"/bin/*; do
    [ ! -f "$program" ] || mount --bind "$program" "/usr/bin/${program##*/}"
done
mount -o remount,ro,bind /
! touch /slng-edge-probe 2>/dev/null
cd "$given"
exec "$@"
"""

Ended = tuple[int, str]
Machine = Callable[..., Ended]


def _unshared() -> list[str]:
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *rights, "--mount"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Runs a command on a machine with these programs, /etc/os-release and environment."""
    if not shutil.which("unshare") or not shutil.which("dpkg-query"):
        pytest.skip("needs unshare, and a Debian to be hidden")
    if subprocess.run([*_unshared(), "mount", "-t", "tmpfs", "x", "/opt"], stderr=-3).returncode:
        pytest.skip("no file systems may be mounted here")

    def run(*command: str, release: str | None = DEBIAN, **programs: str) -> Ended:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "key").write_text("sk-of-the-machine-141421\n")
        for name, text in programs.items():
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        if release is not None:
            (tmp_path / "os-release").write_text(release)
        done = subprocess.run(
            [*_unshared(), "sh", "-c", MACHINE, "sh", str(tmp_path), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=110,
        )
        return done.returncode, done.stdout

    return run


INSTALL = str(ROOT / "scripts/install")
CLOCK = 'case $1 in +%Y) echo 1970 ;; *) echo "1970-01-01" ;; esac'
ROOMY = 'echo; echo "tmpfs 9000000 0 9000000 1% /opt"'  # whatever memory the tests have
TINY = 'echo; echo "tmpfs 1000000 950000 50000 95% /opt"'
OLD = "exit 1"


@pytest.mark.parametrize(
    ("release", "programs", "words"),
    [
        (FEDORA, {}, "this is for Debian and Raspberry Pi OS, and not for Fedora Linux 41"),
        (None, {}, "this is for Debian and Raspberry Pi OS, and not for another system"),
        (RASPBIAN, {"python3": OLD}, "Raspbian 11 (bullseye) is too old: Debian 12"),
        (DEBIAN, {"dpkg": "echo armhf"}, "this is a 32-bit system, for which there are no wheels"),
        (DEBIAN, {"dpkg": "echo i386"}, "this is a 32-bit system, for which there are no wheels"),
        (DEBIAN, {"dpkg": "echo riscv64"}, "wheels for amd64 and arm64, and not for riscv64"),
        (DEBIAN, {"date": CLOCK}, "the clock says 1970-01-01, and no certificate is valid then"),
        (DEBIAN, {"df": TINY}, "48 MB are free in /opt, and it takes 500: make room"),
        (
            DEBIAN,
            {"dpkg-query": 'case "$*" in *Abbrev*) echo "iU " ;; *) false ;; esac'},
            "the Debian package slng-edge is installed: apt-get updates it",
        ),
        (DEBIAN, {}, "there is no key yet, and no terminal to ask at: --key-file -"),
    ],
    ids=(
        "fedora",
        "no os-release",
        "old python",
        "armhf",
        "i386",
        "riscv64",
        "clock",
        "disk",
        "deb",
        "no key",
    ),
)
def test_a_machine_that_will_not_do_is_left_as_it_is(
    machine: Machine, release: str | None, programs: dict[str, str], words: str
) -> None:
    """One line that says what to do, and nothing written."""
    look = f'status=0; "{INSTALL}" || status=$?; find /opt /etc -name "*slng*"; exit $status'
    status, said = machine("sh", "-c", look, release=release, **({"df": ROOMY} | programs))
    assert status == (2 if "no key yet" in words else 1), said
    assert said.startswith(f"install: {words}" if "wheels for" not in words else "install: "), said
    assert words in said
    assert said.count("\n") == 1, said


def test_a_closed_standard_input_is_no_obstacle(machine: Machine) -> None:
    """As in a job of some scheduler: there is nobody to ask, and no more than that."""
    status, said = machine("sh", "-c", f'exec <&-; exec "{INSTALL}"', df=ROOMY)
    assert status == 2
    assert said.startswith("install: there is no key yet"), said


def test_a_read_only_root_is_told(machine: Machine) -> None:
    """With the command that would do."""
    status, said = machine("sh", "-c", f'mount -o remount,ro,bind /opt && "{INSTALL}"')
    assert status == 1
    assert said == "install: /opt cannot be written (a read-only root?): mount -o remount,rw /\n"


@pytest.mark.parametrize("script", ["install", "upgrade", "uninstall"])
def test_one_at_a_time(machine: Machine, script: str) -> None:
    """While one holds the lock, the others are refused."""
    installed = "mkdir -p /opt/slng-edge/bin && ln -s /bin/true /opt/slng-edge/bin/slng-edge"
    command = f'{installed} && flock /run/slng-edge-install.lock "{ROOT}/scripts/{script}"'
    argv = "" if script == "uninstall" else " --key-file key"
    status, said = machine("sh", "-c", command + argv, df=ROOMY)
    assert status == 1, said
    assert "another install, upgrade or uninstall is under way" in said


def test_upgrade_where_nothing_is_installed_says_what_to_run(machine: Machine) -> None:
    """Not an installation by accident."""
    status, said = machine(str(ROOT / "scripts/upgrade"), df=ROOMY)
    assert (status, said) == (1, "upgrade: slng-edge is not installed; run scripts/install\n")


def _wheelhouse(folder: Path) -> Path:
    """A folder with slng-edge alone, which needs a library that is not in it."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "slng_edge-0.0.1-py3-none-any.whl", "w") as wheel:
        info = "slng_edge-0.0.1.dist-info"
        requires = "Requires-Dist: a-library-that-is-nowhere-to-be-had"
        wheel.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: slng-edge\nVersion: 0.0.1\n{requires}\n",
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return folder


THERE = 'for last; do :; done; [ "$last" = slng-edge ] || echo "install ok installed"'


def test_a_wheelhouse_that_lacks_a_library_leaves_no_half_version(
    machine: Machine, tmp_path: Path
) -> None:
    """pip says which, the script what to do; what was begun is taken away. Spaces do no harm."""
    wheels = _wheelhouse(tmp_path / "wheel house")
    checkout = tmp_path / "a checkout of mine"
    (checkout / "scripts").mkdir(parents=True)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout / name)
    for name in ("install", "requirements", "constraints.txt", "check-wheels"):
        shutil.copy(ROOT / "scripts" / name, checkout / "scripts" / name)
    for name in ("slng_edge", "systemd"):
        shutil.copytree(ROOT / name, checkout / name)
    look = f"""umask 077
        "{checkout}/scripts/install" --offline "{wheels}" --key-file key
        ls /opt/slng-edge.versions"""
    status, said = machine("sh", "-c", look, df=ROOMY, **{"dpkg-query": THERE})
    assert status == 0, said
    assert "a-library-that-is-nowhere-to-be-had" in said
    assert said.endswith("or processor; scripts/wheelhouse --help\n"), said
    assert "install: pip failed, see above: the wheelhouse may lack a library" in said


def test_what_interrupts_it_leaves_no_half_version(machine: Machine, tmp_path: Path) -> None:
    """Ctrl-C reaches the group, pip as well; the next run finds nothing of it."""
    wheels = _wheelhouse(tmp_path / "wheel house")
    look = f"""setsid "{INSTALL}" --offline "{wheels}" --key-file key &
        until [ -n "$(ls -A /opt/slng-edge.versions/*/lib 2>/dev/null)" ]; do
            kill -0 $! && sleep 0.02 || exit 99
        done
        kill -TERM -$!
        status=0; wait $! || status=$?; ls /opt/slng-edge.versions; exit $status"""
    status, said = machine("sh", "-c", look, df=ROOMY, **{"dpkg-query": THERE})
    assert status == 143, said
    lines = [line for line in said.splitlines() if not line.startswith("Terminated")]
    assert len(lines) == 1, said
    assert "building" in lines[0]
