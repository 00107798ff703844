"""scripts/install-remote against an sshd of our own, on 127.0.0.1, with one port for each host.

What it sends is a checkout with a stand-in for scripts/install, which writes down what it was
given: the real one would install on the machine that runs the tests.
"""

from __future__ import annotations

import getpass
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-of-a-fleet-271828"
HOSTS = ("ok", "deaf", "mute", "dies", "slow", "changed", "unknown", "locked", "sudo", "off")
SENT = "README.md", "LICENSE", "setup.cfg", "pyproject.toml"

STAND_IN = r"""#!/bin/sh
# In the place of scripts/install: what it was given goes to the host's home.
printf '%s|' "$0" "$@" >"$HOME/given"
pwd >"$HOME/where"
case " $* " in *' --key-file - '*) cat >"$HOME/key" ;; esac
[ ! -f config.toml ] || cp config.toml "$HOME/config"
[ ! -d wheels ] || ls wheels >"$HOME/wheels"
sleep 0.15 # long enough to be looked at
: >"$HOME/begun"
case $BEHAVES in
deaf) echo "OK    speaker: open" && echo "FAIL  microphone: lost; look at the plug" && exit 1 ;;
mute) echo "install: /opt is full" >&2 && exit 3 ;;
dies)
    echo 'install: building'
    kill -KILL "$(awk '$1 == "PPid:" { print $2 }' "/proc/$FORCED/status")"
    sleep 5
    ;;
slow) # it ends when the host "deaf" has begun
    i=0
    until [ -e "$HOME/../deaf/begun" ]; do
        [ $((i += 1)) -lt 200 ] && echo "still at it" && sleep 0.05 || exit 4
    done
    ;;
esac
"""


def _sshd() -> str | None:
    return shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")


def _free_ports(count: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in listening]
    for each in listening:
        each.close()
    return ports


@dataclass(frozen=True)
class Fleet:
    """Hosts that are homes of their own, and the checkout that goes to them."""

    folder: Path

    def home(self, host: str) -> Path:
        """What is the login's home on that host."""
        return self.folder / "homes" / host

    @property
    def temporary(self) -> Path:
        """Where install-remote keeps its temporary files."""
        return self.folder / "tmp"

    def command(self, *argv: str) -> list[str]:
        """install-remote with these arguments, from a folder with a space in its name."""
        script = self.folder / "a checkout" / "scripts/install-remote"
        return [str(script), "--ssh-config", str(self.folder / "ssh_config"), *argv]

    def start(
        self, *argv: str, stdin: int = subprocess.PIPE, logs: str = "logs"
    ) -> subprocess.Popen[str]:
        """Begin, as the leader of a group, as from a terminal."""
        return subprocess.Popen(
            self.command("--logs", str(self.folder / logs), *argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(self.temporary)},
        )

    def run(self, *argv: str, stdin: str = "", logs: str = "logs") -> tuple[int, str, str]:
        """Status, standard output and standard error."""
        process = self.start(*argv, logs=logs)
        out, err = process.communicate(stdin, timeout=30)
        return process.returncode, out, err


def _keys(folder: Path) -> None:
    for name in ("host", "other-host", "login", "other-login"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, timeout=10)
    (folder / "authorized").write_text((folder / "login.pub").read_text())
    for name, host in (("known", "host"), ("known-before", "other-host")):
        public = " ".join((folder / f"{host}.pub").read_text().split()[:2])
        (folder / name).write_text("".join(f"{each} {public}\n" for each in HOSTS))


def _hosts(folder: Path, ports: dict[str, int]) -> None:
    """The two configurations, a home and the programs of each host."""
    server = [f"ListenAddress 127.0.0.1:{port}" for host, port in ports.items() if host != "off"]
    server += [
        f"HostKey {folder}/host",
        f"AuthorizedKeysFile {folder}/authorized",
        f"PidFile {folder}/sshd.pid",
        # Without root, only PAM can say that the account is not locked.
        f"UsePAM {'no' if os.geteuid() == 0 else 'yes'}",
        "StrictModes no",
        "PasswordAuthentication no",
        "PermitRootLogin prohibit-password",
        "LogLevel VERBOSE",
    ]
    client = []
    for host, port in ports.items():
        home = folder / "homes" / host
        (home / "bin").mkdir(parents=True)
        programs = {"sudo": '#!/bin/sh\nshift\nexec "$@"\n'}
        if host == "sudo":
            programs = {
                "id": "#!/bin/sh\necho 1000\n",
                "sudo": "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n",
            }
        for name, text in programs.items():
            (home / "bin" / name).write_text(text)
            (home / "bin" / name).chmod(0o755)
        (home / "login").write_text(
            f'HOME="{home}" PATH="{home}/bin:$PATH" BEHAVES={host} FORCED=$$\n'
            'export HOME PATH BEHAVES FORCED\ncd || exit 1\nsh -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        server += [f"Match LocalPort {port}", f'ForceCommand sh "{home}/login"']
        known = {"changed": "known-before", "unknown": "known-none"}.get(host, "known")
        client += [
            f"Host {host}",
            f"Port {port}",
            f"HostKeyAlias {host}",
            f"IdentityFile {folder}/{'other-login' if host == 'locked' else 'login'}",
            f'UserKnownHostsFile "{folder}/{known}"',
        ]
    client += [
        "Host *",
        "HostName 127.0.0.1",
        f"User {getpass.getuser()}",
        "IdentitiesOnly yes",
        "IdentityAgent none",
        "GlobalKnownHostsFile /dev/null",
    ]
    (folder / "sshd_config").write_text("\n".join(server) + "\n")
    (folder / "ssh_config").write_text("\n".join(client) + "\n")


def _checkout(folder: Path) -> None:
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/install-remote", folder / "scripts")
    for name in SENT:
        shutil.copy(ROOT / name, folder)
    for name in ("slng_edge", "systemd"):
        (folder / name).mkdir()
        (folder / name / "a file").touch()
    for name in ("install", "upgrade", "uninstall"):
        (folder / "scripts" / name).write_text(STAND_IN)
    for name in ("requirements", "constraints.txt", "check-wheels"):
        (folder / "scripts" / name).touch()


def _as_root(folder: Path, command: list[str]) -> list[str]:
    """sshd as root wants a user and a folder, which a namespace of its own has."""
    passwd = Path("/etc/passwd").read_text().rstrip("\n")
    if not re.search("^sshd:", passwd, re.M):
        passwd += "\nsshd:x:64999:65534::/run/sshd:/usr/sbin/nologin"
    (folder / "passwd").write_text(passwd + "\n")
    prepare = (
        'mount --bind "$1" /etc/passwd && mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd &&'
        ' shift && exec "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", prepare, "sh", str(folder / "passwd"), *command]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Ten hosts, each with its own way to behave; `off` does not answer."""
    program = _sshd()
    if program is None or not shutil.which("ssh"):
        pytest.skip("sshd or ssh is not installed (Debian: openssh-server, openssh-client)")
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "tmp").mkdir()
    _keys(folder)
    ports = dict(zip(HOSTS, _free_ports(len(HOSTS)), strict=True))
    _hosts(folder, ports)
    _checkout(folder / "a checkout")
    command = [program, "-D", "-e", "-f", str(folder / "sshd_config")]
    if os.geteuid() == 0:
        command = _as_root(folder, command)
    log = folder / "sshd.log"
    with log.open("w") as said:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 10
        while log.read_text().count("Server listening") < len(HOSTS) - 1:
            if server.poll() is not None and "ermission denied" in log.read_text():
                pytest.skip(f"sshd may not be started here: {log.read_text()[:200]}")
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield Fleet(folder)
    finally:
        server.terminate()
        server.wait(10)


class Onlooker(threading.Thread):
    """Whoever else is on the machine, and reads command lines and environments all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.looked = False
        self.caught: list[str] = []

    def run(self) -> None:
        while not self.over.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        seen = (process / name).read_bytes()
                    except OSError:  # it has ended, or is not ours to look into
                        continue
                    self.looked = self.looked or b"BatchMode=yes" in seen
                    if KEY.encode() in seen:
                        self.caught.append(str(process / name))


@dataclass(frozen=True)
class Run:
    """One run over all hosts that come to an end by themselves."""

    status: int
    out: str
    err: str
    logs: Path
    onlooker: Onlooker

    def line(self, host: str) -> str:
        """What the table says of that host."""
        (line,) = re.findall(rf"^{host} .*$", self.out, re.M)
        return str(line)


@pytest.fixture(scope="module")
def all_hosts(fleet: Fleet) -> Run:
    """install-remote with every option, file names that a shell would take apart, and a key."""
    config = fleet.folder / "my $(touch pwned); 'config'.toml"
    config.write_text("# for all of them\n")
    wheels = fleet.folder / "wheel house"
    wheels.mkdir()
    (wheels / "slng_edge-0-py3-none-any.whl").touch()
    key_file = fleet.folder / "the key"
    key_file.write_text(KEY + "\r\n")
    options = f"--config|{config}|--offline|{wheels}|--key-file|{key_file}|--extras|wake,mqtt"
    onlooker = Onlooker()
    onlooker.start()
    try:
        hosts = [host for host in HOSTS if host != "slow"]
        status, out, err = fleet.run(*options.split("|"), "--jobs", "9", *hosts, logs="my logs")
    finally:
        onlooker.over.set()
        onlooker.join()
    return Run(status, out, err, fleet.folder / "my logs", onlooker)


def test_a_host_gets_the_checkout_the_options_and_the_key(fleet: Fleet, all_hosts: Run) -> None:
    """The key by standard input, and files under names that no shell takes apart."""
    home = fleet.home("ok")
    assert re.match(r"ok +ok +\d+ s$", all_hosts.line("ok")), all_hosts.out + all_hosts.err
    assert (home / "given").read_text() == (
        "scripts/install|--config|config.toml|--extras|wake,mqtt|--offline|wheels|--key-file|-|"
    )
    assert (home / "key").read_text().strip() == KEY
    assert (home / "config").read_text() == "# for all of them\n"
    assert (home / "wheels").read_text() == "slng_edge-0-py3-none-any.whl\n"
    assert not list(fleet.folder.rglob("pwned"))


def test_what_was_sent_is_gone_afterwards(fleet: Fleet, all_hosts: Run) -> None:
    """Here and there, after success and after failure."""
    assert list(fleet.temporary.iterdir()) == []
    for host in ("ok", "deaf", "mute", "sudo"):
        assert not (fleet.home(host) / ".slng-edge-install").exists(), host


@pytest.mark.parametrize(
    ("host", "status", "words"),
    [
        ("deaf", 1, "FAIL  microphone: lost; look at the plug"),
        ("mute", 3, "install: /opt is full"),
        ("dies", 255, "the connection was lost: is it still there? Then run this again"),
        ("changed", 255, "another one than before: was it installed anew? Then: ssh-keygen -R"),
        ("unknown", 255, "its host key is not known: ssh unknown once, and compare it"),
        ("locked", 255, "it wants a password, or another key: ssh-copy-id locked"),
        ("sudo", 1, "a password is required there: allow it without (NOPASSWD), or use root@sudo"),
        ("off", 255, "Connection refused"),
    ],
)
def test_the_table_says_why_a_host_failed(
    all_hosts: Run, host: str, status: int, words: str
) -> None:
    """In one line, with what to do; the others are done nevertheless."""
    assert f" failed ({status}) " in all_hosts.line(host), all_hosts.line(host)
    assert words in all_hosts.line(host)
    assert all_hosts.status == 1


def test_each_host_has_a_log(all_hosts: Run) -> None:
    """With what was said there, whatever became of it."""
    assert {path.name for path in all_hosts.logs.iterdir()} == {
        f"{host}.log" for host in HOSTS if host != "slow"
    }
    assert "OK    speaker: open" in (all_hosts.logs / "deaf.log").read_text()
    assert "password is required" in (all_hosts.logs / "sudo.log").read_text()


def test_nobody_else_sees_the_key(all_hosts: Run) -> None:
    """In no command line, no environment, no log and no output."""
    assert all_hosts.onlooker.looked, "the onlooker has not seen ssh"
    assert all_hosts.onlooker.caught == []
    assert KEY not in all_hosts.out + all_hosts.err
    for log in all_hosts.logs.iterdir():
        assert KEY not in log.read_text(), log.name


def test_without_a_key_each_host_keeps_its_own(fleet: Fleet) -> None:
    """And --upgrade runs the other script; all is well, so the status is 0."""
    (fleet.home("ok") / "key").unlink(missing_ok=True)
    status, out, err = fleet.run("--upgrade", "ok")
    assert (status, err) == (0, "install-remote: ok\n"), out
    assert (fleet.home("ok") / "given").read_text() == "scripts/upgrade|"
    assert not (fleet.home("ok") / "key").exists()


def test_a_slow_host_holds_up_nobody(fleet: Fleet) -> None:
    """With two places, both others begin in one while the slow one, which waits for the last of
    them, has the other."""
    (fleet.home("deaf") / "begun").unlink(missing_ok=True)
    _, out, _ = fleet.run("--jobs", "2", "slow", "ok", "deaf")
    assert re.search("^slow +ok ", out, re.M), out


def _ours(fleet: Fleet) -> list[str]:
    """Command lines that name the fleet's ssh_config."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(fleet.folder / "ssh_config") in text:
            found.append(text)
    return found


def _wait(condition: object, *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing_behind(fleet: Fleet, number: signal.Signals) -> None:
    """No process, no temporary file here; over there it ends as well, and takes away what came."""
    begun = fleet.home("slow") / "begun"
    for host in ("slow", "deaf"):
        (fleet.home(host) / "begun").unlink(missing_ok=True)
    process = fleet.start("slow")
    _wait(begun.exists)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 128 + number, err
    assert ("interrupted" in err) == (number is signal.SIGINT)
    _wait(lambda: not _ours(fleet))
    assert list(fleet.temporary.iterdir()) == []
    _wait(lambda: not (fleet.home("slow") / ".slng-edge-install").exists())


def test_ctrl_c_at_the_question_for_the_key_brings_back_the_echo(fleet: Fleet) -> None:
    """A terminal that shows nothing any more is a terminal lost."""
    controller, terminal = pty.openpty()
    try:
        process = fleet.start("--key-file", "-", "ok", stdin=terminal)
        _wait(lambda: not termios.tcgetattr(terminal)[3] & termios.ECHO)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode == 130
        assert termios.tcgetattr(terminal)[3] & termios.ECHO
    finally:
        os.close(controller)
        os.close(terminal)


def test_a_wheelhouse_without_the_program_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    """Before it is sent to ten hosts."""
    status, _, err = fleet.run("--offline", str(tmp_path), "ok")
    assert status == 66
    assert "slng-edge is not in it; scripts/wheelhouse fills it" in err
