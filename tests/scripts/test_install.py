"""What the installing scripts say before they act; scripts/test-install does the rest."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import may_be_read_by_all

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
INSTALLERS = ("install", "upgrade", "uninstall", "install-remote", "wheelhouse")
SHELL = sorted(
    path.name
    for path in SCRIPTS.iterdir()
    if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh")
)
NOBODY = 65534
SETTINGS = configparser.ConfigParser()
SETTINGS.read(SCRIPTS.parent / "setup.cfg")
FOR_DEVELOPERS = {"test", "plots"}
EXTRAS = sorted(set(SETTINGS["options.extras_require"]) - FOR_DEVELOPERS)


def ended(script: str, *argv: str, nobody: bool = False) -> tuple[int, str]:
    """Exit status and everything that was said; as the user nobody where asked."""
    done = subprocess.run(
        [str(SCRIPTS / script), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        user=NOBODY if nobody and os.geteuid() == 0 else None,
    )
    return done.returncode, done.stdout


KNOWN = " ".join(name for name in SETTINGS["options.extras_require"] if name not in FOR_DEVELOPERS)


@pytest.mark.parametrize("script", INSTALLERS)
def test_help_shows_usage_and_an_example(script: str) -> None:
    """Without root, without a network, with status 0."""
    status, said = ended(script, "--help")
    assert status == 0
    assert said.startswith("usage: ")
    assert "example:" in said


@pytest.mark.parametrize("script", INSTALLERS)
def test_help_names_every_option(script: str) -> None:
    """Those that its command line is taken apart for."""
    source = (SCRIPTS / script).read_text()
    # The labels of `case`, those in a `case` about what an option needs as well.
    labels = re.findall(r"^ *((?:-[-a-z]+ *\|? *)+)\)", source, re.M)
    options = {name for label in labels for name in re.findall("--[a-z-]+", label)}
    assert "--help" in options
    _, said = ended(script, "--help")
    for option in options - {"--help"}:
        assert option in said


@pytest.mark.parametrize("script", ["install", "install-remote"])
def test_help_names_every_extra(script: str) -> None:
    """Those of setup.cfg that are for devices."""
    _, said = ended(script, "--help")
    (named,) = re.findall(r"--extras NAMES(.*?)--offline", said, re.S)
    assert set(EXTRAS) <= set(re.findall("[a-z-]+", named))


@pytest.mark.parametrize("script", INSTALLERS)
def test_an_unknown_option_is_named(script: str) -> None:
    """Usage errors have status 2 and change nothing."""
    status, said = ended(script, "--frobnicate")
    assert status == 2
    assert "--frobnicate" in said


@pytest.mark.parametrize(
    ("script", "argv", "status", "words"),
    [
        ("install", ("--key-file",), 2, "--key-file needs a value"),
        ("install", ("--key-file", "/nowhere/key"), 66, "/nowhere/key: there is no such file"),
        ("install", ("--key-file", "/dev"), 66, "/dev: this is a folder, and not a file"),
        ("install", ("--config", ""), 2, "--config needs a value"),
        ("install", ("--config", "/dev"), 66, "/dev: this is a folder, and not a file"),
        ("install", ("--offline", "/dev"), 66, "/dev: slng-edge is not in it; scripts/wheelhouse"),
        ("install", ("--extras", "wake,wlak"), 2, f"no extra 'wlak'; there are: {KNOWN}"),
        ("install", ("--extras", "test"), 2, "there is no extra 'test'"),
        ("install", ("now",), 2, "there is no option now"),
        ("upgrade", ("--offline",), 2, "upgrade: --offline needs a value"),
        ("uninstall", ("--purge", "all"), 2, "there is no option all"),
        ("install-remote", ("--extras", "wlak", "kiosk"), 2, f"'wlak'; there are: {KNOWN}"),
        ("install-remote", ("--jobs", "4"), 2, "name a host"),
        ("install-remote", ("--jobs", "0", "kiosk"), 2, "--jobs takes a number"),
        ("install-remote", ("--logs",), 2, "--logs needs a value"),
        ("install-remote", ("kiosk", "kiosk"), 2, "this host is named twice: kiosk"),
        ("install-remote", ("",), 2, "this is no host"),
        ("install-remote", ("--logs", "/dev/null/x", "kiosk"), 1, "logs cannot be written there"),
        ("install-remote", ("--key-file", "/nowhere", "kiosk"), 66, "/nowhere: there is no such"),
        ("install-remote", ("--ssh-config", "/nowhere", "kiosk"), 66, "/nowhere: there is no such"),
        ("install", ("--config", "nowhere.toml"), 66, "nowhere.toml: there is no such file"),
        ("install", ("--offline", "/nowhere"), 66, "/nowhere: there is no such folder"),
        ("install", ("--extras", "wake; reboot"), 2, "--extras takes names"),
        ("upgrade", ("--extras", "../x"), 2, "--extras takes names"),
        ("install-remote", (), 2, "name a host"),
        ("install-remote", ("-oProxyCommand=x",), 2, "there is no option"),
        ("install-remote", ("kiosk", "-oProxyCommand=x"), 2, "options stand before the hosts"),
        ("install-remote", ("kiosk;reboot",), 2, "this is no host"),
        ("install-remote", ("--jobs", "many", "kiosk"), 2, "--jobs takes a number"),
        ("install-remote", ("--extras", "$(reboot)", "kiosk"), 2, "--extras takes names"),
        ("install-remote", ("--key-file", "-", "kiosk"), 2, "no key was given"),
        ("wheelhouse", (), 2, "name the folder"),
        ("wheelhouse", ("x", "--platform", "armv7l"), 2, "64-bit"),
        ("wheelhouse", ("x", "--platform", "riscv64"), 2, "not for riscv64"),
    ],
)
def test_wrong_arguments_are_said(
    script: str, argv: tuple[str, ...], status: int, words: str
) -> None:
    """Each with the status of its kind, before anything is done."""
    found, said = ended(script, *argv)
    assert words in said
    assert found == status


@pytest.mark.skipif(not may_be_read_by_all(SCRIPTS), reason="only root may read this checkout")
@pytest.mark.parametrize("script", ["install", "upgrade", "uninstall"])
def test_who_is_not_root_is_told_so(script: str) -> None:
    """With the command that would do."""
    status, said = ended(script, nobody=True)
    assert status == 1
    assert f"this needs root: sudo scripts/{script}" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets as far as that")
@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here")
def test_without_systemd_nothing_is_installed() -> None:
    """A machine that is none: said, and pointed to what can be done."""
    status, said = ended("install")
    assert status == 1
    assert "systemd does not run here" in said


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_every_shell_script_is_clean() -> None:
    """shellcheck finds nothing, in none of them."""
    checked = subprocess.run(
        ["shellcheck", *(str(SCRIPTS / name) for name in SHELL)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.stdout == ""


def test_an_empty_key_file_is_told_before_anything_is_built(tmp_path: Path) -> None:
    """Not after minutes of it."""
    key = tmp_path / "key"
    key.touch()
    status, said = ended("install", "--key-file", str(key))
    assert (status, said) == (2, f"install: --key-file {key}: the file is empty\n")


def test_what_lies_beside_it_is_needed(tmp_path: Path) -> None:
    """The script alone, copied somewhere, installs nothing."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPTS / "install", tmp_path / "scripts")
    status, said = ended(str(tmp_path / "scripts/install"))
    assert status == 66
    assert said == f"install: {tmp_path} is no checkout of slng-edge: setup.cfg is not there\n"


@pytest.mark.parametrize("script", ["install", "upgrade", "install-remote"])
@pytest.mark.parametrize("option", ["--key", "--api-key", "--key="])
def test_no_script_takes_the_key_as_an_argument(script: str, option: str) -> None:
    """What stands in a command line can be read by every user; what was tried is not repeated."""
    key = "sk-in-a-command-line"
    argv = (option + key,) if option.endswith("=") else (option, key)
    status, said = ended(script, *argv)
    assert status == 2
    assert said == f"{script}: there is no option {option.rstrip('=')}; see --help\n"
