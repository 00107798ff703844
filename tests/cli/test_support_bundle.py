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
from conversation_scripts import wait_until

from slng_edge.cli import add_global_options, program_output, support_bundle, support_secrets
from slng_edge.cli.program_output import output_of
from slng_edge.cli.support_secrets import without_secrets
from slng_edge.errors import SlngEdgeError

LOG = f"""\
INFO slng_edge.gateway: connected with {KEY}
WARNING [reply] slng_edge.responders.reply_lines: bot: heard "grandma's birthday"
{{"logger": "slng_edge.responders.reply_lines", "message": "bot: \\"aunt\\"", "level": "x"}}
{{"level": "warning", "logger": "slng_edge.responders.reply_lines", "message": "bot: uncle \\"}}"}}
WARNING [loop] slng_edge.conversation: bot ended with status 3: cannot call "cousin"
{{"logger": "slng_edge.x", "message": "bot was ended by signal 9 (Killed): nephew \\"n\\""}}
DEBUG [conversation] slng_edge.conversation: final: my bank account is 4711
{{"logger": "slng_edge.conversation", "message": "final: call \\"mum\\" now", "level": "debug"}}
INFO slng_edge.gateway: session sess-01abcdef9 is ready, Authorization: Bearer abcdefghijklmnop
WARNING slng_edge.service: mqtt://ann:broker-pass@10.0.0.1/x
"""

SAID = ("4711", "mum", "grandma", "aunt", "uncle", "cousin", "nephew")

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
    for secret in (KEY, "broker-pass", "abcdefghijklmnop", *SAID):
        assert secret.encode() not in everything
    assert b"ann:***@10.0.0.1" in everything


def test_what_a_responder_complained_of_is_counted(bundle: Bundles) -> None:
    """Who helps sees when it did; its words may be those that people said to it."""
    lines = bundle()["log.txt"].decode().splitlines()
    assert "WARNING [reply] slng_edge.responders.reply_lines: ***" in lines
    assert 'WARNING [loop] slng_edge.conversation: bot ended with status 3: ***"' in lines
    assert {line[:4] for line in lines if "uncle" in line or '"logger"' in line} == {'{"lo', '{"le'}
    assert json.loads(next(line for line in lines if "(Killed)" in line))["message"].endswith("***")
    assert lines[-1].startswith("(3 x *** for what the responder wrote")


@pytest.fixture
def of_unit(bundle: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundles:
    """A bundle of slng-edge@hall, whose credentials and environment are files of its own."""
    unit = "/org/freedesktop/systemd1/unit/slng_2dedge_40hall_2eservice"
    secrets = {
        "hall.api-key": "hidden-hall-key",
        "mqtt-password": "hidden broker password",
        "responder-key": "hidden-responder-key",
        "page-token": "hidden-token-of-the-page",
        "proxy": "HTTPS_PROXY=http://ann:hidden-proxy@p\nBOT_TOKEN='hidden-of-bot'",
    }
    etc = tmp_path / "etc"
    etc.mkdir()
    for name, text in secrets.items():
        (etc / name).write_text(f"{text}\n")
        (etc / name).chmod(0o600)
    # A service would refuse it; the bundle has to know it all the same.
    (etc / "responder-key").chmod(0o644)
    credentials = [
        ["slng-api-key", f"{etc}/hall.api-key"],
        ["mqtt-password", f"{etc}/mqtt-password"],
    ]
    credentials += [["responder-key", f"{etc}/responder-key"], ["passed-on", "name-of-another"]]
    answers = {
        f"{unit} org.freedesktop.systemd1.Service LoadCredential": credentials,
        f"{unit} org.freedesktop.systemd1.Service EnvironmentFiles": [
            [f"{etc}/missing", False],
            [f"{etc}/proxy", False],
        ],
    }
    script = "".join(
        f"    *'{asked}') echo '{json.dumps({'data': data})}';;\n"
        for asked, data in answers.items()
    )
    busctl = tmp_path / "bin" / "busctl"
    busctl.write_text(f'#!/bin/sh\ncase "$*" in\n{script}    *) exit 1;;\nesac\n')
    busctl.chmod(0o755)
    said = "hidden-hall-key hidden broker password hidden-responder-key hidden-token-of-the-page"
    (tmp_path / "journal").write_text(
        f"INFO x: {said}\nINFO x: hidden-proxy and hidden-of-bot of a library\n"
    )
    monkeypatch.setattr(support_secrets, "SETTINGS_FOLDER", tmp_path / "no-settings")
    return bundle


@pytest.mark.parametrize("unit", ["slng-edge@hall", "slng-edge@hall.service"])
def test_all_that_a_unit_gives_its_service_is_known(
    of_unit: Bundles, tmp_path: Path, unit: str
) -> None:
    """Each of its credentials, passwords of its environment's files, and the page's token."""
    token = ("-s", f"status_page.token_file={tmp_path}/etc/page-token")
    files = of_unit("--unit", unit, *token)
    assert files["log.txt"].splitlines() == [
        b"INFO x: *** *** *** ***",
        b"INFO x: *** and *** of a library",
    ]
    assert b"hidden" not in b"".join(files.values())


def test_secrets_of_the_settings_folder_are_known_without_a_configuration(
    of_unit: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is broken and systemd does not answer, nothing else names them."""
    monkeypatch.setattr(support_secrets, "SETTINGS_FOLDER", tmp_path / "etc")
    (tmp_path / "broken.toml").write_text("[audio]\nvolumee = 3\n")
    files = of_unit("--config", "broken.toml", "--unit", "another")
    assert files["log.txt"].startswith(b"INFO x: *** *** *** ***\n")


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
        'command = ["curl", "-u", "ann:hidden 1234", "https://bot.example"]',
        "curl -su ann:hidden,1234 https://bot.example",
        "curl -uann:hidden-1234",
        "curl --user ann:hidden-1234 https://bot.example",
        "curl --proxy-user='ann:hidden 1234'",
        '{"what": "curl --user \\"ann:hidden 1234\\" x"}',
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
        "journalctl -u slng-edge -n 50; then: sudo systemctl restart slng-edge",
        "systemctl --user restart pipewire: done",
        "curl -A slng-edge:1 --user-agent ann:b",
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

    def has_ended() -> bool:
        try:
            return stat_file.read_text().split()[2] in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return True

    # It was killed; whose child it is now may not have looked yet.
    assert wait_until(has_ended, 5)


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
