"""What refusals, closes and error messages mean, and what is shown of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.errors import (
    AuthenticationRejected,
    ConnectFailed,
    GatewayError,
    RateLimited,
    RequestRejected,
    ServerReportedError,
    SessionClosed,
)
from slng_edge.protocol.failures import (
    error_for_close,
    error_for_code,
    error_for_status,
    failure_in,
    says_too_large,
)

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT

STATUSES: list[tuple[int, type[GatewayError], bool]] = [
    (401, AuthenticationRejected, False),
    (403, AuthenticationRejected, False),
    (400, RequestRejected, False),
    (404, RequestRejected, False),
    (405, RequestRejected, False),
    (413, RequestRejected, False),
    (426, RequestRejected, False),
    (499, RequestRejected, False),
    (408, ConnectFailed, True),
    (409, ConnectFailed, True),
    (425, ConnectFailed, True),
    (429, RateLimited, True),
    (500, ConnectFailed, True),
    (503, ConnectFailed, True),
    (599, ConnectFailed, True),
    (200, ConnectFailed, True),
    (302, ConnectFailed, True),
    (600, ConnectFailed, True),
    (0, ConnectFailed, True),
]


@pytest.mark.parametrize(("status", "kind", "retryable"), STATUSES)
def test_each_status_is_its_error(status: int, kind: type[GatewayError], retryable: bool) -> None:
    """A refused upgrade is final or not by its status, and says status, reason and advice."""
    error = error_for_status(status, "because of it", {}, NOW)
    assert type(error) is kind
    assert error.retryable is retryable
    assert f"HTTP {status}" in str(error)
    assert "because of it. " in str(error)
    assert ("tried again" in str(error)) is retryable


@pytest.mark.parametrize(
    ("status", "kept"),
    [(408, 408), (500, 500), (503, 503), (599, 599), (200, None), (302, None), (600, None)],
)
def test_only_a_status_of_the_gateway_is_kept(status: int, kept: int | None) -> None:
    """A login page of the network is no failure of the model: another one would not do better."""
    error = error_for_status(status, "", {}, NOW)
    assert isinstance(error, ConnectFailed)
    assert error.status == kept
    assert ("Something else answered" in str(error)) is (kept is None)


@pytest.mark.parametrize(
    ("status", "headers", "advice"),
    [
        (401, {}, "$SLNG_API_KEY"),
        (401, {"x-slng-auth-source": "client_key"}, "gateway.provider_key_file"),
        (403, {"X-Slng-Auth-Source": " Client_Key "}, "gateway.provider_key_file"),
        (401, {"X-Slng-Auth-Source": "slng"}, "$SLNG_API_KEY"),
        (403, {}, "WebSocket access"),
        (404, {}, "gateway.protocol"),
        (429, {}, "gateway.tier"),
        (200, {}, "sign in to the network"),
        (400, {}, "configuration"),
        (502, {}, "tried again"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, headers: dict[str, str], advice: str) -> None:
    """The advice fits the status, and tells the provider's key from SLNG's."""
    shown = str(error_for_status(status, "because of it", headers, NOW))
    assert f"HTTP {status}" in shown
    assert advice in shown.partition(": because of it. ")[2]


BODIES = [
    ("BYOK is only supported for external STT/TTS routes\n", "400: BYOK is only supported for"),
    ('{"error":"no such voice"}', "400: no such voice."),
    ('{"error":{"code":"x","message":"no such voice"}}', "400: no such voice."),
    ('{"data":{"description":"no such voice"}}', "400: no such voice."),
    ('{"detail":"no such voice"}', "400: no such voice."),
    ('{"reason":"no such voice"}', "400: no such voice."),
    ('{"odd":1}', '400: {"odd":1}.'),
    ("<html><head><title>400 Bad</title></head><b>nginx</b>", "400: 400 Bad nginx."),
    ("[1]", "400: [1]."),
    ("stop\x00it\r\nnow!", "400: stop it now! Check"),
    ("no such voice.", "400: no such voice. Check"),
    ("no such voice?", "400: no such voice? Check"),
    ("no such…", "400: no such… Check"),
    ("", "400. Check"),
]


@pytest.mark.parametrize(("body", "shown"), BODIES)
def test_the_reason_of_a_body_is_shown(body: str, shown: str) -> None:
    """The body's own words are shown: of JSON, of a proxy's page, or as plain text."""
    assert shown in str(error_for_status(400, body, {}, NOW))


def test_a_long_body_is_cut() -> None:
    """A page of text does not fill the log."""
    assert len(str(error_for_status(500, "x" * 1_000_000, {}, NOW))) < 500


def test_no_key_is_shown() -> None:
    """A proxy that echoes the request does not put the key into a message or a reason."""
    echo = "GET / HTTP/1.1 Authorization: Bearer s3cret-value"
    errors = [
        error_for_status(400, echo, {}, NOW),
        error_for_status(500, f'{{"error":"{echo}"}}', {}, NOW),
        error_for_close(1011, echo),
        error_for_code("provider_error", echo, None),
        error_for_code(echo, "", None),
    ]
    for error in errors:
        assert "s3cret" not in str(error)
        assert "s3cret" not in repr(vars(error))


RETRY_AFTER: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    ({"Retry-After": "7"}, 7.0),
    ({"retry-after": " 0 "}, 0.0),
    ({"Retry-After": "9" * 5000}, 3600.0),
    ({"Retry-After": "Sun, 06 Nov 1994 08:49:47 GMT"}, 10.0),
    ({"Retry-After": "Sun, 06 Nov 1994 08:49:47 -0000"}, 10.0),
    ({"Retry-After": "Sun, 06 Nov 1994 09:49:47 +0100"}, 10.0),
    ({"Retry-After": "Sun, 06 Nov 1994 08:49:00 GMT"}, 0.0),
    ({"Retry-After": "Sun, 06 Nov 1994 09:49:37 GMT"}, 3600.0),
    ({"Retry-After": "Sun, 06 Nov 1994 09:49:38 GMT"}, None),
    ({"Retry-After": "Sun, 06 Nov 2094 08:49:37 GMT"}, None),
    (
        {
            "Retry-After": "Fri, 01 Mar 2024 10:00:30 GMT",
            "Date": "Fri, 01 Mar 2024 10:00:00 GMT",
        },
        30.0,
    ),
    ({"Retry-After": "soon"}, None),
    ({"Retry-After": "-5"}, None),
    ({"Retry-After": "²"}, None),
    ({"Retry-After": "Sun, 06 Nov 99999999999999999999 08:49:37 GMT"}, None),
]


@pytest.mark.parametrize(("headers", "wait_s"), RETRY_AFTER, ids=lambda value: str(value)[:50])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(
    status: int, headers: dict[str, str], wait_s: float | None
) -> None:
    """Seconds or a date, by the gateway's clock where it tells it; never above an hour."""
    error = error_for_status(status, "", headers, NOW)
    assert isinstance(error, ConnectFailed | RateLimited)
    assert error.retry_after_s == wait_s


@settings(deadline=None)
@given(st.text())
def test_no_retry_after_is_too_odd(value: str) -> None:
    """Whatever the header holds, an error comes back, and its wait is none or in range."""
    error = error_for_status(503, value, {"Retry-After": value, "Date": value}, NOW)
    assert isinstance(error, ConnectFailed)
    assert error.retry_after_s is None or 0 <= error.retry_after_s <= 3600


CLOSES: list[tuple[int, type[GatewayError], bool]] = [
    (1000, SessionClosed, True),
    (1001, SessionClosed, True),
    (1002, SessionClosed, True),
    (1003, SessionClosed, False),
    (1005, SessionClosed, True),
    (1006, SessionClosed, True),
    (1007, SessionClosed, False),
    (1008, SessionClosed, False),
    (1009, SessionClosed, False),
    (1011, SessionClosed, True),
    (1012, SessionClosed, True),
    (1013, SessionClosed, True),
    (4000, AuthenticationRejected, False),
    (4001, RateLimited, True),
    (4002, SessionClosed, False),
    (4999, SessionClosed, True),
]


@pytest.mark.parametrize(("code", "kind", "retryable"), CLOSES)
def test_each_close_is_its_error(code: int, kind: type[GatewayError], retryable: bool) -> None:
    """The table of closes."""
    error = error_for_close(code, "the\nreason")
    assert type(error) is kind
    assert error.retryable is retryable
    assert f"({code}): the reason. " in str(error)
    assert ("tried again" in str(error)) is retryable
    if isinstance(error, SessionClosed):
        assert (error.code, error.reason) == (code, "the reason")


def test_closes_say_what_happened() -> None:
    """No close frame, a message too large and a rate limit are told apart."""
    assert "ended without a close (1006). It will be tried again." in str(error_for_close(1006, ""))
    assert "larger than the plan allows" in str(error_for_close(4002, ""))
    limited = error_for_close(4001, "")
    assert isinstance(limited, RateLimited)
    assert limited.retry_after_s == 5.0


FINAL, RETRIED = False, True
CODES: list[tuple[str | int, type[GatewayError], bool]] = [
    ("auth_error", AuthenticationRejected, FINAL),
    (401, AuthenticationRejected, FINAL),
    ("403", AuthenticationRejected, FINAL),
    (4000, AuthenticationRejected, FINAL),
    ("rate_limit", RateLimited, RETRIED),
    ("rate_limit_exceeded", RateLimited, RETRIED),
    (429, RateLimited, RETRIED),
    ("4001", RateLimited, RETRIED),
    ("config_error", ServerReportedError, FINAL),
    (" Config_Error ", ServerReportedError, FINAL),
    ("invalid_request", ServerReportedError, FINAL),
    (400, ServerReportedError, FINAL),
    ("payload_too_large", ServerReportedError, FINAL),
    ("413", ServerReportedError, FINAL),
    ("pronunciation_not_found", ServerReportedError, FINAL),
    (4002, ServerReportedError, FINAL),
    (1008, ServerReportedError, FINAL),
    ("idle_timeout_exceeded", ServerReportedError, RETRIED),
    ("max_connection_duration_exceeded", ServerReportedError, RETRIED),
    (408, ServerReportedError, RETRIED),
    ("not_ready", ServerReportedError, RETRIED),
    ("backpressure", ServerReportedError, RETRIED),
    (503, ServerReportedError, RETRIED),
    ("provider_error", ServerReportedError, RETRIED),
    ("backend_error", ServerReportedError, RETRIED),
    ("backend_connection_failed", ServerReportedError, RETRIED),
    ("translation_error", ServerReportedError, RETRIED),
    (500, ServerReportedError, RETRIED),
    ("never_seen", ServerReportedError, RETRIED),
    (-1, ServerReportedError, RETRIED),
    (999, ServerReportedError, RETRIED),
    ("²", ServerReportedError, RETRIED),
]


@pytest.mark.parametrize(("code", "kind", "retryable"), CODES)
def test_each_code_is_its_error(code: str | int, kind: type[GatewayError], retryable: bool) -> None:
    """The table of codes; an unknown code is tried again."""
    error = error_for_code(code, "the reason", None)
    assert type(error) is kind
    assert error.retryable is retryable
    assert "the reason. " in str(error)
    assert ("tried again" in str(error)) is retryable


@pytest.mark.parametrize("code", [code for code, _, _ in CODES])
@pytest.mark.parametrize("retryable", [True, False])
def test_the_event_wins_over_the_table(code: str | int, retryable: bool) -> None:
    """`retryable` in the message decides, and the advice does not contradict it."""
    error = error_for_code(code, "", retryable)
    assert error.retryable is retryable
    assert ("tried again" in str(error)) is retryable


def test_what_is_final_for_once_says_what_to_check() -> None:
    """Where the code's own advice is to wait, that of a wrong request takes its place."""
    shown = str(error_for_code("provider_error", "m", False))
    assert shown.startswith("provider_error: m. Check model")


def test_a_code_is_kept_as_one_short_word() -> None:
    """The code of the gateway is lower-cased and bounded."""
    error = error_for_code("X" * 1000, "", None)
    assert isinstance(error, ServerReportedError)
    assert error.code == "x" * 64


REPORTS: list[tuple[dict[str, Any], str, bool]] = [
    ({"code": "provider_error", "message": "m"}, "provider_error: m.", True),
    ({"data": {"code": "config_error", "message": "m"}}, "config_error: m.", False),
    ({"data": {"code": "400"}, "description": "m"}, "400: m.", False),
    ({"error": {"code": 502.0, "message": "m"}}, "502: m.", True),
    ({"message": {"code": "translation_error", "error": "m"}}, "translation_error: m.", True),
    ({"status_code": 413, "error": "m"}, "413: m.", False),
    ({"err_code": "backend_error", "message": "m"}, "backend_error: m.", True),
    ({"code": "odd", "status_code": 400, "message": "m"}, "400: m.", False),
    ({"code": "odd", "status_code": "odder", "message": "m"}, "odd: m.", True),
    ({"code": True, "message": "m"}, "error: m.", True),
    ({"code": 1.5, "message": "m"}, "error: m.", True),
    ({"code": "", "message": "m"}, "error: m.", True),
    ({"data": "plain words"}, "error: plain words.", True),
    ({}, "error: It will be tried again.", True),
    ({"code": "config_error", "retryable": True}, "config_error: ", True),
    ({"code": "provider_error", "data": {"retryable": "false"}}, "provider_error: ", False),
    ({"code": "config_error", "retryable": "who knows"}, "config_error: ", False),
]


@pytest.mark.parametrize(("fields", "shown", "retryable"), REPORTS)
def test_an_error_is_read_wherever_it_stands(
    fields: dict[str, Any], shown: str, retryable: bool
) -> None:
    """Code, words and `retryable` are found at the top or nested, under any of their names."""
    error = failure_in(fields).error
    assert type(error) is ServerReportedError
    assert str(error).startswith(shown)
    assert error.retryable is retryable


@pytest.mark.parametrize(
    ("error", "large"),
    [
        (error_for_close(4002, ""), True),
        (error_for_close(1009, ""), True),
        (error_for_close(1006, ""), False),
        (error_for_code("payload_too_large", "", None), True),
        (error_for_code("PAYLOAD_TOO_LARGE", "", True), True),
        (error_for_code(413, "", None), True),
        (error_for_code(4002, "", None), True),
        (error_for_code("invalid_request", "", None), False),
        (error_for_status(413, "", {}, NOW), False),
    ],
)
def test_a_message_that_was_too_large_is_told_from_the_rest(
    error: GatewayError, large: bool
) -> None:
    """By its close or its code; a refused upgrade is no message of ours."""
    assert says_too_large(error) is large
