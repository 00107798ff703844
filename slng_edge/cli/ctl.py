"""`slng-edge ctl`: talk to the running service over its control socket."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from slng_edge.cli import PROGRAM, Parser, add_global_options, tell
from slng_edge.cli.control_connection import (
    RELOAD_TIMEOUT_S,
    ControlConnection,
    ServiceUnreachable,
)
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.cli.terminal import columns_of, print_json
from slng_edge.errors import ConfigError, UsageError

log = logging.getLogger(__name__)

TEXT_LIMIT_BYTES = 60000
"""What fits into a request with everything around it; escapes may make it too long still."""


class Action(NamedTuple):
    """One thing to ask for: its help, an example, and what carries it out."""

    help: str
    example: str
    run: Callable[[ControlConnection, argparse.Namespace], None]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ctl`."""
    width = max(len(usage) for usage, _ in _USAGES)
    listed = "\n".join(f"  {usage:<{width}}  {help}" for usage, help in _USAGES)
    parser.description = f"{parser.description}\n\nactions:\n{listed}"
    parser.usage = "%(prog)s [--help] [--socket PATH] [OPTION]... ACTION ..."
    _add_socket(parser)
    _add_json(parser)
    # An action has arguments of its own, and options may stand before, among and after them.
    parser.add_argument(
        "action", nargs="A...", action=_ActionArguments, metavar="ACTION", help=argparse.SUPPRESS
    )


def run(args: argparse.Namespace) -> int:
    """Ask, and print what there is to print; the exit status, 69 where no service answers.

    Raises:
        ConfigError: the configuration does not say where the socket is.
        ControlError: the service refused.
        UsageError: an argument is wrong.
    """
    path = args.socket or _configured_socket(args)
    args.json = getattr(args, "json", False)
    try:
        with ControlConnection(path) as connection:
            ACTIONS[args.action].run(connection, args)
    except ServiceUnreachable as error:
        tell("\n".join(f"{PROGRAM}: {line}" for line in str(error).splitlines()))
        return ExitStatus.UNAVAILABLE
    return ExitStatus.DONE


class _ActionArguments(argparse.Action):
    """Reads an action and what follows it with the action's own parser."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        name, *rest = list(values or ())
        if name not in ACTIONS:
            from slng_edge.config_checks import nearest

            near = nearest(name, ACTIONS)
            hint = f"did you mean {near}?" if near else f"it is one of {', '.join(ACTIONS)}"
            raise argparse.ArgumentError(None, f"there is no action {name!r}; {hint}")
        namespace.action = name
        action = ACTIONS[name]
        action_parser = Parser(
            prog=f"{parser.prog} {name}",
            description=f"{action.help[0].upper()}{action.help[1:]}.",
            epilog=f"example:\n  {PROGRAM} ctl {action.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        _add_arguments(name, action_parser)
        _add_socket(action_parser)
        _add_json(action_parser)
        add_global_options(action_parser)
        action_parser.parse_args(rest, namespace)


def _add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    match name:
        case "volume":
            parser.add_argument(
                "percent",
                nargs="?",
                type=_percent,
                metavar="N",
                help="from 0 to 200; 100 is as it comes. Without it: print the volume",
            )
        case "say" | "ask":
            parser.add_argument("text", metavar="TEXT", help="- reads it from standard input")
            if name == "say":
                parser.add_argument(
                    "--now", action="store_true", help="interrupt a turn instead of waiting for it"
                )


def _add_socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", metavar="PATH", help="the service's socket, not the config's")


def _add_json(parser: argparse.ArgumentParser) -> None:
    # Wherever it stands: the parser of the action is not to put it back to False.
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="the service's answer as JSON; of status, everything",
    )


def _percent(text: str) -> float:
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 200:
        raise argparse.ArgumentTypeError(f"a number from 0 to 200, and not {text!r}")
    return int(percent) if percent.is_integer() else percent


# Where the socket is


def _configured_socket(args: argparse.Namespace) -> str:
    """`control.socket`; a config that was broken while the service runs does not hide it."""
    from slng_edge.cli import config_of

    try:
        path = config_of(args).control.socket
    except ConfigError as error:
        try:
            path = _socket_in(args)
        except ConfigError:
            hint = "the service's socket may be named with --socket PATH instead"
            raise ConfigError(*error.problems, hint) from error
        log.info("the config is wrong, see slng-edge config check: %s", error)
    if not path:
        raise UsageError('control.socket = "": the service has no control socket')
    return path


def _socket_in(args: argparse.Namespace) -> str:
    """The last `control.socket` that is said anywhere, without a look at the rest.

    Raises:
        ConfigError: the file cannot be read.
    """
    import os

    from slng_edge.config import ControlConfig
    from slng_edge.config_sources import (
        file_to_read,
        from_environment,
        from_file,
        from_overrides,
        read_text,
    )

    file = file_to_read(args.config_file, os.environ)
    path: Any = ControlConfig().socket
    for given in (
        *(from_file(file) if file is not None else ()),
        *from_environment(os.environ),
        *from_overrides(args.overrides),
    ):
        if given.path == ("control", "socket"):
            path = given.value
            if given.as_text and path is not None:
                path = read_text(path, as_string=True)
    if not isinstance(path, str):
        raise ConfigError("control.socket must be a string")
    return path


# Actions


def _status(connection: ControlConnection, args: argparse.Namespace) -> None:
    status = connection.ask("status")
    if args.json:
        print_json(status, indent=2)
        return
    from slng_edge.service.status_text import status_lines

    print("\n".join(status_lines(status, columns=columns_of(sys.stdout))))


def _plainly(connection: ControlConnection, args: argparse.Namespace) -> None:
    _show(connection.ask(args.action), args)


def _show(result: dict[str, Any], args: argparse.Namespace) -> None:
    """Print the answer where that was asked for; what was done is not worth a line else."""
    if args.json:
        print_json(result)


def _volume(connection: ControlConnection, args: argparse.Namespace) -> None:
    if args.percent is not None:
        _show(connection.ask("volume", percent=args.percent), args)
    elif args.json:
        print_json(connection.ask("volume"))
    else:
        print(connection.ask("volume").get("percent"))


def _say(connection: ControlConnection, args: argparse.Namespace) -> None:
    _show(connection.ask("say", text=_text_of(args), now=args.now), args)


def _ask(connection: ControlConnection, args: argparse.Namespace) -> None:
    _show(connection.ask("ask", text=_text_of(args)), args)


def _events(connection: ControlConnection, args: argparse.Namespace) -> None:
    try:
        for line in connection.events():
            print(line, flush=True)
    except KeyboardInterrupt:  # the only way to end it
        return
    raise ServiceUnreachable("the service has ended")


def _reload(connection: ControlConnection, args: argparse.Namespace) -> None:
    result = connection.ask("reload", timeout_s=RELOAD_TIMEOUT_S)
    if args.json:
        print_json(result)
    else:
        print(result.get("what", "reloaded"))


def _text_of(args: argparse.Namespace) -> str:
    text: str = args.text
    if text == "-":
        from slng_edge.cli.standard_streams import text_pieces

        text = ""
        for piece in text_pieces():
            text += piece
            if len(text.encode()) > TEXT_LIMIT_BYTES:
                break
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UsageError("the text is not UTF-8") from None
    if size > TEXT_LIMIT_BYTES:
        raise UsageError(f"the text is too long: at most {TEXT_LIMIT_BYTES} bytes at once")
    if not text.strip():
        raise UsageError(f"there is nothing to {args.action}: the text is empty")
    return text


ACTIONS: Mapping[str, Action] = {
    "status": Action("how it is", "status --json", _status),
    "wake": Action("listen now, as after a wake word", "wake", _plainly),
    "stop": Action("silence the reply, or give up what is under way", "stop", _plainly),
    "mute": Action("hear nothing, also after a restart", "mute", _plainly),
    "unmute": Action("hear again", "unmute", _plainly),
    "volume": Action("set the volume, also after a restart, or print it", "volume 80", _volume),
    "say": Action("speak a text when the turn under way is over", 'say "Dinner is ready."', _say),
    "ask": Action("answer a text as if it had been spoken", 'ask "What time is it?"', _ask),
    "events": Action("print every event from now on, a JSON object a line", "events", _events),
    "reload": Action("read the configuration again, as SIGHUP does", "reload", _reload),
}

_ARGUMENT_USAGES = {
    "volume": " [N]",
    "say": " TEXT|- [--now]",
    "ask": " TEXT|-",
}
_USAGES = [
    (f"{name}{_ARGUMENT_USAGES.get(name, '')}", action.help) for name, action in ACTIONS.items()
]
