"""What a refusal, a close or an error message means: the tables of protocol.md, section 7.

Every function here answers with an error whose `retryable` says whether the same
attempt may succeed later. What the server wrote is kept, on one line, shortened,
and without what looks like a key: servers and proxies do echo requests.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from enum import Enum, auto

from slng_edge.errors import (
    AuthenticationRejected,
    ConnectFailed,
    GatewayError,
    RateLimited,
    RequestRejected,
    ServerReportedError,
    SessionClosed,
)
from slng_edge.protocol.decoding import (
    Fields,
    nested,
    parse_object,
    server_words,
    text_in,
    truth_in,
)
from slng_edge.protocol.vocabulary import Failed, NotUnderstood

RATE_LIMIT_BACK_OFF_S = 5.0
"""Where the back-off begins after close 4001 (protocol.md, 7)."""
RETRY_AFTER_LIMIT_S = 3600.0
"""The longest `Retry-After` that is honoured: a device must come back without help."""

_CODE_CHARS = 64
_BODY_CHARS = 65536

_CHECK_KEY = (
    "Replace the key (sudo slng-edge key set), or check $SLNG_API_KEY or gateway.api_key_file."
)
_CHECK_PROVIDER_KEY = (
    "The provider's own key was refused, not SLNG's: check the file that "
    "gateway.provider_key_file names."
)
_ASK_ACCESS = (
    "The key may lack WebSocket access, which SLNG grants on request, or it is the wrong one: "
    "ask SLNG support, or replace it (sudo slng-edge key set)."
)
_CHECK_CONFIG = "Check model, voice, language and options in the configuration."
_RETRIED = "It will be tried again."
_TOO_MANY = "Fewer connections or messages are allowed: check gateway.tier. It will be tried again."
_TOO_LARGE = "The message is larger than the plan allows: check gateway.tier."


class _Verdict(Enum):
    KEY_REFUSED = auto()
    RATE_LIMITED = auto()
    FINAL = auto()
    RETRY = auto()


_CODES: Mapping[str, tuple[_Verdict, str]] = {
    "auth_error": (_Verdict.KEY_REFUSED, _CHECK_KEY),
    "config_error": (_Verdict.FINAL, _CHECK_CONFIG),
    "invalid_request": (_Verdict.FINAL, _CHECK_CONFIG),
    "payload_too_large": (_Verdict.FINAL, _TOO_LARGE),
    "pronunciation_not_found": (
        _Verdict.FINAL,
        "Check the name of the pronunciation dictionary in tts.options.",
    ),
    "rate_limit": (_Verdict.RATE_LIMITED, _TOO_MANY),
    "rate_limit_exceeded": (_Verdict.RATE_LIMITED, _TOO_MANY),
    "idle_timeout_exceeded": (_Verdict.RETRY, _RETRIED),
    "max_connection_duration_exceeded": (_Verdict.RETRY, _RETRIED),
    "not_ready": (_Verdict.RETRY, _RETRIED),
    "backpressure": (_Verdict.RETRY, _RETRIED),
    "provider_error": (_Verdict.RETRY, _RETRIED),
    "backend_error": (_Verdict.RETRY, _RETRIED),
    "backend_connection_failed": (_Verdict.RETRY, _RETRIED),
    "translation_error": (_Verdict.RETRY, _RETRIED),
}

_CLOSES: Mapping[int, tuple[_Verdict, str]] = {
    1003: (_Verdict.FINAL, "The gateway takes no message of this kind: check gateway.protocol."),
    1007: (_Verdict.FINAL, "The gateway could not read a message: check gateway.protocol."),
    1008: (
        _Verdict.FINAL,
        f"The session broke a rule of the gateway, as audio before ready or a bad init do. "
        f"{_CHECK_CONFIG}",
    ),
    1009: (_Verdict.FINAL, _TOO_LARGE),
    4000: (_Verdict.KEY_REFUSED, _CHECK_KEY),
    4001: (_Verdict.RATE_LIMITED, _TOO_MANY),
    4002: (_Verdict.FINAL, _TOO_LARGE),
}
"""Closes that are not simply tried again; those of 10xx beside the table are RFC 6455, 7.4.1."""

_RETRYABLE_REFUSALS = frozenset({408, 409, 425})


def error_for_status(
    status: int, body: str, headers: Mapping[str, str], now: float
) -> GatewayError:
    """Why the gateway answered the upgrade with `status` instead of 101.

    Args:
        status: HTTP status.
        body: text of the answer; its reason is shown.
        headers: headers of the answer, names in any case.
        now: wall clock, seconds since 1970, for a `Retry-After` that is a date.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    what = f"the gateway refused the connection with HTTP {status}"
    words = _body_words(body)
    verdict = _verdict_of_status(status)
    if verdict is _Verdict.KEY_REFUSED:
        if lowered.get("x-slng-auth-source", "").strip().lower() == "client_key":
            return AuthenticationRejected(_sentence(what, words, _CHECK_PROVIDER_KEY))
        return AuthenticationRejected(_sentence(what, words, _status_advice(status)))
    if verdict is _Verdict.RATE_LIMITED:
        retry_after_s = _retry_after_s(lowered, now)
        return RateLimited(_sentence(what, words, _TOO_MANY), retry_after_s=retry_after_s)
    if verdict is _Verdict.FINAL:
        return RequestRejected(_sentence(what, words, _status_advice(status)))
    advice = _RETRIED
    if verdict is None:
        # 200 and 3xx come from a hotel's login page or a wrong host, never from the gateway.
        what = f"HTTP {status} instead of a WebSocket"
        advice = (
            f"Something else answered: check gateway.url, or sign in to the network. {_RETRIED}"
        )
    return ConnectFailed(
        _sentence(what, words, advice),
        retry_after_s=_retry_after_s(lowered, now),
        status=status if verdict is _Verdict.RETRY else None,
    )


def error_for_close(code: int, reason: str) -> GatewayError:
    """What a WebSocket close means; `code` is 1006 where there was no close frame.

    Whether 1000 was the life cycle of a text-to-speech route is for the exchange to say.
    Close 4002 is not retryable as it is: who sent the message may split it and try again.
    """
    verdict, advice = _CLOSES.get(code, (_Verdict.RETRY, _RETRIED))
    words = server_words(reason)
    what = f"the connection ended without a close ({code})"
    if code != 1006:
        what = f"the gateway closed the connection ({code})"
    message = _sentence(what, words, advice)
    if verdict is _Verdict.KEY_REFUSED:
        return AuthenticationRejected(message)
    if verdict is _Verdict.RATE_LIMITED:
        return RateLimited(message, retry_after_s=RATE_LIMIT_BACK_OFF_S)
    closed = SessionClosed(message, code=code, reason=words)
    closed.retryable = verdict is _Verdict.RETRY
    return closed


def error_for_code(code: str | int, message: str, retryable: bool | None) -> GatewayError:
    """What an `error` message means; `retryable` is what the event itself said, and wins.

    An unknown code is retryable: most known ones are trouble behind the gateway that
    passes, a wrong retry costs one connection every 30 s, and a wrong "final" leaves the
    device silent for 10 minutes.
    """
    name = _code_name(code)
    words = server_words(message)
    verdict, advice = _known(name) or (_Verdict.RETRY, _RETRIED)
    if retryable is False:
        advice = advice.replace(_RETRIED, "").strip() or _CHECK_CONFIG
    elif retryable and _RETRIED not in advice:
        advice = f"{advice} {_RETRIED}"
    error: GatewayError
    if verdict is _Verdict.KEY_REFUSED:
        error = AuthenticationRejected(
            _sentence(f"the gateway refused the key ({name})", words, advice)
        )
    elif verdict is _Verdict.RATE_LIMITED:
        error = RateLimited(_sentence(f"the gateway is limiting us ({name})", words, advice))
    else:
        detail = _sentence("", words, advice)
        error = ServerReportedError(name, detail, retryable=verdict is _Verdict.RETRY)
    if retryable is not None:
        error.retryable = retryable
    return error


def failure_in(fields: Fields) -> Failed:
    """The error that a message reports, wherever its route puts code and words.

    Seen in the field: nested under `data` or at the top; `message`, `description` or
    `error`; the code a number, a numeric string or a word.
    """
    places = [nested(fields, name) for name in ("data", "error", "message")] + [fields]
    codes = [code for place in places for code in _codes_in(place)]
    # One known code tells more than the first of several.
    code = next((code for code in codes if _known(_code_name(code))), None)
    words = [text_in(place, "message", "description", "error") for place in places]
    words.append(text_in(fields, "data"))
    retryable = (truth_in(place, "retryable") for place in places)
    return Failed(
        error_for_code(
            code if code is not None else next(iter(codes), "error"),
            next(filter(None, words), ""),
            next((said for said in retryable if said is not None), None),
        )
    )


def says_too_large(error: GatewayError) -> bool:
    """Whether a message of ours was larger than the gateway takes (close 4002, 1009, 413)."""
    match error:
        case SessionClosed():
            return error.code in (1009, 4002)
        case ServerReportedError():
            return error.code in ("payload_too_large", "413", "4002")
    return False


def _body_words(body: str) -> str:
    """The reason in the body of an HTTP answer: JSON, HTML of a proxy, or plain text."""
    body = body[:_BODY_CHARS].strip()
    if body.startswith("<"):
        return server_words(re.sub(r"<[^<>]*>", " ", body))
    fields = parse_object(body)
    if isinstance(fields, NotUnderstood):
        return server_words(body)
    names = ("message", "description", "error", "detail", "reason")
    places = (nested(fields, "error"), nested(fields, "data"), fields)
    return server_words(next(filter(None, (text_in(place, *names) for place in places)), body))


def _verdict_of_status(status: int) -> _Verdict | None:
    if status in (401, 403):
        return _Verdict.KEY_REFUSED
    if status == 429:
        return _Verdict.RATE_LIMITED
    if status in _RETRYABLE_REFUSALS or status // 100 == 5:
        return _Verdict.RETRY
    return _Verdict.FINAL if status // 100 == 4 else None


def _status_advice(status: int) -> str:
    return _STATUS_ADVICE.get(status, _CHECK_CONFIG if status < 500 else _RETRIED)


_STATUS_ADVICE = {
    401: _CHECK_KEY,
    403: _ASK_ACCESS,
    404: "Check model, gateway.protocol and gateway.url.",
    413: _TOO_LARGE,
    429: _TOO_MANY,
    **dict.fromkeys(_RETRYABLE_REFUSALS, _RETRIED),
}


def _known(name: str) -> tuple[_Verdict, str] | None:
    """What a code means: a word, an HTTP status, or a close code; None where it is unknown."""
    if not (name.isascii() and name.isdigit()):
        return _CODES.get(name)
    number = int(name)
    verdict = _verdict_of_status(number)
    return (verdict, _status_advice(number)) if verdict else _CLOSES.get(number)


def _codes_in(place: Fields) -> Iterator[str | int]:
    for name in ("code", "status_code", "err_code"):
        value = place.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, str | int) and not isinstance(value, bool) and _code_name(value):
            yield value


def _code_name(code: str | int) -> str:
    """A code as one lower-case word of bounded length."""
    return server_words(str(code)).lower()[:_CODE_CHARS]


def _sentence(what: str, words: str, advice: str) -> str:
    """What failed, the server's words, what to do next."""
    said = ": ".join(filter(None, (what, words)))
    if said and not said.endswith((".", "!", "?", "…")):
        said += "."
    return " ".join(filter(None, (said, advice)))


def _retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from a number or a date; None where the gateway does not say."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_LIMIT_S)
    until = _unix_s(value)
    if until is None:
        return None
    # The gateway's own clock where it tells it: before NTP the device's may be years off.
    told = _unix_s(headers.get("date", ""))
    wait_s = max(0.0, until - (now if told is None else told))
    return wait_s if wait_s <= RETRY_AFTER_LIMIT_S else None


def _unix_s(date: str) -> float | None:
    """Seconds since 1970 of an HTTP date, None where it is none."""
    try:
        # A date without a zone is meant in UTC.
        return calendar.timegm(parsedate_to_datetime(date).utctimetuple())
    except (ValueError, OverflowError):
        return None
