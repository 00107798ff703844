"""systemd/slng-edge-firstboot on real folders: what a person may have put on a card, and how."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "systemd/slng-edge-firstboot"
PROGRAM = Path(sys.executable).with_name("slng-edge")
CONFIG, OTHER = "slng-edge.toml", "# before\n"
KEY, SECRET = "slng-api-key", "sk-of-the-card-161803"
BOM = b"\xef\xbb\xbf"


class Card:
    """A boot partition and a root, and what a boot makes of them."""

    def __init__(self, folder: Path) -> None:
        self.boot, self.etc = folder / "boot partition", folder / "etc"
        self.boot.mkdir()
        self.etc.mkdir()
        (self.etc / "config.toml").write_text(OTHER)

    def boots(self, *before: str) -> tuple[int, str]:
        """Status and what goes to the journal."""
        done = subprocess.run(
            [*before, str(SCRIPT), str(self.boot), str(self.etc), str(PROGRAM)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            env={"PATH": os.environ["PATH"]},
        )
        assert SECRET not in done.stdout
        return done.returncode, done.stdout

    def left(self) -> list[str]:
        """Files that are still on the card."""
        return sorted(path.name for path in self.boot.iterdir())

    @property
    def problem(self) -> str:
        """What the card says is wrong."""
        return (self.boot / "slng-edge-problem.txt").read_text()


@pytest.fixture
def card(tmp_path: Path) -> Card:
    """A card without anything, in a root that has a configuration and no key."""
    return Card(tmp_path)


def test_nothing_to_take_changes_nothing(card: Card) -> None:
    """But a problem of an earlier boot is over."""
    (card.boot / "slng-edge-problem.txt").write_text("of an earlier boot")
    assert card.boots() == (0, "")
    assert card.left() == []
    assert (card.etc / "config.toml").read_text() == OTHER


@pytest.mark.parametrize(
    ("name", "text", "taken"),
    [
        (CONFIG, b"[tts]\nspeed = 1.5\n", "config.toml"),
        (CONFIG, BOM + b"[tts]\r\nspeed = 1.5\r\n", "config.toml"),
        (KEY, SECRET.encode(), "api-key"),
        (KEY, BOM + SECRET.encode() + b" \t \r\n\r\n", "api-key"),
    ],
    ids=["config", "config as of Windows", "key", "key as of Windows, with spaces"],
)
def test_one_of_them_is_enough(card: Card, name: str, text: bytes, taken: str) -> None:
    """The other stays as it is; a byte order mark and line ends of Windows do not matter."""
    (card.boot / name).write_bytes(text)
    status, said = card.boots()
    assert status == 0, said
    assert card.left() == []
    found = (card.etc / taken).read_bytes()
    assert found == (text.removeprefix(BOM) if name == CONFIG else SECRET.encode() + b"\n")
    assert (card.etc / taken).stat().st_mode & 0o777 == (0o644 if name == CONFIG else 0o600)
    others = {"config.toml", taken}
    assert {path.name for path in card.etc.iterdir()} == others


def test_what_was_taken_is_overwritten(card: Card, tmp_path: Path) -> None:
    """A file system that removes a file leaves its contents; a second name shows them."""
    (card.boot / KEY).write_text(SECRET)
    os.link(card.boot / KEY, tmp_path / "what is left")
    status, said = card.boots()
    assert (status, card.left()) == (0, []), said
    left = (tmp_path / "what is left").read_bytes()
    assert len(left) >= len(SECRET)
    assert left.strip(b"\0") == b""


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (CONFIG, b"[tts]\nspeed = 99\n", "tts.speed = 99 must be"),
        (CONFIG, b"[tts\n", "slng-edge.toml"),
        (CONFIG, "[tts]\r\nspeed = 1.5\r\n".encode("utf-16"), "save it as UTF-8"),
        (KEY, b"\n", "no key was given"),
        (KEY, SECRET.encode() + b" and more\n", "it has spaces"),
        (KEY, SECRET.encode("utf-16"), "other characters that no key has"),
    ],
    ids=["wrong", "no TOML", "config UTF-16", "empty key", "key with spaces", "key UTF-16"],
)
def test_what_is_wrong_stays_and_is_told_on_the_card(
    card: Card, name: str, text: bytes, words: str
) -> None:
    """With the name that it has there; what was in force stays in force."""
    (card.boot / name).write_bytes(text)
    status, said = card.boots()
    assert status == 78, said
    assert card.left() == sorted([name, "slng-edge-problem.txt"])
    assert f"{name} was not taken:" in card.problem
    assert words in card.problem
    assert SECRET not in card.problem
    assert "config.toml.new" not in card.problem
    assert [path.name for path in card.etc.iterdir()] == ["config.toml"]
    assert (card.etc / "config.toml").read_text() == OTHER


def test_the_right_one_is_taken_beside_the_wrong_one(card: Card) -> None:
    """Each for itself."""
    (card.boot / CONFIG).write_text("[tts]\nspeed = 99\n")
    (card.boot / KEY).write_text(SECRET)
    assert card.boots()[0] == 78
    assert card.left() == sorted([CONFIG, "slng-edge-problem.txt"])
    assert (card.etc / "api-key").read_text() == SECRET + "\n"


def test_the_suffix_that_windows_adds_and_hides_is_told(card: Card) -> None:
    """The name looks right there."""
    (card.boot / f"{CONFIG}.txt").write_text("[tts]\nspeed = 1.5\n")
    (card.boot / f"{KEY}.txt").write_text(SECRET)
    assert card.boots()[0] == 78
    for name in (CONFIG, KEY):
        assert f"{name}.txt was not taken:\nits name has to be {name}: " in card.problem
    assert not (card.etc / "api-key").exists()


def _read_only(card: Card) -> tuple[str, ...]:
    """Words before a command, for which the card cannot be written."""
    if os.geteuid() != 0:
        card.boot.chmod(0o555)
        return ()
    mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    words = ("unshare", "--mount", "sh", "-c", mount, "sh", str(card.boot))
    if subprocess.run([*words, "true"], capture_output=True, timeout=10).returncode != 0:
        pytest.skip("no file systems may be mounted here")
    return words


def test_a_card_that_cannot_be_written_is_told_in_the_journal(card: Card) -> None:
    """The device works, and who reads the journal learns that the key stays on the card."""
    (card.boot / CONFIG).write_text("[tts]\nspeed = 1.5\n")
    (card.boot / KEY).write_text(SECRET)
    words = _read_only(card)
    try:
        status, said = card.boots(*words)
    finally:
        card.boot.chmod(0o755)
    assert status == 1
    assert (card.etc / "api-key").read_text() == SECRET + "\n"
    assert f"{KEY} cannot be removed from {card.boot} (read-only?)" in said
    assert card.left() == [KEY, CONFIG]


def test_a_wrong_file_on_a_card_that_cannot_be_written_is_told_in_the_journal(card: Card) -> None:
    """There is no other place for it."""
    (card.boot / CONFIG).write_text("[tts]\nspeed = 99\n")
    words = _read_only(card)
    try:
        status, said = card.boots(*words)
    finally:
        card.boot.chmod(0o755)
    assert status == 78
    assert "tts.speed = 99 must be" in said
    assert card.left() == [CONFIG]
