"""The libraries that devices get: pinned, and checked before they are unpacked."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
WITHOUT_WHEELS = {"pyaudio"}


def printed(*command: str | Path) -> str:
    """What a script says that ends with 0."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_every_library_of_every_extra_is_pinned(python: str) -> None:
    """To a version that setup.cfg allows; what builds slng-edge as well."""
    asked = printed(SCRIPTS / "requirements", "test,plots").splitlines()
    wanted = [Requirement(line.partition("\t")[0]) for line in asked]
    environment = {"python_version": python, "extra": ""}
    pins = printed(SCRIPTS / "requirements", "--pins", python).splitlines()
    versions = dict(pin.split("==") for pin in pins)
    assert len(versions) == len(pins)
    for each in wanted:
        name = canonicalize_name(each.name)
        needed = each.marker is None or each.marker.evaluate(environment)
        if needed and name not in WITHOUT_WHEELS:
            assert each.specifier.contains(versions[name], prereleases=False), name


def test_a_pin_without_a_hash_is_none() -> None:
    """Nothing else in the file would be noticed."""
    text = (SCRIPTS / "constraints.txt").read_text()
    python = r"python_version == \"3\.1[1-3]\""
    entry = rf"[a-z0-9-]+==\S+( ; {python}( or {python})*)? \\\n"
    entry += r"(    --hash=sha256:[0-9a-f]{64} \\\n)*    --hash=sha256:[0-9a-f]{64}\n"
    assert re.fullmatch(rf"(#.*\n)+({entry})+", text)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder `scripts` whose constraints name the wheel `good` in the folder `wheels`."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "wheels").mkdir()
    shutil.copy(SCRIPTS / "check-wheels", tmp_path / "scripts")
    hashed = hashlib.sha256(b"good").hexdigest()
    other = hashlib.sha256(b"for another processor").hexdigest()
    (tmp_path / "scripts" / "constraints.txt").write_text(
        f"a==1 \\\n    --hash=sha256:{hashed} \\\n    --hash=sha256:{other}\n"
    )
    (tmp_path / "wheels" / "a-1-py3-none-any.whl").write_bytes(b"good")
    (tmp_path / "wheels" / "slng_edge-1-py3-none-any.whl").write_bytes(b"ours")
    return tmp_path


def checked(checkout: Path, *options: str) -> tuple[int, str, str]:
    """Status and words of `check-wheels` on the folder `wheels`."""
    done = subprocess.run(
        [checkout / "scripts" / "check-wheels", *options, checkout / "wheels"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return done.returncode, done.stdout, done.stderr


def test_wheels_that_are_named_pass(checkout: Path) -> None:
    """In silence; slng-edge's own is built here and not named."""
    assert checked(checkout) == (0, "", "")


@pytest.mark.parametrize("content", [b"good and something more", b""])
def test_a_wheel_that_was_changed_is_refused(checkout: Path, content: bytes) -> None:
    """By its name; nothing of it is run."""
    wheel = checkout / "wheels" / "a-1-py3-none-any.whl"
    wheel.write_bytes(content)
    status, out, err = checked(checkout)
    assert (status, out) == (1, "")
    assert err == f"check-wheels: {wheel} is none of those that scripts/constraints.txt names\n"
    assert checked(checkout, "--list") == (0, f"{wheel}\n", "")


def test_a_folder_without_wheels_is_no_success(checkout: Path) -> None:
    """It was the wrong one."""
    for wheel in (checkout / "wheels").iterdir():
        wheel.unlink()
    assert checked(checkout)[0] == 1
