"""The control socket over real sockets: requests, events, limits, peers, its file."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pwd
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from controllable import Client, Service
from conversation_scripts import wait_until

from slng_edge.errors import ControlError
from slng_edge.events import FinalHeard, Stamped, StateChanged
from slng_edge.service import control_client, control_socket
from slng_edge.service.control_listener import ControlListener
from slng_edge.service.control_peers import Peer, may_control, peer_of, user_name


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A running one."""
    with Service(tmp_path / "control.sock") as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """A client of it."""
    with Client(service.path) as client:
        yield client


def stamped(text: str) -> Stamped:
    """An event with some words."""
    return Stamped(1.0, datetime.now(UTC), FinalHeard(text, 1))


def descriptors_used() -> int:
    return len(os.listdir("/proc/self/fd"))


# Requests


@pytest.mark.parametrize(
    ("request_", "call", "result"),
    [
        ({"command": "wake"}, ("wake",), {}),
        ({"command": "stop"}, ("interrupt",), {}),
        ({"command": "mute"}, ("mute", True), {"muted": True}),
        ({"command": "unmute"}, ("mute", False), {"muted": False}),
        ({"command": "volume", "percent": 80}, ("set_volume", 0.8), {"percent": 80}),
        ({"command": "say", "text": "a", "now": True}, ("say", "a", True), {}),
        ({"command": "say", "text": "a"}, ("say", "a", False), {}),
        ({"command": "ask", "text": "é"}, ("ask", "é"), {}),
    ],
)
def test_a_request_is_carried_out_and_answered(
    service: Service,
    client: Client,
    request_: dict[str, Any],
    call: tuple[Any, ...],
    result: dict[str, Any],
) -> None:
    """One line in, one line out, with the id that was sent."""
    assert client.ask(id="x", **request_) == {"id": "x", "ok": True, "result": result}
    assert service.loop.calls == [call]


def test_what_there_is_to_know_is_answered(service: Service, client: Client) -> None:
    """The status as the service has it, the volume in percent."""
    service.loop.volume = 0.3
    assert client.ask(id=1, command="status")["result"] == service.status
    assert client.ask(id=2, command="volume")["result"] == {"percent": 30}


def test_many_requests_at_once_are_answered_in_order(client: Client) -> None:
    """Who sends faster than it reads gets everything all the same."""
    client.send(b"".join(b'{"id": %d, "command": "wake"}\n' % id for id in range(3000)))
    assert [client.line()["id"] for _ in range(3000)] == list(range(3000))


def test_a_request_may_come_in_pieces(client: Client) -> None:
    """And the last one without its end."""
    client.send(b'{"id": 1, "comm')
    time.sleep(0.05)
    client.send(b'and": "wake"}\n{"id": 2, "command": "stop"}')
    client.sock.shutdown(socket.SHUT_WR)
    assert [client.line()["id"], client.line()["id"], client.line()] == [1, 2, None]


def test_who_does_not_wait_for_the_answer_is_served(service: Service) -> None:
    """A request counts when it was sent."""
    with Client(service.path) as client:
        client.send(b'{"command": "mute"}\n{"command": "stop"}\n')
    assert wait_until(lambda: service.loop.calls == [("mute", True), ("interrupt",)])


@pytest.mark.parametrize(
    "line",
    [
        b"x" * 65537,
        b"x" * 300000,
        b"not json",
        b"",
        b"[1]",
        b"\x00\xff",
        b'{"command": "dance"}',
        b'{"command": "say", "text": 3}',
    ],
)
def test_a_bad_request_gets_an_error_and_the_socket_stays_usable(
    client: Client, line: bytes
) -> None:
    """For the same client and for others."""
    client.send(line + b"\n")
    answer = client.line()
    assert (answer["id"], answer["ok"]) == (None, False)
    assert answer["error"]
    assert client.ask(id=1, command="wake")["ok"] is True


def test_the_longest_request_is_taken(service: Service, client: Client) -> None:
    """64 KiB."""
    request = b'{"command": "say", "text": "%s"}'
    text = b"x" * (65536 - len(request) + 2)
    client.send(request % text + b"\n")
    assert client.line()["ok"] is True
    assert service.loop.calls == [("say", text.decode(), False)]


def test_what_the_loop_refuses_is_an_error(service: Service, client: Client) -> None:
    """With its words."""
    service.loop.refuses = "too many wait"
    assert client.ask(id=1, command="say", text="a") == {
        "id": 1,
        "ok": False,
        "error": "too many wait",
    }


def test_a_command_that_breaks_does_not_end_the_service(
    service: Service, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told, and the log has the traceback without the words."""
    service.loop.wake = lambda: {}["missing"]  # type: ignore[method-assign]
    answer = client.ask(id=1, command="wake")
    assert "this is a bug" in answer["error"]
    assert client.ask(id=2, command="stop")["ok"] is True
    assert caplog.records[0].exc_info is not None


def test_a_reload_is_answered_when_it_is_done(service: Service, client: Client) -> None:
    """Meanwhile others are served, and a second one is refused."""
    client.send(b'{"id": 1, "command": "reload"}\n{"id": 2, "command": "reload"}\n')
    assert client.line() == {"id": 2, "ok": False, "error": "a reload is under way"}
    with Client(service.path) as other:
        assert other.ask(id=1, command="wake")["ok"] is True
    service.reloads[0].set_result("done")
    assert client.line() == {"id": 1, "ok": True, "result": {"what": "done"}}


def test_a_reload_that_fails_says_why(service: Service, client: Client) -> None:
    """And nobody minds when who asked has gone."""
    client.send(b'{"id": 1, "command": "reload"}\n')
    with Client(service.path) as gone:
        gone.send(b'{"id": 1, "command": "reload"}\n')
        assert wait_until(lambda: len(service.reloads) == 2)
    service.reloads[0].set_exception(ControlError("vad.stop_ms is wrong"))
    assert client.line() == {"id": 1, "ok": False, "error": "vad.stop_ms is wrong"}
    service.reloads[1].set_result("done")
    assert client.ask(id=2, command="wake")["ok"] is True


# Events


def test_events_are_streamed_to_whoever_asked(service: Service, client: Client) -> None:
    """As JSON lines after the answer; requests on the same connection are answered in between."""
    with Client(service.path) as other:
        assert client.ask(id=1, command="events") == {"id": 1, "ok": True, "result": {}}
        service.control.stream(stamped("día"))
        event = client.line()
        assert (event["type"], event["text"], event["t"]) == ("final", "día", 1.0)
        assert client.ask(id=2, command="wake")["id"] == 2
        assert other.ask(id=1, command="wake")["id"] == 1


def test_the_last_events_are_sent_at_the_end(service: Service, client: Client) -> None:
    """What was published before the stop arrives, and then the end."""
    client.ask(id=1, command="events")
    for number in range(20):
        service.control.stream(stamped(str(number)))
    service.control.stop(2)
    assert [client.line()["text"] for _ in range(20)] == [str(n) for n in range(20)]
    assert client.line() is None


def test_a_reader_that_stops_half_way_still_gets_events(service: Service, client: Client) -> None:
    """`echo … | nc -U` closes its writing side; only a full close ends the stream."""
    client.ask(id=1, command="events")
    client.sock.shutdown(socket.SHUT_WR)
    time.sleep(0.05)
    service.control.stream(stamped("still"))
    assert client.line()["text"] == "still"


def test_a_slow_reader_loses_events_and_is_told_how_many(service: Service, client: Client) -> None:
    """What it has not read is bounded, and others get everything."""
    sent = 1200
    with Client(service.path) as other:
        client.ask(id=1, command="events")
        other.ask(id=1, command="events")
        for number in range(sent):
            service.control.stream(stamped(f"{number} " + "x" * 1000))
            assert other.line()["text"].startswith(f"{number} ")
        got: list[dict[str, Any]] = []
        while not got or got[-1]["type"] != "lost":
            got.append(client.line())
            if len(got) % 10 == 0:
                service.control.stream(stamped("more"))
        words = [event["text"].split()[0] for event in got[:-1]]
        heard = [int(word) for word in words if word != "more"]
        assert heard == list(range(len(heard)))
        assert 0 < len(heard) < sent
        assert got[-1]["what"] == "events"
        assert int(got[-1]["why"].split()[0]) >= sent - len(heard)


def test_a_reader_that_goes_away_ends_its_stream(service: Service) -> None:
    """Nothing of it is left."""
    before = descriptors_used()
    with Client(service.path) as client:
        client.ask(id=1, command="events")
    assert wait_until(lambda: descriptors_used() == before)
    service.control.stream(stamped("nobody"))
    with Client(service.path) as client:
        assert client.ask(id=1, command="wake")["ok"] is True


# Limits


def test_one_client_too_many_is_told_that_it_is_busy(service: Service) -> None:
    """And a place that becomes free is given to the next."""
    before = descriptors_used()
    with contextlib.ExitStack() as stack:
        for _ in range(control_socket.CLIENTS_LIMIT):
            client = stack.enter_context(Client(service.path))
            assert client.ask(command="wake")["ok"] is True
        late = stack.enter_context(Client(service.path))
        answer = late.line()
        assert (answer["id"], answer["ok"]) == (None, False)
        assert answer["error"].startswith("busy")
        assert late.line() is None
    assert wait_until(lambda: descriptors_used() == before)
    with Client(service.path) as next_one:
        assert next_one.ask(id=1, command="wake")["ok"] is True


def test_a_crowd_does_not_take_all_descriptors(service: Service) -> None:
    """Who comes beyond all limits is closed at once."""
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Client(service.path)) for _ in range(16)]
        assert all(client.ask(command="wake")["ok"] for client in crowd)
        ours = descriptors_used()
        late = [stack.enter_context(Client(service.path)) for _ in range(40)]
        assert [client.line()["error"][:4] for client in late] == ["busy"] * 40
        # One may just have been accepted.
        assert descriptors_used() - ours <= 40 + control_socket.LINGERING_LIMIT + 1


@pytest.mark.parametrize(
    ("limit", "sends", "said"),
    [
        ("IDLE_TIMEOUT_S", b"", None),
        ("REQUEST_TIMEOUT_S", b'{"command"', "did not end in time"),
        ("REQUEST_TIMEOUT_S", b"x" * 70000, "at most 65536 bytes"),
    ],
)
def test_who_keeps_a_place_for_nothing_is_let_go(
    service: Service, monkeypatch: pytest.MonkeyPatch, limit: str, sends: bytes, said: str | None
) -> None:
    """An idle client, a request that does not end."""
    monkeypatch.setattr(control_client, limit, 0.2)
    with Client(service.path) as client:
        client.send(sends)
        line = client.line()
        assert line is None if said is None else said in line["error"]
        if said == "at most 65536 bytes":
            assert "did not end" in client.line()["error"]
        if said is not None:
            assert client.line() is None


def test_who_does_not_read_answers_is_let_go(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for no more requests, and after a while it is closed."""
    monkeypatch.setattr(control_client, "ANSWER_TIMEOUT_S", 0.2)
    service.status["filling"] = "x" * 10000
    with Client(service.path) as client:
        sent = _sent_until_closed(client, b'{"command": "status"}\n' * 1000)
    assert 0 < sent < 10_000_000


def _sent_until_closed(client: Client, request: bytes) -> int:
    """How many bytes of `request` over and over the service takes before it closes."""
    client.sock.setblocking(False)
    sent = 0
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            sent += client.sock.send(request)
        except BlockingIOError:
            time.sleep(0.01)
        except (BrokenPipeError, ConnectionResetError):
            return sent
    raise AssertionError("it was not closed")


def test_waiting_costs_nothing(service: Service, client: Client) -> None:
    """No busy loop: also with a reader that has half closed and one that was refused."""
    client.ask(id=1, command="events")
    client.sock.shutdown(socket.SHUT_WR)
    with Client(service.path) as other:
        other.send(b"x" * 70000)
        other.line()
        began = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - began < 0.1


def test_without_free_descriptors_it_accepts_later(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It neither spins nor dies."""
    monkeypatch.setattr(control_socket, "ACCEPT_PAUSE_S", 0.2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        resource.setrlimit(resource.RLIMIT_NOFILE, (sock.fileno() + 100, hard))
        taken: list[int] = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(sock.fileno()))
            sock.connect(str(service.path))
            assert wait_until(lambda: "cannot accept" in caplog.text)
            count = len(caplog.records)
            time.sleep(0.05)
            assert len(caplog.records) == count
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        sock.sendall(b'{"command": "wake"}\n')
        assert json.loads(sock.recv(1000))["ok"] is True


# Peers


def test_root_the_user_and_the_group_may() -> None:
    """And nobody else."""
    assert may_control(Peer(1, 0, frozenset((0,))), uid=100, gid=200)
    assert may_control(Peer(1, 100, frozenset((5,))), uid=100, gid=200)
    assert may_control(Peer(1, 7, frozenset((5, 200))), uid=100, gid=200)
    assert not may_control(Peer(1, 7, frozenset((5, 100))), uid=100, gid=200)


def test_a_peer_is_who_the_kernel_says() -> None:
    """Process, user and all of its groups."""
    one, other = socket.socketpair()
    with one, other:
        peer = peer_of(one)
    assert (peer.pid, peer.uid) == (os.getpid(), os.getuid())
    assert peer.groups == {os.getgid(), *os.getgroups()}


_ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(5)
    sock.connect(sys.argv[1])
    if sys.argv[2:]:
        sock.sendall(b'{"id": 1, "command": "mute"}\\n')
    print(sock.makefile().readline())
"""

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def as_nobody() -> Iterator[Ask]:
    """Asks as a user of no account, with these groups besides its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    nobody = 65534
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin:/bin") or sys.executable

    def ask(*groups: int, mode: int = 0o660, sends: bool = True) -> dict[str, Any]:
        path = folder / "control.sock"
        path.chmod(mode)
        done = subprocess.run(
            [python, "-c", _ASK, str(path), *(["send"] if sends else [])],
            user=nobody,
            group=nobody,
            extra_groups=groups,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        if done.returncode:
            return {"failed": done.stderr.splitlines()[-1]}
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    folder.chmod(0o755)
    try:
        with Service(folder / "control.sock") as shared:
            ask.loop = shared.loop  # type: ignore[attr-defined]
            yield ask
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("sends", [True, False])
def test_another_user_is_refused_whatever_the_file_allows(
    as_nobody: Ask, sends: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told who may, and what it asked for is not done."""
    caplog.set_level(logging.WARNING)
    answer = as_nobody(mode=0o666, sends=sends)
    assert answer["ok"] is False
    assert (
        answer["error"] == "nobody may not control this service: root, root and the group root may"
    )
    assert as_nobody.loop.calls == []  # type: ignore[attr-defined]
    assert "refuses nobody" in caplog.text


def test_another_user_does_not_even_connect(as_nobody: Ask) -> None:
    """The mode of the file says it first."""
    assert "Permission" in as_nobody()["failed"]


def test_a_member_of_the_group_may(as_nobody: Ask) -> None:
    """A supplementary group counts."""
    assert as_nobody(os.getegid())["ok"] is True


# The file


def test_the_socket_is_for_user_and_group(service: Service) -> None:
    """0660, and it goes when the service goes."""
    status = service.path.stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o660
    service.control.stop(2)
    assert not service.path.exists()


def test_its_folder_is_made(tmp_path: Path) -> None:
    """Where that can be."""
    with Service(tmp_path / "run" / "deep" / "s") as service, Client(service.path) as client:
        assert client.ask(command="wake")["ok"] is True


def test_its_group_may_enter_the_folder_that_is_made(tmp_path: Path) -> None:
    """Also with the umask of `run`; one that was there keeps its mode."""
    (tmp_path / "there").mkdir(mode=0o700)
    before = os.umask(0o077)
    try:
        ControlListener(str(tmp_path / "there" / "run" / "deep" / "s")).close()
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE((tmp_path / each).stat().st_mode)
        for each in ("there", "there/run", "there/run/deep")
    ]
    assert modes == [0o700, 0o755, 0o755]


def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    """A power cut, a kill."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    with Service(tmp_path / "s") as service, Client(service.path) as client:
        assert client.ask(command="wake")["ok"] is True


def test_the_socket_of_a_live_process_is_left_alone(service: Service) -> None:
    """It is said which one it is."""
    with pytest.raises(ControlError, match=rf"process {os.getpid()} listens there"):
        Service(service.path)
    with Client(service.path) as client:
        assert client.ask(command="wake")["ok"] is True


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    """It is not ours to remove."""
    (tmp_path / "s").write_text("mine")
    with pytest.raises(ControlError, match="no socket"):
        Service(tmp_path / "s")
    assert (tmp_path / "s").read_text() == "mine"


@pytest.mark.parametrize("path", ["{}/file/s", "{}/" + "x" * 120, "/proc/s"])
def test_where_it_cannot_be_the_error_says_what_to_do(tmp_path: Path, path: str) -> None:
    """The reason, and the setting."""
    (tmp_path / "file").write_text("")
    before = descriptors_used()
    with pytest.raises(ControlError, match=r"cannot make the control socket .*control\.socket"):
        Service(Path(path.format(tmp_path)))
    assert descriptors_used() == before


def test_the_socket_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    """Only what is still ours."""
    with Service(tmp_path / "s") as first:
        (tmp_path / "s").unlink()
        with Service(tmp_path / "s") as second:
            first.control.stop(2)
            with Client(second.path) as client:
                assert client.ask(command="wake")["ok"] is True


# The end


def test_stop_may_come_from_any_thread_and_often(service: Service) -> None:
    """Also while clients are connected, and within its deadline."""
    with Client(service.path) as client:
        client.ask(id=1, command="events")
        began = time.monotonic()
        threads = [threading.Thread(target=service.control.stop, args=(2,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 1
        assert client.line() is None
    service.control.stop(2)
    service.control.stream(Stamped(1.0, datetime.now(UTC), StateChanged("idle")))


def test_one_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    """Its file goes all the same."""
    service = Service(tmp_path / "s")
    service.control.stop(1)
    assert not (tmp_path / "s").exists()


def test_a_user_who_cannot_be_seen_is_not_called_nobody() -> None:
    """In a user namespace, as the unit's PrivateUsers= makes one, all strangers are one number."""
    script = "from slng_edge.service.control_peers import user_name; print(user_name(65534))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(["unshare", "--user", *command], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no user namespace here: {done.stderr.strip()}")
    assert done.stdout == "this user\n"
    assert user_name(65534) == pwd.getpwuid(65534).pw_name
