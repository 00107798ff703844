"""EnvironmentFile=: read as systemd reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slng_edge.diagnostics.environment_files import (
    EnvironmentFile,
    environment_in,
    read_environment_files,
)
from slng_edge.errors import SlngEdgeError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("A=1\nB=2", {"A": "1", "B": "2"}),
        ("# A=1\n; A=2\n  # A=3\n\nB=#4", {"B": "#4"}),
        (" A =  two words  \n", {"A": "two words"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=\nB= \n", {"A": "", "B": ""}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=b=c", {"A": "b=c"}),
        ("A='one  two' \"three\"\n", {"A": "one  twothree"}),
        ("A=' x '\nB=\" y \"\n", {"A": " x ", "B": " y "}),
        ('A=it\'s\nB=a"b"', {"A": "it's", "B": 'a"b"'}),
        ("A='one\nB=two'\n", {"A": "one\nB=two"}),
        ('A="one \\\ntwo"\n', {"A": "one two"}),
        ("A=one \\\n two\n", {"A": "one  two"}),
        ('A="\\"\\$\\`\\\\ \\n"\n', {"A": '"$`\\ \\n'}),
        ("A='\\n'\n", {"A": "\\n"}),
        ("A=a\\bc\\\\\n", {"A": "abc\\"}),
        ("A=x\\ \n", {"A": "x "}),
        ("A=x\\", {"A": "x"}),
        ('A="never closed\nB=2', {"A": "never closed\nB=2"}),
        ("export A=1\nA-B=2\n1=3\n=4\nno assignment\nC=5", {"C": "5"}),
        ("A=$HOME ${B}", {"A": "$HOME ${B}"}),
        ("# one \\\nA=2", {"A": "2"}),
    ],
)
def test_text_is_read_as_systemd_reads_it(text: str, found: dict[str, str]) -> None:
    """Quotes, comments, lines that go on, and what is no assignment."""
    assert environment_in(text) == found


def test_a_later_file_goes_before_an_earlier_one(tmp_path: Path) -> None:
    """One name may stand for several files, in the order of their names."""
    for name, text in (("10.env", "A=1\nB=1"), ("20.env", "B=2\nC=2"), ("last", "C=3")):
        (tmp_path / name).write_text(text)
    files = [
        EnvironmentFile(f"{tmp_path}/*.env", optional=False),
        EnvironmentFile(f"{tmp_path}/last", optional=False),
        EnvironmentFile(f"{tmp_path}/missing", optional=True),
    ]
    assert read_environment_files(files) == {"A": "1", "B": "2", "C": "3"}


def test_what_keeps_the_service_from_starting_is_told(tmp_path: Path) -> None:
    """A file that is not there and not optional, with what can be done about it."""
    with pytest.raises(SlngEdgeError, match=f"cannot read {tmp_path}/proxy: .*put a - before"):
        read_environment_files([EnvironmentFile(f"{tmp_path}/proxy", optional=False)])


def test_a_file_that_is_no_text_is_told_without_its_content(tmp_path: Path) -> None:
    """There may be a password in it."""
    (tmp_path / "proxy").write_bytes(b"A=hidden\xff")
    with pytest.raises(SlngEdgeError, match="is not UTF-8 text") as told:
        read_environment_files([EnvironmentFile(f"{tmp_path}/proxy", optional=False)])
    assert "hidden" not in str(told.value)
