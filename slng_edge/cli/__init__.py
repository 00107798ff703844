"""The command line: one table of commands, one file each, one way to fail.

A command's module is imported when that command is asked for, and not before: `--help` and
`--version` have to answer at once on a small device. Each module has
``configure(parser) -> None`` and ``run(args) -> int``.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TextIO

from slng_edge import __version__
from slng_edge.cli.exit_status import INTERRUPTED, ExitStatus, exit_status_for
from slng_edge.errors import SlngEdgeError, UsageError

if TYPE_CHECKING:
    from slng_edge.config import Config
    from slng_edge.config_loading import LoadedConfig

PROGRAM = "slng-edge"

# numpy's BLAS starts a thread for every core, which nothing here uses.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


_NO_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
"""Of what is written; files are named in the error, standard output is not."""


class Parser(argparse.ArgumentParser):
    """One whose complaint ends with 2 also where it cannot be written."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and how it is to be."""
        tell(f"{self.format_usage()}{self.prog}: error: {message}")
        raise SystemExit(ExitStatus.USAGE)


class Command(NamedTuple):
    """A command: `slng_edge.cli.NAME` carries it out; `log_level` where none is asked for."""

    name: str
    help: str
    example: str
    log_level: str = "warning"


COMMANDS = (
    Command("run", "the voice loop, what systemd starts", "run --events -", "info"),
    Command(
        "stt", "transcribe a file, stdin or the microphone", "stt --format srt talk.wav > talk.srt"
    ),
    # What fails there ends the command with the same words.
    Command("tts", "speak a text, or lines from stdin", 'tts "Hello." --out hello.wav', "error"),
    Command("devices", "sound devices, by the names the configuration takes", "devices --json"),
    Command(
        "meter",
        "level, noise floor and voice of the microphone, live",
        "meter --seconds 30",
        "error",
    ),
    Command(
        "doctor",
        "looks at everything a voice loop needs, and says what to do",
        "doctor\n  sudo slng-edge doctor --as-service",
        "error",
    ),
    Command(
        "ctl",
        "talk to the running service",
        'ctl status\n  slng-edge ctl say "Dinner is ready." --now\n  slng-edge ctl volume 80\n'
        "  slng-edge ctl events",
    ),
    Command(
        "support-bundle",
        "one file with all that somebody needs who helps from afar",
        "support-bundle\n  sudo slng-edge support-bundle --with-recordings",
    ),
    Command("gateway", "a local gateway to try things on", "gateway --listen 127.0.0.1:0", "info"),
    Command("demo", "the whole loop, without a key and without a sound card", "demo", "error"),
    Command("bench", "latencies and load on this machine", "bench --json"),
    Command("key", "replace the key, without showing it", "key set\n  slng-edge key set <key.txt"),
    Command(
        "config",
        "show, check or begin a configuration",
        "config show\n  slng-edge -s stt.model=slng/deepgram/nova:3-multi config check\n"
        "  slng-edge config init ~/.config/slng-edge/config.toml",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (without the program's name); the process's exit status."""
    _fill_standard_descriptors()
    _show_what_can_be_shown()
    try:
        status = _main(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # What is left of the output cannot be written: nobody reads it, or the disk is full.
        if not _reader_is_gone():
            _complain(f"cannot write to standard output: {error.strerror}")
        _forget_output(sys.stdout)
        return ExitStatus.FAILED
    return status


def config_of(args: argparse.Namespace, more: Sequence[str] = ()) -> Config:
    """The configuration that `args` ask for; `more` "section.key=value" win over its `-s`.

    Raises:
        ConfigError: As `load_config`.
    """
    return loaded_config_of(args, more).config


def loaded_config_of(args: argparse.Namespace, more: Sequence[str] = ()) -> LoadedConfig:
    """As `config_of`, with where each value came from.

    Raises:
        ConfigError: As `load_config`.
    """
    from slng_edge.config_loading import load

    return load(args.config_file, [*args.overrides, *more])


def tell(text: str) -> None:
    """Print `text` on standard error; one that is full or closed is no reason to fail."""
    _write(f"{text}\n")


def add_global_options(parser: argparse.ArgumentParser) -> None:
    """The options that are taken before a command and after it."""
    group = parser.add_argument_group("options of every command")
    group.add_argument(
        "--config", dest="config_file", metavar="FILE", help="read this file and no other"
    )
    group.add_argument(
        *("-s", "--set"),
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        type=_override,
        action="append",
        default=[],
        help="override a value of the configuration; may be repeated",
    )
    group.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="what is logged"
    )
    group.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="how it is logged, to stderr"
    )


def _main(argv: Sequence[str]) -> int:
    args = argparse.Namespace(log_level=None, usage_hint=f"{PROGRAM} --help")
    try:
        args = _parsed(argv, args)
        _set_up_logging(args)
        from slng_edge.cli.private_process import private_process

        with private_process():
            return int(args.run(args))
    except SystemExit as stop:  # argparse has said what there is to say
        return ExitStatus.DONE if stop.code is None else int(stop.code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SlngEdgeError as error:
        return _failed(error, args)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            raise
        if error.filename is None and error.errno in _NO_WRITE:
            raise
        return _failed(error, args)
    except MemoryError:
        _complain("there is no memory left")
        return ExitStatus.FAILED
    except Exception as error:  # noqa: BLE001 - the last stop before a bare traceback
        from slng_edge.cli.libraries import missing_library

        missing = missing_library(error)
        if missing is not None:
            return _failed(missing, args)
        _complain_of(error)
        _complain(f"this is a bug: {type(error).__name__}: {error}")
        return ExitStatus.FAILED


def _parsed(argv: Sequence[str], args: argparse.Namespace) -> argparse.Namespace:
    """`argv` in two steps: up to the command, then with the command's own parser."""
    parser = _parser()
    parser.parse_args(argv, args)
    command = _command(args.command, parser)
    rest = args.rest
    # Both names are free for the command's own arguments.
    del args.command, args.rest
    module = importlib.import_module(f"slng_edge.cli.{command.name.replace('-', '_')}")
    command_parser = Parser(
        prog=f"{PROGRAM} {command.name}",
        description=f"{command.help[0].upper()}{command.help[1:]}.",
        epilog=f"example:\n  {PROGRAM} {command.example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.configure(command_parser)
    add_global_options(command_parser)
    args.run, args.usage_hint = module.run, f"{command_parser.prog} --help"
    command_parser.parse_args(rest, args)
    args.log_level = args.log_level or command.log_level
    return args


def _parser() -> argparse.ArgumentParser:
    width = max(len(command.name) for command in COMMANDS)
    listed = "\n".join(f"  {command.name:<{width}}  {command.help}" for command in COMMANDS)
    parser = Parser(
        prog=PROGRAM,
        usage="%(prog)s [--help] [--version] [OPTION]... COMMAND ...",
        description="Voice client for small Linux devices.",
        epilog=f"commands ({PROGRAM} COMMAND --help says more):\n{listed}\n\n"
        f"example:\n  {PROGRAM} -s tts.speed=1.1 tts 'Hello.'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    add_global_options(parser)
    parser.add_argument("command", metavar="COMMAND", help=argparse.SUPPRESS)
    rest = parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    rest.required = False  # or an error that misses the command would name it as missing, too
    return parser


def _command(name: str, parser: argparse.ArgumentParser) -> Command:
    found = next((command for command in COMMANDS if command.name == name), None)
    if found is None:
        from slng_edge.config_checks import nearest

        near = nearest(name, [command.name for command in COMMANDS])
        hint = f"did you mean {near}?" if near else f"see {PROGRAM} --help"
        parser.error(f"there is no command {name!r}; {hint}")
    return found


def _override(text: str) -> str:
    """An argument of `-s`; the text is not repeated in the error, as it may hold a key."""
    name, equals, _ = text.partition("=")
    if not equals or "." not in name:
        raise argparse.ArgumentTypeError("write section.key=value")
    return text


def _set_up_logging(args: argparse.Namespace) -> None:
    from slng_edge.cli.logs import set_up_logging

    set_up_logging(args.log_level, args.log_format)


def _failed(error: SlngEdgeError | OSError, args: argparse.Namespace) -> int:
    if args.log_level == "debug":
        _complain_of(error)
    lines = str(error).splitlines() or [type(error).__name__]
    _complain(*lines)
    if isinstance(error, UsageError):
        _complain(f"see {args.usage_hint}")
    return exit_status_for(error)


def _complain_of(error: BaseException) -> None:
    import traceback

    _write("".join(traceback.format_exception(error)))


def _complain(*lines: str) -> None:
    _write("".join(f"{PROGRAM}: {line}\n" for line in lines))


def _write(text: str) -> None:
    from slng_edge.cli.logs import printable
    from slng_edge.secrets import mask

    # Without a standard error there is nowhere left to say that there is none.
    if sys.stderr is not None:
        try:
            print(printable(mask(text)), end="", file=sys.stderr, flush=True)
        except OSError:
            _forget_output(sys.stderr)


def _fill_standard_descriptors() -> None:
    """Lead descriptors 0 to 2 to nowhere where they are closed.

    Else a socket would get such a number, and what libraries print on standard error would go to
    the gateway. `sys.stdout` and its like stay None.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free


def _show_what_can_be_shown() -> None:
    """Have standard output write as an escape what its encoding lacks: LANG may be an old one."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe or socket whose other end is closed."""
    import select

    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError, AttributeError):
        return False  # closed, or replaced by something that is no file
    return bool(poll.poll(0))


def _forget_output(stream: TextIO) -> None:
    """Let what is still buffered go nowhere, or the interpreter ends with 120 because of it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # as above
        number = stream.fileno()
        with open(os.dup(number), "wb") as kept, open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), number)
            try:
                stream.flush()
            finally:
                os.dup2(kept.fileno(), number)
