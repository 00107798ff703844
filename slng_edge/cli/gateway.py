"""`slng-edge gateway`: a local gateway for developing offline, and for trying faults."""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import signal
from typing import TYPE_CHECKING

from slng_edge.errors import ConfigError, MissingLibrary, UsageError

if TYPE_CHECKING:
    from slng_edge.simulator.recognition import Recognizer
    from slng_edge.simulator.synthesizers import Synthesizer

DEFAULT_LISTEN = "127.0.0.1:8765"
KEY_VARIABLE = "SLNG_GATEWAY_KEY"
TIERS = ("free", "pro", "enterprise")
STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--listen",
        default=DEFAULT_LISTEN,
        metavar="HOST:PORT",
        help=f"where to listen (default {DEFAULT_LISTEN}); port 0 picks one and prints it",
    )
    parser.add_argument(
        "--allow-remote", action="store_true", help="allow another address than loopback"
    )
    parser.add_argument(
        "--stt",
        default="pocketsphinx",
        metavar="ENGINE",
        help="pocketsphinx (default), or script:FILE, whose lines are answered in order",
    )
    parser.add_argument(
        "--tts", default="flite", metavar="ENGINE", help="flite (default), espeak or tone"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="let something go wrong; may be repeated",
    )
    parser.add_argument("--list-faults", action="store_true", help="list the faults and end")
    parser.add_argument(
        "--record", metavar="DIR", help="keep each connection's audio (WAV) and messages (JSONL)"
    )
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        help=f"ask clients for the key in FILE (or ${KEY_VARIABLE}); without one, none is asked",
    )
    parser.add_argument(
        "--tier", default="pro", choices=TIERS, help="whose limits count (default pro)"
    )
    parser.add_argument(
        "--connection-s",
        type=_seconds,
        metavar="S",
        help="end a connection at this age, instead of the tier's",
    )
    parser.add_argument(
        "--idle-s",
        type=_seconds,
        metavar="S",
        help="end a connection after so long without a message (default 300)",
    )
    parser.add_argument(
        "--tls-dir",
        metavar="DIR",
        help="where `--fault tls` leaves its authority's certificate, for gateway.ca_file "
        "(default: that of --record, else a temporary one)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; 0."""
    from slng_edge.simulator import Faults, LocalGateway, fault_table
    from slng_edge.simulator.faults import POINTS

    if args.list_faults:
        print(fault_table())
        print(
            "\nWrite [stt:|tts:]NAME[=VALUE][@FIRST[-LAST]]: `tts:refuse=429@1-2` refuses the first"
        )
        print(f"two text-to-speech connections.\n\n{POINTS}")
        return 0
    try:
        faults = Faults(*args.fault)
    except ConfigError as error:
        raise UsageError(f"--fault: {error}") from error
    host, port = _address(args.listen, allow_remote=args.allow_remote)
    gateway = LocalGateway(
        host,
        port,
        stt=_recognizer(args.stt),
        tts=_synthesizer(args.tts),
        faults=faults,
        key=_key(args.key_file),
        record_dir=args.record,
        tier=args.tier,
        connection_s=args.connection_s,
        idle_s=args.idle_s,
        tls_dir=args.tls_dir,
        keep_history=False,
    )
    # Blocked before the gateway makes its threads, so that the signals wait for `sigwait` alone.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        with gateway:
            print(f"listening on {gateway.url}", flush=True)
            if gateway.ca_file:
                print(f"certificate authority in {gateway.ca_file}", flush=True)
            signal.sigwait(STOP_SIGNALS)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0


def _address(listen: str, *, allow_remote: bool) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--listen {listen}: write HOST:PORT, for example {DEFAULT_LISTEN}")
    if not allow_remote and not _is_loopback(host):
        raise UsageError(
            f"--listen {listen}: others could reach the gateway there; "
            "add --allow-remote if that is meant"
        )
    return host, int(port)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"a number of seconds above 0, not {text!r}")
    return seconds


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _recognizer(name: str) -> Recognizer:
    from slng_edge.simulator import recognizer_named

    try:
        return recognizer_named(name)
    except MissingLibrary as error:
        raise _with_alternative(error, "--stt script:FILE needs nothing") from error


def _synthesizer(name: str) -> Synthesizer:
    from slng_edge.simulator import synthesizer_named

    try:
        return synthesizer_named(name)
    except MissingLibrary as error:
        raise _with_alternative(error, "--tts tone needs nothing") from error


def _with_alternative(error: MissingLibrary, alternative: str) -> MissingLibrary:
    error.args = (f"{error}\n({alternative})",)
    return error


def _key(file: str | None) -> str:
    from slng_edge.secrets import read_secret_file, register_secret

    if file is not None:
        return read_secret_file(file, "--key-file")
    key = os.environ.get(KEY_VARIABLE, "").strip()
    register_secret(key)
    return key
