"""slng-edge as a device has it: where every user may run it, wherever the checkout lies."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from command_line import may_be_read_by_all

import slng_edge


@pytest.fixture(scope="module")
def public_python() -> Iterator[Path]:
    """A Python in a folder of its own, with slng-edge and what that needs; all may run it.

    A checkout in /root, or under a umask of 077, is closed to the user that a test becomes.
    """
    interpreter = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    above = Path(tempfile.gettempdir())
    for needed in (interpreter, above):
        if not may_be_read_by_all(needed):
            pytest.skip(f"only root may read {needed}")
    folder = Path(tempfile.mkdtemp(prefix="slng-edge-public-", dir=above))
    try:
        yield _environment_in(folder, interpreter)
    finally:
        shutil.rmtree(folder)


def _environment_in(folder: Path, interpreter: Path) -> Path:
    """As `python -m venv` makes one, without pip: that takes 3 s."""
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(interpreter)
    # PyAudio may be Debian's.
    (folder / "pyvenv.cfg").write_text(
        f"home = {interpreter.parent}\ninclude-system-site-packages = true\n"
    )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    program = Path(slng_edge.__file__).parent
    shutil.copytree(program, packages / "slng_edge", ignore=shutil.ignore_patterns("__pycache__"))
    for found in _needed_by("slng-edge", {}).values():
        _copy(found, packages)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    return python


def _needed_by(name: str, known: dict[str, Distribution]) -> dict[str, Distribution]:
    """The packages that `name` needs, without its extras, that are there for us alone."""
    for line in distribution(name).requires or ():
        need = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        if "extra ==" in line or need in known:
            continue
        try:
            known[need] = distribution(need)
        except PackageNotFoundError:  # for another Python or machine, by its marker
            continue
        _needed_by(need, known)
    return known


def _copy(found: Distribution, packages: Path) -> None:
    for file in found.files or ():
        # Programs lie beside the packages, and are not imported.
        if ".." in file.parts or "__pycache__" in file.parts or "tests" in file.parts:
            continue
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(os.fspath(found.locate_file(file)), target)
