"""Lines on the control socket, as commands or as what is wrong with them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slng_edge.service.control_requests import (
    COMMANDS,
    REQUEST_LIMIT_BYTES,
    Ask,
    BadRequest,
    Command,
    Events,
    Mute,
    Reload,
    Request,
    RequestLines,
    Say,
    Status,
    Stop,
    Unmute,
    Volume,
    Wake,
    parse_request,
)


def line_of(**request: Any) -> bytes:
    """A request as a line."""
    return json.dumps(request).encode()


def refusal(line: bytes | None) -> BadRequest:
    """What `line` is refused with."""
    with pytest.raises(BadRequest) as refused:
        parse_request(line)
    return refused.value


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        ({"command": "status"}, Status()),
        ({"command": "wake"}, Wake()),
        ({"command": "stop"}, Stop()),
        ({"command": "mute"}, Mute()),
        ({"command": "unmute"}, Unmute()),
        ({"command": "volume"}, Volume()),
        ({"command": "volume", "percent": None}, Volume()),
        ({"command": "volume", "percent": 0}, Volume(0)),
        ({"command": "volume", "percent": 80.5}, Volume(80.5)),
        ({"command": "volume", "percent": 200}, Volume(200)),
        ({"command": "say", "text": "Hello."}, Say("Hello.")),
        ({"command": "say", "text": "Hello.", "now": True}, Say("Hello.", now=True)),
        ({"command": "ask", "text": "¿Qué?"}, Ask("¿Qué?")),
        ({"command": "events"}, Events()),
        ({"command": "reload"}, Reload()),
    ],
)
def test_a_command_is_read_with_its_arguments(request_: dict[str, Any], command: Command) -> None:
    """Each by its name, with the types its fields have."""
    assert parse_request(line_of(id=7, **request_)) == Request(7, command)


@pytest.mark.parametrize("id", ["a", 1, -2.5, None, 10**30, ""])
def test_an_id_comes_back_as_it_is(id: Any) -> None:
    """A string, a number, null."""
    assert parse_request(line_of(id=id, command="wake")).id == id


def test_without_an_id_it_is_null() -> None:
    """A program that asks one thing at a time needs none."""
    assert parse_request(b'{"command": "wake"}').id is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (None, "at most 65536 bytes"),
        (b"", "not JSON"),
        (b"status", "not JSON"),
        (b'{"command": "wake"', "not JSON"),
        (b'{"command": "wake"}{}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"id": NaN, "command": "wake"}', "not JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[" * 60000, "nested too deeply"),
        (b"[]", "not a JSON object"),
        (b'"status"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"id": 1e999, "command": "wake"}', "too large a number"),
        (b'{"id": [1], "command": "wake"}', "id must be"),
        (b'{"id": true, "command": "wake"}', "id must be"),
    ],
)
def test_what_has_no_id_is_refused_without_one(line: bytes | None, said: str) -> None:
    """The answer's id is null."""
    refused = refusal(line)
    assert said in str(refused)
    assert refused.id is None


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, "command must be one of status, wake"),
        ({"command": 1}, "command must be one of"),
        ({"command": "dance"}, "unknown command 'dance': this version knows status, wake"),
        ({"command": "d\n\u2028" * 99}, "unknown command 'd\\n\\u2028"),
        ({"command": "wake", "word": "x"}, "wake has no argument 'word': it takes none"),
        ({"command": "say", "txt": "x"}, "say has no argument 'txt': it takes text, now"),
        ({"command": "say"}, "say needs text"),
        ({"command": "ask", "text": ""}, "text must not be empty"),
        ({"command": "ask", "text": " \n"}, "text must not be empty"),
        ({"command": "ask", "text": 5}, "text must be a string"),
        ({"command": "ask", "text": None}, "text must be a string"),
        ({"command": "ask", "text": "\ud83d"}, "text is not Unicode"),
        ({"command": "say", "text": "x", "now": 1}, "now must be true or false"),
        ({"command": "volume", "percent": "80"}, "percent must be a number from 0 to 200"),
        ({"command": "volume", "percent": True}, "percent must be a number"),
        ({"command": "volume", "percent": -1}, "percent must be a number"),
        ({"command": "volume", "percent": 200.1}, "percent must be a number"),
        ({"command": "volume", "percent": [80]}, "percent must be a number"),
    ],
)
def test_what_is_wrong_is_said_with_the_id(request_: dict[str, Any], said: str) -> None:
    """So that who asked many things knows which one it was."""
    refused = refusal(line_of(id="mine", **request_))
    assert said in str(refused)
    assert refused.id == "mine"


def test_an_unknown_command_says_which_version_this_is() -> None:
    """Who asks may be newer than the service."""
    with pytest.raises(BadRequest, match=r"slng-edge 1\.2 knows"):
        parse_request(b'{"command": "x"}', version="1.2")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
_NAMES = st.sampled_from(["id", "command", "text", "now", "percent", "other"])
_OBJECTS = st.dictionaries(_NAMES, _JSON | st.sampled_from(sorted(COMMANDS)), max_size=5)


def read(line: bytes) -> Request | BadRequest:
    """The request, or what it is refused with."""
    try:
        return parse_request(line)
    except BadRequest as error:
        return error


@given(st.binary(max_size=200) | _JSON.map(json.dumps).map(str.encode))
def test_any_bytes_are_a_request_or_refused(line: bytes) -> None:
    """Nothing else comes out, whatever is sent."""
    found = read(line)
    assert isinstance(found, Request) or str(found)


@given(_OBJECTS)
def test_what_is_accepted_is_what_was_sent(sent: dict[str, Any]) -> None:
    """Arguments are taken as they are or refused, never bent."""
    found = read(line_of(**sent))
    assert found.id is None or found.id == sent["id"]
    if isinstance(found, Request):
        taken = asdict(found.command)
        assert taken.items() >= {k: v for k, v in sent.items() if k in taken}.items()
        assert sent.keys() <= {"id", "command", *taken}


@given(st.lists(st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"")), max_size=8))
def test_lines_do_not_depend_on_how_they_arrive(lines: list[bytes]) -> None:
    """In one piece or byte by byte."""
    data = b"".join(line + b"\n" for line in lines)
    whole, bytewise = RequestLines(), RequestLines()
    assert whole.receive(data) == lines
    single = [data[i : i + 1] for i in range(len(data))]
    assert [line for byte in single for line in bytewise.receive(byte)] == lines
    assert not whole.incomplete


def test_the_longest_line_is_a_line() -> None:
    """64 KiB, its end not counted."""
    line = b"x" * REQUEST_LIMIT_BYTES
    assert RequestLines().receive(line + b"\n") == [line]


@pytest.mark.parametrize("size", [1, 1000, 70000, 200000])
def test_a_line_that_is_too_long_is_told_once_and_skipped(size: int) -> None:
    """At once, also when its end never comes; the next line is one again."""
    lines = RequestLines()
    data = b"x" * 200000
    told: list[bytes | None] = []
    for start in range(0, len(data), size):
        told += lines.receive(data[start : start + size])
    assert told == [None]
    assert lines.incomplete
    assert lines.receive(b"xx\nnext\n") == [b"next"]


def test_a_last_line_needs_no_end() -> None:
    """As `printf '{"command": "mute"}' | nc -U` sends it; what is skipped is none."""
    lines = RequestLines()
    assert lines.receive(b"a\nlast") == [b"a"]
    assert lines.incomplete
    assert lines.receive_end() == [b"last"]
    assert lines.receive_end() == []
    lines.receive(b"x" * (REQUEST_LIMIT_BYTES + 1))
    assert lines.receive_end() == []
