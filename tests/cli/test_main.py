"""The frame of the command line: options, help, errors and their exit statuses."""

import argparse
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from slng_edge import __version__
from slng_edge.cli import COMMANDS, config_of, main
from slng_edge.errors import AuthenticationRejected, ConfigError, UsageError
from slng_edge.secrets import register_secret

Run = Callable[[argparse.Namespace], int]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Puts a command of the test's own in the place of `bench`."""

    def place(run: Run) -> None:
        module = types.ModuleType("slng_edge.cli.bench")
        module.configure = lambda parser: parser.add_argument("words", nargs="*")  # type: ignore[attr-defined]
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "slng_edge.cli.bench", module)

    monkeypatch.setenv("SLNG_EDGE_CONFIG", "/dev/null")
    return place


def raising(error: BaseException) -> Run:
    """A command that fails with `error`."""

    def run(args: argparse.Namespace) -> int:
        raise error

    return run


def process(*argv: str, **more: object) -> subprocess.CompletedProcess[str]:
    """`slng-edge ARGV` in a process of its own."""
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "slng_edge", *argv],
        **{"capture_output": True, "text": True, "timeout": 30, **more},
    )


def test_the_version_needs_no_other_module() -> None:
    """--version and --help answer without the configuration and without any command's module."""
    script = (
        "import sys; from slng_edge.cli import main;"
        "[main([option]) for option in ('--version', '--help')];"
        "print(sorted(name for name in sys.modules if name.startswith('slng_edge.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    lines = done.stdout.splitlines()
    assert lines[0] == f"slng-edge {__version__}"
    assert lines[-1] == "['slng_edge.cli', 'slng_edge.cli.exit_status', 'slng_edge.errors']"


def test_help_lists_every_command_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """What there is, and one line to try."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f"  {command.name} " in out
    assert "example:" in out


def test_the_help_of_a_command_has_an_example(
    bench: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """And the options that every command takes."""
    bench(raising(AssertionError()))
    assert main(["bench", "--help"]) == 0
    out = capsys.readouterr().out
    assert "example:\n  slng-edge bench --json" in out
    assert "--log-format" in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "the following arguments are required: COMMAND\n"),
        (["sst"], "there is no command 'sst'; did you mean stt?"),
        (["qqqq"], "there is no command 'qqqq'; see slng-edge --help"),
        (["--nonsense", "config"], "unrecognized arguments: --nonsense"),
        (["--log-level", "loud", "config", "show"], "invalid choice: 'loud'"),
        (["-s", "sk-key", "config", "show"], "argument -s/--set: write section.key=value"),
        (["config", "show", "--set", "a=b"], "argument -s/--set: write section.key=value"),
        (["config"], "required: action"),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is wrong on stderr, and what -s was given not repeated."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "sk-key" not in err
    assert out == ""


@pytest.mark.parametrize(
    "argv",
    [
        ["-s", "tts.voice=a", "--set", "vad.stop_ms=700", "--log-format", "json", "bench"],
        ["bench", "-s", "tts.voice=a", "-s", "vad.stop_ms=700", "--log-format", "json"],
        ["-stts.voice=b", "-svad.stop_ms=700", "bench", "-stts.voice=a", "--log-format=json"],
        ["--log-format", "json", "bench", "-stts.voice=a", "--set", "vad.stop_ms=700", "word"],
    ],
)
def test_global_options_are_taken_before_and_after_the_command(
    bench: Callable[[Run], None], argv: list[str]
) -> None:
    """-s adds up over both places, the later one winning."""
    seen: list[argparse.Namespace] = []
    bench(lambda args: seen.append(args) or 0)  # type: ignore[func-returns-value]
    assert main(argv) == 0
    config = config_of(seen[0])
    assert (config.tts.voice, config.vad.stop_ms) == ("a", 700)
    assert (seen[0].log_format, seen[0].log_level) == ("json", "warning")


def test_a_config_file_is_taken_after_the_command(
    bench: Callable[[Run], None], tmp_path: Path
) -> None:
    """--config names the file; a command's own settings win over -s."""
    file = tmp_path / "c.toml"
    file.write_text('[tts]\nvoice = "v"\nspeed = 2\n')
    seen: list[argparse.Namespace] = []
    bench(lambda args: seen.append(args) or 0)  # type: ignore[func-returns-value]
    assert main(["bench", "-s", "tts.speed=3", "--config", str(file)]) == 0
    assert config_of(seen[0]).tts.speed == 3
    config = config_of(seen[0], ["tts.speed=4"])
    assert (config.tts.voice, config.tts.speed) == ("v", 4)


def test_what_looks_like_an_option_comes_through_after_two_dashes(
    bench: Callable[[Run], None],
) -> None:
    """A text to speak may begin with a dash."""
    seen: list[list[str]] = []
    bench(lambda args: seen.append(args.words) or 0)  # type: ignore[func-returns-value]
    assert main(["bench", "--", "-5 degrees"]) == 0
    assert seen == [["-5 degrees"]]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (AuthenticationRejected("refused"), 77, "slng-edge: refused\n"),
        (AuthenticationRejected(), 77, "slng-edge: AuthenticationRejected\n"),
        (ConfigError("one", "two"), 78, "slng-edge: one\nslng-edge: two\n"),
        (UsageError("no"), 2, "slng-edge: no\nslng-edge: see slng-edge bench --help\n"),
        (AuthenticationRejected("s3cret-key \x1b[1m"), 77, "slng-edge: *** \\x1b[1m\n"),
        (OSError(28, "No space left", "/x"), 1, "slng-edge: [Errno 28] No space left: '/x'\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(), 0, ""),
        (SystemExit(3), 3, ""),
    ],
)
def test_an_error_is_one_clear_message_and_an_exit_status(
    bench: Callable[[Run], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    """No traceback, no key, nothing that steers a terminal."""
    register_secret("s3cret-key")
    bench(raising(error))
    assert main(["bench"]) == status
    assert capsys.readouterr() == ("", said)


def test_the_traceback_of_an_error_is_shown_at_debug(
    bench: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the message, so that the message is what is seen last."""
    bench(raising(ConfigError("one")))
    assert main(["bench", "--log-level", "debug"]) == 78
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("slng-edge: one\n")


def test_an_unexpected_error_is_called_a_bug(
    bench: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """With its traceback, as nobody can be expected to reproduce it, but without a key."""
    register_secret("s3cret-key")
    bench(raising(KeyError("s3cret-key")))
    assert main(["bench"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("slng-edge: this is a bug: KeyError: '***'\n")
    assert "s3cret-key" not in err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_cause_for_noise(unbuffered: str) -> None:
    """`slng-edge config show | head -1`."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = process(
            "config",
            "show",
            capture_output=False,
            stdout=write,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_told(unbuffered: str) -> None:
    """A full disk is not success."""
    with open("/dev/full", "w") as full:
        done = process(
            "config",
            "show",
            capture_output=False,
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert done.stderr == ("slng-edge: cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize("stream", ["2>/dev/full", "2>&-"])
@pytest.mark.parametrize(
    ("argv", "status"),
    [("--nonsense config", 2), ("ctl nonsense", 2), ("-s vad.stop_ms=0 run", 78)],
)
def test_a_complaint_that_cannot_be_written_changes_no_status(
    argv: str, status: int, stream: str
) -> None:
    """On a full disk, or with standard error closed; nor does it go to standard output."""
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"}
    command = f"exec {sys.executable} -m slng_edge {argv} {stream}"
    done = subprocess.run(["sh", "-c", command], timeout=30, stdout=-1, env=environment)
    assert (done.returncode, done.stdout) == (status, b"")


def test_without_standard_streams_it_still_ends_with_its_status() -> None:
    """A process may be started with stdout and stderr closed."""
    command = f"exec {sys.executable} -m slng_edge -s vad.stop_ms=0 config show >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], timeout=30).returncode == 78


def test_what_the_locale_cannot_write_is_written_as_an_escape(tmp_path: Path) -> None:
    """A German name on a device whose locale is ASCII."""
    (tmp_path / "c.toml").write_text('[tts]\nvoice = "Jürgen"\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "slng_edge", "--config", str(tmp_path / "c.toml"), "config", "show"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert b"J\\xfcrgen" in done.stdout
