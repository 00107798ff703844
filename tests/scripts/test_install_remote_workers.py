"""What scripts/install-remote makes of trouble on the machine that it runs on.

With a stand-in for ssh, as the hosts are not what is looked at; test_install_remote.py has an sshd.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SSH = r"""#!/bin/sh
for host; do [ $# -gt 2 ] && shift || break; done
cat >/dev/null
case $1 in
killed) kill -KILL $PPID && sleep 0.1 ;;
fills) ! dd if=/dev/zero of="$TMPDIR/fills" bs=64k 2>/dev/null ;;
esac
"""


class Operator:
    """A machine with a checkout, whose temporary files have a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary = folder, folder / "tmp"
        checkout = folder / "checkout"
        for name in ("tmp", "bin", "checkout/scripts"):
            (folder / name).mkdir(parents=True)
        for name in ("README.md", "LICENSE", "setup.cfg", "pyproject.toml"):
            shutil.copy(ROOT / name, checkout)
        for name in (
            *("install", "upgrade", "uninstall", "install-remote"),
            *("requirements", "constraints.txt", "check-wheels"),
        ):
            shutil.copy(ROOT / "scripts" / name, checkout / "scripts")
        for name in ("slng_edge", "systemd"):
            (checkout / name).mkdir()
        (folder / "bin/ssh").write_text(SSH)
        (folder / "bin/ssh").chmod(0o755)

    def run(self, *argv: str, size: str = "", **environment: str) -> tuple[int, str, str]:
        """install-remote: status, output, errors; with a `size`, that is all its folder takes."""
        command = [str(self.folder / "checkout/scripts/install-remote")]
        if size:
            rights = [] if os.geteuid() == 0 else ["--map-root-user"]
            mount = f'mount -t tmpfs -o size={size} tmpfs "$TMPDIR" && exec "$@"'
            command = ["unshare", *rights, "--mount", "sh", "-c", mount, "sh", *command]
        done = subprocess.run(
            [*command, "--logs", str(self.folder / "logs"), *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            env={
                **os.environ,
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                "TMPDIR": str(self.temporary),
                **environment,
            },
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """With a stand-in for ssh."""
    return Operator(tmp_path)


@pytest.fixture
def small(operator: Operator) -> Operator:
    """One for whom file systems may be mounted."""
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    mount = ["unshare", *rights, "--mount", "mount", "-t", "tmpfs", "x", str(operator.temporary)]
    if not shutil.which("unshare") or subprocess.run(mount, stderr=-3).returncode:
        pytest.skip("no file systems may be mounted here")
    return operator


@pytest.mark.parametrize("jobs", ["1", "2", "9"])
def test_a_worker_that_is_killed_is_a_host_that_failed(operator: Operator, jobs: str) -> None:
    """Its place goes to the next, also where it is the only one; nothing is passed over."""
    status, out, err = operator.run("--jobs", jobs, "before", "killed", "after")
    assert status == 1, out + err
    rows = re.findall(r"^(\w+) +(ok|failed \(-\)) ", out, re.M)
    assert rows == [("after", "ok"), ("before", "ok"), ("killed", "failed (-)")], out
    assert "its process was ended, or" in out
    assert f"look at {operator.folder}/logs/killed.log" in out


def test_all_hosts_that_are_well_give_0(operator: Operator) -> None:
    """With fewer places than hosts."""
    status, out, _ = operator.run("--jobs", "2", *(f"kiosk-{number}" for number in range(5)))
    assert (status, len(re.findall("^kiosk-[0-4] +ok ", out, re.M))) == (0, 5), out
    assert list(operator.temporary.iterdir()) == []


def test_a_disk_that_is_full_at_once_is_told(small: Operator) -> None:
    """With what to do, before a host is asked."""
    status, out, err = small.run("kiosk", size="64k")
    assert status == 1
    assert "is full, see above: make room, or TMPDIR=/var/tmp scripts/install-remote" in err, err
    assert out == ""


def test_a_disk_that_becomes_full_does_not_hide_a_host(small: Operator) -> None:
    """What became of it is not known then, and that is no success."""
    status, out, _ = small.run("--jobs", "1", "before", "fills", "after", size="2m")
    assert status == 1, out
    assert re.search(r"^before +ok ", out, re.M), out
    for host in ("fills", "after"):
        assert re.search(rf"^{host} +failed \(-\) .* is full", out, re.M), out


def test_no_place_for_temporary_files_is_told(operator: Operator) -> None:
    """A folder that is not there."""
    status, _, err = operator.run("kiosk", TMPDIR=str(operator.folder / "nowhere"))
    assert status == 1
    assert "there is no place for temporary files, see above: TMPDIR=/var/tmp" in err
