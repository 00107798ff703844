"""Two hosts of our own with a cable between them, made of network namespaces.

The client's programs run on one host (`popen`), the local gateway listens on the other
(`on_gateway_host`): it stays in this process, because a socket belongs to the namespace of the
thread that makes it. Nothing of the machine's own network is touched. Takes root and `ip`
(Debian package iproute2); packets are dropped and rejected by `nft` (nftables).
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

CLIENT_ADDRESS = "10.77.0.1"
GATEWAY_ADDRESS = "10.77.0.2"
GATEWAY_NAME = "gateway.test"

_CLONE_NEWNET = 0x40000000
_COMMAND_TIMEOUT_S = 10.0
_NETNS = Path("/run/netns")
_ETC = Path("/etc/netns")
_numbers = itertools.count(1)

T = TypeVar("T")


def missing_for_namespaces() -> str:
    """Why this machine cannot have hosts of our own; "" where it can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces take root"
    if shutil.which("ip") is None:
        return "ip is not installed (Debian package iproute2)"
    try:
        with PrivateNetwork():
            pass
    except (NetworkRefused, OSError) as error:
        return f"this machine gives no network namespaces: {error}"
    return ""


def missing_for_packet_rules() -> str:
    """Why no packet can be dropped or rejected; "" where one can."""
    if shutil.which("nft") is None:
        return "nft is not installed (Debian package nftables)"
    try:
        with PrivateNetwork() as network:
            network.drop_packets()
    except (NetworkRefused, OSError) as error:
        return f"this machine's kernel takes no packet rules: {error}"
    return ""


class NetworkRefused(Exception):
    """`ip` or `nft` did not do what was asked."""


class PrivateNetwork:
    """The two hosts and their cable; a context manager.

    Attributes:
        client: Name of the client's namespace.
        gateway: Name of the gateway's.
    """

    def __init__(self) -> None:
        number = next(_numbers)
        self.client = f"slng-client-{os.getpid()}-{number}"
        self.gateway = f"slng-gateway-{os.getpid()}-{number}"
        self._hosts = _ETC / self.client / "hosts"

    def __enter__(self) -> Self:
        try:
            for host in (self.client, self.gateway):
                _command("ip", "netns", "add", host)
                _command("ip", "-n", host, "link", "set", "lo", "up")
            cable = ("link", "add", "eth0", "type", "veth", "peer", "name", "eth0")
            _command("ip", "-n", self.client, *cable, "netns", self.gateway)
            for host, address in (
                (self.client, CLIENT_ADDRESS),
                (self.gateway, GATEWAY_ADDRESS),
            ):
                self.give_address(host, address)
                self.link_up(host)
            self._hosts.parent.mkdir(parents=True, exist_ok=True)
            self.name_gateway(GATEWAY_ADDRESS)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for host in (self.client, self.gateway):
            if (_NETNS / host).exists():
                _command("ip", "netns", "del", host)
        shutil.rmtree(self._hosts.parent, ignore_errors=True)

    # What runs where

    def on_gateway_host(self, action: Callable[[], T]) -> T:
        """Do it in a thread on the gateway's host; sockets it makes, and threads, stay there."""
        return self._on(self.gateway, action)

    def popen(
        self, command: list[str], *, host: str | None = None, **more: Any
    ) -> subprocess.Popen[bytes]:
        """Start a program on the client's host, which knows the gateway by `GATEWAY_NAME`.

        Args:
            command: The program and its arguments.
            host: `gateway` for one on the gateway's host.
            more: What `subprocess.Popen` takes.
        """
        return subprocess.Popen(["ip", "netns", "exec", host or self.client, *command], **more)

    # What happens to the cable

    def link_down(self, host: str) -> None:
        """Take one end down; the other one sees that there is no carrier."""
        _command("ip", "-n", host, "link", "set", "eth0", "down")

    def link_up(self, host: str) -> None:
        """And up again."""
        _command("ip", "-n", host, "link", "set", "eth0", "up")

    def drop_packets(self) -> None:
        """Nothing arrives at the gateway and nothing leaves it; nobody is told."""
        self._rule("drop")

    def reject_packets(self, answer: str) -> None:
        """What arrives at the gateway is answered with `answer`, as nft calls it."""
        self._table()
        match = "meta l4proto tcp" if "tcp" in answer else ""
        self._nft(f"add rule inet cut in {match} reject with {answer}")

    def pass_packets(self) -> None:
        """Take back `drop_packets` or `reject_packets`."""
        self._nft("delete table inet cut")

    def blackhole(self) -> None:
        """The client's kernel has no route to the gateway any more, and refuses to send."""
        _command("ip", "-n", self.client, "route", "add", "blackhole", f"{GATEWAY_ADDRESS}/32")

    def no_blackhole(self) -> None:
        """Take it back."""
        _command("ip", "-n", self.client, "route", "del", "blackhole", f"{GATEWAY_ADDRESS}/32")

    # What happens to addresses and names

    def give_address(self, host: str, address: str) -> None:
        """An address more."""
        _command("ip", "-n", host, "addr", "add", f"{address}/24", "dev", "eth0")

    def flush_addresses(self, host: str) -> None:
        """No address is left."""
        _command("ip", "-n", host, "addr", "flush", "dev", "eth0")

    def name_gateway(self, address: str) -> None:
        """What `GATEWAY_NAME` stands for from now on, for programs that run as well."""
        # Written in place: `ip netns exec` has bound this very file over /etc/hosts.
        with open(self._hosts, "w", encoding="ascii") as file:
            file.write(f"127.0.0.1 localhost\n{address} {GATEWAY_NAME}\n")

    def ask_name_server(self, address: str) -> None:
        """Let programs to be started on the client's host ask for names there, and nowhere else."""
        with open(self._hosts, "w", encoding="ascii") as file:
            file.write("127.0.0.1 localhost\n")
        lines = f"nameserver {address}\noptions timeout:3 attempts:1\n"
        self._hosts.with_name("resolv.conf").write_text(lines, encoding="ascii")

    # Inside

    def _on(self, host: str, action: Callable[[], T]) -> T:
        results: list[T] = []
        errors: list[BaseException] = []

        def act() -> None:
            try:
                _enter(host)
                results.append(action())
            except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
                errors.append(error)

        thread = threading.Thread(target=act, name=f"on-{host}")
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def _rule(self, verdict: str) -> None:
        self._table()
        self._nft(f"add rule inet cut in {verdict}")
        self._nft(f"add rule inet cut out {verdict}")

    def _table(self) -> None:
        self._nft("add table inet cut")
        for chain, hook in (("in", "input"), ("out", "output")):
            self._nft(f"add chain inet cut {chain} {{ type filter hook {hook} priority 0; }}")

    def _nft(self, rule: str) -> None:
        _command("ip", "netns", "exec", self.gateway, "nft", rule)


def _enter(host: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(_NETNS / host, os.O_RDONLY)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def _command(*argv: str) -> None:
    try:
        done = subprocess.run(
            argv, capture_output=True, timeout=_COMMAND_TIMEOUT_S, check=False, text=True
        )
    except subprocess.TimeoutExpired as error:
        raise NetworkRefused(f"{' '.join(argv)}: took too long") from error
    if done.returncode:
        raise NetworkRefused(f"{' '.join(argv)}: {done.stderr.strip()}")
