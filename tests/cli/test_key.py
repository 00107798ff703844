"""`slng-edge key set`, as it is typed and as scripts use it; a service under systemd is in
scripts/test-systemd."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import SlngEdge

from slng_edge.diagnostics.unit_credentials import _object_path

NEW_KEY = b"sk-new-2718-never-shown"


@pytest.fixture
def slng_edge(tmp_path: Path) -> SlngEdge:
    """The command, in a folder of its own, without a gateway."""
    return SlngEdge(tmp_path, "")


def test_the_key_is_kept_where_root_alone_reads_it(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """From standard input, with its line break; 0600, whatever the umask is."""
    file = tmp_path / "made" / "api-key"
    ended = slng_edge("key", "set", "--file", str(file), stdin=NEW_KEY + b"\r\n")
    assert ended.status == 0
    assert file.read_bytes() == NEW_KEY + b"\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert NEW_KEY.decode() not in ended.out + ended.err


def test_without_a_file_it_goes_where_the_config_says(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """`gateway.api_key_file` names it."""
    file = tmp_path / "key"
    ended = slng_edge(
        *("-s", f"gateway.api_key_file={file}", "-s", f"control.socket={tmp_path}/none"),
        *("key", "set"),
        stdin=NEW_KEY,
    )
    assert ended.status == 0
    assert file.read_bytes() == NEW_KEY + b"\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "no key was given"),
        (b" \n\n", "no key was given"),
        (b"two words\n", "is no key"),
        (b"one\ntwo\n", "is no key"),
        ("schlüssel".encode(), "is no key"),
        (b"\x00binary", "is no key"),
        (b"x" * 20000, "too long"),
    ],
)
def test_what_is_no_key_changes_nothing(
    slng_edge: SlngEdge, tmp_path: Path, given: bytes, words: str
) -> None:
    """The key before stays, nothing is left beside it, and what was given is not repeated."""
    file = tmp_path / "key"
    file.write_bytes(b"the-old-one\n")
    ended = slng_edge("key", "set", "--file", str(file), stdin=given)
    assert ended.status == 2
    assert words in ended.err
    assert "words" not in ended.err
    assert file.read_bytes() == b"the-old-one\n"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_is_followed(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """What it leads to is replaced, and not the link."""
    (tmp_path / "real").write_bytes(b"old\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert slng_edge("key", "set", "--file", str(tmp_path / "link"), stdin=NEW_KEY).status == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == NEW_KEY + b"\n"


def test_a_folder_is_no_place_for_it(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """Said before anybody has typed."""
    ended = slng_edge("key", "set", "--file", str(tmp_path), stdin=NEW_KEY)
    assert ended.status == 2
    assert "is not a regular file" in ended.err


def test_a_place_that_cannot_be_written_is_named(slng_edge: SlngEdge) -> None:
    """/proc takes no files, root's neither."""
    ended = slng_edge("key", "set", "--file", "/proc/slng-edge/key", stdin=NEW_KEY)
    assert ended.status == 1
    assert "the key was not changed: cannot write /proc/slng-edge/key" in ended.err


def test_it_says_when_no_service_runs(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """The key is kept all the same."""
    ended = slng_edge(
        *("-s", f"control.socket={tmp_path}/none", "key", "set", "--file", str(tmp_path / "key")),
        stdin=NEW_KEY,
    )
    assert ended.status == 0
    assert "no service is running" in ended.out


def test_at_a_terminal_nothing_is_shown(tmp_path: Path) -> None:
    """It asks, and what is typed does not appear."""
    file = tmp_path / "key"
    controller, terminal = pty.openpty()
    environment = {**os.environ, "SLNG_EDGE_CONFIG": os.devnull, "HOME": str(tmp_path)}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "slng_edge"),
            *("key", "set", "--no-apply", "--file", str(file)),
        ],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
        env=environment,
    )
    os.close(terminal)
    seen = b""
    deadline = time.monotonic() + 20
    while b"SLNG key" not in seen and time.monotonic() < deadline:
        seen += os.read(controller, 1024)
    os.write(controller, NEW_KEY + b"\n")
    while process.poll() is None and time.monotonic() < deadline:
        try:
            seen += os.read(controller, 1024)
        except OSError:  # the other end is closed
            break
    assert process.wait(timeout=20) == 0
    os.close(controller)
    assert NEW_KEY not in seen
    assert file.read_bytes() == NEW_KEY + b"\n"


def test_units_are_named_as_on_the_bus() -> None:
    """systemd's own escapes: `systemctl show` cannot print credentials, the bus can."""
    root = "/org/freedesktop/systemd1/unit/"
    assert _object_path("slng-edge.service") == root + "slng_2dedge_2eservice"
    assert _object_path("slng-edge@a.service") == root + "slng_2dedge_40a_2eservice"
