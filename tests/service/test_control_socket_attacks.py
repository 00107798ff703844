"""The control socket under attack: its folder, its file, and what a peer claims to be."""

from __future__ import annotations

import array
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from controllable import Client, Service
from conversation_scripts import wait_until

from slng_edge.errors import ControlError
from slng_edge.service.control_listener import ControlListener
from slng_edge.service.path_steps import steps_to

NOBODY = 65534


# Its folder


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        (0o777, "can be written by others"),
        (0o703, "can be written by others"),
        (0o1777, ""),
        (0o770, ""),
        (0o755, ""),
    ],
)
@pytest.mark.parametrize("below", [".", "own/deep"])
def test_a_folder_in_which_others_may_rename_is_refused(
    tmp_path: Path, mode: int, why: str, below: str
) -> None:
    """They could put a socket of theirs in its place; in a sticky one they cannot."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    path = folder / below / "s"
    if why:
        with pytest.raises(ControlError, match=rf"{folder} {why}.*control\.socket"):
            ControlListener(str(path))
        assert not path.exists()
    else:
        ControlListener(str(path)).close()


def test_a_link_through_such_a_folder_is_refused(tmp_path: Path) -> None:
    """Whoever may rename the link may lead elsewhere."""
    open_to_all, own = tmp_path / "open", tmp_path / "own"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    own.mkdir(mode=0o700)
    (open_to_all / "link").symlink_to(own)
    with pytest.raises(ControlError, match="can be written by others"):
        ControlListener(str(open_to_all / "link" / "s"))
    (tmp_path / "link").symlink_to(own)
    ControlListener(str(tmp_path / "link" / "s")).close()


def test_a_link_in_the_middle_that_others_may_rename_is_refused(tmp_path: Path) -> None:
    """Neither the name nor what it leads to at last is in such a folder."""
    for each in ("a", "mid", "c/real"):
        (tmp_path / each).mkdir(parents=True)
    (tmp_path / "a/named").symlink_to("../mid/link")
    (tmp_path / "mid/link").symlink_to(tmp_path / "c/real")
    ControlListener(str(tmp_path / "a/named/s")).close()
    (tmp_path / "mid").chmod(0o777)
    with pytest.raises(ControlError, match=rf"{tmp_path}/mid can be written by others"):
        ControlListener(str(tmp_path / "a/named/s"))
    assert not (tmp_path / "c/real/s").exists()


def test_links_in_a_circle_are_said_to_be_one(tmp_path: Path) -> None:
    """And not followed for ever."""
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with pytest.raises(ControlError, match=r"lead in a circle.*control\.socket"):
        ControlListener(str(tmp_path / "one" / "s"))


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("real/s", ["real", "real/s"]),
        ("near/s", ["near", "real", "real/s"]),
        ("far/s", ["far", "real", ".", "near", "real", "real/s"]),
        ("none/s", ["none", "none/s"]),
    ],
)
def test_a_path_is_followed_link_by_link(tmp_path: Path, path: str, steps: list[str]) -> None:
    """Each link, and where it leads; what is not there leads nowhere."""
    (tmp_path / "real").mkdir()
    (tmp_path / "near").symlink_to("real")
    (tmp_path / "far").symlink_to("real/../near")
    above = [*reversed(tmp_path.parents), tmp_path]
    assert list(steps_to(tmp_path / path)) == [*above, *(tmp_path / each for each in steps)]


@pytest.fixture
def of_two_users() -> Iterator[Path]:
    """A sticky folder in which everybody may make files, as /tmp is."""
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def _as_nobody(act: Callable[[], None]) -> str:
    """What `act` raised in a process of another user, "" where it raised nothing."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = ""
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            act()
        except (OSError, ControlError, RuntimeError) as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as said_by:
        text = said_by.read()
    os.waitpid(pid, 0)
    return text


def test_what_another_user_left_is_not_taken_over(of_two_users: Path) -> None:
    """A dead socket of somebody else, where everybody may make files."""
    path = of_two_users / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    inode = path.lstat().st_ino
    said = _as_nobody(lambda: ControlListener(str(path)).close())
    assert said.startswith("ControlError: cannot make the control socket")
    assert path.lstat().st_ino == inode


def test_the_folder_of_another_user_is_refused(of_two_users: Path) -> None:
    """Its owner may put anything there, at any time."""
    (of_two_users / "theirs").mkdir(mode=0o755)
    os.chown(of_two_users / "theirs", NOBODY, NOBODY)
    with pytest.raises(ControlError, match="belongs to another user"):
        ControlListener(str(of_two_users / "theirs" / "s"))


def test_in_the_folder_of_another_user_a_running_service_is_named(of_two_users: Path) -> None:
    """Root starts a second one by hand, in the folder of the unit's user: the first one is why."""
    (of_two_users / "theirs").mkdir(mode=0o755)
    path = str(of_two_users / "theirs" / "s")
    first = ControlListener(path)
    os.chown(of_two_users / "theirs", NOBODY, NOBODY)
    with pytest.raises(ControlError, match=rf"process {os.getpid()} listens there; end"):
        ControlListener(path)
    first._sock.close()
    with pytest.raises(ControlError, match="belongs to another user"):
        ControlListener(path)
    assert os.path.exists(path)


def test_in_the_folder_of_another_user_no_link_is_followed(of_two_users: Path) -> None:
    """It may lead to any socket, and what is said would be about whoever listens there."""
    (of_two_users / "theirs").mkdir(mode=0o755)
    path = of_two_users / "theirs" / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(of_two_users / "other"))
        other.listen()
        path.symlink_to(of_two_users / "other")
        os.chown(of_two_users / "theirs", NOBODY, NOBODY)
        with pytest.raises(ControlError, match="belongs to another user"):
            ControlListener(str(path))
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_a_link_of_another_user_is_refused(of_two_users: Path) -> None:
    """In a sticky folder it is theirs to lead elsewhere, whatever it leads to now."""
    (of_two_users / "own").mkdir(mode=0o755)
    (of_two_users / "link").symlink_to("own")
    ControlListener(str(of_two_users / "link" / "s")).close()
    os.lchown(of_two_users / "link", NOBODY, NOBODY)
    with pytest.raises(ControlError, match="link belongs to another user"):
        ControlListener(str(of_two_users / "link" / "s"))


def test_a_folder_of_a_strange_group_is_refused(of_two_users: Path) -> None:
    """It may be written by whoever is in that group; ours may control it anyway."""
    folder = of_two_users / "group"
    folder.mkdir()
    folder.chmod(0o770)
    ControlListener(str(folder / "s")).close()
    os.chown(folder, 0, NOBODY)
    with pytest.raises(ControlError, match="can be written by others"):
        ControlListener(str(folder / "s"))


# Its file


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """What it leads to keeps its rights and its contents."""
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o600)
    for target in (key, tmp_path / "nothing"):
        (tmp_path / "s").unlink(missing_ok=True)
        (tmp_path / "s").symlink_to(target)
        with pytest.raises(ControlError, match="no socket"):
            ControlListener(str(tmp_path / "s"))
    assert (key.stat().st_mode & 0o777, key.read_text()) == (0o600, "secret")
    assert not (tmp_path / "nothing").exists()


def test_an_abstract_name_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Everybody in the network namespace could connect: it has no rights."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ControlError, match="cannot make the control socket"):
        ControlListener("\0slng-edge-test")
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(ConnectionRefusedError):
        sock.connect("\0slng-edge-test")
    assert list(tmp_path.iterdir()) == []


# Peers


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A running one."""
    with Service(tmp_path / "control.sock") as service:
        yield service


def test_nobody_can_claim_to_be_root(of_two_users: Path) -> None:
    """Not by a message that says so: the kernel refuses to carry it, and it would not be read."""
    path = of_two_users / "control.sock"
    said: dict[bool, str] = {}
    with Service(path) as service:
        path.chmod(0o666)
        for lies in (True, False):

            def ask(lies: bool = lies) -> None:
                claimed = struct.pack("3i", *((1, 0, 0) if lies else (os.getpid(), NOBODY, NOBODY)))
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(str(path))
                    with sock.makefile("rb") as file:
                        refused = file.readline().decode()
                    level, kind = socket.SOL_SOCKET, socket.SCM_CREDENTIALS
                    sock.sendmsg([b'{"id": 1, "command": "mute"}\n'], [(level, kind, claimed)])
                    raise RuntimeError(refused)

            said[lies] = _as_nobody(ask)
        assert wait_until(lambda: not service.control._lingering)
        assert service.loop.calls == []
    assert said[True].startswith("PermissionError")
    assert "nobody may not control this service" in said[False] or "BrokenPipe" in said[False]


def test_descriptors_that_are_sent_are_not_kept(service: Service) -> None:
    """They would stay open for ever, and we would run out of them."""
    with Client(service.path) as client, open(os.devnull, "rb") as file:
        assert client.ask(command="wake")["ok"] is True
        before = len(os.listdir("/proc/self/fd"))
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()] * 100))
        for _ in range(5):
            client.sock.sendmsg([b'{"command": "stop"}\n'], [rights])
            assert client.line()["ok"] is True
        assert len(os.listdir("/proc/self/fd")) == before


def test_where_all_strangers_have_our_number_nobody_is_one_of_us() -> None:
    """In a user namespace without us in it: we have the number that everybody has."""
    code = "from slng_edge.service.control_peers import own_ids; print(*own_ids())"
    done = subprocess.run(
        ["unshare", "--user", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no user namespaces: {done.stderr.strip()}")
    assert done.stdout.split() == ["-1", "-1"]
    here = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert here.stdout.split() == [str(os.geteuid()), str(os.getegid())]
