"""`slng-edge support-bundle`: complete, private, and without a secret in it."""

from __future__ import annotations

import argparse
import json
import os
import stat
import tarfile
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import KEY

from slng_edge.cli import add_global_options, program_output, support_bundle
from slng_edge.cli.program_output import output_of
from slng_edge.cli.support_parts import without_secrets
from slng_edge.errors import SlngEdgeError

LOG = f"""\
INFO slng_edge.gateway: connected with {KEY}
DEBUG [conversation] slng_edge.conversation: final: my bank account is 4711
{{"logger": "slng_edge.conversation", "message": "final: call \\"mum\\" now", "level": "debug"}}
INFO slng_edge.gateway: session sess-01abcdef9 is ready, Authorization: Bearer abcdefghijklmnop
WARNING slng_edge.service: mqtt://ann:broker-pass@10.0.0.1/x
"""

Bundles = Callable[..., dict[str, bytes]]


@pytest.fixture
def bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Bundles:
    """Makes one, with a journal of its own; gives its files by their names."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "journal").write_text(LOG)
    for name, script in (
        ("journalctl", f'case "$*" in *dmesg*) exit 1;; esac; cat {tmp_path}/journal'),
        ("systemctl", "echo not found >&2; exit 4"),
        ("timedatectl", "[ ! -e hangs ] || sleep 60"),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("SLNG_API_KEY", KEY)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def make(*argv: str) -> dict[str, bytes]:
        parser = argparse.ArgumentParser()
        support_bundle.configure(parser)
        add_global_options(parser)
        assert support_bundle.run(parser.parse_args(["--no-doctor", *argv])) == 0
        path = Path(capsys.readouterr().out.strip())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with tarfile.open(path) as opened:
            assert len({entry.name.split("/")[0] for entry in opened}) == 1
            return {
                entry.name.partition("/")[2]: opened.extractfile(entry).read()  # type: ignore[union-attr]
                for entry in opened
            }

    return make


def test_what_helps_is_in_it(bundle: Bundles) -> None:
    """Version, configuration, log, sessions, system; what hangs or is missing is said."""
    files = bundle("-s", "mqtt.url=mqtt://ann:broker-pass@10.0.0.1/x")
    assert json.loads(files["about.json"])["slng-edge"]
    assert b'world_part = "us-east"' in files["config.toml"]
    assert b"session sess-01abcdef9 is ready" in files["log.txt"]
    assert files["sessions.txt"] == b"sess-01abcdef9\n"
    assert b"numpy" in files["packages.txt"]
    assert b"/proc/meminfo" in files["system.txt"]
    assert b"not found" in files["unit.txt"]
    assert b"problem" in files["status.json"]
    assert b"read it before you send it on" in files["README.txt"]


def test_a_program_that_hangs_keeps_nothing_out(
    bundle: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is, and that it took too long, is in it."""
    monkeypatch.setattr("slng_edge.cli.support_parts.PROGRAM_TIMEOUT_S", 0.5)
    (tmp_path / "hangs").touch()
    files = bundle()
    assert b"no end within" in files["time.txt"]
    assert "packages.txt" in files


def test_no_secret_and_no_word_is_in_it(bundle: Bundles) -> None:
    """Wherever it may have stood."""
    everything = b"\n".join(bundle("-s", "mqtt.url=mqtt://ann:broker-pass@10.0.0.1/x").values())
    for secret in (KEY, "broker-pass", "abcdefghijklmnop", "4711", "mum"):
        assert secret.encode() not in everything
    assert b"ann:***@10.0.0.1" in everything


def test_a_broken_configuration_is_in_it_as_such(bundle: Bundles, tmp_path: Path) -> None:
    """That is when a bundle is wanted."""
    (tmp_path / "broken.toml").write_text("[audio]\nvolumee = 3\n")
    files = bundle("--config", "broken.toml")
    assert b"did you mean" in files["config-problems.txt"]
    assert "config.toml" not in files


@pytest.mark.parametrize("asked", [False, True])
def test_recordings_are_in_it_only_where_asked_for(
    bundle: Bundles, tmp_path: Path, asked: bool
) -> None:
    """And then the README says so."""
    with wave.open(str(tmp_path / "000001-x.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(b"\0\0")
    options = ["-s", f"debug.record_dir={tmp_path}"] + ["--with-recordings"] * asked
    files = bundle(*options)
    assert ("recordings/000001-x.wav" in files) == asked
    assert (b"recordings of people" in files["README.txt"]) == asked


@pytest.mark.parametrize(
    ("file", "why"),
    [("there", "exists and is left as it is"), ("/nowhere/x.tar.gz", "cannot write /nowhere")],
)
def test_a_file_that_cannot_be_made(bundle: Bundles, tmp_path: Path, file: str, why: str) -> None:
    """Nothing is overwritten."""
    (tmp_path / "there").write_text("mine")
    with pytest.raises(SlngEdgeError, match=why):
        bundle(file)
    assert (tmp_path / "there").read_text() == "mine"


def test_a_bundle_that_fails_leaves_nothing(
    bundle: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, for one."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(support_bundle, "_add", fail)
    with pytest.raises(SlngEdgeError, match="No space left"):
        bundle("out.tar.gz")
    assert not (tmp_path / "out.tar.gz").exists()


def test_what_was_said_is_taken_out_of_lines() -> None:
    """Of both formats of the log; the rest of the line stays."""
    text = without_secrets(LOG)
    assert "slng_edge.conversation: final: ***\n" in text
    assert '"message": "final: ***", "level": "debug"}' in text


@pytest.mark.parametrize(
    "line",
    [
        'command = ["bot", "--api-key", "hidden-1234"]',
        'command = ["bot", "--token=hidden-1234"]',
        "options = { api_key = 'hidden-1234' }",
        "GET https://bot.example/v1?model=x&key=hidden-1234&n=1",
        "Authorization: Basic hidden-1234",
        "OPENAI_API_KEY=hidden-1234 bot",
        '{"password": "hidden-1234"}',
    ],
)
def test_what_stands_where_a_secret_stands_is_masked(line: str) -> None:
    """Also where nobody has read it as one: arguments of a responder, headers, addresses."""
    assert "hidden" not in without_secrets(line)
    assert "***" in without_secrets(line)


@pytest.mark.parametrize(
    "line",
    [
        'api_key_file = "/etc/slng-edge/api-key"',
        'token_file = "/etc/slng-edge/page-token"',
        "the key was refused: check the key",
        "--config /etc/slng-edge/config.toml",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    """Who helps has to see where the key should be."""
    assert without_secrets(line) == line


def test_a_program_that_says_too_much_is_cut_at_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The newest of a log is what matters; whole lines alone."""
    monkeypatch.setattr(program_output, "OUTPUT_LIMIT_BYTES", 10_000)
    text = output_of("seq", "100000", timeout_s=10, environ=os.environ)
    first, second, *_ = text.splitlines()
    assert first.endswith("bytes before this are left out)")
    assert int(second) > 90_000
    assert text.endswith("\n99999\n100000\n")


def test_a_program_that_hangs_ends_with_its_children(tmp_path: Path) -> None:
    """What it had said is kept."""
    script = f"echo begun; sleep 60 & echo $! >{tmp_path}/child; wait"
    text = output_of("sh", "-c", script, timeout_s=0.3, environ=os.environ)
    assert text.startswith("begun\n")
    assert text.endswith("no end within 0.3 s\n")
    stat_file = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    assert not stat_file.exists() or stat_file.read_text().split()[2] == "Z"


@pytest.mark.parametrize("lines", ["0", "-3", "x", "1000000"])
def test_a_number_of_lines_that_cannot_be_is_refused(
    lines: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As any argument that is wrong."""
    parser = argparse.ArgumentParser()
    support_bundle.configure(parser)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--lines={lines}"])
    assert f"a number from 1 to 100000, and not '{lines}'" in capsys.readouterr().err


def test_who_is_not_root_is_told_what_is_missing(
    bundle: Bundles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, and in the bundle for who reads it."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert b"sudo slng-edge support-bundle" in bundle()["README.txt"]
