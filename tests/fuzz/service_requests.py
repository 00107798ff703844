"""What other programs ask the running service: control socket, MQTT, status page."""

from __future__ import annotations

import json
from http import HTTPStatus

from fuzz.shapes import json_text, lines, numbers, objects, one_of, raw, texts, utf8, values
from fuzz.target import SEPARATOR, Target, check_problems, check_text, cut_at
from hypothesis import strategies as st

from slng_edge.config_checks import url
from slng_edge.errors import ConfigError
from slng_edge.service.control_requests import (
    COMMANDS,
    REQUEST_LIMIT_BYTES,
    Ask,
    BadRequest,
    Command,
    RequestLines,
    Say,
    Volume,
    parse_request,
)
from slng_edge.service.http_messages import BadHttpRequest, HttpRequest, parse_http_request
from slng_edge.service.mqtt_address import PREFIX_LIMIT_BYTES, broker_address
from slng_edge.service.mqtt_commands import ALLOWED, command_in
from slng_edge.service.mqtt_topics import Topics
from slng_edge.service.page_access import PageAccess, is_loopback

TOKEN = "0123456789abcdef0123"
LONGEST_REFUSAL = 600
_MQTT_URL = url("mqtt", "mqtts")


def control_requests(data: bytes) -> None:
    """Lines of a client: the same ones however they are split, each a command or a refusal."""
    size, stream = (data[0] if data else 0) * 5 + 1, data[1:]
    whole, split = RequestLines(), RequestLines()
    found = whole.receive(stream) + whole.receive_end()
    in_pieces = [line for piece in cut_at(stream, size) for line in split.receive(piece)]
    assert found == in_pieces + split.receive_end()
    assert not whole.incomplete
    for line in found:
        assert line is None or len(line) <= REQUEST_LIMIT_BYTES
        try:
            request = parse_request(line, version="1")
        except BadRequest as error:
            check_text(str(error), LONGEST_REFUSAL)
            _check_answer({"id": error.id, "ok": False, "error": str(error)})
        else:
            _check_command(request.command, len(line or b""))
            _check_answer({"id": request.id, "ok": True})


def _check_answer(answer: dict[str, object]) -> None:
    json.loads(json.dumps(answer, allow_nan=False).encode("utf-8"))


def _check_command(command: Command, size: int) -> None:
    assert type(command) in COMMANDS.values()
    match command:
        case Say(text) | Ask(text):
            check_text(text, size)
            assert text.strip()
        case Volume(percent):
            assert percent is None or 0 <= percent <= 200


def mqtt_commands(data: bytes) -> None:
    """A topic and a payload of a broker: a command that it may ask for, or a refusal."""
    topic, _, payload = data.partition(SEPARATOR)
    name = Topics("p").command_name("p/command" + topic.decode("utf-8", "replace"))
    if name is None:
        return
    try:
        command = command_in(name, payload)
    except BadRequest as error:
        check_text(str(error), LONGEST_REFUSAL)
        return
    assert type(command).__name__.lower() in ALLOWED
    _check_command(command, len(payload))


def mqtt_address(data: bytes) -> None:
    """An `mqtt.url` that the configuration takes."""
    value = data.decode("utf-8", "surrogateescape")
    if not value or _MQTT_URL(value):
        return
    try:
        address = broker_address(value, host_name="box")
    except ConfigError as error:
        check_problems(error, 6 * len(data) + 400)  # as escapes
        return
    assert address.host
    assert 0 < address.port <= 65535
    assert len(address.prefix.encode("utf-8", "replace")) <= PREFIX_LIMIT_BYTES
    assert not set(address.prefix) & set("+#\0")


def page_requests(data: bytes) -> None:
    """A request to the status page: who may not is not let in, and no header can be put in."""
    try:
        request = parse_http_request(data)
    except BadHttpRequest as error:
        check_text(f"{error.status.value} {error}", 200)
        return
    if request is None:
        assert b"\r\n\r\n" not in data
        return
    assert parse_http_request(data[: data.index(b"\r\n\r\n") + 3]) is None
    assert request.path.startswith("/") or request.path == ""
    _check_access(request)


def _check_access(request: HttpRequest) -> None:
    here = PageAccess().answer(request)
    if here is None:
        assert request.method in ("GET", "HEAD")
        host = request.headers["host"]
        name = host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]
        assert is_loopback(name)
    access = PageAccess(TOKEN)
    there = access.answer(request)
    shown = [*request.query.values(), *request.headers.values()]
    if there is None or there.status is HTTPStatus.SEE_OTHER:
        assert any(TOKEN in value or "slng_edge_page" in value for value in shown)
    for answer in filter(None, (here, there)):
        head, _, _ = answer.encoded().partition(b"\r\n\r\n")
        _, *fields = head.split(b"\r\n")
        assert len({field.partition(b":")[0] for field in fields}) == len(fields)
        assert b"\n" not in b"".join(fields)
        location = answer.headers.get("Location", "/")
        assert location.isascii()
        assert location.startswith("/") and not location.startswith(("//", "/\\"))  # noqa: PT018


_request = json_text(
    objects(
        {
            "command": st.one_of(st.sampled_from(list(COMMANDS)), values),
            "id": st.one_of(numbers, texts),
            "text": texts,
            "now": values,
            "percent": numbers,
        }
    )
)
_topics = one_of(b"", b"/say", b"/volume", b"/mute", b"/wake", b"/ask", b"/", b"/a/b", b"x", b"/\0")
_payloads = st.one_of(_request, utf8, one_of(b"ON", b"off", b"nan", b"1e999", b"wake", b"1_0"), raw)
_target = one_of(
    b"/", b"/?token=" + TOKEN.encode(), b"//evil/?token=" + TOKEN.encode(), b"/%00?a=%", b"/events"
)
_header = st.tuples(
    one_of(
        b"Host: ", b"Origin: ", b"Cookie: ", b"Authorization: ", b"Sec-Fetch-Site: ", b" x: ", b"a:"
    ),
    st.one_of(
        one_of(
            b"localhost", b"127.0.0.1:8990", b"[::1]:1", b"evil.test", b"null", b"[", b"a@localhost"
        ),
        one_of(
            b"Bearer " + TOKEN.encode(), b"slng_edge_page=x", b"http://localhost", b"cross-site"
        ),
        raw,
    ),
).map(b"".join)
_http = st.tuples(
    one_of(b"GET ", b"HEAD ", b"POST ", b"get "),
    st.one_of(_target, raw),
    one_of(b" HTTP/1.1\r\n", b" HTTP/1.0\n", b"\r\n"),
    lines(_header),
    one_of(b"\r\n", b"\r\n\r\n", b""),
).map(b"".join)
TARGETS = (
    Target(
        "control_requests",
        control_requests,
        st.tuples(st.binary(min_size=1, max_size=1), lines(_request, raw, end=b"\n")).map(b"".join),
        (
            *(f'{{"command":"{name}"'.encode() for name in COMMANDS),
            *(
                b',"id":',
                b',"text":"',
                b',"now":true',
                b',"percent":',
                b"1e999",
                b"\\ud800",
                b"}\n",
            ),
        ),
    ),
    Target(
        "mqtt_commands",
        mqtt_commands,
        st.tuples(_topics, one_of(SEPARATOR), _payloads).map(b"".join),
        (
            b"/say\x1e",
            b"/volume\x1e",
            b"/mute\x1e",
            b'\x1e{"command":"',
            b"ON",
            b'"percent":',
            b"nan",
        ),
    ),
    Target(
        "mqtt_address",
        mqtt_address,
        st.tuples(
            one_of(b"mqtt://", b"mqtts://", b"mqtts:", b"MQTT://"),
            one_of(
                b"broker", b"u:p@broker:1", b"u@[::1]:99999", b"[", b"b:0", b"\xff", "é".encode()
            ),
            st.one_of(one_of(b"/a/b", b"/%2B", b"/{hostname}", b"/$SYS"), raw),
        ).map(b"".join),
        (b"mqtts://", b"mqtt://", b"@", b":8883", b"/{hostname}", b"%2B", b"%00", b"[::1]"),
    ),
    Target(
        "page_requests",
        page_requests,
        _http,
        (
            *(b"GET / HTTP/1.1\r\n", b"\r\n\r\n", b"Host: localhost\r\n", b"Origin: null\r\n"),
            *(b"?token=" + TOKEN.encode(), b"Authorization: Bearer ", b"Cookie: slng_edge_page="),
            *(b"Sec-Fetch-Site: cross-site\r\n", b"%0d%0a", b"Content-Length: ", b"[::1]", b"@"),
        ),
    ),
)
