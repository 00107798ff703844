"""What scripts/deb says, and what it looks at; scripts/test-deb does the rest."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PARTS = SCRIPTS / "debian"
MAINTAINER_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None or shutil.which("readelf") is None,
    reason="dpkg and binutils are needed to make Debian packages",
)


def ended(*argv: str | Path) -> tuple[int, str]:
    """Exit status and everything that was said."""
    done = subprocess.run(
        [str(each) for each in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def examine() -> ModuleType:
    """The program scripts/debian/examine, as a module."""
    pytest.importorskip("pip", reason="pip brings the library `packaging` along")
    loader = SourceFileLoader("examine", str(PARTS / "examine"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    sys_flag, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = sys_flag
    return module


def wheel(folder: Path, name: str, *metadata: str) -> Path:
    """A wheel of an empty library, as far as `examine` reads it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *metadata]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{about}/METADATA", "\n".join(lines) + "\n")
    return path


def machine_of(path: Path) -> str:
    """As `uname -m` names it."""
    header = path.read_bytes()[18:20]
    return {b"\x3e\x00": "x86_64", b"\xb7\x00": "aarch64"}.get(header, "another")


def program(name: str) -> Path:
    """A small program, which stands for a library of the same machine."""
    found = shutil.which(name)
    assert found is not None
    return Path(found).resolve()


def test_help_shows_usage_and_an_example() -> None:
    """Without root, without a network, with status 0."""
    status, said = ended(SCRIPTS / "deb", "--help")
    assert status == 0
    assert said.startswith("usage: ")
    assert "example:" in said


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        ((), 2, "name the folder"),
        (("--frobnicate",), 2, "no option --frobnicate"),
        (("x", "y"), 2, "one folder, and not y"),
        (("x", "--suite"), 2, "--suite needs a value"),
        (("x", "--suite", "buster"), 2, "for bookworm and trixie, and not for buster"),
        (("x", "--arch", "armhf"), 2, "for amd64 and arm64, and not for armhf"),
        (("x", "--extras", "$(reboot)"), 2, "--extras takes names"),
        (("x", "--wheels", "/nowhere"), 66, "/nowhere: there is no such folder"),
    ],
)
def test_wrong_arguments_are_said(argv: tuple[str, ...], status: int, words: str) -> None:
    """Each with the status of its kind, before anything is done."""
    found, said = ended(SCRIPTS / "deb", *argv)
    assert words in said
    assert found == status


def test_a_folder_without_slng_edge_is_told(tmp_path: Path) -> None:
    """It does not come from the checkout: what is packed is what scripts/wheelhouse built."""
    status, said = ended(SCRIPTS / "deb", tmp_path / "out", "--arch", "amd64", "--wheels", tmp_path)
    assert status == 1
    assert "scripts/wheelhouse puts it there" in said


def test_requirements_leave_out_what_debian_has(tmp_path: Path, examine: ModuleType) -> None:
    """PyAudio always, lgpio where no wheel of it is there, and extras that were not asked for."""
    own = wheel(
        tmp_path,
        "slng_edge",
        "Requires-Dist: PyAudio>=0.2",
        "Requires-Dist: soxr>=0.3",
        "Provides-Extra: gpio",
        "Provides-Extra: aec",
        'Requires-Dist: lgpio<0.3; extra == "gpio"',
        'Requires-Dist: gpiozero<3; extra == "gpio"',
        'Requires-Dist: livekit<2; extra == "aec"',
    )
    assert examine.requirements(str(own), "gpio") == ["soxr>=0.3", "gpiozero<3"]
    wheel(tmp_path, "lgpio")
    assert examine.requirements(str(own), "gpio") == ["soxr>=0.3", "lgpio<0.3", "gpiozero<3"]
    assert examine.requirements(str(own), "") == ["soxr>=0.3"]


def test_an_unknown_extra_is_told_with_those_there_are(tmp_path: Path, examine: ModuleType) -> None:
    """Before anything is unpacked."""
    own = wheel(tmp_path, "slng_edge", "Provides-Extra: wake")
    with pytest.raises(SystemExit, match="there is no extra 'wak'; there are: wake"):
        examine.requirements(str(own), "wak")


def test_shared_libraries_become_debian_packages(tmp_path: Path, examine: ModuleType) -> None:
    """With the oldest C library that has every version they name."""
    shutil.copy(program("true"), tmp_path / "library.so")
    packages, problems = examine.libraries(str(tmp_path), machine_of(program("true")))
    assert problems == []
    assert re.fullmatch(r"libc6 \(>= 2\.\d+\)", ", ".join(packages))


def test_a_library_of_no_known_package_is_told(tmp_path: Path, examine: ModuleType) -> None:
    """Or the service would not start, on the device."""
    shutil.copy(program("ls"), tmp_path / "library.so")
    _, problems = examine.libraries(str(tmp_path), machine_of(program("ls")))
    assert [problem for problem in problems if "libselinux.so.1" in problem]


def test_a_library_for_another_machine_is_told(tmp_path: Path, examine: ModuleType) -> None:
    """Wheels are picked by their names; this looks into them."""
    shutil.copy(program("true"), tmp_path / "library.so")
    other = "aarch64" if machine_of(program("true")) == "x86_64" else "x86_64"
    _, problems = examine.libraries(str(tmp_path), other)
    assert f"and not for {other}" in problems[0]


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ("Requires-Dist: missing>=2", ["asker needs missing>=2, which is not there"]),
        ("Requires-Dist: asker>=2", ["asker needs asker>=2, and 1.0 is there"]),
        (
            'Requires-Dist: old; python_version < "3.12"',
            ['asker needs old; python_version < "3.12", which is not there'],
        ),
        ('Requires-Dist: new; python_version >= "3.12"', []),
        ('Requires-Dist: arm; platform_machine == "aarch64"', []),
        ('Requires-Dist: more; extra == "more"', []),
        ("Requires-Dist: PyAudio", []),
        ("Requires-Python: >=3.12", ["asker is for Python >=3.12, and not for 3.11"]),
    ],
)
def test_requirements_are_weighed_for_the_device(
    tmp_path: Path, examine: ModuleType, line: str, problems: list[str]
) -> None:
    """With its Python and processor, and not with those of the machine that packs."""
    with zipfile.ZipFile(wheel(tmp_path, "asker", line)) as unpacked:
        unpacked.extractall(tmp_path)
    assert examine.lacking(str(tmp_path), "3.11", "x86_64") == problems


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_maintainer_scripts_are_clean() -> None:
    """shellcheck finds nothing in what dpkg will run as root."""
    status, said = ended("shellcheck", *(PARTS / name for name in MAINTAINER_SCRIPTS))
    assert said == ""
    assert status == 0


@pytest.mark.parametrize("script", ["preinst", "postinst", "postrm"])
def test_maintainer_scripts_ignore_what_is_not_theirs(script: str) -> None:
    """dpkg calls them for many things, such as abort-install, which change nothing here."""
    assert ended("/bin/sh", PARTS / script, "abort-install") == (0, "")


def test_nothing_is_a_conffile() -> None:
    """dpkg asks about a changed conffile, and stops half-way where nobody is there to answer."""
    assert sorted(path.name for path in PARTS.iterdir()) == sorted(
        ["control", "examine", *MAINTAINER_SCRIPTS]
    )
    assert "conffiles" not in (SCRIPTS / "deb").read_text()


@pytest.mark.skipif(Path("/usr/lib/slng-edge").exists(), reason="slng-edge is installed here")
def test_a_removal_goes_on_where_the_program_is_gone() -> None:
    """Somebody has removed its folder by hand: dpkg has to be able to remove the rest."""
    assert ended("sh", PARTS / "prerm", "upgrade") == (0, "")
